/* SPDX-License-Identifier: Apache-2.0 */
/* See retire.h. A look walks over the partitions that have rows, by skipping from each to the next:
 *
 *   NOTES (which were retired before, and since when)
 *     -> WALK: the first row at or after the cursor
 *          its partition is owned:       on
 *          it is new among the retired:  a note is written; on
 *          it was retired long ago:      ROWS: some rows, each LOCK -> READ -> is a hint or a debt
 *                                        about it? -> it goes
 *                                        ... TREE: sums of nothing go; on
 *     -> at the end notes of partitions that are owned again, or empty, go
 *
 * A note is worth nothing under other owners than those it was made under: then the day begins
 * again. */
#include "engine/transfer/retire.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/entry_place.h"
#include "engine/replica/hints.h"
#include "engine/slices.h"
#include "engine/thin/thin.h"
#include "engine/trees/tree.h"

#define SLICE_ROWS 64
#define TREE_ROWS 1024
#define STEPS 64     /* partitions that are stepped over in a slice */
#define LOOK_SHARE 4 /* so many looks in the time for which things are kept, at least */
#define LOOK_MAX_US (60ull * 1000000)

enum stage { RESTING, NOTES, WALK, ROWS, TREE };

struct note {
    uint32_t partition;
    uint64_t since_ms, fence;
    bool seen; /* in this look, still retired */
};

struct doomed {
    struct buf row;
    struct place at;
    enum row_kind kind;
    struct buf key; /* of an entry: its id */
};

struct retirement {
    struct engine *e;
    struct timer timer;
    struct slice_wait slice;
    enum stage stage;
    struct note *notes;
    uint32_t n_notes, cap_notes, kept;
    struct buf prefix, from, cursor; /* of the scan under way; where the next begins */
    struct store_scan scan;
    bool found, more;
    uint32_t partition; /* at hand */
    uint32_t steps;
    uint64_t version; /* of the trees, when the scan began */
    struct store_batch batch;
    struct doomed rows[SLICE_ROWS];
    uint32_t n, at;
    /* the row at hand */
    bool inside, again;
    struct keylock lock;
    struct object object;
    struct row_state state;
    uint64_t *targets; /* for whom hints may be kept */
    uint32_t n_targets, target;
    bool debt_asked;
    struct buf name;
    struct store_get get;
};

static void walk(struct retirement *t);
static void next_row(struct retirement *t);

/* ---- the end of things ------------------------------------------------------------------- */

static void release_rows(struct retirement *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        buf_release(&t->rows[i].row);
        buf_release(&t->rows[i].key);
    }
    t->n = t->at = 0;
    keylock_release(t->e->locks, &t->lock);
    object_release(&t->object);
    row_state_release(&t->state);
    t->state = ROW_STATE_NONE;
    free(t->targets);
    t->targets = NULL;
}

static uint64_t look_us(const struct engine *e)
{
    uint64_t at = e->cfg.retired_us / LOOK_SHARE;
    return at < LOOK_MAX_US ? at : LOOK_MAX_US;
}

static void rest(struct retirement *t)
{
    struct engine *e = t->e;
    release_rows(t);
    t->stage = RESTING;
    timer_set(e->ports.timers, &t->timer, engine_now(e) + look_us(e) + 1);
}

static bool stopped(const struct retirement *t)
{
    return t->e->stopping || t->e->failed != DYN_OK;
}

static int hand_over(struct retirement *t)
{
    struct engine *e = t->e;
    int err = DYN_OK;
    if (t->batch.count > 0)
        err = e->ports.store.write(e->ports.store.ctx, &t->batch, STORE_BUFFERED, NULL);
    trees_handed(e->trees, err == DYN_OK);
    store_batch_release(&t->batch);
    return err;
}

static void scan(struct retirement *t, enum store_family family, uint32_t max_rows,
                 bool (*row)(struct store_scan *req, struct slice key, struct slice value),
                 void (*done)(struct store_scan *req, int err, bool more))
{
    buf_clear(&t->from); /* `cursor` moves with the rows */
    buf_put_slice(&t->from, buf_slice(&t->cursor));
    t->scan = (struct store_scan){.family = family,
                                  .prefix = buf_slice(&t->prefix),
                                  .from = buf_slice(&t->from),
                                  .max_rows = max_rows,
                                  .max_bytes = 1u << 20,
                                  .row = row,
                                  .done = done,
                                  .arg = t};
    t->e->ports.store.scan(t->e->ports.store.ctx, &t->scan);
}

static void pass(struct retirement *t, struct slice row)
{
    buf_clear(&t->cursor);
    buf_put_slice(&t->cursor, row);
    buf_put_u8(&t->cursor, 0);
}

/* ---- notes ------------------------------------------------------------------------------- */

