/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on the reaping of deletes (E15, E18, E11): what could bring a deleted file back, at
 * exactly the moment at which it would. Most are played twice: as it is, and with tombstones that
 * are reaped too soon, to show that the scenario would see it. */
#include "reap_played.h"

static void test_a_delete_leaves_nothing_behind(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s, 3, BUG_NONE);
    put(&s, 0, "f", "one");
    delete_at_all(&s, 1, "f");
    assert_int_equal(holders(&s, "f"), 3);
    sim_cluster_run(s.cluster, LIFE_US / 2);
    assert_int_equal(holders(&s, "f"), 3); /* a message could still be under way */
    assert_true(await_holders(&s, "f", 0, REAPED_US));
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    assert_int_equal(holders(&s, "f"), 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct engine_stats stats = stats_of(&s, i);
        assert_int_equal(stats.reaped, 1);
        assert_int_equal(stats.reaped_entries, 1);
        assert_int_equal(stats.tombstones, 0);
    }
    put(&s, 2, "f", "two"); /* and the key may be used again */
    assert_true(lives(&s, 0, "f"));
    scenario_end(&s);
}

static void test_what_lives_is_never_reaped(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s, 3, BUG_NONE);
    put(&s, 0, "f", "one");
    delete_at_all(&s, 0, "f");
    sim_cluster_run(s.cluster, LIFE_US); /* it is prepared */
    put(&s, 1, "f", "again");
    sim_cluster_run(s.cluster, REAPED_US);
    assert_true(lives(&s, 2, "f"));
    assert_int_equal(holders(&s, "f"), 3);
    assert_true(stats_of(&s, 0).reap_cancelled > 0);
    assert_int_equal(stats_of(&s, 0).reaped, 0);
    scenario_end(&s);
}

/* Node 3 keeps a hint for node 2 and is cut off; the others have the delete. */
static bool comes_back_from_a_hint(enum engine_bug bug)
{
    struct scenario s;
    char key[32];
    begin(&s, 4, bug);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    scenario_isolate(&s, 2, true);
    sim_cluster_run(s.cluster, 2 * (uint64_t)SIM_SECOND);
    s.opt.sloppy = SLOPPY_YES;
    s.opt.w = 3;
    put(&s, 0, key, "one");
    s.opt.sloppy = SLOPPY_NO;
    s.opt.w = 2;
    assert_true(has_row(&s, 3, key, false));
    scenario_isolate(&s, 3, true);
    scenario_isolate(&s, 2, false);
    scenario_isolate(&s, 3, true);
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    delete_at_all(&s, 0, key);
    sim_cluster_run(s.cluster, 2 * REAPED_US);
    if (bug == BUG_NONE) {
        assert_int_equal(stats_of(&s, 0).reaped, 0); /* somebody is away */
        assert_true(stats_of(&s, 0).reap_blocked_away + stats_of(&s, 1).reap_blocked_away +
                        stats_of(&s, 2).reap_blocked_away >
                    0);
    }
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    bool back = lives(&s, 0, key);
    if (bug == BUG_NONE)
        assert_true(await_holders(&s, key, 0, 3 * REAPED_US));
    scenario_end(&s);
    return back;
}

static void test_a_hint_on_a_node_that_is_away_brings_nothing_back(void **state)
{
    (void)state;
    assert_false(comes_back_from_a_hint(BUG_NONE));
    assert_true(comes_back_from_a_hint(BUG_EARLY_REAP));
}

/* Nothing comes to node 2 but by its own exchanges, and of those the last answer waits. */
static enum sim_fate hold_the_exchange(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                       struct slice body)
{
    uint32_t *held = arg;
    (void)from;
    (void)body;
    if (to == 2 && type == FRAME_REPLICA_PUT)
        return FATE_DROP;
    if (to != 2 || type != FRAME_TREE_LEAVES + FRAME_REPLY)
        return FATE_CHANCE;
    ++*held;
    return FATE_HOLD;
}

