/* SPDX-License-Identifier: Apache-2.0 */
/* See replica_adopt.h. The problem is order: between the look at a row and the batch nobody else
 * may write it (E9). Locks are only tried, never waited for, so that any number of them can be held
 * in any order.
 *
 *   LOCK what is free -> READ rows, and the directories above entries
 *   -> one batch of what is absent -> the locks go -> acknowledged -> done */
#include "engine/replica/replica_adopt.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"
#include "engine/fragments/fragments.h"
#include "engine/reap/reap.h"
#include "engine/replica/collect.h"
#include "engine/thin/thin.h"
#include "engine/watchers.h"

static void write_all(struct adoption *a);

static void settled(struct adoption *a)
{
    if (--a->n_active == 0)
        write_all(a);
}

/* ---- what is ordinary -------------------------------------------------------------------- */

static bool values_loaded(const struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->siblings[i].size > 0 && o->siblings[i].value == NULL)
            return false;
    return true;
}

static bool object_is_ordinary(const struct engine *e, struct slice key, const struct object *o)
{
    return values_loaded(o) && fragments_listed(e, key) == 1 &&
           !watchers_watch_dir(e->watchers, key);
}

static bool entry_is_ordinary(const struct engine *e, struct slice key, struct slice id)
{
    return key.len > 0 && !entry_key_is_head(key) &&
           !watchers_watch_dir(e->watchers, entry_id_dir(id));
}

static bool is_ordinary(struct adopt_row *r)
{
    const struct adoption *a = r->adoption;
    const struct engine *e = a->e;
    r->fragment = 0;
    r->key = r->kind == ROW_ENTRY ? entry_id_split(r->id, &r->fragment) : r->id;
    r->at = place_of_row(e->ring, r->kind, r->id);
    if (object_is_absent(r->object) || r->object->n > 1 || object_is_dir(r->object) ||
        r->at.partition != a->partition)
        return false;
    return r->kind == ROW_ENTRY ? entry_is_ordinary(e, r->key, r->id)
                                : object_is_ordinary(e, r->key, r->object);
}

/* ---- locks ------------------------------------------------------------------------------- */

static void not_granted(struct keylock *lock, void *arg)
{
    (void)lock;
    (void)arg;
    assert(false && "a lock that was free is held at once");
}

static bool try_lock(struct adoption *a, struct keylock *lock, enum lock_class cls,
                     struct slice key)
{
    keylock_init(lock);
    if (keylock_is_held(a->e->locks, cls, key))
        return false;
    bool held = keylock_acquire(a->e->locks, lock, cls, key, not_granted, NULL);
    assert(held);
    return held;
}

static void unlock(struct adoption *a)
{
    for (uint32_t i = 0; i < a->n_dirs; i++)
        keylock_release(a->e->locks, &a->dirs[i].lock);
    for (uint32_t i = 0; i < a->n; i++)
        keylock_release(a->e->locks, &a->rows[i].lock);
}

/* ---- directories ------------------------------------------------------------------------- */

/* Rows come in order, so those of one directory mostly follow each other. */
static uint32_t dir_of(struct adoption *a, const struct adopt_row *r)
{
    struct slice dir = key_parent(r->key);
    for (uint32_t i = a->n_dirs; i-- > 0;)
        if (a->dirs[i].fragment == r->fragment && slice_equal(a->dirs[i].dir, dir))
            return i;
    struct adopt_dir *d = &a->dirs[a->n_dirs];
    *d = (struct adopt_dir){.dir = dir, .fragment = r->fragment, .at = r->at, .adoption = a};
    d->usable = try_lock(a, &d->lock, LOCK_DIR, dir);
    return a->n_dirs++;
}

static void on_stat(struct store_get *req, int err, struct slice value)
{
    struct adopt_dir *d = req->arg;
    if (err == DYN_OK) {
        struct reader r = reader_of(value);
        d->newest = read_u64(&r);
        d->live_here = reader_left(&r) > 0 ? read_u64(&r) : 0; /* older rows do not count */
        err = reader_done(&r) ? DYN_OK : DYN_ERR_CORRUPT;
    }
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND)
        d->usable = false;
    settled(d->adoption);
}

static void on_parent(struct store_get *req, int err, struct slice value)
{
    struct adopt_dir *d = req->arg;
    struct object parent = OBJECT_EMPTY;
    struct epoch none;
    if (err == DYN_OK)
        err = object_row_decode(value, &none, &parent);
    d->parent_dead = !object_is_dir(&parent);
    object_release(&parent);
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND)
        d->usable = false;
    settled(d->adoption);
}

