/* SPDX-License-Identifier: Apache-2.0 */
/* When R copies make an answer, what it is, and who was behind. */
#include "base/err.h"
#include "histories.h"
#include "model/read_quorum.h"
#include "unit.h"

static void copy_with(struct object *o, uint64_t node, uint64_t counter, const char *text)
{
    *o = OBJECT_EMPTY;
    write_file(o, NULL, dot_of(node, counter), text, counter * 1000000);
}

static void unload(struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++) {
        blob_unref(o->siblings[i].value);
        o->siblings[i].value = NULL;
    }
}

static void test_r_copies_complete_it_and_the_merge_holds_them_all(void **state)
{
    (void)state;
    struct read_quorum q;
    struct object a, b;
    read_quorum_init(&q, 2, NULL);
    copy_with(&a, 1, 1, "one");
    copy_with(&b, 2, 1, "two");
    read_quorum_add(&q, 10, true, true, &a);
    assert_false(read_quorum_complete(&q));
    read_quorum_add(&q, 11, true, true, &b);
    assert_true(read_quorum_complete(&q));
    assert_int_equal(object_live_count(&q.merged), 2);
    assert_int_equal(read_quorum_stale(&q), 2);
    read_quorum_release(&q);
}

static void test_a_node_counts_once(void **state)
{
    (void)state;
    struct read_quorum q;
    struct object a, again;
    read_quorum_init(&q, 2, NULL);
    copy_with(&a, 1, 1, "one");
    copy_with(&again, 1, 1, "one");
    read_quorum_add(&q, 10, true, true, &a);
    read_quorum_add(&q, 10, true, true, &again);
    assert_true(read_quorum_answered(&q, 10));
    assert_false(read_quorum_complete(&q));
    read_quorum_release(&q);
}

static void test_copies_that_have_not_seen_what_the_reader_has_complete_nothing(void **state)
{
    (void)state;
    struct read_quorum q;
    struct cover at_least = COVER_EMPTY;
    struct object a, b;
    struct dot seen = dot_of(1, 2);
    clock_advance(&at_least.clock, &seen, 0);
    read_quorum_init(&q, 1, &at_least);
    copy_with(&a, 1, 1, "older");
    read_quorum_add(&q, 10, true, true, &a);
    assert_false(read_quorum_complete(&q));
    copy_with(&b, 1, 2, "what the reader wrote");
    read_quorum_add(&q, 11, true, true, &b);
    assert_true(read_quorum_complete(&q));
    read_quorum_release(&q);
}

static void test_who_was_behind_is_told_from_who_was_not(void **state)
{
    (void)state;
    struct read_quorum q;
    struct object current, behind = OBJECT_EMPTY;
    read_quorum_init(&q, 2, NULL);
    copy_with(&current, 1, 1, "v");
    read_quorum_add(&q, 10, true, true, &current);
    read_quorum_add(&q, 11, true, true, &behind);
    assert_true(read_quorum_current(&q, 10));
    assert_false(read_quorum_current(&q, 11));
    assert_int_equal(read_quorum_stale(&q), 1);
    read_quorum_release(&q);
}

static void test_a_wanted_value_that_nobody_sent_is_missed(void **state)
{
    (void)state;
    struct read_quorum q;
    struct object a, b;
    struct dot missing, old = dot_of(1, 1), new = dot_of(2, 7);
    read_quorum_init(&q, 2, NULL);
    copy_with(&a, 1, 1, "old"); /* loaded */
    copy_with(&b, 2, 7, "new"); /* newest, not loaded */
    unload(&b);
    read_quorum_add(&q, 10, true, true, &a);
    read_quorum_add(&q, 11, true, true, &b);
    assert_int_equal(read_quorum_missing(&q, VALUE_NONE, NULL, &missing), DYN_ERR_NOT_FOUND);
    assert_int_equal(read_quorum_missing(&q, VALUE_NEWEST, NULL, &missing), DYN_OK);
    assert_true(dot_equal(&missing, &new));
    assert_int_equal(read_quorum_missing(&q, VALUE_ALL, NULL, &missing), DYN_OK);
    assert_int_equal(read_quorum_missing(&q, VALUE_DOT, &old, &missing), DYN_ERR_NOT_FOUND);
    read_quorum_release(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_r_copies_complete_it_and_the_merge_holds_them_all),
        cmocka_unit_test(test_a_node_counts_once),
        cmocka_unit_test(test_copies_that_have_not_seen_what_the_reader_has_complete_nothing),
        cmocka_unit_test(test_who_was_behind_is_told_from_who_was_not),
        cmocka_unit_test(test_a_wanted_value_that_nobody_sent_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