/* The first write to node 2 is stuck in a socket, and comes out when the delete has been reaped. */
static bool comes_back_from_a_socket(enum engine_bug bug)
{
    struct scenario s;
    struct gate gate = {.to = 2, .type = FRAME_REPLICA_PUT, .fate = FATE_HOLD};
    begin(&s, 3, bug);
    sim_net_set_judge(s.cluster->net, guard, &gate);
    put(&s, 0, "f", "one");
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    assert_true(gate.met > 0);
    delete_at_all(&s, 0, "f");
    assert_true(await_holders(&s, "f", 0, REAPED_US));
    assert_true(sim_net_release_held(s.cluster->net) > 0);
    sim_cluster_run(s.cluster, SIM_SECOND / 2);
    bool back = lives(&s, 1, "f");
    if (bug == BUG_NONE)
        assert_int_equal(stats_of(&s, 2).reap_too_old, 1);
    scenario_end(&s);
    return back;
}

static void test_an_old_put_in_a_stalled_socket_brings_nothing_back(void **state)
{
    (void)state;
    assert_false(comes_back_from_a_socket(BUG_NONE));
    assert_true(comes_back_from_a_socket(BUG_EARLY_REAP));
}

/* The same where the name has been used again since: the row is there, and knows nothing of what
 * was deleted before it. */
static void test_an_old_put_in_a_stalled_socket_does_not_come_back_beside_a_new_one(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    struct gate gate = {.to = 2, .type = FRAME_REPLICA_PUT, .fate = FATE_HOLD};
    begin(&s, 3, BUG_NONE);
    sim_net_set_judge(s.cluster->net, guard, &gate);
    put(&s, 0, "f", "one");
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    delete_at_all(&s, 0, "f");
    assert_true(await_holders(&s, "f", 0, REAPED_US));
    put(&s, 0, "f", "two");
    sim_cluster_run(s.cluster, SIM_SECOND);
    assert_true(sim_net_release_held(s.cluster->net) > 0);
    sim_cluster_run(s.cluster, SIM_SECOND / 2);
    assert_int_equal(stats_of(&s, 2).reap_too_old, 1);
    s.opt.r = 3;
    scenario_get(&s, 1, "f", &a);
    assert_int_equal(a.status, DYN_OK);
    assert_int_equal(answer_live(&a), 1);
    assert_true(answer_has(&a, "two"));
    answer_release(&a);
    scenario_end(&s);
}

/* What comes late, but not too late, says that more may be under way: the wait begins again. */
static void test_whatever_comes_to_a_prepared_tombstone_begins_its_wait_again(void **state)
{
    (void)state;
    struct scenario s;
    struct gate gate = {.to = 2, .type = FRAME_REPLICA_PUT, .fate = FATE_HOLD};
    begin(&s, 3, BUG_NONE);
    sim_net_set_judge(s.cluster->net, guard, &gate);
    put(&s, 0, "f", "one");
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    delete_at_all(&s, 0, "f");
    for (uint32_t i = 0; i < 200 && stats_of(&s, 2).reap_prepared < 2; i++)
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
    assert_true(stats_of(&s, 2).reap_prepared >= 2); /* the object and the entry */
    sim_cluster_run(s.cluster, LIFE_US);
    assert_true(sim_net_release_held(s.cluster->net) > 0);
    sim_cluster_run(s.cluster, LIFE_US);
    assert_true(stats_of(&s, 2).reap_cancelled > 0);
    assert_int_equal(holders(&s, "f"), 3);
    assert_true(await_holders(&s, "f", 0, REAPED_US));
    assert_false(lives(&s, 1, "f"));
    scenario_end(&s);
}