static void get(struct adoption *a, struct store_get *req, const struct buf *row,
                void (*done)(struct store_get *req, int err, struct slice value), void *arg)
{
    *req =
        (struct store_get){.family = STORE_META, .key = buf_slice(row), .done = done, .arg = arg};
    a->n_active++;
    a->e->ports.store.get(a->e->ports.store.ctx, req);
}

static void read_dir(struct adoption *a, struct adopt_dir *d)
{
    row_dirstat(&d->at, d->dir, &d->stat_row);
    get(a, &d->stat, &d->stat_row, on_stat, d);
    if (d->dir.len == 0) /* the root always lives */
        return;
    if (d->fragment != 0)
        row_fragment_prefix(&d->at, d->dir, d->fragment, &d->parent_row); /* its head */
    else
        row_object(&d->at, d->dir, &d->parent_row);
    get(a, &d->parent, &d->parent_row, on_parent, d);
}

/* ---- rows -------------------------------------------------------------------------------- */

static void on_row(struct store_get *req, int err, struct slice value)
{
    struct adopt_row *r = req->arg;
    (void)value;
    r->fits = err == DYN_ERR_NOT_FOUND;
    settled(r->adoption);
}

static void batch_object(struct adoption *a, struct adopt_row *r, struct store_batch *b)
{
    struct trees *trees = a->e->trees;
    const struct object *o = r->object;
    const struct row_state state = ROW_STATE_NONE;
    struct buf key = BUF_EMPTY, row = BUF_EMPTY;
    row_encode(&state, o, &row);
    store_batch_put(b, STORE_META, buf_slice(&r->row), buf_slice(&row));
    trees_change(trees, b, ROW_OBJECT, &r->at, r->key, (struct tree_hash){0, 0},
                 trees_hash(trees, ROW_OBJECT, r->key, o, NULL));
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        if (s->size == 0)
            continue;
        buf_clear(&key);
        row_value(&r->at, r->key, &s->value_dot, &key);
        store_batch_put(b, STORE_VALUE, buf_slice(&key), slice_of(s->value->data, s->value->len));
    }
    if (object_live(o))
        collect_batch(a->e, b, r->at.partition, r->key);
    reap_batch(b, r->at.partition, r->key, o);
    thin_batch_new(a->e, b, &r->at, r->key, o);
    buf_release(&key);
    buf_release(&row);
}

static void count_entry(struct adopt_dir *d, const struct object *entry)
{
    for (uint32_t i = 0; i < entry->n; i++)
        if (entry->siblings[i].time_ns > d->newest)
            d->newest = entry->siblings[i].time_ns;
    d->live_here++;
    d->grown = true;
    object_hash(entry, d->state);
}

static void batch_entry(struct adoption *a, struct adopt_row *r, struct store_batch *b)
{
    struct trees *trees = a->e->trees;
    struct object entry = OBJECT_EMPTY;
    struct buf row = BUF_EMPTY;
    object_project(r->object, &entry);
    object_row_encode((struct epoch){0, 0}, &entry, &row);
    store_batch_put(b, STORE_META, buf_slice(&r->row), buf_slice(&row));
    trees_change(trees, b, ROW_ENTRY, &r->at, r->id, (struct tree_hash){0, 0},
                 trees_hash(trees, ROW_ENTRY, r->id, &entry, NULL));
    if (object_live(&entry))
        count_entry(&a->dirs[r->dir], &entry);
    object_release(&entry);
    buf_release(&row);
}

/* What the directory says of its entries, and that it is owed to them where it is dead (E16). */
static void batch_dir(struct adoption *a, struct adopt_dir *d, struct store_batch *b)
{
    struct buf id = BUF_EMPTY, name = BUF_EMPTY, row = BUF_EMPTY;
    buf_put_u64(&row, d->newest);
    buf_put_u64(&row, d->live_here);
    store_batch_put(b, STORE_META, buf_slice(&d->stat_row), buf_slice(&row));
    if (d->parent_dead) {
        struct debt debt = {.since_ms = engine_wall_ms(a->e)};
        memcpy(debt.state, d->state, DIGEST_LEN);
        buf_clear(&row);
        debt_encode(&debt, &row);
        if (d->fragment != 0)
            entry_head_id(d->fragment, d->dir, &id);
        row_debt(DEBT_DIR, d->at.partition, d->fragment != 0 ? buf_slice(&id) : d->dir, &name);
        store_batch_put(b, STORE_HINT, buf_slice(&name), buf_slice(&row));
    }
    buf_release(&id);
    buf_release(&name);
    buf_release(&row);
}

