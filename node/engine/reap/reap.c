/* SPDX-License-Identifier: Apache-2.0 */
/* See reap.h. A round walks the rows that remind of tombstones, a batch of them at a time:
 *
 *   SCAN -> LOOK (what has become of them here?)
 *     -> VOTE (all replicas, on disk) -> CLEAR (all members: is anything kept?)
 *     -> PREPARE (those that somebody holds unmarked)
 *     -> DROP_ENTRIES -> DROP_OBJECTS (those that are ripe everywhere)
 *   and back to SCAN, until the rows are through
 *
 * The order of VOTE and CLEAR is what counts: a hint that was there when somebody voted is still
 * there when it is asked for, or it has come to a replica and touched the row. A batch whose ring
 * changes under way is left; the next round comes to it again. Nothing is remembered between
 * batches but what the rows say. */
#include "engine/reap/reap.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/fragments.h"
#include "engine/membership/catchup.h"
#include "engine/reap/reap_rows.h"
#include "engine/slices.h"
#include "model/wire.h"

#define BATCH (REAP_ITEMS_MAX / 2) /* an object and an entry of each fit into one message */
#define SCAN_ROWS 1024
#define CALL_US 5000000u
#define TURNS 10 /* so many waits each of the list has before the next leads as well */

enum phase { RESTING, SCANNING, LOOKING, VOTING, CLEARING, PREPARING, DROP_ENTRIES, DROP_OBJECTS };

struct candidate {
    uint8_t *key_bytes;
    struct slice key;
    uint32_t partition; /* where the object lies */
    /* Where its entry lies: first where it belongs, then where it lay before its directory was
     * split (E26), and must have gone from. None: it has none in general. */
    struct buf ids[FRAGMENT_DEPTH_MAX + 1];
    uint32_t of_entry[FRAGMENT_DEPTH_MAX + 1];
    uint32_t n_ids;
    uint8_t state[DIGEST_LEN], entry[DIGEST_LEN];
    bool entry_seen;
    bool only_look;          /* this node is no replica */
    bool out;                /* nothing can be done about it now */
    bool unprepared, unripe; /* somewhere */
};

struct party { /* a node that is asked in this phase */
    struct reaper *r;
    uint64_t node;
    struct reap_item *items;
    uint32_t *of; /* whose they are: indexes of candidates */
    uint32_t n, cap;
    struct reap_vote *votes; /* this node's own */
    uint8_t *kept;
    struct reap_job job;
    struct clear_job clearing;
    struct rpc_call call;
};

struct tally {
    uint64_t seen, young, prepared, away, hints, copies, moving, differ;
};

struct reaper {
    struct engine *e;
    struct timer timer;
    struct slice_wait slice;
    enum phase phase;
    uint64_t generation; /* of the ring that the batch is about */
    bool all_up;
    struct buf cursor, from; /* from: where the scan under way began */
    struct store_scan scan;
    bool more;
    struct candidate candidates[BATCH];
    uint32_t n;
    struct reap_item looks[BATCH];
    struct reap_vote looked[BATCH];
    struct reap_job look;
    struct party *parties;
    uint32_t n_parties, asking;
    uint32_t partitions[REAP_PARTITIONS_MAX];
    uint32_t n_partitions;
    struct tally now, last; /* of this round so far, of the last whole one */
};

static void next_phase(struct reaper *r);

void reap_batch(struct store_batch *b, uint32_t partition, struct slice key, const struct object *o)
{
    struct buf name = BUF_EMPTY, row = BUF_EMPTY;
    struct debt debt = {0};
    if (object_is_absent(o) || object_live(o) || key.len == 0)
        return;
    for (uint32_t i = 0; i < o->clock.n; i++)
        if (o->clock.pairs[i].time_ms > debt.since_ms)
            debt.since_ms = o->clock.pairs[i].time_ms;
    row_debt(DEBT_DEAD, partition, key, &name);
    debt_encode(&debt, &row);
    store_batch_put(b, STORE_HINT, buf_slice(&name), buf_slice(&row));
    buf_release(&name);
    buf_release(&row);
}