/* Node 2 compares trees with node 0, and what it is told of the file waits in the network. */
static bool comes_back_from_an_exchange(enum engine_bug bug)
{
    struct scenario s;
    struct engine_config engine = quick(bug);
    uint32_t held = 0;
    engine.request_timeout_us = 120 * (uint64_t)SIM_SECOND; /* the exchange waits for its answer */
    engine.message_life_us = 5 * LIFE_US;
    scenario_begin_with(&s, 3, 3, 2, 2, &engine);
    sim_net_set_judge(s.cluster->net, hold_the_exchange, &held);
    put(&s, 0, "f", ""); /* bytes, nobody would have any more */
    for (uint32_t i = 0; i < 200 && held == 0; i++)
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
    assert_true(held > 0);
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    sim_cluster_run(s.cluster, 2 * (uint64_t)SIM_SECOND); /* what is young is left alone */
    delete_at_all(&s, 0, "f");
    assert_true(await_holders(&s, "f", 0, 3 * REAPED_US));
    assert_true(sim_net_release_held(s.cluster->net) > 0);
    sim_cluster_run(s.cluster, SIM_SECOND / 2);
    bool back = lives(&s, 1, "f");
    scenario_end(&s);
    return back;
}

static void test_a_paused_exchange_brings_nothing_back(void **state)
{
    (void)state;
    assert_false(comes_back_from_an_exchange(BUG_NONE));
    assert_true(comes_back_from_an_exchange(BUG_EARLY_REAP));
}

static enum sim_fate no_drop_at_2(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                  struct slice body)
{
    struct reap_request m;
    (void)arg;
    (void)from;
    if (to != 2 || type != FRAME_REAP || reap_request_decode(body, &m) != DYN_OK)
        return FATE_CHANCE;
    bool drops = m.step == REAP_DROP && m.n > 0 && m.items[0].kind == ROW_OBJECT;
    reap_request_release(&m);
    return drops ? FATE_DROP : FATE_CHANCE;
}

/* Nodes 0 and 1 have let go, node 2 has not heard of it: the tombstone does not come back to them,
 * nor stay for ever. */
static void test_what_is_half_reaped_is_not_brought_back(void **state)
{
    (void)state;
    struct scenario s;
    uint32_t leader[3];
    char key[32];
    begin(&s, 3, BUG_NONE);
    for (uint32_t i = 0;; i++) { /* led by another than node 2 */
        snprintf(key, sizeof(key), "f%u", i);
        sim_cluster_replicas(s.cluster, slice_str(key), 3, leader);
        if (leader[0] != 2)
            break;
    }
    put(&s, 0, key, "one");
    sim_net_set_judge(s.cluster->net, no_drop_at_2, NULL);
    delete_at_all(&s, 0, key);
    assert_true(await_holders(&s, key, 1, REAPED_US));
    assert_true(has_row(&s, 2, key, false));
    for (uint32_t i = 0; i < 100; i++) { /* three exchanges of each pair */
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
        assert_false(has_row(&s, 0, key, false) || has_row(&s, 1, key, false));
    }
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    assert_true(await_holders(&s, key, 0, 60 * (uint64_t)SIM_SECOND));
    assert_false(lives(&s, 0, key));
    scenario_end(&s);
}

/* A key whose object lies on nodes 0 to 2 and whose entry on nodes 3 to 5. */
static void key_and_entry_apart(struct scenario *s, char dir[32], char key[32])
{
    scenario_key(s, (uint32_t[]){3, 4, 5}, 3, "", dir);
    for (uint32_t i = 0; i < 10000; i++) {
        uint32_t nodes[3];
        snprintf(key, 32, "%s/e%u", dir, i);
        sim_cluster_replicas(s->cluster, slice_str(key), 3, nodes);
        if (nodes[0] < 3 && nodes[1] < 3 && nodes[2] < 3)
            return;
    }
    fail_msg("no such key");
}

static enum sim_fate no_entry_drop_at_3(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                        struct slice body)
{
    struct reap_request m;
    (void)arg;
    (void)from;
    if (to != 3 || type != FRAME_REAP || reap_request_decode(body, &m) != DYN_OK)
        return FATE_CHANCE;
    bool drops = m.step == REAP_DROP;
    reap_request_release(&m);
    return drops ? FATE_DROP : FATE_CHANCE;
}

