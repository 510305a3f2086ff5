/* SPDX-License-Identifier: Apache-2.0 */
/* Gets that the client coordinates by itself: R of N, the merge of what differs, and a node where
 * replicas alone do not do. */
#include "client_world.h"
#include "model/context.h"

static struct mac *mac; /* of the nodes */

/* A client that knows the ring, and reads for itself. */
static struct world *reader(void)
{
    struct world *w = world_of(1, 0, false);
    pass(w, 0);
    answer_ring(w, latest(w, FRAME_RING), &w->history);
    return w;
}

struct shown { /* copied from the reply */
    struct object object;
    struct buf token;
    uint8_t n_replicas, answered, needed;
};

static struct shown shown;

static void take(void *arg, const struct get_reply *reply)
{
    got(arg, reply);
    object_copy(&shown.object, &reply->object);
    buf_clear(&shown.token);
    buf_put_slice(&shown.token, reply->token);
    shown.n_replicas = reply->n_replicas;
    shown.answered = reply->answered;
    shown.needed = reply->needed;
}

static uint64_t read_with(struct world *w, const struct get_request *q)
{
    return w->kv.get(w->kv.ctx, q, take, w);
}

static uint64_t read_newest(struct world *w)
{
    struct get_request q = {.key = slice_str("k"), .want = GET_NEWEST};
    return read_with(w, &q);
}

static enum get_want want_of(const struct asked *a)
{
    struct direct_get q;
    assert_int_equal(a->type, FRAME_DIRECT_GET);
    assert_int_equal(direct_get_decode(buf_slice(&a->body), &q), DYN_OK);
    return q.want;
}

static uint64_t fence_of(struct world *w)
{
    struct ring *r = client_ring(w->client);
    return ring_fence(r, ring_partition_of(r, slice_str("k")));
}

/* With the values of o that were asked for. */
static void answer_direct(struct world *w, struct asked *a, int status, const struct object *o)
{
    struct direct_reply p = {
        .status = status, .ring = history_epoch(&w->history), .fence = fence_of(w)};
    struct buf body = BUF_EMPTY, token = BUF_EMPTY;
    if (o != NULL) {
        object_copy(&p.object, o);
        for (uint32_t i = 0; want_of(a) == GET_META && i < p.object.n; i++) {
            blob_unref(p.object.siblings[i].value);
            p.object.siblings[i].value = NULL;
        }
        if (!object_is_absent(o))
            token_make(mac, 42, slice_str("k"), o, &token);
        p.token = buf_slice(&token);
    }
    direct_reply_encode(&p, &body);
    direct_reply_release(&p);
    buf_release(&token);
    answer(w, a, &body);
}

static struct asked *direct(struct world *w, unsigned nth) /* from the oldest unsettled on */
{
    for (uint32_t i = 0; i < w->n; i++)
        if (w->asked[i].type == FRAME_DIRECT_GET && !w->asked[i].settled && nth-- == 0)
            return &w->asked[i];
    return NULL;
}

static void shows(const char *text)
{
    const struct sibling *s = object_newest(&shown.object);
    assert_non_null(s);
    assert_non_null(s->value);
    assert_true(slice_equal(slice_of(s->value->data, s->value->len), slice_str(text)));
}

struct copies { /* two replicas that differ: the second has overwritten the first's version */
    struct object old, new;
};

static void make_copies(struct copies *c)
{
    *c = (struct copies){OBJECT_EMPTY, OBJECT_EMPTY};
    write_file(&c->old, NULL, dot_of(1, 1), "old", 10);
    object_copy(&c->new, &c->old);
    struct cover all = COVER_EMPTY;
    clock_copy(&all.clock, &c->old.clock);
    write_file(&c->new, &all, dot_of(2, 1), "new", 20);
    cover_release(&all);
}

