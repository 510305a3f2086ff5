/* SPDX-License-Identifier: Apache-2.0 */
/* See request.h.
 *
 *   DECODED -> refused (rule broken, overload)                                    -> ANSWERED
 *   DECODED -> coordinated here                                                   -> ANSWERED
 *   DECODED -> FORWARDED to a primary -> its answer is passed on                  -> ANSWERED
 *                        -> it failed: the next primary; none left: coordinated here, as a stand-in
 * (E1) -> ANSWERED
 *
 * Only puts are forwarded, because only primaries mint. Reads are coordinated wherever they arrive:
 * it is the same number of messages, and one node less to fail. */
#include "engine/request.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/coordinate.h"
#include "engine/coordinate/dir_settings.h"
#include "model/manifest.h"

#define FORWARD_EXTRA_US                                                                           \
    100000u /* beyond one replica timeout: the primary has its own to wait for */

#define AHEAD_MAX_NS (86400ull * 1000000000) /* a client's clock may run ahead by a day */

static void forward_next(struct request *r);

void request_free(struct request *r)
{
    struct engine *e = r->e;
    if (r->coordinator != NULL)
        r->coordinator_free(r->coordinator);
    list_remove(&r->link);
    timer_cancel(e->ports.timers, &r->start_timer);
    rpc_cancel(e->rpc, &r->forward);
    if (r->decoded && r->type == FRAME_GET)
        get_request_release(&r->q.get);
    if (r->decoded && r->type == FRAME_PUT)
        put_request_release(&r->q.put);
    buf_release(&r->body);
    free(r);
    e->stats.in_flight--;
}

/* What another node passed on is counted where it came from. */
static void note_latency(const struct request *r)
{
    static const enum engine_latency kinds[] = {
        [FRAME_GET] = LATENCY_GET, [FRAME_PUT] = LATENCY_PUT, [FRAME_LIST] = LATENCY_LIST};
    struct engine *e = r->e;
    if (r->type > FRAME_LIST || !r->decoded || r->from != 0)
        return;
    uint64_t took = engine_now(e) - r->started_us;
    histogram_add(&e->latencies[kinds[r->type]], took);
    admission_foreground(e->admission, took);
}

static void request_end(struct request *r)
{
    struct engine *e = r->e;
    note_latency(r);
    request_free(r);
    if (e->stopping && list_empty(&e->requests) && e->drained != NULL)
        timer_set(e->ports.timers, &e->drain_timer, engine_now(e));
}

static void send_frame(struct request *r, struct buf *body)
{
    struct net_port *net = &r->e->ports.net;
    net->reply(net->ctx, r->origin, r->rid, (uint8_t)(r->type + FRAME_REPLY), body);
}

static void count_failure(struct engine *e, int status)
{
    if (status == DYN_ERR_NO_QUORUM)
        e->stats.failed_no_quorum++;
    else if (status == DYN_ERR_TIMEOUT)
        e->stats.failed_timeout++;
}

#define DEFINE_REPLY(name)                                                                         \
    void request_reply_##name(struct request *r, struct name##_reply *reply)                       \
    {                                                                                              \
        struct buf body = BUF_EMPTY;                                                               \
        count_failure(r->e, reply->status);                                                        \
        if (!r->local) {                                                                           \
            name##_reply_encode(reply, &body);                                                     \
            send_frame(r, &body);                                                                  \
        } else if (!r->canceled) {                                                                 \
            r->done.name(r->arg, reply);                                                           \
        }                                                                                          \
        request_end(r);                                                                            \
    }
DEFINE_REPLY(get)
DEFINE_REPLY(put)
DEFINE_REPLY(list)
DEFINE_REPLY(sync)

void request_fail(struct request *r, int status, uint32_t answered, uint32_t needed)
{
    uint8_t a = (uint8_t)answered, n = (uint8_t)needed;
    struct history_epoch ring = *ring_epoch(r->e->ring);
    if (r->type == FRAME_GET) {
        struct get_reply p = {.status = status, .answered = a, .needed = n, .ring = ring};
        request_reply_get(r, &p);
    } else if (r->type == FRAME_PUT) {
        struct put_reply p = {.status = status, .answered = a, .needed = n, .ring = ring};
        request_reply_put(r, &p);
    } else if (r->type == FRAME_LIST) {
        struct list_reply p = {.status = status, .answered = a, .needed = n, .ring = ring};
        request_reply_list(r, &p);
    } else {
        struct sync_reply p = {.status = status, .answered = a, .needed = n};
        request_reply_sync(r, &p);
    }
}

