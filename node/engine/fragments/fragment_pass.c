/* SPDX-License-Identifier: Apache-2.0 */
/* Moving entries to the fragments that they belong to (E26). One that belongs elsewhere is on N
 * replicas of the fragment that it is in. One of them, the first that is up, moves it:
 *
 *   READ own row -> SPREAD it where it belongs, W of them synced (E11) -> WAIT -> LEAVE here, and
 *   tell the other replicas to
 *
 * The wait is as long as a request: a listing that has asked the one fragment before the entry came
 * to it must not ask the other when the entry has gone.
 *
 * Whoever is told leaves only what adds nothing to what has been moved; a replica that has more
 * keeps it, and it is moved in its turn. So is what a replica still has after a while, because it
 * was away when it was told. Joins make all of it repeatable: no order of these steps loses or
 * revives an entry. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/fragments.h"
#include "engine/peer_wire.h"
#include "engine/slices.h"
#include "engine/trees/exchange_wire.h"
#include "engine/trees/tree.h"
#include "model/wire.h"

#define SLICE_ITEMS 32u
#define SLICE_ROWS 1024u
#define DEPARTING_MAX 4096u /* entries that wait to leave */

/* ---- leaving ----------------------------------------------------------------------------- */

struct leaving {                  /* one row of this node's that has been moved */
    struct background background; /* first */
    struct engine *e;
    struct buf id, row;
    struct slice key, dir;
    uint32_t fragment;
    struct place at;
    struct object moved, own;
    struct row_state state; /* of the row */
    uint64_t newest, live_here;
    struct keylock lock, dir_lock;
    struct store_get get;
    uint64_t origin, rid; /* 0: nobody waits */
};

static void leaving_free(struct leaving *l)
{
    keylock_release(l->e->locks, &l->dir_lock);
    keylock_release(l->e->locks, &l->lock);
    background_end(l->e, &l->background);
    object_release(&l->moved);
    object_release(&l->own);
    row_state_release(&l->state);
    buf_release(&l->id);
    buf_release(&l->row);
    free(l);
}

static void leaving_abandon(struct background *b)
{
    leaving_free(container_of(b, struct leaving, background));
}

static void moved_reply(struct engine *e, uint64_t origin, uint64_t rid, int status)
{
    struct buf body = BUF_EMPTY;
    if (rid == 0)
        return;
    peer_status_encode(status, &body);
    e->ports.net.reply(e->ports.net.ctx, origin, rid, FRAME_ENTRY_MOVED + FRAME_REPLY, &body);
}

static void leaving_end(struct leaving *l, int status)
{
    moved_reply(l->e, l->origin, l->rid, status);
    leaving_free(l);
}

static void on_dirstat(struct store_get *req, int err, struct slice value)
{
    struct leaving *l = req->arg;
    struct engine *e = l->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct reader r = reader_of(value);
    const struct tree_hash none = {0, 0};
    struct buf row = BUF_EMPTY, stat = BUF_EMPTY;
    if (e->failed != DYN_OK || (err != DYN_OK && err != DYN_ERR_NOT_FOUND)) {
        leaving_end(l, DYN_ERR_STOPPED);
        return;
    }
    row_of_id(&l->at, ROW_ENTRY, buf_slice(&l->id), &row);
    store_batch_delete(&b, STORE_META, buf_slice(&row));
    trees_change(e->trees, &b, ROW_ENTRY, &l->at, buf_slice(&l->id),
                 trees_hash(e->trees, ROW_ENTRY, buf_slice(&l->id), &l->own, &l->state), none);
    if (err == DYN_OK && object_live(&l->own)) {
        uint64_t newest = read_u64(&r), live = reader_left(&r) > 0 ? read_u64(&r) : 0;
        buf_put_u64(&stat, newest);
        buf_put_u64(&stat, live > 0 ? live - 1 : 0);
        store_batch_put(&b, STORE_META, buf_slice(&l->row), buf_slice(&stat));
    }
    err = e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL);
    trees_handed(e->trees, err == DYN_OK);
    store_batch_release(&b);
    buf_release(&row);
    buf_release(&stat);
    leaving_end(l, err);
}

static void dir_locked(struct keylock *lock, void *arg)
{
    (void)lock;
    struct leaving *l = arg;
    buf_clear(&l->row);
    row_dirstat(&l->at, l->dir, &l->row);
    l->get = (struct store_get){
        .family = STORE_META, .key = buf_slice(&l->row), .done = on_dirstat, .arg = l};
    l->e->ports.store.get(l->e->ports.store.ctx, &l->get);
}

