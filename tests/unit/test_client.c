/* SPDX-License-Identifier: Apache-2.0 */
/* Operations of the client library: whom they ask, what makes them ask another, how they end. */
#include "client_world.h"

static void test_a_refused_attempt_goes_on_at_once(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "k");
    struct asked *first = latest(w, FRAME_GET);
    refuse(w, first);
    struct asked *second = latest(w, FRAME_GET);
    assert_non_null(second);
    assert_true(second->node != first->node);
    assert_true(is_primary(w, "k", second->node));
    assert_false(client_node_up(w->client, first->node));
    answer_get(w, second, DYN_OK);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

static void test_a_node_thought_down_is_not_asked(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "k");
    uint64_t dead = latest(w, FRAME_GET)->node;
    refuse(w, latest(w, FRAME_GET));
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    for (unsigned i = 0; i < 100; i++) {
        start_get(w, "k");
        assert_true(latest(w, FRAME_GET)->node != dead);
        answer_get(w, latest(w, FRAME_GET), DYN_OK);
    }
    assert_int_equal(w->done, 101);
    pass(w, 600000); /* a probe finds it alive */
    struct asked *probe = latest(w, FRAME_RING);
    assert_int_equal(probe->node, dead);
    answer_ring(w, probe, &w->history);
    assert_true(client_node_up(w->client, dead));
    world_free(w);
}

static void test_the_first_good_answer_wins_also_from_the_first_asked(void **state)
{
    (void)state;
    struct world *w = ready();
    start_put(w, "k");
    struct asked *first = latest(w, FRAME_PUT);
    pass(w, 1000000); /* silence */
    struct asked *second = latest(w, FRAME_PUT);
    assert_true(second != first && second->node != first->node);
    assert_false(client_node_up(w->client, first->node));
    answer_put(w, first, DYN_OK, 5);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_OK);
    assert_true(w->dot.actor.node == first->node && w->dot.counter == 5);
    assert_true(client_node_up(w->client, first->node));
    answer_put(w, second, DYN_OK, 6); /* too late */
    assert_int_equal(w->done, 1);
    world_free(w);
}

static void test_a_put_says_the_same_origin_to_everyone(void **state)
{
    (void)state;
    struct world *w = ready();
    struct put_request one, two;
    start_put(w, "k");
    struct asked *first = latest(w, FRAME_PUT);
    refuse(w, first);
    struct asked *second = latest(w, FRAME_PUT);
    assert_true(first != second);
    assert_int_equal(put_request_decode(buf_slice(&first->body), &one), DYN_OK);
    assert_int_equal(put_request_decode(buf_slice(&second->body), &two), DYN_OK);
    assert_int_equal(one.origin.writer, 99);
    assert_int_equal(one.origin.seq, 1);
    assert_memory_equal(&one.origin, &two.origin, sizeof(one.origin));
    put_request_release(&two);
    answer_put(w, second, DYN_OK, 1);

    start_put(w, "k"); /* another write, another stream */
    assert_int_equal(put_request_decode(buf_slice(&latest(w, FRAME_PUT)->body), &two), DYN_OK);
    assert_true(two.origin.stream != one.origin.stream);
    put_request_release(&two);
    put_request_release(&one);
    world_free(w);
}

static uint64_t start_append(struct world *w)
{
    struct put_request q = {.key = slice_str("k"),
                            .type = SIBLING_FILE,
                            .value = slice_str("what was there, and more"),
                            .extends = {dot_of(5, 6), 14, {1}}};
    return w->kv.put(w->kv.ctx, &q, was_put, w);
}

static void expect_sent(const struct asked *a, const char *value, bool extends)
{
    struct put_request q;
    assert_int_equal(put_request_decode(buf_slice(&a->body), &q), DYN_OK);
    assert_true(slice_equal(q.value, slice_str(value)));
    assert_int_equal((q.flags & PUT_EXTENDS) != 0, extends);
    assert_int_equal(q.origin.seq, 1);
    put_request_release(&q);
}

