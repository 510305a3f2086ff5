/* SPDX-License-Identifier: Apache-2.0 */
/* See client.h. The face of the client library: it is made and unmade here, and the network's
 * events come in here. */
#include "model/client.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/client_private.h"

#define TIMEOUT_US 10000000u
#define ATTEMPT_US 1000000u
#define REFRESH_US 10000000u
#define PROBE_US 500000u
#define PROBE_MAX_US 2000000u /* less than a probe waits: one is always on its way */

uint64_t client_now(const struct client *c)
{
    return c->time.mono_us(c->time.ctx);
}

struct client *client_new(const struct client_config *cfg, const struct net_port *net,
                          const struct time_port *time, const struct random_port *random,
                          struct timers *timers)
{
    assert(cfg->id != 0 && cfg->n_seeds > 0 && cfg->n_seeds <= CLIENT_SEEDS_MAX);
    struct client *c = mem_new(struct client);
    struct detector_config detector = {PROBE_US, PROBE_MAX_US};
    c->cfg = *cfg;
    c->cfg.seeds = NULL; /* copied below */
    c->cfg.timeout_us = cfg->timeout_us != 0 ? cfg->timeout_us : TIMEOUT_US;
    c->cfg.attempt_us = cfg->attempt_us != 0 ? cfg->attempt_us : ATTEMPT_US;
    c->cfg.ring_refresh_us = cfg->ring_refresh_us != 0 ? cfg->ring_refresh_us : REFRESH_US;
    c->net = *net;
    c->time = *time;
    c->random = *random;
    c->timers = timers;
    c->rpc = rpc_new(net, time, timers, NULL); /* we know better what each silence means */
    c->detector = detector_new(&detector, time, timers, client_ring_probe, NULL, c);
    list_init(&c->probes);
    list_init(&c->raws);
    list_init(&c->settings);
    list_init(&c->outages);
    c->n_seeds = cfg->n_seeds;
    c->seeds = mem_zalloc(cfg->n_seeds * sizeof(*c->seeds));
    for (uint32_t i = 0; i < cfg->n_seeds; i++)
        c->seeds[i].address = mem_strdup(cfg->seeds[i]);
    client_ring_start(c);
    return c;
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    client_watch_free(c);
    client_outages_free(c);
    client_ops_free(c);
    client_settings_free(c);
    list_for_each_safe(it, tmp, &c->raws)
    {
        struct client_raw *raw = container_of(it, struct client_raw, link);
        rpc_cancel(c->rpc, &raw->call);
        free(raw);
    }
    client_ring_stop(c);
    detector_free(c->detector);
    rpc_free(c->rpc);
    free(c);
}

struct ring *client_ring(struct client *c)
{
    return c->ring;
}

bool client_node_up(struct client *c, uint64_t node)
{
    return detector_up(c->detector, node);
}

static void on_request(void *ctx, uint64_t origin, uint64_t from, uint64_t rid, uint8_t type,
                       struct slice body)
{
    /* Nobody may ask a client anything. */
    (void)ctx;
    (void)origin;
    (void)from;
    (void)rid;
    (void)type;
    (void)body;
}

static void on_reply(void *ctx, uint64_t rid, uint8_t type, struct slice body)
{
    struct client *c = ctx;
    rpc_receive(c->rpc, rid, type, body);
}

static void on_failed(void *ctx, uint64_t rid, int err)
{
    struct client *c = ctx;
    rpc_failed(c->rpc, rid, err);
}

struct net_events client_events(struct client *c)
{
    return (struct net_events){c, on_request, on_reply, on_failed};
}

static void raw_done(struct rpc_call *call, int err, struct slice body)
{
    struct client_raw *raw = call->arg;
    struct client *c = raw->client;
    list_remove(&raw->link);
    if (err == DYN_OK)
        detector_ok(c->detector, call->node, client_now(c) - call->started_us);
    else
        detector_failed(c->detector, call->node, err);
    raw->done(raw->arg, err, body);
    free(raw);
}

void client_call(struct client *c, uint64_t node, uint8_t type, struct buf *body,
                 uint64_t timeout_us, void (*done)(void *arg, int err, struct slice body),
                 void *arg)
{
    struct client_raw *raw = mem_new(struct client_raw);
    raw->client = c;
    raw->done = done;
    raw->arg = arg;
    raw->call.done = raw_done;
    raw->call.arg = raw;
    list_append(&c->raws, &raw->link);
    rpc_start(c->rpc, &raw->call, node, type, body,
              timeout_us != 0 ? timeout_us : c->cfg.timeout_us);
}
