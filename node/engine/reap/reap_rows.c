/* SPDX-License-Identifier: Apache-2.0 */
/* See reap_rows.h. A job takes its rows one after the other, each under its key's lock:
 *
 *   LOCK -> READ the row
 *        -> an object: is its entry owed? has it been a directory? then LOCK that as well, and look
 *           whether anything lies in it still, dead or alive: the directory goes after that
 *        -> JUDGE
 *        -> PREPARE: the row is written with a mark, and counts in no tree from now on
 *        -> DROP: the row goes
 *   all rows -> SYNC, where the answer lets somebody else's copy go (E11) -> done
 *
 * A row that is prepared counts as absent in its tree, so a peer that has dropped it already is
 * equal, and no exchange brings it back there. Reads, which merge, go on showing it. */
#include "engine/reap/reap_rows.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/entry_place.h"
#include "engine/replica/hints.h"
#include "model/wire.h"

#define SCAN_ROWS 256 /* directories' times that lie before the first copy, at most */

static void next_item(struct reap_job *j);

uint32_t reap_replicas(const struct engine *e, uint32_t partition, uint64_t *nodes)
{
    uint32_t n = ring_n(e->ring) < N_MAX ? ring_n(e->ring) : N_MAX;
    if (ring_move(e->ring, partition) != NULL)
        return 0;
    uint32_t have = ring_preference_list(e->ring, partition, n, nodes, N_MAX);
    return have < n ? have : n;
}

/* ---- one row ----------------------------------------------------------------------------- */

/* A callback that comes inside the call only asks for another round. */
static void go_on(struct reap_job *j)
{
    if (j->inside) {
        j->again = true;
        return;
    }
    j->inside = true;
    do {
        j->again = false;
        next_item(j);
    } while (j->again);
    j->inside = false;
    if (j->over)
        j->done(j, j->err); /* j may be no more */
}

static void end(struct reap_job *j, int err)
{
    j->over = true;
    j->err = err;
    if (!j->inside)
        j->done(j, err);
}

static const struct reap_item *item_of(const struct reap_job *j)
{
    return &j->items[j->at];
}

static void vote(struct reap_job *j, enum reap_verdict verdict)
{
    struct reap_vote *v = &j->votes[j->at];
    memset(v, 0, sizeof(*v));
    v->verdict = verdict;
    if (!object_is_absent(&j->object))
        object_hash(&j->object, v->state);
    keylock_release(j->e->locks, &j->dir_lock);
    keylock_release(j->e->locks, &j->lock);
    object_release(&j->object);
    row_state_release(&j->state);
    j->state = ROW_STATE_NONE;
    j->was_dir = false;
    j->at++;
    go_on(j);
}

static void index_row(const struct reap_job *j, struct buf *out)
{
    row_debt(DEBT_DEAD, j->place.partition, item_of(j)->key, out);
}

/* The index named a key that is no tombstone here any more. */
static void forget_index(struct reap_job *j)
{
    struct engine *e = j->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    if (j->step != REAP_LOOK || e->failed != DYN_OK)
        return;
    index_row(j, &row);
    store_batch_delete(&b, STORE_HINT, buf_slice(&row));
    (void)!e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL); /* the next time */
    store_batch_release(&b);
    buf_release(&row);
}

static bool is_ripe(const struct reap_job *j)
{
    uint64_t life = j->e->cfg.message_life_us, since = j->state.prepared.us;
    if (j->e->cfg.bug == BUG_EARLY_REAP)
        return true;
    return engine_now(j->e) > since + life + life / 4; /* clocks do not run alike */
}

static enum reap_verdict judge(const struct reap_job *j)
{
    if (j->state.prepared.boot != j->e->boot)
        return REAP_HOLDS; /* its clock stood still while the node did not run: prepared anew */
    return is_ripe(j) ? REAP_RIPE : REAP_PREPARED;
}

static enum reap_verdict prepare(struct reap_job *j)
{
    struct engine *e = j->e;
    const struct reap_item *it = item_of(j);
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    struct tree_hash was = trees_hash(e->trees, it->kind, it->key, &j->object, &j->state);
    const struct tree_hash none = {0, 0};
    j->state.prepared = (struct moment){e->boot, engine_now(e)};
    row_encode(&j->state, &j->object, &row);
    store_batch_put(&b, STORE_META, buf_slice(&j->row), buf_slice(&row));
    trees_change(e->trees, &b, it->kind, &j->place, it->key, was, none);
    int err = e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL);
    trees_handed(e->trees, err == DYN_OK);
    store_batch_release(&b);
    buf_release(&row);
    if (err != DYN_OK)
        return REAP_NO;
    e->stats.reap_prepared++;
    return REAP_PREPARED;
}

