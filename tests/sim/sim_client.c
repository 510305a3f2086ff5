/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_client.h. A call has two ends, the caller's and the node's; it is freed when both have
 * happened, since a kv callback may come after the caller has given up. */
#include "sim_client.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/wire.h"

/* What a node may take beyond the request's deadline. */
#define SLACK_US (2 * (uint64_t)SIM_SECOND)

/* Of the libraries, how many leave their gets to nodes: both ways must keep every promise. */
#define NODES_COORDINATE_PERMILLE 300

struct sim_call {
    struct list link;
    struct sim_client *client;
    uint8_t type;
    enum sim_via via;
    uint32_t node, life;
    bool in_call, told, node_owes; /* node_owes: its kv callback has not run yet */
    struct timer timer;            /* of a kv call */
    struct rpc_call rpc;
    sim_done done;
    void *arg;
};

static void request_arrived(void *ctx, uint64_t origin, uint64_t from, uint64_t rid, uint8_t type,
                            struct slice body)
{
    (void)origin;
    (void)from;
    (void)rid;
    (void)body;
    struct sim_client *c = ctx;
    sim_violation(c->cluster->world, "a client at endpoint %u got a request of type %u",
                  c->endpoint, type);
}

static void reply_arrived(void *ctx, uint64_t rid, uint8_t type, struct slice body)
{
    struct sim_client *c = ctx;
    rpc_receive(c->rpc, rid, type, body);
}

static void request_failed(void *ctx, uint64_t rid, int err)
{
    struct sim_client *c = ctx;
    rpc_failed(c->rpc, rid, err);
}

void sim_client_init(struct sim_client *c, struct sim_cluster *cluster, uint32_t endpoint)
{
    const struct net_port net = sim_net_port(cluster->net, endpoint);
    const struct time_port time = sim_world_time(cluster->world);
    const struct net_events events = {c, request_arrived, reply_arrived, request_failed};
    c->cluster = cluster;
    c->endpoint = endpoint;
    c->rpc = rpc_new(&net, &time, &cluster->world->timers, NULL);
    c->library = NULL;
    sim_random_init(&c->random, cluster->world->seed, "client", endpoint);
    list_init(&c->calls);
    sim_net_attach(cluster->net, endpoint, 0, &events);
}

static struct kv_port library(struct sim_client *c)
{
    char text[SIM_NODES_MAX][32];
    const char *seeds[SIM_NODES_MAX];
    if (c->library != NULL)
        return client_kv(c->library);
    for (uint32_t i = 0; i < c->cluster->cfg.nodes; i++) {
        snprintf(text[i], sizeof(text[i]), "127.0.0.1:%u", SIM_PORT + i);
        seeds[i] = text[i];
    }
    const struct client_config cfg = {.id = sim_random_u64(&c->random) | 1,
                                      .seeds = seeds,
                                      .n_seeds = c->cluster->cfg.nodes,
                                      .nodes_coordinate =
                                          sim_random_chance(&c->random, NODES_COORDINATE_PERMILLE)};
    const struct net_port net = sim_net_port(c->cluster->net, c->endpoint + 1);
    const struct time_port time = sim_world_time(c->cluster->world);
    const struct random_port random = sim_random_port(&c->random);
    c->library = client_new(&cfg, &net, &time, &random, &c->cluster->world->timers);
    const struct net_events events = client_events(c->library);
    sim_net_attach(c->cluster->net, c->endpoint + 1, 0, &events);
    return client_kv(c->library);
}

struct client *sim_client_library(struct sim_client *c)
{
    library(c);
    return c->library;
}

void sim_client_release(struct sim_client *c)
{
    sim_net_detach(c->cluster->net, c->endpoint, true);
    sim_net_detach(c->cluster->net, c->endpoint + 1, true);
    client_free(c->library);
    rpc_free(c->rpc);
    list_for_each_safe(it, tmp, &c->calls)
    {
        struct sim_call *call = container_of(it, struct sim_call, link);
        timer_cancel(&c->cluster->world->timers, &call->timer);
        list_remove(&call->link);
        free(call);
    }
}

