/* SPDX-License-Identifier: Apache-2.0 */
/* A replica stores no version without its bytes; but bytes can go bad, and then the version stays
 * and says so. The row names what it lacks, its hash in the tree counts it (HAZARDS E19), so peers
 * see that this copy is not as good as theirs, and whoever brings the bytes again heals it.
 *
 * Values that others keep for this node, because their directory has a smaller N, are thin: not
 * here either, and nothing is wrong with that (thin.h). */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/replica/replica.h"

static bool lost_now(const struct replica_write *w, const struct dot *value_dot)
{
    for (uint32_t i = 0; i < w->n_lost; i++)
        if (dot_equal(&w->lost[i], value_dot))
            return true;
    return false;
}

bool replica_names_value(const struct replica_write *w, const struct dot *value_dot)
{
    return object_find_value(&w->stored, value_dot) != NULL;
}

bool replica_holds_value(const struct replica_write *w, const struct dot *value_dot)
{
    return replica_names_value(w, value_dot) && !row_state_lacks(&w->state, value_dot) &&
           !lost_now(w, value_dot);
}

/* What was given up because nobody had it (hearsay) may have come here since. */
bool replica_gives_up(const struct replica_write *w, const struct dot *value_dot)
{
    for (uint32_t i = 0; i < w->n_thin; i++)
        if (dot_equal(&w->thin[i], value_dot))
            return w->thin_if != NULL || !replica_holds_value(w, value_dot);
    return false;
}

/* What is thin is kept by others for the versions that this node had; for one more of the same
 * value it is here again, until others keep it for that one too. */
void replica_collect_missing(struct replica_write *w)
{
    for (uint32_t i = 0; i < w->object.n; i++) {
        const struct sibling *s = &w->object.siblings[i];
        bool thin = row_state_thin(&w->state, &s->value_dot);
        bool enough = thin      ? !w->heal_thin && object_find(&w->stored, &s->dot) != NULL
                      : w->heal ? replica_holds_value(w, &s->value_dot)
                                : replica_names_value(w, &s->value_dot);
        enough |= replica_gives_up(w, &s->value_dot);
        if (!sibling_live(s) || s->size == 0 || s->value != NULL || enough)
            continue;
        w->missing = mem_reallocarray(w->missing, w->n_missing + 1, sizeof(*w->missing));
        w->missing[w->n_missing++] = s->value_dot;
    }
}

static bool comes_along(const struct object *o, const struct dot *value_dot)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->siblings[i].value != NULL && dot_equal(&o->siblings[i].value_dot, value_dot))
            return true;
    return false;
}

bool replica_update_lacks(struct replica_write *w)
{
    row_state_release(&w->after);
    w->after.mark = w->mark;
    w->after.kept = w->state.kept;
    for (uint32_t i = 0; i < w->object.n; i++) {
        const struct dot *d = &w->object.siblings[i].value_dot;
        if (w->object.siblings[i].size == 0 || comes_along(&w->object, d))
            continue;
        bool thin = row_state_thin(&w->state, d);
        if (!thin && replica_names_value(w, d) && !replica_holds_value(w, d))
            row_state_add_lack(&w->after, d);
        else if (thin || replica_gives_up(w, d))
            row_state_add_thin(&w->after, d);
        if (row_state_thin(&w->after, d) &&
            (thin ? !row_state_vouched(&w->state, d) : w->thin_if == NULL))
            row_state_add_hearsay(&w->after, d);
    }
    if (w->after.n_lacks != w->state.n_lacks || w->after.n_thin != w->state.n_thin)
        return true;
    for (uint32_t i = 0; i < w->after.n_lacks; i++)
        if (!row_state_lacks(&w->state, &w->after.lacks[i]) ||
            row_state_thin(&w->state, &w->after.lacks[i]))
            return true;
    for (uint32_t i = 0; i < w->after.n_thin; i++)
        if (!row_state_thin(&w->state, &w->after.thin[i]))
            return true;
    return false;
}

/* ---- what a read has found --------------------------------------------------------------- */

struct loss {
    struct background background; /* first */
    struct engine *e;
    uint8_t *key;
    struct dot dot;
    struct object nothing; /* merged in: nothing changes but what is lacking */
    struct replica_write write;
};

static void loss_free(struct loss *l)
{
    background_end(l->e, &l->background);
    replica_write_release(&l->write);
    free(l->key);
    free(l);
}

static void loss_abandon(struct background *b)
{
    loss_free(container_of(b, struct loss, background));
}

static void on_noted(struct replica_write *w, int err)
{
    struct loss *l = w->arg;
    l->e->stats.scrub_bad_values += err == DYN_OK && w->changed;
    loss_free(l);
}

void replica_lost(struct engine *e, struct slice key, const struct dot *value_dot)
{
    struct loss *l = mem_new(struct loss);
    l->e = e;
    l->key = mem_dup(key.data, key.len);
    l->dot = *value_dot;
    l->nothing = OBJECT_EMPTY;
    background_add(e, &l->background, loss_abandon);
    l->write = (struct replica_write){.e = e,
                                      .key = slice_of(l->key, key.len),
                                      .roles = ROLE_OBJECT,
                                      .incoming = &l->nothing,
                                      .lost = &l->dot,
                                      .n_lost = 1,
                                      .done = on_noted,
                                      .arg = l};
    replica_write_start(&l->write);
}