static enum reap_verdict drop(struct reap_job *j)
{
    struct engine *e = j->e;
    const struct reap_item *it = item_of(j);
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    assert(!object_live(&j->object) && j->state.prepared.boot == e->boot);
    store_batch_delete(&b, STORE_META, buf_slice(&j->row)); /* its tree has forgotten it already */
    if (it->kind == ROW_OBJECT) {
        index_row(j, &row);
        store_batch_delete(&b, STORE_HINT, buf_slice(&row));
    }
    if (j->was_dir) {
        buf_clear(&row);
        row_dirstat(&j->place, it->key, &row);
        store_batch_delete(&b, STORE_META, buf_slice(&row));
    }
    int err = e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL);
    store_batch_release(&b);
    buf_release(&row);
    if (err != DYN_OK)
        return REAP_NO;
    e->stats.reaped += it->kind == ROW_OBJECT;
    e->stats.reaped_entries += it->kind == ROW_ENTRY;
    return REAP_ABSENT;
}

static void act(struct reap_job *j)
{
    enum reap_verdict verdict = judge(j);
    if (j->e->failed != DYN_OK)
        verdict = REAP_NO;
    else if (j->step == REAP_PREPARE && verdict == REAP_HOLDS)
        verdict = prepare(j);
    else if (j->step == REAP_DROP)
        verdict = verdict == REAP_RIPE ? drop(j) : REAP_NO;
    vote(j, verdict);
}

/* `row` has been used for others. */
static void act_on_object(struct reap_job *j)
{
    buf_clear(&j->row);
    row_object(&j->place, item_of(j)->key, &j->row);
    act(j);
}

static bool on_child(struct store_scan *req, struct slice row, struct slice value)
{
    struct reap_job *j = req->arg;
    (void)row;
    (void)value;
    j->found = true;
    return false;
}

static void on_children(struct store_scan *req, int err, bool more)
{
    struct reap_job *j = req->arg;
    (void)more;
    if (err != DYN_OK || j->found)
        vote(j, REAP_NO);
    else
        act_on_object(j);
}

static void look_for_children(struct reap_job *j)
{
    buf_clear(&j->row);
    row_entry_prefix(&j->place, item_of(j)->key, &j->row);
    j->found = false;
    j->scan = (struct store_scan){.family = STORE_META,
                                  .prefix = buf_slice(&j->row),
                                  .max_rows = 1,
                                  .max_bytes = UINT64_MAX,
                                  .row = on_child,
                                  .done = on_children,
                                  .arg = j};
    j->e->ports.store.scan(j->e->ports.store.ctx, &j->scan);
}

static void dir_granted(struct keylock *lock, void *arg)
{
    (void)lock;
    look_for_children(arg);
}

static void on_dirstat(struct store_get *req, int err, struct slice value)
{
    struct reap_job *j = req->arg;
    (void)value;
    if (err == DYN_ERR_NOT_FOUND) {
        act_on_object(j);
    } else if (err != DYN_OK) {
        vote(j, REAP_NO);
    } else {
        j->was_dir = true;
        if (keylock_acquire(j->e->locks, &j->dir_lock, LOCK_DIR, item_of(j)->key, dir_granted, j))
            look_for_children(j);
    }
}

static void on_owed(struct store_get *req, int err, struct slice value)
{
    struct reap_job *j = req->arg;
    (void)value;
    if (err != DYN_ERR_NOT_FOUND) {
        vote(j, REAP_NO);
        return;
    }
    buf_clear(&j->row);
    row_dirstat(&j->place, item_of(j)->key, &j->row);
    j->get = (struct store_get){
        .family = STORE_META, .key = buf_slice(&j->row), .done = on_dirstat, .arg = j};
    j->e->ports.store.get(j->e->ports.store.ctx, &j->get);
}