/* It goes when it adds nothing to what has been moved. */
static void on_row(struct store_get *req, int err, struct slice value)
{
    struct leaving *l = req->arg;
    struct object joined = OBJECT_EMPTY;
    if (err == DYN_OK)
        err = row_decode(value, &l->state, &l->own);
    if (err != DYN_OK) {
        leaving_end(l, err == DYN_ERR_NOT_FOUND ? DYN_OK : err);
        return;
    }
    object_copy(&joined, &l->moved);
    bool adds = entry_join(&joined, &l->own);
    object_release(&joined);
    if (adds)
        leaving_end(l, DYN_ERR_CONFLICT);
    else if (keylock_acquire(l->e->locks, &l->dir_lock, LOCK_DIR, l->dir, dir_locked, l))
        dir_locked(&l->dir_lock, l);
}

static void row_locked(struct keylock *lock, void *arg)
{
    (void)lock;
    struct leaving *l = arg;
    row_of_id(&l->at, ROW_ENTRY, buf_slice(&l->id), &l->row);
    l->get = (struct store_get){
        .family = STORE_META, .key = buf_slice(&l->row), .done = on_row, .arg = l};
    l->e->ports.store.get(l->e->ports.store.ctx, &l->get);
}

static void leave(struct engine *e, uint64_t origin, uint64_t rid, struct slice id,
                  const struct object *moved)
{
    struct leaving *l = mem_new(struct leaving);
    l->e = e;
    l->origin = origin;
    l->rid = rid;
    l->moved = l->own = OBJECT_EMPTY;
    l->state = ROW_STATE_NONE;
    buf_put_slice(&l->id, id);
    l->key = entry_id_split(buf_slice(&l->id), &l->fragment);
    l->dir = key_parent(l->key);
    l->at = place_of_fragment(e->ring, l->dir, l->fragment);
    object_copy(&l->moved, moved);
    keylock_init(&l->lock);
    keylock_init(&l->dir_lock);
    background_add(e, &l->background, leaving_abandon);
    if (keylock_acquire(e->locks, &l->lock, LOCK_KEY, l->key, row_locked, l))
        row_locked(&l->lock, l);
}

void fragment_moved_serve(struct engine *e, uint64_t origin, uint64_t rid, struct slice body)
{
    struct entry_mend m;
    int err = entry_mend_decode(body, &m);
    if (err != DYN_OK) {
        moved_reply(e, origin, rid, err);
        return;
    }
    uint32_t fragment;
    struct slice key = entry_id_split(m.key, &fragment);
    if (!e->serving || e->failed != DYN_OK)
        moved_reply(e, origin, rid, DYN_ERR_STOPPED);
    else if (entry_key_is_head(key))
        moved_reply(e, origin, rid, DYN_ERR_INVALID);
    else
        leave(e, origin, rid, m.key, &m.object);
    fragments_are_moved(e, key_parent(key));
    entry_mend_release(&m);
}

/* ---- the pass ---------------------------------------------------------------------------- */

struct item {
    struct fragment_pass *pass;
    struct buf id;
    struct replica_read read;
    uint64_t read_us;
    struct object object;
    bool reading;
};

struct departure { /* moved, and still here for who has asked elsewhere already */
    struct list link;
    struct buf id;
    struct object object;
    uint64_t at_us;
};

struct fragment_pass {
    struct engine *e;
    struct list departing;
    uint32_t n_departing;
    struct timer timer;
    struct buf dir;
    uint32_t n, fragment; /* how many fragments there are; the one at hand */
    bool more;
    struct slice_wait slice;
    struct buf prefix, cursor, from;
    struct store_scan scan;
    struct item items[SLICE_ITEMS];
    uint32_t n_items, n_active;
    uint32_t left;
    bool overdue;
    void (*done)(void *arg, uint32_t left);
    void *arg;
};

static void next_slice(struct fragment_pass *p);

static void release_items(struct fragment_pass *p)
{
    for (uint32_t i = 0; i < p->n_items; i++) {
        struct item *it = &p->items[i];
        if (it->reading)
            replica_read_release(&it->read);
        object_release(&it->object);
        buf_release(&it->id);
    }
    p->n_items = 0;
}

