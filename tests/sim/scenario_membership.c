/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on changes of membership: moves are fenced (E10), hints find the owners of now (E12),
 * who fills has no vote (E13), one configuration has one successor (E14). */
#include <string.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node_that_joins_gets_its_share),
        cmocka_unit_test(test_a_node_that_leaves_hands_everything_over),
        cmocka_unit_test(test_a_lost_disk_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
