/* SPDX-License-Identifier: Apache-2.0 */
/* What all replicas keep of a key. None of them has it all: one was away when a conflict was
 * settled, another has only seen one side of it. So all are asked, with those that stand in for
 * them, and their lists are put together; who does not answer is said.
 *
 *   ASKING --all have answered or failed, or the one version that is wanted is here--> ANSWERED */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/kept/kept.h"
#include "engine/request.h"
#include "model/read_quorum.h"

struct kept_gather;

struct ask {
    struct kept_gather *g;
    struct rpc_call call;
};

struct kept_gather {
    struct background background; /* first */
    struct engine *e;
    uint8_t *key_bytes;
    struct kept_request q;
    struct kept_reply reply;
    struct ask asks[READ_QUORUM_NODES];
    uint32_t n_asks, active;
    struct kept_read read; /* this node's own */
    bool reading;
    int failure;
    struct timer later; /* answers in a turn of its own */
    void (*done)(void *arg, const struct kept_reply *reply);
    void *arg;
};

static void gather_free(struct kept_gather *g)
{
    background_end(g->e, &g->background);
    for (uint32_t i = 0; i < g->n_asks; i++)
        rpc_cancel(g->e->rpc, &g->asks[i].call);
    timer_cancel(g->e->ports.timers, &g->later);
    kept_read_release(&g->read);
    kept_reply_release(&g->reply);
    free(g->key_bytes);
    free(g);
}

static void abandon(struct background *b)
{
    gather_free(container_of(b, struct kept_gather, background));
}

static void on_later(struct timer *t, void *arg)
{
    struct kept_gather *g = arg;
    (void)t;
    g->done(g->arg, &g->reply);
    gather_free(g);
}

static bool has_value(const struct kept_gather *g)
{
    const struct kept *k = kept_list_find(&g->reply.list, &g->q.dot);
    return k != NULL && (kept_version(k)->value != NULL || kept_version(k)->size == 0);
}

static void check(struct kept_gather *g)
{
    bool found = g->q.want == KEPT_VALUE && has_value(g);
    if (timer_is_set(&g->later) || (g->active > 0 && !found))
        return;
    if (g->reading) /* its buffers are the store's until it ends */
        return;
    for (uint32_t i = 0; i < g->n_asks; i++)
        rpc_cancel(g->e->rpc, &g->asks[i].call);
    if (g->reply.answered == 0)
        g->reply.status = g->failure != DYN_OK ? g->failure : DYN_ERR_NO_QUORUM;
    else if (g->q.want == KEPT_VALUE && !found)
        g->reply.status =
            g->reply.answered == g->reply.asked ? DYN_ERR_NOT_FOUND : DYN_ERR_NO_QUORUM;
    timer_set(g->e->ports.timers, &g->later, engine_now(g->e));
}

static void take(struct kept_gather *g, struct kept_list *list, bool cut)
{
    g->reply.answered++;
    g->reply.cut |= cut;
    for (uint32_t i = 0; i < list->n; i++) {
        if (g->reply.list.n < KEPT_LIST_MAX) {
            kept_list_add(&g->reply.list, &list->k[i]);
        } else {
            kept_release(&list->k[i]);
            g->reply.cut = true;
        }
    }
    list->n = 0;
}

static void on_answer(struct rpc_call *call, int err, struct slice body)
{
    struct kept_gather *g = ((struct ask *)call->arg)->g;
    struct kept_reply theirs;
    if (err == DYN_OK)
        err = kept_reply_decode(body, &theirs);
    if (err == DYN_OK) {
        err = theirs.status;
        if (err == DYN_OK)
            take(g, &theirs.list, theirs.cut);
        kept_reply_release(&theirs);
    }
    if (err != DYN_OK)
        g->failure = err;
    g->active--;
    check(g);
}

static void on_read(struct kept_read *r, int err)
{
    struct kept_gather *g = r->arg;
    if (err == DYN_OK)
        take(g, &r->list, r->cut);
    else
        g->failure = err;
    g->reading = false;
    g->active--;
    check(g);
}

static void read_own(struct kept_gather *g)
{
    g->reading = true;
    g->active++;
    g->read = (struct kept_read){
        .e = g->e, .key = g->q.key, .want = g->q.want, .dot = g->q.dot, .done = on_read, .arg = g};
    kept_read_start(&g->read);
}

