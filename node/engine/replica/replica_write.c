/* SPDX-License-Identifier: Apache-2.0 */
/* Merging or minting into a node's own copy. The problem is to keep four rows in step (object,
 * values, entry, the directory's own state) while other requests and late storage callbacks
 * interleave. The idea: locks in a fixed order, all reads first, then one batch.
 *
 *   READ_OBJECT -> [mutate or merge] -> READ_ENTRY -> [did liveness change?]
 *      no:  WRITE
 *      yes: LOCK_OWN_DIR -> SCAN_CHILDREN (a dead directory with live entries is owed, E16; so
 *           is one with more entries than are looked at)
 *           LOCK_PARENT -> READ_DIRSTAT -> READ_PARENT (a live entry under a dead directory is
 *           owed, E16) -> WRITE
 *   WRITE: READ_HINT when it is held for another, then one batch; the locks go when the store has
 *   the batch, done runs when it is acknowledged at the durability asked for.
 *
 * A state without some sibling's value is never stored (E19, E24): done reports what is missing
 * instead. */
#include "engine/replica/replica.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/late_copy.h"
#include "engine/coordinate/reconcile.h"
#include "engine/fragments/entry_place.h"
#include "engine/fragments/fragments.h"
#include "engine/membership/view.h"
#include "engine/replica/hints.h"
#include "engine/trees/bad_rows.h"
#include "engine/watchers.h"

enum stage {
    READ_OBJECT = 1,
    READ_ENTRY,
    LOCK_OWN_DIR,
    SCAN_CHILDREN,
    LOCK_PARENT,
    READ_DIRSTAT,
    READ_PARENT,
    READ_HINT,
    WRITE,
    ENDED,
};

static void advance(struct replica_write *w, int stage);

static void release_locks(struct replica_write *w)
{
    struct keylock_table *t = w->e->locks;
    keylock_release(t, &w->parent_lock);
    keylock_release(t, &w->own_dir_lock);
    keylock_release(t, &w->key_lock);
}

static void finish(struct replica_write *w, int err)
{
    w->stage = ENDED;
    release_locks(w);
    w->done(w, err);
}

static void granted(struct keylock *lock, void *arg)
{
    (void)lock;
    struct replica_write *w = arg;
    advance(w, w->stage);
}

/* ---- reads ------------------------------------------------------------------------------- */

static void read_row(struct replica_write *w, enum store_family family,
                     void (*done)(struct store_get *req, int err, struct slice value))
{
    w->get =
        (struct store_get){.family = family, .key = buf_slice(&w->row), .done = done, .arg = w};
    w->e->ports.store.get(w->e->ports.store.ctx, &w->get);
}

static void merge_or_mutate(struct replica_write *w);

static void on_object(struct store_get *req, int err, struct slice value)
{
    struct replica_write *w = req->arg;
    if (err == DYN_OK)
        err = row_decode(value, &w->state, &w->stored);
    else if (err == DYN_ERR_NOT_FOUND)
        err = DYN_OK;
    if (err == DYN_OK)
        bad_rows_readable(w->e->bad_rows, w->key);
    w->replaces = err == DYN_ERR_CORRUPT && w->mend && bad_rows_replaces(w->e->bad_rows);
    if (w->replaces) {
        object_release(&w->stored);
        w->stored = OBJECT_EMPTY;
        err = DYN_OK;
    } else if (err == DYN_ERR_CORRUPT) { /* nobody knows what it has seen: nothing is merged */
        bad_rows_note(w->e->bad_rows, w->key);
    }
    if (err != DYN_OK) {
        finish(w, err);
        return;
    }
    merge_or_mutate(w);
}

/* A pair of ours that we do not know: somebody remembers what we forgot. The mark closes (E1). */
static void close_forgotten_mark(struct replica_write *w, const struct object *other)
{
    struct actor own = {w->e->cfg.node, w->mark};
    if (w->mark.run != 0 && clock_lacks_own(&w->stored.clock, &other->clock, &own))
        w->mark = (struct epoch){0, 0};
}

static int by_dot(const void *a, const void *b)
{
    return dot_compare(&((const struct sibling *)a)->dot, &((const struct sibling *)b)->dot);
}

/* BUG_KEEP_MINE: of two equal siblings this node prefers the one that it minted, whatever the order
 * among them says. */
