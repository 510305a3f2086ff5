/* SPDX-License-Identifier: Apache-2.0 */
/* What truncation may cut, and what it must not (E4). */
#include "histories.h"
#include "unit.h"

#define NOBODY ((struct actor){0})

/* One file that `n` nodes have written one after the other, at 1, 2, ... n seconds. */
static void written_by(struct object *o, uint64_t n)
{
    for (uint64_t i = 1; i <= n; i++) {
        struct cover all = COVER_EMPTY;
        char text[16];
        snprintf(text, sizeof(text), "by %u", (unsigned)i);
        clock_copy(&all.clock, &o->clock);
        write_file(o, &all, dot_of(i, 1), text, i * 1000000000);
        cover_release(&all);
    }
}

static bool has(const struct clock *c, uint64_t node)
{
    struct actor a = actor_of(node);
    return clock_get(c, &a) != 0;
}

static void test_the_oldest_pairs_go_down_to_the_threshold(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct clock cut = CLOCK_EMPTY;
    written_by(&o, 12);
    object_truncate(&o, &(struct truncation){10, UINT64_MAX, NOBODY, NULL}, &cut);
    assert_int_equal(o.clock.n, 10);
    assert_int_equal(cut.n, 2);
    assert_true(has(&cut, 1) && has(&cut, 2));
    assert_false(has(&o.clock, 1) || has(&o.clock, 2));
    assert_int_equal(o.n, 1);
    clock_release(&cut);
    object_release(&o);
}

static void test_no_pair_is_cut_before_the_least_age(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct clock cut = CLOCK_EMPTY;
    written_by(&o, 12);
    object_truncate(&o, &(struct truncation){2, 3000, NOBODY, NULL}, &cut);
    assert_int_equal(cut.n, 3); /* of seconds 1 to 3 */
    assert_int_equal(o.clock.n, 9);
    clock_release(&cut);
    object_release(&o);
}

static void test_the_pair_of_a_version_that_is_there_stays(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct clock cut = CLOCK_EMPTY;
    write_file(&o, NULL, dot_of(1, 1), "old and never read", 1);
    write_file(&o, NULL, dot_of(2, 1), "two", 2000000);
    object_truncate(&o, &(struct truncation){1, UINT64_MAX, NOBODY, NULL}, &cut);
    assert_int_equal(o.clock.n, 2);
    assert_int_equal(cut.n, 0);
    struct cover first = COVER_EMPTY; /* so that somebody can still remove it */
    cover_add_dot(&first, &o.siblings[0].dot);
    object_write(&o, &first, NULL, 3);
    assert_int_equal(o.n, 1);
    object_truncate(&o, &(struct truncation){1, UINT64_MAX, NOBODY, NULL}, &cut);
    assert_int_equal(o.clock.n, 1);
    assert_true(has(&cut, 1));
    cover_release(&first);
    clock_release(&cut);
    object_release(&o);
}

static void test_the_pair_of_an_open_epoch_stays(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct clock cut = CLOCK_EMPTY;
    written_by(&o, 3);
    object_truncate(&o, &(struct truncation){1, UINT64_MAX, actor_of(1), NULL}, &cut);
    assert_true(has(&o.clock, 1));
    assert_false(has(&o.clock, 2));
    clock_release(&cut);
    object_release(&o);
}

/* This put has just removed it; who misses the put has it still. */
static void test_the_pair_of_a_version_that_was_there_until_now_stays(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY, before = OBJECT_EMPTY;
    struct clock cut = CLOCK_EMPTY;
    struct cover all = COVER_EMPTY;
    written_by(&o, 2);
    object_copy(&before, &o);
    clock_copy(&all.clock, &o.clock);
    write_file(&o, &all, dot_of(3, 1), "three", 3000000000);
    object_truncate(&o, &(struct truncation){1, UINT64_MAX, NOBODY, &before}, &cut);
    assert_true(has(&cut, 1));
    assert_true(has(&o.clock, 2));
    cover_release(&all);
    clock_release(&cut);
    object_release(&before);
    object_release(&o);
}

static void test_nothing_of_a_tombstone_is_cut(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct clock cut = CLOCK_EMPTY, wanted = CLOCK_EMPTY;
    struct cover all = COVER_EMPTY;
    written_by(&o, 5);
    clock_copy(&all.clock, &o.clock);
    write_delete(&o, &all, dot_of(9, 1), 9000000000);
    object_truncate(&o, &(struct truncation){1, UINT64_MAX, NOBODY, NULL}, &cut);
    assert_int_equal(o.clock.n, 6);
    clock_copy(&wanted, &all.clock);
    assert_false(object_follow_cut(&o, &wanted));
    assert_int_equal(o.clock.n, 6);
    write_file(&o, NULL, dot_of(8, 1), "beside the delete", 1); /* the delete is still needed */
    object_truncate(&o, &(struct truncation){1, UINT64_MAX, NOBODY, NULL}, &cut);
    assert_int_equal(cut.n, 0);
    cover_release(&all);
    clock_release(&wanted);
    object_release(&o);
}

static void test_a_replica_follows_a_cut_but_not_against_what_it_knows(void **state)
{
    (void)state;
    struct object a = OBJECT_EMPTY, b = OBJECT_EMPTY;
    struct clock cut = CLOCK_EMPTY;
    written_by(&a, 4);
    object_copy(&b, &a);
    clock_advance(&b.clock, &(struct dot){actor_of(2), 7}, 1); /* it has seen more of node 2 */
    write_file(&b, NULL, dot_of(1, 9), "a version of node 1", 5);
    object_truncate(&a, &(struct truncation){1, UINT64_MAX, NOBODY, NULL}, &cut);
    assert_int_equal(cut.n, 3);
    object_join(&b, &a);
    assert_true(object_follow_cut(&b, &cut));
    assert_true(has(&b.clock, 1));
    assert_true(has(&b.clock, 2));
    assert_false(has(&b.clock, 3));
    assert_false(object_follow_cut(&b, &cut)); /* and once is all there is to it */
    clock_release(&cut);
    object_release(&a);
    object_release(&b);
}

/* Whoever has not seen this put keeps its version, and it is seen again: a conflict, not a loss. */
static void test_a_version_under_a_cut_pair_comes_back_beside_the_newer_one(void **state)
{
    (void)state;
    struct object away = OBJECT_EMPTY, o = OBJECT_EMPTY;
    struct clock cut = CLOCK_EMPTY;
    written_by(&away, 1);
    written_by(&o, 3);
    object_truncate(&o, &(struct truncation){1, UINT64_MAX, NOBODY, NULL}, &cut);
    object_join(&o, &away);
    assert_int_equal(o.n, 2);
    clock_release(&cut);
    object_release(&away);
    object_release(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_oldest_pairs_go_down_to_the_threshold),
        cmocka_unit_test(test_no_pair_is_cut_before_the_least_age),
        cmocka_unit_test(test_the_pair_of_a_version_that_is_there_stays),
        cmocka_unit_test(test_the_pair_of_an_open_epoch_stays),
        cmocka_unit_test(test_the_pair_of_a_version_that_was_there_until_now_stays),
        cmocka_unit_test(test_nothing_of_a_tombstone_is_cut),
        cmocka_unit_test(test_a_replica_follows_a_cut_but_not_against_what_it_knows),
        cmocka_unit_test(test_a_version_under_a_cut_pair_comes_back_beside_the_newer_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
