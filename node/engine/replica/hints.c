/* SPDX-License-Identifier: Apache-2.0 */
/* See hints.h. One drain for each target at a time, a slice of hints at once, when admission
 * control grants it. A slice begins small; it doubles while the target answers quickly, and is
 * halved when it does not: the receiver's pace is the drain's. Each hint goes
 *
 *   READING (our copy, with values) -> SENDING (the target syncs) -> LOCKED (is our copy still what
 * we sent?)
 *      -> no: the hint stays for the next drain
 *      -> yes: the hint goes; and where we are no replica of the key and keep no other hint of it,
 * our copy goes too */
#include "engine/replica/hints.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/delivery.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/entry_place.h"
#include "engine/fragments/fragments.h"
#include "engine/thin/thin.h"
#include "engine/trees/tree.h"

#define SLICE 32 /* hints at once, at most */
#define SLICE_FIRST 4
#define QUICK_US 50000u /* a hint that is handed over in this time is no burden */
#define SLOW_US 250000u

struct hint_target {
    uint64_t node, count, bytes;
    uint64_t stored;     /* since this start: says whether any came in during a scan */
    uint64_t oldest_ms;  /* wall clock of the oldest, as of the last whole look at them; 0: none */
    struct drain *drain; /* NULL: none under way */
    uint32_t window;     /* hints of the next slice */
};

struct hint_ledger {
    struct engine *e;
    struct hint_target *targets;
    size_t n, cap;
    /* loading */
    struct store_scan scan;
    void (*loaded)(void *arg, int err);
    void *loaded_arg;
};

struct drain_item {
    struct drain *drain;
    uint8_t *bytes;
    uint64_t held; /* what the hint's row counts */
    uint64_t since_ms, began_us;
    bool gone;
    struct slice key;
    enum row_kind kind;
    uint32_t partition;
    bool reading, delivering;
    struct replica_read read;
    struct delivery delivery;
    uint8_t state[DIGEST_LEN];
    struct object now;
    struct row_state local;
    struct keylock lock;
    struct buf row;
    struct store_get get;
    size_t next_target;          /* for whom else do we keep it? */
    uint64_t owners[OWNERS_MAX]; /* who must get it */
    uint32_t n_owners, at_owner;
};

struct drain {
    struct background background; /* first */
    struct hint_ledger *h;
    uint64_t target;
    struct buf prefix, cursor;
    struct store_scan scan;
    struct drain_item items[SLICE];
    uint32_t n_items, n_active, window;
    uint64_t slowest_us; /* of this slice's hints */
    uint64_t stored;     /* as the pass began */
    struct admission_wait wait;
    bool started, more, failed;
    uint64_t oldest_ms; /* of what this pass has found and not got rid of; 0: nothing */
};

/* ---- the ledger -------------------------------------------------------------------------- */

struct hint_ledger *hints_new(struct engine *e)
{
    struct hint_ledger *h = mem_new(struct hint_ledger);
    h->e = e;
    return h;
}

void hints_free(struct hint_ledger *h)
{
    if (h == NULL)
        return;
    free(h->targets);
    free(h);
}

static struct hint_target *find(const struct hint_ledger *h, uint64_t node)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->targets[i].node == node)
            return &h->targets[i];
    return NULL;
}

static struct hint_target *obtain(struct hint_ledger *h, uint64_t node)
{
    struct hint_target *t = find(h, node);
    if (t != NULL)
        return t;
    if (h->n == h->cap) {
        h->cap = h->cap == 0 ? 8 : h->cap * 2;
        h->targets = mem_reallocarray(h->targets, h->cap, sizeof(*h->targets));
    }
    h->targets[h->n] = (struct hint_target){.node = node, .window = SLICE_FIRST};
    return &h->targets[h->n++];
}

static void keep_oldest(uint64_t *oldest_ms, uint64_t since_ms)
{
    if (since_ms != 0 && (*oldest_ms == 0 || since_ms < *oldest_ms))
        *oldest_ms = since_ms;
}

