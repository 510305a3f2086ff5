/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on changes of membership: moves are fenced (E10), hints find the owners of now (E12),
 * who fills has no vote (E13), one configuration has one successor (E14). */
#include <string.h>

#include "engine/membership/commit.h"
#include "scenario.h"

#define KEYS 200u

static void nth_key(uint32_t i, char out[32])
{
    snprintf(out, 32, "k%u", i);
}

static void write_keys(struct scenario *s, uint32_t node, const char *value)
{
    char key[32];
    for (uint32_t i = 0; i < KEYS; i++) {
        struct answer a = {0};
        nth_key(i, key);
        scenario_put(s, node, key, value, NULL, PUT_CURRENT, &a);
        assert_int_equal(a.status, DYN_OK);
        answer_release(&a);
    }
}

/* Every key reads as this, at R, asked at this node. */
static void expect_keys(struct scenario *s, uint32_t node, const char *value)
{
    char key[32];
    for (uint32_t i = 0; i < KEYS; i++) {
        struct answer a = {0};
        nth_key(i, key);
        scenario_get(s, node, key, &a);
        assert_int_equal(a.status, DYN_OK);
        assert_true(answer_has(&a, value));
        assert_int_equal(answer_live(&a), 1);
        answer_release(&a);
    }
}

static void begin(struct scenario *s, uint32_t nodes, uint32_t members)
{
    struct engine_config engine;
    engine_config_defaults(&engine);
    scenario_begin_members(s, nodes, members, 3, 2, 2, &engine);
}

static void test_a_node_that_joins_gets_its_share(void **state)
{
    (void)state;
    struct scenario s;
    char address[32];
    begin(&s, 4, 3);
    write_keys(&s, 0, "before");
    struct member_event join = sim_join_of(s.cluster, 3, 0, address);
    scenario_change(&s, 0, &join);
    struct ring *ring = sim_cluster_ring(s.cluster);
    assert_int_equal(ring_member_count(ring), 4);
    struct engine_moves moves;
    engine_moves(s.cluster->nodes[3].engine, &moves);
    assert_int_equal(moves.filled_since_start, 12); /* 16 partitions, 3 copies, 4 nodes */
    /* strict reads of all N: what the new one has is what there is */
    s.opt.r = 3;
    expect_keys(&s, 3, "before");
    engine_moves(s.cluster->nodes[3].engine, &moves);
    write_keys(&s, 3, "after");
    expect_keys(&s, 1, "after");
    scenario_end(&s);
}

static void test_a_node_that_leaves_hands_everything_over(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s, 4, 4);
    write_keys(&s, 0, "before");
    struct member_event leave = {.type = MEMBER_LEAVE, .node = s.cluster->nodes[1].id};
    scenario_change(&s, 0, &leave);
    sim_node_crash(&s.cluster->nodes[1], CRASH_KILL);
    s.opt.r = 3;
    expect_keys(&s, 0, "before");
    scenario_end(&s);
}

static void test_a_lost_disk_is_replaced(void **state)
{
    (void)state;
    struct scenario s;
    char address[32];
    begin(&s, 4, 3);
    write_keys(&s, 0, "before");
    sim_node_crash(&s.cluster->nodes[1], CRASH_KILL);
    struct member_event join = sim_join_of(s.cluster, 3, s.cluster->nodes[1].id, address);
    scenario_change(&s, 0, &join);
    s.opt.r = 3;
    expect_keys(&s, 3, "before");
    scenario_end(&s);
}

static enum sim_fate no_gossip(void *arg, uint32_t from, uint32_t to, uint8_t type,
                               struct slice body)
{
    (void)arg;
    (void)from;
    (void)to;
    (void)body;
    return type == FRAME_GOSSIP ? FATE_DROP : FATE_CHANCE;
}

static bool lists(const struct ring *ring, uint32_t p, uint64_t node)
{
    uint64_t nodes[3];
    ring_preference_list(ring, p, 3, nodes, 3);
    return nodes[0] == node || nodes[1] == node || nodes[2] == node;
}

/* A key that node 0 owns by the old ring and not by the new one; 1 and 2 by both. */
static void moved_key(struct scenario *s, const struct ring *old, const struct ring *new,
                      char out[32])
{
    const struct sim_node *n = s->cluster->nodes;
    for (uint32_t i = 0; i < 10000; i++) {
        snprintf(out, 32, "m%u", i);
        uint32_t p = ring_partition_of(old, slice_str(out));
        if (lists(old, p, n[0].id) && lists(old, p, n[1].id) && lists(old, p, n[2].id) &&
            !lists(new, p, n[0].id) && lists(new, p, n[1].id) && lists(new, p, n[2].id))
            return;
    }
    fail_msg("no such key");
}

