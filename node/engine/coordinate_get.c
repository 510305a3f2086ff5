/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinators of get and sync: a gather, and the question to each replica whether it has
 * synced what it shows (F13). */
#include "engine/coordinate.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/dir_pages.h"
#include "engine/fragments.h"
#include "engine/peer_wire.h"
#include "engine/view.h"

#define LEARN_MAX 3u

int coordinate_cover(struct engine *e, struct slice key, const struct slice *contexts, uint32_t n,
                     struct cover *cover)
{
    struct cover t = COVER_EMPTY;
    for (uint32_t i = 0; i < n; i++) {
        int err = e->cfg.bug == BUG_FORGED
                      ? context_believe(contexts[i], &t)
                      : context_verify(e->mac, ring_cluster(e->ring), key, contexts[i], &t);
        if (err != DYN_OK) {
            cover_release(&t);
            return err;
        }
    }
    *cover = t;
    return DYN_OK;
}

struct dot coordinate_base(const struct put_request *q, const struct cover *cover,
                           const struct object *o)
{
    if (!dot_is_none(&q->base_dot) || q->type != SIBLING_FILE)
        return q->base_dot;
    return context_base(q->contexts, q->n_contexts, cover, o);
}

/* ---- get --------------------------------------------------------------------------------- */

static void count_versions(struct engine *e, const struct object *o)
{
    uint32_t live = object_live_count(o);
    if (live > 0)
        e->stats.sibling_reads[live > 4 ? 3 : live - 1]++;
}

static void read_again(void *arg)
{
    struct request *r = arg;
    r->coordinator = NULL;
    coordinate_get(r);
}

static void forget_settling(void *coordinator)
{
    reconcile_forget(coordinator);
}

/* A conflict under `union` is settled first, then read again; once, and if that is not possible,
 * the versions are shown as they are. */
static bool settles(struct request *r, const struct object *o)
{
    if (r->quorum.reconcile != RECONCILE_UNION || r->settled || !reconcile_wanted(o))
        return false;
    r->settled = true;
    r->settling = (struct reconcile_wait){.done = read_again, .arg = r};
    if (!reconcile_start(r->e, r->q.get.key, &r->settling))
        return false;
    r->coordinator = &r->settling;
    r->coordinator_free = forget_settling;
    return true;
}

/* Under `lww` a reader sees the newest version alone; the token names them all, for the next put. A
 * value that was asked for by its dot is shown, whatever is newer. */
static void show_newest(const struct request *r, struct object *o)
{
    const struct get_request *q = &r->q.get;
    struct object all = *o;
    *o = OBJECT_EMPTY;
    object_copy(o, &all);
    object_keep_newest(o);
    if (q->want == GET_DOT && object_find_value(o, &q->value_dot) == NULL)
        object_copy(o, &all);
}

static void on_gathered(void *arg, const struct gather_result *result)
{
    struct request *r = arg;
    struct engine *e = r->e;
    r->coordinator = NULL;
    if (result->status != DYN_OK) {
        request_fail(r, result->status, result->answered, result->needed);
        return;
    }
    if (settles(r, result->object))
        return;
    bool newest = r->quorum.reconcile == RECONCILE_LWW && result->object->n > 1;
    struct buf token = BUF_EMPTY;
    struct get_reply reply = {.status = DYN_OK,
                              .answered = (uint8_t)result->answered,
                              .needed = (uint8_t)result->needed,
                              .implicit_dir = result->implicit_dir,
                              .dir_mtime_ns = result->dir_mtime_ns > r->dir_mtime_ns
                                                  ? result->dir_mtime_ns
                                                  : r->dir_mtime_ns,
                              .object = *result->object,
                              .ring = *ring_epoch(e->ring)};
    for (uint32_t i = 0; i < result->n_current && i < 8; i++)
        reply.replicas[reply.n_replicas++] = result->current[i];
    if (!object_is_absent(result->object))
        token_make(e->mac, ring_cluster(e->ring), r->q.get.key, result->object, &token);
    reply.token = buf_slice(&token);
    if (newest)
        show_newest(r, &reply.object);
    struct object shown = newest ? reply.object : OBJECT_EMPTY;
    count_versions(e, &reply.object);
    request_reply_get(r, &reply);
    object_release(&shown);
    buf_release(&token);
}

static void forget(void *coordinator)
{
    gather_forget(coordinator);
}

/* The newest change in any of a directory's fragments (F29). Without it there is still that in the
 * first. */