static void ask_node(struct kept_gather *g, uint64_t node)
{
    struct engine *e = g->e;
    struct buf body = BUF_EMPTY;
    struct ask *a = &g->asks[g->n_asks++];
    uint64_t most = g->q.timeout_ms != 0 ? g->q.timeout_ms * 1000ull : e->cfg.request_timeout_us;
    kept_request_encode(&g->q, &body);
    a->g = g;
    a->call = (struct rpc_call){.done = on_answer, .arg = a};
    g->active++;
    rpc_start(e->rpc, &a->call, node, FRAME_KEPT, &body,
              detector_up(e->detector, node) ? most : e->cfg.replica_timeout_us);
}

void kept_gather(struct engine *e, const struct kept_request *q,
                 void (*done)(void *arg, const struct kept_reply *reply), void *arg)
{
    uint64_t nodes[READ_QUORUM_NODES];
    struct kept_gather *g = mem_new(struct kept_gather);
    g->e = e;
    g->q = *q;
    g->key_bytes = mem_dup(q->key.data, q->key.len);
    g->q.key = slice_of(g->key_bytes, q->key.len);
    g->reply = (struct kept_reply){.status = DYN_OK, .list = KEPT_LIST_EMPTY};
    g->done = done;
    g->arg = arg;
    background_add(e, &g->background, abandon);
    timer_init(&g->later, on_later, g);
    uint32_t n = ring_n(e->ring) < N_MAX ? ring_n(e->ring) : N_MAX;
    n = ring_preference_list(e->ring, ring_partition_of(e->ring, g->q.key), n, nodes,
                             READ_QUORUM_NODES);
    g->active = 1; /* one for this loop */
    g->reply.asked = (uint8_t)n;
    for (uint32_t i = 0; i < n; i++) {
        if (nodes[i] == e->cfg.node)
            read_own(g);
        else
            ask_node(g, nodes[i]);
    }
    g->active--;
    check(g);
}

void engine_kept(struct engine *e, const struct kept_request *q,
                 void (*done)(void *arg, const struct kept_reply *reply), void *arg)
{
    kept_gather(e, q, done, arg);
}

/* ---- frames ------------------------------------------------------------------------------ */

struct serving {
    struct background background; /* first */
    struct engine *e;
    uint64_t origin, rid;
    uint8_t type;
    struct buf body; /* what the request borrows from */
    struct kept_read read;
};

static void serving_free(struct serving *s)
{
    background_end(s->e, &s->background);
    kept_read_release(&s->read);
    buf_release(&s->body);
    free(s);
}

static void serving_abandon(struct background *b)
{
    serving_free(container_of(b, struct serving, background));
}

static void reply(struct serving *s, const struct kept_reply *p)
{
    struct buf body = BUF_EMPTY;
    struct net_port *net = &s->e->ports.net;
    kept_reply_encode(p, &body);
    net->reply(net->ctx, s->origin, s->rid, (uint8_t)(s->type + FRAME_REPLY), &body);
    s->e->stats.in_flight--;
    serving_free(s);
}

static void on_gathered(void *arg, const struct kept_reply *p)
{
    reply(arg, p);
}

static void on_own(struct kept_read *r, int err)
{
    const struct kept_reply p = {
        .status = err, .answered = 1, .asked = 1, .cut = r->cut, .list = r->list};
    reply(r->arg, &p);
}

void kept_frame(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type, struct slice body)
{
    struct kept_request q = {0};
    struct serving *s = mem_new(struct serving);
    s->e = e;
    s->origin = origin;
    s->rid = rid;
    s->type = type;
    buf_put_slice(&s->body, body);
    background_add(e, &s->background, serving_abandon);
    int err = kept_request_decode(buf_slice(&s->body), &q);
    if (err == DYN_OK && (!e->serving || e->stopping))
        err = DYN_ERR_STOPPED;
    if (err == DYN_OK && e->stats.in_flight > e->cfg.requests_max)
        err = DYN_ERR_OVERLOAD;
    e->stats.in_flight++;
    if (err != DYN_OK) {
        const struct kept_reply p = {.status = err};
        reply(s, &p);
    } else if (type == FRAME_VERSIONS) {
        kept_gather(e, &q, on_gathered, s);
    } else {
        s->read = (struct kept_read){
            .e = e, .key = q.key, .want = q.want, .dot = q.dot, .done = on_own, .arg = s};
        kept_read_start(&s->read);
    }
}
