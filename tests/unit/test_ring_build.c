/* SPDX-License-Identifier: Apache-2.0 */
/* Committed changes in a history, and the ring that follows from them (E13, E14). */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "model/ring.h"
#include "unit.h"

#define Q 64u

static void add(struct history *h, const struct member_event *ev)
{
    const char *rule = "none";
    if (history_add(h, ev, &rule) != DYN_OK)
        fail_msg("refused: %s", rule);
}

static struct member_event join_of(uint64_t node)
{
    static char address[] = "127.0.0.1:7000";
    return (struct member_event){
        .type = MEMBER_JOIN, .node = node, .weight = 100, .address = address};
}

static void born(struct history *h, uint32_t members)
{
    struct member_event ev = {
        .stamp = 1, .type = MEMBER_CREATE, .cluster = 7, .q = Q, .n = 3, .r = 2, .w = 2};
    *h = HISTORY_EMPTY;
    add(h, &ev);
    for (uint32_t i = 1; i <= members; i++) {
        ev = join_of(i);
        ev.stamp = 1 + i;
        add(h, &ev);
    }
}

static struct ring *build(const struct history *h)
{
    struct ring *r = NULL;
    assert_int_equal(ring_build(h, &r), DYN_OK);
    return r;
}

/* A change of one part, planned on what the history says. */
static void commit(struct history *h, struct member_event part)
{
    struct ring *r = build(h);
    struct member_event ev = {.stamp = history_next_stamp(h),
                              .node = 1,
                              .type = MEMBER_CHANGE,
                              .parts = &part,
                              .n_parts = 1};
    memcpy(ev.base, ring_config(r), DIGEST_LEN);
    ring_unref(r);
    add(h, &ev);
}

static void progress(struct history *h, enum member_event_type type, uint64_t node)
{
    struct ring *r = build(h);
    uint32_t partitions[Q], n = 0;
    for (uint32_t p = 0; p < Q; p++) {
        const struct move *mv = ring_move(r, p);
        if (mv != NULL && (type == MEMBER_CLOSED || move_is_filling(mv, node)))
            partitions[n++] = p;
    }
    struct member_event ev = {.stamp = history_next_stamp(h),
                              .node = node,
                              .type = type,
                              .partitions = partitions,
                              .n_partitions = n};
    memcpy(ev.base, ring_config(r), DIGEST_LEN);
    ring_unref(r);
    add(h, &ev);
}

static bool votes(const struct ring *r, uint64_t node, uint32_t p)
{
    uint64_t nodes[16];
    ring_preference_list(r, p, 3, nodes, 16);
    for (uint32_t i = 0; i < ring_voters(r, p, 3); i++)
        if (nodes[i] == node)
            return true;
    return false;
}

static void test_a_joined_node_votes_only_when_it_has_filled(void **state)
{
    (void)state;
    struct history h;
    born(&h, 3);
    struct ring *before = build(&h);
    commit(&h, join_of(4));
    struct ring *r = build(&h);
    uint32_t moving = ring_moving(r);
    assert_int_equal(ring_member_count(r), 4);
    assert_int_equal(moving, Q * 3 / 4); /* its share of all copies */
    for (uint32_t p = 0; p < Q; p++) {
        uint64_t old[3], now[4], other[3];
        ring_preference_list(before, p, 3, old, 3);
        assert_int_equal(ring_preference_list(r, p, 3, now, 4), 4);
        assert_false(votes(r, 4, p));
        if (ring_move(r, p) == NULL)
            continue;
        assert_memory_equal(now, old, sizeof(old));
        assert_int_equal(now[3], 4); /* the first to stand in is who will own it */
        assert_int_equal(ring_other_row(r, p, 3, other), 3);
        assert_true(other[0] == 4 || other[1] == 4 || other[2] == 4);
        assert_true(ring_fence(r, p) != ring_fence(before, p));
    }
    ring_unref(r);
    progress(&h, MEMBER_FILLED, 4);
    r = build(&h);
    assert_int_equal(ring_moving(r), moving);
    for (uint32_t p = 0; p < Q; p++) {
        uint64_t other[3];
        if (ring_move(r, p) == NULL)
            continue;
        assert_true(votes(r, 4, p));
        assert_int_equal(ring_other_row(r, p, 3, other), 3);
        assert_true(other[0] != 4 && other[1] != 4 && other[2] != 4);
    }
    ring_unref(r);
    progress(&h, MEMBER_CLOSED, 4);
    r = build(&h);
    assert_int_equal(ring_moving(r), 0);
    assert_int_equal(ring_voters(r, 0, 3), 3);
    ring_unref(r);
    ring_unref(before);
    history_release(&h);
}

