/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on puts that arrive late. The client library asks a second node when the first is
 * silent; what it has sent to the first lies in a stalled connection, and is delivered when the
 * version that the second has made was replaced or removed long since (F9). */
#include "engine/coordinate/dir_settings.h"
#include "scenario.h"

#define KEY "d/f"

struct holding {
    struct scenario *s;
    uint32_t n, node; /* how many, and to whom it went */
    bool isolate;     /* which no other node reaches from then on */
};

/* Holds the first put of the client library, wherever it goes. */
static enum sim_fate hold_first(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                struct slice body)
{
    struct holding *held = arg;
    (void)body;
    if (from < SIM_NODES_MAX || type != FRAME_PUT || held->n > 0)
        return FATE_CHANCE;
    held->n++;
    held->node = to;
    if (held->isolate)
        scenario_isolate(held->s, to, true);
    return FATE_HOLD;
}

/* A put whose first attempt is held back, and whose second is acknowledged. Returns the node that
 * the first was for; isolate: which other nodes do not reach. */
static uint32_t put_twice(struct scenario *s, const char *value, uint32_t flags, bool isolate)
{
    struct answer a = {0};
    struct holding held = {.s = s, .isolate = isolate};
    struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(s, KEY, value)};
    q.put.flags = flags;
    sim_net_set_judge(s->cluster->net, hold_first, &held);
    scenario_send(s, VIA_LIBRARY, 0, &q, &a);
    assert_int_equal(a.status, DYN_OK);
    assert_int_equal(held.n, 1);
    if (!isolate)
        scenario_settle(s);
    answer_release(&a);
    return held.node;
}

static void put_over(struct scenario *s, uint32_t node, const char *value)
{
    struct answer a = {0};
    scenario_put(s, node, KEY, value, NULL, PUT_CURRENT, &a);
    assert_int_equal(a.status, DYN_OK);
    answer_release(&a);
}

/* What all nodes show once the held attempt has arrived; NULL: nothing. */
static void release_and_expect(struct scenario *s, const char *value)
{
    struct answer a = {0};
    assert_int_equal(sim_net_release_held(s->cluster->net), 1);
    sim_cluster_run(s->cluster, 3 * (uint64_t)SIM_SECOND);
    sim_net_heal(s->cluster->net);
    scenario_settle(s);
    for (uint32_t node = 0; node < 3; node++) {
        scenario_get(s, node, KEY, &a);
        assert_int_equal(a.status, DYN_OK);
        assert_int_equal(answer_live(&a), value != NULL);
        assert_true(value == NULL || answer_has(&a, value));
        scenario_list(s, node, "d", 0, &a);
        assert_string_equal((const char *)a.listing.data, value != NULL ? "f " : "");
    }
    answer_release(&a);
}

static void test_a_late_put_brings_no_removed_file_back(void **state)
{
    (void)state;
    struct scenario s;
    scenario_begin(&s, 3, 3, 2, 2);
    put_twice(&s, "gone", 0, false);
    put_over(&s, 1, NULL);
    scenario_settle(&s);
    release_and_expect(&s, NULL);
    scenario_end(&s);
}

static void test_a_late_exclusive_create_takes_no_lock_again(void **state)
{
    (void)state;
    struct scenario s;
    scenario_begin(&s, 3, 3, 2, 2);
    put_twice(&s, "mine", PUT_IF_ABSENT, false);
    put_over(&s, 2, NULL);
    scenario_settle(&s);
    release_and_expect(&s, NULL);
    scenario_end(&s);
}

static void test_a_late_put_brings_no_settled_conflict_back(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    scenario_begin(&s, 3, 3, 2, 2);
    put_over(&s, 0, "theirs");
    scenario_settle(&s);
    put_twice(&s, "mine", 0, false);
    scenario_get(&s, 1, KEY, &a);
    assert_int_equal(answer_live(&a), 2);
    put_over(&s, 2, "both");
    scenario_settle(&s);
    release_and_expect(&s, "both");
    answer_release(&a);
    scenario_end(&s);
}

/* The node that it reaches has been apart from the others all the while, and has seen neither the
 * version nor its end: who has seen both drops what it has made of it. */
static void test_a_late_put_at_a_node_that_was_apart_brings_nothing_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct scenario s;
        struct engine_config engine;
        engine_config_defaults(&engine);
        scenario_begin_seed(&s, seed, 3, 3, 2, 2, &engine);
        uint32_t apart = put_twice(&s, "gone", 0, true);
        put_over(&s, (apart + 1) % 3, NULL);
        release_and_expect(&s, NULL);
        scenario_end(&s);
        scenario_begin_seed(&s, seed, 3, 3, 2, 2, &engine);
        apart = put_twice(&s, "mine", 0, true);
        put_over(&s, (apart + 1) % 3, "theirs");
        release_and_expect(&s, "theirs");
        scenario_end(&s);
    }
}

static void told(void *arg, const struct settings_reply *reply)
{
    *(uint32_t *)arg = reply->status == DYN_OK ? reply->known : 0;
}

/* Where the newest wins, that is not what comes last though it was written before. */
static void test_a_late_put_is_not_the_newest(void **state)
{
    (void)state;
    struct scenario s;
    uint32_t known = 0;
    scenario_begin(&s, 3, 3, 2, 2);
    const struct settings_request lww = {
        .dir = slice_str("d"), .changes = {{SETTING_RECONCILE, RECONCILE_LWW}}, .n = 1};
    settings_change(s.cluster->nodes[0].engine, &lww, told, &known);
    sim_cluster_run(s.cluster, SIM_SECOND);
    assert_int_equal(known, 3);
    put_twice(&s, "first", 0, false);
    put_over(&s, 1, "second");
    scenario_settle(&s);
    release_and_expect(&s, "second");
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_late_put_brings_no_removed_file_back),
        cmocka_unit_test(test_a_late_exclusive_create_takes_no_lock_again),
        cmocka_unit_test(test_a_late_put_brings_no_settled_conflict_back),
        cmocka_unit_test(test_a_late_put_at_a_node_that_was_apart_brings_nothing_back),
        cmocka_unit_test(test_a_late_put_is_not_the_newest),
    };
    return cmocka_run_group_tests_name("scenario_late", tests, NULL, NULL);
}