static void release(struct world *w, struct copies *c)
{
    object_release(&c->old);
    object_release(&c->new);
    object_release(&shown.object);
    shown.object = OBJECT_EMPTY;
    buf_release(&shown.token);
    world_free(w);
}

static void test_r_primaries_are_asked_and_one_of_them_for_the_value(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    make_copies(&c);
    read_newest(w);
    assert_int_equal(count(w, FRAME_DIRECT_GET), 2);
    assert_int_equal(count(w, FRAME_GET), 0);
    struct asked *a = direct(w, 0), *b = direct(w, 1);
    assert_true(a->node != b->node && is_primary(w, "k", a->node) && is_primary(w, "k", b->node));
    assert_int_equal(want_of(a), GET_NEWEST);
    assert_int_equal(want_of(b), GET_META);
    answer_direct(w, b, DYN_OK, &c.new);
    assert_int_equal(w->done, 0);
    answer_direct(w, a, DYN_OK, &c.new);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_OK);
    shows("new");
    assert_int_equal(shown.n_replicas, 2);
    assert_int_equal(shown.answered, 2);
    assert_int_equal(shown.needed, 2);
    release(w, &c);
}

static void test_copies_that_differ_are_merged_and_somebody_is_told(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    make_copies(&c);
    read_newest(w);
    uint64_t current = direct(w, 0)->node;
    answer_direct(w, direct(w, 0), DYN_OK, &c.new);
    answer_direct(w, direct(w, 0), DYN_OK, &c.old);
    shows("new");
    assert_int_equal(shown.n_replicas, 1);
    struct asked *told = latest(w, FRAME_BEHIND);
    assert_non_null(told);
    assert_int_equal(told->rid, 0);
    assert_int_equal(told->node, current);
    release(w, &c);
}

static void test_the_tokens_of_siblings_apart_stand_side_by_side(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c = {OBJECT_EMPTY, OBJECT_EMPTY};
    write_file(&c.old, NULL, dot_of(1, 1), "one", 10);
    write_file(&c.new, NULL, dot_of(2, 1), "two", 20);
    struct get_request q = {.key = slice_str("k"), .want = GET_META};
    read_with(w, &q);
    answer_direct(w, direct(w, 0), DYN_OK, &c.old);
    answer_direct(w, direct(w, 0), DYN_OK, &c.new);
    assert_int_equal(shown.object.n, 2);
    struct buf context = BUF_EMPTY;
    struct cover cover = COVER_EMPTY;
    context_all(buf_slice(&shown.token), &context);
    assert_int_equal(context_verify(mac, 42, slice_str("k"), buf_slice(&context), &cover), DYN_OK);
    for (uint32_t i = 0; i < 2; i++)
        assert_true(cover_has(&cover, &shown.object.siblings[i].dot));
    buf_release(&context);
    cover_release(&cover);
    release(w, &c);
}

static void test_a_value_elsewhere_is_fetched_by_its_dot(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    make_copies(&c);
    read_newest(w);
    uint64_t holder = direct(w, 1)->node;
    answer_direct(w, direct(w, 0), DYN_OK, &c.old); /* was asked for the value */
    answer_direct(w, direct(w, 0), DYN_OK, &c.new);
    assert_int_equal(w->done, 0);
    struct asked *fetch = direct(w, 0);
    assert_int_equal(fetch->node, holder);
    assert_int_equal(want_of(fetch), GET_DOT);
    answer_direct(w, fetch, DYN_OK, &c.new);
    shows("new");
    release(w, &c);
}

static void test_a_primary_that_fails_is_replaced_at_once(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    make_copies(&c);
    read_newest(w);
    refuse(w, direct(w, 0)); /* the one with the value */
    assert_int_equal(count(w, FRAME_DIRECT_GET), 3);
    assert_int_equal(want_of(direct(w, 1)), GET_NEWEST);
    answer_direct(w, direct(w, 0), DYN_OK, &c.new);
    answer_direct(w, direct(w, 0), DYN_OK, &c.new);
    shows("new");
    assert_int_equal(count(w, FRAME_GET), 0);
    release(w, &c);
}

