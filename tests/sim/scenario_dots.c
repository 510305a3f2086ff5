/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on the identity of writes: no dot is ever given twice, whatever a node forgot (E1), no
 * context is believed that the cluster did not make (E3), one key's read and write are one step
 * (E9). */
#include "scenario.h"

/* D stands in for A twice, and has nothing of the first time left when the second comes. */
static void test_a_stand_in_that_handed_over_gives_no_dot_twice(void **state)
{
    (void)state;
    struct scenario s;
    struct answer first = {0}, second = {0}, seen = {0};
    char key[32];
    scenario_begin(&s, 3, 1, 1, 1);
    scenario_key(&s, (uint32_t[]){0}, 1, "", key);
    s.opt.sloppy = SLOPPY_YES;
    scenario_isolate(&s, 0, true);
    scenario_put(&s, 2, key, "one", NULL, 0, &first);
    assert_int_equal(first.status, DYN_OK);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    scenario_isolate(&s, 0, true);
    scenario_put(&s, 2, key, "two", NULL, 0, &second);
    assert_int_equal(second.status, DYN_OK);
    assert_false(dot_equal(&first.dot, &second.dot));
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    scenario_get(&s, 0, key, &seen);
    assert_int_equal(answer_live(&seen), 2);
    assert_true(answer_has(&seen, "one") && answer_has(&seen, "two"));
    answer_release(&first);
    answer_release(&second);
    answer_release(&seen);
    scenario_end(&s);
}

/* The others still have what the coordinator's disk forgot. */
static void test_a_coordinator_that_lost_its_tail_gives_no_dot_twice(void **state)
{
    (void)state;
    struct scenario s;
    struct answer first = {0}, second = {0}, seen = {0};
    char key[32];
    scenario_begin(&s, 3, 3, 2, 2);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    scenario_put(&s, 0, key, "one", NULL, 0, &first);
    assert_int_equal(first.status, DYN_OK);
    for (uint32_t round = 0; round < 8; round++) { /* any beginning of its tail may survive */
        sim_node_crash(&s.cluster->nodes[0], CRASH_POWER);
        sim_node_start(&s.cluster->nodes[0]);
        sim_cluster_run(s.cluster, SIM_SECOND);
    }
    s.opt.w = 1; /* answered before it could learn from the others */
    scenario_put(&s, 0, key, "two", NULL, 0, &second);
    assert_int_equal(second.status, DYN_OK);
    assert_false(dot_equal(&first.dot, &second.dot));
    s.opt.r = 3;
    scenario_settle(&s);
    scenario_get(&s, 1, key, &seen);
    assert_true(answer_has(&seen, "one") && answer_has(&seen, "two"));
    answer_release(&first);
    answer_release(&second);
    answer_release(&seen);
    scenario_end(&s);
}

static void test_contexts_that_the_cluster_did_not_make_are_refused(void **state)
{
    (void)state;
    struct scenario s;
    struct answer a = {0}, b = {0}, seen = {0};
    scenario_begin(&s, 3, 3, 2, 2);
    scenario_put(&s, 0, "a", "one", NULL, 0, &a);
    scenario_put(&s, 0, "b", "one", NULL, 0, &b);
    struct buf good = context_whole(&a), other = context_whole(&b);
    for (size_t i = 0; i < good.len; i++) {
        struct answer put = {0};
        good.data[i] ^= 1;
        scenario_put(&s, (uint32_t)(i % 3), "a", "forged", &good, 0, &put);
        assert_int_equal(put.status, DYN_ERR_BAD_CONTEXT);
        good.data[i] ^= 1;
        answer_release(&put);
    }
    scenario_put(&s, 1, "a", "of another key", &other, 0, &a);
    assert_int_equal(a.status, DYN_ERR_BAD_CONTEXT);
    scenario_get(&s, 2, "a", &seen);
    assert_int_equal(answer_live(&seen), 1);
    assert_true(answer_has(&seen, "one"));
    scenario_put(&s, 1, "a", "two", &good, 0, &a);
    assert_int_equal(a.status, DYN_OK);
    scenario_get(&s, 2, "a", &seen);
    assert_int_equal(answer_live(&seen), 1);
    assert_true(answer_has(&seen, "two"));
    buf_release(&good);
    buf_release(&other);
    answer_release(&a);
    answer_release(&b);
    answer_release(&seen);
    scenario_end(&s);
}

struct counting {
    uint32_t left;
    struct dot dots[16];
    uint32_t n;
};

static void count_put(void *arg, const struct sim_reply *r)
{
    struct counting *c = arg;
    c->left--;
    assert_int_equal(r->status, DYN_OK);
    for (uint32_t i = 0; i < c->n; i++)
        assert_false(dot_equal(&c->dots[i], &r->put->dot));
    c->dots[c->n++] = r->put->dot;
}

/* Slow disks, so that each write's read is still under way when the next one comes in; and merges
 * of the other coordinators' writes fall in between. */
static void test_writes_that_overlap_on_one_key_all_stay(void **state)
{
    (void)state;
    struct scenario s;
    struct answer seen = {0};
    struct counting c = {.left = 12};
    char values[12][16];
    scenario_begin(&s, 3, 3, 2, 2);
    for (uint32_t i = 0; i < 3; i++)
        sim_disk_pace(s.cluster->nodes[i].disk, 20000);
    for (uint32_t i = 0; i < 12; i++) {
        snprintf(values[i], sizeof(values[i]), "value %u", i);
        const struct sim_request q = {.type = FRAME_PUT,
                                      .put = scenario_put_request(&s, "k", values[i])};
        sim_client_call(&s.client, VIA_KV, i % 2, &q, count_put, &c);
    }
    while (c.left > 0)
        sim_cluster_step(s.cluster, UINT64_MAX);
    s.opt.r = 3;
    scenario_get(&s, 2, "k", &seen);
    assert_int_equal(answer_live(&seen), 12);
    for (uint32_t i = 0; i < 12; i++)
        assert_true(answer_has(&seen, values[i]));
    answer_release(&seen);
    scenario_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stand_in_that_handed_over_gives_no_dot_twice),
        cmocka_unit_test(test_a_coordinator_that_lost_its_tail_gives_no_dot_twice),
        cmocka_unit_test(test_contexts_that_the_cluster_did_not_make_are_refused),
        cmocka_unit_test(test_writes_that_overlap_on_one_key_all_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
