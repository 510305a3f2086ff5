/* SPDX-License-Identifier: Apache-2.0 */
/* See debts.h. The sweep walks the debt rows in slices. A debt younger than its delay is left
 * alone: nearly always the coordinator that made it is about to settle it. An older one is settled
 * here:
 *
 *   an entry      read the object at R, never one replica's copy (E18) -> spread the entry, W of
 *                 them -> the row goes
 *   a directory   does something live lie under it, and is it dead? -> put it, which also spreads
 *                 its own entry, and so on up to the root -> the row goes
 *
 * A row goes only if it still states what was settled. */
#include "engine/replica/debts.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/gather.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/fragments.h"
#include "engine/peer_wire.h"
#include "engine/request.h"

#define SLICE 32
#define DIR_DELAY_SHARE 10 /* a missing directory hides files: settled that many times sooner */

struct settlement {
    struct debt_sweeper *s;
    struct object object; /* what a directory's heads are to become */
    uint64_t born_us;     /* when it was read */
    enum debt_kind kind;
    uint8_t *row;
    struct slice key;
    uint8_t state[DIGEST_LEN];
    bool reading;
    struct replica_read read;
    struct buf after; /* where a listing goes on */
};

struct debt_sweeper {
    struct engine *e;
    struct timer timer;
    enum debt_kind kind; /* being swept */
    bool sweeping, more;
    struct buf cursor;
    struct store_scan scan;
    struct settlement items[SLICE];
    uint32_t n_items, n_active;
    uint64_t seen, seen_last;
};

/* ---- taking a row away ------------------------------------------------------------------- */

/* A directory that is owed in a fragment other than 0 goes by the id of the fragment's head. */
static struct place debt_place(const struct engine *e, enum debt_kind kind, struct slice key)
{
    uint32_t fragment;
    struct slice head = entry_id_split(key, &fragment);
    if (kind != DEBT_DIR || fragment == 0)
        return place_of(e->ring, key);
    return place_of_fragment(e->ring, key_parent(head), fragment);
}

static struct slice owed_dir(struct slice key)
{
    uint32_t fragment;
    struct slice head = entry_id_split(key, &fragment);
    return fragment == 0 ? key : key_parent(head);
}

struct removal {
    struct background background; /* first */
    struct engine *e;
    struct buf row;
    uint8_t *key;
    size_t key_len;
    uint8_t state[DIGEST_LEN];
    struct keylock lock;
    struct store_get get;
};

static void removal_free(struct removal *m)
{
    keylock_release(m->e->locks, &m->lock);
    background_end(m->e, &m->background);
    buf_release(&m->row);
    free(m->key);
    free(m);
}

static void removal_abandon(struct background *b)
{
    removal_free(container_of(b, struct removal, background));
}

static void on_debt_row(struct store_get *req, int err, struct slice value)
{
    struct removal *m = req->arg;
    struct engine *e = m->e;
    struct debt debt;
    if (err == DYN_OK && e->failed == DYN_OK && debt_decode(value, &debt) == DYN_OK &&
        memcmp(debt.state, m->state, DIGEST_LEN) == 0) {
        struct store_batch b = STORE_BATCH_EMPTY;
        store_batch_delete(&b, STORE_HINT, buf_slice(&m->row));
        e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL);
        store_batch_release(&b);
    }
    removal_free(m);
}

static void removal_locked(struct keylock *lock, void *arg)
{
    (void)lock;
    struct removal *m = arg;
    m->get = (struct store_get){
        .family = STORE_HINT, .key = buf_slice(&m->row), .done = on_debt_row, .arg = m};
    m->e->ports.store.get(m->e->ports.store.ctx, &m->get);
}

static void remove_debt(struct engine *e, enum debt_kind kind, struct slice key,
                        const uint8_t state[DIGEST_LEN])
{
    struct removal *m = mem_new(struct removal);
    m->e = e;
    m->row = BUF_EMPTY;
    m->key = mem_dup(key.data, key.len);
    m->key_len = key.len;
    memcpy(m->state, state, DIGEST_LEN);
    row_debt(kind, debt_place(e, kind, key).partition, key, &m->row);
    keylock_init(&m->lock);
    background_add(e, &m->background, removal_abandon);
    struct slice locked = slice_of(m->key, m->key_len);
    enum lock_class cls = kind == DEBT_DIR ? LOCK_DIR : LOCK_KEY;
    if (kind == DEBT_DIR)
        locked = owed_dir(locked);
    if (keylock_acquire(e->locks, &m->lock, cls, locked, removal_locked, m))
        removal_locked(&m->lock, m);
}

