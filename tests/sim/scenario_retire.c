/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on what outlives a change of owners (E10, E15): copies of what a node owns no more, and
 * directories, which go after what was in them. */
#include "reap_played.h"

/* Who has left and is stopped may have copies, and come back with them, until it is removed. */
static void test_who_left_and_is_stopped_is_removed_first(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s, 4, BUG_NONE);
    put(&s, 0, "f", "one");
    struct member_event leave = {.type = MEMBER_LEAVE, .node = s.cluster->nodes[3].id};
    scenario_change(&s, 0, &leave);
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    sim_node_crash(&s.cluster->nodes[3], CRASH_KILL);
    delete_at_all(&s, 0, "f");
    sim_cluster_run(s.cluster, 2 * REAPED_US);
    assert_true(has_row(&s, 0, "f", false) && has_row(&s, 1, "f", false));
    struct member_event remove = {.type = MEMBER_REMOVE, .node = s.cluster->nodes[3].id};
    scenario_change(&s, 0, &remove);
    sim_cluster_run(s.cluster, 2 * REAPED_US);
    for (uint32_t i = 0; i < 3; i++)
        assert_false(has_row(&s, i, "f", false) || has_row(&s, i, "f", true));
    scenario_end(&s);
}

static bool on_copy(struct store_scan *scan, struct slice row, struct slice value)
{
    (void)row;
    (void)value;
    ++*(uint32_t *)scan->arg;
    return true;
}

static void on_copies(struct store_scan *scan, int err, bool more)
{
    (void)scan;
    (void)more;
    assert_int_equal(err, DYN_OK);
}

static uint32_t rows_in_all(struct scenario *s, uint32_t node)
{
    struct store_port store = sim_disk_port(s->cluster->nodes[node].disk);
    uint32_t found = 0;
    struct store_scan scan = {.family = STORE_META,
                              .max_rows = UINT32_MAX,
                              .max_bytes = UINT64_MAX,
                              .row = on_copy,
                              .done = on_copies,
                              .arg = &found};
    store.scan(store.ctx, &scan);
    return found;
}

/* Rows that a node has of partitions that it does not own. */
static uint32_t copies(struct scenario *s, uint32_t node, enum store_family family)
{
    struct ring *ring = sim_cluster_ring(s->cluster);
    struct store_port store = sim_disk_port(s->cluster->nodes[node].disk);
    uint32_t found = 0;
    for (uint32_t p = 0; p < ring_q(ring); p++) {
        uint64_t nodes[3];
        struct buf prefix = BUF_EMPTY;
        ring_preference_list(ring, p, 3, nodes, 3);
        bool owned = false;
        for (uint32_t i = 0; i < 3; i++)
            owned |= nodes[i] == s->cluster->nodes[node].id;
        buf_put_u32_be(&prefix, p);
        struct store_scan scan = {.family = family,
                                  .prefix = buf_slice(&prefix),
                                  .max_rows = UINT32_MAX,
                                  .max_bytes = UINT64_MAX,
                                  .row = on_copy,
                                  .done = on_copies,
                                  .arg = &found};
        if (!owned)
            store.scan(store.ctx, &scan);
        buf_release(&prefix);
    }
    return found;
}

static uint32_t all_copies(struct scenario *s)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++)
        found += copies(s, i, STORE_META) + copies(s, i, STORE_VALUE) + copies(s, i, STORE_TREE);
    return found;
}

/* A directory and what was in it: first that, then the directory, and what was known of it. */
static void test_a_directory_goes_after_what_was_in_it(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    begin(&s, 3, BUG_NONE);
    scenario_mkdir(&s, 0, "d", &a);
    put(&s, 0, "d/f", "one");
    delete_at_all(&s, 1, "d/f");
    sim_cluster_run(s.cluster, LIFE_US / 2);
    delete_at_all(&s, 1, "d");
    for (uint32_t i = 0; i < 400 && holders(&s, "d") > 0; i++) {
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
        assert_true(holders(&s, "d/f") == 0 || holders(&s, "d") == 3);
    }
    assert_int_equal(holders(&s, "d"), 0);
    put(&s, 0, "d/g", "two"); /* what lies below finds it again */
    sim_cluster_run(s.cluster, 2 * REAPED_US);
    scenario_list(&s, 1, "", 100, &a);
    assert_string_equal((const char *)a.listing.data, "d ");
    delete_at_all(&s, 1, "d/g");
    delete_at_all(&s, 1, "d");
    assert_true(await_holders(&s, "d", 0, 3 * REAPED_US));
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(rows_in_all(&s, i), 1); /* when the root was changed */
    answer_release(&a);
    scenario_end(&s);
}