static void tell_others(struct engine *e, const struct departure *it)
{
    uint64_t owners[OWNERS_MAX];
    struct place at = place_of_entry(e->ring, buf_slice(&it->id));
    uint32_t n = engine_owners(e, at.partition, ring_n(e->ring), owners);
    struct entry_mend m = {.scope = {.ring = *ring_epoch(e->ring), .n = ring_n(e->ring)},
                           .key = buf_slice(&it->id),
                           .object = it->object};
    for (uint32_t i = 0; i < n; i++) {
        struct buf body = BUF_EMPTY;
        if (owners[i] == e->cfg.node)
            continue;
        entry_mend_encode(&m, &body);
        engine_tell(e, owners[i], FRAME_ENTRY_MOVED, &body); /* if it is lost: see overdue */
    }
}

static void departure_free(struct departure *d)
{
    list_remove(&d->link);
    buf_release(&d->id);
    object_release(&d->object);
    free(d);
}

static void depart_later(struct item *it)
{
    struct fragment_pass *p = it->pass;
    struct departure *d = mem_new(struct departure);
    d->id = buf_take(&it->id);
    d->object = it->object;
    it->object = OBJECT_EMPTY;
    d->at_us = engine_now(p->e) + p->e->cfg.request_timeout_us;
    list_init(&d->link);
    list_append(&p->departing, &d->link);
    p->n_departing++;
}

static void depart(struct fragment_pass *p)
{
    struct engine *e = p->e;
    while (!list_empty(&p->departing)) {
        struct departure *d = container_of(list_first(&p->departing), struct departure, link);
        if (d->at_us > engine_now(e))
            return;
        leave(e, 0, 0, buf_slice(&d->id), &d->object);
        tell_others(e, d);
        e->stats.fragment_moves++;
        departure_free(d);
        p->n_departing--;
    }
}

static void item_end(struct item *it)
{
    struct fragment_pass *p = it->pass;
    if (--p->n_active == 0)
        next_slice(p);
}

static void on_spread(void *arg, int err)
{
    struct item *it = arg;
    struct fragment_pass *p = it->pass;
    if (err == DYN_OK)
        depart_later(it);
    else
        p->left++;
    item_end(it);
}

static void on_read(struct replica_read *r, int err)
{
    struct item *it = r->arg;
    struct fragment_pass *p = it->pass;
    struct engine *e = p->e;
    const struct request_options options = {.durability = DURABILITY_QUORUM};
    uint32_t fragment;
    struct slice key = entry_id_split(buf_slice(&it->id), &fragment);
    struct replication_params params = {.key = key,
                                        .fragment = engine_fragment(e, key),
                                        .object = &it->object,
                                        .born_us = it->read_us,
                                        .roles = ROLE_ENTRY,
                                        .settled = on_spread,
                                        .arg = it};
    object_copy(&it->object, &r->object);
    replica_read_release(r);
    it->reading = false;
    if (err == DYN_OK && !object_is_absent(&it->object) && e->failed == DYN_OK &&
        fragment < params.fragment && engine_quorum(e, &options, key, &params.quorum) == DYN_OK) {
        replication_start(e, &params);
        return;
    }
    p->left += err != DYN_OK;
    item_end(it);
}

static void item_start(struct item *it)
{
    it->read = (struct replica_read){.e = it->pass->e,
                                     .key = buf_slice(&it->id),
                                     .load = LOAD_NONE,
                                     .entry = true,
                                     .done = on_read,
                                     .arg = it};
    it->reading = true;
    it->read_us = engine_now(it->pass->e);
    replica_read_start(&it->read);
}

/* Is it for this node to move what lies here? */
static bool moves(const struct fragment_pass *p)
{
    const struct engine *e = p->e;
    uint64_t nodes[N_MAX];
    struct place at = place_of_fragment(e->ring, buf_slice(&p->dir), p->fragment);
    uint32_t voters = ring_voters(e->ring, at.partition, ring_n(e->ring));
    uint32_t n = ring_preference_list(e->ring, at.partition, ring_n(e->ring), nodes, N_MAX);
    for (uint32_t i = 0; i < n && i < voters && !p->overdue; i++) {
        if (nodes[i] == e->cfg.node)
            return true;
        if (detector_up(e->detector, nodes[i]))
            return false;
    }
    return true;
}