static bool count_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct hint_ledger *h = req->arg;
    struct reader r = reader_of(key);
    struct debt debt = {0};
    read_u8(&r);
    uint64_t target = read_u64_be(&r);
    if (!reader_ok(&r))
        return true;
    struct hint_target *t = obtain(h, target);
    t->count++;
    if (debt_decode(value, &debt) != DYN_OK)
        return true;
    t->bytes += debt.bytes;
    keep_oldest(&t->oldest_ms, debt.since_ms);
    return true;
}

static void counted(struct store_scan *req, int err, bool more)
{
    (void)more;
    struct hint_ledger *h = req->arg;
    h->loaded(h->loaded_arg, err);
}

void hints_load(struct hint_ledger *h, void (*done)(void *arg, int err), void *arg)
{
    static const uint8_t prefix[] = {DEBT_HINT};
    h->loaded = done;
    h->loaded_arg = arg;
    h->scan = (struct store_scan){.family = STORE_HINT,
                                  .prefix = slice_of(prefix, 1),
                                  .max_rows = UINT32_MAX,
                                  .max_bytes = UINT64_MAX,
                                  .row = count_row,
                                  .done = counted,
                                  .arg = h};
    h->e->ports.store.scan(h->e->ports.store.ctx, &h->scan);
}

static uint64_t bytes_held(struct slice key, enum row_kind kind, const struct object *o)
{
    uint64_t bytes = key.len + 64;
    for (uint32_t i = 0; i < o->n; i++)
        bytes += 128 + (kind == ROW_OBJECT ? sibling_value_len(&o->siblings[i]) : 0);
    return bytes;
}

uint64_t hints_batch(struct hint_ledger *h, struct store_batch *b, uint64_t target,
                     uint32_t partition, enum row_kind kind, struct slice key,
                     const struct object *o, uint64_t since_ms)
{
    if (h->e->cfg.bug == BUG_NO_HINT)
        return 0;
    struct buf name = BUF_EMPTY, row = BUF_EMPTY;
    struct debt debt = {.since_ms = since_ms != 0 ? since_ms : engine_wall_ms(h->e),
                        .bytes = bytes_held(key, kind, o)};
    object_hash(o, debt.state);
    debt_encode(&debt, &row);
    row_hint(target, partition, kind, key, &name);
    store_batch_put(b, STORE_HINT, buf_slice(&name), buf_slice(&row));
    buf_release(&name);
    buf_release(&row);
    return debt.bytes;
}

void hints_note(struct hint_ledger *h, uint64_t target, uint64_t was, uint64_t bytes)
{
    if (bytes == 0)
        return;
    struct hint_target *t = obtain(h, target);
    t->bytes = t->bytes - (was < t->bytes ? was : t->bytes) + bytes;
    if (was == 0) {
        keep_oldest(&t->oldest_ms, engine_wall_ms(h->e));
        t->count++;
        t->stored++;
        h->e->stats.hints_stored++;
    }
}

uint64_t hints_count(const struct hint_ledger *h, uint64_t target)
{
    const struct hint_target *t = find(h, target);
    return t == NULL ? 0 : t->count;
}

uint64_t hints_total(const struct hint_ledger *h)
{
    uint64_t total = 0;
    for (size_t i = 0; i < h->n; i++)
        total += h->targets[i].count;
    return total;
}

uint64_t hints_bytes(const struct hint_ledger *h)
{
    uint64_t total = 0;
    for (size_t i = 0; i < h->n; i++)
        total += h->targets[i].bytes;
    return total;
}

uint32_t hints_targets(const struct hint_ledger *h, struct engine_hints *out, uint32_t cap)
{
    uint32_t n = 0;
    uint64_t now = engine_wall_ms(h->e);
    for (size_t i = 0; i < h->n; i++) {
        const struct hint_target *t = &h->targets[i];
        if (t->count == 0)
            continue;
        uint64_t age = t->oldest_ms != 0 && now > t->oldest_ms ? now - t->oldest_ms : 0;
        if (n < cap)
            out[n] = (struct engine_hints){t->node, t->count, t->bytes, age};
        n++;
    }
    return n;
}

