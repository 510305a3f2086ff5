/* SPDX-License-Identifier: Apache-2.0 */
/* What versions come to under lww and union. */
#include "histories.h"
#include "unit.h"

static struct slice text_of(struct buf *b)
{
    return buf_slice(b);
}

static void test_the_union_has_each_line_once_in_order_of_age(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct buf out = BUF_EMPTY;
    write_file(&o, NULL, dot_of(2, 1), "milk\nbread\n", 2000);
    write_file(&o, NULL, dot_of(1, 1), "milk\neggs", 1000);
    write_file(&o, NULL, dot_of(3, 1), "\nbread\n", 3000);
    assert_true(object_union_lines(&o, 1000, &out));
    assert_true(slice_equal(text_of(&out), slice_str("milk\neggs\nbread\n\n")));
    buf_release(&out);
    object_release(&o);
}

static void test_a_union_of_unions_is_the_same(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct buf once = BUF_EMPTY, twice = BUF_EMPTY;
    write_file(&o, NULL, dot_of(1, 1), "b\na\n", 1000);
    write_file(&o, NULL, dot_of(2, 1), "c\na\n", 2000);
    assert_true(object_union_lines(&o, 1000, &once));
    buf_put_u8(&once, 0);
    write_file(&o, NULL, dot_of(3, 1), (const char *)once.data, 3000);
    assert_true(object_union_lines(&o, 1000, &twice));
    assert_true(slice_equal(text_of(&twice), slice_str((const char *)once.data)));
    buf_release(&once);
    buf_release(&twice);
    object_release(&o);
}

static void test_lines_by_the_thousand(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct buf a = BUF_EMPTY, b = BUF_EMPTY, out = BUF_EMPTY;
    for (unsigned i = 0; i < 5000; i++) {
        buf_printf(&a, "line %u\n", i);
        buf_printf(&b, "line %u\n", i + 2500);
    }
    buf_put_u8(&a, 0);
    buf_put_u8(&b, 0);
    write_file(&o, NULL, dot_of(1, 1), (const char *)a.data, 1000);
    write_file(&o, NULL, dot_of(2, 1), (const char *)b.data, 2000);
    assert_true(object_union_lines(&o, 1 << 20, &out));
    unsigned lines = 0;
    for (size_t i = 0; i < out.len; i++)
        lines += out.data[i] == '\n';
    assert_int_equal(lines, 7500);
    buf_release(&a);
    buf_release(&b);
    buf_release(&out);
    object_release(&o);
}

static void test_what_has_no_lines_to_unite_is_left_alone(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct buf out = BUF_EMPTY;
    write_file(&o, NULL, dot_of(1, 1), "one", 1000);
    assert_false(object_union_lines(&o, 1000, &out)); /* one version */
    write_file(&o, NULL, dot_of(2, 1), "two", 2000);
    assert_false(object_union_lines(&o, 7, &out)); /* too much may come of it */
    assert_true(object_union_lines(&o, 8, &out));
    blob_unref(o.siblings[0].value);
    o.siblings[0].value = NULL;
    assert_false(object_union_lines(&o, 1000, &out)); /* not loaded */
    o.siblings[0].type = SIBLING_DIR;
    assert_false(object_union_lines(&o, 1000, &out));
    buf_release(&out);
    object_release(&o);
}

static void test_a_delete_beside_additions_does_not_undo_them(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct buf out = BUF_EMPTY;
    write_file(&o, NULL, dot_of(1, 1), "milk\n", 1000);
    write_file(&o, NULL, dot_of(2, 1), "bread\n", 2000);
    write_delete(&o, NULL, dot_of(3, 1), 3000);
    assert_true(object_union_lines(&o, 1000, &out));
    assert_true(slice_equal(text_of(&out), slice_str("milk\nbread\n")));
    buf_release(&out);
    object_release(&o);
}

static void test_the_newest_stays_and_the_clock_covers_the_rest(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    write_file(&o, NULL, dot_of(1, 1), "newest", 3000);
    write_file(&o, NULL, dot_of(2, 1), "middle", 2000);
    write_file(&o, NULL, dot_of(3, 1), "oldest", 1000);
    object_keep_newest(&o);
    assert_int_equal(o.n, 1);
    assert_int_equal(o.siblings[0].time_ns, 3000);
    assert_int_equal(o.clock.n, 3);
    write_delete(&o, NULL, dot_of(4, 1), 4000); /* a newer delete wins as well */
    object_keep_newest(&o);
    assert_false(object_live(&o));
    object_release(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_union_has_each_line_once_in_order_of_age),
        cmocka_unit_test(test_a_union_of_unions_is_the_same),
        cmocka_unit_test(test_lines_by_the_thousand),
        cmocka_unit_test(test_what_has_no_lines_to_unite_is_left_alone),
        cmocka_unit_test(test_a_delete_beside_additions_does_not_undo_them),
        cmocka_unit_test(test_the_newest_stays_and_the_clock_covers_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