static void keep_mine(struct replica_write *w)
{
    for (uint32_t i = 0; i < w->stored.n; i++) {
        const struct sibling *mine = &w->stored.siblings[i];
        if (mine->dot.actor.node != w->e->cfg.node || object_find(&w->object, &mine->dot) != NULL ||
            clock_covers(&w->incoming->clock, &mine->dot))
            continue;
        for (uint32_t k = 0; k < w->object.n; k++) {
            struct sibling *theirs = &w->object.siblings[k];
            if (!sibling_same_content(mine, theirs))
                continue;
            sibling_release(theirs);
            sibling_copy(theirs, mine);
        }
    }
    if (w->object.n > 1)
        qsort(w->object.siblings, w->object.n, sizeof(struct sibling), by_dot);
}

/* An epoch whose pair goes is closed: a counter must not begin again at 1 (E4). A stand-in keeps
 * the whole clock, for the node that it stands in for has not seen this put. */
static void follow_cut(struct replica_write *w)
{
    struct actor own = {w->e->cfg.node, w->mark};
    if (w->cut == NULL || w->hint_for != 0 || !object_follow_cut(&w->object, w->cut))
        return;
    w->changed = true;
    if (clock_get(&w->object.clock, &own) == 0 && w->e->cfg.bug != BUG_OWN_PAIR)
        w->mark = (struct epoch){0, 0};
}

/* Whatever comes to a tombstone that is about to be reaped, also what it has seen already, says
 * that something older may be under way: it is prepared no more (E15). */
static void touch_prepared(struct replica_write *w)
{
    w->changed = true; /* the row is written without the mark */
    w->e->stats.reap_cancelled++;
}

static bool is_in_state(const struct object *o, const uint8_t state[DIGEST_LEN])
{
    uint8_t hash[DIGEST_LEN];
    object_hash(o, hash);
    return digest_equal(hash, state);
}

static void merge_or_mutate(struct replica_write *w)
{
    if (w->thin_if != NULL && !is_in_state(&w->stored, w->thin_if)) {
        finish(w, DYN_ERR_REFUSED); /* its keepers have spoken of another one */
        return;
    }
    w->mark = w->state.mark;
    w->was_live = object_live(&w->stored);
    object_copy(&w->object, &w->stored);
    if (w->mutate != NULL) {
        int err = w->mutate(w, &w->object, &w->mark);
        if (err != DYN_OK) {
            finish(w, err);
            return;
        }
        w->changed = !object_equal(&w->object, &w->stored);
    } else if (w->roles & ROLE_OBJECT) {
        if (w->e->cfg.bug != BUG_NO_MARK)
            close_forgotten_mark(w, w->incoming);
        w->changed = object_join(&w->object, w->incoming);
        if (w->e->cfg.bug == BUG_KEEP_MINE)
            keep_mine(w);
        follow_cut(w);
    } else {
        object_copy(&w->object, w->incoming);
    }
    if (w->roles & ROLE_OBJECT)
        replica_collect_missing(w);
    if (w->n_missing > 0) {
        finish(w, DYN_OK);
        return;
    }
    if ((w->roles & ROLE_OBJECT) && replica_update_lacks(w))
        w->changed = true;
    if (w->state.prepared.boot != 0)
        touch_prepared(w);
    advance(w, READ_ENTRY);
}

static void replace_entry(struct replica_write *w, const struct object *by)
{
    if (!is_in_state(&w->entry, w->only_if) || object_equal(&w->entry, by))
        return;
    object_copy(&w->entry, by);
    w->changed = w->entry_gains = true;
}

static void on_entry(struct store_get *req, int err, struct slice value)
{
    struct replica_write *w = req->arg;
    struct row_state state = ROW_STATE_NONE;
    if (err == DYN_OK)
        err = row_decode(value, &state, &w->entry);
    else if (err == DYN_ERR_NOT_FOUND)
        err = DYN_OK;
    if (err != DYN_OK) {
        finish(w, err);
        return;
    }
    struct object projection = OBJECT_EMPTY;
    object_project(&w->object, &projection);
    if (w->cut != NULL)
        clock_join(&projection.clock, w->cut); /* no pair of an entry is ever cut (E4) */
    w->entry_was_live = object_live(&w->entry);
    w->entry_was = trees_hash(w->e->trees, ROW_ENTRY, w->id, &w->entry, &state);
    if (state.prepared.boot != 0)
        touch_prepared(w);
    row_state_release(&state);
    if (w->only_if != NULL)
        replace_entry(w, &projection);
    else if (entry_join(&w->entry, &projection))
        w->changed = w->entry_gains = true;
    object_release(&projection);
    w->entry_live_changed = object_live(&w->entry) != w->entry_was_live;
    advance(w, LOCK_OWN_DIR);
}

/* An entry in a fragment that it does not belong to counts when it has been moved: it may have died
 * where it belongs. */