uint32_t hints_nodes(const struct hint_ledger *h, uint64_t *out, uint32_t cap)
{
    for (size_t i = 0; i < h->n && i < cap; i++)
        out[i] = h->targets[i].node;
    return (uint32_t)h->n;
}

bool hints_full(const struct hint_ledger *h)
{
    return hints_bytes(h) >= h->e->cfg.hints_max_bytes;
}

/* ---- draining ---------------------------------------------------------------------------- */

static void next_slice(struct drain *d);

static void item_release(struct drain_item *it)
{
    keylock_release(it->drain->h->e->locks, &it->lock);
    if (it->reading)
        replica_read_release(&it->read);
    if (it->delivering)
        delivery_release(&it->delivery);
    object_release(&it->now);
    row_state_release(&it->local);
    buf_release(&it->row);
    free(it->bytes);
}

static void drain_free(struct drain *d)
{
    struct hint_target *t = find(d->h, d->target);
    if (t != NULL)
        t->drain = NULL;
    admission_forget(d->h->e->admission, &d->wait);
    background_end(d->h->e, &d->background);
    for (uint32_t i = 0; i < d->n_items; i++)
        item_release(&d->items[i]);
    buf_release(&d->prefix);
    buf_release(&d->cursor);
    free(d);
}

static void abandon(struct background *b)
{
    drain_free(container_of(b, struct drain, background));
}

/* What says that the target, or this node, takes nothing now. Other errors are about one hint,
 * which stays while the others go on (E25). */
static bool ends_the_drain(int err)
{
    return err == DYN_ERR_UNREACHABLE || err == DYN_ERR_TIMEOUT || err == DYN_ERR_STOPPED ||
           err == DYN_ERR_OVERLOAD || err == DYN_ERR_NO_SPACE || err == DYN_ERR_REFUSED;
}

static void item_end(struct drain_item *it, int err)
{
    struct drain *d = it->drain;
    keylock_release(d->h->e->locks, &it->lock);
    uint64_t took = engine_now(d->h->e) - it->began_us;
    if (took > d->slowest_us)
        d->slowest_us = took;
    if (ends_the_drain(err))
        d->failed = true;
    if (--d->n_active == 0)
        next_slice(d);
}

static void delete_copy(struct drain_item *it, struct store_batch *b)
{
    struct engine *e = it->drain->h->e;
    struct buf key = BUF_EMPTY;
    struct tree_hash was = trees_hash(e->trees, it->kind, it->key, &it->now, &it->local);
    const struct tree_hash none = {0, 0};
    struct place at = place_of_row(e->ring, it->kind, it->key);
    row_of_id(&at, it->kind, it->key, &key);
    store_batch_delete(b, STORE_META, buf_slice(&key));
    trees_change(e->trees, b, it->kind, &at, it->key, was, none);
    for (uint32_t i = 0; it->kind == ROW_OBJECT && i < it->now.n; i++) {
        buf_clear(&key);
        row_value(&at, it->key, &it->now.siblings[i].value_dot, &key);
        store_batch_delete(b, STORE_VALUE, buf_slice(&key));
    }
    if (it->kind == ROW_OBJECT)
        thin_forget(b, at.partition, it->key);
    buf_release(&key);
}

static void remove_hint(struct drain_item *it, bool copy_too)
{
    struct drain *d = it->drain;
    struct engine *e = d->h->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    buf_clear(&it->row);
    row_hint(d->target, it->partition, it->kind, it->key, &it->row);
    store_batch_delete(&b, STORE_HINT, buf_slice(&it->row));
    if (copy_too)
        delete_copy(it, &b);
    int err = e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL);
    trees_handed(e->trees, err == DYN_OK);
    store_batch_release(&b);
    if (err != DYN_OK) {
        item_end(it, err);
        return;
    }
    struct hint_target *t = obtain(d->h, d->target);
    if (t->count > 0)
        t->count--;
    t->bytes = t->count == 0 || it->held > t->bytes ? 0 : t->bytes - it->held;
    if (t->count == 0)
        t->oldest_ms = 0;
    it->gone = true;
    e->stats.hints_drained++;
    item_end(it, DYN_OK);
}