static struct note *note_of(struct retirement *t, uint32_t partition)
{
    for (uint32_t i = 0; i < t->n_notes; i++)
        if (t->notes[i].partition == partition)
            return &t->notes[i];
    return NULL;
}

static struct note *add_note(struct retirement *t, uint32_t partition)
{
    if (t->n_notes == t->cap_notes) {
        t->cap_notes = t->cap_notes == 0 ? 16 : t->cap_notes * 2;
        t->notes = mem_reallocarray(t->notes, t->cap_notes, sizeof(*t->notes));
    }
    t->notes[t->n_notes] = (struct note){.partition = partition};
    return &t->notes[t->n_notes++];
}

/* The note's row, or its end. */
static void write_note(struct retirement *t, const struct note *n, bool stays)
{
    struct buf name = BUF_EMPTY, row = BUF_EMPTY;
    struct debt debt = {.since_ms = n->since_ms};
    memcpy(debt.state, &n->fence, sizeof(n->fence));
    row_debt(DEBT_RETIRED, n->partition, slice_of(NULL, 0), &name);
    debt_encode(&debt, &row);
    if (stays)
        store_batch_put(&t->batch, STORE_HINT, buf_slice(&name), buf_slice(&row));
    else
        store_batch_delete(&t->batch, STORE_HINT, buf_slice(&name));
    (void)!hand_over(t); /* the next look writes it again */
    buf_release(&name);
    buf_release(&row);
}

static bool on_note(struct store_scan *req, struct slice key, struct slice value)
{
    struct retirement *t = req->arg;
    struct reader r = reader_of(key);
    struct debt debt;
    read_u8(&r);
    uint32_t partition = read_u32_be(&r);
    if (!reader_ok(&r) || debt_decode(value, &debt) != DYN_OK)
        return true;
    struct note *n = add_note(t, partition);
    n->since_ms = debt.since_ms;
    memcpy(&n->fence, debt.state, sizeof(n->fence));
    return true;
}

/* Is it time? A partition that is retired under other owners, or of which the wall clock says that
 * it will be, begins anew. */
static bool is_over(struct retirement *t, uint32_t partition)
{
    struct engine *e = t->e;
    uint64_t now = engine_wall_ms(e), fence = ring_fence(e->ring, partition);
    struct note *n = note_of(t, partition);
    if (n == NULL)
        n = add_note(t, partition);
    n->seen = true;
    if (n->fence != fence || n->since_ms > now) {
        n->fence = fence;
        n->since_ms = now;
        write_note(t, n, true);
        return false;
    }
    return now - n->since_ms >= e->cfg.retired_us / 1000;
}

static void end_look(struct retirement *t)
{
    t->kept = 0;
    for (uint32_t i = 0; i < t->n_notes; i++) {
        t->kept += t->notes[i].seen;
        if (!t->notes[i].seen)
            write_note(t, &t->notes[i], false);
    }
    rest(t);
}

/* ---- trees ------------------------------------------------------------------------------- */

static bool on_sum(struct store_scan *req, struct slice row, struct slice value)
{
    struct retirement *t = req->arg;
    struct tree_hash sum;
    uint32_t leaf;
    pass(t, row);
    if (trees_leaf_sum(row, value, &leaf, &sum) && tree_hash_none(&sum))
        store_batch_delete(&t->batch, STORE_TREE, row);
    return true;
}

static void next_partition(struct retirement *t)
{
    buf_clear(&t->cursor);
    t->stage = WALK;
    if (t->partition == UINT32_MAX) {
        end_look(t);
        return;
    }
    buf_put_u32_be(&t->cursor, t->partition + 1);
    if (++t->steps % STEPS != 0)
        walk(t);
    else
        slices_ask(t->e->slices, &t->slice);
}

static void on_sums(struct store_scan *req, int err, bool more)
{
    struct retirement *t = req->arg;
    bool same = trees_version(t->e->trees) == t->version;
    if (err != DYN_OK || !same)
        store_batch_release(&t->batch); /* one may be something by now: the next look */
    else
        err = hand_over(t);
    if (err == DYN_OK && same && more)
        slices_ask(t->e->slices, &t->slice);
    else
        next_partition(t);
}

static void scan_tree(struct retirement *t)
{
    t->version = trees_version(t->e->trees);
    scan(t, STORE_TREE, TREE_ROWS, on_sum, on_sums);
}

/* ---- one row ----------------------------------------------------------------------------- */

static void go_on(struct retirement *t)
{
    if (t->inside) {
        t->again = true;
        return;
    }
    t->inside = true;
    do {
        t->again = false;
        next_row(t);
    } while (t->again);
    t->inside = false;
}

static void row_ends(struct retirement *t)
{
    keylock_release(t->e->locks, &t->lock);
    object_release(&t->object);
    row_state_release(&t->state);
    t->state = ROW_STATE_NONE;
    t->at++;
    go_on(t);
}