/* ---- the batch --------------------------------------------------------------------------- */

static void release_parties(struct reaper *r)
{
    for (uint32_t i = 0; i < r->n_parties; i++) {
        struct party *p = &r->parties[i];
        rpc_cancel(r->e->rpc, &p->call);
        reap_job_release(&p->job);
        clear_job_release(&p->clearing);
        free(p->items);
        free(p->of);
        free(p->votes);
        free(p->kept);
    }
    free(r->parties);
    r->parties = NULL;
    r->n_parties = 0;
}

static void release_batch(struct reaper *r)
{
    release_parties(r);
    reap_job_release(&r->look);
    for (uint32_t i = 0; i < r->n; i++) {
        free(r->candidates[i].key_bytes);
        for (uint32_t k = 0; k < r->candidates[i].n_ids; k++)
            buf_release(&r->candidates[i].ids[k]);
    }
    r->n = 0;
}

static void end_round(struct reaper *r)
{
    struct engine *e = r->e;
    r->phase = RESTING;
    r->last = r->now;
    timer_set(e->ports.timers, &r->timer, engine_now(e) + e->cfg.reap_us);
}

static void end_batch(struct reaper *r)
{
    release_batch(r);
    if (r->e->stopping || r->e->failed != DYN_OK || !r->more) {
        end_round(r);
        return;
    }
    r->phase = SCANNING;
    slices_ask(r->e->slices, &r->slice);
}

static void leave_out(struct candidate *c, uint64_t *why)
{
    if (!c->out)
        ++*why;
    c->out = true;
}

static uint64_t wait_us(const struct engine *e)
{
    return e->cfg.message_life_us + e->cfg.message_life_us / 4;
}

/* ---- asking ------------------------------------------------------------------------------ */

static struct party *party_of(struct reaper *r, uint64_t node)
{
    for (uint32_t i = 0; i < r->n_parties; i++)
        if (r->parties[i].node == node)
            return &r->parties[i];
    r->parties = mem_reallocarray(r->parties, r->n_parties + 1, sizeof(*r->parties));
    r->parties[r->n_parties] = (struct party){.r = r, .node = node};
    return &r->parties[r->n_parties++];
}

/* Every replica of the row is to be asked about it. */
static void add_row(struct reaper *r, uint32_t i, struct reap_item it, uint32_t partition)
{
    struct candidate *c = &r->candidates[i];
    uint64_t nodes[N_MAX];
    uint32_t n = reap_replicas(r->e, partition, nodes);
    if (n == 0)
        leave_out(c, &r->now.moving);
    for (uint32_t k = 0; k < n; k++) {
        struct party *p = party_of(r, nodes[k]);
        if (p->n ==
            REAP_ITEMS_MAX) { /* entries of split directories are asked for at many places */
            leave_out(c, &r->now.moving);
            return;
        }
        if (p->n == p->cap) {
            p->cap = p->cap == 0 ? 16 : p->cap * 2;
            p->items = mem_reallocarray(p->items, p->cap, sizeof(*p->items));
            p->of = mem_reallocarray(p->of, p->cap, sizeof(*p->of));
        }
        p->items[p->n] = it;
        p->of[p->n++] = i;
    }
}

static void add_item(struct reaper *r, uint32_t i, enum row_kind kind, const uint8_t *state)
{
    const struct candidate *c = &r->candidates[i];
    bool entry = kind == ROW_ENTRY;
    struct reap_item it = {.kind = kind, .key = entry ? buf_slice(&c->ids[0]) : c->key};
    if (state != NULL)
        memcpy(it.state, state, DIGEST_LEN);
    add_row(r, i, it, entry ? c->of_entry[0] : c->partition);
}

static void answered(struct reaper *r)
{
    if (--r->asking > 0)
        return;
    release_parties(r);
    next_phase(r);
}