/* ---- forwarding -------------------------------------------------------------------------- */

static void relay(struct request *r, struct slice body)
{
    struct put_reply reply;
    if (!r->local) {
        struct buf copy = BUF_EMPTY;
        buf_put_slice(&copy, body);
        send_frame(r, &copy);
    } else if (!r->canceled && put_reply_decode(body, &reply) == DYN_OK) {
        r->done.put(r->arg, &reply);
        put_reply_release(&reply);
    }
    request_end(r);
}

/* A node that would not even try. */
static bool try_elsewhere(int status)
{
    return status == DYN_ERR_STOPPED || status == DYN_ERR_REFUSED || status == DYN_ERR_OVERLOAD ||
           status == DYN_ERR_IO || status == DYN_ERR_NO_SPACE;
}

static void on_forwarded(struct rpc_call *call, int err, struct slice body)
{
    struct request *r = call->arg;
    struct put_reply reply;
    if (err == DYN_OK)
        err = put_reply_decode(body, &reply);
    if (err == DYN_OK) {
        err = try_elsewhere(reply.status) ? reply.status : DYN_OK;
        put_reply_release(&reply);
    }
    if (err == DYN_OK)
        relay(r, body);
    else
        forward_next(r);
}

/* What comes too late must not take effect: by then another primary may have written it, and a
 * reader replaced it (E15). And if both write it in time, it must be seen to be one write (E7). */
static void forward(struct request *r, uint64_t node, uint64_t timeout_us)
{
    struct engine *e = r->e;
    struct put_request *q = &r->q.put;
    struct buf body = BUF_EMPTY;
    q->opt.forwarded = 1;
    q->opt.expires_ms = engine_wall_ms(e) + timeout_us / 1000;
    if (q->origin.writer == 0)
        q->origin =
            (struct origin){random_u64(&e->ports.random) | 1, random_u64(&e->ports.random), 1};
    put_request_encode(q, &body);
    r->forward.done = on_forwarded;
    r->forward.arg = r;
    e->stats.forwarded++;
    rpc_start(e->rpc, &r->forward, node, FRAME_PUT, &body, timeout_us);
}

static void forward_next(struct request *r)
{
    struct engine *e = r->e;
    uint64_t now = engine_now(e);
    while (r->next_primary < r->n_primaries &&
           (r->primaries[r->next_primary] == e->cfg.node ||
            !detector_up(e->detector, r->primaries[r->next_primary])))
        r->next_primary++;
    if (now >= r->deadline_us) {
        request_fail(r, DYN_ERR_TIMEOUT, 0, r->quorum.w);
    } else if (r->next_primary < r->n_primaries) {
        /* Each primary, and then this node as a stand-in, has its share of the time. */
        uint64_t share = (r->deadline_us - now) / (r->n_primaries - r->next_primary + 1);
        uint64_t most = e->cfg.replica_timeout_us + FORWARD_EXTRA_US;
        forward(r, r->primaries[r->next_primary++], share < most ? share : most);
    } else if (r->refused_here != DYN_OK) {
        request_fail(r, r->refused_here, 0, r->quorum.w);
    } else if (r->quorum.sloppy && ring_member_find(e->ring, e->cfg.node) != NULL) {
        coordinate_put(r);
    } else {
        request_fail(r, DYN_ERR_NO_QUORUM, 0, r->quorum.w);
    }
}

void request_elsewhere(struct request *r, int err)
{
    r->refused_here = err;
    if (r->q.put.opt.forwarded) /* whoever forwarded it goes on to another (E25) */
        request_fail(r, err, 0, r->quorum.w);
    else
        forward_next(r);
}