static void test_silence_asks_the_third_for_the_value_too(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    make_copies(&c);
    read_newest(w);
    answer_direct(w, direct(w, 1), DYN_OK, &c.new);
    pass(w, 300000);
    assert_int_equal(count(w, FRAME_DIRECT_GET), 3);
    answer_direct(w, direct(w, 1), DYN_OK, &c.new);
    shows("new");
    release(w, &c);
}

static void test_silence_of_all_is_a_node_s_business(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    make_copies(&c);
    read_newest(w);
    pass(w, 2000000);
    assert_non_null(latest(w, FRAME_GET));
    answer_direct(w, direct(w, 0), DYN_OK, &c.new); /* late, and counts all the same */
    answer_direct(w, direct(w, 0), DYN_OK, &c.new);
    assert_int_equal(w->done, 1);
    shows("new");
    release(w, &c);
}

static void test_two_that_fail_leave_it_to_a_node(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    make_copies(&c);
    read_newest(w);
    refuse(w, direct(w, 0));
    refuse(w, direct(w, 0));
    assert_non_null(latest(w, FRAME_GET));
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->done, 1);
    read_newest(w); /* and from now on at once */
    assert_non_null(latest(w, FRAME_GET));
    assert_int_equal(count(w, FRAME_DIRECT_GET), 3);
    release(w, &c);
}

static void test_a_replica_with_another_ring_does_not_count(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    struct history grown = HISTORY_EMPTY;
    make_copies(&c);
    history_copy(&grown, &w->history);
    add_member(&grown, NODES);
    read_newest(w);
    struct direct_reply p = {
        .status = DYN_OK, .ring = history_epoch(&grown), .fence = fence_of(w) + 1};
    struct buf body = BUF_EMPTY;
    uint64_t node = direct(w, 0)->node;
    direct_reply_encode(&p, &body);
    answer(w, direct(w, 0), &body);
    assert_non_null(latest(w, FRAME_GET));
    assert_non_null(latest(w, FRAME_RING));
    assert_int_equal(latest(w, FRAME_RING)->node, node);
    answer_direct(w, direct(w, 0), DYN_OK, &c.new);
    assert_int_equal(w->done, 0); /* one of two */
    answer_get(w, latest(w, FRAME_GET), DYN_OK);
    assert_int_equal(w->done, 1);
    history_release(&grown);
    release(w, &c);
}

static void test_r_copies_that_lack_what_was_seen_are_not_enough(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    struct buf token = BUF_EMPTY, seen = BUF_EMPTY;
    make_copies(&c);
    token_make(mac, 42, slice_str("k"), &c.new, &token);
    context_all(buf_slice(&token), &seen);
    struct slice contexts[] = {buf_slice(&seen)};
    struct get_request q = {
        .key = slice_str("k"), .want = GET_NEWEST, .at_least = contexts, .n_at_least = 1};
    read_with(w, &q);
    answer_direct(w, direct(w, 0), DYN_OK, &c.old);
    answer_direct(w, direct(w, 0), DYN_OK, &c.old);
    assert_int_equal(w->done, 0);
    struct asked *third = direct(w, 0);
    assert_non_null(third);
    answer_direct(w, third, DYN_OK, &c.old);
    assert_int_equal(w->done, 0); /* E22: perhaps a stand-in has it */
    assert_non_null(latest(w, FRAME_GET));
    buf_release(&token);
    buf_release(&seen);
    release(w, &c);
}

static void test_what_is_written_once_is_asked_of_one(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    make_copies(&c);
    struct get_request q = {.key = slice_str("k"), .want = GET_PRESENT};
    read_with(w, &q);
    assert_int_equal(count(w, FRAME_DIRECT_GET), 1);
    answer_direct(w, direct(w, 0), DYN_OK, &c.new);
    shows("new");
    struct object none = OBJECT_EMPTY; /* a copy that lacks it says nothing */
    read_with(w, &q);
    answer_direct(w, direct(w, 0), DYN_OK, &none);
    assert_int_equal(w->done, 1);
    assert_non_null(latest(w, FRAME_GET));
    release(w, &c);
}