static void next_target(struct drain_item *it);

static void on_other_hint(struct store_get *req, int err, struct slice value)
{
    (void)value;
    struct drain_item *it = req->arg;
    if (err == DYN_ERR_NOT_FOUND)
        next_target(it);
    else if (err == DYN_OK)
        remove_hint(it, false); /* somebody else still needs our copy */
    else
        item_end(it, err);
}

/* Whoever has hints here has one of these, also who has left: his are for all who own the key. The
 * key's lock is held, and they only become more. */
static void next_target(struct drain_item *it)
{
    struct drain *d = it->drain;
    struct hint_ledger *h = d->h;
    struct engine *e = h->e;
    if (it->next_target < h->n && h->targets[it->next_target].node == d->target)
        it->next_target++;
    if (it->next_target >= h->n) {
        remove_hint(it, true);
        return;
    }
    uint64_t other = h->targets[it->next_target++].node;
    buf_clear(&it->row);
    row_hint(other, it->partition, it->kind, it->key, &it->row);
    it->get = (struct store_get){
        .family = STORE_HINT, .key = buf_slice(&it->row), .done = on_other_hint, .arg = it};
    e->ports.store.get(e->ports.store.ctx, &it->get);
}

static bool is_replica(const struct drain_item *it)
{
    struct engine *e = it->drain->h->e;
    struct place at = place_of_row(e->ring, it->kind, it->key);
    return engine_is_owner(e, e->cfg.node, at.partition, ring_n(e->ring));
}

static void on_current(struct store_get *req, int err, struct slice value)
{
    struct drain_item *it = req->arg;
    uint8_t state[DIGEST_LEN];
    if (err == DYN_OK)
        err = row_decode(value, &it->local, &it->now);
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND) {
        item_end(it, err);
        return;
    }
    object_hash(&it->now, state);
    if (memcmp(state, it->state, DIGEST_LEN) != 0)
        item_end(it, DYN_OK); /* written meanwhile: the hint now stands for the newer state */
    else if (is_replica(it))
        remove_hint(it, false);
    else
        next_target(it);
}

static void locked(struct keylock *lock, void *arg)
{
    (void)lock;
    struct drain_item *it = arg;
    struct engine *e = it->drain->h->e;
    buf_clear(&it->row);
    struct place at = place_of_row(e->ring, it->kind, it->key);
    row_of_id(&at, it->kind, it->key, &it->row);
    it->get = (struct store_get){
        .family = STORE_META, .key = buf_slice(&it->row), .done = on_current, .arg = it};
    e->ports.store.get(e->ports.store.ctx, &it->get);
}

/* Of an entry, key is its id; what is locked is the key in it. */
static struct slice key_of(const struct drain_item *it, uint32_t *fragment)
{
    *fragment = 0;
    return it->kind == ROW_ENTRY ? entry_id_split(it->key, fragment) : it->key;
}

static void lock_item(struct drain_item *it)
{
    uint32_t fragment;
    struct slice key = key_of(it, &fragment);
    if (keylock_acquire(it->drain->h->e->locks, &it->lock, LOCK_KEY, key, locked, it))
        locked(&it->lock, it);
}

static void deliver(struct drain_item *it);

static void on_delivered(struct delivery *dl, int err)
{
    struct drain_item *it = dl->arg;
    if (err != DYN_OK) {
        item_end(it, err);
        return;
    }
    it->at_owner++;
    deliver(it);
}

/* The other primaries may have a value that has gone bad here. */
static void add_holders(struct drain_item *it)
{
    struct engine *e = it->drain->h->e;
    struct delivery *dl = &it->delivery;
    struct place at = place_of_row(e->ring, it->kind, it->key);
    dl->n_holders = ring_preference_list(e->ring, at.partition, ring_n(e->ring), dl->holders,
                                         READ_QUORUM_NODES);
}

