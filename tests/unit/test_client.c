/* SPDX-License-Identifier: Apache-2.0 */
/* The client library against a network that is a list: the test reads what was asked of whom, and
 * answers, fails or keeps silent, while time jumps from timer to timer. */
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

static uint64_t world_now(void *ctx)
{
    return ((struct world *)ctx)->now_us;
}

static void world_random(void *ctx, void *out, size_t len)
{
    uint8_t *p = out;
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)next_random(&((struct world *)ctx)->seed);
}

static void world_request(void *ctx, uint64_t node, uint64_t rid, uint8_t type, struct buf *body)
{
    struct world *w = ctx;
    assert_true(w->n < REQUESTS_MAX);
    w->asked[w->n++] = (struct asked){node, rid, type, buf_take(body), false};
}

static void world_reply(void *ctx, uint64_t origin, uint64_t rid, uint8_t type, struct buf *body)
{
    (void)ctx, (void)origin, (void)rid, (void)type, (void)body;
    fail_msg("a client replies to nobody");
}

static void world_address(void *ctx, uint64_t node, const char *address)
{
    struct world *w = ctx;
    if (address != NULL && w->n_addressed < 64)
        w->addressed[w->n_addressed++] = node;
}

static void add_member(struct history *h, uint32_t i)
{
    char address[32];
    const char *rule;
    snprintf(address, sizeof(address), "127.0.0.1:%u", 7000 + i);
    struct member_event join = {
        .stamp = 2 + i, .node = NODE(i), .type = MEMBER_JOIN, .weight = 100, .address = address};
    assert_int_equal(history_add(h, &join, &rule), DYN_OK);
}

static void make_history(struct history *h, uint64_t cluster)
{
    const char *rule;
    struct member_event create = {
        .stamp = 1, .type = MEMBER_CREATE, .cluster = cluster, .q = 64, .n = 3, .r = 2, .w = 2};
    assert_int_equal(history_add(h, &create, &rule), DYN_OK);
    for (uint32_t i = 0; i < NODES; i++)
        add_member(h, i);
}

static struct world *world_with(uint32_t n_seeds, uint32_t rounds_max)
{
    static const char *const seeds[] = {"127.0.0.1:7000", "127.0.0.1:7001", "127.0.0.1:7002"};
    struct world *w = mem_new(struct world);
    struct net_port net = {w, world_request, world_reply, world_address};
    struct time_port time = {w, world_now, NULL};
    struct random_port random = {w, world_random};
    struct client_config cfg = {
        .id = 99, .seeds = seeds, .n_seeds = n_seeds, .rounds_max = rounds_max};
    w->now_us = 1000000;
    w->seed = 7;
    timers_init(&w->timers);
    make_history(&w->history, 42);
    w->client = client_new(&cfg, &net, &time, &random, &w->timers);
    w->events = client_events(w->client);
    w->kv = client_kv(w->client);
    return w;
}

static void world_free(struct world *w)
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
static void pass(struct world *w, uint64_t us)
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

static void answer(struct world *w, struct asked *a, struct buf *body)
{
    assert_false(a->settled);
    a->settled = true;
    w->events.receive_reply(w->events.ctx, a->rid, (uint8_t)(a->type + FRAME_REPLY),
                            buf_slice(body));
    buf_release(body);
}

static void refuse(struct world *w, struct asked *a)
{
    a->settled = true;
    w->events.failed(w->events.ctx, a->rid, DYN_ERR_UNREACHABLE);
}

static void answer_ring(struct world *w, struct asked *a, const struct history *h)
{
    struct ring_reply p = {.node = a->node, .history = *h};
    struct buf body = BUF_EMPTY;
    assert_int_equal(a->type, FRAME_RING);
    ring_reply_encode(&p, &body);
    answer(w, a, &body);
}

static void answer_get(struct world *w, struct asked *a, int status)
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

static void answer_put(struct world *w, struct asked *a, int status, uint64_t counter)
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
static struct asked *latest(struct world *w, uint8_t type)
{
    for (uint32_t i = w->n; i > 0; i--) {
        if (w->asked[i - 1].type == type && !w->asked[i - 1].settled)
            return &w->asked[i - 1];
    }
    return NULL;
}

static uint32_t count(const struct world *w, uint8_t type)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n; i++)
        n += w->asked[i].type == type;
    return n;
}

