/* SPDX-License-Identifier: Apache-2.0 */
/* See late_copy.h. What is done about one that was merged here:
 *
 *   LOOKING (among what is kept here) -> it is none                             -> over
 *   LOOKING -> DROPPING (by name, from this node's copy) -> that is spread       -> over */
#include "engine/coordinate/late_copy.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/fragments.h"

#define DROPS_MAX 64u /* under way at once */

static bool same_put(const struct sibling *s, const struct origin *origin)
{
    return origin->writer != 0 && s->origin.writer == origin->writer &&
           s->origin.stream == origin->stream && s->origin.seq >= origin->seq;
}

const struct sibling *origin_find(const struct object *o, const struct origin *origin)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (same_put(&o->siblings[i], origin))
            return &o->siblings[i];
    return NULL;
}

bool late_copy_possible(const struct late_copy *l, const struct replica_write *w,
                        const struct origin *origin, const struct cover *named)
{
    if (l->looked || origin->writer == 0 || w->state.kept.n == 0)
        return false;
    for (uint32_t i = 0; i < w->stored.n; i++)
        if (!cover_has(named, &w->stored.siblings[i].dot))
            return true;
    return false;
}

static void on_read(struct kept_read *r, int err)
{
    struct late_copy *l = r->arg;
    for (uint32_t i = 0; err == DYN_OK && i < r->list.n; i++) /* else a false conflict at worst */
        if (same_put(kept_version(&r->list.k[i]), &l->origin))
            l->dot = kept_version(&r->list.k[i])->dot;
    l->e->stats.late_copies += !dot_is_none(&l->dot);
    late_copy_release(l);
    l->looked = true;
    l->done(l);
}

void late_copy_look(struct late_copy *l)
{
    l->read =
        (struct kept_read){.e = l->e, .key = l->key, .want = KEPT_LIST, .done = on_read, .arg = l};
    l->reading = true;
    kept_read_start(&l->read);
}

void late_copy_release(struct late_copy *l)
{
    if (l->reading)
        kept_read_release(&l->read);
    l->reading = false;
}

/* ---- one that another node has minted ---------------------------------------------------- */

struct late_drop {
    struct background background; /* first */
    struct engine *e;
    struct buf key;
    struct came {
        struct dot dot;
        struct origin origin;
    } * came; /* with what was merged */
    uint32_t n_came;
    struct kept_read read;
    struct cover late; /* dots of those that are */
    struct quorum quorum;
    struct replica_write write;
    bool writing;
};

static void drop_free(struct late_drop *d)
{
    background_end(d->e, &d->background);
    d->e->late_drops--;
    if (d->writing)
        replica_write_release(&d->write);
    kept_read_release(&d->read);
    cover_release(&d->late);
    buf_release(&d->key);
    free(d->came);
    free(d);
}

static void drop_abandon(struct background *b)
{
    drop_free(container_of(b, struct late_drop, background));
}

/* Nothing is minted for it: what it came to stand beside says that it is over. */
static int drop(struct replica_write *w, struct object *o, struct epoch *mark)
{
    const struct late_drop *d = w->arg;
    struct cover dots = COVER_EMPTY;
    (void)mark;
    object_cover_dots(o, &d->late, &dots);
    bool stays = dots.n < o->n;
    if (stays && dots.n > 0)
        object_write(o, &dots, NULL, engine_wall_ms(d->e));
    cover_release(&dots);
    return stays ? DYN_OK : DYN_ERR_CANCELED;
}

static void on_dropped(struct replica_write *w, int err)
{
    struct late_drop *d = w->arg;
    if (err == DYN_OK && w->changed) {
        const struct replication_params p = {.key = buf_slice(&d->key),
                                             .fragment = w->fragment,
                                             .object = &w->object,
                                             .quorum = d->quorum,
                                             .roles = ROLE_OBJECT | ROLE_ENTRY,
                                             .owe_entry = w->owe_entry};
        replication_start(d->e, &p);
        d->e->stats.late_copies++;
    }
    drop_free(d);
}

static void drop_start(struct late_drop *d)
{
    struct engine *e = d->e;
    struct slice key = buf_slice(&d->key);
    uint32_t fragment = engine_fragment(e, key);
    d->write = (struct replica_write){
        .e = e,
        .key = key,
        .fragment = fragment,
        .roles = ROLE_OBJECT | engine_roles(e, e->cfg.node, key, fragment, d->quorum.n),
        .mutate = drop,
        .owe_entry = !replication_same_nodes(e, key, fragment, d->quorum.n),
        .sync = STORE_BUFFERED,
        .done = on_dropped,
        .arg = d};
    d->writing = true;
    replica_write_start(&d->write);
}

static bool is_late(const struct kept_list *kept, const struct came *c)
{
    for (uint32_t i = 0; i < kept->n; i++) {
        const struct sibling *gone = kept_version(&kept->k[i]);
        if (same_put(gone, &c->origin) && !dot_equal(&gone->dot, &c->dot))
            return true;
    }
    return false;
}

static void on_drop_read(struct kept_read *r, int err)
{
    struct late_drop *d = r->arg;
    for (uint32_t i = 0; err == DYN_OK && i < d->n_came; i++)
        if (is_late(&r->list, &d->came[i]))
            cover_add_dot(&d->late, &d->came[i].dot);
    if (d->late.n > 0)
        drop_start(d);
    else
        drop_free(d);
}

static bool came_now(const struct replica_write *w, const struct sibling *s)
{
    return sibling_live(s) && s->origin.writer != 0 && object_find(&w->stored, &s->dot) == NULL;
}

/* The first that came, or after `from`. */
static const struct sibling *next_came(const struct replica_write *w, uint32_t *from)
{
    while (*from < w->object.n) {
        const struct sibling *s = &w->object.siblings[(*from)++];
        if (came_now(w, s))
            return s;
    }
    return NULL;
}

void late_copy_merged(const struct replica_write *w)
{
    const struct request_options defaults = {0};
    struct engine *e = w->e;
    struct quorum quorum;
    uint32_t at = 0;
    if (w->incoming == NULL || w->object.n < 2 || w->state.kept.n == 0 || next_came(w, &at) == NULL)
        return;
    if (e->stopping || e->late_drops == DROPS_MAX ||
        engine_quorum(e, &defaults, w->key, &quorum) != DYN_OK ||
        !engine_is_owner(e, e->cfg.node, w->at.partition, quorum.n))
        return;
    struct late_drop *d = mem_new(struct late_drop);
    d->e = e;
    d->quorum = quorum;
    buf_put_slice(&d->key, w->key);
    d->came = mem_reallocarray(NULL, w->object.n, sizeof(*d->came));
    at = 0;
    for (const struct sibling *s; (s = next_came(w, &at)) != NULL;)
        d->came[d->n_came++] = (struct came){s->dot, s->origin};
    e->late_drops++;
    background_add(e, &d->background, drop_abandon);
    d->read = (struct kept_read){
        .e = e, .key = buf_slice(&d->key), .want = KEPT_LIST, .done = on_drop_read, .arg = d};
    kept_read_start(&d->read);
}
