/* SPDX-License-Identifier: Apache-2.0 */
/* The history a node knows: on disk before it is used, and back after a restart (E14); a start that
 * is older than what others know of (E2). */
#include <stdlib.h>

#include "adapter/store_memory.h"
#include "base/err.h"
#include "base/mem.h"
#include "engine/core.h"
#include "engine/membership/gossip.h"
#include "engine/membership/view.h"
#include "unit.h"

static struct {
    struct store_memory *store;
    struct timers timers;
    uint64_t now_us, seed;
    struct engine *engine;
    int ready, halts;
} w;

static uint64_t now(void *ctx)
{
    (void)ctx;
    return w.now_us;
}

static uint64_t wall(void *ctx)
{
    (void)ctx;
    return w.now_us * 1000 + 1;
}

static void random_bytes(void *ctx, void *out, size_t len)
{
    (void)ctx;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)((w.seed = w.seed * 6364136223846793005u + 7) >> 33);
}

static void net_request(void *ctx, uint64_t node, uint64_t rid, uint8_t type, struct buf *body)
{
    (void)ctx;
    (void)node;
    (void)rid;
    (void)type;
    buf_release(body);
}

static void net_reply(void *ctx, uint64_t origin, uint64_t rid, uint8_t type, struct buf *body)
{
    net_request(ctx, origin, rid, type, body);
}

static void net_address(void *ctx, uint64_t node, const char *address)
{
    (void)ctx;
    (void)node;
    (void)address;
}

static void halt(void *ctx, int err, const char *why)
{
    (void)ctx;
    (void)err;
    assert_non_null(why);
    w.halts++;
}

static void add(struct history *h, uint64_t node)
{
    static char address[] = "127.0.0.1:7000";
    struct member_event ev = {.stamp = history_next_stamp(h),
                              .type = MEMBER_JOIN,
                              .node = node,
                              .weight = 100,
                              .address = address};
    if (h->n == 0) {
        struct member_event create = {
            .stamp = 1, .type = MEMBER_CREATE, .cluster = 9, .q = 8, .n = 3, .r = 2, .w = 2};
        assert_int_equal(history_add(h, &create, NULL), DYN_OK);
        ev.stamp = 2;
    }
    assert_int_equal(history_add(h, &ev, NULL), DYN_OK);
}

static void on_ready(void *arg, int err)
{
    (void)arg;
    w.ready = err;
}

static void start(uint32_t members)
{
    struct engine_config cfg;
    struct history h = HISTORY_EMPTY;
    struct ring *ring = NULL;
    for (uint32_t i = 1; i <= members; i++)
        add(&h, i);
    assert_int_equal(ring_build(&h, &ring), DYN_OK);
    engine_config_defaults(&cfg);
    cfg.node = 1;
    cfg.secret = slice_str("0123456789abcdef");
    cfg.host.halt = halt;
    const struct engine_ports ports = {
        .store = store_memory_port(w.store),
        .net = {NULL, net_request, net_reply, net_address},
        .time = {NULL, now, wall},
        .random = {NULL, random_bytes},
        .timers = &w.timers,
    };
    w.engine = engine_new(&cfg, &ports, ring);
    w.ready = 1;
    engine_start(w.engine, false, on_ready, NULL);
    ring_unref(ring);
    history_release(&h);
}

static int begin(void **state)
{
    (void)state;
    w.now_us = 1;
    w.halts = 0;
    w.store = store_memory_new(&(const struct store_host){0});
    timers_init(&w.timers);
    start(3);
    assert_int_equal(w.ready, DYN_OK);
    return 0;
}

static void stop(void)
{
    engine_free(w.engine);
}

static int end(void **state)
{
    (void)state;
    stop();
    timers_release(&w.timers);
    store_memory_free(w.store);
    return 0;
}

static void test_what_was_learned_is_known_after_a_restart(void **state)
{
    (void)state;
    struct history more = HISTORY_EMPTY;
    for (uint64_t i = 1; i <= 5; i++)
        add(&more, i);
    assert_int_equal(view_grow(w.engine->view, &more), DYN_OK);
    assert_int_equal(ring_member_count(w.engine->ring), 5);
    stop();
    start(3); /* the cluster file still says three */
    assert_int_equal(w.ready, DYN_OK);
    assert_int_equal(ring_member_count(w.engine->ring), 5);
    history_release(&more);
}

static void test_another_clusters_history_is_refused(void **state)
{
    (void)state;
    struct history other = HISTORY_EMPTY;
    struct member_event create = {
        .stamp = 1, .type = MEMBER_CREATE, .cluster = 10, .q = 8, .n = 3, .r = 2, .w = 2};
    assert_int_equal(history_add(&other, &create, NULL), DYN_OK);
    assert_int_equal(view_grow(w.engine->view, &other), DYN_ERR_INVALID);
    history_release(&other);
}

static void hear(uint64_t count, uint64_t incarnation)
{
    struct rumours r = RUMOURS_EMPTY;
    struct boot b = {1, count, incarnation};
    rumours_set_boot(&r, &b);
    gossip_take(w.engine->gossip, &r);
    rumours_release(&r);
}

static void test_starts_are_counted_on_disk(void **state)
{
    (void)state;
    assert_int_equal(rumours_boot(&w.engine->rumours, 1)->count, 1);
    stop();
    start(3);
    assert_int_equal(rumours_boot(&w.engine->rumours, 1)->count, 2);
    hear(1, 77); /* the start before */
    assert_false(w.engine->disk_is_old);
}

static void test_a_restored_disk_counts_itself_above_what_others_know(void **state)
{
    (void)state;
    hear(9, 77);
    assert_true(w.engine->disk_is_old);
    assert_int_equal(rumours_boot(&w.engine->rumours, 1)->count, 10);
    assert_int_equal(w.halts, 0);
}

static void test_of_two_processes_with_one_id_each_stops(void **state)
{
    (void)state;
    hear(9, 77);
    hear(11, 77); /* it lives, and counts itself above us */
    assert_int_equal(w.halts, 1);
    assert_true(rumours_boot(&w.engine->rumours, 1)->count > 11); /* so that it stops too */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(test_what_was_learned_is_known_after_a_restart),
        T(test_another_clusters_history_is_refused),
        T(test_starts_are_counted_on_disk),
        T(test_a_restored_disk_counts_itself_above_what_others_know),
        T(test_of_two_processes_with_one_id_each_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