static void got(void *arg, const struct get_reply *reply)
{
    struct world *w = arg;
    w->done++;
    w->status = reply->status;
    w->answered = reply->answered;
}

static void was_put(void *arg, const struct put_reply *reply)
{
    struct world *w = arg;
    w->done++;
    w->status = reply->status;
    w->dot = reply->dot;
}

static uint64_t start_get(struct world *w, const char *key)
{
    struct get_request q = {.key = slice_str(key), .want = GET_NEWEST};
    uint32_t done = w->done;
    uint64_t id = w->kv.get(w->kv.ctx, &q, got, w);
    assert_true(id != 0 && w->done == done);
    return id;
}

static uint64_t start_put(struct world *w, const char *key)
{
    struct put_request q = {.key = slice_str(key), .type = SIBLING_FILE, .value = slice_str("v")};
    return w->kv.put(w->kv.ctx, &q, was_put, w);
}

/* A client that knows the ring. */
static struct world *ready(void)
{
    struct world *w = world_with(1, 0);
    pass(w, 0);
    answer_ring(w, latest(w, FRAME_RING), &w->history);
    assert_non_null(client_ring(w->client));
    return w;
}

static bool is_primary(struct world *w, const char *key, uint64_t node)
{
    struct ring *r = client_ring(w->client);
    uint64_t nodes[3];
    ring_preference_list(r, ring_partition_of(r, slice_str(key)), 3, nodes, 3);
    return node == nodes[0] || node == nodes[1] || node == nodes[2];
}

static void test_requests_wait_for_the_first_ring(void **state)
{
    (void)state;
    struct world *w = world_with(1, 0);
    start_get(w, "k");
    pass(w, 0);
    assert_int_equal(count(w, FRAME_GET), 0);
    assert_int_equal(w->asked[0].node, 1); /* the seed's number in place of an id */
    answer_ring(w, latest(w, FRAME_RING), &w->history);
    assert_int_equal(count(w, FRAME_GET), 1);
    assert_true(is_primary(w, "k", latest(w, FRAME_GET)->node));
    assert_int_equal(w->n_addressed, 1 + NODES);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

static void test_a_dead_seed_is_passed_by(void **state)
{
    (void)state;
    struct world *w = world_with(3, 0);
    pass(w, 0);
    refuse(w, latest(w, FRAME_RING));
    pass(w, 0);
    assert_int_equal(w->asked[1].node, 2);
    pass(w, 250000); /* the second says nothing */
    assert_int_equal(w->asked[2].node, 3);
    answer_ring(w, &w->asked[2], &w->history);
    assert_non_null(client_ring(w->client));
    world_free(w);
}

static void test_nobody_there_ends_by_the_deadline(void **state)
{
    (void)state;
    struct world *w = world_with(2, 0);
    start_get(w, "k");
    for (unsigned i = 0; i < 200 && w->done == 0; i++) {
        for (struct asked *a; (a = latest(w, FRAME_RING)) != NULL;)
            refuse(w, a);
        pass(w, 100000);
    }
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_ERR_UNREACHABLE);
    assert_true(w->now_us <= 1000000 + 10100000);
    world_free(w);
}

static void test_the_impatient_end_after_their_rounds(void **state)
{
    (void)state;
    struct world *w = world_with(3, 2);
    start_get(w, "k");
    for (unsigned i = 0; i < 20 && w->done == 0; i++) {
        for (struct asked *a; (a = latest(w, FRAME_RING)) != NULL;)
            refuse(w, a);
        pass(w, 100000);
    }
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_ERR_UNREACHABLE);
    assert_true(w->now_us < 1000000 + 2000000);
    world_free(w);
}

static void test_a_refused_attempt_goes_on_at_once(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "k");
    struct asked *first = latest(w, FRAME_GET);
    refuse(w, first);
    struct asked *second = latest(w, FRAME_GET);
    assert_non_null(second);
    assert_true(second->node != first->node);
    assert_true(is_primary(w, "k", second->node));
    assert_false(client_node_up(w->client, first->node));
    answer_get(w, second, DYN_OK);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

static void test_a_node_thought_down_is_not_asked(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "k");
    uint64_t dead = latest(w, FRAME_GET)->node;
    refuse(w, latest(w, FRAME_GET));
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    for (unsigned i = 0; i < 100; i++) {
        start_get(w, "k");
        assert_true(latest(w, FRAME_GET)->node != dead);
        answer_get(w, latest(w, FRAME_GET), DYN_OK);
    }
    assert_int_equal(w->done, 101);
    pass(w, 600000); /* a probe finds it alive */
    struct asked *probe = latest(w, FRAME_RING);
    assert_int_equal(probe->node, dead);
    answer_ring(w, probe, &w->history);
    assert_true(client_node_up(w->client, dead));
    world_free(w);
}