static void test_what_follows_the_base_is_all_that_is_sent(void **state)
{
    (void)state;
    struct world *w = ready();
    start_append(w);
    struct asked *a = latest(w, FRAME_PUT);
    expect_sent(a, ", and more", true);
    refuse(w, a); /* another node has the base as likely as this one */
    struct asked *b = latest(w, FRAME_PUT);
    assert_true(b->node != a->node);
    expect_sent(b, ", and more", true);
    answer_put(w, b, DYN_OK, 1);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

/* Also a node of an older version, which says that it does not understand. */
static void test_a_node_that_lacks_the_base_is_sent_the_whole(void **state)
{
    (void)state;
    static const int answers[] = {DYN_ERR_BASE_LACKING, DYN_ERR_PROTOCOL, DYN_ERR_UNSUPPORTED};
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct world *w = ready();
        start_append(w);
        struct asked *a = latest(w, FRAME_PUT);
        answer_put(w, a, answers[i], 1);
        assert_int_equal(w->done, 0);
        struct asked *b = latest(w, FRAME_PUT);
        assert_true(b != a && b->node == a->node);
        expect_sent(b, "what was there, and more", false);
        refuse(w, b); /* and so is whoever is asked after it */
        expect_sent(latest(w, FRAME_PUT), "what was there, and more", false);
        answer_put(w, latest(w, FRAME_PUT), DYN_OK, 1);
        assert_int_equal(w->done, 1);
        assert_int_equal(w->status, DYN_OK);
        world_free(w);
    }
}

static void test_a_slow_answer_that_the_base_is_lacking_is_heard(void **state)
{
    (void)state;
    struct world *w = ready();
    start_append(w);
    struct asked *a = latest(w, FRAME_PUT);
    pass(w, 300000);
    struct asked *b = latest(w, FRAME_PUT);
    assert_true(a != b);
    answer_put(w, a, DYN_ERR_BASE_LACKING, 1);
    expect_sent(latest(w, FRAME_PUT), "what was there, and more", false);
    assert_true(latest(w, FRAME_PUT)->node == a->node);
    answer_put(w, b, DYN_ERR_BASE_LACKING, 1);
    expect_sent(latest(w, FRAME_PUT), "what was there, and more", false);
    assert_true(latest(w, FRAME_PUT)->node == b->node);
    answer_put(w, latest(w, FRAME_PUT), DYN_OK, 1);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

/* The whole is not what it lacks. */
static void test_a_node_that_lacks_what_it_was_sent_is_not_asked_for_ever(void **state)
{
    (void)state;
    struct world *w = ready();
    start_append(w);
    answer_put(w, latest(w, FRAME_PUT), DYN_ERR_BASE_LACKING, 1);
    answer_put(w, latest(w, FRAME_PUT), DYN_ERR_BASE_LACKING, 1);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_ERR_BASE_LACKING);
    world_free(w);
}

static void test_reads_spread_over_the_primaries(void **state)
{
    (void)state;
    struct world *w = ready();
    uint32_t times[NODES] = {0};
    for (unsigned i = 0; i < 300; i++) {
        start_get(w, "k");
        struct asked *a = latest(w, FRAME_GET);
        assert_true(is_primary(w, "k", a->node));
        times[a->node - NODE(0)]++;
        answer_get(w, a, DYN_OK);
    }
    unsigned used = 0;
    for (unsigned i = 0; i < NODES; i++)
        used += times[i] > 50;
    assert_int_equal(used, 3);
    world_free(w);
}

static void test_reads_prefer_who_answers_soon(void **state)
{
    (void)state;
    struct world *w = ready();
    unsigned far_asked = 0;
    uint64_t far_node = 0;
    for (unsigned i = 0; i < 400; i++) {
        start_get(w, "k");
        struct asked *a = latest(w, FRAME_GET);
        if (far_node == 0)
            far_node = a->node;
        pass(w, a->node == far_node ? 20000 : 1000);
        far_asked += i >= 100 && a->node == far_node;
        answer_get(w, a, DYN_OK);
    }
    assert_int_equal(w->done, 400);
    assert_true(far_asked < 30); /* a third of 300, were it not for its distance */
    world_free(w);
}

