/* SPDX-License-Identifier: Apache-2.0 */
/* A membership history must come out the same whatever the order in which its events arrive, and
 * must not let in what would make two nodes' rings differ. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "model/history.h"
#include "unit.h"

static struct member_event creation(uint64_t cluster)
{
    return (struct member_event){
        .stamp = 1, .type = MEMBER_CREATE, .cluster = cluster, .q = 64, .n = 3, .r = 2, .w = 2};
}

static struct member_event join(uint64_t stamp, uint64_t node)
{
    return (struct member_event){.stamp = stamp,
                                 .node = node,
                                 .type = MEMBER_JOIN,
                                 .weight = 100,
                                 .address = "host:8080",
                                 .zone = "east"};
}

static void add(struct history *h, struct member_event ev)
{
    const char *rule = "none";
    if (history_add(h, &ev, &rule) != DYN_OK)
        fail_msg("refused: %s", rule);
}

static void refuse(struct history *h, struct member_event ev)
{
    const char *rule = NULL;
    uint32_t before = h->n;
    assert_int_equal(history_add(h, &ev, &rule), DYN_ERR_INVALID);
    assert_non_null(rule);
    assert_int_equal(h->n, before);
}

static void assert_same(const struct history *a, const struct history *b)
{
    struct history_epoch x = history_epoch(a), y = history_epoch(b);
    assert_true(history_epoch_equal(&x, &y));
}

static void test_equal_events_in_any_order_give_equal_histories(void **state)
{
    (void)state;
    struct history a = HISTORY_EMPTY, b = HISTORY_EMPTY;
    add(&a, creation(7));
    add(&b, creation(7));
    for (uint64_t i = 1; i <= 20; i++) {
        add(&a, join(10 + i, i));
        add(&b, join(31 - i, 21 - i));
    }
    for (uint64_t i = 1; i <= 20; i++) {
        add(&a, (struct member_event){
                    .stamp = 50 + i, .node = i, .type = MEMBER_WEIGHT, .weight = 200});
        add(&b, (struct member_event){
                    .stamp = 71 - i, .node = 21 - i, .type = MEMBER_WEIGHT, .weight = 200});
    }
    assert_int_equal(a.n, 41);
    assert_same(&a, &b);
    history_release(&a);
    history_release(&b);
}

static void test_adding_what_is_there_changes_nothing(void **state)
{
    (void)state;
    struct history h = HISTORY_EMPTY;
    add(&h, creation(7));
    add(&h, join(2, 5));
    struct history_epoch before = history_epoch(&h), after;
    struct member_event again = join(2, 5);
    again.q = 99; /* a field that joins do not use */
    add(&h, again);
    add(&h, creation(7));
    after = history_epoch(&h);
    assert_true(history_epoch_equal(&before, &after));
    add(&h, join(3, 6));
    after = history_epoch(&h);
    assert_false(history_epoch_equal(&before, &after));
    history_release(&h);
}

static void test_broken_rules_are_refused_by_name(void **state)
{
    (void)state;
    struct history h = HISTORY_EMPTY;
    struct member_event ev = creation(7);
    refuse(&h, join(2, 5));
    ev.q = 48;
    refuse(&h, ev);
    ev.q = 64;
    ev.w = 4;
    refuse(&h, ev);
    add(&h, creation(7));
    refuse(&h, creation(8));
    refuse(&h, join(0, 5)); /* before the creation */
    refuse(&h, join(2, 0));
    ev = join(2, 5);
    ev.weight = 1001;
    refuse(&h, ev);
    const char *bad[] = {"host",   "host:", ":80",   "host:0", "host:65536", "host:8a",
                         "a b:80", "[::1",  "[]:80", "::1:80", "host:080",   "host:80 "};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ev = join(2, 5);
        ev.address = (char *)bad[i];
        refuse(&h, ev);
    }
    ev = join(2, 5);
    ev.zone = "a b";
    refuse(&h, ev);
    refuse(&h, (struct member_event){.stamp = 9, .node = 5, .type = MEMBER_LEAVE});
    history_release(&h);
}

static void test_addresses_of_all_kinds_are_taken(void **state)
{
    (void)state;
    struct history h = HISTORY_EMPTY;
    const char *good[] = {"a:1", "node-1.example.org:65535", "127.0.0.1:80", "[fe80::1]:443"};
    add(&h, creation(7));
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct member_event ev = join(2 + i, 5 + i);
        ev.address = (char *)good[i];
        add(&h, ev);
    }
    assert_int_equal(h.n, 5);
    history_release(&h);
}

static void test_a_removed_node_may_not_join_again(void **state)
{
    (void)state;
    struct history h = HISTORY_EMPTY;
    add(&h, creation(7));
    add(&h, join(2, 5));
    add(&h, (struct member_event){.stamp = 3, .node = 5, .type = MEMBER_REMOVE});
    refuse(&h, join(4, 5));
    struct member_event swap = join(5, 6);
    swap.replaces = 99;
    refuse(&h, swap);
    add(&h, join(6, 7));
    swap.stamp = 8;
    swap.replaces = 7;
    add(&h, swap);
    refuse(&h, join(9, 7));
    history_release(&h);
}