/* A hint is of a partition and an object, not of a node for ever (E12): where its target owns the
 * key no more, it is for all who do; and while the partition moves for all who are to have it, for
 * a new owner may have asked the target already for what it had (E10). */
static void find_owners(struct drain_item *it)
{
    struct drain *d = it->drain;
    struct engine *e = d->h->e;
    uint64_t owners[OWNERS_MAX];
    struct place at = place_of_row(e->ring, it->kind, it->key);
    uint32_t n = engine_owners(e, at.partition, ring_n(e->ring), owners);
    it->n_owners = it->at_owner = 0;
    for (uint32_t i = 0; i < n && ring_move(e->ring, at.partition) == NULL; i++)
        if (owners[i] == d->target) {
            it->owners[it->n_owners++] = d->target;
            return;
        }
    for (uint32_t i = 0; i < n; i++)
        if (owners[i] != e->cfg.node)
            it->owners[it->n_owners++] = owners[i];
}

static void deliver(struct drain_item *it)
{
    struct engine *e = it->drain->h->e;
    if (it->at_owner == it->n_owners) {
        lock_item(it);
        return;
    }
    uint64_t node = it->owners[it->at_owner];
    uint32_t fragment, n = ring_n(e->ring);
    struct slice key = key_of(it, &fragment);
    unsigned roles = ROLE_ENTRY;
    bool owe = false;
    if (it->kind == ROW_OBJECT) {
        fragment = engine_fragment(e, key);
        roles = ROLE_OBJECT | engine_roles(e, node, key, fragment, n);
        owe = !replication_same_nodes(e, key, fragment, n);
    }
    if (it->delivering)
        delivery_release(&it->delivery);
    it->delivery = (struct delivery){.e = e,
                                     .key = key,
                                     .fragment = fragment,
                                     .object = &it->read.object,
                                     .node = node,
                                     .roles = roles,
                                     .born_us = it->began_us,
                                     .sync = true, /* E11 */
                                     .owe_entry = owe,
                                     .timeout_us = e->cfg.replica_timeout_us,
                                     .done = on_delivered,
                                     .arg = it};
    add_holders(it);
    it->delivering = true;
    delivery_start(&it->delivery);
}

static void on_read(struct replica_read *r, int err)
{
    struct drain_item *it = r->arg;
    if (err != DYN_OK) {
        item_end(it, err);
        return;
    }
    object_hash(&r->object, it->state);
    if (object_is_absent(&r->object)) {
        lock_item(it); /* the copy has gone: nothing is left to send */
        return;
    }
    find_owners(it);
    deliver(it);
}

static void item_start(struct drain_item *it)
{
    it->began_us = engine_now(it->drain->h->e);
    it->read = (struct replica_read){.e = it->drain->h->e,
                                     .key = it->key,
                                     .load = LOAD_ALL,
                                     .entry = it->kind == ROW_ENTRY,
                                     .done = on_read,
                                     .arg = it};
    it->reading = true;
    replica_read_start(&it->read);
}

static bool on_hint_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct drain *d = req->arg;
    struct drain_item *it = &d->items[d->n_items];
    struct debt debt = {0};
    *it = (struct drain_item){.drain = d, .now = OBJECT_EMPTY, .row = BUF_EMPTY};
    keylock_init(&it->lock);
    buf_clear(&d->cursor);
    buf_put_slice(&d->cursor, key);
    buf_put_u8(&d->cursor, 0); /* the least key after this one */
    it->bytes = mem_dup(key.data, key.len);
    if (debt_decode(value, &debt) == DYN_OK) {
        it->held = debt.bytes;
        it->since_ms = debt.since_ms;
    }
    if (row_hint_parse(slice_of(it->bytes, key.len), &it->partition, &it->kind, &it->key) == DYN_OK)
        d->n_items++;
    else
        free(it->bytes);
    return d->n_items < d->window;
}