/* Node 0 misses that a partition moves away from it, and coordinates a write to its old owners
 * once it is all over. Says whether a reader of the new owners sees the write. */
static bool seen_by_the_new_owners(enum engine_bug bug)
{
    struct scenario s;
    struct engine_config engine;
    struct answer put = {0}, got = {0};
    char address[32], key[32];
    engine_config_defaults(&engine);
    engine.bug = bug;
    scenario_begin_members(&s, 5, 4, 3, 2, 2, &engine);
    struct ring *old = ring_ref(sim_cluster_ring(s.cluster));
    scenario_isolate(&s, 0, true);
    struct member_event join = sim_join_of(s.cluster, 4, 0, address);
    assert_true(sim_cluster_change(s.cluster, 1, &join, NULL, NULL));
    for (uint32_t i = 0; i < 900; i++) {
        const struct ring *now = engine_ring(s.cluster->nodes[1].engine);
        if (now != old && ring_member_count(now) == 5 && ring_moving(now) == 0)
            break;
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
    }
    const struct ring *new = engine_ring(s.cluster->nodes[1].engine);
    assert_int_equal(ring_member_count(new), 5);
    assert_int_equal(ring_moving(new), 0);
    assert_int_equal(ring_member_count(engine_ring(s.cluster->nodes[0].engine)), 4);
    moved_key(&s, old, new, key);
    sim_net_set_judge(s.cluster->net, no_gossip, NULL);
    scenario_cut(&s, 0, 1, false);
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND); /* probes find each other */
    scenario_put(&s, 0, key, "late", NULL, 0, &put);
    bool acknowledged = put.status == DYN_OK;
    scenario_isolate(&s, 1, true);
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    scenario_get(&s, 2, key, &got);
    assert_int_equal(got.status, DYN_OK);
    bool seen = answer_has(&got, "late");
    answer_release(&put);
    answer_release(&got);
    ring_unref(old);
    scenario_end(&s);
    return seen || !acknowledged;
}

static void test_a_write_by_the_old_ring_is_not_lost(void **state)
{
    (void)state;
    assert_true(seen_by_the_new_owners(BUG_NONE));
    assert_false(seen_by_the_new_owners(BUG_UNFENCED_MOVE)); /* so the fence it is that saves it */
}

static enum sim_fate no_ranges(void *arg, uint32_t from, uint32_t to, uint8_t type,
                               struct slice body)
{
    (void)arg;
    (void)from;
    (void)to;
    (void)body;
    return type == FRAME_RANGE_LIST || type == FRAME_RANGE_FETCH ? FATE_DROP : FATE_CHANCE;
}

static void test_who_fills_has_no_vote_and_must_be_written_to(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    char address[32], key[32];
    begin(&s, 5, 4);
    struct ring *old = ring_ref(sim_cluster_ring(s.cluster));
    sim_net_set_judge(s.cluster->net, no_ranges, NULL); /* so it goes on filling */
    struct member_event join = sim_join_of(s.cluster, 4, 0, address);
    assert_true(sim_cluster_change(s.cluster, 1, &join, NULL, NULL));
    sim_cluster_run(s.cluster, 20 * (uint64_t)SIM_SECOND);
    struct ring *now = sim_cluster_ring(s.cluster);
    assert_true(ring_moving(now) > 0);
    /* a key that moves from node 0 to node 4 */
    const struct sim_node *n = s.cluster->nodes;
    for (uint32_t i = 0;; i++) {
        assert_true(i < 10000);
        snprintf(key, sizeof(key), "w%u", i);
        uint32_t p = ring_partition_of(now, slice_str(key));
        const struct move *mv = ring_move(now, p);
        if (mv != NULL && move_is_filling(mv, n[4].id) && lists(old, p, n[0].id) &&
            lists(old, p, n[1].id) && lists(old, p, n[2].id))
            break;
    }
    scenario_put(&s, 0, key, "one", NULL, PUT_CURRENT, &a);
    assert_int_equal(a.status, DYN_OK);
    scenario_isolate(&s, 1, true);
    scenario_isolate(&s, 2, true);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    scenario_get(&s, 0, key, &a); /* of the old row node 0 alone is left; node 4 has the write */
    assert_int_equal(a.status, DYN_ERR_NO_QUORUM);
    scenario_isolate(&s, 1, false);
    scenario_isolate(&s, 2, true);
    scenario_isolate(&s, 4, true);
    sim_cluster_run(s.cluster, 3 * (uint64_t)SIM_SECOND);
    scenario_put(&s, 0, key, "two", NULL, PUT_CURRENT, &a); /* W of the old row, not of the new */
    assert_int_equal(a.status, DYN_ERR_NO_QUORUM);
    answer_release(&a);
    ring_unref(old);
    scenario_end(&s);
}