static void take_vote(struct reaper *r, const struct reap_item *it, struct candidate *c,
                      const struct reap_vote *v)
{
    if (v->verdict == REAP_NO) {
        leave_out(c, &r->now.differ);
        return;
    }
    if (v->verdict == REAP_ABSENT)
        return;
    if (it->kind == ROW_ENTRY && !slice_equal(it->key, buf_slice(&c->ids[0]))) {
        leave_out(c, &r->now.differ); /* it is still to be moved from there */
        return;
    }
    if (it->kind == ROW_ENTRY && !c->entry_seen) {
        c->entry_seen = true;
        memcpy(c->entry, v->state, DIGEST_LEN);
    }
    if (memcmp(v->state, it->kind == ROW_ENTRY ? c->entry : c->state, DIGEST_LEN) != 0)
        leave_out(c, &r->now.differ);
    c->unprepared |= v->verdict == REAP_HOLDS;
    c->unripe |= v->verdict == REAP_PREPARED;
}

static void take_votes(struct party *p, int err, const struct reap_vote *votes, uint32_t n)
{
    struct reaper *r = p->r;
    if (err == DYN_OK && n != p->n)
        err = DYN_ERR_PROTOCOL;
    for (uint32_t i = 0; i < p->n; i++) {
        struct candidate *c = &r->candidates[p->of[i]];
        if (err != DYN_OK)
            leave_out(c, &r->now.away);
        else if (r->phase == VOTING)
            take_vote(r, &p->items[i], c, &votes[i]);
        else if (r->phase == DROP_ENTRIES && votes[i].verdict != REAP_ABSENT)
            leave_out(c, &r->now.differ);
    }
    answered(r);
}

static void on_own_votes(struct reap_job *j, int err)
{
    struct party *p = j->arg;
    take_votes(p, err, p->votes, p->n);
}

static void on_votes(struct rpc_call *call, int err, struct slice body)
{
    struct party *p = call->arg;
    struct reap_reply reply = {0};
    if (err == DYN_OK)
        err = reap_reply_decode(body, &reply);
    if (err == DYN_OK)
        err = reply.status;
    take_votes(p, err, reply.votes, reply.n);
    reap_reply_release(&reply);
}

static void ask_party(struct party *p, enum reap_step step)
{
    struct engine *e = p->r->e;
    if (p->node == e->cfg.node) {
        p->votes = mem_zalloc((p->n + 1) * sizeof(*p->votes));
        p->job = (struct reap_job){.e = e,
                                   .step = step,
                                   .items = p->items,
                                   .n = p->n,
                                   .votes = p->votes,
                                   .done = on_own_votes,
                                   .arg = p};
        reap_job_start(&p->job);
        return;
    }
    const struct reap_request m = {
        .ring = *ring_epoch(e->ring), .step = step, .items = p->items, .n = p->n};
    struct buf body = BUF_EMPTY;
    reap_request_encode(&m, &body);
    p->call = (struct rpc_call){.done = on_votes, .arg = p};
    rpc_start(e->rpc, &p->call, p->node, FRAME_REAP, &body, CALL_US);
}

static void ask_all(struct reaper *r, enum reap_step step)
{
    r->asking = r->n_parties + 1; /* one for this loop: this node's own may end inside */
    for (uint32_t i = 0; i < r->n_parties; i++)
        ask_party(&r->parties[i], step);
    answered(r);
}

/* ---- what is kept for others ------------------------------------------------------------- */

static bool is_about(const struct candidate *c, uint32_t partition)
{
    bool is = partition == c->partition;
    for (uint32_t i = 0; i < c->n_ids; i++)
        is |= partition == c->of_entry[i];
    return is;
}

static void take_kept(struct party *p, int err, const uint8_t *kept, uint32_t n)
{
    struct reaper *r = p->r;
    if (err == DYN_OK && n != r->n_partitions)
        err = DYN_ERR_PROTOCOL;
    for (uint32_t i = 0; i < r->n; i++) {
        struct candidate *c = &r->candidates[i];
        for (uint32_t k = 0; k < r->n_partitions && err == DYN_OK; k++)
            if (is_about(c, r->partitions[k]) && kept[k] != REAP_CLEAR)
                leave_out(c, kept[k] == REAP_HINTS ? &r->now.hints : &r->now.copies);
        if (err != DYN_OK)
            leave_out(c, &r->now.away);
    }
    answered(r);
}