void debts_clear_entry(struct engine *e, struct slice key, const uint8_t state[DIGEST_LEN])
{
    remove_debt(e, DEBT_ENTRY, key, state);
}

void debts_forget(struct engine *e, enum debt_kind kind, struct slice key,
                  const uint8_t state[DIGEST_LEN])
{
    assert(kind != DEBT_DIR);
    remove_debt(e, kind, key, state);
}

void debts_clear_entry_at(struct engine *e, uint64_t node, struct slice key,
                          const uint8_t state[DIGEST_LEN])
{
    if (node == e->cfg.node) {
        debts_clear_entry(e, key, state);
        return;
    }
    struct peer_owed_clear m = {.key = key};
    struct buf body = BUF_EMPTY;
    memcpy(m.state, state, DIGEST_LEN);
    peer_owed_clear_encode(&m, &body);
    engine_tell(e, node, FRAME_OWED_CLEAR, &body); /* if it is lost, the sweep settles the debt */
}

/* ---- settling one ------------------------------------------------------------------------ */

static void next_slice(struct debt_sweeper *s);

static void item_end(struct settlement *it)
{
    struct debt_sweeper *s = it->s;
    object_release(&it->object);
    buf_release(&it->after);
    free(it->row);
    it->row = NULL;
    if (--s->n_active == 0)
        next_slice(s);
}

static void on_heads_spread(void *arg, int err)
{
    struct settlement *it = arg;
    if (err == DYN_OK) {
        it->s->e->stats.owed_projected++;
        remove_debt(it->s->e, DEBT_ENTRY, it->key, it->state);
    }
    item_end(it);
}

static struct quorum synced_quorum(const struct settlement *it)
{
    struct quorum quorum;
    struct request_options options = {.durability = DURABILITY_QUORUM}; /* the debt goes: E11 */
    engine_quorum(it->s->e, &options, it->key, &quorum);
    return quorum;
}

/* What a directory owes to its parent, it owes to the heads of its fragments as well. */
static void on_entry_spread(void *arg, int err)
{
    struct settlement *it = arg;
    struct engine *e = it->s->e;
    struct quorum quorum = synced_quorum(it);
    if (err != DYN_OK || fragments_listed(e, it->key) == 1)
        on_heads_spread(it, err);
    else
        fragment_heads_spread(e, it->key, &it->object, it->born_us, &quorum, on_heads_spread, it);
}

static void on_object_read(void *arg, const struct gather_result *result)
{
    struct settlement *it = arg;
    struct engine *e = it->s->e;
    if (result->status != DYN_OK || e->failed != DYN_OK) {
        item_end(it);
        return;
    }
    struct replication_params p = {.key = it->key,
                                   .fragment = engine_fragment(e, it->key),
                                   .object = result->object,
                                   .born_us = result->born_us,
                                   .quorum = synced_quorum(it),
                                   .roles = ROLE_ENTRY,
                                   .settled = on_entry_spread,
                                   .arg = it};
    if (fragments_listed(e, it->key) > 1)
        object_copy(&it->object, result->object);
    it->born_us = result->born_us;
    replication_start(e, &p);
}

static bool owns(const struct settlement *it)
{
    struct engine *e = it->s->e;
    struct place at = debt_place(e, it->kind, it->key);
    return engine_is_owner(e, e->cfg.node, at.partition, ring_n(e->ring));
}

/* The key has moved away from this node, perhaps without what this debt stands for: a write that
 * had reached nobody else. So it becomes a hint for an owner of now, which then owes the entry. */
static void hand_over(struct settlement *it, const struct object *o)
{
    struct engine *e = it->s->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    uint64_t owners[OWNERS_MAX], bytes = 0;
    uint32_t partition = ring_partition_of(e->ring, it->key);
    uint32_t n = engine_owners(e, partition, ring_n(e->ring), owners);
    struct buf row = BUF_EMPTY;
    row_debt(DEBT_ENTRY, partition, it->key, &row);
    store_batch_delete(&b, STORE_HINT, buf_slice(&row));
    if (n > 0 && !object_is_absent(o))
        bytes = hints_batch(e->hints, &b, owners[0], partition, ROW_OBJECT, it->key, o, 0);
    int err = e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL);
    store_batch_release(&b);
    buf_release(&row);
    if (err == DYN_OK)
        hints_note(e->hints, owners[0], 0, bytes);
}

