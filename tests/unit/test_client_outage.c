/* SPDX-License-Identifier: Apache-2.0 */
/* A quorum that is missing: what is waited for in vain once is not waited for again and again
 * (F22), and nobody is refused who could be served. */
#include "client_world.h"

#define DEADLINE_US 10000000u /* the client's */

static uint32_t probes(const struct world *w)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        struct get_request q;
        if (w->asked[i].type != FRAME_GET)
            continue;
        assert_int_equal(get_request_decode(buf_slice(&w->asked[i].body), &q), DYN_OK);
        n += q.want == GET_META;
        get_request_release(&q);
    }
    return n;
}

/* Everyone is silent until the deadline of one get. */
static struct world *in_vain(void)
{
    struct world *w = ready();
    start_get(w, "k");
    pass(w, DEADLINE_US);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_ERR_TIMEOUT);
    return w;
}

/* All whom the newest probe asks say so. */
static void fail_probe(struct world *w)
{
    for (unsigned i = 0; i < NODES; i++)
        if (latest(w, FRAME_GET) != NULL)
            answer_get(w, latest(w, FRAME_GET), DYN_ERR_NO_QUORUM);
}

static void test_the_next_operation_is_refused_soon(void **state)
{
    (void)state;
    struct world *w = in_vain();
    uint64_t begun = w->now_us;
    for (unsigned i = 0; i < 8; i++) {
        uint32_t done = w->done;
        start_get(w, "k");
        while (w->done == done)
            pass(w, 1000);
        assert_int_equal(w->status, DYN_ERR_TIMEOUT);
    }
    assert_true(w->now_us - begun < 500000);
    world_free(w);
}

static void test_a_refusal_says_what_the_failure_said(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "k");
    find_no_quorum(w);
    fail_probe(w);
    w->answered = 9;
    start_get(w, "k");
    pass(w, 0);
    assert_int_equal(w->done, 2);
    assert_int_equal(w->status, DYN_ERR_NO_QUORUM);
    assert_int_equal(w->answered, 1);
    world_free(w);
}

static void test_a_probe_starts_at_once_and_its_success_ends_it(void **state)
{
    (void)state;
    struct world *w = in_vain();
    assert_int_equal(probes(w), 1);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    start_get(w, "k");
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->status, DYN_OK);
    assert_int_equal(w->done, 2);
    world_free(w);
}