static void route_put(struct request *r)
{
    struct engine *e = r->e;
    uint32_t partition = ring_partition_of(e->ring, r->q.put.key);
    r->n_primaries =
        ring_preference_list(e->ring, partition, r->quorum.n, r->primaries, r->quorum.n);
    bool mine = r->q.put.opt.forwarded != 0; /* once is enough (E25) */
    for (uint32_t i = 0; i < r->n_primaries; i++)
        mine |= r->primaries[i] == e->cfg.node;
    if (mine)
        coordinate_put(r);
    else
        forward_next(r);
}

/* ---- arrival ----------------------------------------------------------------------------- */

static int check_manifest(const struct put_request *q)
{
    struct manifest m = MANIFEST_EMPTY;
    if (q->type != SIBLING_FILE || (q->flags & PUT_KEEP_VALUE))
        return DYN_ERR_INVALID;
    int err = manifest_decode(q->value, &m);
    manifest_release(&m);
    return err;
}

/* Only the bytes of a file are extended, and what comes of it has the limit of every value. */
static int check_extension(const struct put_request *q, uint64_t value_max)
{
    if (q->type != SIBLING_FILE || (q->flags & (PUT_KEEP_VALUE | PUT_MANIFEST)))
        return DYN_ERR_INVALID;
    return extension_check(&q->extends, q->value.len, value_max);
}

static int check_put(const struct request *r)
{
    const struct put_request *q = &r->q.put;
    if (key_check(q->key, NULL) != DYN_OK)
        return DYN_ERR_INVALID;
    if (q->value.len > r->e->cfg.value_max)
        return DYN_ERR_TOO_LARGE;
    int err = q->flags & PUT_EXTENDS ? check_extension(q, r->e->cfg.value_max) : DYN_OK;
    if (err != DYN_OK)
        return err;
    if (q->type > SIBLING_SYMLINK)
        return DYN_ERR_INVALID;
    if (q->time_ns > engine_wall_ns(r->e) + AHEAD_MAX_NS)
        return DYN_ERR_INVALID; /* it would be the newest for ever */
    return q->flags & PUT_MANIFEST ? check_manifest(q) : DYN_OK;
}

static int check_key(struct slice key)
{
    return key.len == 0 ? DYN_OK : key_check(key, NULL);
}

static int decode(struct request *r, const struct request_options **opt)
{
    struct slice body = buf_slice(&r->body);
    int err;
    switch (r->type) {
    case FRAME_GET:
        err = get_request_decode(body, &r->q.get);
        *opt = &r->q.get.opt;
        break;
    case FRAME_PUT:
        err = put_request_decode(body, &r->q.put);
        *opt = &r->q.put.opt;
        break;
    case FRAME_LIST:
        err = list_request_decode(body, &r->q.list);
        *opt = &r->q.list.opt;
        break;
    default:
        err = sync_request_decode(body, &r->q.sync);
        *opt = &r->q.sync.opt;
        break;
    }
    r->decoded = err == DYN_OK;
    if (r->decoded && r->type == FRAME_PUT && !r->local && r->from == 0) {
        /* what only nodes may say */
        r->q.put.flags &= ~(uint32_t)PUT_IMPLICIT;
        r->q.put.opt.expires_ms = 0;
    }
    return err;
}

static struct slice request_key(const struct request *r)
{
    switch (r->type) {
    case FRAME_GET:
        return r->q.get.key;
    case FRAME_PUT:
        return r->q.put.key;
    case FRAME_LIST:
        return r->q.list.dir;
    default:
        return r->q.sync.key;
    }
}

static int check(const struct request *r)
{
    return r->type == FRAME_PUT ? check_put(r) : check_key(request_key(r));
}

static void dispatch(struct request *r)
{
    struct engine_stats *stats = &r->e->stats;
    switch (r->type) {
    case FRAME_GET:
        stats->gets++;
        coordinate_get(r);
        return;
    case FRAME_PUT:
        if (r->q.put.type == SIBLING_DELETE)
            stats->deletes++;
        else
            stats->puts++;
        route_put(r);
        return;
    case FRAME_LIST:
        stats->lists++;
        coordinate_list(r);
        return;
    default:
        coordinate_sync(r);
    }
}