static void call_tell(struct sim_call *call, const struct sim_reply *reply)
{
    assert(!call->told);
    call->told = true;
    timer_cancel(&call->client->cluster->world->timers, &call->timer);
    call->done(call->arg, reply);
}

static void call_free_if_over(struct sim_call *call)
{
    if (!call->told || call->node_owes || rpc_active(&call->rpc))
        return;
    list_remove(&call->link);
    free(call);
}

static void call_fail(struct sim_call *call, int err)
{
    call_tell(call, &(struct sim_reply){.type = call->type, .status = err});
}

/* The kv port's callbacks, one for each kind of request. */
static void kv_answered(struct sim_call *call, const struct sim_reply *reply)
{
    if (call->in_call)
        sim_violation(call->client->cluster->world,
                      "node %u answered a kv call of type %u inside the call", call->node,
                      call->type);
    if (!call->node_owes)
        sim_violation(call->client->cluster->world, "node %u answered a kv call twice", call->node);
    call->node_owes = false;
    if (!call->told)
        call_tell(call, reply);
    call_free_if_over(call);
}

static void kv_got(void *arg, const struct get_reply *r)
{
    kv_answered(arg, &(struct sim_reply){FRAME_GET, r->status, true, {.get = r}});
}

static void kv_put(void *arg, const struct put_reply *r)
{
    kv_answered(arg, &(struct sim_reply){FRAME_PUT, r->status, true, {.put = r}});
}

static void kv_listed(void *arg, const struct list_reply *r)
{
    kv_answered(arg, &(struct sim_reply){FRAME_LIST, r->status, true, {.list = r}});
}

static void kv_synced(void *arg, const struct sync_reply *r)
{
    kv_answered(arg, &(struct sim_reply){FRAME_SYNC, r->status, true, {.sync = r}});
}

static void kv_late(struct timer *t, void *arg)
{
    (void)t;
    struct sim_call *call = arg;
    const struct sim_node *node = &call->client->cluster->nodes[call->node];
    if (call->via == VIA_LIBRARY)
        sim_violation(call->client->cluster->world,
                      "the client library lets a call of type %u outlive its deadline", call->type);
    else if (call->node_owes && node->life == call->life && node->state != NODE_DOWN)
        sim_violation(call->client->cluster->world,
                      "node %u lets a kv call of type %u outlive its deadline", call->node,
                      call->type);
    call_fail(call, DYN_ERR_TIMEOUT);
    call_free_if_over(call);
}

static void start_kv(struct sim_call *call, struct kv_port kv, const struct sim_request *q,
                     uint64_t timeout_us)
{
    struct sim_world *w = call->client->cluster->world;
    timer_set(&w->timers, &call->timer, w->now_us + timeout_us + SLACK_US);
    call->in_call = call->node_owes = true;
    switch (q->type) {
    case FRAME_GET:
        kv.get(kv.ctx, &q->get, kv_got, call);
        break;
    case FRAME_PUT:
        kv.put(kv.ctx, &q->put, kv_put, call);
        break;
    case FRAME_LIST:
        kv.list(kv.ctx, &q->list, kv_listed, call);
        break;
    default:
        kv.sync(kv.ctx, &q->sync, kv_synced, call);
        break;
    }
    call->in_call = false;
}

/* Replies as frames. */
static int decode_reply(struct sim_call *call, struct slice body)
{
    struct get_reply get = {0};
    struct put_reply put = {0};
    struct list_reply list = {0};
    struct sync_reply sync = {0};
    int err;
    switch (call->type) {
    case FRAME_GET:
        if ((err = get_reply_decode(body, &get)) != DYN_OK)
            return err;
        call_tell(call, &(struct sim_reply){FRAME_GET, get.status, true, {.get = &get}});
        get_reply_release(&get);
        return DYN_OK;
    case FRAME_PUT:
        if ((err = put_reply_decode(body, &put)) != DYN_OK)
            return err;
        call_tell(call, &(struct sim_reply){FRAME_PUT, put.status, true, {.put = &put}});
        put_reply_release(&put);
        return DYN_OK;
    case FRAME_LIST:
        if ((err = list_reply_decode(body, &list)) != DYN_OK)
            return err;
        call_tell(call, &(struct sim_reply){FRAME_LIST, list.status, true, {.list = &list}});
        list_reply_release(&list);
        return DYN_OK;
    default:
        if ((err = sync_reply_decode(body, &sync)) != DYN_OK)
            return err;
        call_tell(call, &(struct sim_reply){FRAME_SYNC, sync.status, true, {.sync = &sync}});
        return DYN_OK;
    }
}

