/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on what an acknowledgement promises when every machine goes down at once (E20):
 * `quorum` is synced on each node that counts, `one` on one of them, `buffered` survives killed
 * processes and no more; with an object buffer not even those. */
#include "scenario.h"

#define SEEDS 3
#define ROUNDS_EACH 12
#define ROUNDS (SEEDS * ROUNDS_EACH) /* of unsynced batches any beginning may survive: luck ends */

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

/* Until it is acknowledged: who has lost its tail has no vote until it has exchanged (E13), which
 * may take longer than a request waits. */
static void put_in_the_end(struct scenario *s, const char *key, struct answer *a)
{
    for (uint32_t i = 0; i < 20 && (i == 0 || a->status != DYN_OK); i++)
        scenario_put(s, 0, key, "value", NULL, 0, a);
    assert_int_equal(a->status, DYN_OK);
}

/* Writes at node 0, whose disk takes its time; all go down as soon as it is acknowledged. */
static uint32_t survivors_of(uint64_t seed, bool buffer, enum durability durability,
                             uint64_t slow_us, enum sim_crash how)
{
    uint32_t found = 0;
    struct scenario s;
    struct engine_config engine;
    struct answer put = {0}, seen = {0};
    char key[16];
    engine_config_defaults(&engine);
    scenario_begin_seed(&s, seed, 3, 3, 2, 2, &engine);
    s.opt.durability = (uint8_t)durability;
    for (uint32_t i = 0; i < 3; i++)
        sim_disk_buffer(s.cluster->nodes[i].disk, buffer);
    for (uint32_t i = 0; i < ROUNDS_EACH; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        sim_disk_pace(s.cluster->nodes[0].disk, slow_us);
        put_in_the_end(&s, key, &put);
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

static uint32_t survivors_with(bool buffer, enum durability durability, uint64_t slow_us,
                               enum sim_crash how)
{
    uint32_t found = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        found += survivors_of(seed, buffer, durability, slow_us, how);
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
