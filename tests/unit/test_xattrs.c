/* SPDX-License-Identifier: Apache-2.0 */
/* An xattr list is user data inside an attribute: what is set must be found, in any order of
 * setting, and a list from a stranger must be well formed before anyone walks it. */
#include "base/err.h"
#include "model/object.h"
#include "unit.h"

static void set(struct blob **list, const char *name, const char *value)
{
    struct blob *old = *list;
    assert_int_equal(xattrs_set(old, slice_str(name), slice_str(value), list), DYN_OK);
    blob_unref(old);
}

static void assert_value(const struct blob *list, const char *name, const char *want)
{
    struct slice v;
    assert_int_equal(xattrs_get(list, slice_str(name), &v), DYN_OK);
    assert_true(slice_equal(v, slice_str(want)));
}

static void test_set_replaces_and_keeps_order(void **state)
{
    (void)state;
    struct blob *a = NULL, *b = NULL;
    set(&a, "user.b", "2");
    set(&a, "user.a", "1");
    set(&a, "user.c", "");
    set(&a, "user.b", "two");
    set(&b, "user.c", "");
    set(&b, "user.b", "two");
    set(&b, "user.a", "1");
    assert_true(slice_equal(slice_of(a->data, a->len), slice_of(b->data, b->len)));
    assert_true(xattrs_valid(slice_of(a->data, a->len)));
    assert_value(a, "user.a", "1");
    assert_value(a, "user.b", "two");
    assert_value(a, "user.c", "");
    static const char *const names[] = {"user.a", "user.b", "user.c"};
    struct slice n, v;
    size_t at = 0, count = 0;
    while (xattrs_next(a, &at, &n, &v))
        assert_true(slice_equal(n, slice_str(names[count++])));
    assert_int_equal(count, 3);
    blob_unref(a);
    blob_unref(b);
}

static void test_removing_the_last_leaves_no_list(void **state)
{
    (void)state;
    struct blob *list = NULL, *out = NULL;
    struct slice nothing = slice_of(NULL, 0), v;
    set(&list, "user.a", "1");
    out = list;
    assert_int_equal(xattrs_set(list, slice_str("user.b"), nothing, &out), DYN_ERR_NOT_FOUND);
    assert_ptr_equal(out, list);
    assert_int_equal(xattrs_set(list, slice_str("user.a"), nothing, &out), DYN_OK);
    assert_null(out);
    assert_int_equal(xattrs_get(NULL, slice_str("user.a"), &v), DYN_ERR_NOT_FOUND);
    blob_unref(list);
}

static void test_limits_are_kept(void **state)
{
    (void)state;
    static char big[XATTRS_LEN_MAX + 1];
    struct blob *out = NULL;
    memset(big, 'x', sizeof(big));
    assert_int_equal(xattrs_set(NULL, slice_str("a"), slice_of(big, sizeof(big)), &out),
                     DYN_ERR_TOO_LARGE);
    assert_int_equal(xattrs_set(NULL, slice_str("a"), slice_of(big, XATTRS_LEN_MAX), &out),
                     DYN_ERR_TOO_LARGE);
    assert_int_equal(xattrs_set(NULL, slice_of(big, 256), slice_str("v"), &out), DYN_ERR_INVALID);
    assert_int_equal(xattrs_set(NULL, slice_str(""), slice_str("v"), &out), DYN_ERR_INVALID);
    assert_int_equal(xattrs_set(NULL, slice_of("a\0b", 3), slice_str("v"), &out), DYN_ERR_INVALID);
    assert_null(out);
    assert_int_equal(xattrs_set(NULL, slice_of(big, 255), slice_of(big, 60000), &out), DYN_OK);
    blob_unref(out);
}

static void test_broken_lists_are_invalid(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        bool valid;
    } cases[] = {
        {"", 0, true},
        {"\1a\1x\1b\0", 7, true},
        {"\1b\0\1a\0", 6, false}, /* disorder */
        {"\1a\0\1a\0", 6, false}, /* twice */
        {"\0\1x", 3, false},      /* no name */
        {"\1a\2x", 4, false},     /* cut */
        {"\1a", 2, false},        /* cut */
        {"\1\0\1x", 4, false},    /* NUL in a name */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(xattrs_valid(slice_of(cases[i].bytes, cases[i].len)), cases[i].valid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_replaces_and_keeps_order),
        cmocka_unit_test(test_removing_the_last_leaves_no_list),
        cmocka_unit_test(test_limits_are_kept),
        cmocka_unit_test(test_broken_lists_are_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