static void test_a_version_gone_everywhere_is_stale(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    make_copies(&c);
    struct get_request q = {.key = slice_str("k"), .want = GET_DOT, .value_dot = dot_of(1, 1)};
    read_with(w, &q);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(w->done, 0);
        answer_direct(w, direct(w, 0), DYN_OK, &c.new);
    }
    assert_int_equal(w->done, 1);
    assert_int_equal(w->status, DYN_ERR_STALE);
    release(w, &c);
}

static void test_who_stands_still_is_found_out_by_reads_alone(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    make_copies(&c);
    read_newest(w);
    uint64_t still = direct(w, 0)->node;
    unsigned asked = 0;
    for (unsigned i = 0; i < 400; i++) {
        if (i > 0)
            read_newest(w);
        for (unsigned k = 0; k < 2000 && w->done == i; k++) {
            for (uint32_t at = 0; at < w->n; at++) {
                struct asked *a = &w->asked[at];
                if (a->type == FRAME_DIRECT_GET && !a->settled && a->node == still && i > 100) {
                    asked++;
                    a->settled = true;
                } else if (a->type == FRAME_DIRECT_GET && !a->settled && a->node != still) {
                    answer_direct(w, a, DYN_OK, &c.new);
                }
            }
            pass(w, 1000);
        }
    }
    assert_int_equal(w->done, 400);
    assert_true(asked <= 2); /* far for now, then down */
    assert_false(client_node_up(w->client, still));
    release(w, &c);
}

static void test_reading_ends_with_its_cancel_and_with_the_client(void **state)
{
    (void)state;
    struct world *w = reader();
    struct copies c;
    make_copies(&c);
    uint64_t id = read_newest(w);
    struct asked *a = direct(w, 0), *b = direct(w, 1);
    w->kv.cancel(w->kv.ctx, id);
    answer_direct(w, a, DYN_OK, &c.new);
    answer_direct(w, b, DYN_OK, &c.new);
    assert_int_equal(w->done, 0);
    read_newest(w);
    answer_direct(w, direct(w, 0), DYN_OK, &c.new);
    release(w, &c);
}

static int make_mac(void **state)
{
    (void)state;
    mac = mac_new(slice_str("secret"));
    return 0;
}

static int free_mac(void **state)
{
    (void)state;
    mac_free(mac);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_r_primaries_are_asked_and_one_of_them_for_the_value),
        cmocka_unit_test(test_copies_that_differ_are_merged_and_somebody_is_told),
        cmocka_unit_test(test_the_tokens_of_siblings_apart_stand_side_by_side),
        cmocka_unit_test(test_a_value_elsewhere_is_fetched_by_its_dot),
        cmocka_unit_test(test_a_primary_that_fails_is_replaced_at_once),
        cmocka_unit_test(test_silence_asks_the_third_for_the_value_too),
        cmocka_unit_test(test_silence_of_all_is_a_node_s_business),
        cmocka_unit_test(test_two_that_fail_leave_it_to_a_node),
        cmocka_unit_test(test_a_replica_with_another_ring_does_not_count),
        cmocka_unit_test(test_r_copies_that_lack_what_was_seen_are_not_enough),
        cmocka_unit_test(test_what_is_written_once_is_asked_of_one),
        cmocka_unit_test(test_a_version_gone_everywhere_is_stale),
        cmocka_unit_test(test_who_stands_still_is_found_out_by_reads_alone),
        cmocka_unit_test(test_reading_ends_with_its_cancel_and_with_the_client),
    };
    return cmocka_run_group_tests(tests, make_mac, free_mac);
}