static void remember(void *arg, int err)
{
    *(int *)arg = err;
}

static void test_of_two_sides_of_a_split_one_changes_the_membership(void **state)
{
    (void)state;
    struct scenario s;
    int small = 1, large = 1;
    begin(&s, 5, 5);
    for (uint32_t a = 0; a < 2; a++)
        for (uint32_t b = 2; b < 5; b++)
            scenario_cut(&s, a, b, true);
    const struct member_event heavy = {
        .type = MEMBER_WEIGHT, .node = s.cluster->nodes[0].id, .weight = 300};
    const struct member_event light = {
        .type = MEMBER_WEIGHT, .node = s.cluster->nodes[4].id, .weight = 30};
    assert_true(sim_cluster_change(s.cluster, 0, &heavy, remember, &small));
    assert_true(sim_cluster_change(s.cluster, 4, &light, remember, &large));
    sim_cluster_run(s.cluster, 15 * (uint64_t)SIM_SECOND);
    assert_int_equal(small, DYN_ERR_NO_QUORUM);
    assert_int_equal(large, DYN_OK);
    sim_net_heal(s.cluster->net);
    for (uint32_t i = 0; i < 900 && !sim_cluster_agrees(s.cluster); i++)
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
    sim_cluster_run(s.cluster,
                    20 * (uint64_t)SIM_SECOND); /* what was left half chosen is dropped */
    assert_true(sim_cluster_agrees(s.cluster));
    struct ring *ring = sim_cluster_ring(s.cluster);
    assert_int_equal(ring_member_find(ring, s.cluster->nodes[4].id)->weight, 30);
    assert_int_equal(ring_member_find(ring, s.cluster->nodes[0].id)->weight, 100);
    scenario_end(&s);
}

static void test_a_hint_for_a_node_that_was_replaced_goes_to_its_heir(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0};
    char address[32], key[32];
    uint64_t hints = 1, owed = 1;
    begin(&s, 5, 4);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    s.opt.sloppy = SLOPPY_YES;
    sim_node_crash(&s.cluster->nodes[0], CRASH_KILL);
    scenario_put(&s, 1, key, "kept", NULL, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    sim_cluster_run(s.cluster, 2 * (uint64_t)SIM_SECOND);
    sim_cluster_debts(s.cluster, &hints, &owed);
    assert_true(hints > 0);
    struct member_event join = sim_join_of(s.cluster, 4, s.cluster->nodes[0].id, address);
    scenario_change(&s, 1, &join);
    for (uint32_t i = 0; i < 100 && hints > 0; i++) {
        sim_cluster_run(s.cluster, SIM_SECOND);
        sim_cluster_debts(s.cluster, &hints, &owed);
    }
    assert_int_equal(hints, 0);
    s.opt.sloppy = SLOPPY_NO;
    s.opt.r = 3;
    scenario_get(&s, 4, key, &a);
    assert_int_equal(a.status, DYN_OK);
    assert_true(answer_has(&a, "kept"));
    answer_release(&a);
    scenario_end(&s);
}

/* What the administrator forces at this node; the status at its end, 1 if there is none. */
static int force(struct scenario *s, uint32_t node, const struct member_event *part)
{
    struct engine *e = s->cluster->nodes[node].engine;
    struct plan plan = PLAN_EMPTY;
    struct plan_outcome outcome;
    const char *rule = NULL;
    int err = 1;
    assert_int_equal(plan_stage(&plan, e->ring, part, &rule), DYN_OK);
    assert_int_equal(plan_outcome(&plan, e->ring, e->cfg.node, &outcome), DYN_OK);
    assert_false(outcome.impossible);
    commit_force(e->commit, &outcome.change, remember, &err);
    for (uint32_t i = 0; i < 200 && err == 1; i++)
        sim_cluster_run(s->cluster, SIM_SECOND / 10);
    plan_outcome_release(&outcome);
    plan_release(&plan);
    return err;
}

static void test_one_of_two_is_lost_for_good(void **state)
{
    (void)state;
    struct scenario s;
    struct engine_config engine;
    char address[32];
    int err = 1;
    engine_config_defaults(&engine);
    scenario_begin_members(&s, 3, 2, 2, 1, 2, &engine);
    write_keys(&s, 0, "before");
    uint64_t lost = s.cluster->nodes[1].id;
    struct member_event join = sim_join_of(s.cluster, 2, lost, address);
    /* it is there: whoever is wrong about that must not split the cluster */
    assert_int_equal(force(&s, 0, &join), DYN_ERR_EXISTS);
    sim_node_lose(&s.cluster->nodes[1]);
    assert_true(sim_cluster_change(s.cluster, 0, &join, remember, &err));
    sim_cluster_run(s.cluster, 15 * (uint64_t)SIM_SECOND);
    assert_int_equal(err, DYN_ERR_NO_QUORUM);
    assert_int_equal(force(&s, 0, &join), DYN_OK);
    for (uint32_t i = 0; i < 600 && !sim_cluster_agrees(s.cluster); i++)
        sim_cluster_run(s.cluster, SIM_SECOND / 10);
    assert_true(sim_cluster_agrees(s.cluster));
    assert_true(ring_banned(sim_cluster_ring(s.cluster), lost));
    s.opt.r = 2;
    expect_keys(&s, 2, "before");
    write_keys(&s, 2, "after");
    expect_keys(&s, 0, "after");
    scenario_end(&s);
}