static void forget_debt(struct retirement *t, enum debt_kind kind, const struct doomed *d)
{
    buf_clear(&t->name);
    row_debt(kind, d->at.partition, buf_slice(&d->key), &t->name);
    store_batch_delete(&t->batch, STORE_HINT, buf_slice(&t->name));
}

static void drop(struct retirement *t)
{
    struct engine *e = t->e;
    const struct doomed *d = &t->rows[t->at];
    const struct tree_hash none = {0, 0};
    struct slice key = buf_slice(&d->key);
    if (stopped(t) || engine_owns(e, d->at.partition)) {
        row_ends(t);
        return;
    }
    store_batch_delete(&t->batch, STORE_META, buf_slice(&d->row));
    trees_change(e->trees, &t->batch, d->kind, &d->at, key,
                 trees_hash(e->trees, d->kind, key, &t->object, &t->state), none);
    for (uint32_t i = 0; d->kind == ROW_OBJECT && i < t->object.n; i++) {
        if (t->object.siblings[i].size == 0)
            continue;
        buf_clear(&t->name);
        row_value(&d->at, key, &t->object.siblings[i].value_dot, &t->name);
        store_batch_delete(&t->batch, STORE_VALUE, buf_slice(&t->name));
    }
    if (d->kind == ROW_OBJECT) {
        forget_debt(t, DEBT_DEAD, d);
        forget_debt(t, DEBT_UPLOAD, d);
        thin_forget(&t->batch, d->at.partition, key);
    }
    if (hand_over(t) == DYN_OK)
        e->stats.retired_rows++;
    row_ends(t);
}

static void look_for_keeper(struct retirement *t);

static void on_keeper(struct store_get *req, int err, struct slice value)
{
    struct retirement *t = req->arg;
    (void)value;
    if (err == DYN_ERR_NOT_FOUND)
        look_for_keeper(t);
    else
        row_ends(t); /* somebody needs it, or that cannot be known now */
}

/* A hint for somebody, or an entry that is owed. */
static void look_for_keeper(struct retirement *t)
{
    const struct doomed *d = &t->rows[t->at];
    struct slice key = buf_slice(&d->key);
    buf_clear(&t->name);
    if (t->target < t->n_targets) {
        row_hint(t->targets[t->target++], d->at.partition, d->kind, key, &t->name);
    } else if (d->kind == ROW_OBJECT && !t->debt_asked) {
        t->debt_asked = true;
        row_debt(DEBT_ENTRY, d->at.partition, key, &t->name);
    } else {
        drop(t);
        return;
    }
    t->get = (struct store_get){
        .family = STORE_HINT, .key = buf_slice(&t->name), .done = on_keeper, .arg = t};
    t->e->ports.store.get(t->e->ports.store.ctx, &t->get);
}

static void on_current(struct store_get *req, int err, struct slice value)
{
    struct retirement *t = req->arg;
    if (err == DYN_OK)
        err = row_decode(value, &t->state, &t->object);
    if (err != DYN_OK) {
        row_ends(t); /* it has gone; or it cannot be read, and is no copy of anything */
        return;
    }
    /* Under the key's lock: a hint for somebody of whom none was kept before is looked for too. */
    uint32_t most = hints_nodes(t->e->hints, NULL, 0);
    t->targets = mem_reallocarray(t->targets, most + 1, sizeof(*t->targets));
    t->n_targets = hints_nodes(t->e->hints, t->targets, most);
    t->target = 0;
    t->debt_asked = false;
    look_for_keeper(t);
}

static void read_current(struct retirement *t)
{
    t->get = (struct store_get){
        .family = STORE_META, .key = buf_slice(&t->rows[t->at].row), .done = on_current, .arg = t};
    t->e->ports.store.get(t->e->ports.store.ctx, &t->get);
}

static void granted(struct keylock *lock, void *arg)
{
    (void)lock;
    read_current(arg);
}

static struct slice key_of(const struct doomed *d)
{
    uint32_t fragment;
    struct slice id = buf_slice(&d->key);
    return d->kind == ROW_ENTRY ? entry_id_split(id, &fragment) : id;
}

static void next_row(struct retirement *t)
{
    struct engine *e = t->e;
    if (t->at < t->n && t->rows[t->at].kind == ROW_DIRSTAT) {
        if (!stopped(t) && !engine_owns(e, t->partition)) {
            store_batch_delete(&t->batch, STORE_META, buf_slice(&t->rows[t->at].row));
            (void)!hand_over(t); /* the next look */
        }
        t->at++;
        t->again = true;
    } else if (t->at < t->n) {
        if (keylock_acquire(e->locks, &t->lock, LOCK_KEY, key_of(&t->rows[t->at]), granted, t))
            read_current(t);
    } else if (t->more) {
        release_rows(t);
        slices_ask(e->slices, &t->slice);
    } else {
        release_rows(t);
        buf_clear(&t->cursor);
        t->stage = TREE;
        slices_ask(e->slices, &t->slice);
    }
}