static void test_who_was_held_goes_on_when_the_probe_succeeds(void **state)
{
    (void)state;
    struct world *w = in_vain();
    struct asked *probe = latest(w, FRAME_GET);
    start_put(w, "k");
    pass(w, 100000);
    assert_int_equal(w->done, 1);
    assert_null(latest(w, FRAME_PUT)); /* held */
    answer_get(w, probe, DYN_OK);
    assert_non_null(latest(w, FRAME_PUT));
    answer_put(w, latest(w, FRAME_PUT), DYN_OK, 1);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

static void test_old_evidence_refuses_nobody(void **state)
{
    (void)state;
    struct world *w = in_vain();
    fail_probe(w);
    for (unsigned i = 0; i < 6; i++) { /* pauses between probes have grown by then */
        pass(w, 1000000);
        fail_probe(w);
    }
    pass(w, 150000);
    uint32_t before = probes(w), done = w->done;
    start_put(w, "k");
    assert_int_equal(probes(w), before + 1); /* asked for at once */
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    answer_put(w, latest(w, FRAME_PUT), DYN_OK, 1);
    assert_int_equal(w->done, done + 1);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

static void test_one_probe_serves_a_crowd(void **state)
{
    (void)state;
    struct world *w = in_vain();
    uint32_t asked = w->n;
    for (unsigned i = 0; i < 200; i++)
        start_get(w, "k");
    assert_int_equal(w->n, asked);
    pass(w, 250000);
    assert_int_equal(w->done, 201);
    assert_true(w->n - asked <= 6); /* that one asks others too, and nodes are pinged */
    world_free(w);
}

static void test_probing_backs_off_and_rests_when_nobody_asks(void **state)
{
    (void)state;
    struct world *w = in_vain();
    fail_probe(w);
    uint32_t before = probes(w);
    for (unsigned i = 0; i < 100; i++) {
        pass(w, 100000);
        fail_probe(w);
    }
    assert_in_range(probes(w) - before, 5 * 1, 20 * NODES); /* in 10 s */
    for (unsigned i = 0; i < 700; i++) {
        pass(w, 100000);
        fail_probe(w);
    }
    before = probes(w);
    for (unsigned i = 0; i < 100; i++)
        pass(w, 100000);
    assert_int_equal(probes(w), before);
    start_get(w, "k");
    assert_true(probes(w) > before); /* and begins again with the next one */
    world_free(w);
}

static void test_other_files_of_the_same_nodes_are_out_as_well(void **state)
{
    (void)state;
    struct world *w = in_vain();
    struct ring *r = client_ring(w->client);
    unsigned same = 0, other = 0;
    fail_probe(w);
    for (unsigned i = 0; i < 64; i++) {
        char key[16];
        uint64_t mine[3], theirs[3];
        unsigned common = 0;
        snprintf(key, sizeof(key), "file%u", i);
        ring_preference_list(r, ring_partition_of(r, slice_str("k")), 3, mine, 3);
        ring_preference_list(r, ring_partition_of(r, slice_str(key)), 3, theirs, 3);
        for (unsigned a = 0; a < 9; a++)
            common += mine[a / 3] == theirs[a % 3];
        uint32_t asked = w->n, done = w->done;
        start_get(w, key);
        pass(w, 0);
        if (common == 3) {
            same++;
            assert_int_equal(w->done, done + 1);
            assert_int_equal(w->n, asked);
        } else {
            other++;
            assert_true(w->n > asked); /* other nodes: they have their chance */
            answer_get(w, latest(w, FRAME_GET), DYN_OK);
        }
    }
    assert_true(same > 0 && other > 0);
    world_free(w);
}

static void test_who_needs_less_is_not_refused(void **state)
{
    (void)state;
    struct world *w = in_vain();
    fail_probe(w);
    struct get_request q = {.key = slice_str("k"), .want = GET_NEWEST, .opt = {.r = 1}};
    w->kv.get(w->kv.ctx, &q, got, w);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->status, DYN_OK);
    /* and that R = 1 works says nothing about R = 2 */
    uint32_t asked = w->n;
    start_get(w, "k");
    pass(w, 0);
    assert_int_equal(w->n, asked);
    assert_int_equal(w->status, DYN_ERR_NO_QUORUM);
    world_free(w);
}

static void test_overload_until_the_deadline_is_no_outage(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "k");
    for (unsigned i = 0; i < 2000 && w->done == 0; i++) {
        while (latest(w, FRAME_GET) != NULL && w->done == 0)
            answer_get(w, latest(w, FRAME_GET), DYN_ERR_OVERLOAD);
        pass(w, 10000);
    }
    assert_int_equal(w->status, DYN_ERR_OVERLOAD);
    start_get(w, "k"); /* queues until its own */
    assert_non_null(latest(w, FRAME_GET));
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

static void test_a_quick_failure_begins_no_outage(void **state)
{
    (void)state;
    struct world *w = ready_with(1); /* who does not ask again */
    start_get(w, "k");
    fail_probe(w);
    assert_int_equal(w->status, DYN_ERR_NO_QUORUM);
    start_get(w, "k");
    assert_non_null(latest(w, FRAME_GET));
    world_free(w);
}

static void test_the_word_of_who_is_up_will_do_when_the_others_are_long_down(void **state)
{
    (void)state;
    struct world *w = in_vain(); /* all are down by now */
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    pass(w, 2000000);
    uint32_t done = w->done;
    start_get(w, "j");
    answer_get(w, latest(w, FRAME_GET), DYN_ERR_NO_QUORUM);
    for (unsigned i = 0; i < 20 && w->done == done; i++)
        pass(w, 100000); /* the others are asked, and not waited for until the deadline */
    assert_int_equal(w->done, done + 1);
    assert_int_equal(w->status, DYN_ERR_NO_QUORUM);
    world_free(w);
}

static void test_another_ring_opens_everything(void **state)
{
    (void)state;
    struct world *w = in_vain();
    struct history grown = HISTORY_EMPTY;
    history_copy(&grown, &w->history);
    add_member(&grown, NODES);
    pass(w, 20000000);
    answer_ring(w, latest(w, FRAME_RING), &grown);
    uint32_t asked = w->n;
    start_get(w, "k");
    assert_true(w->n > asked);
    history_release(&grown);
    world_free(w);
}

static void test_without_a_ring_one_deadline_is_paid(void **state)
{
    (void)state;
    struct world *w = world_with(1, 0);
    start_get(w, "k");
    pass(w, DEADLINE_US);
    assert_int_equal(w->done, 1);
    start_get(w, "k");
    assert_int_equal(w->done, 1);
    pass(w, 300000);
    assert_int_equal(w->done, 2);
    start_get(w, "k");
    pass(w, 100000);
    answer_ring(w, latest(w, FRAME_RING), &w->history);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->done, 3);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_next_operation_is_refused_soon),
        cmocka_unit_test(test_a_refusal_says_what_the_failure_said),
        cmocka_unit_test(test_a_probe_starts_at_once_and_its_success_ends_it),
        cmocka_unit_test(test_who_was_held_goes_on_when_the_probe_succeeds),
        cmocka_unit_test(test_old_evidence_refuses_nobody),
        cmocka_unit_test(test_one_probe_serves_a_crowd),
        cmocka_unit_test(test_probing_backs_off_and_rests_when_nobody_asks),
        cmocka_unit_test(test_other_files_of_the_same_nodes_are_out_as_well),
        cmocka_unit_test(test_who_needs_less_is_not_refused),
        cmocka_unit_test(test_overload_until_the_deadline_is_no_outage),
        cmocka_unit_test(test_a_quick_failure_begins_no_outage),
        cmocka_unit_test(test_the_word_of_who_is_up_will_do_when_the_others_are_long_down),
        cmocka_unit_test(test_another_ring_opens_everything),
        cmocka_unit_test(test_without_a_ring_one_deadline_is_paid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