/* A fourth node takes a share. The old owners' copies keep deletes from being reaped for their day,
 * and then go, with values and trees; nothing else does. */
static void test_copies_of_what_has_moved_are_dropped_and_block_until_then(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = quick(BUG_NONE);
    char address[32], key[32], moved[32] = "";
    engine.retired_us = 40 * (uint64_t)SIM_SECOND;
    scenario_begin_members(&s, 4, 3, 3, 2, 2, &engine);
    for (uint32_t i = 0; i < 60; i++) {
        snprintf(key, sizeof(key), "d%u/f", i);
        put(&s, i % 3, key, "kept");
    }
    struct member_event join = sim_join_of(s.cluster, 3, 0, address);
    scenario_change(&s, 0, &join);
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t owners[3];
        snprintf(key, sizeof(key), "d%u/f", i);
        sim_cluster_replicas(s.cluster, slice_str(key), 3, owners);
        if (owners[0] == 3 || owners[1] == 3 || owners[2] == 3)
            snprintf(moved, sizeof(moved), "%s", key);
    }
    assert_true(moved[0] != '\0');
    assert_true(all_copies(&s) > 0);
    delete_at_all(&s, 0, moved);
    sim_cluster_run(s.cluster, 2 * REAPED_US);
    assert_true(holders(&s, moved) >= 3);
    sim_cluster_run(s.cluster, 40 * (uint64_t)SIM_SECOND);
    for (uint32_t i = 0; i < 60 && all_copies(&s) > 0; i++)
        sim_cluster_run(s.cluster, SIM_SECOND);
    assert_int_equal(all_copies(&s), 0);
    assert_true(await_holders(&s, moved, 0, 2 * REAPED_US));
    for (uint32_t i = 0; i < 60; i++) {
        snprintf(key, sizeof(key), "d%u/f", i);
        if (strcmp(key, moved) != 0)
            assert_true(lives(&s, i % 4, key));
    }
    sim_cluster_run(s.cluster, 6 * (uint64_t)SIM_SECOND);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(stats_of(&s, i).retired_partitions, 0);
    scenario_end(&s);
}

/* Node 3 stands in for node 2, which stays away for longer than copies are kept: what is kept for
 * somebody is no copy of what one owns no more. */
static void test_what_is_kept_for_another_is_not_dropped(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine = quick(BUG_NONE);
    char key[32];
    engine.retired_us = 2 * (uint64_t)SIM_SECOND;
    scenario_begin_with(&s, 4, 3, 2, 2, &engine);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    scenario_isolate(&s, 2, true);
    sim_cluster_run(s.cluster, 2 * (uint64_t)SIM_SECOND);
    s.opt.sloppy = SLOPPY_YES;
    put(&s, 0, key, "one");
    sim_cluster_run(s.cluster, 60 * (uint64_t)SIM_SECOND);
    assert_true(has_row(&s, 3, key, false));
    assert_int_equal(stats_of(&s, 3).retired_rows, 0);
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
    assert_int_equal(stats_of(&s, 3).hints_now, 0);
    assert_false(has_row(&s, 3, key, false));
    assert_true(has_row(&s, 2, key, false));
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_left_and_is_stopped_is_removed_first),
        cmocka_unit_test(test_a_directory_goes_after_what_was_in_it),
        cmocka_unit_test(test_copies_of_what_has_moved_are_dropped_and_block_until_then),
        cmocka_unit_test(test_what_is_kept_for_another_is_not_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