static void test_joining_is_the_union_and_says_whether_it_changed(void **state)
{
    (void)state;
    struct history a = HISTORY_EMPTY, b = HISTORY_EMPTY, all = HISTORY_EMPTY;
    bool changed = true;
    add(&a, creation(7));
    add(&a, join(2, 5));
    history_copy(&b, &a);
    assert_int_equal(history_join(&a, &b, &changed), DYN_OK);
    assert_false(changed);
    add(&a, join(3, 6));
    add(&b, join(3, 4));
    add(&b, (struct member_event){.stamp = 4, .node = 5, .type = MEMBER_LEAVE});
    history_copy(&all, &a);
    assert_int_equal(history_join(&all, &b, &changed), DYN_OK);
    assert_true(changed);
    assert_int_equal(all.n, 5);
    assert_int_equal(history_join(&b, &a, &changed), DYN_OK);
    assert_same(&all, &b);
    assert_int_equal(history_join(&b, &all, &changed), DYN_OK);
    assert_false(changed);
    history_release(&a);
    history_release(&b);
    history_release(&all);
}

static void test_histories_of_two_clusters_do_not_join(void **state)
{
    (void)state;
    struct history a = HISTORY_EMPTY, b = HISTORY_EMPTY;
    bool changed;
    add(&a, creation(7));
    add(&b, creation(8));
    add(&b, join(2, 5));
    assert_int_equal(history_join(&a, &b, &changed), DYN_ERR_INVALID);
    assert_int_equal(a.n, 1);
    history_release(&a);
    history_release(&b);
}

static void test_encoding_round_trips(void **state)
{
    (void)state;
    struct history a = HISTORY_EMPTY, b = HISTORY_EMPTY;
    struct buf bytes = BUF_EMPTY;
    struct member_event last = join(9, 6);
    last.zone = NULL;
    last.replaces = 5;
    add(&a, creation(7));
    add(&a, join(2, 5));
    add(&a, (struct member_event){.stamp = 4, .node = 5, .type = MEMBER_ZONE});
    add(&a,
        (struct member_event){.stamp = 5, .node = 5, .type = MEMBER_ADDRESS, .address = "other:9"});
    add(&a, last);
    history_encode(&a, &bytes);
    struct reader r = reader_of(buf_slice(&bytes));
    history_decode(&r, &b);
    assert_true(reader_done(&r));
    assert_same(&a, &b);
    assert_string_equal(b.events[3].address, "other:9");
    assert_null(b.events[4].zone);
    buf_release(&bytes);
    history_release(&a);
    history_release(&b);
}

static void test_decoding_refuses_what_adding_refuses(void **state)
{
    (void)state;
    struct history h = HISTORY_EMPTY, got = HISTORY_EMPTY;
    add(&got, creation(9));
    add(&h, creation(7));
    add(&h, join(2, 5));
    add(&h, join(3, 6));
    struct member_event a = h.events[1], b = h.events[2];
    for (int broken = 0; broken < 5; broken++) {
        struct buf bytes = BUF_EMPTY;
        h.events[1] = broken == 0 ? b : a; /* out of order, and twice */
        h.events[2] = broken == 0 ? a : broken == 1 ? a : b;
        if (broken == 2)
            h.events[2].weight = 0;
        if (broken == 3) /* about a node that has not joined */
            h.events[2] = (struct member_event){.stamp = 3, .node = 8, .type = MEMBER_LEAVE};
        if (broken == 4)
            h.events[2].replaces = 77;
        history_encode(&h, &bytes);
        struct reader r = reader_of(buf_slice(&bytes));
        history_decode(&r, &got);
        assert_false(reader_ok(&r));
        assert_int_equal(got.n, 1);
        buf_release(&bytes);
    }
    h.events[1] = a;
    h.events[2] = b;
    history_release(&h);
    history_release(&got);
}

static void test_decoding_survives_any_cut_and_any_flipped_byte(void **state)
{
    (void)state;
    struct history h = HISTORY_EMPTY;
    struct buf bytes = BUF_EMPTY;
    add(&h, creation(7));
    for (uint64_t i = 1; i < 9; i++)
        add(&h, join(1 + i, i));
    history_encode(&h, &bytes);
    for (size_t cut = 0; cut < bytes.len; cut++) {
        struct history got = HISTORY_EMPTY;
        struct reader r = reader_of(slice_of(bytes.data, cut));
        history_decode(&r, &got);
        assert_false(reader_ok(&r));
        history_release(&got);
    }
    for (size_t at = 0; at < bytes.len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            struct history got = HISTORY_EMPTY;
            bytes.data[at] ^= (uint8_t)(1 << bit);
            struct reader r = reader_of(buf_slice(&bytes));
            history_decode(&r, &got);
            assert_true(!reader_ok(&r) || got.n > 0);
            history_release(&got);
            bytes.data[at] ^= (uint8_t)(1 << bit);
        }
    }
    buf_release(&bytes);
    history_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_events_in_any_order_give_equal_histories),
        cmocka_unit_test(test_adding_what_is_there_changes_nothing),
        cmocka_unit_test(test_broken_rules_are_refused_by_name),
        cmocka_unit_test(test_addresses_of_all_kinds_are_taken),
        cmocka_unit_test(test_a_removed_node_may_not_join_again),
        cmocka_unit_test(test_joining_is_the_union_and_says_whether_it_changed),
        cmocka_unit_test(test_histories_of_two_clusters_do_not_join),
        cmocka_unit_test(test_encoding_round_trips),
        cmocka_unit_test(test_decoding_refuses_what_adding_refuses),
        cmocka_unit_test(test_decoding_survives_any_cut_and_any_flipped_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
