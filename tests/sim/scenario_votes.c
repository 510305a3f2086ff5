/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on who may vote (E2, E13): a node whose disk lacks what it has acknowledged must not
 * help to outvote the one that has it. Exchange by trees is what gives the vote back. */
#include "base/mem.h"
#include "scenario.h"

#define SECOND (uint64_t) SIM_SECOND

/* Nothing but the exchange that is under test brings copies home. */
static void begin(struct scenario *s)
{
    scenario_begin(s, 3, 3, 2, 2);
    s->opt.sloppy = SLOPPY_NO;
}

static void put(struct scenario *s, uint32_t node, const char *key, const char *value)
{
    struct answer a = {0};
    scenario_put(s, node, key, value, NULL, PUT_CURRENT, &a);
    assert_int_equal(a.status, DYN_OK);
    answer_release(&a);
}

static int status_of_get(struct scenario *s, uint32_t node, const char *key, const char *value)
{
    struct answer a = {0};
    scenario_get(s, node, key, &a);
    int status = a.status;
    if (status == DYN_OK && value != NULL)
        assert_true(answer_has(&a, value));
    answer_release(&a);
    return status;
}

static uint32_t voteless(struct scenario *s, uint32_t node)
{
    struct engine_moves m;
    engine_moves(s->cluster->nodes[node].engine, &m);
    return m.voteless;
}

static void run_until_all_vote(struct scenario *s)
{
    for (uint32_t i = 0; i < 600; i++) {
        sim_cluster_run(s->cluster, SECOND / 10);
        if (voteless(s, 0) + voteless(s, 1) + voteless(s, 2) == 0)
            return;
    }
    fail_msg("some copies still do not count after a minute");
}

/* Node 2 never got the write, node 0 has it, node 1's disk goes back to before. */
static void test_e2_an_older_copy_of_a_disk_has_no_vote_until_it_has_exchanged(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s);
    s.opt.durability = DURABILITY_QUORUM;
    put(&s, 0, "d/k", "old");
    sim_cluster_run(s.cluster, 5 * SECOND);
    struct store_memory_image *image = sim_disk_backup(s.cluster->nodes[1].disk);
    sim_node_stop(&s.cluster->nodes[1]); /* counts another start, which the copy has not seen */
    sim_cluster_run(s.cluster, 10 * SECOND);
    sim_node_start(&s.cluster->nodes[1]);
    sim_cluster_run(s.cluster, 10 * SECOND);
    scenario_isolate(&s, 2, true);
    put(&s, 0, "d/k", "new"); /* nodes 0 and 1 */
    scenario_isolate(&s, 2, false);
    scenario_isolate(&s, 0, true); /* whoever has the write is away */
    sim_node_crash(&s.cluster->nodes[1], CRASH_POWER);
    sim_disk_restore(s.cluster->nodes[1].disk, image);
    sim_node_start(&s.cluster->nodes[1]);
    sim_cluster_run(s.cluster, 10 * SECOND); /* node 2 tells it how often it has started */
    assert_true(voteless(&s, 1) > 0);
    assert_int_not_equal(status_of_get(&s, 2, "d/k", NULL), DYN_OK);
    assert_int_not_equal(status_of_get(&s, 1, "d/k", NULL), DYN_OK);
    scenario_isolate(&s, 0, false);
    run_until_all_vote(&s);
    scenario_isolate(&s, 0, true);
    assert_int_equal(status_of_get(&s, 2, "d/k", "new"), DYN_OK);
    assert_int_equal(status_of_get(&s, 1, "d/k", "new"), DYN_OK);
    scenario_end(&s);
}

/* Acknowledged from memory, as a mount's close is; then two of the three end that way. */
static void lose_tails(bool buffer, enum sim_crash how)
{
    struct scenario s;
    begin(&s);
    for (uint32_t i = 0; i < 3; i++)
        sim_disk_buffer(s.cluster->nodes[i].disk, buffer);
    s.opt.durability = DURABILITY_QUORUM;
    put(&s, 2, "d/other", "v");
    sim_cluster_run(s.cluster, 30 * SECOND);
    s.opt.durability = DURABILITY_BUFFERED;
    s.opt.w = 3;
    put(&s, 2, "d/k", "v");
    s.opt.w = 0;
    scenario_isolate(&s, 2, true);
    for (uint32_t i = 0; i < 2; i++) {
        sim_node_crash(&s.cluster->nodes[i], how);
        sim_node_start(&s.cluster->nodes[i]);
    }
    sim_cluster_run(s.cluster, 5 * SECOND);
    assert_true(voteless(&s, 0) > 0 && voteless(&s, 1) > 0);
    assert_int_not_equal(status_of_get(&s, 0, "d/k", NULL), DYN_OK); /* not: no such key */
    struct answer a = {0};
    scenario_list(&s, 0, "d", 0, &a);
    assert_int_not_equal(a.status, DYN_OK);
    answer_release(&a);
    scenario_isolate(&s, 2, false);
    run_until_all_vote(&s);
    scenario_isolate(&s, 2, true);
    assert_int_equal(status_of_get(&s, 0, "d/k", "v"), DYN_OK);
    scenario_end(&s);
}