static bool on_scan_row(struct store_scan *req, struct slice row, struct slice value)
{
    struct fragment_pass *p = req->arg;
    struct slice name = slice_of(row.data + p->prefix.len, row.len - p->prefix.len);
    (void)value;
    buf_clear(&p->cursor);
    buf_put_slice(&p->cursor, row);
    buf_put_u8(&p->cursor, 0);
    if (name.len == 0 || !fragments_stray(p->e, buf_slice(&p->dir), name, p->fragment))
        return true;
    struct item *it = &p->items[p->n_items++];
    struct buf key = BUF_EMPTY;
    *it = (struct item){.pass = p, .object = OBJECT_EMPTY};
    key_join(buf_slice(&p->dir), name, &key);
    entry_id(p->fragment, buf_slice(&key), &it->id);
    buf_release(&key);
    return p->n_items < SLICE_ITEMS;
}

static void on_scanned(struct store_scan *req, int err, bool more)
{
    struct fragment_pass *p = req->arg;
    p->more = err == DYN_OK && (more || p->n_items == SLICE_ITEMS);
    p->left += err != DYN_OK;
    if (p->n_items > 0 && !moves(p)) { /* how many more there are is for the other to find out */
        p->left += p->n_items;
        p->more = false;
        release_items(p);
    }
    p->n_active = p->n_items + 1; /* this loop: items may end inside */
    for (uint32_t i = 0; i < p->n_items; i++)
        item_start(&p->items[i]);
    if (--p->n_active == 0)
        next_slice(p);
}

static void ended(struct fragment_pass *p)
{
    void (*done)(void *arg, uint32_t left) = p->done;
    void *arg = p->arg;
    uint32_t left = p->left;
    fragment_pass_free(p);
    done(arg, left);
}

static void wait_for_departure(struct fragment_pass *p)
{
    struct departure *first = container_of(list_first(&p->departing), struct departure, link);
    timer_set(p->e->ports.timers, &p->timer, first->at_us);
}

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    next_slice(arg);
}

static void on_slice(struct slice_wait *w)
{
    struct fragment_pass *p = w->arg;
    struct engine *e = p->e;
    if (e->stopping || e->failed != DYN_OK)
        return;
    depart(p);
    if (p->n_departing >= DEPARTING_MAX) {
        wait_for_departure(p);
        return;
    }
    while (!p->more) { /* the next fragment of this node's */
        if (p->fragment + 1 == p->n) {
            if (p->n_departing > 0)
                wait_for_departure(p);
            else
                ended(p);
            return;
        }
        p->fragment++;
        struct place at = place_of_fragment(e->ring, buf_slice(&p->dir), p->fragment);
        if (!engine_is_owner(e, e->cfg.node, at.partition, ring_n(e->ring)))
            continue;
        p->more = true;
        buf_clear(&p->prefix);
        buf_clear(&p->cursor);
        row_fragment_prefix(&at, buf_slice(&p->dir), p->fragment, &p->prefix);
    }
    buf_release(&p->from);
    p->from = buf_take(&p->cursor); /* which moves with the rows */
    p->scan = (struct store_scan){.family = STORE_META,
                                  .prefix = buf_slice(&p->prefix),
                                  .from = buf_slice(&p->from),
                                  .max_rows = SLICE_ROWS,
                                  .max_bytes = 1u << 20,
                                  .row = on_scan_row,
                                  .done = on_scanned,
                                  .arg = p};
    e->ports.store.scan(e->ports.store.ctx, &p->scan);
}

static void next_slice(struct fragment_pass *p)
{
    release_items(p);
    slices_ask(p->e->slices, &p->slice);
}

struct fragment_pass *fragment_pass_start(struct engine *e, struct slice dir, bool overdue,
                                          void (*done)(void *arg, uint32_t left), void *arg)
{
    struct fragment_pass *p = mem_new(struct fragment_pass);
    p->e = e;
    buf_put_slice(&p->dir, dir);
    p->n = fragments_listed(e, dir);
    p->fragment = UINT32_MAX; /* the first is next */
    p->overdue = overdue;
    p->done = done;
    p->arg = arg;
    list_init(&p->departing);
    timer_init(&p->timer, on_timer, p);
    slice_wait_init(&p->slice, WORK_TRANSFER, on_slice, p);
    next_slice(p);
    return p;
}

void fragment_pass_free(struct fragment_pass *p)
{
    if (p == NULL)
        return;
    slices_forget(p->e->slices, &p->slice);
    timer_cancel(p->e->ports.timers, &p->timer);
    while (!list_empty(&p->departing))
        departure_free(container_of(list_first(&p->departing), struct departure, link));
    release_items(p);
    buf_release(&p->from);
    buf_release(&p->dir);
    buf_release(&p->prefix);
    buf_release(&p->cursor);
    free(p);
}