static void start(struct request *r)
{
    struct engine *e = r->e;
    const struct request_options *opt;
    int err = decode(r, &opt);
    if (err == DYN_OK)
        err = check(r);
    if (err == DYN_OK)
        err = engine_quorum(e, opt, request_key(r), &r->quorum);
    if (err == DYN_OK && opt->expires_ms != 0 && engine_wall_ms(e) > opt->expires_ms)
        err = DYN_ERR_STOPPED; /* the forwarder has gone on to another */
    if (err == DYN_OK && (!e->serving || e->stopping))
        err = DYN_ERR_STOPPED;
    if (err == DYN_OK && e->stats.in_flight > e->cfg.requests_max)
        err = DYN_ERR_OVERLOAD;
    if (err != DYN_OK) {
        request_fail(r, err, 0, 0);
        return;
    }
    r->deadline_us = engine_now(e) + r->quorum.timeout_us;
    dispatch(r);
}

static void on_start(struct timer *t, void *arg)
{
    (void)t;
    start(arg);
}

static struct request *request_new(struct engine *e, uint8_t type)
{
    struct request *r = mem_new(struct request);
    r->e = e;
    r->type = type;
    r->id = ++e->next_request_id;
    r->started_us = engine_now(e);
    timer_init(&r->start_timer, on_start, r);
    list_init(&r->link);
    list_append(&e->requests, &r->link);
    e->stats.in_flight++;
    return r;
}

void request_frame(struct engine *e, uint64_t origin, uint64_t from, uint64_t rid, uint8_t type,
                   struct slice body)
{
    struct request *r = request_new(e, type);
    r->origin = origin;
    r->from = from;
    r->rid = rid;
    buf_put_slice(&r->body, body);
    start(r);
}

/* ---- callers in this process ------------------------------------------------------------- */

static struct request *local_new(struct engine *e, uint8_t type, void *arg)
{
    struct request *r = request_new(e, type);
    r->local = true;
    r->arg = arg;
    timer_set(e->ports.timers, &r->start_timer, engine_now(e));
    return r;
}

static uint64_t kv_get(void *ctx, const struct get_request *req, kv_get_done done, void *arg)
{
    struct request *r = local_new(ctx, FRAME_GET, arg);
    r->done.get = done;
    get_request_encode(req, &r->body);
    return r->id;
}

static uint64_t kv_put(void *ctx, const struct put_request *req, kv_put_done done, void *arg)
{
    struct request *r = local_new(ctx, FRAME_PUT, arg);
    r->done.put = done;
    put_request_encode(req, &r->body);
    return r->id;
}

static uint64_t kv_list(void *ctx, const struct list_request *req, kv_list_done done, void *arg)
{
    struct request *r = local_new(ctx, FRAME_LIST, arg);
    r->done.list = done;
    list_request_encode(req, &r->body);
    return r->id;
}

static uint64_t kv_sync(void *ctx, const struct sync_request *req, kv_sync_done done, void *arg)
{
    struct request *r = local_new(ctx, FRAME_SYNC, arg);
    r->done.sync = done;
    sync_request_encode(req, &r->body);
    return r->id;
}

static void kv_cancel(void *ctx, uint64_t id)
{
    struct engine *e = ctx;
    list_for_each_safe(at, next, &e->requests)
    {
        struct request *r = container_of(at, struct request, link);
        if (r->id == id && r->local)
            r->canceled = true;
    }
}

static void kv_settings(void *ctx, const struct settings_request *req, kv_settings_done done,
                        void *arg)
{
    settings_change(ctx, req, done, arg);
}

struct kv_port request_kv(struct engine *e)
{
    return (struct kv_port){e, kv_get, kv_put, kv_list, kv_sync, kv_cancel, kv_settings};
}

void request_put_implicit_dir(struct engine *e, struct slice dir, kv_put_done done, void *arg)
{
    struct put_request q = {
        .key = dir, .flags = PUT_IMPLICIT, .type = SIBLING_DIR, .attrs = {.mode = 0755}};
    int64_t now = (int64_t)engine_wall_ns(e);
    q.attrs.mtime_ns = q.attrs.ctime_ns = q.attrs.atime_ns = now;
    e->stats.implicit_dirs++;
    kv_put(e, &q, done, arg);
}
