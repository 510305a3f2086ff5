/* SPDX-License-Identifier: Apache-2.0 */
/* Every call that is started ends exactly once, with its own reply, with a timeout, or with nothing
 * after a cancel; and what it says about the peer reaches the failure detector. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "model/detector.h"
#include "model/rpc.h"
#include "unit.h"

#define TYPE 5
#define REPLY (TYPE + 128)
#define PENDING 1 /* not an error: done did not run */

struct fixture {
    struct timers timers;
    struct time_port time;
    uint64_t now;
    struct net_port net;
    uint64_t last_rid, last_node;
    struct detector *d;
    struct rpc *rpc;
};

struct call {
    struct rpc_call base;
    int err, ended;
    char body[16];
    struct fixture *f;
    struct call *next; /* started when this one ends */
};

static void on_request(void *ctx, uint64_t node, uint64_t rid, uint8_t type, struct buf *body)
{
    struct fixture *f = ctx;
    assert_int_equal(type, TYPE);
    f->last_node = node;
    f->last_rid = rid;
    buf_release(body);
}

static void on_probe(void *arg, uint64_t node)
{
    (void)arg, (void)node;
}

static uint64_t mono_us(void *ctx)
{
    return ((struct fixture *)ctx)->now;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct detector_config cfg = {.probe_interval_us = 1u << 30, .probe_max_us = 1u << 30};
    timers_init(&f->timers);
    f->time = (struct time_port){f, mono_us, NULL};
    f->net = (struct net_port){f, on_request, NULL, NULL};
    f->d = detector_new(&cfg, &f->time, &f->timers, on_probe, NULL, f);
    f->rpc = rpc_new(&f->net, &f->time, &f->timers, f->d);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    rpc_free(f->rpc);
    detector_free(f->d);
    assert_true(timers_next(&f->timers) == UINT64_MAX);
    timers_release(&f->timers);
    free(f);
    return 0;
}

static void start(struct fixture *f, struct call *c, uint64_t node, uint64_t timeout_us);

static void on_done(struct rpc_call *base, int err, struct slice body)
{
    struct call *c = (struct call *)base;
    assert_false(rpc_active(base));
    c->err = err;
    c->ended++;
    assert_true(body.len < sizeof(c->body));
    if (body.len > 0)
        memcpy(c->body, body.data, body.len);
    if (c->next != NULL)
        start(c->f, c->next, c->base.node, 100);
}

static void start(struct fixture *f, struct call *c, uint64_t node, uint64_t timeout_us)
{
    struct buf body = BUF_EMPTY;
    buf_put_str(&body, "question");
    c->base.done = on_done;
    c->err = PENDING;
    c->f = f;
    rpc_start(f->rpc, &c->base, node, TYPE, &body, timeout_us);
    buf_release(&body);
    assert_true(rpc_active(&c->base));
}

static void run_at(struct fixture *f, uint64_t now_us)
{
    f->now = now_us;
    timers_run(&f->timers, now_us);
}

static void test_a_reply_reaches_its_own_call(void **state)
{
    struct fixture *f = *state;
    struct call a = {.ended = 0}, b = {.ended = 0};
    start(f, &a, 7, 100);
    uint64_t rid_a = f->last_rid;
    start(f, &b, 8, 100);
    assert_int_equal(f->last_node, 8);
    assert_int_equal(rpc_outstanding(f->rpc), 2);

    rpc_receive(f->rpc, rid_a, REPLY, slice_str("answer"));
    assert_int_equal(a.err, DYN_OK);
    assert_string_equal(a.body, "answer");
    assert_int_equal(b.err, PENDING);
    assert_int_equal(rpc_outstanding(f->rpc), 1);
    rpc_receive(f->rpc, f->last_rid, REPLY, slice_str("other"));
    assert_string_equal(b.body, "other");
}

static void test_a_reply_comes_once_and_not_after_the_deadline(void **state)
{
    struct fixture *f = *state;
    struct call a = {.ended = 0};
    start(f, &a, 7, 100);
    uint64_t rid = f->last_rid;
    run_at(f, 99);
    assert_int_equal(a.ended, 0);
    run_at(f, 100);
    assert_int_equal(a.err, DYN_ERR_TIMEOUT);
    rpc_receive(f->rpc, rid, REPLY, slice_str("late"));
    rpc_failed(f->rpc, rid, DYN_ERR_UNREACHABLE);
    assert_int_equal(a.ended, 1);

    struct call b = {.ended = 0};
    start(f, &b, 7, 100);
    rpc_receive(f->rpc, f->last_rid, REPLY, slice_str("in time"));
    rpc_receive(f->rpc, f->last_rid, REPLY, slice_str("twice"));
    run_at(f, 1000);
    assert_int_equal(b.ended, 1);
    assert_string_equal(b.body, "in time");
}