static void test_e13_nodes_that_lost_their_tail_do_not_vote_not_found(void **state)
{
    (void)state;
    lose_tails(false, CRASH_TAIL);
}

static void test_e13_nodes_killed_with_an_object_buffer_do_not_vote_not_found(void **state)
{
    (void)state;
    lose_tails(true, CRASH_KILL);
}

static enum sim_fate no_trees(void *arg, uint32_t from, uint32_t to, uint8_t type,
                              struct slice body)
{
    (void)arg;
    (void)from;
    (void)to;
    (void)body;
    return type == FRAME_TREE_ROOTS ? FATE_DROP : FATE_CHANCE;
}

/* All of them lose power: nobody votes, and when all have answered their merge is final. */
static void test_e13_after_a_power_cut_of_all_the_copies_of_all_are_enough(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s);
    s.opt.durability = DURABILITY_QUORUM;
    put(&s, 0, "d/k", "v");
    s.opt.durability = DURABILITY_BUFFERED;
    s.opt.w = 3;
    put(&s, 0, "d/tail", "v"); /* there is something to lose */
    s.opt.w = 0;
    for (uint32_t i = 0; i < 3; i++)
        sim_node_crash(&s.cluster->nodes[i], CRASH_TAIL);
    sim_net_set_judge(s.cluster->net, no_trees, NULL);
    for (uint32_t i = 0; i < 3; i++)
        sim_node_start(&s.cluster->nodes[i]);
    sim_cluster_run(s.cluster, 5 * SECOND);
    assert_true(voteless(&s, 0) > 0 && voteless(&s, 1) > 0 && voteless(&s, 2) > 0);
    assert_int_equal(status_of_get(&s, 0, "d/k", "v"), DYN_OK);
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    run_until_all_vote(&s);
    assert_int_equal(status_of_get(&s, 1, "d/k", "v"), DYN_OK);
    scenario_end(&s);
}

/* Always readable: a sloppy read takes what there is when nobody else is left to ask. */
static void test_a_sloppy_read_takes_a_copy_without_a_vote_as_its_last_resort(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s);
    s.opt.durability = DURABILITY_QUORUM;
    put(&s, 0, "d/k", "v");
    s.opt.durability = DURABILITY_BUFFERED;
    put(&s, 0, "d/tail", "v");
    sim_cluster_run(s.cluster, SECOND);
    sim_node_crash(&s.cluster->nodes[2], CRASH_KILL);
    sim_node_crash(&s.cluster->nodes[1], CRASH_TAIL);
    sim_node_start(&s.cluster->nodes[1]);
    sim_cluster_run(s.cluster, 10 * SECOND);
    assert_true(voteless(&s, 1) > 0); /* it waits for node 2 */
    assert_int_not_equal(status_of_get(&s, 0, "d/k", NULL), DYN_OK);
    s.opt.sloppy = SLOPPY_YES;
    assert_int_equal(status_of_get(&s, 0, "d/k", "v"), DYN_OK);
    assert_int_equal(status_of_get(&s, 1, "d/k", "v"), DYN_OK);
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e2_an_older_copy_of_a_disk_has_no_vote_until_it_has_exchanged),
        cmocka_unit_test(test_e13_nodes_that_lost_their_tail_do_not_vote_not_found),
        cmocka_unit_test(test_e13_nodes_killed_with_an_object_buffer_do_not_vote_not_found),
        cmocka_unit_test(test_e13_after_a_power_cut_of_all_the_copies_of_all_are_enough),
        cmocka_unit_test(test_a_sloppy_read_takes_a_copy_without_a_vote_as_its_last_resort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
