/* SPDX-License-Identifier: Apache-2.0 */
/* A world for the client library: a network that is a list. The test reads what was asked of whom,
 * and answers, fails or keeps silent, while time jumps from timer to timer. Header only, so that
 * each test stays one file. */
#ifndef DYN_TESTS_CLIENT_WORLD_H
#define DYN_TESTS_CLIENT_WORLD_H

#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "histories.h"
#include "model/client.h"
#include "unit.h"

#define REQUESTS_MAX 4096
#define NODES 5
#define NODE(i) (5000u + (i))

struct asked {
    uint64_t node, rid;
    uint8_t type;
    struct buf body;
    bool settled;
};

struct world {
    struct timers timers;
    uint64_t now_us, seed;
    struct asked asked[REQUESTS_MAX];
    uint32_t n;
    uint64_t addressed[64];
    uint32_t n_addressed;
    struct client *client;
    struct net_events events;
    struct kv_port kv;
    struct history history;
    /* what came back */
    uint32_t done;
    int status;
    uint8_t answered;
    struct dot dot;
};

static MAYBE uint64_t world_now(void *ctx)
{
    return ((struct world *)ctx)->now_us;
}

static MAYBE void world_random(void *ctx, void *out, size_t len)
{
    uint8_t *p = out;
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)next_random(&((struct world *)ctx)->seed);
}

static MAYBE void world_request(void *ctx, uint64_t node, uint64_t rid, uint8_t type,
                                struct buf *body)
{
    struct world *w = ctx;
    assert_true(w->n < REQUESTS_MAX);
    w->asked[w->n++] = (struct asked){node, rid, type, buf_take(body), false};
}

static MAYBE void world_reply(void *ctx, uint64_t origin, uint64_t rid, uint8_t type,
                              struct buf *body)
{
    (void)ctx, (void)origin, (void)rid, (void)type, (void)body;
    fail_msg("a client replies to nobody");
}

static MAYBE void world_address(void *ctx, uint64_t node, const char *address)
{
    struct world *w = ctx;
    if (address != NULL && w->n_addressed < 64)
        w->addressed[w->n_addressed++] = node;
}

static MAYBE void add_member(struct history *h, uint32_t i)
{
    char address[32];
    const char *rule;
    snprintf(address, sizeof(address), "127.0.0.1:%u", 7000 + i);
    struct member_event join = {
        .stamp = 2 + i, .node = NODE(i), .type = MEMBER_JOIN, .weight = 100, .address = address};
    assert_int_equal(history_add(h, &join, &rule), DYN_OK);
}

static MAYBE void make_history(struct history *h, uint64_t cluster)
{
    const char *rule;
    struct member_event create = {
        .stamp = 1, .type = MEMBER_CREATE, .cluster = cluster, .q = 64, .n = 3, .r = 2, .w = 2};
    assert_int_equal(history_add(h, &create, &rule), DYN_OK);
    for (uint32_t i = 0; i < NODES; i++)
        add_member(h, i);
}

static MAYBE struct world *world_of(uint32_t n_seeds, uint32_t rounds_max, bool nodes_coordinate)
{
    static const char *const seeds[] = {"127.0.0.1:7000", "127.0.0.1:7001", "127.0.0.1:7002"};
    struct world *w = mem_new(struct world);
    struct net_port net = {w, world_request, world_reply, world_address};
    struct time_port time = {w, world_now, NULL};
    struct random_port random = {w, world_random};
    struct client_config cfg = {.id = 99,
                                .seeds = seeds,
                                .n_seeds = n_seeds,
                                .rounds_max = rounds_max,
                                .nodes_coordinate = nodes_coordinate};
    w->now_us = 1000000;
    w->seed = 7;
    timers_init(&w->timers);
    make_history(&w->history, 42);
    w->client = client_new(&cfg, &net, &time, &random, &w->timers);
    w->events = client_events(w->client);
    w->kv = client_kv(w->client);
    return w;
}

static MAYBE struct world *world_with(uint32_t n_seeds, uint32_t rounds_max)
{
    return world_of(n_seeds, rounds_max, true);
}

static MAYBE void world_free(struct world *w)
{
    client_free(w->client);
    for (uint32_t i = 0; i < w->n; i++)
        buf_release(&w->asked[i].body);
    history_release(&w->history);
    assert_true(timers_next(&w->timers) == UINT64_MAX); /* the client leaves nothing behind */
    timers_release(&w->timers);
    free(w);
}