/* What is projected must have seen what the debt stands for, which is here. */
static void on_own_copy(struct replica_read *r, int err)
{
    struct settlement *it = r->arg;
    struct engine *e = it->s->e;
    struct cover at_least = COVER_EMPTY;
    if (err == DYN_OK && e->failed == DYN_OK && !owns(it)) {
        hand_over(it, &r->object);
        it->reading = false;
        replica_read_release(r);
        item_end(it);
        return;
    }
    clock_copy(&at_least.clock, &r->object.clock);
    engine_forget_cut(e, &at_least.clock); /* a stand-in keeps what the primaries have cut */
    it->reading = false;
    replica_read_release(r);
    if (err != DYN_OK) {
        cover_release(&at_least);
        item_end(it);
        return;
    }
    struct gather_params p = {.key = it->key,
                              .values = VALUE_NONE,
                              .at_least = &at_least,
                              .done = on_object_read,
                              .arg = it};
    struct request_options defaults = {0};
    engine_quorum(e, &defaults, it->key, &p.quorum);
    gather_start(e, &p);
}

static void settle_entry(struct settlement *it)
{
    it->read = (struct replica_read){
        .e = it->s->e, .key = it->key, .load = LOAD_NONE, .done = on_own_copy, .arg = it};
    it->reading = true;
    replica_read_start(&it->read);
}

static void on_dir_put(void *arg, const struct put_reply *reply)
{
    struct settlement *it = arg;
    if (reply->status == DYN_OK)
        remove_debt(it->s->e, DEBT_DIR, it->key, it->state);
    item_end(it);
}

static void on_dir_read(struct replica_read *r, int err)
{
    struct settlement *it = r->arg;
    struct engine *e = it->s->e;
    bool owed = r->implicit_dir; /* of a head: something lives beside it, and it is dead */
    it->reading = false;
    replica_read_release(r);
    if (err != DYN_OK) {
        item_end(it);
    } else if (!owed) {
        remove_debt(e, DEBT_DIR, it->key, it->state);
        item_end(it);
    } else {
        request_put_implicit_dir(e, owed_dir(it->key), on_dir_put, it);
    }
}

static void on_owed_read(void *arg, const struct get_reply *reply)
{
    struct settlement *it = arg;
    struct engine *e = it->s->e;
    if (reply->status != DYN_OK) {
        item_end(it);
    } else if (object_is_dir(&reply->object)) { /* which a put could only confirm */
        remove_debt(e, DEBT_DIR, it->key, it->state);
        item_end(it);
    } else {
        request_put_implicit_dir(e, owed_dir(it->key), on_dir_put, it);
    }
}

static void list_owed(struct settlement *it);

static void on_listed(void *arg, const struct list_reply *reply)
{
    struct settlement *it = arg;
    struct engine *e = it->s->e;
    if (reply->status != DYN_OK) {
        item_end(it);
    } else if (reply->n > 0) {
        struct kv_port kv = request_kv(e);
        kv.get(kv.ctx, &(struct get_request){.key = owed_dir(it->key)}, on_owed_read, it);
    } else if (reply->more) {
        buf_clear(&it->after);
        buf_put_slice(&it->after, reply->cursor);
        list_owed(it);
    } else {
        remove_debt(e, DEBT_DIR, it->key, it->state);
        item_end(it);
    }
}

/* Others own it now. They owe it themselves when the entry comes to them; but one that had it
 * before, as a stand-in or before it owned this, does not notice. So they are asked. */
static void list_owed(struct settlement *it)
{
    struct kv_port kv = request_kv(it->s->e);
    const struct list_request q = {.dir = owed_dir(it->key), .after = buf_slice(&it->after)};
    kv.list(kv.ctx, &q, on_listed, it);
}

static void settle_dir(struct settlement *it)
{
    if (!owns(it)) {
        list_owed(it);
        return;
    }
    uint32_t fragment;
    entry_id_split(it->key, &fragment);
    it->read = (struct replica_read){.e = it->s->e,
                                     .key = it->key,
                                     .load = LOAD_NONE,
                                     .entry = fragment != 0,
                                     .dir_info = true,
                                     .orphans = true,
                                     .done = on_dir_read,
                                     .arg = it};
    it->reading = true;
    replica_read_start(&it->read);
}

/* ---- the sweep --------------------------------------------------------------------------- */

static void end_sweep(struct debt_sweeper *s)
{
    s->sweeping = false;
    s->seen_last = s->seen;
}