static void test_where_a_majority_is_left_nothing_is_forced(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s, 4, 4);
    sim_node_lose(&s.cluster->nodes[3]);
    const struct member_event remove = {.type = MEMBER_REMOVE, .node = s.cluster->nodes[3].id};
    assert_int_equal(force(&s, 0, &remove), DYN_ERR_INVALID);
    scenario_change(&s, 0, &remove);
    scenario_end(&s);
}

/* One that has left hears of a change and cannot write it down. Nobody tells it again, for by what
 * it has heard it knows as much as they do. */
static void test_a_change_that_a_full_disk_refused_is_known_when_there_is_room(void **state)
{
    (void)state;
    struct scenario s;
    begin(&s, 4, 4);
    const struct member_event leave = {.type = MEMBER_LEAVE, .node = s.cluster->nodes[3].id};
    scenario_change(&s, 0, &leave);
    sim_disk_fill(s.cluster->nodes[3].disk, true);
    const struct member_event weight = {
        .type = MEMBER_WEIGHT, .node = s.cluster->nodes[1].id, .weight = 101};
    assert_true(sim_cluster_change(s.cluster, 0, &weight, NULL, NULL));
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
    const struct history_epoch *known = ring_epoch(engine_ring(s.cluster->nodes[0].engine));
    const struct history_epoch *behind = ring_epoch(engine_ring(s.cluster->nodes[3].engine));
    assert_true(known->length > behind->length);
    assert_int_equal(ring_moving(engine_ring(s.cluster->nodes[0].engine)), 0); /* none follows */
    sim_disk_fill(s.cluster->nodes[3].disk, false);
    for (uint32_t i = 0; i < 60 && !sim_cluster_agrees(s.cluster); i++)
        sim_cluster_run(s.cluster, SIM_SECOND);
    assert_true(sim_cluster_agrees(s.cluster));
    scenario_end(&s);
}

/* Of the simulation itself: what nobody who is up knows of still counts. */
static void test_no_second_member_is_lost_while_all_who_know_of_the_first_are_down(void **state)
{
    (void)state;
    struct scenario s;
    char address[32];
    begin(&s, 5, 4);
    const struct member_event join = sim_join_of(s.cluster, 4, 0, address);
    scenario_change(&s, 0, &join);
    assert_true(sim_cluster_may_lose(s.cluster, &s.cluster->nodes[4]));
    sim_node_lose(&s.cluster->nodes[4]);
    for (uint32_t i = 0; i < 4; i++)
        sim_node_crash(&s.cluster->nodes[i], CRASH_KILL);
    assert_false(sim_cluster_may_lose(s.cluster, &s.cluster->nodes[3]));
    for (uint32_t i = 0; i < 4; i++)
        sim_node_start(&s.cluster->nodes[i]);
    sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND);
    const struct member_event remove = {.type = MEMBER_REMOVE, .node = s.cluster->nodes[4].id};
    scenario_change(&s, 0, &remove);
    assert_true(sim_cluster_may_lose(s.cluster, &s.cluster->nodes[3]));
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node_that_joins_gets_its_share),
        cmocka_unit_test(test_a_node_that_leaves_hands_everything_over),
        cmocka_unit_test(test_a_lost_disk_is_replaced),
        cmocka_unit_test(test_a_write_by_the_old_ring_is_not_lost),
        cmocka_unit_test(test_who_fills_has_no_vote_and_must_be_written_to),
        cmocka_unit_test(test_of_two_sides_of_a_split_one_changes_the_membership),
        cmocka_unit_test(test_a_hint_for_a_node_that_was_replaced_goes_to_its_heir),
        cmocka_unit_test(test_one_of_two_is_lost_for_good),
        cmocka_unit_test(test_where_a_majority_is_left_nothing_is_forced),
        cmocka_unit_test(test_a_change_that_a_full_disk_refused_is_known_when_there_is_room),
        cmocka_unit_test(test_no_second_member_is_lost_while_all_who_know_of_the_first_are_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
