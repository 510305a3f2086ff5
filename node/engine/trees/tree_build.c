/* SPDX-License-Identifier: Apache-2.0 */
/* Building the trees of a store that has none: one written by an earlier release, or by a cluster
 * with another N. The walk goes over STORE_META in order, in slices, while the node serves:
 *
 *   CLEAR (rows of old trees go) -> WALK (each row is hashed in) -> complete
 *
 * Rows before the cursor are in the trees, and each change of them keeps the trees up; rows beyond
 * are left to the walk. The cursor moves in the batch that holds what its slice has added, so a
 * crash loses or doubles nothing. A slice during whose scan something beyond the cursor was
 * written is read again: nobody can say which state it has seen. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"
#include "engine/trees/bad_rows.h"
#include "engine/trees/tree_private.h"

#define STATE_ROW "tree"
#define FORMAT 1
#define SLICE_ROWS 256
#define SLICE_BYTES (1u << 20)
#define SLICE_US 1000 /* between slices */
#define RETRY_US 1000000

enum phase { CLEAR, WALK, COMPLETE };

bool trees_complete(const struct trees *t)
{
    return t->complete;
}

/* ---- what is covered --------------------------------------------------------------------- */

bool trees_covers(struct trees *t, enum row_kind kind, const struct place *at, struct slice key)
{
    struct buf row = BUF_EMPTY;
    if (t->complete)
        return true;
    row_of_id(at, kind, key, &row);
    bool covered = !t->clearing && slice_compare(buf_slice(&row), buf_slice(&t->cursor)) < 0;
    if (!covered)
        t->touched = true;
    buf_release(&row);
    return covered;
}

/* ---- the state on disk ------------------------------------------------------------------- */

static void batch_state(struct trees *t, struct store_batch *b)
{
    struct buf row = BUF_EMPTY;
    buf_put_u8(&row, FORMAT);
    buf_put_u8(&row, t->n);
    if (t->clearing)
        buf_put_u8(&row, t->more ? CLEAR : WALK);
    else
        buf_put_u8(&row, t->more ? WALK : COMPLETE);
    buf_put_bytes(&row, t->clearing ? slice_of(NULL, 0) : buf_slice(&t->next));
    store_batch_put(b, STORE_LOCAL, slice_str(STATE_ROW), buf_slice(&row));
    buf_release(&row);
}

/* False: trees of another kind, or none. */
static bool read_state(struct trees *t, struct slice row)
{
    struct reader r = reader_of(row);
    bool known = read_u8(&r) == FORMAT && read_u8(&r) == t->n;
    uint8_t phase = read_u8(&r);
    struct slice cursor = read_bytes(&r);
    if (!reader_ok(&r) || !known || phase == CLEAR)
        return false;
    t->complete = phase == COMPLETE;
    buf_put_slice(&t->cursor, cursor);
    return true;
}

/* ---- slices ------------------------------------------------------------------------------ */

static void started(struct trees *t, int err)
{
    void (*done)(void *arg, int err) = t->started;
    t->started = NULL;
    if (done != NULL)
        done(t->started_arg, err);
}

static void again(struct trees *t, uint64_t in_us)
{
    timer_set(t->e->ports.timers, &t->timer, engine_now(t->e) + in_us);
}

static void slice_end(struct trees *t, int err)
{
    store_batch_release(&t->batch);
    t->batching = false;
    if (err != DYN_OK && t->started != NULL) {
        started(t, err);
        return;
    }
    if (err != DYN_OK) {
        again(t, RETRY_US);
        return;
    }
    if (!t->complete)
        again(t, SLICE_US);
    started(t, DYN_OK);
}

static void hand_slice_over(struct trees *t)
{
    struct engine *e = t->e;
    batch_state(t, &t->batch);
    int err = e->failed != DYN_OK
                  ? DYN_ERR_STOPPED
                  : e->ports.store.write(e->ports.store.ctx, &t->batch, STORE_BUFFERED, NULL);
    trees_handed(t, err == DYN_OK);
    if (err == DYN_OK && t->clearing) {
        t->clearing = t->more;
    } else if (err == DYN_OK) {
        t->complete = !t->more;
        buf_clear(&t->cursor);
        buf_put_slice(&t->cursor, buf_slice(&t->next));
    }
    slice_end(t, err);
}

