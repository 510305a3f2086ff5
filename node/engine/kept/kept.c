/* SPDX-License-Identifier: Apache-2.0 */
/* See kept.h. Which versions a write keeps. A version goes when its dot is in the object no more.
 * It is worth keeping when its bytes go with it: not after a chmod, which wrote a new version over
 * the same value, and not when an equal version absorbed it.
 *
 * A key that a program writes each second must not cost a row each time, nor push out what others
 * keep. So of plain overwrites the first PLAIN_FREE are kept as they come, and from then on one in
 * PLAIN_EVERY_MS. What went in a conflict or with a delete is kept always. The object's row counts
 * what is kept beside it, so none of this costs a read. */
#include "engine/kept/kept.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/reconcile.h"
#include "engine/kept/kept_trim.h"

#define PLAIN_FREE 16u
#define PLAIN_EVERY_MS 30000u
#define TRIM_AGAIN 16u

/* Another write replaced the one version that was there. */
static bool is_plain(const struct replica_write *w)
{
    return object_live(&w->object) && object_live_count(&w->stored) == 1;
}

/* Why versions went from `stored` for `object`, which has at least one less. */
static enum kept_why reason(const struct replica_write *w)
{
    if (!object_live(&w->object))
        return KEPT_DELETED;
    enum reconcile rule = reconcile_rule(w->e, w->key);
    if (rule == RECONCILE_LWW)
        return KEPT_OUTDATED;
    if (is_plain(w))
        return KEPT_OVERWRITTEN;
    for (uint32_t i = 0; i < w->object.n; i++)
        if (object_find(&w->stored, &w->object.siblings[i].dot) == NULL)
            return rule == RECONCILE_UNION ? KEPT_UNITED : KEPT_RESOLVED;
    return KEPT_DROPPED;
}

/* The newest version that was not there before; none where nothing came. */
static struct dot taken_out_by(const struct replica_write *w)
{
    const struct sibling *by = NULL;
    for (uint32_t i = 0; i < w->object.n; i++) {
        const struct sibling *s = &w->object.siblings[i];
        if (object_find(&w->stored, &s->dot) == NULL && (by == NULL || sibling_order(by, s) < 0))
            by = s;
    }
    return by == NULL ? (struct dot){.counter = 0} : by->dot;
}

static bool goes(const struct replica_write *w, const struct sibling *s)
{
    if (s->type != SIBLING_FILE && s->type != SIBLING_SYMLINK)
        return false;
    if (object_find(&w->object, &s->dot) != NULL ||
        object_find_value(&w->object, &s->value_dot) != NULL)
        return false;
    for (uint32_t i = 0; i < w->object.n; i++)
        if (sibling_same_content(&w->object.siblings[i], s))
            return false;
    return s->size == 0 || replica_holds_value(w, &s->value_dot);
}

static bool wanted(const struct replica_write *w, uint64_t cost, uint64_t now)
{
    const struct engine_config *cfg = &w->e->cfg;
    const struct row_kept *kept = &w->after.kept;
    if (is_plain(w) && kept->n >= PLAIN_FREE && now < kept->last_ms + PLAIN_EVERY_MS)
        return false;
    return cost <= cfg->history_key_max && kept->n < KEPT_KEY_HARD_MAX &&
           kept_keeper_takes(w->e->kept, cost);
}

static void keep(struct replica_write *w, struct store_batch *b, const struct sibling *s,
                 const struct dot *by, uint64_t now)
{
    struct buf key = BUF_EMPTY, row = BUF_EMPTY;
    struct kept k;
    kept_make(&k, s, now, reason(w), by);
    row_kept(&w->at, w->key, &s->dot, &key);
    kept_encode(&k, &row);
    store_batch_put(b, STORE_HINT, buf_slice(&key), buf_slice(&row));
    kept_release(&k);
    buf_release(&key);
    buf_release(&row);
    w->after.kept.n++;
    w->after.kept.bytes += kept_cost(s);
    if (is_plain(w))
        w->after.kept.last_ms = now;
    w->kept = mem_reallocarray(w->kept, w->n_kept + 1, sizeof(*w->kept));
    w->kept[w->n_kept++] = s->value_dot;
}

void kept_batch(struct replica_write *w, struct store_batch *b)
{
    if (w->e->cfg.history_ms == 0 || w->keep_none || key_internal(w->key))
        return;
    uint64_t now = engine_wall_ms(w->e);
    struct dot by = taken_out_by(w);
    for (uint32_t i = 0; i < w->stored.n; i++) {
        const struct sibling *s = &w->stored.siblings[i];
        if (goes(w, s) && wanted(w, kept_cost(s), now))
            keep(w, b, s, &by, now);
    }
}

bool kept_value(const struct replica_write *w, const struct dot *value_dot)
{
    for (uint32_t i = 0; i < w->n_kept; i++)
        if (dot_equal(&w->kept[i], value_dot))
            return true;
    return false;
}

bool kept_give_up(struct replica_write *w)
{
    kept_keeper_no_room(w->e->kept);
    if (w->n_kept == 0)
        return false;
    w->n_kept = 0;
    w->after.kept = w->state.kept;
    w->keep_none = true;
    return true;
}

void kept_handed(struct replica_write *w)
{
    const struct engine_config *cfg = &w->e->cfg;
    const struct row_kept *is = &w->after.kept, *was = &w->state.kept;
    if (w->n_kept == 0)
        return;
    kept_keeper_note(w->e->kept, w->n_kept, (int64_t)(is->bytes - was->bytes));
    bool over = is->n > KEPT_KEY_MAX || is->bytes > cfg->history_key_max;
    bool was_over = was->n > KEPT_KEY_MAX || was->bytes > cfg->history_key_max;
    if (over && (!was_over || is->n % TRIM_AGAIN == 0)) /* once, and now and then if that failed */
        kept_trim_start(w->e, w->key, cfg->history_ms, NULL, NULL);
}