static void test_the_first_good_answer_wins_also_from_the_first_asked(void **state)
{
    (void)state;
    struct world *w = ready();
    start_put(w, "k");
    struct asked *first = latest(w, FRAME_PUT);
    pass(w, 1000000); /* silence */
    struct asked *second = latest(w, FRAME_PUT);
    assert_true(second != first && second->node != first->node);
    assert_false(client_node_up(w->client, first->node));
    answer_put(w, first, DYN_OK, 5);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_OK);
    assert_true(w->dot.actor.node == first->node && w->dot.counter == 5);
    assert_true(client_node_up(w->client, first->node));
    answer_put(w, second, DYN_OK, 6); /* too late */
    assert_int_equal(w->done, 1);
    world_free(w);
}

static void test_a_put_says_the_same_origin_to_everyone(void **state)
{
    (void)state;
    struct world *w = ready();
    struct put_request one, two;
    start_put(w, "k");
    struct asked *first = latest(w, FRAME_PUT);
    refuse(w, first);
    struct asked *second = latest(w, FRAME_PUT);
    assert_true(first != second);
    assert_int_equal(put_request_decode(buf_slice(&first->body), &one), DYN_OK);
    assert_int_equal(put_request_decode(buf_slice(&second->body), &two), DYN_OK);
    assert_int_equal(one.origin.writer, 99);
    assert_int_equal(one.origin.seq, 1);
    assert_memory_equal(&one.origin, &two.origin, sizeof(one.origin));
    put_request_release(&two);
    answer_put(w, second, DYN_OK, 1);

    start_put(w, "k"); /* another write, another stream */
    assert_int_equal(put_request_decode(buf_slice(&latest(w, FRAME_PUT)->body), &two), DYN_OK);
    assert_true(two.origin.stream != one.origin.stream);
    put_request_release(&two);
    put_request_release(&one);
    world_free(w);
}

static void test_reads_spread_over_the_primaries(void **state)
{
    (void)state;
    struct world *w = ready();
    uint32_t times[NODES] = {0};
    for (unsigned i = 0; i < 300; i++) {
        start_get(w, "k");
        struct asked *a = latest(w, FRAME_GET);
        assert_true(is_primary(w, "k", a->node));
        times[a->node - NODE(0)]++;
        answer_get(w, a, DYN_OK);
    }
    unsigned used = 0;
    for (unsigned i = 0; i < NODES; i++)
        used += times[i] > 50;
    assert_int_equal(used, 3);
    world_free(w);
}

static void test_reads_prefer_who_answers_soon(void **state)
{
    (void)state;
    struct world *w = ready();
    unsigned far_asked = 0;
    uint64_t far_node = 0;
    for (unsigned i = 0; i < 400; i++) {
        start_get(w, "k");
        struct asked *a = latest(w, FRAME_GET);
        if (far_node == 0)
            far_node = a->node;
        pass(w, a->node == far_node ? 20000 : 1000);
        far_asked += i >= 100 && a->node == far_node;
        answer_get(w, a, DYN_OK);
    }
    assert_int_equal(w->done, 400);
    assert_true(far_asked < 30); /* a third of 300, were it not for its distance */
    world_free(w);
}

static void test_a_final_answer_is_not_asked_twice(void **state)
{
    (void)state;
    static const int final[] = {DYN_ERR_NOT_FOUND, DYN_ERR_EXISTS, DYN_ERR_BAD_CONTEXT,
                                DYN_ERR_CONFLICT, DYN_ERR_STALE};
    struct world *w = ready();
    for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++) {
        uint32_t before = count(w, FRAME_GET);
        start_get(w, "k");
        answer_get(w, latest(w, FRAME_GET), final[i]);
        assert_int_equal(w->status, final[i]);
        assert_int_equal(count(w, FRAME_GET), before + 1);
    }
    world_free(w);
}

static void test_no_quorum_anywhere_is_told_with_its_counts(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "k");
    for (unsigned i = 0; i < NODES; i++) {
        assert_int_equal(w->done, 0);
        answer_get(w, latest(w, FRAME_GET), DYN_ERR_NO_QUORUM);
    }
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_ERR_NO_QUORUM);
    assert_int_equal(w->answered, 1);
    world_free(w);
}