static bool on_child(struct store_scan *req, struct slice key, struct slice value)
{
    struct replica_write *w = req->arg;
    struct object child = OBJECT_EMPTY;
    struct epoch none;
    struct slice name = slice_of(key.data + w->children.len, key.len - w->children.len);
    bool head = entry_key_is_head(w->key);
    if (name.len == 0 ||
        fragments_stray(w->e, head ? w->dir : w->key, name, head ? w->fragment : 0))
        return true;
    if (object_row_decode(value, &none, &child) == DYN_OK && object_live(&child))
        w->orphans = true;
    object_release(&child);
    return !w->orphans;
}

static void on_children(struct store_scan *req, int err, bool more)
{
    struct replica_write *w = req->arg;
    if (err != DYN_OK) {
        finish(w, err);
        return;
    }
    w->orphans |= more; /* perhaps: the sweep of debts looks at all, without locks */
    advance(w, LOCK_PARENT);
}

static void on_dirstat(struct store_get *req, int err, struct slice value)
{
    struct replica_write *w = req->arg;
    if (err == DYN_OK) {
        struct reader r = reader_of(value);
        w->dirstat = read_u64(&r);
        w->live_here = reader_left(&r) > 0 ? read_u64(&r) : 0; /* older rows do not count */
        err = reader_done(&r) ? DYN_OK : DYN_ERR_CORRUPT;
    }
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND) {
        finish(w, err);
        return;
    }
    advance(w, READ_PARENT);
}

/* A head is no entry that anybody lists. */
static void on_parent(struct store_get *req, int err, struct slice value)
{
    struct replica_write *w = req->arg;
    struct object parent = OBJECT_EMPTY;
    struct epoch none;
    if (err == DYN_OK)
        err = object_row_decode(value, &none, &parent);
    w->parent_dead = !object_is_dir(&parent);
    object_release(&parent);
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND) {
        finish(w, err);
        return;
    }
    advance(w, READ_HINT);
}

static void on_hint(struct store_get *req, int err, struct slice value)
{
    struct replica_write *w = req->arg;
    struct debt before = {0};
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND) {
        finish(w, err);
        return;
    }
    if (err == DYN_OK && debt_decode(value, &before) == DYN_OK) {
        uint8_t state[DIGEST_LEN];
        object_hash(&w->object, state);
        w->hint_was = before.bytes;
        w->hint_since_ms = before.since_ms;
        w->hint_current = memcmp(state, before.state, DIGEST_LEN) == 0;
    }
    advance(w, WRITE);
}

/* ---- the batch --------------------------------------------------------------------------- */

static void on_written(struct store_write *req, int err)
{
    struct replica_write *w = req->arg;
    if (w->handing_over) { /* inside store->write: the locks go first */
        w->acknowledged = true;
        w->ack_err = err;
        return;
    }
    w->done(w, err);
}

static uint64_t fence_now(const struct replica_write *w)
{
    return engine_fence_at(w->e, w->at.partition, w->at_dir.partition, w->roles);
}

static enum store_sync effective_sync(const struct replica_write *w)
{
    return w->e->cfg.bug == BUG_SKIPPED_SYNC ? STORE_BUFFERED : w->sync;
}

/* What was under way for so long may have been deleted meanwhile, and the delete forgotten (E15):
 * also where there is a row, for that may be a new one. */
static bool is_too_old(const struct replica_write *w)
{
    if (w->incoming == NULL || w->born_us == 0 ||
        engine_now(w->e) <= w->born_us + w->e->cfg.message_life_us)
        return false;
    return w->entry_gains || ((w->roles & ROLE_OBJECT) && !object_equal(&w->object, &w->stored));
}

/* Fewer versions than before, and none of them kept: what a full disk must be able to take. */
static bool deletes(const struct replica_write *w)
{
    return (w->roles & ROLE_OBJECT) && w->n_kept == 0 &&
           object_live_count(&w->object) < object_live_count(&w->stored);
}