static void next_slice(struct trees *t);

static void on_slice(struct store_scan *req, int err, bool more)
{
    struct trees *t = req->arg;
    t->more = more;
    if (err != DYN_OK) {
        trees_handed(t, false);
        slice_end(t, err);
    } else if (t->touched && !t->clearing) {
        trees_handed(t, false);
        store_batch_release(&t->batch);
        next_slice(t);
    } else {
        hand_slice_over(t);
    }
}

static void pass(struct trees *t, struct slice key)
{
    buf_clear(&t->next);
    buf_put_slice(&t->next, key);
    buf_put_u8(&t->next, 0);
}

static bool on_old_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct trees *t = req->arg;
    (void)value;
    store_batch_delete(&t->batch, STORE_TREE, key);
    return true;
}

static void add_row(struct trees *t, const struct place *at, enum row_kind kind, struct slice key,
                    struct slice value)
{
    struct object o = OBJECT_EMPTY;
    struct row_state state = ROW_STATE_NONE;
    struct tree_hash hash;
    if (row_decode(value, &state, &o) == DYN_OK) {
        hash = trees_hash(t, kind, key, &o, &state);
    } else { /* left out, it would be missed by nobody who fills from here (E10) */
        hash = trees_hash_unreadable(t, kind, key, value);
        if (kind == ROW_OBJECT)
            bad_rows_note(t->e->bad_rows, key);
    }
    trees_insert(t, &t->batch, kind, at, key, (struct tree_hash){0, 0}, hash);
    row_state_release(&state);
    object_release(&o);
}

static bool on_meta_row(struct store_scan *req, struct slice row, struct slice value)
{
    struct trees *t = req->arg;
    struct place at;
    enum row_kind kind;
    struct buf key = BUF_EMPTY;
    pass(t, row);
    if (row_meta_parse(row, &at, &kind, &key) == DYN_OK && kind != ROW_DIRSTAT)
        add_row(t, &at, kind, buf_slice(&key), value);
    buf_release(&key);
    return true;
}

static void next_slice(struct trees *t)
{
    struct engine *e = t->e;
    t->batch = STORE_BATCH_EMPTY;
    t->batching = true;
    t->touched = false;
    buf_clear(&t->next);
    buf_put_slice(&t->next, buf_slice(&t->cursor));
    t->scan = (struct store_scan){.family = t->clearing ? STORE_TREE : STORE_META,
                                  .from = t->clearing ? slice_of(NULL, 0) : buf_slice(&t->cursor),
                                  .max_rows = SLICE_ROWS,
                                  .max_bytes = SLICE_BYTES,
                                  .row = t->clearing ? on_old_row : on_meta_row,
                                  .done = on_slice,
                                  .arg = t};
    e->ports.store.scan(e->ports.store.ctx, &t->scan);
}

void trees_build_fire(struct timer *timer, void *arg)
{
    struct trees *t = arg;
    (void)timer;
    if (!t->e->stopping && t->e->failed == DYN_OK)
        next_slice(t);
}

/* ---- start ------------------------------------------------------------------------------- */

static void on_state(struct store_get *req, int err, struct slice value)
{
    struct trees *t = req->arg;
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND) {
        started(t, err);
        return;
    }
    t->clearing = err == DYN_ERR_NOT_FOUND || !read_state(t, value);
    if (t->complete)
        started(t, DYN_OK);
    else
        next_slice(t); /* of an empty store this is the whole walk */
}

void trees_start(struct trees *t, void (*done)(void *arg, int err), void *arg)
{
    t->started = done;
    t->started_arg = arg;
    t->get = (struct store_get){
        .family = STORE_LOCAL, .key = slice_str(STATE_ROW), .done = on_state, .arg = t};
    t->e->ports.store.get(t->e->ports.store.ctx, &t->get);
}

void trees_build_free(struct trees *t)
{
    timer_cancel(t->e->ports.timers, &t->timer);
    if (t->batching)
        store_batch_release(&t->batch);
    buf_release(&t->cursor);
    buf_release(&t->next);
}
