/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on thin versions that are old, and no clock says so (engine/thin/superseded.h). */
#include "thin_played.h"

/* A thin version is superseded while its replica is away, and what covered it is cut from the
 * clock (E4). The replica comes back and names it, and no node has the value any more: nobody is
 * kept from reading what superseded it, and the version goes, by an exchange or by the read. */
static void play_superseded_unseen(bool by_exchange)
{
    struct scenario s;
    struct engine_config engine = thin_config();
    struct answer a = {0};
    const char *key = "d/f0";
    uint32_t nodes[SIM_NODES_MAX];
    engine.clock_pairs = 1;
    engine.clock_age_ms = 0;
    if (!by_exchange)
        engine.exchange_us = 0;
    scenario_begin_with(&s, 3, 3, 2, 2, &engine);
    sim_cluster_replicas(s.cluster, slice_str(key), 3, nodes);
    put(&s, nodes[2], key, "one");
    set_n(&s, 0, "d", 1);
    assert_true(await_values(&s, key, 1, 0));
    struct gate missed = {.to = nodes[2], .type = FRAME_REPLICA_PUT, .fate = FATE_DROP};
    sim_net_set_judge(s.cluster->net, guard, &missed);
    s.opt.durability = DURABILITY_QUORUM;
    put(&s, nodes[0], key, "two");
    put(&s, nodes[0], key, "three"); /* nobody has been missed yet: the clock is cut */
    sim_node_crash(&s.cluster->nodes[nodes[0]], CRASH_POWER); /* before it made a hint of it */
    sim_node_start(&s.cluster->nodes[nodes[0]]);
    struct gate none = {.to = UINT32_MAX};
    sim_net_set_judge(s.cluster->net, guard, &none);
    sim_cluster_run(s.cluster, (by_exchange ? 60 : 5) * (uint64_t)SIM_SECOND);
    s.opt.r = 3;
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 3; i++) {
            scenario_get(&s, nodes[i], key, &a);
            assert_int_equal(a.status, DYN_OK);
            assert_int_equal(answer_live(&a), 1);
            assert_true(answer_has(&a, "three"));
        }
        set_n(&s, 0, "d", 0); /* nobody is thin any more: the version is named by none */
        assert_true(await_values(&s, key, 1, 1));
    }
    answer_release(&a);
    scenario_end(&s);
}

static void test_a_thin_version_that_was_superseded_unseen_goes(void **state)
{
    (void)state;
    play_superseded_unseen(true);
    play_superseded_unseen(false);
}

struct written {
    bool over;
    int err;
};

static void written(struct replica_write *w, int err)
{
    *(struct written *)w->arg = (struct written){true, err};
}

/* All owners have said that they have no such value; before that is written down it comes. Whoever
 * brought it counts on it from then on. */
static void test_a_value_that_nobody_had_and_that_came_meanwhile_is_not_given_up(void **state)
{
    (void)state;
    struct scenario s;
    const struct engine_config engine = thin_config();
    struct answer a = {0};
    struct object nothing = OBJECT_EMPTY;
    struct written done = {0};
    const char *key = "d/f0";
    uint32_t nodes[SIM_NODES_MAX];
    scenario_begin_with(&s, 3, 3, 2, 2, &engine);
    sim_cluster_replicas(s.cluster, slice_str(key), 3, nodes);
    put(&s, 0, key, "one");
    sim_cluster_run(s.cluster, SIM_SECOND);
    scenario_get(&s, 0, key, &a);
    struct dot dot = a.object.siblings[0].value_dot;
    struct engine *e = s.cluster->nodes[nodes[2]].engine;
    struct replica_write w = {.e = e,
                              .key = slice_str(key),
                              .roles = ROLE_OBJECT,
                              .incoming = &nothing,
                              .thin = &dot,
                              .n_thin = 1,
                              .generation = e->generation,
                              .done = written,
                              .arg = &done};
    replica_write_start(&w);
    for (uint32_t i = 0; i < 100 && !done.over; i++)
        sim_cluster_run(s.cluster, SIM_SECOND / 100);
    assert_true(done.over);
    assert_int_equal(done.err, DYN_OK);
    assert_int_equal(values(&s, nodes[2], key), 1);
    assert_int_equal(rows(&s, nodes[2], STORE_HINT, slice_str("n")), 0);
    replica_write_release(&w);
    answer_release(&a);
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_thin_version_that_was_superseded_unseen_goes),
        cmocka_unit_test(test_a_value_that_nobody_had_and_that_came_meanwhile_is_not_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