static void write_batch(struct replica_write *w)
{
    struct engine *e = w->e;
    struct store_port *store = &e->ports.store;
    struct store_batch b = STORE_BATCH_EMPTY;
    uint64_t live_here = w->live_here;
    if (e->failed != DYN_OK) {
        finish(w, DYN_ERR_STOPPED);
        return;
    }
    /* it was sent to owners that are none any more (E10), or who was to keep the values may be
     * about to let go of them */
    if (w->generation != e->generation &&
        (w->n_thin > 0 || (w->fence != fence_now(w) && e->cfg.bug != BUG_UNFENCED_MOVE))) {
        finish(w, DYN_ERR_REFUSED);
        return;
    }
    if (is_too_old(w)) {
        e->stats.reap_too_old++;
        finish(w, DYN_ERR_STALE);
        return;
    }
    if (w->changed) {
        replica_batch_rows(w, &b);
        replica_batch_debts(w, &b);
        b.deletes = deletes(w);
    } else if (w->hint_for != 0 && !w->hint_current) {
        replica_batch_debts(w, &b);
    }
    w->stage = ENDED;
    w->write = (struct store_write){.done = on_written, .arg = w};
    w->handing_over = true;
    int err = DYN_OK;
    if (b.count > 0)
        err = store->write(store->ctx, &b, effective_sync(w), &w->write);
    else if (effective_sync(w) == STORE_SYNCED)
        store->sync(store->ctx, &w->write); /* what we vouch for may have been written unsynced */
    else
        on_written(&w->write, DYN_OK);
    trees_handed(e->trees, err == DYN_OK);
    store_batch_release(&b);
    if (err != DYN_OK) { /* refused: nobody has seen it, nobody will */
        w->handing_over = false;
        w->live_here = live_here;
        if (err == DYN_ERR_NO_SPACE && kept_give_up(w))
            write_batch(w); /* what goes makes room */
        else
            finish(w, err);
        return;
    }
    hints_note(w->e->hints, w->hint_for, w->hint_was, w->hint_bytes);
    release_locks(w); /* reads see the batch from now on, so nobody can come in between */
    kept_handed(w);
    if (w->changed)
        watchers_written(e->watchers, w);
    if (w->changed && (w->roles & ROLE_OBJECT) && w->object.n > 1) {
        reconcile_stored(e, w->key, &w->object);
        late_copy_merged(w);
    }
    if (w->changed && (w->roles & ROLE_ENTRY) && w->name.len > 0)
        fragments_note(e, &w->at_dir, w->dir, w->name, w->fragment,
                       replica_liveness_changed(w) ? w->live_here : 0);
    if (w->handed != NULL)
        w->handed(w);
    w->handing_over = false;
    if (w->acknowledged)
        w->done(w, w->ack_err);
}

/* ---- the machine ------------------------------------------------------------------------- */

/* Also as the head of one of its fragments sees it. */
static bool directory_died(const struct replica_write *w)
{
    if (entry_key_is_head(w->key))
        return w->entry_was_live && !object_live(&w->entry);
    return (w->roles & ROLE_OBJECT) && w->was_live && !object_live(&w->object);
}

static void scan_children(struct replica_write *w)
{
    buf_clear(&w->children);
    if (entry_key_is_head(w->key))
        row_fragment_prefix(&w->at_dir, w->dir, w->fragment, &w->children);
    else
        row_entry_prefix(&w->at, w->key, &w->children);
    w->scan = (struct store_scan){.family = STORE_META,
                                  .prefix = buf_slice(&w->children),
                                  .max_rows = CHILDREN_ROWS_MAX,
                                  .max_bytes = CHILDREN_BYTES_MAX,
                                  .row = on_child,
                                  .done = on_children,
                                  .arg = w};
    w->e->ports.store.scan(w->e->ports.store.ctx, &w->scan);
}

static void on_own_dirstat(struct store_get *req, int err, struct slice value)
{
    (void)value;
    struct replica_write *w = req->arg;
    if (err == DYN_OK)
        scan_children(w);
    else if (err == DYN_ERR_NOT_FOUND) /* nothing ever lay under it: a file, nearly always */
        advance(w, LOCK_PARENT);
    else
        finish(w, err);
}

static void look_for_children(struct replica_write *w)
{
    if (entry_key_is_head(w->key)) {
        scan_children(w);
        return;
    }
    buf_clear(&w->row);
    row_dirstat(&w->at, w->key, &w->row);
    read_row(w, STORE_META, on_own_dirstat);
}