static void test_one_configuration_has_one_successor(void **state)
{
    (void)state;
    struct history h, other;
    born(&h, 3);
    born(&other, 3);
    commit(&h, join_of(4));
    commit(&other, join_of(5));
    bool changed;
    assert_int_equal(history_join(&h, &other, &changed), DYN_OK);
    struct ring *r = build(&h);
    assert_int_equal(ring_member_count(r), 4); /* the same one everywhere, whichever it is */
    ring_unref(r);
    history_release(&h);
    history_release(&other);
}

static void test_a_leaver_votes_until_its_heirs_have_filled(void **state)
{
    (void)state;
    struct history h;
    born(&h, 4);
    commit(&h, (struct member_event){.type = MEMBER_LEAVE, .node = 2});
    struct ring *r = build(&h);
    uint32_t voted = 0;
    assert_int_equal(ring_member_count(r), 3);
    assert_null(ring_member_find(r, 2));
    assert_non_null(ring_contact(r, 2));
    for (uint32_t p = 0; p < Q; p++)
        voted += votes(r, 2, p);
    assert_true(voted > 0);
    assert_int_equal(voted, ring_moving(r));
    ring_unref(r);
    for (uint64_t node = 1; node <= 4; node++)
        if (node != 2)
            progress(&h, MEMBER_FILLED, node);
    progress(&h, MEMBER_CLOSED, 1);
    r = build(&h);
    assert_int_equal(ring_moving(r), 0);
    for (uint32_t p = 0; p < Q; p++)
        assert_false(votes(r, 2, p));
    assert_false(ring_banned(r, 2));
    ring_unref(r);
    history_release(&h);
}

static void test_a_replaced_node_is_banned_and_waited_for_by_nobody(void **state)
{
    (void)state;
    struct history h;
    born(&h, 3);
    struct member_event part = join_of(9);
    part.replaces = 2;
    commit(&h, part);
    struct ring *r = build(&h);
    assert_true(ring_banned(r, 2));
    assert_null(ring_contact(r, 2));
    assert_int_equal(ring_moving(r), Q);
    for (uint32_t p = 0; p < Q; p++) {
        assert_int_equal(ring_voters(r, p, 3), 2);
        assert_false(votes(r, 2, p));
        assert_true(move_is_filling(ring_move(r, p), 9));
    }
    ring_unref(r);
    history_release(&h);
}

static void test_after_a_change_only_changes_are_taken(void **state)
{
    (void)state;
    struct history h;
    born(&h, 3);
    commit(&h, join_of(4));
    struct member_event ev = join_of(5);
    ev.stamp = history_next_stamp(&h);
    const char *rule = NULL;
    assert_int_equal(history_add(&h, &ev, &rule), DYN_ERR_INVALID);
    assert_string_equal(rule, "membership changes by committed changes only");
    history_release(&h);
}

static void test_changes_survive_being_encoded(void **state)
{
    (void)state;
    struct history h, back = HISTORY_EMPTY;
    born(&h, 3);
    commit(&h, join_of(4));
    progress(&h, MEMBER_FILLED, 4);
    struct buf bytes = BUF_EMPTY;
    history_encode(&h, &bytes);
    struct reader reader = reader_of(buf_slice(&bytes));
    history_decode(&reader, &back);
    assert_true(reader_done(&reader));
    struct history_epoch a = history_epoch(&h), b = history_epoch(&back);
    assert_true(history_epoch_equal(&a, &b));
    for (size_t cut = 0; cut < bytes.len; cut++) {
        struct history none = HISTORY_EMPTY;
        reader = reader_of(slice_of(bytes.data, cut));
        history_decode(&reader, &none);
        assert_false(reader_ok(&reader));
        history_release(&none);
    }
    buf_release(&bytes);
    history_release(&h);
    history_release(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_joined_node_votes_only_when_it_has_filled),
        cmocka_unit_test(test_one_configuration_has_one_successor),
        cmocka_unit_test(test_a_leaver_votes_until_its_heirs_have_filled),
        cmocka_unit_test(test_a_replaced_node_is_banned_and_waited_for_by_nobody),
        cmocka_unit_test(test_after_a_change_only_changes_are_taken),
        cmocka_unit_test(test_changes_survive_being_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