static void test_overload_is_tried_again_until_it_passes(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "k");
    for (unsigned i = 0; i < 3 * NODES; i++) {
        struct asked *a = latest(w, FRAME_GET);
        if (a == NULL) {
            pass(w, 1000000);
            a = latest(w, FRAME_GET);
        }
        assert_non_null(a);
        answer_get(w, a, DYN_ERR_OVERLOAD);
    }
    assert_int_equal(w->done, 0);
    pass(w, 1000000);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

static void test_silence_ends_at_the_deadline(void **state)
{
    (void)state;
    struct world *w = ready();
    struct get_request q = {.key = slice_str("k"), .opt = {.timeout_ms = 3000}};
    uint64_t started = w->now_us;
    w->kv.get(w->kv.ctx, &q, got, w);
    pass(w, 2999999);
    assert_int_equal(w->done, 0);
    pass(w, 1);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_ERR_TIMEOUT);
    assert_int_equal(w->now_us, started + 3000000);
    assert_true(count(w, FRAME_GET) >= 3); /* all primaries had their chance */
    world_free(w);
}

static void test_garbage_is_a_reason_to_ask_another(void **state)
{
    (void)state;
    struct world *w = ready();
    struct buf junk = BUF_EMPTY;
    start_get(w, "k");
    buf_put_str(&junk, "\x01junk");
    answer(w, latest(w, FRAME_GET), &junk);
    assert_int_equal(w->done, 0);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

static void test_a_canceled_request_calls_nobody(void **state)
{
    (void)state;
    struct world *w = ready();
    uint64_t id = start_get(w, "k");
    struct asked *a = latest(w, FRAME_GET);
    w->kv.cancel(w->kv.ctx, id);
    answer_get(w, a, DYN_OK);
    pass(w, 20000000);
    assert_int_equal(w->done, 0);
    start_get(w, "k"); /* in the same place */
    w->kv.cancel(w->kv.ctx, id);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->done, 1);
    world_free(w);
}

static void test_a_reply_of_another_epoch_refreshes_the_ring(void **state)
{
    (void)state;
    struct world *w = ready();
    uint32_t rings = count(w, FRAME_RING);
    start_get(w, "k");
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(count(w, FRAME_RING), rings);
    add_member(&w->history, NODES);
    start_get(w, "k");
    struct asked *a = latest(w, FRAME_GET);
    answer_get(w, a, DYN_OK);
    struct asked *refresh = latest(w, FRAME_RING);
    assert_non_null(refresh);
    assert_int_equal(refresh->node, a->node);
    answer_ring(w, refresh, &w->history);
    assert_int_equal(ring_member_count(client_ring(w->client)), NODES + 1);
    world_free(w);
}

static void test_the_ring_is_asked_for_each_ten_seconds(void **state)
{
    (void)state;
    struct world *w = ready();
    for (unsigned i = 0; i < 5; i++) {
        uint32_t rings = count(w, FRAME_RING);
        pass(w, 9900000);
        assert_int_equal(count(w, FRAME_RING), rings);
        pass(w, 100000);
        assert_int_equal(count(w, FRAME_RING), rings + 1);
        assert_true(latest(w, FRAME_RING)->node >= NODE(0)); /* a member, not the seed */
        answer_ring(w, latest(w, FRAME_RING), &w->history);
    }
    world_free(w);
}

static void test_another_clusters_ring_is_not_taken(void **state)
{
    (void)state;
    struct world *w = ready();
    struct history other = HISTORY_EMPTY;
    make_history(&other, 43);
    add_member(&other, NODES);
    pass(w, 10000000);
    answer_ring(w, latest(w, FRAME_RING), &other);
    assert_int_equal(ring_cluster(client_ring(w->client)), 42);
    assert_int_equal(ring_member_count(client_ring(w->client)), NODES);
    history_release(&other);
    world_free(w);
}

