/* SPDX-License-Identifier: Apache-2.0 */
/* See rpc.h. A hash table by request id. Ids count up; the transport ties a reply to the request
 * that carried it, so a reply meant for an earlier process matches nothing. */
#include "model/rpc.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/detector.h"

#define BUCKETS_MIN 64u

struct rpc {
    struct net_port net;
    struct time_port time;
    struct timers *timers;
    struct detector *detector;
    struct rpc_call **buckets;
    uint64_t n_buckets; /* power of two */
    uint64_t count, next_rid;
};

struct rpc *rpc_new(const struct net_port *net, const struct time_port *time, struct timers *timers,
                    struct detector *detector)
{
    struct rpc *r = mem_new(struct rpc);
    r->net = *net;
    r->time = *time;
    r->timers = timers;
    r->detector = detector;
    r->n_buckets = BUCKETS_MIN;
    r->buckets = mem_zalloc(r->n_buckets * sizeof(struct rpc_call *));
    r->next_rid = 1;
    return r;
}

void rpc_free(struct rpc *r)
{
    if (r == NULL)
        return;
    for (uint64_t i = 0; i < r->n_buckets; i++) {
        for (struct rpc_call *c = r->buckets[i]; c != NULL; c = c->next) {
            timer_cancel(r->timers, &c->timer);
            c->rpc = NULL;
        }
    }
    free(r->buckets);
    free(r);
}

static struct rpc_call **bucket(struct rpc *r, uint64_t rid)
{
    return &r->buckets[rid & (r->n_buckets - 1)];
}

static void grow(struct rpc *r)
{
    struct rpc_call **old = r->buckets;
    uint64_t n = r->n_buckets;
    r->n_buckets *= 2;
    r->buckets = mem_zalloc(r->n_buckets * sizeof(struct rpc_call *));
    for (uint64_t i = 0; i < n; i++) {
        for (struct rpc_call *c = old[i], *next; c != NULL; c = next) {
            next = c->next;
            c->next = *bucket(r, c->rid);
            *bucket(r, c->rid) = c;
        }
    }
    free(old);
}

static void detach(struct rpc *r, struct rpc_call *call)
{
    struct rpc_call **at = bucket(r, call->rid);
    while (*at != call) {
        assert(*at != NULL);
        at = &(*at)->next;
    }
    *at = call->next;
    r->count--;
    timer_cancel(r->timers, &call->timer);
    call->rpc = NULL;
}

static struct rpc_call *find(struct rpc *r, uint64_t rid)
{
    struct rpc_call *c = *bucket(r, rid);
    while (c != NULL && c->rid != rid)
        c = c->next;
    return c;
}

static void finish(struct rpc *r, struct rpc_call *call, int err, struct slice body)
{
    detach(r, call);
    if (r->detector != NULL) {
        if (err == DYN_OK)
            detector_ok(r->detector, call->node, r->time.mono_us(r->time.ctx) - call->started_us);
        else if (detector_last_ok_us(r->detector, call->node) <= call->started_us)
            detector_failed(r->detector, call->node, err);
    }
    call->done(call, err, body);
}

static void on_timeout(struct timer *t, void *arg)
{
    (void)t;
    struct rpc_call *call = arg;
    finish(call->rpc, call, DYN_ERR_TIMEOUT, slice_of(NULL, 0));
}

void rpc_start(struct rpc *r, struct rpc_call *call, uint64_t node, uint8_t type, struct buf *body,
               uint64_t timeout_us)
{
    assert(call->done != NULL);
    if (r->count >= r->n_buckets)
        grow(r);
    call->rid = r->next_rid++;
    call->node = node;
    call->type = type;
    call->rpc = r;
    call->started_us = r->time.mono_us(r->time.ctx);
    call->next = *bucket(r, call->rid);
    *bucket(r, call->rid) = call;
    r->count++;
    timer_init(&call->timer, on_timeout, call);
    timer_set(r->timers, &call->timer, call->started_us + timeout_us);
    r->net.request(r->net.ctx, node, call->rid, type, body);
}

void rpc_cancel(struct rpc *r, struct rpc_call *call)
{
    if (call->rpc != NULL) {
        assert(call->rpc == r);
        detach(r, call);
    }
}

bool rpc_active(const struct rpc_call *call)
{
    return call->rpc != NULL;
}

uint64_t rpc_outstanding(const struct rpc *r)
{
    return r->count;
}

void rpc_receive(struct rpc *r, uint64_t rid, uint8_t type, struct slice body)
{
    struct rpc_call *call = find(r, rid);
    if (call == NULL)
        return; /* late: its deadline has passed, or the caller gave up */
    int err = type == (uint8_t)(call->type + 128) ? DYN_OK : DYN_ERR_PROTOCOL;
    finish(r, call, err, body);
}

void rpc_failed(struct rpc *r, uint64_t rid, int err)
{
    struct rpc_call *call = find(r, rid);
    if (call != NULL)
        finish(r, call, err == DYN_OK ? DYN_ERR_UNREACHABLE : err, slice_of(NULL, 0));
}
