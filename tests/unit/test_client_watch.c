/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a client asks to tell it of changes, and when it must take it that something was missed. */
#include "client_world.h"
#include "model/fragment.h"
#include "model/watch.h"

struct heard {
    uint32_t covered, lost, changed;
};

static void on_covered(void *ctx, struct slice dir)
{
    (void)dir;
    ((struct heard *)ctx)->covered++;
}

static void on_lost(void *ctx, struct slice dir)
{
    (void)dir;
    ((struct heard *)ctx)->lost++;
}

static void on_changed(void *ctx, const struct watch_event *e)
{
    (void)e;
    ((struct heard *)ctx)->changed++;
}

static struct watch_port listen_to(struct world *w, struct heard *h)
{
    const struct watch_events events = {h, on_covered, on_lost, on_changed};
    return client_watch(w->client, &events);
}

static void answer_interest(struct world *w, struct asked *a, int status, bool taken)
{
    struct interest_request q;
    struct interest_reply p = {.status = status};
    struct buf body = BUF_EMPTY;
    assert_non_null(a);
    assert_int_equal(interest_request_decode(buf_slice(&a->body), &q), DYN_OK);
    for (uint32_t i = 0; i < q.n_add; i++)
        p.taken[p.n++] = taken;
    interest_request_release(&q);
    interest_reply_encode(&p, &body);
    answer(w, a, &body);
}

static void answer_watch(struct world *w, struct asked *a, uint64_t number, enum watch_kind kind,
                         const char *dir)
{
    struct buf body = BUF_EMPTY;
    assert_non_null(a);
    watch_reply_begin(DYN_OK, number, dir != NULL, &body);
    if (dir != NULL)
        watch_reply_event(kind, slice_str(dir), slice_of(NULL, 0), false, slice_of(NULL, 0), &body);
    answer(w, a, &body);
}

/* The one fragment that a node is asked for, which takes it and says how many there are. */
static uint32_t answer_fragment(struct world *w, struct asked *a, uint32_t fragments)
{
    struct interest_request q;
    struct interest_reply p = {.status = DYN_OK, .n = 1, .taken = {interest_taken(fragments)}};
    struct buf body = BUF_EMPTY;
    uint32_t fragment;
    assert_non_null(a);
    assert_int_equal(interest_request_decode(buf_slice(&a->body), &q), DYN_OK);
    assert_int_equal(q.n_add, 1);
    assert_true(slice_equal(entry_id_split(q.add[0], &fragment), slice_str("a")));
    interest_request_release(&q);
    interest_reply_encode(&p, &body);
    answer(w, a, &body);
    return fragment;
}

static uint32_t unsettled(const struct world *w, uint8_t type)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n; i++)
        n += w->asked[i].type == type && !w->asked[i].settled;
    return n;
}

/* One directory, covered; the question that is held. */
static struct asked *cover_one(struct world *w, const struct watch_port *port, const char *dir)
{
    port->want(port->ctx, slice_str(dir));
    pass(w, 50000);
    answer_interest(w, latest(w, FRAME_INTEREST), DYN_OK, true);
    return latest(w, FRAME_WATCH);
}

static void test_one_node_is_asked_for_all_that_it_holds(void **state)
{
    (void)state;
    struct world *w = ready();
    struct heard h = {0};
    struct watch_port port = listen_to(w, &h);
    struct interest_request q;
    port.want(port.ctx, slice_str("a"));
    port.want(port.ctx, slice_str("a"));
    pass(w, 50000);
    assert_int_equal(count(w, FRAME_INTEREST), 1);
    struct asked *first = latest(w, FRAME_INTEREST);
    assert_int_equal(interest_request_decode(buf_slice(&first->body), &q), DYN_OK);
    assert_true(q.begin && q.n_add == 1 && q.n_drop == 0);
    interest_request_release(&q);
    assert_int_equal(h.covered, 0);
    answer_interest(w, first, DYN_OK, true);
    assert_int_equal(h.covered, 1);
    struct asked *held = latest(w, FRAME_WATCH);
    assert_true(held != NULL && held->node == first->node);
    answer_watch(w, held, 1, WATCH_ALL, "a");
    assert_int_equal(h.changed, 1);
    assert_int_equal(unsettled(w, FRAME_WATCH), 1); /* it is asked again at once */
    answer_watch(w, latest(w, FRAME_WATCH), 2, WATCH_ALL, "other");
    assert_int_equal(h.changed, 1); /* not asked for */
    world_free(w);
}

