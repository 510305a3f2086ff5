/* SPDX-License-Identifier: Apache-2.0 */
/* How a client comes to the ring and keeps it, whoever dies. */
#include "client_world.h"

static void test_requests_wait_for_the_first_ring(void **state)
{
    (void)state;
    struct world *w = world_with(1, 0);
    start_get(w, "k");
    pass(w, 0);
    assert_int_equal(count(w, FRAME_GET), 0);
    assert_int_equal(w->asked[0].node, 1); /* the seed's number in place of an id */
    answer_ring(w, latest(w, FRAME_RING), &w->history);
    assert_int_equal(count(w, FRAME_GET), 1);
    assert_true(is_primary(w, "k", latest(w, FRAME_GET)->node));
    assert_int_equal(w->n_addressed, 1 + NODES);
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_OK);
    world_free(w);
}

static void test_a_dead_seed_is_passed_by(void **state)
{
    (void)state;
    struct world *w = world_with(3, 0);
    pass(w, 0);
    refuse(w, latest(w, FRAME_RING));
    pass(w, 0);
    assert_int_equal(w->asked[1].node, 2);
    pass(w, 250000); /* the second says nothing */
    assert_int_equal(w->asked[2].node, 3);
    answer_ring(w, &w->asked[2], &w->history);
    assert_non_null(client_ring(w->client));
    world_free(w);
}

static void test_nobody_there_ends_by_the_deadline(void **state)
{
    (void)state;
    struct world *w = world_with(2, 0);
    start_get(w, "k");
    for (unsigned i = 0; i < 200 && w->done == 0; i++) {
        for (struct asked *a; (a = latest(w, FRAME_RING)) != NULL;)
            refuse(w, a);
        pass(w, 100000);
    }
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_ERR_UNREACHABLE);
    assert_true(w->now_us <= 1000000 + 10100000);
    world_free(w);
}

static void test_the_impatient_end_after_their_rounds(void **state)
{
    (void)state;
    struct world *w = world_with(3, 2);
    start_get(w, "k");
    for (unsigned i = 0; i < 20 && w->done == 0; i++) {
        for (struct asked *a; (a = latest(w, FRAME_RING)) != NULL;)
            refuse(w, a);
        pass(w, 100000);
    }
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_ERR_UNREACHABLE);
    assert_true(w->now_us < 1000000 + 2000000);
    world_free(w);
}

static void test_a_reply_of_another_epoch_refreshes_the_ring(void **state)
{
    (void)state;
    struct world *w = ready();
    uint32_t rings = count(w, FRAME_RING);
    start_get(w, "k");
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(count(w, FRAME_RING), rings);
    add_member(&w->history, NODES);
    start_get(w, "k");
    struct asked *a = latest(w, FRAME_GET);
    answer_get(w, a, DYN_OK);
    struct asked *refresh = latest(w, FRAME_RING);
    assert_non_null(refresh);
    assert_int_equal(refresh->node, a->node);
    answer_ring(w, refresh, &w->history);
    assert_int_equal(ring_member_count(client_ring(w->client)), NODES + 1);
    world_free(w);
}

static void test_the_ring_is_asked_for_each_ten_seconds(void **state)
{
    (void)state;
    struct world *w = ready();
    for (unsigned i = 0; i < 5; i++) {
        uint32_t rings = count(w, FRAME_RING);
        pass(w, 9900000);
        assert_int_equal(count(w, FRAME_RING), rings);
        pass(w, 100000);
        assert_int_equal(count(w, FRAME_RING), rings + 1);
        assert_true(latest(w, FRAME_RING)->node >= NODE(0)); /* a member, not the seed */
        answer_ring(w, latest(w, FRAME_RING), &w->history);
    }
    world_free(w);
}

static void test_another_clusters_ring_is_not_taken(void **state)
{
    (void)state;
    struct world *w = ready();
    struct history other = HISTORY_EMPTY;
    make_history(&other, 43);
    add_member(&other, NODES);
    pass(w, 10000000);
    answer_ring(w, latest(w, FRAME_RING), &other);
    assert_int_equal(ring_cluster(client_ring(w->client)), 42);
    assert_int_equal(ring_member_count(client_ring(w->client)), NODES);
    history_release(&other);
    world_free(w);
}

static void test_life_goes_on_when_the_seed_dies(void **state)
{
    (void)state;
    struct world *w = ready();
    /* NODE(0) has the seed's address. It is gone, for reads, writes and refreshes. */
    for (unsigned i = 0; i < 60; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", i);
        start_get(w, key);
        start_put(w, key);
        for (struct asked *a; (a = latest(w, FRAME_GET)) != NULL;) {
            if (a->node == NODE(0))
                refuse(w, a);
            else
                answer_get(w, a, DYN_OK);
        }
        for (struct asked *a; (a = latest(w, FRAME_PUT)) != NULL;) {
            if (a->node == NODE(0))
                refuse(w, a);
            else
                answer_put(w, a, DYN_OK, 1);
        }
        for (struct asked *a; (a = latest(w, FRAME_RING)) != NULL;) {
            if (a->node == NODE(0) || a->node == 1)
                refuse(w, a);
            else
                answer_ring(w, a, &w->history);
        }
        assert_int_equal(w->done, 2 * (i + 1));
        assert_int_equal(w->status, DYN_OK);
        pass(w, 1000000);
    }
    assert_false(client_node_up(w->client, NODE(0)));
    world_free(w);
}

static void test_a_stranger_at_a_members_address_is_found_out(void **state)
{
    (void)state;
    struct world *w = ready();
    struct buf body = BUF_EMPTY;
    pass(w, 10000000);
    struct asked *a = latest(w, FRAME_RING);
    struct ring_reply p = {.node = a->node + 1, .history = w->history};
    uint64_t node = a->node;
    assert_true(client_node_up(w->client, node));
    ring_reply_encode(&p, &body);
    answer(w, a, &body);
    assert_false(client_node_up(w->client, node));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_wait_for_the_first_ring),
        cmocka_unit_test(test_a_dead_seed_is_passed_by),
        cmocka_unit_test(test_nobody_there_ends_by_the_deadline),
        cmocka_unit_test(test_the_impatient_end_after_their_rounds),
        cmocka_unit_test(test_a_reply_of_another_epoch_refreshes_the_ring),
        cmocka_unit_test(test_the_ring_is_asked_for_each_ten_seconds),
        cmocka_unit_test(test_another_clusters_ring_is_not_taken),
        cmocka_unit_test(test_life_goes_on_when_the_seed_dies),
        cmocka_unit_test(test_a_stranger_at_a_members_address_is_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
