/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on what neither hints nor reads bring home (E11, E17, E18, E19): disks that went back
 * in time or lost everything, writes whose coordinator died before it could leave a hint. Nothing
 * is read before the nodes have had time to compare their trees. */
#include "base/mem.h"
#include "scenario.h"

#define COMPARED (200 * (uint64_t)SIM_SECOND) /* each pair of nodes has, more than once */

static void put(struct scenario *s, uint32_t node, const char *key, const char *value)
{
    struct answer a = {0};
    scenario_put(s, node, key, value, NULL, PUT_CURRENT, &a);
    assert_int_equal(a.status, DYN_OK);
    answer_release(&a);
}

/* What the node says with nobody else in reach. */
static void assert_alone(struct scenario *s, uint32_t node, const char *key, const char *value)
{
    struct answer a = {0};
    struct request_options opt = s->opt;
    s->opt.r = 1;
    s->opt.sloppy = SLOPPY_NO;
    scenario_isolate(s, node, true);
    scenario_get(s, node, key, &a);
    scenario_isolate(s, node, false);
    s->opt = opt;
    assert_int_equal(a.status, DYN_OK);
    if (value != NULL)
        assert_true(answer_has(&a, value));
    else
        assert_int_equal(answer_live(&a), 0);
    answer_release(&a);
}

static void swap_disk(struct scenario *s, uint32_t node, struct store_memory_image *image)
{
    sim_node_crash(&s->cluster->nodes[node], CRASH_POWER);
    sim_disk_restore(s->cluster->nodes[node].disk, image);
    sim_node_start(&s->cluster->nodes[node]);
    sim_cluster_run(s->cluster, COMPARED);
}

static void test_e19_a_restored_backup_is_brought_level_without_reads(void **state)
{
    (void)state;
    struct scenario s;
    scenario_begin(&s, 3, 3, 2, 2);
    s.opt.durability = DURABILITY_QUORUM;
    put(&s, 0, "d/kept", "old");
    put(&s, 0, "d/gone", "old");
    put(&s, 2, "d/own", "old"); /* this one mints, and will mint again (E2) */
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    struct store_memory_image *image = sim_disk_backup(s.cluster->nodes[2].disk);
    put(&s, 0, "d/kept", "new");
    put(&s, 1, "d/later", "new");
    put(&s, 2, "d/own", "new");
    struct answer a = {0};
    scenario_put(&s, 1, "d/gone", NULL, NULL, PUT_CURRENT, &a);
    assert_int_equal(a.status, DYN_OK);
    answer_release(&a);
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    swap_disk(&s, 2, image);
    assert_alone(&s, 2, "d/kept", "new");
    assert_alone(&s, 2, "d/later", "new");
    assert_alone(&s, 2, "d/own", "new");
    assert_alone(&s, 2, "d/gone", NULL); /* a delete does not come back */
    put(&s, 2, "d/own", "newest");
    sim_cluster_run(s.cluster, COMPARED);
    for (uint32_t i = 0; i < 3; i++)
        assert_alone(&s, i, "d/own", "newest");
    scenario_end(&s);
}

static void test_e19_an_empty_disk_is_filled_without_reads(void **state)
{
    (void)state;
    struct scenario s;
    char key[16];
    scenario_begin(&s, 4, 3, 2, 3);
    s.opt.durability = DURABILITY_QUORUM;
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "d%u/f%u", i % 3, i);
        put(&s, i % 4, key, key);
    }
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    swap_disk(&s, 1, NULL);
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t nodes[SIM_NODES_MAX];
        snprintf(key, sizeof(key), "d%u/f%u", i % 3, i);
        uint32_t n = sim_cluster_replicas(s.cluster, slice_str(key), 3, nodes);
        for (uint32_t k = 0; k < n; k++)
            if (nodes[k] == 1)
                assert_alone(&s, 1, key, key);
    }
    scenario_end(&s);
}

/* W are met, and the coordinator dies before it has written down for whom it still has to care. */
static void test_e17_a_put_whose_coordinator_died_before_its_hint_reaches_all(void **state)
{
    (void)state;
    struct scenario s;
    scenario_begin(&s, 3, 3, 2, 2);
    s.opt.durability = DURABILITY_QUORUM;
    put(&s, 0, "d/k", "old");
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
    scenario_isolate(&s, 2, true);
    put(&s, 0, "d/k", "new");
    sim_node_crash(&s.cluster->nodes[0], CRASH_POWER);
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, COMPARED); /* the coordinator stays away */
    assert_alone(&s, 2, "d/k", "new");
    scenario_end(&s);
}

/* A full disk refuses, and says so; what it has missed comes when there is room again. */
static void test_a_disk_that_was_full_is_brought_level(void **state)
{
    (void)state;
    struct scenario s;
    scenario_begin(&s, 3, 3, 2, 2);
    put(&s, 0, "d/k", "old");
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
    sim_disk_fill(s.cluster->nodes[2].disk, true);
    put(&s, 0, "d/k", "a longer value than before");
    put(&s, 0, "d/other", "more");
    sim_cluster_run(s.cluster, 30 * (uint64_t)SIM_SECOND);
    sim_disk_fill(s.cluster->nodes[2].disk, false);
    sim_cluster_run(s.cluster, COMPARED);
    assert_alone(&s, 2, "d/k", "a longer value than before");
    assert_alone(&s, 2, "d/other", "more");
    scenario_end(&s);
}

/* The first node of a cluster starts with nobody to compare with; others come later. */
static void test_who_was_alone_at_its_start_compares_with_those_who_join(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine;
    struct engine_stats first, second;
    char address[32];
    engine_config_defaults(&engine);
    scenario_begin_members(&s, 2, 1, 2, 1, 1, &engine);
    struct member_event join = sim_join_of(s.cluster, 1, 0, address);
    scenario_change(&s, 0, &join);
    sim_cluster_run(s.cluster, COMPARED);
    engine_stats(s.cluster->nodes[0].engine, &first);
    engine_stats(s.cluster->nodes[1].engine, &second);
    assert_true(second.exchanges > 0);
    assert_true(first.exchanges > 0);
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e19_a_restored_backup_is_brought_level_without_reads),
        cmocka_unit_test(test_e19_an_empty_disk_is_filled_without_reads),
        cmocka_unit_test(test_e17_a_put_whose_coordinator_died_before_its_hint_reaches_all),
        cmocka_unit_test(test_a_disk_that_was_full_is_brought_level),
        cmocka_unit_test(test_who_was_alone_at_its_start_compares_with_those_who_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