static void test_a_reply_of_another_type_is_a_protocol_error(void **state)
{
    struct fixture *f = *state;
    struct call a = {.ended = 0};
    start(f, &a, 7, 100);
    rpc_receive(f->rpc, f->last_rid, REPLY + 1, slice_str("x"));
    assert_int_equal(a.err, DYN_ERR_PROTOCOL);
}

static void test_a_cancelled_call_never_ends(void **state)
{
    struct fixture *f = *state;
    struct call a = {.ended = 0};
    start(f, &a, 7, 100);
    rpc_cancel(f->rpc, &a.base);
    assert_false(rpc_active(&a.base));
    rpc_cancel(f->rpc, &a.base);
    rpc_receive(f->rpc, f->last_rid, REPLY, slice_str("x"));
    run_at(f, 1000);
    assert_int_equal(a.ended, 0);
    assert_int_equal(rpc_outstanding(f->rpc), 0);
}

static void test_outcomes_reach_the_detector(void **state)
{
    struct fixture *f = *state;
    struct call a = {.ended = 0}, b = {.ended = 0}, c = {.ended = 0};
    start(f, &a, 7, 100);
    start(f, &b, 8, 100);
    rpc_failed(f->rpc, f->last_rid, DYN_ERR_UNREACHABLE);
    assert_int_equal(b.err, DYN_ERR_UNREACHABLE);
    assert_false(detector_up(f->d, 8));
    run_at(f, 100);
    assert_false(detector_up(f->d, 7));
    start(f, &c, 7, 100);
    f->now += 30;
    rpc_receive(f->rpc, f->last_rid, REPLY, slice_str(""));
    assert_true(detector_up(f->d, 7));
    assert_int_equal(detector_rtt_us(f->d, 7), 30);
}

static void test_an_ended_call_may_start_the_next(void **state)
{
    struct fixture *f = *state;
    struct call b = {.ended = 0}, a = {.next = &b};
    start(f, &a, 7, 100);
    rpc_receive(f->rpc, f->last_rid, REPLY, slice_str("one"));
    assert_true(rpc_active(&b.base));
    rpc_receive(f->rpc, f->last_rid, REPLY, slice_str("two"));
    assert_string_equal(b.body, "two");
}

static void test_thousands_are_kept_apart(void **state)
{
    enum { N = 5000 };
    struct fixture *f = *state;
    struct call *calls = calloc(N, sizeof(*calls));
    for (uint64_t i = 0; i < N; i++)
        start(f, &calls[i], i % 9, 100);
    assert_int_equal(rpc_outstanding(f->rpc), N);
    for (uint64_t i = 0; i < N; i += 2)
        rpc_receive(f->rpc, calls[i].base.rid, REPLY, slice_of(&i, sizeof(i)));
    for (uint64_t i = 0; i < N; i++) {
        assert_int_equal(calls[i].ended, i % 2 == 0);
        if (i % 2 == 0)
            assert_memory_equal(calls[i].body, &i, sizeof(i));
    }
    run_at(f, 100);
    for (uint64_t i = 0; i < N; i++)
        assert_int_equal(calls[i].ended, 1);
    free(calls);
}

static void test_calls_outlive_the_table_without_ending(void **state)
{
    struct fixture *f = *state;
    struct call a = {.ended = 0};
    start(f, &a, 7, 100);
    rpc_free(f->rpc);
    f->rpc = NULL;
    assert_false(rpc_active(&a.base));
    run_at(f, 1000);
    assert_int_equal(a.ended, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_reply_reaches_its_own_call),
        TEST(test_a_reply_comes_once_and_not_after_the_deadline),
        TEST(test_a_reply_of_another_type_is_a_protocol_error),
        TEST(test_a_cancelled_call_never_ends),
        TEST(test_outcomes_reach_the_detector),
        TEST(test_an_ended_call_may_start_the_next),
        TEST(test_thousands_are_kept_apart),
        TEST(test_calls_outlive_the_table_without_ending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
