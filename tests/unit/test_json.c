/* SPDX-License-Identifier: Apache-2.0 */
/* JSON comes from the network and goes to scripts: hostile text must be refused or bounded, and
 * what is printed must be exact, also for integers that a double cannot tell apart. */
#include "base/json.h"

#include "base/err.h"
#include "unit.h"

static struct json *parse(const char *text)
{
    struct json *j = NULL;
    assert_int_equal(json_parse(slice_str(text), 16, &j), DYN_OK);
    assert_non_null(j);
    return j;
}

static void assert_printed(struct json *j, const char *want)
{
    struct buf b = BUF_EMPTY;
    json_print(j, false, &b);
    buf_put_u8(&b, 0);
    assert_string_equal((const char *)b.data, want);
    buf_release(&b);
    json_free(j);
}

static void test_a_tree_prints_as_built(void **state)
{
    (void)state;
    struct json *j = json_object();
    json_add_str(j, "s", "a \"b\"\n");
    json_add_bool(j, "yes", true);
    json_add_hex(j, "hex", slice_of("\x01\xab", 2));
    struct json *list = json_add_array(j, "list");
    json_add_u64(list, NULL, 7);
    json_add_str(json_add_object(list, NULL), "k", "v");
    assert_printed(j, "{\"s\":\"a \\\"b\\\"\\n\",\"yes\":true,\"hex\":\"01ab\","
                      "\"list\":[7,{\"k\":\"v\"}]}");
}

static void test_integers_are_exact(void **state)
{
    (void)state;
    struct json *j = json_array();
    json_add_u64(j, NULL, 0);
    json_add_u64(j, NULL, UINT64_C(999999999999999));
    json_add_u64(j, NULL, UINT64_C(9007199254740991));
    json_add_u64(j, NULL, UINT64_C(9007199254740993));
    json_add_u64(j, NULL, UINT64_MAX);
    assert_printed(j, "[0,999999999999999,9007199254740991,\"9007199254740993\","
                      "\"18446744073709551615\"]");
}

static void test_integers_come_back(void **state)
{
    (void)state;
    struct json *j = parse("[0, 9007199254740991, \"18446744073709551615\", -1, 1.5, "
                           "\"18446744073709551616\", \"\", \"1x\", 1e300, null]");
    uint64_t v = 99;
    assert_true(json_u64(json_at(j, 0), &v));
    assert_int_equal(v, 0);
    assert_true(json_u64(json_at(j, 1), &v));
    assert_true(v == UINT64_C(9007199254740991));
    assert_true(json_u64(json_at(j, 2), &v));
    assert_true(v == UINT64_MAX);
    for (unsigned i = 3; i < 10; i++)
        assert_false(json_u64(json_at(j, i), &v));
    assert_true(v == UINT64_MAX);
    assert_false(json_u64(NULL, &v));
    json_free(j);
}

static void test_names_need_not_be_utf8(void **state)
{
    (void)state;
    struct json *j = json_array();
    json_add_bytes(j, NULL, slice_str("a/\xff b"));
    json_add_str(j, NULL, "gr\xc3\xbc\xc3\x9f");
    static const char *const broken[] = {"\xff", "\xc3", "\xed\xa0\x80", "\xc0\x80"};
    for (int i = 0; i < 4; i++)
        json_add_str(j, NULL, broken[i]);
    assert_printed(j, "[\"a/%FF%20b\",\"gr\xc3\xbc\xc3\x9f\",\"%FF\",\"%C3\",\"%ED%A0%80\","
                      "\"%C0%80\"]");
}

static void test_broken_text_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      "{",         "[1,]", "{\"a\":}", "[1] x",
                                      "\"abc", "{\"1\":1,", "nul",  "[1 2]",    "{a:1}"};
    struct json *j = NULL;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(json_parse(slice_str(bad[i]), 16, &j), DYN_ERR_INVALID);
    assert_int_equal(json_parse(slice_of("[1]\0", 4), 16, &j), DYN_ERR_INVALID);
    assert_null(j);
    json_free(parse(" [1] \n"));
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    struct json *j = NULL;
    assert_int_equal(json_parse(slice_str("[[[]]]"), 3, &j), DYN_OK);
    json_free(j);
    assert_int_equal(json_parse(slice_str("[[[]]]"), 2, &j), DYN_ERR_INVALID);
    assert_int_equal(json_parse(slice_str("[\"[[[[\\\"[[\"]"), 1, &j), DYN_OK);
    json_free(j);
    char deep[100000];
    memset(deep, '[', sizeof(deep));
    assert_int_equal(json_parse(slice_of(deep, sizeof(deep)), 64, &j), DYN_ERR_INVALID);
}

static void test_reading_tolerates_other_types(void **state)
{
    (void)state;
    struct json *j = parse("{\"a\":[1,2,3],\"b\":true,\"s\":\"x\"}");
    bool yes = false;
    assert_null(json_get(j, "A"));
    assert_null(json_get(json_get(j, "a"), "b"));
    assert_null(json_at(j, 0));
    assert_int_equal(json_len(j), 0);
    assert_null(json_str(json_get(j, "b")));
    assert_null(json_str(NULL));
    assert_string_equal(json_str(json_get(j, "s")), "x");
    assert_false(json_bool(json_get(j, "s"), &yes));
    assert_true(json_bool(json_get(j, "b"), &yes) && yes);
    assert_int_equal(json_len(json_get(j, "a")), 3);
    assert_null(json_at(json_get(j, "a"), 3));
    unsigned n = 0;
    for (const struct json *e = json_first(json_get(j, "a")); e != NULL; e = json_next(e))
        n++;
    assert_int_equal(n, 3);
    assert_null(json_first(j));
    json_free(j);
}

static void test_a_copy_outlives_its_original(void **state)
{
    (void)state;
    struct json *from, *to = json_object();
    struct buf text = BUF_EMPTY;
    assert_int_equal(json_parse(slice_str("{\"a\":[1,{\"b\":null}]}"), 8, &from), DYN_OK);
    json_add_copy(to, "whole", from);
    json_add_copy(json_add_array(to, "part"), NULL, json_get(from, "a"));
    json_free(from);
    json_print(to, false, &text);
    buf_put_u8(&text, 0);
    assert_string_equal((const char *)text.data,
                        "{\"whole\":{\"a\":[1,{\"b\":null}]},\"part\":[[1,{\"b\":null}]]}");
    buf_release(&text);
    json_free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tree_prints_as_built),
        cmocka_unit_test(test_integers_are_exact),
        cmocka_unit_test(test_integers_come_back),
        cmocka_unit_test(test_names_need_not_be_utf8),
        cmocka_unit_test(test_a_copy_outlives_its_original),
        cmocka_unit_test(test_broken_text_is_refused),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_reading_tolerates_other_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