/* Whoever owes the entry would bring it back. */
static void look_for_debt(struct reap_job *j)
{
    buf_clear(&j->row);
    row_debt(DEBT_ENTRY, j->place.partition, item_of(j)->key, &j->row);
    j->get = (struct store_get){
        .family = STORE_HINT, .key = buf_slice(&j->row), .done = on_owed, .arg = j};
    j->e->ports.store.get(j->e->ports.store.ctx, &j->get);
}

static bool is_state(const struct reap_job *j)
{
    static const uint8_t any[DIGEST_LEN];
    const struct reap_item *it = item_of(j);
    uint8_t state[DIGEST_LEN];
    if (memcmp(it->state, any, DIGEST_LEN) == 0)
        return j->step == REAP_LOOK || (j->step == REAP_VOTE && it->kind == ROW_ENTRY);
    object_hash(&j->object, state);
    return memcmp(it->state, state, DIGEST_LEN) == 0;
}

static void on_row(struct store_get *req, int err, struct slice value)
{
    struct reap_job *j = req->arg;
    if (err == DYN_OK)
        err = row_decode(value, &j->state, &j->object);
    if (err == DYN_ERR_NOT_FOUND) {
        forget_index(j);
        vote(j, REAP_ABSENT);
    } else if (err != DYN_OK || !is_state(j)) {
        vote(j, REAP_NO);
    } else if (object_live(&j->object)) {
        forget_index(j);
        vote(j, REAP_NO);
    } else if (item_of(j)->kind == ROW_OBJECT) {
        look_for_debt(j);
    } else {
        act(j);
    }
}

static bool is_replica(const struct reap_job *j)
{
    uint64_t nodes[N_MAX];
    uint32_t n = reap_replicas(j->e, j->place.partition, nodes);
    for (uint32_t i = 0; i < n; i++)
        if (nodes[i] == j->e->cfg.node)
            return true;
    return false;
}

static void read_item(struct reap_job *j)
{
    const struct reap_item *it = item_of(j);
    j->place = place_of_row(j->e->ring, it->kind, it->key);
    if (j->step != REAP_LOOK && (j->generation != j->e->generation || !is_replica(j))) {
        vote(j, REAP_NO);
        return;
    }
    buf_clear(&j->row);
    row_of_id(&j->place, it->kind, it->key, &j->row);
    j->get = (struct store_get){
        .family = STORE_META, .key = buf_slice(&j->row), .done = on_row, .arg = j};
    j->e->ports.store.get(j->e->ports.store.ctx, &j->get);
}

static void granted(struct keylock *lock, void *arg)
{
    (void)lock;
    read_item(arg);
}

/* ---- the job ----------------------------------------------------------------------------- */

static void on_synced(struct store_write *req, int err)
{
    end(req->arg, err);
}

/* An entry's end is synced, for with it its object may go. */
static bool wants_sync(const struct reap_job *j)
{
    return (j->step == REAP_VOTE || j->step == REAP_DROP) && j->e->cfg.bug != BUG_UNSYNCED_VOTE;
}

static void next_item(struct reap_job *j)
{
    if (j->at < j->n) {
        uint32_t fragment;
        const struct reap_item *it = item_of(j);
        struct slice key = it->kind == ROW_ENTRY ? entry_id_split(it->key, &fragment) : it->key;
        if (keylock_acquire(j->e->locks, &j->lock, LOCK_KEY, key, granted, j))
            read_item(j);
    } else if (wants_sync(j)) {
        j->sync = (struct store_write){.done = on_synced, .arg = j};
        j->e->ports.store.sync(j->e->ports.store.ctx, &j->sync);
    } else {
        end(j, DYN_OK);
    }
}

void reap_job_start(struct reap_job *j)
{
    j->at = 0;
    j->generation = j->e->generation;
    j->inside = j->again = j->over = false;
    j->row = BUF_EMPTY;
    j->object = OBJECT_EMPTY;
    j->state = ROW_STATE_NONE;
    j->was_dir = false;
    keylock_init(&j->lock);
    keylock_init(&j->dir_lock);
    go_on(j);
}

void reap_job_release(struct reap_job *j)
{
    if (j->e == NULL)
        return;
    keylock_release(j->e->locks, &j->dir_lock); /* held only when the engine is taken down */
    keylock_release(j->e->locks, &j->lock);
    object_release(&j->object);
    row_state_release(&j->state);
    buf_release(&j->row);
    j->e = NULL;
}

