/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes tell each other: joins in any order give the same, and hostile bytes give nothing. */
#include "model/rumours.h"

#include "base/err.h"
#include "unit.h"

static struct rumours with_boot(uint64_t node, uint64_t count, uint64_t incarnation)
{
    struct rumours r = RUMOURS_EMPTY;
    struct boot b = {node, count, incarnation};
    rumours_set_boot(&r, &b);
    return r;
}

static void remember(void *arg, const struct boot *boot)
{
    *(struct boot *)arg = *boot;
}

static void test_the_later_start_of_a_node_wins(void **state)
{
    (void)state;
    struct rumours a = with_boot(7, 3, 100), b = with_boot(7, 4, 1);
    struct boot told = {0};
    assert_false(rumours_join_boots(&b, &a, remember, &told));
    assert_int_equal(told.node, 0);
    assert_true(rumours_join_boots(&a, &b, remember, &told));
    assert_int_equal(told.count, 4);
    assert_int_equal(rumours_boot(&a, 7)->incarnation, 1);
    assert_false(rumours_join_boots(&a, &b, NULL, NULL));
    rumours_release(&a);
    rumours_release(&b);
}

static void test_two_processes_with_one_count_see_each_other(void **state)
{
    (void)state;
    struct rumours a = with_boot(7, 3, 100), b = with_boot(7, 3, 200), c = with_boot(7, 3, 100);
    struct boot told = {0};
    assert_true(rumours_join_boots(&a, &b, remember, &told));
    assert_int_equal(told.incarnation, 200);
    assert_int_equal(rumours_boot(&a, 7)->count, 4);          /* so neither is the last any more */
    assert_true(rumours_join_boots(&b, &c, remember, &told)); /* and the other way round */
    assert_int_equal(told.incarnation, 100);
    assert_int_equal(rumours_boot(&b, 7)->count, 4);
    assert_false(rumours_join_boots(&b, &a, NULL, NULL));
    assert_false(rumours_join_boots(&b, &c, NULL, NULL));
    rumours_release(&a);
    rumours_release(&b);
    rumours_release(&c);
}

static void test_the_later_plan_wins(void **state)
{
    (void)state;
    struct rumours a = RUMOURS_EMPTY, b = RUMOURS_EMPTY;
    a.plan_stamp = b.plan_stamp = 5;
    a.plan_node = 1;
    b.plan_node = 2;
    buf_put_str(&a.plan, "first");
    buf_put_str(&b.plan, "second");
    assert_false(rumours_join_plan(&b, &a));
    assert_true(rumours_join_plan(&a, &b));
    assert_true(slice_equal(buf_slice(&a.plan), slice_str("second")));
    rumours_release(&a);
    rumours_release(&b);
}

static void some(struct rumours *r)
{
    static char address[] = "127.0.0.1:7000";
    struct member_event create = {
        .stamp = 1, .type = MEMBER_CREATE, .cluster = 9, .q = 8, .n = 3, .r = 2, .w = 2};
    struct member_event join = {
        .stamp = 2, .type = MEMBER_JOIN, .node = 7, .weight = 100, .address = address};
    assert_int_equal(history_add(&r->history, &create, NULL), DYN_OK);
    assert_int_equal(history_add(&r->history, &join, NULL), DYN_OK);
    for (uint64_t i = 9; i > 0; i--) {
        struct boot b = {i, i * 300, i};
        rumours_set_boot(r, &b);
    }
    r->plan_stamp = 3;
    r->plan_node = 7;
    buf_put_str(&r->plan, "a plan");
}

static void test_what_is_told_arrives_and_nothing_less(void **state)
{
    (void)state;
    struct rumours a = RUMOURS_EMPTY, back = RUMOURS_EMPTY;
    struct rumours_digest x, y;
    struct buf bytes = BUF_EMPTY;
    some(&a);
    rumours_encode(&a, &bytes);
    struct reader r = reader_of(buf_slice(&bytes));
    rumours_decode(&r, &back);
    assert_true(reader_done(&r));
    rumours_digest(&a, &x);
    rumours_digest(&back, &y);
    assert_true(rumours_digest_equal(&x, &y));
    for (size_t cut = 0; cut < bytes.len; cut++) {
        struct rumours none = RUMOURS_EMPTY;
        r = reader_of(slice_of(bytes.data, cut));
        rumours_decode(&r, &none);
        assert_false(reader_ok(&r));
        assert_int_equal(none.n_boots, 0);
    }
    buf_release(&bytes);
    rumours_release(&a);
    rumours_release(&back);
}

static void test_each_part_shows_in_the_digest(void **state)
{
    (void)state;
    struct rumours a = RUMOURS_EMPTY;
    struct rumours_digest before, after;
    rumours_digest(&a, &before);
    struct boot b = {1, 1, 1};
    rumours_set_boot(&a, &b);
    rumours_digest(&a, &after);
    assert_false(rumours_digest_equal(&before, &after));
    before = after;
    a.plan_stamp++;
    rumours_digest(&a, &after);
    assert_false(rumours_digest_equal(&before, &after));
    rumours_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_later_start_of_a_node_wins),
        cmocka_unit_test(test_two_processes_with_one_count_see_each_other),
        cmocka_unit_test(test_the_later_plan_wins),
        cmocka_unit_test(test_what_is_told_arrives_and_nothing_less),
        cmocka_unit_test(test_each_part_shows_in_the_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