static void on_mtimes(void *arg, int status, const struct dir_page *pages, uint32_t n)
{
    struct request *r = arg;
    (void)status;
    for (uint32_t i = 0; i < n; i++)
        if (pages[i].reply.dir_mtime_ns > r->dir_mtime_ns)
            r->dir_mtime_ns = pages[i].reply.dir_mtime_ns;
    read_again(r);
}

static void forget_mtimes(void *coordinator)
{
    dir_pages_forget(coordinator);
}

static bool asks_mtimes(struct request *r)
{
    const struct get_request *q = &r->q.get;
    if (r->mtimes_asked || q->want == GET_PRESENT || q->want == GET_DOT ||
        fragments_listed(r->e, q->key) == 1)
        return false;
    const struct dir_pages_params p = {
        .dir = q->key, .quorum = r->quorum, .done = on_mtimes, .arg = r};
    r->mtimes_asked = true;
    r->coordinator_free = forget_mtimes;
    r->coordinator = dir_pages_start(r->e, &p);
    return true;
}

void coordinate_get(struct request *r)
{
    if (asks_mtimes(r))
        return;
    static const enum value_choice choices[] = {[GET_META] = VALUE_NONE,
                                                [GET_NEWEST] = VALUE_NEWEST,
                                                [GET_ALL] = VALUE_ALL,
                                                [GET_DOT] = VALUE_DOT,
                                                [GET_PRESENT] = VALUE_NEWEST};
    const struct get_request *q = &r->q.get;
    struct cover at_least;
    int err = coordinate_cover(r->e, q->key, q->at_least, q->n_at_least, &at_least);
    if (err != DYN_OK) {
        request_fail(r, err, 0, r->quorum.r);
        return;
    }
    engine_forget_cut(r->e, &at_least.clock);
    struct gather_params p = {.key = q->key,
                              .quorum = r->quorum,
                              .values = choices[q->want],
                              .value_dot = q->value_dot,
                              .value_max = q->value_max,
                              .dir_info = q->want != GET_PRESENT,
                              .present = q->want == GET_PRESENT,
                              .at_least = &at_least,
                              .done = on_gathered,
                              .arg = r};
    if (p.present) {
        p.quorum.r = 1;
        p.quorum.sloppy = true;
    }
    if (r->settled || r->mtimes_asked) { /* the second time: in what time is left */
        uint64_t now = engine_now(r->e);
        p.quorum.timeout_us = r->deadline_us > now ? r->deadline_us - now : 1;
    }
    r->coordinator_free = forget;
    r->coordinator = gather_start(r->e, &p);
}

/* ---- sync -------------------------------------------------------------------------------- */

/* Outlives its request when this node's own disk does not answer in time. */
struct sync_op {
    struct background background; /* first */
    struct engine *e;
    struct request *r; /* NULL once answered */
    struct slice key;  /* owned */
    struct dot dot;
    struct rpc_call calls[N_MAX];
    struct replica_read read; /* this node's own part */
    struct store_write write;
    bool reading;
    uint32_t n, active, acks;
    struct timer later, deadline;
    struct view_wait learn; /* what a node knows that refused, being asked anew after it */
    struct rpc_call *refused;
    uint32_t learned;
};

static void sync_free(struct sync_op *op)
{
    struct engine *e = op->e;
    background_end(e, &op->background);
    view_wait_cancel(&op->learn);
    for (uint32_t i = 0; i < op->n; i++)
        rpc_cancel(e->rpc, &op->calls[i]);
    timer_cancel(e->ports.timers, &op->later);
    timer_cancel(e->ports.timers, &op->deadline);
    if (op->reading)
        replica_read_release(&op->read);
    free((void *)(uintptr_t)op->key.data);
    free(op);
}

static void sync_abandon(struct background *b)
{
    sync_free(container_of(b, struct sync_op, background));
}

static void sync_detach(void *coordinator)
{
    struct sync_op *op = coordinator;
    op->r = NULL;
}

static void sync_answer(struct sync_op *op)
{
    struct request *r = op->r;
    bool met = op->acks >= r->quorum.w;
    struct sync_reply reply = {.status = met ? DYN_OK : DYN_ERR_NO_QUORUM,
                               .answered = (uint8_t)op->acks,
                               .needed = (uint8_t)r->quorum.w};
    op->r = NULL;
    r->coordinator = NULL;
    request_reply_sync(r, &reply);
}

static void sync_check(struct sync_op *op)
{
    if (op->r != NULL && (op->acks >= op->r->quorum.w || op->active == 0))
        sync_answer(op);
    bool busy = op->reading || op->write.done != NULL; /* storage will call back into op */
    if (op->r == NULL && !busy)
        sync_free(op);
}