/* ---- the rows of a partition ------------------------------------------------------------- */

static bool on_row(struct store_scan *req, struct slice row, struct slice value)
{
    struct retirement *t = req->arg;
    struct doomed *d = &t->rows[t->n];
    (void)value;
    pass(t, row);
    *d = (struct doomed){.row = BUF_EMPTY, .key = BUF_EMPTY};
    if (row_meta_parse(row, &d->at, &d->kind, &d->key) != DYN_OK) {
        buf_release(&d->key);
        return true;
    }
    buf_put_slice(&d->row, row);
    t->n++;
    return t->n < SLICE_ROWS;
}

static void on_rows(struct store_scan *req, int err, bool more)
{
    struct retirement *t = req->arg;
    t->more = more || t->n == SLICE_ROWS;
    if (err != DYN_OK) {
        release_rows(t);
        next_partition(t);
        return;
    }
    go_on(t);
}

static void scan_rows(struct retirement *t)
{
    scan(t, STORE_META, SLICE_ROWS, on_row, on_rows);
}

/* ---- the walk ---------------------------------------------------------------------------- */

static bool on_first(struct store_scan *req, struct slice row, struct slice value)
{
    struct retirement *t = req->arg;
    struct reader r = reader_of(row);
    (void)value;
    t->partition = read_u32_be(&r);
    t->found = reader_ok(&r);
    return false;
}

static void on_walked(struct store_scan *req, int err, bool more)
{
    struct retirement *t = req->arg;
    (void)more;
    if (err != DYN_OK || !t->found || t->partition >= ring_q(t->e->ring)) {
        end_look(t);
    } else if (engine_owns(t->e, t->partition) || !is_over(t, t->partition)) {
        next_partition(t);
    } else {
        t->stage = ROWS;
        buf_clear(&t->cursor);
        buf_put_u32_be(&t->prefix, t->partition);
        slices_ask(t->e->slices, &t->slice);
    }
}

static void walk(struct retirement *t)
{
    buf_clear(&t->prefix);
    t->found = false;
    scan(t, STORE_META, 1, on_first, on_walked);
}

static void on_noted(struct store_scan *req, int err, bool more)
{
    struct retirement *t = req->arg;
    (void)more;
    if (err != DYN_OK) {
        rest(t);
        return;
    }
    t->stage = WALK;
    buf_clear(&t->cursor);
    walk(t);
}

static void on_slice(struct slice_wait *w)
{
    static const uint8_t prefix[] = {DEBT_RETIRED};
    struct retirement *t = w->arg;
    bool owned = (t->stage == ROWS || t->stage == TREE) && engine_owns(t->e, t->partition);
    if (stopped(t)) {
        rest(t);
    } else if (owned) {
        next_partition(t);
    } else if (t->stage == NOTES) {
        t->n_notes = 0;
        buf_clear(&t->prefix);
        buf_put(&t->prefix, prefix, sizeof(prefix));
        buf_clear(&t->cursor);
        scan(t, STORE_HINT, UINT32_MAX, on_note, on_noted);
    } else if (t->stage == WALK) {
        walk(t);
    } else if (t->stage == ROWS) {
        scan_rows(t);
    } else {
        scan_tree(t);
    }
}

static void on_timer(struct timer *timer, void *arg)
{
    struct retirement *t = arg;
    (void)timer;
    if (stopped(t))
        return;
    t->stage = NOTES;
    slices_ask(t->e->slices, &t->slice);
}

/* ---- life -------------------------------------------------------------------------------- */

struct retirement *retirement_new(struct engine *e)
{
    struct retirement *t = mem_new(struct retirement);
    t->e = e;
    t->state = ROW_STATE_NONE;
    t->batch = STORE_BATCH_EMPTY;
    keylock_init(&t->lock);
    timer_init(&t->timer, on_timer, t);
    slice_wait_init(&t->slice, WORK_REAP, on_slice, t);
    return t;
}

void retirement_free(struct retirement *t)
{
    if (t == NULL)
        return;
    timer_cancel(t->e->ports.timers, &t->timer);
    slices_forget(t->e->slices, &t->slice);
    release_rows(t);
    store_batch_release(&t->batch);
    buf_release(&t->prefix);
    buf_release(&t->from);
    buf_release(&t->cursor);
    buf_release(&t->name);
    free(t->notes);
    free(t);
}

void retirement_start(struct retirement *t)
{
    struct engine *e = t->e;
    if (e->cfg.retired_us != 0)
        timer_set(e->ports.timers, &t->timer, engine_now(e) + look_us(e) + 1);
}

uint32_t retirement_partitions(const struct retirement *t)
{
    return t->kept;
}