static void test_silence_is_a_loss_and_another_node_is_asked(void **state)
{
    (void)state;
    struct world *w = ready();
    struct heard h = {0};
    struct watch_port port = listen_to(w, &h);
    uint64_t node = cover_one(w, &port, "a")->node;
    pass(w, 4000000);
    assert_int_equal(h.lost, 1);
    struct asked *again = latest(w, FRAME_INTEREST);
    assert_true(again != NULL && again->node != node);
    answer_interest(w, again, DYN_OK, true);
    assert_int_equal(h.covered, 2);
    world_free(w);
}

static void test_an_answer_left_out_is_a_loss(void **state)
{
    (void)state;
    struct world *w = ready();
    struct heard h = {0};
    struct watch_port port = listen_to(w, &h);
    answer_watch(w, cover_one(w, &port, "a"), 2, WATCH_ALL, "a");
    assert_true(h.lost == 1 && h.changed == 0);
    world_free(w);
}

static void test_what_is_refused_or_ended_is_asked_for_later(void **state)
{
    (void)state;
    struct world *w = ready();
    struct heard h = {0};
    struct watch_port port = listen_to(w, &h);
    port.want(port.ctx, slice_str("a"));
    pass(w, 50000);
    answer_interest(w, latest(w, FRAME_INTEREST), DYN_OK, false);
    assert_true(h.covered == 0 && h.lost == 0);
    for (int i = 0; i < 100 && unsettled(w, FRAME_INTEREST) == 0; i++)
        pass(w, 100000);
    answer_interest(w, latest(w, FRAME_INTEREST), DYN_OK, true);
    assert_int_equal(h.covered, 1);
    answer_watch(w, latest(w, FRAME_WATCH), 1, WATCH_ENDED, "a");
    assert_int_equal(h.lost, 1);
    world_free(w);
}

static void test_what_is_dropped_is_told_to_the_node_and_heard_of_no_more(void **state)
{
    (void)state;
    struct world *w = ready();
    struct heard h = {0};
    struct watch_port port = listen_to(w, &h);
    struct interest_request q;
    struct asked *held = cover_one(w, &port, "a");
    port.drop(port.ctx, slice_str("a"));
    port.want(port.ctx, slice_str("b"));
    answer_watch(w, held, 1, WATCH_ALL, "a");
    assert_int_equal(h.changed, 0);
    pass(w, 50000);
    struct client_watch_stats s;
    client_watch_stats(w->client, &s);
    assert_int_equal(s.dirs, 0);
    struct asked *a = latest(w, FRAME_INTEREST);
    assert_non_null(a);
    assert_int_equal(interest_request_decode(buf_slice(&a->body), &q), DYN_OK);
    assert_true(q.n_drop <= 1 && q.n_add <= 1);
    interest_request_release(&q);
    world_free(w);
}

static void test_one_dropped_while_it_is_added_is_dropped_after(void **state)
{
    (void)state;
    struct world *w = ready();
    struct heard h = {0};
    struct watch_port port = listen_to(w, &h);
    struct interest_request q;
    port.want(port.ctx, slice_str("a"));
    pass(w, 50000);
    port.drop(port.ctx, slice_str("a"));
    answer_interest(w, latest(w, FRAME_INTEREST), DYN_OK, true);
    assert_int_equal(h.covered, 0);
    struct asked *a = latest(w, FRAME_INTEREST);
    assert_non_null(a);
    assert_int_equal(interest_request_decode(buf_slice(&a->body), &q), DYN_OK);
    assert_true(q.n_drop == 1 && q.n_add == 0);
    interest_request_release(&q);
    world_free(w);
}