/* E18: once the object is reaped nothing would remove an entry that is left. */
static void test_an_object_goes_after_all_copies_of_its_entry(void **state)
{
    (void)state;
    struct scenario s;
    char dir[32], key[32];
    begin(&s, 6, BUG_NONE);
    key_and_entry_apart(&s, dir, key);
    put(&s, 0, key, "one");
    sim_net_set_judge(s.cluster->net, no_entry_drop_at_3, NULL);
    delete_at_all(&s, 0, key);
    for (uint32_t i = 0; i < 200 && has_row(&s, 4, key, true); i++)
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
    assert_false(has_row(&s, 4, key, true));
    sim_cluster_run(s.cluster, REAPED_US);
    assert_true(has_row(&s, 3, key, true));
    for (uint32_t i = 0; i < 3; i++)
        assert_true(has_row(&s, i, key, false));
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    assert_true(await_holders(&s, key, 0, 3 * REAPED_US));
    scenario_end(&s);
}

/* E18: the first projection is stuck in a socket until all is reaped. Says whether a listing shows
 * the file then, and again when the scrub has been round. */
static void ghost(enum engine_bug bug, bool *listed, bool *listed_later)
{
    struct scenario s;
    struct answer a = {0};
    struct gate gate = {.to = 3, .type = FRAME_REPLICA_PUT, .fate = FATE_HOLD};
    struct engine_config engine = quick(bug);
    char dir[32], key[32];
    engine.scrub_us = 10 * (uint64_t)SIM_SECOND;
    engine.owed_delay_us = SIM_SECOND;
    engine.message_life_us = 5 * LIFE_US;
    scenario_begin_with(&s, 6, 3, 2, 2, &engine);
    key_and_entry_apart(&s, dir, key);
    sim_net_set_judge(s.cluster->net, guard, &gate);
    put(&s, 0, key, "one");
    assert_true(gate.met > 0);
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    delete_at_all(&s, 0, key);
    assert_true(await_holders(&s, key, 0, 3 * REAPED_US));
    assert_true(sim_net_release_held(s.cluster->net) > 0);
    sim_cluster_run(s.cluster, SIM_SECOND / 2);
    s.opt.r = 3;
    scenario_list(&s, 3, dir, 100, &a);
    assert_int_equal(a.status, DYN_OK);
    *listed = strstr((const char *)a.listing.data, strrchr(key, '/') + 1) != NULL;
    sim_cluster_run(s.cluster, 60 * (uint64_t)SIM_SECOND);
    scenario_list(&s, 3, dir, 100, &a);
    *listed_later = strstr((const char *)a.listing.data, strrchr(key, '/') + 1) != NULL;
    answer_release(&a);
    scenario_end(&s);
}

static void test_no_entry_outlives_what_it_is_about(void **state)
{
    (void)state;
    bool listed, later;
    ghost(BUG_NONE, &listed, &later);
    assert_false(listed || later);
    ghost(BUG_EARLY_REAP, &listed, &later);
    assert_true(listed);
    assert_false(later); /* all N call the object absent, so the scrub drops the entry */
}

static void test_a_node_that_restarts_waits_anew(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s, 3, BUG_NONE);
    put(&s, 0, "f", "one");
    delete_at_all(&s, 0, "f");
    sim_cluster_run(s.cluster, LIFE_US);
    assert_true(stats_of(&s, 1).reap_prepared > 0);
    sim_node_crash(&s.cluster->nodes[1], CRASH_KILL);
    sim_node_start(&s.cluster->nodes[1]);
    sim_cluster_run(s.cluster, LIFE_US);
    assert_int_equal(holders(&s, "f"), 3);
    assert_true(await_holders(&s, "f", 0, 2 * REAPED_US));
    scenario_end(&s);
}

/* The delete is on the coordinator's disk, and in node 2's page cache when that votes. Then the
 * power goes. */