static void on_slice(struct store_scan *req, int err, bool more)
{
    struct drain *d = req->arg;
    d->more = more || d->n_items == d->window;
    d->failed = err != DYN_OK;
    d->n_active = d->n_items + 1; /* one for this loop: items may end inside item_start */
    for (uint32_t i = 0; i < d->n_items && !d->failed; i++)
        item_start(&d->items[i]);
    if (d->failed)
        d->more = false;
    for (uint32_t i = 0; i < d->n_items; i++)
        if (d->items[i].read.e == NULL)
            d->n_active--; /* never started */
    if (--d->n_active == 0)
        next_slice(d);
}

/* The pace at which the target takes them, and our own requests bear it. */
static uint32_t next_window(const struct drain *d)
{
    uint32_t w = d->window;
    if (admission_tight(d->h->e->admission))
        return w > SLICE_FIRST ? w / 2 : w;
    if (d->slowest_us > SLOW_US)
        return w > 1 ? w / 2 : 1;
    return d->slowest_us <= QUICK_US && w < SLICE ? w * 2 : w;
}

static void scan_slice(void *arg);

static void next_slice(struct drain *d)
{
    struct engine *e = d->h->e;
    for (uint32_t i = 0; i < d->n_items; i++) {
        if (!d->items[i].gone)
            keep_oldest(&d->oldest_ms, d->items[i].since_ms);
        item_release(&d->items[i]);
    }
    d->n_items = 0;
    struct hint_target *t = obtain(d->h, d->target);
    if (d->started && !d->failed && d->cursor.len == 0 && t->stored == d->stored)
        t->count = 0; /* a whole pass found nothing, and nothing came in behind it */
    if (d->started && !d->more && !d->failed) {
        t->oldest_ms = d->oldest_ms; /* a hint that came in behind the cursor is younger */
        if (t->count > 0)
            keep_oldest(&t->oldest_ms, engine_wall_ms(e));
    }
    if (d->started && (!d->more || d->failed || e->stopping || e->failed != DYN_OK)) {
        if (d->failed)
            t->window = SLICE_FIRST;
        drain_free(d);
        return;
    }
    uint64_t now_ms = engine_wall_ms(e);
    uint64_t age = t->oldest_ms != 0 && t->oldest_ms < now_ms ? now_ms - t->oldest_ms : 0;
    if (d->started)
        t->window = next_window(d);
    if (admission_ask(e->admission, &d->wait, WORK_HINTS, age * 1000, scan_slice, d))
        scan_slice(d);
}

static void scan_slice(void *arg)
{
    struct drain *d = arg;
    struct engine *e = d->h->e;
    if (e->stopping || e->failed != DYN_OK) {
        drain_free(d);
        return;
    }
    d->started = true;
    d->window = obtain(d->h, d->target)->window;
    d->slowest_us = 0;
    if (d->cursor.len == 0)
        d->stored = obtain(d->h, d->target)->stored;
    d->scan = (struct store_scan){.family = STORE_HINT,
                                  .prefix = buf_slice(&d->prefix),
                                  .from = buf_slice(&d->cursor),
                                  .max_rows = d->window,
                                  .max_bytes = UINT64_MAX,
                                  .row = on_hint_row,
                                  .done = on_slice,
                                  .arg = d};
    e->ports.store.scan(e->ports.store.ctx, &d->scan);
}

static void drain_start(struct hint_ledger *h, struct hint_target *t)
{
    struct drain *d = mem_new(struct drain);
    d->h = h;
    d->target = t->node;
    t->drain = d;
    row_hint_prefix(t->node, &d->prefix);
    background_add(h->e, &d->background, abandon);
    next_slice(d);
}

void hints_drain(struct hint_ledger *h)
{
    struct engine *e = h->e;
    if (e->stopping || e->failed != DYN_OK)
        return;
    for (size_t i = 0; i < h->n; i++) {
        struct hint_target *t = &h->targets[i];
        bool gone = ring_member_find(e->ring, t->node) == NULL; /* then others own what it did */
        if (t->count > 0 && t->drain == NULL && (gone || detector_up(e->detector, t->node)))
            drain_start(h, t);
    }
}