/* The node answers in the order in which directories were named to it. */
static void test_an_end_told_beside_the_answer_takes_no_place_in_it(void **state)
{
    (void)state;
    struct world *w = ready();
    struct heard h = {0};
    struct watch_port port = listen_to(w, &h);
    struct asked *held = cover_one(w, &port, "a");
    struct interest_reply p = {.status = DYN_OK, .n = 2, .taken = {1, 0}};
    struct buf body = BUF_EMPTY;
    port.want(port.ctx, slice_str("b"));
    port.want(port.ctx, slice_str("c"));
    pass(w, 50000);
    struct asked *added = latest(w, FRAME_INTEREST);
    assert_true(added != NULL && added->node == held->node);
    answer_watch(w, held, 1, WATCH_ENDED, "b");
    interest_reply_encode(&p, &body);
    answer(w, added, &body);
    assert_int_equal(h.covered, 1); /* neither b, which has ended, nor c, which was refused */
    world_free(w);
}

static void test_a_directory_that_is_split_is_covered_when_each_fragment_is(void **state)
{
    (void)state;
    struct world *w = ready();
    struct heard h = {0};
    struct watch_port port = listen_to(w, &h);
    port.want(port.ctx, slice_str("a"));
    pass(w, 50000);
    struct asked *first = latest(w, FRAME_INTEREST);
    uint64_t node = first->node;
    assert_int_equal(answer_fragment(w, first, 2), 0);
    assert_int_equal(h.covered, 0);
    pass(w, 50000);
    struct asked *second = latest(w, FRAME_INTEREST);
    assert_int_equal(answer_fragment(w, second, 2), 1);
    assert_int_equal(h.covered, 1);
    for (uint32_t i = 0; i < w->n && h.changed == 0; i++)
        if (w->asked[i].type == FRAME_WATCH && w->asked[i].node == node && !w->asked[i].settled)
            answer_watch(w, &w->asked[i], 1, WATCH_ALL, "a");
    assert_int_equal(h.changed, 1);
    port.drop(port.ctx, slice_str("a"));
    pass(w, 50000);
    struct client_watch_stats s;
    client_watch_stats(w->client, &s);
    assert_true(s.dirs == 0 && h.lost == 0);
    world_free(w);
}

static void test_a_directory_that_grows_is_lost_until_all_is_watched_again(void **state)
{
    (void)state;
    struct world *w = ready();
    struct heard h = {0};
    struct watch_port port = listen_to(w, &h);
    answer_watch(w, cover_one(w, &port, "a"), 1, WATCH_ENDED, "a");
    assert_true(h.covered == 1 && h.lost == 1);
    uint32_t seen = 0;
    for (int i = 0; i < 100 && seen != 0xf; i++) {
        if (unsettled(w, FRAME_INTEREST) > 0) {
            assert_int_equal(h.covered, 1);
            struct asked *a = latest(w, FRAME_INTEREST);
            struct interest_request q;
            struct interest_reply p = {.status = DYN_OK};
            struct buf body = BUF_EMPTY;
            assert_int_equal(interest_request_decode(buf_slice(&a->body), &q), DYN_OK);
            for (uint32_t k = 0; k < q.n_add; k++) {
                uint32_t fragment;
                entry_id_split(q.add[k], &fragment);
                seen |= 1u << fragment;
                p.taken[p.n++] = interest_taken(4);
            }
            interest_request_release(&q);
            interest_reply_encode(&p, &body);
            answer(w, a, &body);
        }
        pass(w, 100000);
    }
    assert_int_equal(seen, 0xf);
    assert_int_equal(h.covered, 2);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_node_is_asked_for_all_that_it_holds),
        cmocka_unit_test(test_silence_is_a_loss_and_another_node_is_asked),
        cmocka_unit_test(test_an_answer_left_out_is_a_loss),
        cmocka_unit_test(test_what_is_refused_or_ended_is_asked_for_later),
        cmocka_unit_test(test_what_is_dropped_is_told_to_the_node_and_heard_of_no_more),
        cmocka_unit_test(test_one_dropped_while_it_is_added_is_dropped_after),
        cmocka_unit_test(test_an_end_told_beside_the_answer_takes_no_place_in_it),
        cmocka_unit_test(test_a_directory_that_is_split_is_covered_when_each_fragment_is),
        cmocka_unit_test(test_a_directory_that_grows_is_lost_until_all_is_watched_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