static void test_a_final_answer_is_not_asked_twice(void **state)
{
    (void)state;
    static const int final[] = {DYN_ERR_NOT_FOUND, DYN_ERR_EXISTS, DYN_ERR_BAD_CONTEXT,
                                DYN_ERR_CONFLICT, DYN_ERR_STALE};
    struct world *w = ready();
    for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++) {
        uint32_t before = count(w, FRAME_GET);
        start_get(w, "k");
        answer_get(w, latest(w, FRAME_GET), final[i]);
        assert_int_equal(w->status, final[i]);
        assert_int_equal(count(w, FRAME_GET), before + 1);
    }
    world_free(w);
}

static void test_no_quorum_anywhere_is_told_with_its_counts(void **state)
{
    (void)state;
    struct world *w = ready();
    uint64_t begun = w->now_us;
    start_get(w, "k");
    find_no_quorum(w);
    assert_int_equal(w->status, DYN_ERR_NO_QUORUM);
    assert_int_equal(w->answered, 1);
    assert_true(w->now_us - begun < 4000000); /* long before its deadline */
    world_free(w);
}

/* A node that comes back from a pause, and one that has not noticed that it is back, see none for a
 * moment. */
static void test_a_quorum_that_nobody_sees_for_a_moment_is_found(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "k");
    for (uint64_t until = w->now_us + 1000000; w->now_us < until; pass(w, 10000))
        while (latest(w, FRAME_GET) != NULL)
            answer_get(w, latest(w, FRAME_GET), DYN_ERR_NO_QUORUM);
    assert_int_equal(w->done, 0);
    while (latest(w, FRAME_GET) == NULL)
        pass(w, 10000);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

/* Does a chunk go to a second node between 1 and 2 seconds after the first was asked, which has
 * answered others meanwhile, or nobody? */
static bool chunk_is_sent_twice(bool answers_others)
{
    static const char *const chunk = ".dynamount/chunk/0123456789abcdef0123456789abcdef/0";
    struct world *w = ready();
    start_put(w, chunk);
    uint64_t node = latest(w, FRAME_PUT)->node;
    pass(w, 500000);
    for (unsigned i = 0; i < 50; i++) {
        start_get(w, chunk);
        struct asked *a = latest(w, FRAME_GET);
        if (a->node == node && !answers_others)
            continue;
        answer_get(w, a, DYN_OK);
    }
    assert_int_equal(count(w, FRAME_PUT), 1);
    pass(w, 700000);
    bool twice = count(w, FRAME_PUT) == 2;
    pass(w, 1100000);
    assert_true(count(w, FRAME_PUT) >= 2);
    world_free(w);
    return twice;
}

static void test_a_chunk_waits_longer_for_a_node_that_answers_others(void **state)
{
    (void)state;
    assert_true(chunk_is_sent_twice(false));
    assert_false(chunk_is_sent_twice(true));
}

static void test_overload_is_tried_again_until_it_passes(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "k");
    for (unsigned i = 0; i < 3 * NODES; i++) {
        struct asked *a = latest(w, FRAME_GET);
        if (a == NULL) {
            pass(w, 1000000);
            a = latest(w, FRAME_GET);
        }
        assert_non_null(a);
        answer_get(w, a, DYN_ERR_OVERLOAD);
    }
    assert_int_equal(w->done, 0);
    pass(w, 1000000);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

static void test_silence_ends_at_the_deadline(void **state)
{
    (void)state;
    struct world *w = ready();
    struct get_request q = {.key = slice_str("k"), .opt = {.timeout_ms = 3000}};
    uint64_t started = w->now_us;
    w->kv.get(w->kv.ctx, &q, got, w);
    pass(w, 2999999);
    assert_int_equal(w->done, 0);
    pass(w, 1);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_ERR_TIMEOUT);
    assert_int_equal(w->now_us, started + 3000000);
    assert_true(count(w, FRAME_GET) >= 3); /* all primaries had their chance */
    world_free(w);
}