static void sync_part_ended(struct sync_op *op, int err)
{
    op->active--;
    if (err == DYN_OK)
        op->acks++;
    if (!timer_is_set(&op->later))
        sync_check(op);
}

static void on_sync_reply(struct rpc_call *call, int err, struct slice body);

static void ask_sync(struct sync_op *op, struct rpc_call *call, uint64_t node)
{
    struct engine *e = op->e;
    struct peer_sync m = {.ring = *ring_epoch(e->ring),
                          .fence = engine_fence(e, op->key, 0, ROLE_OBJECT),
                          .key = op->key,
                          .dot = op->dot};
    struct buf body = BUF_EMPTY;
    peer_sync_encode(&m, &body);
    *call = (struct rpc_call){.done = on_sync_reply, .arg = op};
    rpc_start(e->rpc, call, node, FRAME_REPLICA_SYNC, &body, op->r->quorum.timeout_us);
}

static void on_sync_learned(struct view_wait *w)
{
    struct sync_op *op = w->arg;
    if (op->r != NULL)
        ask_sync(op, op->refused, op->refused->node);
    else
        sync_part_ended(op, DYN_ERR_REFUSED);
}

static void on_sync_reply(struct rpc_call *call, int err, struct slice body)
{
    struct sync_op *op = call->arg;
    int status = DYN_OK;
    if (err == DYN_OK)
        err = peer_status_decode(body, &status);
    err = err != DYN_OK ? err : status;
    if (err == DYN_ERR_REFUSED && op->r != NULL && !op->learn.active &&
        op->learned++ < LEARN_MAX) { /* its ring is another one */
        op->refused = call;
        op->learn = (struct view_wait){.done = on_sync_learned, .arg = op};
        view_learn(op->e->view, call->node, &op->learn);
        return;
    }
    sync_part_ended(op, err);
}

static void on_synced(struct store_write *req, int err)
{
    struct sync_op *op = req->arg;
    req->done = NULL;
    sync_part_ended(op, err);
}

static void on_sync_read(struct replica_read *read, int err)
{
    struct sync_op *op = read->arg;
    struct engine *e = op->e;
    if (err == DYN_OK && !clock_covers(&read->object.clock, &op->dot))
        err = DYN_ERR_STALE;
    op->reading = false;
    replica_read_release(read);
    if (err != DYN_OK) {
        sync_part_ended(op, err);
        return;
    }
    op->write = (struct store_write){.done = on_synced, .arg = op};
    e->ports.store.sync(e->ports.store.ctx, &op->write);
}

static void on_sync_later(struct timer *t, void *arg)
{
    (void)t;
    sync_check(arg);
}

static void on_sync_deadline(struct timer *t, void *arg)
{
    (void)t;
    struct sync_op *op = arg;
    if (op->r != NULL)
        sync_answer(op);
    sync_check(op);
}

void coordinate_sync(struct request *r)
{
    struct engine *e = r->e;
    const struct sync_request *q = &r->q.sync;
    uint64_t nodes[N_MAX];
    struct sync_op *op = mem_new(struct sync_op);
    op->e = e;
    op->r = r;
    op->key = slice_of(mem_dup(q->key.data, q->key.len), q->key.len);
    op->dot = q->dot;
    r->coordinator = op;
    r->coordinator_free = sync_detach;
    background_add(e, &op->background, sync_abandon);
    timer_init(&op->deadline, on_sync_deadline, op);
    timer_set(e->ports.timers, &op->deadline, r->deadline_us);
    uint32_t p = ring_partition_of(e->ring, q->key);
    ring_preference_list(e->ring, p, r->quorum.n, nodes, r->quorum.n);
    op->n = ring_voters(e->ring, p, r->quorum.n);
    op->active = op->n;
    timer_init(&op->later, on_sync_later,
               op); /* answered in a later turn, whatever ends inside here */
    timer_set(e->ports.timers, &op->later, engine_now(e));
    for (uint32_t i = 0; i < op->n; i++) {
        op->calls[i] = (struct rpc_call){.done = on_sync_reply, .arg = op};
        if (nodes[i] == e->cfg.node) {
            op->read = (struct replica_read){
                .e = e, .key = op->key, .load = LOAD_NONE, .done = on_sync_read, .arg = op};
            op->reading = true;
            replica_read_start(&op->read);
        } else if (!detector_up(e->detector, nodes[i])) {
            sync_part_ended(op, DYN_ERR_UNREACHABLE);
        } else {
            ask_sync(op, &op->calls[i], nodes[i]);
        }
    }
}
