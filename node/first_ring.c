/* SPDX-License-Identifier: Apache-2.0 */
/* See first_ring.h. Seeds are asked as any client asks for the ring: this node has no cluster yet
 * whose secret it could prove to know. */
#include "first_ring.h"

#include <stdlib.h>

#include "adapter/net_curl.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/client.h"

#define HISTORY_ROW "history" /* as node/engine/membership/view.c keeps it */
#define LOOK_US 50000u
#define REMIND_US 10000000u

struct first_ring {
    struct loop *loop;
    struct store_port store;
    struct store_get get;
    struct history history;
    const char *const *seeds;
    uint32_t n_seeds;
    struct net_curl *net;
    struct client *client;
    struct timer look;
    uint64_t remind_us;
    void (*found)(void *arg, struct ring *ring);
    void (*failed)(void *arg, int err);
    void *arg;
};

static void on_look(struct timer *t, void *arg);
static void on_begin(struct timer *t, void *arg);

struct first_ring *first_ring_new(struct loop *l, const struct store_port *store,
                                  const struct history *cluster_file, const char *const *seeds,
                                  uint32_t n_seeds, void (*found)(void *arg, struct ring *ring),
                                  void *arg)
{
    struct first_ring *f = mem_new(struct first_ring);
    *f = (struct first_ring){.loop = l,
                             .store = *store,
                             .history = HISTORY_EMPTY,
                             .seeds = seeds,
                             .n_seeds = n_seeds,
                             .found = found,
                             .arg = arg};
    history_copy(&f->history, cluster_file);
    timer_init(&f->look, on_begin, f);
    timer_set(loop_timers(l), &f->look, loop_now_us());
    return f;
}

void first_ring_on_failure(struct first_ring *f, void (*failed)(void *arg, int err))
{
    f->failed = failed;
}

void first_ring_free(struct first_ring *f)
{
    if (f == NULL)
        return;
    timer_cancel(loop_timers(f->loop), &f->look);
    client_free(f->client);
    net_curl_free(f->net);
    history_release(&f->history);
    free(f);
}

static void ask_seeds(struct first_ring *f)
{
    struct net_curl_config net_config;
    struct client_config config = {.seeds = f->seeds, .n_seeds = f->n_seeds};
    struct random_port random = loop_random();
    struct time_port time = loop_time(f->loop);
    net_curl_config_defaults(&net_config);
    f->net = net_curl_new(f->loop, &net_config);
    struct net_port port = net_curl_port(f->net);
    config.id = random_u64(&random) | 1;
    f->client = client_new(&config, &port, &time, &random, loop_timers(f->loop));
    struct net_events events = client_events(f->client);
    net_curl_set_events(f->net, &events);
    timer_init(&f->look, on_look, f);
    f->remind_us = loop_now_us() + LOOK_US;
    timer_set(loop_timers(f->loop), &f->look, loop_now_us() + LOOK_US);
}

/* The client library asks again by itself. */
static void on_look(struct timer *t, void *arg)
{
    struct first_ring *f = arg;
    struct ring *ring = client_ring(f->client);
    if (ring != NULL) {
        f->found(f->arg, ring_ref(ring));
        return;
    }
    if (loop_now_us() >= f->remind_us + REMIND_US) {
        f->remind_us = loop_now_us();
        log_info("dynanode", "none of the seeds answers yet");
    }
    timer_set(loop_timers(f->loop), t, loop_now_us() + LOOK_US);
}

static void on_history(struct store_get *req, int err, struct slice value)
{
    struct first_ring *f = req->arg;
    struct history stored = HISTORY_EMPTY;
    struct ring *ring = NULL;
    bool changed;
    if (err == DYN_OK) {
        struct reader r = reader_of(value);
        history_decode(&r, &stored);
        err = reader_done(&r) ? history_join(&f->history, &stored, &changed) : DYN_ERR_CORRUPT;
        history_release(&stored);
    } else if (err == DYN_ERR_NOT_FOUND) {
        err = DYN_OK;
    }
    if (err == DYN_OK && f->history.n > 0)
        err = ring_build(&f->history, &ring);
    if (err == DYN_OK && ring == NULL && f->n_seeds == 0)
        err = DYN_ERR_INVALID;
    if (err != DYN_OK)
        f->failed(f->arg, err);
    else if (ring != NULL)
        f->found(f->arg, ring);
    else
        ask_seeds(f);
}

static void on_begin(struct timer *t, void *arg)
{
    struct first_ring *f = arg;
    (void)t;
    f->get = (struct store_get){
        .family = STORE_LOCAL, .key = slice_str(HISTORY_ROW), .done = on_history, .arg = f};
    f->store.get(f->store.ctx, &f->get);
}
