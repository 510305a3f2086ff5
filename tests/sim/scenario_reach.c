/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios on who is asked: a reader finds what it wrote (E22), a request is passed on once (E25),
 * stand-ins hand over what they hold. */
#include "scenario.h"

static enum sim_fate no_replica_puts(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                     struct slice body)
{
    (void)arg;
    (void)from;
    (void)to;
    (void)body;
    return type == FRAME_REPLICA_PUT ? FATE_DROP : FATE_CHANCE;
}

static void get_at_least(struct scenario *s, uint32_t node, const char *key,
                         const struct buf *context, struct answer *a)
{
    const struct slice floor = buf_slice(context);
    const struct sim_request q = {.type = FRAME_GET,
                                  .get = {.opt = s->opt,
                                          .key = slice_str(key),
                                          .want = GET_ALL,
                                          .at_least = &floor,
                                          .n_at_least = 1}};
    scenario_send(s, VIA_KV, node, &q, a);
}

/* A put met by C and the stand-in D; A and B come back before D has handed over, C is gone. */
static void test_a_read_that_must_see_a_write_finds_it_at_the_stand_in(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, seen = {0};
    char key[32];
    scenario_begin(&s, 4, 3, 2, 2);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    s.opt.sloppy = SLOPPY_YES;
    for (uint32_t a = 0; a < 2; a++)
        for (uint32_t b = 2; b < 4; b++)
            scenario_cut(&s, a, b, true);
    scenario_put(&s, 2, key, "mine", NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    struct buf context = context_whole(&put);
    sim_net_set_judge(s.cluster->net, no_replica_puts, NULL);
    sim_net_heal(s.cluster->net);
    scenario_isolate(&s, 2, true);
    scenario_isolate(&s, 3, true); /* for now nobody who has it can be reached */
    get_at_least(&s, 0, key, &context, &seen);
    assert_int_not_equal(seen.status, DYN_OK);
    scenario_isolate(&s, 3, false);
    scenario_isolate(&s, 2, true);
    sim_cluster_run(s.cluster, 20 * (uint64_t)SIM_SECOND); /* A, B and D find each other */
    get_at_least(&s, 0, key, &context, &seen);
    assert_int_equal(seen.status, DYN_OK);
    assert_true(answer_has(&seen, "mine"));
    buf_release(&context);
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

/* All primaries answer, and the write lies with stand-ins alone. */
static void test_a_read_that_must_see_a_write_goes_beyond_primaries_that_lack_it(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, seen = {0};
    char key[32];
    scenario_begin(&s, 4, 2, 1, 2);
    scenario_key(&s, (uint32_t[]){0, 1}, 2, "", key);
    s.opt.sloppy = SLOPPY_YES;
    for (uint32_t a = 0; a < 2; a++)
        for (uint32_t b = 2; b < 4; b++)
            scenario_cut(&s, a, b, true);
    scenario_put(&s, 2, key, "mine", NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    struct buf context = context_whole(&put);
    sim_net_set_judge(s.cluster->net, no_replica_puts, NULL);
    sim_net_heal(s.cluster->net);
    sim_cluster_run(s.cluster, 20 * (uint64_t)SIM_SECOND);
    scenario_get(&s, 0, key, &seen); /* without the context it is out of sight */
    assert_int_equal(seen.status, DYN_OK);
    assert_false(answer_has(&seen, "mine"));
    get_at_least(&s, 0, key, &context, &seen);
    assert_int_equal(seen.status, DYN_OK);
    assert_true(answer_has(&seen, "mine"));
    buf_release(&context);
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

/* Counts what the nodes send each other of a client's frames. */
static enum sim_fate count_forwards(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                    struct slice body)
{
    uint32_t *forwards = arg;
    (void)to;
    (void)body;
    if (from < SIM_NODES_MAX && type == FRAME_PUT)
        ++*forwards;
    return FATE_CHANCE;
}

static void test_a_request_is_passed_on_once_at_most(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0};
    char key[32];
    uint32_t forwards = 0;
    scenario_begin(&s, 4, 3, 2, 2);
    scenario_key(&s, (uint32_t[]){0, 1, 2}, 3, "", key);
    sim_net_set_judge(s.cluster->net, count_forwards, &forwards);
    struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(&s, key, "one")};
    scenario_send(&s, VIA_FRAME, 3, &q, &put);
    assert_int_equal(put.status, DYN_OK);
    assert_int_equal(forwards, 1);
    forwards = 0;
    q.put = scenario_put_request(&s, key, "two");
    q.put.opt.forwarded = 1;
    scenario_send(&s, VIA_FRAME, 3, &q, &put);
    assert_int_equal(forwards, 0);
    answer_release(&put);
    scenario_end(&s);
}

/* No primary can be reached: the stand-ins keep the write, and it gets home. */
static void test_a_write_that_no_primary_took_gets_home_by_hints(void **state)
{
    (void)state;
    struct scenario s;
    struct answer put = {0}, seen = {0};
    char key[32];
    uint64_t hints, owed;
    scenario_begin(&s, 4, 2, 1, 2);
    scenario_key(&s, (uint32_t[]){0, 1}, 2, "", key);
    s.opt.sloppy = SLOPPY_YES;
    for (uint32_t a = 0; a < 2; a++)
        for (uint32_t b = 2; b < 4; b++)
            scenario_cut(&s, a, b, true);
    scenario_put(&s, 2, key, "held", NULL, 0, &put);
    assert_int_equal(put.status, DYN_OK);
    sim_cluster_debts(s.cluster, &hints, &owed);
    assert_true(hints >= 2);
    sim_net_heal(s.cluster->net);
    scenario_settle(&s);
    s.opt.sloppy = SLOPPY_NO;
    for (uint32_t i = 0; i < 2; i++) {
        scenario_isolate(&s, i, true);
        scenario_get(&s, i, key, &seen);
        assert_int_equal(seen.status, DYN_OK);
        assert_true(answer_has(&seen, "held"));
        sim_net_heal(s.cluster->net);
    }
    answer_release(&put);
    answer_release(&seen);
    scenario_end(&s);
}

/* Node 2 is back and node 0 has not noticed yet; then node 1 falls silent: node 0 has a quorum as
 * soon as it looks again, and does not wait for who is silent. */
static void test_a_primary_that_is_back_is_asked_again(void **state)
{
    (void)state;
    static const uint8_t types[] = {FRAME_GET, FRAME_PUT, FRAME_LIST, FRAME_SYNC};
    for (uint32_t i = 0; i < 4; i++) {
        struct scenario s;
        struct answer put = {0}, a = {0};
        scenario_begin(&s, 3, 3, 2, 2);
        s.opt.timeout_ms = 20000;
        scenario_put(&s, 0, "d/k", "old", NULL, 0, &put);
        scenario_isolate(&s, 2, true);
        sim_cluster_run(s.cluster, 5 * (uint64_t)SIM_SECOND); /* it is known to be away */
        scenario_isolate(&s, 2, false);
        scenario_isolate(&s, 1, true);
        uint64_t begun = s.world.now_us;
        struct sim_request q = {.type = types[i]};
        if (types[i] == FRAME_GET)
            q.get = (struct get_request){.opt = s.opt, .key = slice_str("d/k"), .want = GET_ALL};
        else if (types[i] == FRAME_PUT)
            q.put = scenario_put_request(&s, "d/k", "new");
        else if (types[i] == FRAME_LIST)
            q.list = (struct list_request){.opt = s.opt, .dir = slice_str("d")};
        else
            q.sync = (struct sync_request){.opt = s.opt, .key = slice_str("d/k"), .dot = put.dot};
        scenario_send(&s, VIA_KV, 0, &q, &a);
        assert_int_equal(a.status, DYN_OK);
        assert_true(s.world.now_us - begun < 2 * (uint64_t)SIM_SECOND);
        answer_release(&put);
        answer_release(&a);
        scenario_end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_read_that_must_see_a_write_finds_it_at_the_stand_in),
        cmocka_unit_test(test_a_read_that_must_see_a_write_goes_beyond_primaries_that_lack_it),
        cmocka_unit_test(test_a_request_is_passed_on_once_at_most),
        cmocka_unit_test(test_a_write_that_no_primary_took_gets_home_by_hints),
        cmocka_unit_test(test_a_primary_that_is_back_is_asked_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