/* ---- the batch --------------------------------------------------------------------------- */

static void finish(struct adoption *a, int err)
{
    for (uint32_t i = 0; i < a->n && err != DYN_OK; i++)
        a->rows[i].adopted = false;
    a->done(a, err);
}

static void on_written(struct store_write *req, int err)
{
    struct adoption *a = req->arg;
    a->acknowledged = true;
    a->ack_err = err;
    if (!a->handing_over)
        finish(a, err);
}

static void batch_rows(struct adoption *a, struct store_batch *b)
{
    bool other_ring = a->generation != a->e->generation; /* whose owners may be others (E10) */
    for (uint32_t i = 0; i < a->n; i++) {
        struct adopt_row *r = &a->rows[i];
        r->adopted = r->fits && !other_ring && (r->kind != ROW_ENTRY || a->dirs[r->dir].usable);
        if (r->adopted && r->kind == ROW_OBJECT)
            batch_object(a, r, b);
        else if (r->adopted)
            batch_entry(a, r, b);
    }
    for (uint32_t i = 0; i < a->n_dirs; i++)
        if (a->dirs[i].grown)
            batch_dir(a, &a->dirs[i], b);
}

static void note_entries(const struct adoption *a)
{
    for (uint32_t i = 0; i < a->n; i++) {
        const struct adopt_row *r = &a->rows[i];
        if (!r->adopted || r->kind != ROW_ENTRY)
            continue;
        const struct adopt_dir *d = &a->dirs[r->dir];
        fragments_note_moved(a->e, &d->at, d->dir, key_name(r->key), d->fragment, d->live_here);
    }
}

static void write_all(struct adoption *a)
{
    struct engine *e = a->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    int err = DYN_OK;
    if (e->failed == DYN_OK)
        batch_rows(a, &b);
    else
        err = DYN_ERR_STOPPED;
    bool some = b.count > 0;
    a->write = (struct store_write){.done = on_written, .arg = a};
    a->handing_over = true;
    if (some)
        err = e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, &a->write);
    trees_handed(e->trees, err == DYN_OK);
    store_batch_release(&b);
    unlock(a); /* reads see the batch from now on; who waited begins inside */
    if (some && err == DYN_OK)
        note_entries(a);
    a->handing_over = false;
    if (!some || err != DYN_OK)
        finish(a, err);
    else if (a->acknowledged)
        finish(a, a->ack_err);
}

/* ---- life -------------------------------------------------------------------------------- */

void adoption_start(struct adoption *a)
{
    assert(a->n <= ADOPT_ROWS_MAX);
    a->dirs = mem_zalloc((a->n + 1) * sizeof(*a->dirs));
    a->n_dirs = 0;
    a->handing_over = a->acknowledged = false;
    a->generation = a->e->generation;
    a->n_active = 1; /* this function: reads may end inside */
    for (uint32_t i = 0; i < a->n; i++) {
        struct adopt_row *r = &a->rows[i];
        r->adoption = a;
        r->adopted = false;
        r->row = BUF_EMPTY;
        keylock_init(&r->lock);
        r->fits = is_ordinary(r) && try_lock(a, &r->lock, LOCK_KEY, r->key);
        if (r->fits && r->kind == ROW_ENTRY)
            r->dir = dir_of(a, r);
    }
    for (uint32_t i = 0; i < a->n_dirs; i++)
        if (a->dirs[i].usable)
            read_dir(a, &a->dirs[i]);
    for (uint32_t i = 0; i < a->n; i++) {
        struct adopt_row *r = &a->rows[i];
        if (!r->fits)
            continue;
        row_of_id(&r->at, r->kind, r->id, &r->row);
        get(a, &r->get, &r->row, on_row, r);
    }
    settled(a);
}

void adoption_release(struct adoption *a)
{
    if (a->dirs == NULL)
        return;
    unlock(a); /* held only when the engine is taken down in the middle of it */
    for (uint32_t i = 0; i < a->n; i++)
        buf_release(&a->rows[i].row);
    for (uint32_t i = 0; i < a->n_dirs; i++) {
        buf_release(&a->dirs[i].stat_row);
        buf_release(&a->dirs[i].parent_row);
    }
    free(a->dirs);
    a->dirs = NULL;
}