static void on_own_kept(struct clear_job *j, int err)
{
    struct party *p = j->arg;
    take_kept(p, err, p->kept, p->r->n_partitions);
}

static void on_kept(struct rpc_call *call, int err, struct slice body)
{
    struct clear_reply reply = {0};
    if (err == DYN_OK)
        err = clear_reply_decode(body, &reply);
    if (err == DYN_OK)
        err = reply.status;
    take_kept(call->arg, err, reply.kept, reply.n);
    clear_reply_release(&reply);
}

static void add_partition(struct reaper *r, struct candidate *c, uint32_t partition)
{
    for (uint32_t i = 0; i < r->n_partitions; i++)
        if (r->partitions[i] == partition)
            return;
    if (r->n_partitions == REAP_PARTITIONS_MAX)
        leave_out(c, &r->now.moving);
    else
        r->partitions[r->n_partitions++] = partition;
}

static void ask_kept(struct party *p)
{
    struct reaper *r = p->r;
    struct engine *e = r->e;
    if (p->node == e->cfg.node) {
        p->kept = mem_zalloc(r->n_partitions + 1);
        p->clearing = (struct clear_job){.e = e,
                                         .partitions = r->partitions,
                                         .n = r->n_partitions,
                                         .kept = p->kept,
                                         .done = on_own_kept,
                                         .arg = p};
        clear_job_start(&p->clearing);
        return;
    }
    const struct clear_request m = {
        .ring = *ring_epoch(e->ring), .partitions = r->partitions, .n = r->n_partitions};
    struct buf body = BUF_EMPTY;
    clear_request_encode(&m, &body);
    p->call = (struct rpc_call){.done = on_kept, .arg = p};
    rpc_start(e->rpc, &p->call, p->node, FRAME_REAP_CLEAR, &body, CALL_US);
}

static void clear(struct reaper *r)
{
    const struct ring *ring = r->e->ring;
    r->n_partitions = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        struct candidate *c = &r->candidates[i];
        if (c->out)
            continue;
        add_partition(r, c, c->partition);
        for (uint32_t k = 0; k < c->n_ids; k++)
            add_partition(r, c, c->of_entry[k]);
    }
    bool nobody = r->n_partitions == 0 || r->e->cfg.bug == BUG_EARLY_REAP;
    for (uint32_t i = 0; i < ring_member_count(ring) && !nobody; i++)
        party_of(r, ring_member_at(ring, i)->node);
    for (uint32_t i = 0; i < ring_former_count(ring) && !nobody; i++)
        party_of(r, ring_former_at(ring, i)->node);
    r->asking = r->n_parties + 1;
    for (uint32_t i = 0; i < r->n_parties; i++)
        ask_kept(&r->parties[i]);
    answered(r);
}

/* ---- phases ------------------------------------------------------------------------------ */

static void on_looked(struct reap_job *j, int err)
{
    struct reaper *r = j->arg;
    for (uint32_t i = 0; i < r->n; i++) {
        struct candidate *c = &r->candidates[i];
        const struct reap_vote *v = &r->looked[i];
        r->now.prepared += v->verdict == REAP_PREPARED || v->verdict == REAP_RIPE;
        c->out =
            err != DYN_OK || c->only_look || (v->verdict != REAP_HOLDS && v->verdict != REAP_RIPE);
        memcpy(c->state, v->state, DIGEST_LEN);
    }
    reap_job_release(j);
    next_phase(r);
}

static void look(struct reaper *r)
{
    for (uint32_t i = 0; i < r->n; i++)
        r->looks[i] = (struct reap_item){.kind = ROW_OBJECT, .key = r->candidates[i].key};
    r->look = (struct reap_job){.e = r->e,
                                .step = REAP_LOOK,
                                .items = r->looks,
                                .n = r->n,
                                .votes = r->looked,
                                .done = on_looked,
                                .arg = r};
    reap_job_start(&r->look);
}

