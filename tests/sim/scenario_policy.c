/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on bounds and settings: clocks that are truncated (E4), siblings without end (E24),
 * hint stores that are full (E25). */
#include "scenario.h"

static uint32_t longest_clock(struct scenario *s, const char *key)
{
    struct answer a = {0};
    uint32_t longest = 0;
    s->opt.r = 1;
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++) {
        scenario_get(s, i, key, &a);
        assert_int_equal(a.status, DYN_OK);
        assert_int_equal(answer_live(&a), 1);
        if (a.object.clock.n > longest)
            longest = a.object.clock.n;
    }
    answer_release(&a);
    return longest;
}

/* Each start of a node adds a pair. One key is written by nodes that restart all the time. */
static void test_a_clock_stays_short_over_many_starts(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine;
    struct answer a = {0};
    char value[32];
    engine_config_defaults(&engine);
    engine.clock_pairs = 4;
    engine.clock_age_ms = 3000;
    scenario_begin_with(&s, 3, 3, 2, 2, &engine);
    s.opt.w = 3;
    scenario_put(&s, 0, "k", "first", NULL, 0, &a);
    for (uint32_t round = 0; round < 24; round++) {
        struct buf context = context_whole(&a);
        snprintf(value, sizeof(value), "round %u", round);
        scenario_put(&s, round % 3, "k", value, &context, 0, &a);
        assert_int_equal(a.status, DYN_OK);
        assert_int_equal(answer_live(&a), 1);
        buf_release(&context);
        sim_node_stop(&s.cluster->nodes[round % 3]);
        sim_cluster_run(s.cluster, SIM_SECOND);
        sim_node_start(&s.cluster->nodes[round % 3]);
        sim_cluster_run(s.cluster, SIM_SECOND);
    }
    scenario_settle(&s);
    assert_true(longest_clock(&s, "k") <= 6); /* four, and what was too young at the last put */
    answer_release(&a);
    scenario_end(&s);
}

/* A's epoch is open while others cut its pair: what it then writes must be no dot of before. */
static void test_an_open_epoch_whose_pair_is_cut_begins_no_counter_again(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine;
    struct answer first = {0}, second = {0}, seen = {0};
    engine_config_defaults(&engine);
    engine.clock_pairs = 1;
    engine.clock_age_ms = 0;
    scenario_begin_with(&s, 3, 3, 2, 2, &engine);
    s.opt.w = 3;
    scenario_put(&s, 0, "k", "by A", NULL, 0, &first);
    struct buf context = context_whole(&first);
    sim_cluster_run(s.cluster, SIM_SECOND);
    scenario_put(&s, 1, "k", "by B", &context, 0, &second);
    assert_int_equal(second.status, DYN_OK);
    buf_release(&context);
    context = context_whole(&second);
    sim_cluster_run(s.cluster, SIM_SECOND);
    scenario_put(&s, 1, "k", "by B again", &context, 0, &second);
    assert_int_equal(second.object.clock.n, 1); /* A's pair is gone */
    buf_release(&context);
    context = context_whole(&second);
    scenario_put(&s, 0, "k", "by A again", &context, 0, &second);
    assert_int_equal(second.status, DYN_OK);
    assert_false(dot_equal(&first.dot, &second.dot));
    scenario_settle(&s);
    s.opt.r = 3;
    scenario_get(&s, 2, "k", &seen);
    assert_int_equal(answer_live(&seen), 1);
    assert_true(answer_has(&seen, "by A again"));
    buf_release(&context);
    answer_release(&first);
    answer_release(&second);
    answer_release(&seen);
    scenario_end(&s);
}

/* The tombstone keeps its pairs, however many and old: a replica that was away brings
 * nothing back. */
static void test_a_tombstone_keeps_its_clock_and_the_delete(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine;
    struct answer a = {0}, seen = {0};
    engine_config_defaults(&engine);
    engine.clock_pairs = 1;
    engine.clock_age_ms = 0;
    scenario_begin_with(&s, 3, 3, 2, 2, &engine);
    s.opt.w = 3;
    scenario_put(&s, 2, "k", "old", NULL, 0, &a);
    struct buf context = context_whole(&a);
    s.opt.w = 2;
    scenario_isolate(&s, 2, true);
    scenario_put(&s, 0, "k", NULL, &context, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    s.opt.r = 3;
    scenario_get(&s, 1, "k", &seen);
    assert_int_equal(seen.status, DYN_OK);
    assert_int_equal(answer_live(&seen), 0);
    buf_release(&context);
    answer_release(&a);
    answer_release(&seen);
    scenario_end(&s);
}

/* E25: A is away for long. Who stands in for it takes so much and no more; what needs no stand-in
 * goes on; and when A is back and has its hints, stand-ins take writes again. */
static void test_a_full_hint_store_refuses_to_stand_in_and_nothing_else(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine;
    struct answer a = {0};
    struct engine_stats stats;
    char key[32], value[64];
    uint32_t taken = 0;
    engine_config_defaults(&engine);
    engine.hints_max_bytes = 4000;
    scenario_begin_with(&s, 4, 3, 2, 3, &engine);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    s.opt.sloppy = SLOPPY_YES;
    s.opt.w = 3;
    scenario_isolate(&s, 0, true);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(value, sizeof(value), "%u %s", i, "some bytes that have to be kept");
        scenario_put(&s, 1, key, value, NULL, 0, &a);
        taken += a.status == DYN_OK;
        assert_true(a.status == DYN_OK || a.status == DYN_ERR_NO_QUORUM);
    }
    assert_true(taken > 3 && taken < 30);
    for (uint32_t i = 1; i < 4; i++) {
        engine_stats(s.cluster->nodes[i].engine, &stats);
        assert_true(stats.hints_bytes < 4000 + 600); /* below, before the last object and entry */
    }
    engine_stats(s.cluster->nodes[3].engine, &stats);
    assert_true(stats.hint_refused > 0);
    s.opt.w = 2;
    scenario_put(&s, 1, key, "needs no stand-in", NULL, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    struct buf context = context_whole(&a);
    scenario_isolate(&s, 0, true);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    s.opt.w = 3;
    scenario_put(&s, 1, "another key", "short", NULL, PUT_CURRENT, &a);
    assert_int_equal(a.status, DYN_OK);
    buf_release(&context);
    answer_release(&a);
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_clock_stays_short_over_many_starts),
        cmocka_unit_test(test_an_open_epoch_whose_pair_is_cut_begins_no_counter_again),
        cmocka_unit_test(test_a_tombstone_keeps_its_clock_and_the_delete),
        cmocka_unit_test(test_a_full_hint_store_refuses_to_stand_in_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