static bool comes_back_from_a_lost_cache(enum engine_bug bug)
{
    struct scenario s;
    begin(&s, 3, bug);
    s.opt.durability = DURABILITY_QUORUM;
    s.opt.w = 3;
    put(&s, 0, "f", "one");
    s.opt.durability = DURABILITY_ONE;
    delete_at_all(&s, 0, "f");
    assert_true(await_holders(&s, "f", 0, 3 * REAPED_US));
    struct store_memory_image *synced = sim_disk_backup(s.cluster->nodes[2].disk);
    sim_node_crash(&s.cluster->nodes[2], CRASH_POWER);
    sim_disk_restore(s.cluster->nodes[2].disk, synced); /* of what was not, nothing at all */
    sim_node_start(&s.cluster->nodes[2]);
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
    bool back = lives(&s, 1, "f");
    scenario_end(&s);
    return back;
}

static void test_a_vote_stands_on_the_disk(void **state)
{
    (void)state;
    assert_false(comes_back_from_a_lost_cache(BUG_NONE));
    assert_true(comes_back_from_a_lost_cache(BUG_UNSYNCED_VOTE));
}

/* One node is gone for good: nothing is reaped, until it is removed (E25). */
static void test_a_dead_node_stops_reaping_until_it_is_removed(void **state)
{
    (void)state;
    struct scenario s;
    char key[32];
    begin(&s, 4, BUG_NONE);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    put(&s, 0, key, "one");
    delete_at_all(&s, 0, key);
    sim_node_crash(&s.cluster->nodes[3], CRASH_KILL);
    sim_cluster_run(s.cluster, 3 * REAPED_US);
    assert_true(holders(&s, key) >= 3);
    struct member_event remove = {.type = MEMBER_REMOVE, .node = s.cluster->nodes[3].id};
    scenario_change(&s, 0, &remove);
    bool gone = false;
    for (uint32_t i = 0; i < 300 && !gone; i++) {
        sim_cluster_run(s.cluster, SIM_SECOND / 5);
        gone = true;
        for (uint32_t k = 0; k < 3; k++)
            gone &= !has_row(&s, k, key, false) && !has_row(&s, k, key, true);
    }
    assert_true(gone);
    scenario_end(&s);
}

/* It may lack what it has acknowledged, and nobody has that: what is left is all there is. */
static void test_the_only_member_reaps_after_a_loss_of_power(void **state)
{
    (void)state;
    struct scenario s;
    const struct engine_config engine = quick(BUG_NONE);
    scenario_begin_with(&s, 1, 1, 1, 1, &engine);
    s.opt.durability = DURABILITY_QUORUM;
    put(&s, 0, "f", "one");
    delete_at_all(&s, 0, "f");
    s.opt.durability = DURABILITY_BUFFERED;
    put(&s, 0, "tail", "one");
    sim_node_crash(&s.cluster->nodes[0], CRASH_TAIL);
    sim_node_start(&s.cluster->nodes[0]);
    sim_cluster_run(s.cluster, SIM_SECOND / 10);
    assert_int_equal(holders(&s, "f"), 1);
    assert_int_equal(holders(&s, "tail"), 0);
    assert_true(await_holders(&s, "f", 0, REAPED_US));
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_delete_leaves_nothing_behind),
        cmocka_unit_test(test_what_lives_is_never_reaped),
        cmocka_unit_test(test_a_hint_on_a_node_that_is_away_brings_nothing_back),
        cmocka_unit_test(test_an_old_put_in_a_stalled_socket_brings_nothing_back),
        cmocka_unit_test(test_an_old_put_in_a_stalled_socket_does_not_come_back_beside_a_new_one),
        cmocka_unit_test(test_whatever_comes_to_a_prepared_tombstone_begins_its_wait_again),
        cmocka_unit_test(test_a_paused_exchange_brings_nothing_back),
        cmocka_unit_test(test_what_is_half_reaped_is_not_brought_back),
        cmocka_unit_test(test_an_object_goes_after_all_copies_of_its_entry),
        cmocka_unit_test(test_no_entry_outlives_what_it_is_about),
        cmocka_unit_test(test_a_node_that_restarts_waits_anew),
        cmocka_unit_test(test_a_vote_stands_on_the_disk),
        cmocka_unit_test(test_a_dead_node_stops_reaping_until_it_is_removed),
        cmocka_unit_test(test_the_only_member_reaps_after_a_loss_of_power),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