static void ask_for_votes(struct reaper *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->candidates[i].out)
            continue;
        add_item(r, i, ROW_OBJECT, r->candidates[i].state);
        const struct candidate *c = &r->candidates[i];
        for (uint32_t k = 0; k < c->n_ids; k++)
            add_row(r, i, (struct reap_item){.kind = ROW_ENTRY, .key = buf_slice(&c->ids[k])},
                    c->of_entry[k]);
    }
    ask_all(r, REAP_VOTE);
}

static void ask_to_prepare(struct reaper *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        struct candidate *c = &r->candidates[i];
        if (c->out || !c->unprepared)
            continue;
        add_item(r, i, ROW_OBJECT, c->state);
        if (c->entry_seen)
            add_item(r, i, ROW_ENTRY, c->entry);
    }
    ask_all(r, REAP_PREPARE);
}

static void ask_to_drop(struct reaper *r, enum row_kind kind)
{
    for (uint32_t i = 0; i < r->n; i++) {
        struct candidate *c = &r->candidates[i];
        if (c->out || c->unprepared || c->unripe)
            continue;
        if (kind == ROW_OBJECT)
            add_item(r, i, ROW_OBJECT, c->state);
        else if (c->entry_seen)
            add_item(r, i, ROW_ENTRY, c->entry);
    }
    ask_all(r, REAP_DROP);
}

static void next_phase(struct reaper *r)
{
    const struct engine *e = r->e;
    if (e->stopping || e->failed != DYN_OK || r->generation != e->generation || r->n == 0) {
        end_batch(r);
        return;
    }
    switch (++r->phase) {
    case LOOKING:
        look(r);
        return;
    case VOTING:
        ask_for_votes(r);
        return;
    case CLEARING:
        clear(r);
        return;
    case PREPARING:
        ask_to_prepare(r);
        return;
    case DROP_ENTRIES:
        ask_to_drop(r, ROW_ENTRY);
        return;
    case DROP_OBJECTS:
        ask_to_drop(r, ROW_OBJECT);
        return;
    default:
        end_batch(r);
    }
}

/* ---- scanning ---------------------------------------------------------------------------- */

/* The first of the list, and the others when those before them have had their time. Who is none of
 * them only looks, after all of them, whether it has such a row still. */
static bool takes_up(const struct reaper *r, uint32_t partition, uint64_t overdue_ms, bool *leads)
{
    uint64_t nodes[N_MAX], turn_ms = TURNS * wait_us(r->e) / 1000 + 1;
    uint32_t n = reap_replicas(r->e, partition, nodes), place = 0;
    while (place < n && nodes[place] != r->e->cfg.node)
        place++;
    *leads = place < n;
    return overdue_ms >= place * turn_ms;
}

static void find_entries(const struct engine *e, struct candidate *c)
{
    uint32_t belongs = engine_fragment(e, c->key), last = belongs;
    for (uint32_t d = 0; d <= fragments_depth(e, key_parent(c->key)) + 1; d++) {
        uint32_t fragment = d == 0 ? belongs : fragment_of_name(key_name(c->key), d - 1);
        if (d > 0 && (fragment == belongs || fragment == last))
            continue;
        struct buf *id = &c->ids[c->n_ids];
        *id = BUF_EMPTY;
        entry_id(fragment, c->key, id);
        c->of_entry[c->n_ids++] = place_of_entry(e->ring, buf_slice(id)).partition;
        last = fragment;
    }
}