/* Lets time pass, firing what is due on the way. */
static MAYBE void pass(struct world *w, uint64_t us)
{
    uint64_t until = w->now_us + us;
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t next = timers_next(&w->timers);
        if (next > until)
            break;
        w->now_us = next > w->now_us ? next : w->now_us;
        timers_run(&w->timers, w->now_us);
    }
    w->now_us = until;
}

static MAYBE void answer(struct world *w, struct asked *a, struct buf *body)
{
    assert_false(a->settled);
    a->settled = true;
    w->events.receive_reply(w->events.ctx, a->rid, (uint8_t)(a->type + FRAME_REPLY),
                            buf_slice(body));
    buf_release(body);
}

static MAYBE void refuse(struct world *w, struct asked *a)
{
    a->settled = true;
    w->events.failed(w->events.ctx, a->rid, DYN_ERR_UNREACHABLE);
}

static MAYBE void answer_ring(struct world *w, struct asked *a, const struct history *h)
{
    struct ring_reply p = {.node = a->node, .history = *h};
    struct buf body = BUF_EMPTY;
    assert_int_equal(a->type, FRAME_RING);
    ring_reply_encode(&p, &body);
    answer(w, a, &body);
}

static MAYBE void answer_get(struct world *w, struct asked *a, int status)
{
    struct get_reply p = {.status = status,
                          .answered = 1,
                          .needed = 2,
                          .object = OBJECT_EMPTY,
                          .ring = history_epoch(&w->history)};
    struct buf body = BUF_EMPTY;
    assert_int_equal(a->type, FRAME_GET);
    get_reply_encode(&p, &body);
    answer(w, a, &body);
}

static MAYBE void answer_put(struct world *w, struct asked *a, int status, uint64_t counter)
{
    struct put_reply p = {.status = status,
                          .answered = 2,
                          .needed = 2,
                          .object = OBJECT_EMPTY,
                          .dot = dot_of(a->node, counter),
                          .ring = history_epoch(&w->history)};
    struct buf body = BUF_EMPTY;
    assert_int_equal(a->type, FRAME_PUT);
    put_reply_encode(&p, &body);
    answer(w, a, &body);
}

/* The newest unsettled request of a type; NULL. */
static MAYBE struct asked *latest(struct world *w, uint8_t type)
{
    for (uint32_t i = w->n; i > 0; i--) {
        if (w->asked[i - 1].type == type && !w->asked[i - 1].settled)
            return &w->asked[i - 1];
    }
    return NULL;
}

static MAYBE uint32_t count(const struct world *w, uint8_t type)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n; i++)
        n += w->asked[i].type == type;
    return n;
}

static MAYBE void got(void *arg, const struct get_reply *reply)
{
    struct world *w = arg;
    w->done++;
    w->status = reply->status;
    w->answered = reply->answered;
}

static MAYBE void was_put(void *arg, const struct put_reply *reply)
{
    struct world *w = arg;
    w->done++;
    w->status = reply->status;
    w->dot = reply->dot;
}

static MAYBE uint64_t start_get(struct world *w, const char *key)
{
    struct get_request q = {.key = slice_str(key), .want = GET_NEWEST};
    uint32_t done = w->done;
    uint64_t id = w->kv.get(w->kv.ctx, &q, got, w);
    assert_true(id != 0 && w->done == done);
    return id;
}

static MAYBE uint64_t start_put(struct world *w, const char *key)
{
    struct put_request q = {.key = slice_str(key), .type = SIBLING_FILE, .value = slice_str("v")};
    return w->kv.put(w->kv.ctx, &q, was_put, w);
}

/* Nobody who is asked sees a quorum, until the operation has ended. */
static MAYBE void find_no_quorum(struct world *w)
{
    uint32_t done = w->done;
    while (w->done == done) {
        struct asked *a = latest(w, FRAME_GET);
        if (a != NULL)
            answer_get(w, a, DYN_ERR_NO_QUORUM);
        else
            pass(w, 10000);
    }
}

/* A client that knows the ring. */
static MAYBE struct world *ready_with(uint32_t rounds)
{
    struct world *w = world_with(1, rounds);
    pass(w, 0);
    answer_ring(w, latest(w, FRAME_RING), &w->history);
    assert_non_null(client_ring(w->client));
    return w;
}

static MAYBE struct world *ready(void)
{
    return ready_with(0);
}

static MAYBE bool is_primary(struct world *w, const char *key, uint64_t node)
{
    struct ring *r = client_ring(w->client);
    uint64_t nodes[3];
    ring_preference_list(r, ring_partition_of(r, slice_str(key)), 3, nodes, 3);
    return node == nodes[0] || node == nodes[1] || node == nodes[2];
}

#endif