static void frame_done(struct rpc_call *rpc, int err, struct slice body)
{
    struct sim_call *call = rpc->arg;
    if (err == DYN_OK && (err = decode_reply(call, body)) != DYN_OK)
        sim_violation(call->client->cluster->world,
                      "node %u sent a reply of type %u that does not decode: %s", call->node,
                      call->type, dyn_err_code(err));
    if (!call->told)
        call_fail(call, err);
    call_free_if_over(call);
}

static void start_frame(struct sim_call *call, struct sim_node *node, const struct sim_request *q,
                        uint64_t timeout_us)
{
    struct buf body = BUF_EMPTY;
    switch (q->type) {
    case FRAME_GET:
        get_request_encode(&q->get, &body);
        break;
    case FRAME_PUT:
        if (extension_is_none(&q->put.extends))
            put_request_encode(&q->put, &body);
        else
            put_request_encode_extending(&q->put, &body);
        break;
    case FRAME_LIST:
        list_request_encode(&q->list, &body);
        break;
    default:
        sync_request_encode(&q->sync, &body);
        break;
    }
    call->rpc.done = frame_done;
    call->rpc.arg = call;
    rpc_start(call->client->rpc, &call->rpc, node->id, q->type, &body, timeout_us + SLACK_US);
}

static uint64_t timeout_of(const struct sim_request *q)
{
    switch (q->type) {
    case FRAME_GET:
        return q->get.opt.timeout_ms;
    case FRAME_PUT:
        return q->put.opt.timeout_ms;
    case FRAME_LIST:
        return q->list.opt.timeout_ms;
    default:
        return q->sync.opt.timeout_ms;
    }
}

void sim_client_call(struct sim_client *c, enum sim_via via, uint32_t node,
                     const struct sim_request *q, sim_done done, void *arg)
{
    struct sim_node *to = &c->cluster->nodes[node];
    struct sim_call *call = mem_new(struct sim_call);
    uint64_t timeout_us = timeout_of(q) * 1000;
    assert(timeout_us > 0);
    call->client = c;
    call->type = q->type;
    call->node = node;
    call->life = to->life;
    call->done = done;
    call->arg = arg;
    timer_init(&call->timer, kv_late, call);
    list_append(&c->calls, &call->link);
    call->via = via;
    if (via == VIA_LIBRARY)
        start_kv(call, library(c), q, timeout_us);
    else if (via == VIA_KV && (to->state == NODE_UP || to->state == NODE_STOPPING))
        start_kv(call, engine_kv(to->engine), q, timeout_us);
    else
        start_frame(call, to, q, timeout_us);
}

struct wait {
    bool over;
    int status;
    sim_done look;
    void *arg;
};

static void wait_over(void *arg, const struct sim_reply *reply)
{
    struct wait *w = arg;
    w->over = true;
    w->status = reply->status;
    if (w->look != NULL)
        w->look(w->arg, reply);
}

int sim_client_wait(struct sim_client *c, enum sim_via via, uint32_t node,
                    const struct sim_request *q, sim_done look, void *arg)
{
    struct wait w = {false, DYN_OK, look, arg};
    sim_client_call(c, via, node, q, wait_over, &w);
    while (!w.over)
        sim_cluster_step(c->cluster, UINT64_MAX); /* the call's own deadline is an event */
    return w.status;
}

void sim_client_gone(struct sim_client *c, const struct sim_node *node)
{
    list_for_each_safe(it, tmp, &c->calls)
    {
        struct sim_call *call = container_of(it, struct sim_call, link);
        if (call->via != VIA_KV || !call->node_owes || call->node != node->index ||
            call->life != node->life)
            continue;
        call->node_owes = false;
        if (!call->told)
            call_fail(call, DYN_ERR_UNREACHABLE);
        call_free_if_over(call);
    }
}