static bool on_row(struct store_scan *req, struct slice row, struct slice value)
{
    struct reaper *r = req->arg;
    struct engine *e = r->e;
    struct slice key;
    struct debt debt;
    buf_clear(&r->cursor);
    buf_put_slice(&r->cursor, row);
    buf_put_u8(&r->cursor, 0);
    if (row_debt_parse(row, &key) != DYN_OK || debt_decode(value, &debt) != DYN_OK || key.len == 0)
        return true;
    uint64_t now = engine_wall_ms(e), due = debt.since_ms + e->cfg.reap_after_ms;
    uint32_t partition = ring_partition_of(e->ring, key);
    bool jumped = now < debt.since_ms; /* a wall clock says nothing of what is safe */
    bool young = now < due && !jumped;
    bool leads = false;
    r->now.seen++;
    r->now.young += young;
    uint64_t overdue = jumped ? UINT64_MAX : now - due;
    if (young || !takes_up(r, partition, overdue, &leads))
        return true;
    r->now.away += !r->all_up;
    if (!r->all_up)
        return true;
    struct candidate *c = &r->candidates[r->n++];
    *c = (struct candidate){
        .key_bytes = mem_dup(key.data, key.len), .partition = partition, .only_look = !leads};
    c->key = slice_of(c->key_bytes, key.len);
    if (engine_has_entry(key))
        find_entries(e, c);
    return r->n < BATCH;
}

static void on_scanned(struct store_scan *req, int err, bool more)
{
    struct reaper *r = req->arg;
    r->more = err == DYN_OK && (more || r->n == BATCH);
    next_phase(r);
}

static void on_slice(struct slice_wait *w)
{
    static const uint8_t prefix[] = {DEBT_DEAD};
    struct reaper *r = w->arg;
    struct engine *e = r->e;
    r->generation = e->generation;
    buf_clear(&r->from);
    buf_put_slice(&r->from, buf_slice(&r->cursor));
    r->scan = (struct store_scan){.family = STORE_HINT,
                                  .prefix = slice_of(prefix, 1),
                                  .from = buf_slice(&r->from),
                                  .max_rows = SCAN_ROWS,
                                  .max_bytes = 1u << 20,
                                  .row = on_row,
                                  .done = on_scanned,
                                  .arg = r};
    e->ports.store.scan(e->ports.store.ctx, &r->scan);
}

static bool is_up(const struct engine *e, uint64_t node)
{
    return node == e->cfg.node || detector_up(e->detector, node);
}

static bool all_up(const struct engine *e)
{
    for (uint32_t i = 0; i < ring_member_count(e->ring); i++)
        if (!is_up(e, ring_member_at(e->ring, i)->node))
            return false;
    for (uint32_t i = 0; i < ring_former_count(e->ring); i++)
        if (!is_up(e, ring_former_at(e->ring, i)->node))
            return false;
    return true;
}

static void on_timer(struct timer *t, void *arg)
{
    struct reaper *r = arg;
    struct engine *e = r->e;
    (void)t;
    if (e->stopping || e->failed != DYN_OK)
        return;
    r->now = (struct tally){0};
    r->all_up = (all_up(e) && !catchup_under_way(e->catchup)) || e->cfg.bug == BUG_EARLY_REAP;
    buf_clear(&r->cursor);
    r->phase = SCANNING;
    slices_ask(e->slices, &r->slice);
}

/* ---- life -------------------------------------------------------------------------------- */

struct reaper *reaper_new(struct engine *e)
{
    struct reaper *r = mem_new(struct reaper);
    r->e = e;
    timer_init(&r->timer, on_timer, r);
    slice_wait_init(&r->slice, WORK_REAP, on_slice, r);
    return r;
}

void reaper_free(struct reaper *r)
{
    if (r == NULL)
        return;
    timer_cancel(r->e->ports.timers, &r->timer);
    slices_forget(r->e->slices, &r->slice);
    release_batch(r);
    buf_release(&r->cursor);
    buf_release(&r->from);
    free(r);
}

void reaper_start(struct reaper *r)
{
    if (r->e->cfg.reap_us != 0)
        timer_set(r->e->ports.timers, &r->timer, engine_now(r->e) + r->e->cfg.reap_us);
}

void reaper_stats(const struct reaper *r, struct engine_stats *out)
{
    const struct tally *t = &r->last;
    out->tombstones = t->seen;
    out->tombstones_young = t->young;
    out->tombstones_prepared = t->prepared;
    out->reap_blocked_away = t->away;
    out->reap_blocked_hints = t->hints;
    out->reap_blocked_copies = t->copies;
    out->reap_blocked_moving = t->moving;
    out->reap_blocked_differ = t->differ;
}