static uint64_t delay_ms(const struct debt_sweeper *s, enum debt_kind kind, struct slice key)
{
    uint64_t base = s->e->cfg.owed_delay_us / 1000;
    if (kind == DEBT_DIR)
        base /= DIR_DELAY_SHARE;
    /* jitter of a quarter, fixed by key and node, so that replicas do not all project at once */
    uint64_t spread = base / 4 + 1;
    return base + (position_of(key).bytes[0] * 257u + s->e->cfg.node % 65521u) % spread;
}

static bool on_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct debt_sweeper *s = req->arg;
    struct settlement *it = &s->items[s->n_items];
    struct debt debt;
    buf_clear(&s->cursor);
    buf_put_slice(&s->cursor, key);
    buf_put_u8(&s->cursor, 0);
    s->seen++;
    struct slice name;
    if (row_debt_parse(key, &name) != DYN_OK || debt_decode(value, &debt) != DYN_OK)
        return true;
    if (engine_wall_ms(s->e) < debt.since_ms + delay_ms(s, s->kind, name) &&
        engine_wall_ms(s->e) >= debt.since_ms)
        return true;
    *it = (struct settlement){.s = s, .kind = s->kind, .row = mem_dup(key.data, key.len)};
    row_debt_parse(slice_of(it->row, key.len), &it->key);
    memcpy(it->state, debt.state, DIGEST_LEN);
    s->n_items++;
    return s->n_items < SLICE;
}

static void on_slice(struct store_scan *req, int err, bool more)
{
    struct debt_sweeper *s = req->arg;
    s->more = err == DYN_OK && (more || s->n_items == SLICE);
    s->n_active = s->n_items + 1; /* one for this loop: items may end inside */
    for (uint32_t i = 0; i < s->n_items; i++) {
        if (s->items[i].kind == DEBT_ENTRY)
            settle_entry(&s->items[i]);
        else
            settle_dir(&s->items[i]);
    }
    if (--s->n_active == 0)
        next_slice(s);
}

static void scan_slice(struct debt_sweeper *s)
{
    static const uint8_t prefixes[2][1] = {{DEBT_ENTRY}, {DEBT_DIR}};
    s->n_items = 0;
    s->scan = (struct store_scan){.family = STORE_HINT,
                                  .prefix = slice_of(prefixes[s->kind == DEBT_ENTRY ? 0 : 1], 1),
                                  .from = buf_slice(&s->cursor),
                                  .max_rows = 1024,
                                  .max_bytes = 1u << 20,
                                  .row = on_row,
                                  .done = on_slice,
                                  .arg = s};
    s->e->ports.store.scan(s->e->ports.store.ctx, &s->scan);
}

static void next_slice(struct debt_sweeper *s)
{
    if (s->e->stopping || s->e->failed != DYN_OK) {
        end_sweep(s);
        return;
    }
    if (!s->more) {
        if (s->kind == DEBT_DIR) {
            end_sweep(s);
            return;
        }
        s->kind = DEBT_DIR;
        buf_clear(&s->cursor);
    }
    scan_slice(s);
}

static void on_timer(struct timer *t, void *arg)
{
    struct debt_sweeper *s = arg;
    struct engine *e = s->e;
    timer_set(e->ports.timers, t, engine_now(e) + e->cfg.owed_sweep_us);
    hints_drain(e->hints);
    if (s->sweeping || e->stopping || e->failed != DYN_OK)
        return;
    s->sweeping = true;
    s->seen = 0;
    s->kind = DEBT_ENTRY;
    buf_clear(&s->cursor);
    scan_slice(s);
}

struct debt_sweeper *debts_new(struct engine *e)
{
    struct debt_sweeper *s = mem_new(struct debt_sweeper);
    s->e = e;
    s->cursor = BUF_EMPTY;
    timer_init(&s->timer, on_timer, s);
    return s;
}

void debts_free(struct debt_sweeper *s)
{
    if (s == NULL)
        return;
    timer_cancel(s->e->ports.timers, &s->timer);
    for (uint32_t i = 0; i < s->n_items; i++) {
        if (s->items[i].reading)
            replica_read_release(&s->items[i].read);
        object_release(&s->items[i].object);
        buf_release(&s->items[i].after);
        free(s->items[i].row);
    }
    buf_release(&s->cursor);
    free(s);
}

void debts_start(struct debt_sweeper *s)
{
    timer_set(s->e->ports.timers, &s->timer, engine_now(s->e) + s->e->cfg.owed_sweep_us);
}

uint64_t debts_now(const struct debt_sweeper *s)
{
    return s->sweeping ? (s->seen > s->seen_last ? s->seen : s->seen_last) : s->seen_last;
}