static void begin_stage(struct replica_write *w)
{
    struct keylock_table *locks = w->e->locks;
    buf_clear(&w->row);
    switch (w->stage) {
    case READ_OBJECT:
        if (!(w->roles & ROLE_OBJECT)) {
            merge_or_mutate(w);
            return;
        }
        row_object(&w->at, w->key, &w->row);
        read_row(w, STORE_META, on_object);
        return;
    case READ_ENTRY:
        if (!(w->roles & ROLE_ENTRY)) {
            advance(w, LOCK_OWN_DIR);
            return;
        }
        row_of_id(&w->at_dir, ROW_ENTRY, w->id, &w->row);
        read_row(w, STORE_META, on_entry);
        return;
    case LOCK_OWN_DIR:
        if (!directory_died(w)) {
            advance(w, LOCK_PARENT);
            return;
        }
        w->stage = SCAN_CHILDREN;
        if (keylock_acquire(locks, &w->own_dir_lock, LOCK_DIR,
                            entry_key_is_head(w->key) ? w->dir : w->key, granted, w))
            look_for_children(w);
        return;
    case SCAN_CHILDREN:
        look_for_children(w);
        return;
    case LOCK_PARENT:
        if (!replica_liveness_changed(w)) {
            advance(w, READ_HINT);
            return;
        }
        w->stage = READ_DIRSTAT;
        if (keylock_acquire(locks, &w->parent_lock, LOCK_DIR, w->dir, granted, w))
            advance(w, READ_DIRSTAT);
        return;
    case READ_DIRSTAT:
        row_dirstat(&w->at_dir, w->dir, &w->row);
        read_row(w, STORE_META, on_dirstat);
        return;
    case READ_PARENT:
        if (w->dir.len == 0 || !object_live(&w->entry)) { /* the root always lives */
            advance(w, READ_HINT);
            return;
        }
        if (w->fragment != 0) {
            row_fragment_prefix(&w->at_dir, w->dir, w->fragment, &w->row); /* the empty name */
            read_row(w, STORE_META, on_parent);
            return;
        }
        row_object(&w->at_dir, w->dir, &w->row);
        read_row(w, STORE_META, on_parent);
        return;
    case READ_HINT:
        if (w->hint_for == 0) {
            advance(w, WRITE);
            return;
        }
        row_hint(w->hint_for, w->roles & ROLE_OBJECT ? w->at.partition : w->at_dir.partition,
                 w->roles & ROLE_OBJECT ? ROW_OBJECT : ROW_ENTRY,
                 w->roles & ROLE_OBJECT ? w->key : w->id, &w->row);
        read_row(w, STORE_HINT, on_hint);
        return;
    case WRITE:
        write_batch(w);
        return;
    default:
        assert(false && "no such stage");
    }
}

static void advance(struct replica_write *w, int stage)
{
    assert(stage >= w->stage && w->stage != ENDED);
    w->stage = stage;
    begin_stage(w);
}

void replica_write_start(struct replica_write *w)
{
    struct engine *e = w->e;
    assert((w->incoming != NULL) != (w->mutate != NULL));
    assert(w->mutate == NULL || (w->roles & ROLE_OBJECT));
    w->at = place_of(e->ring, w->key);
    if (w->key.len == 0) {
        w->roles &= ~(unsigned)ROLE_ENTRY; /* the root is in no directory */
    } else {
        w->dir = key_parent(w->key);
        w->name = key_name(w->key);
        w->at_dir = place_of_fragment(e->ring, w->dir, w->fragment);
    }
    assert(w->roles != 0);
    assert(!entry_key_is_head(w->key) || (w->roles == ROLE_ENTRY && w->fragment != 0));
    w->id = w->key;
    w->id_bytes = w->children = BUF_EMPTY;
    if (w->fragment != 0) {
        entry_id(w->fragment, w->key, &w->id_bytes);
        w->id = buf_slice(&w->id_bytes);
    }
    if (w->n_thin == 0)
        w->generation = e->generation;
    w->fence = fence_now(w);
    w->object = w->stored = w->entry = OBJECT_EMPTY;
    w->state = w->after = ROW_STATE_NONE;
    w->mark = (struct epoch){0, 0};
    w->kept = NULL;
    w->n_kept = 0;
    w->keep_none = false;
    w->row = BUF_EMPTY;
    keylock_init(&w->key_lock);
    keylock_init(&w->own_dir_lock);
    keylock_init(&w->parent_lock);
    w->handing_over = w->acknowledged = w->entry_gains = false;
    w->stage = READ_OBJECT;
    if (keylock_acquire(e->locks, &w->key_lock, LOCK_KEY, w->key, granted, w))
        begin_stage(w);
}

void replica_write_release(struct replica_write *w)
{
    release_locks(w); /* held only when the engine is taken down in the middle of it */
    object_release(&w->object);
    object_release(&w->stored);
    object_release(&w->entry);
    row_state_release(&w->state);
    row_state_release(&w->after);
    buf_release(&w->row);
    buf_release(&w->id_bytes);
    buf_release(&w->children);
    free(w->kept);
    w->kept = NULL;
    w->n_kept = 0;
    free(w->missing);
    w->missing = NULL;
    w->n_missing = 0;
}