static void test_garbage_is_a_reason_to_ask_another(void **state)
{
    (void)state;
    struct world *w = ready();
    struct buf junk = BUF_EMPTY;
    start_get(w, "k");
    buf_put_str(&junk, "\x01junk");
    answer(w, latest(w, FRAME_GET), &junk);
    assert_int_equal(w->done, 0);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

static void test_a_canceled_request_calls_nobody(void **state)
{
    (void)state;
    struct world *w = ready();
    uint64_t id = start_get(w, "k");
    struct asked *a = latest(w, FRAME_GET);
    w->kv.cancel(w->kv.ctx, id);
    answer_get(w, a, DYN_OK);
    pass(w, 20000000);
    assert_int_equal(w->done, 0);
    start_get(w, "k"); /* in the same place */
    w->kv.cancel(w->kv.ctx, id);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->done, 1);
    world_free(w);
}

static void raw_done(void *arg, int err, struct slice body)
{
    struct world *w = arg;
    w->done++;
    w->status = err;
    if (err == DYN_OK)
        assert_true(slice_equal(body, slice_str("{}")));
}

static void test_a_raw_call_goes_to_its_node(void **state)
{
    (void)state;
    struct world *w = ready();
    struct buf body = BUF_EMPTY;
    client_call(w->client, NODE(3), FRAME_STATUS, &body, 0, raw_done, w);
    assert_int_equal(latest(w, FRAME_STATUS)->node, NODE(3));
    buf_put_str(&body, "{}");
    answer(w, latest(w, FRAME_STATUS), &body);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_OK);
    client_call(w->client, NODE(3), FRAME_STATUS, &body, 0, raw_done, w);
    refuse(w, latest(w, FRAME_STATUS));
    assert_int_equal(w->status, DYN_ERR_UNREACHABLE);
    client_call(w->client, NODE(3), FRAME_STATUS, &body, 0, raw_done,
                w); /* freed with the client */
    world_free(w);
}

static void test_freeing_leaves_callbacks_uncalled(void **state)
{
    (void)state;
    struct world *w = ready();
    start_get(w, "a");
    start_put(w, "b");
    world_free(w);
    w = world_with(1, 0);
    start_get(w, "waits");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_refused_attempt_goes_on_at_once),
        cmocka_unit_test(test_a_node_thought_down_is_not_asked),
        cmocka_unit_test(test_the_first_good_answer_wins_also_from_the_first_asked),
        cmocka_unit_test(test_a_put_says_the_same_origin_to_everyone),
        cmocka_unit_test(test_what_follows_the_base_is_all_that_is_sent),
        cmocka_unit_test(test_a_node_that_lacks_the_base_is_sent_the_whole),
        cmocka_unit_test(test_a_slow_answer_that_the_base_is_lacking_is_heard),
        cmocka_unit_test(test_a_node_that_lacks_what_it_was_sent_is_not_asked_for_ever),
        cmocka_unit_test(test_reads_spread_over_the_primaries),
        cmocka_unit_test(test_reads_prefer_who_answers_soon),
        cmocka_unit_test(test_a_final_answer_is_not_asked_twice),
        cmocka_unit_test(test_no_quorum_anywhere_is_told_with_its_counts),
        cmocka_unit_test(test_a_quorum_that_nobody_sees_for_a_moment_is_found),
        cmocka_unit_test(test_a_chunk_waits_longer_for_a_node_that_answers_others),
        cmocka_unit_test(test_overload_is_tried_again_until_it_passes),
        cmocka_unit_test(test_silence_ends_at_the_deadline),
        cmocka_unit_test(test_garbage_is_a_reason_to_ask_another),
        cmocka_unit_test(test_a_canceled_request_calls_nobody),
        cmocka_unit_test(test_a_raw_call_goes_to_its_node),
        cmocka_unit_test(test_freeing_leaves_callbacks_uncalled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