static void test_life_goes_on_when_the_seed_dies(void **state)
{
    (void)state;
    struct world *w = ready();
    /* NODE(0) has the seed's address. It is gone, for reads, writes and refreshes. */
    for (unsigned i = 0; i < 60; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", i);
        start_get(w, key);
        start_put(w, key);
        for (struct asked *a; (a = latest(w, FRAME_GET)) != NULL;) {
            if (a->node == NODE(0))
                refuse(w, a);
            else
                answer_get(w, a, DYN_OK);
        }
        for (struct asked *a; (a = latest(w, FRAME_PUT)) != NULL;) {
            if (a->node == NODE(0))
                refuse(w, a);
            else
                answer_put(w, a, DYN_OK, 1);
        }
        for (struct asked *a; (a = latest(w, FRAME_RING)) != NULL;) {
            if (a->node == NODE(0) || a->node == 1)
                refuse(w, a);
            else
                answer_ring(w, a, &w->history);
        }
        assert_int_equal(w->done, 2 * (i + 1));
        assert_int_equal(w->status, DYN_OK);
        pass(w, 1000000);
    }
    assert_false(client_node_up(w->client, NODE(0)));
    world_free(w);
}

static void test_a_stranger_at_a_members_address_is_found_out(void **state)
{
    (void)state;
    struct world *w = ready();
    struct buf body = BUF_EMPTY;
    pass(w, 10000000);
    struct asked *a = latest(w, FRAME_RING);
    struct ring_reply p = {.node = a->node + 1, .history = w->history};
    uint64_t node = a->node;
    assert_true(client_node_up(w->client, node));
    ring_reply_encode(&p, &body);
    answer(w, a, &body);
    assert_false(client_node_up(w->client, node));
    world_free(w);
}

static void raw_done(void *arg, int err, struct slice body)
{
    struct world *w = arg;
    w->done++;
    w->status = err;
    if (err == DYN_OK)
        assert_true(slice_equal(body, slice_str("{}")));
}

static void test_a_raw_call_goes_to_its_node(void **state)
{
    (void)state;
    struct world *w = ready();
    struct buf body = BUF_EMPTY;
    client_call(w->client, NODE(3), FRAME_STATUS, &body, raw_done, w);
    assert_int_equal(latest(w, FRAME_STATUS)->node, NODE(3));
    buf_put_str(&body, "{}");
    answer(w, latest(w, FRAME_STATUS), &body);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_OK);
    client_call(w->client, NODE(3), FRAME_STATUS, &body, raw_done, w);
    refuse(w, latest(w, FRAME_STATUS));
    assert_int_equal(w->status, DYN_ERR_UNREACHABLE);
    client_call(w->client, NODE(3), FRAME_STATUS, &body, raw_done, w); /* freed with the client */
    world_free(w);
}

static void test_freeing_leaves_callbacks_uncalled(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "a");
    start_put(w, "b");
    world_free(w);
    w = world_with(1, 0);
    start_get(w, "waits");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_wait_for_the_first_ring),
        cmocka_unit_test(test_a_dead_seed_is_passed_by),
        cmocka_unit_test(test_nobody_there_ends_by_the_deadline),
        cmocka_unit_test(test_the_impatient_end_after_their_rounds),
        cmocka_unit_test(test_a_refused_attempt_goes_on_at_once),
        cmocka_unit_test(test_a_node_thought_down_is_not_asked),
        cmocka_unit_test(test_the_first_good_answer_wins_also_from_the_first_asked),
        cmocka_unit_test(test_a_put_says_the_same_origin_to_everyone),
        cmocka_unit_test(test_reads_spread_over_the_primaries),
        cmocka_unit_test(test_reads_prefer_who_answers_soon),
        cmocka_unit_test(test_a_final_answer_is_not_asked_twice),
        cmocka_unit_test(test_no_quorum_anywhere_is_told_with_its_counts),
        cmocka_unit_test(test_overload_is_tried_again_until_it_passes),
        cmocka_unit_test(test_silence_ends_at_the_deadline),
        cmocka_unit_test(test_garbage_is_a_reason_to_ask_another),
        cmocka_unit_test(test_a_canceled_request_calls_nobody),
        cmocka_unit_test(test_a_reply_of_another_epoch_refreshes_the_ring),
        cmocka_unit_test(test_the_ring_is_asked_for_each_ten_seconds),
        cmocka_unit_test(test_another_clusters_ring_is_not_taken),
        cmocka_unit_test(test_life_goes_on_when_the_seed_dies),
        cmocka_unit_test(test_a_stranger_at_a_members_address_is_found_out),
        cmocka_unit_test(test_a_raw_call_goes_to_its_node),
        cmocka_unit_test(test_freeing_leaves_callbacks_uncalled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