/* ---- what is kept for others ------------------------------------------------------------- */

static void next_partition(struct clear_job *j);

static void clear_go_on(struct clear_job *j)
{
    if (j->inside) {
        j->again = true;
        return;
    }
    j->inside = true;
    do {
        j->again = false;
        next_partition(j);
    } while (j->again);
    j->inside = false;
    if (j->over)
        j->done(j, j->err); /* j may be no more */
}

static void clear_end(struct clear_job *j, int err)
{
    j->over = true;
    j->err = err;
    if (!j->inside)
        j->done(j, err);
}

static void say(struct clear_job *j, enum reap_kept kept)
{
    j->kept[j->at++] = (uint8_t)kept;
    j->target = 0;
    j->looked = false;
    clear_go_on(j);
}

static bool on_hint(struct store_scan *req, struct slice key, struct slice value)
{
    struct clear_job *j = req->arg;
    (void)key;
    (void)value;
    j->found = true;
    return false;
}

/* When a directory changed last brings nothing back. */
static bool on_copy(struct store_scan *req, struct slice row, struct slice value)
{
    struct clear_job *j = req->arg;
    struct buf key = BUF_EMPTY;
    struct place at;
    enum row_kind kind;
    (void)value;
    j->found = row_meta_parse(row, &at, &kind, &key) != DYN_OK || kind != ROW_DIRSTAT;
    buf_release(&key);
    return !j->found;
}

static void on_copies(struct store_scan *req, int err, bool more)
{
    struct clear_job *j = req->arg;
    j->looked = true;
    if (err != DYN_OK || j->found || more)
        say(j, REAP_COPIES);
    else
        clear_go_on(j);
}

static void on_hints(struct store_scan *req, int err, bool more)
{
    struct clear_job *j = req->arg;
    (void)more;
    j->target++;
    if (err != DYN_OK || j->found)
        say(j, REAP_HINTS);
    else
        clear_go_on(j);
}

static void look(struct clear_job *j, enum store_family family,
                 bool (*row)(struct store_scan *req, struct slice key, struct slice value),
                 void (*done)(struct store_scan *req, int err, bool more))
{
    j->found = false;
    j->scan = (struct store_scan){.family = family,
                                  .prefix = buf_slice(&j->prefix),
                                  .max_rows = SCAN_ROWS,
                                  .max_bytes = UINT64_MAX,
                                  .row = row,
                                  .done = done,
                                  .arg = j};
    j->e->ports.store.scan(j->e->ports.store.ctx, &j->scan);
}

static void on_clear_synced(struct store_write *req, int err)
{
    clear_end(req->arg, err);
}

static void next_partition(struct clear_job *j)
{
    struct engine *e = j->e;
    if (j->at == j->n) {
        j->sync = (struct store_write){.done = on_clear_synced, .arg = j};
        if (e->cfg.bug == BUG_UNSYNCED_VOTE)
            clear_end(j, DYN_OK);
        else
            e->ports.store.sync(e->ports.store.ctx, &j->sync);
        return;
    }
    uint32_t p = j->partitions[j->at];
    buf_clear(&j->prefix);
    if (p >= ring_q(e->ring)) {
        say(j, REAP_COPIES);
    } else if (!j->looked && !engine_owns(e, p)) {
        buf_put_u32_be(&j->prefix, p);
        look(j, STORE_META, on_copy, on_copies);
    } else if (j->target < j->n_targets) {
        row_hint_prefix(j->targets[j->target], &j->prefix);
        buf_put_u32_be(&j->prefix, p);
        look(j, STORE_HINT, on_hint, on_hints);
    } else {
        say(j, REAP_CLEAR);
    }
}

void clear_job_start(struct clear_job *j)
{
    const struct hint_ledger *h = j->e->hints;
    uint32_t most = hints_nodes(h, NULL, 0);
    j->targets = mem_zalloc((most + 1) * sizeof(*j->targets));
    j->n_targets = hints_nodes(h, j->targets, most);
    j->at = j->target = 0;
    j->inside = j->again = j->over = j->looked = false;
    j->prefix = BUF_EMPTY;
    clear_go_on(j);
}

void clear_job_release(struct clear_job *j)
{
    if (j->e == NULL)
        return;
    free(j->targets);
    buf_release(&j->prefix);
    j->e = NULL;
}
