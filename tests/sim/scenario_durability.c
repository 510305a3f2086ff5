/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on what an acknowledgement promises when every machine goes down at once (E20):
 * `quorum` is synced on each node that counts, `one` on one of them, `buffered` survives killed
 * processes and no more; with an object buffer not even those. */
#include "scenario.h"

#define ROUNDS 12 /* of unsynced batches any beginning may survive: luck runs out */

static void all_crash(struct scenario *s, enum sim_crash how)
{
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++)
        sim_node_crash(&s->cluster->nodes[i], how);
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++)
        sim_disk_pace(s->cluster->nodes[i].disk, 0);
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++)
        sim_node_start(&s->cluster->nodes[i]);
    sim_cluster_run(s->cluster, SIM_SECOND);
}

/* Writes at node 0, whose disk takes its time; all go down as soon as it is acknowledged. */
static uint32_t survivors_with(bool buffer, enum durability durability, uint64_t slow_us,
                               enum sim_crash how)
{
    uint32_t found = 0;
    struct scenario s;
    struct answer put = {0}, seen = {0};
    char key[16];
    scenario_begin(&s, 3, 3, 2, 2);
    s.opt.durability = (uint8_t)durability;
    for (uint32_t i = 0; i < 3; i++)
        sim_disk_buffer(s.cluster->nodes[i].disk, buffer);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        sim_disk_pace(s.cluster->nodes[0].disk, slow_us);
        scenario_put(&s, 0, key, "value", NULL, 0, &put);
        assert_int_equal(put.status, DYN_OK);
        all_crash(&s, how);
        s.opt.r = 3;
        scenario_get(&s, i % 3, key, &seen);
        assert_int_equal(seen.status, DYN_OK);
        found += answer_has(&seen, "value");
    }
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
    return found;
}

static uint32_t survivors(enum durability durability, uint64_t slow_us, enum sim_crash how)
{
    return survivors_with(false, durability, slow_us, how);
}

static void test_quorum_survives_the_loss_of_power_everywhere(void **state)
{
    (void)state;
    assert_int_equal(survivors(DURABILITY_QUORUM, 0, CRASH_POWER), ROUNDS);
    assert_int_equal(survivors(DURABILITY_QUORUM, 50000, CRASH_POWER), ROUNDS);
}

static void test_one_is_synced_somewhere_by_the_time_it_is_acknowledged(void **state)
{
    (void)state;
    assert_int_equal(survivors(DURABILITY_ONE, 0, CRASH_POWER), ROUNDS);
    assert_int_equal(survivors(DURABILITY_ONE, 200000, CRASH_POWER), ROUNDS);
}

static void test_buffered_survives_killed_processes_and_may_be_lost_with_the_power(void **state)
{
    (void)state;
    assert_int_equal(survivors(DURABILITY_BUFFERED, 0, CRASH_KILL), ROUNDS);
    assert_true(survivors(DURABILITY_BUFFERED, 0, CRASH_POWER) < ROUNDS);
}

/* With an object buffer a kill takes what only the power took before, and no more. */
static void test_an_object_buffer_costs_buffered_its_promise_and_the_others_nothing(void **state)
{
    (void)state;
    static const enum sim_crash ways[] = {CRASH_KILL, CRASH_POWER, CRASH_TAIL};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(survivors_with(true, DURABILITY_QUORUM, 0, ways[i]), ROUNDS);
        assert_int_equal(survivors_with(true, DURABILITY_QUORUM, 50000, ways[i]), ROUNDS);
        assert_int_equal(survivors_with(true, DURABILITY_ONE, 0, ways[i]), ROUNDS);
        assert_int_equal(survivors_with(true, DURABILITY_ONE, 200000, ways[i]), ROUNDS);
        assert_true(survivors_with(true, DURABILITY_BUFFERED, 0, ways[i]) < ROUNDS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quorum_survives_the_loss_of_power_everywhere),
        cmocka_unit_test(test_one_is_synced_somewhere_by_the_time_it_is_acknowledged),
        cmocka_unit_test(test_buffered_survives_killed_processes_and_may_be_lost_with_the_power),
        cmocka_unit_test(test_an_object_buffer_costs_buffered_its_promise_and_the_others_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
