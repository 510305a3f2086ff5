/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on which versions a write removes: only what its author was shown (E5), only the one it
 * named (E6), and of two equal ones never both (E7). */
#include "scenario.h"

/* C is behind; what C shows, and no more, is what a reader at C supersedes. */
static void test_a_context_covers_no_more_than_the_bytes_it_came_with(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, old = {0}, seen = {0};
    scenario_begin(&s, 3, 3, 1, 2);
    s.opt.w = 3;
    scenario_put(&s, 0, "k", "one", NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    s.opt.w = 2;
    struct buf context = context_whole(&put);
    scenario_isolate(&s, 2, true);
    scenario_put(&s, 0, "k", "two", &context, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    scenario_get(&s, 2, "k", &old);
    assert_int_equal(old.status, DYN_OK);
    assert_true(answer_has(&old, "one"));
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND); /* until they talk again */
    buf_release(&context);
    context = context_whole(&old);
    scenario_put(&s, 0, "k", "three", &context, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    s.opt.r = 3;
    scenario_get(&s, 1, "k", &seen);
    assert_int_equal(answer_live(&seen), 2);
    assert_true(answer_has(&seen, "two") && answer_has(&seen, "three"));
    buf_release(&context);
    answer_release(&put);
    answer_release(&old);
    answer_release(&seen);
    scenario_end(&s);
}

static enum sim_fate drop_replica_puts(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                       struct slice body)
{
    (void)body;
    const uint32_t *deaf = arg;
    (void)from;
    return type == FRAME_REPLICA_PUT && to == *deaf ? FATE_DROP : FATE_CHANCE;
}

/* The coordinator of the removal has seen neither of the two siblings. */
static void test_dropping_one_sibling_leaves_the_other_that_the_coordinator_lacks(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, seen = {0};
    uint32_t deaf = 2;
    scenario_begin(&s, 3, 3, 2, 2);
    sim_net_set_judge(s.cluster->net, drop_replica_puts, &deaf);
    scenario_put(&s, 0, "k", "keep", NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    scenario_put(&s, 0, "k", "drop", NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    assert_int_equal(answer_live(&put), 2);
    struct buf context = context_of_value(&put, "drop");
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    scenario_put(&s, 2, "k", NULL, &context, PUT_DROP_ONLY, &put);
    assert_int_equal(put.status, DYN_OK);
    scenario_settle(&s);
    s.opt.r = 3;
    for (uint32_t i = 0; i < 3; i++) {
        scenario_get(&s, i, "k", &seen);
        assert_int_equal(answer_live(&seen), 1);
        assert_true(answer_has(&seen, "keep"));
    }
    buf_release(&context);
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

/* A retry at a second node that did not hear of the first. */
static void test_one_write_taken_by_two_nodes_stays_once(void **state)
{
    (void)state;
    struct scenario s;
    struct answer first = {0}, second = {0}, third = {0}, seen = {0};
    scenario_begin(&s, 3, 3, 1, 1);
    for (uint32_t i = 0; i < 3; i++)
        scenario_isolate(&s, i, true);
    struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(&s, "k", "same")};
    scenario_send(&s, VIA_KV, 0, &q, &first);
    scenario_send(&s, VIA_KV, 1, &q, &second);
    assert_int_equal(first.status, DYN_OK);
    assert_int_equal(second.status, DYN_OK);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    s.opt.r = 3;
    for (uint32_t i = 0; i < 3; i++) {
        scenario_get(&s, i, "k", &seen);
        assert_int_equal(seen.status, DYN_OK);
        assert_int_equal(answer_live(&seen), 1);
        assert_true(answer_has(&seen, "same"));
    }
    scenario_send(&s, VIA_KV, 0, &q, &third); /* and the answer to a repeat is the one it had */
    assert_int_equal(third.status, DYN_OK);
    scenario_get(&s, 0, "k", &seen);
    assert_int_equal(answer_live(&seen), 1);
    answer_release(&first);
    answer_release(&second);
    answer_release(&third);
    answer_release(&seen);
    scenario_end(&s);
}

/* Equal bytes of two authors, then each coordinator takes the same bytes once more, seeing both. */
static void test_equal_bytes_of_two_authors_never_remove_each_other(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, seen = {0};
    scenario_begin(&s, 2, 2, 1, 1);
    for (uint32_t round = 0; round < 3; round++) {
        scenario_cut(&s, 0, 1, true);
        scenario_put(&s, 0, "k", "same", NULL, 0, &put);
        assert_int_equal(put.status, DYN_OK);
        scenario_put(&s, 1, "k", "same", NULL, 0, &put);
        assert_int_equal(put.status, DYN_OK);
        scenario_cut(&s, 0, 1, false);
        sim_cluster_run(s.cluster, 10 * (uint64_t)SIM_SECOND);
        scenario_put(&s, round % 2, "k", "same", NULL, 0, &put);
        assert_int_equal(put.status, DYN_OK);
        scenario_settle(&s);
        s.opt.r = 2;
        scenario_get(&s, 0, "k", &seen);
        assert_int_equal(answer_live(&seen), 1);
        s.opt.r = 1;
    }
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

/* The first node did not know the version that the write replaces, the second does. */
static void test_a_repeat_removes_what_its_first_attempt_did_not_find(void **state)
{
    (void)state;
    struct scenario s;
    struct answer old = {0}, put = {0}, seen = {0};
    uint32_t deaf = 0;
    scenario_begin(&s, 2, 2, 1, 1);
    sim_net_set_judge(s.cluster->net, drop_replica_puts, &deaf);
    scenario_put(&s, 1, "k", "old", NULL, 0, &old);
    assert_int_equal(old.status, DYN_OK);
    struct buf context = context_of_value(&old, "old");
    struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(&s, "k", "new")};
    const struct slice named = buf_slice(&context);
    q.put.contexts = &named;
    q.put.n_contexts = 1;
    scenario_isolate(&s, 0, true);
    scenario_send(&s, VIA_KV, 0, &q, &put); /* cannot remove what it does not know */
    assert_int_equal(put.status, DYN_OK);
    sim_net_set_judge(s.cluster->net, NULL, NULL);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    s.opt.r = 2;
    scenario_get(&s, 1, "k", &seen);
    assert_int_equal(answer_live(&seen), 2);
    scenario_send(&s, VIA_KV, 1, &q, &put);
    assert_int_equal(put.status, DYN_OK);
    scenario_get(&s, 0, "k", &seen);
    assert_int_equal(answer_live(&seen), 1);
    assert_true(answer_has(&seen, "new"));
    buf_release(&context);
    answer_release(&old);
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_context_covers_no_more_than_the_bytes_it_came_with),
        cmocka_unit_test(test_dropping_one_sibling_leaves_the_other_that_the_coordinator_lacks),
        cmocka_unit_test(test_one_write_taken_by_two_nodes_stays_once),
        cmocka_unit_test(test_equal_bytes_of_two_authors_never_remove_each_other),
        cmocka_unit_test(test_a_repeat_removes_what_its_first_attempt_did_not_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
