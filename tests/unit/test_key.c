/* SPDX-License-Identifier: Apache-2.0 */
/* Two spellings of one key, or a name that no directory can hold, would make files that cannot be
 * reached: so each rule is tested at its edge. */
#include "model/key.h"

#include "base/err.h"
#include "unit.h"

static struct slice repeat(char *room, size_t len)
{
    memset(room, 'x', len);
    return slice_of(room, len);
}

static void test_ordinary_paths_are_keys(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "a/b", "...", ".hidden", "a b", "\xff\xfe", "a/..b/c."};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(key_check(slice_str(good[i]), NULL), DYN_OK);
    char room[KEY_NAME_MAX];
    assert_int_equal(key_check(repeat(room, KEY_NAME_MAX), NULL), DYN_OK);
}

static void test_each_broken_rule_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        size_t len;
        const char *word;
    } bad[] = {
        {"", 0, "not empty"},
        {"/a", 2, "empty component"},
        {"a/", 2, "empty component"},
        {"a//b", 4, "empty comp"},
        {".", 1, "\".\""},
        {"a/../b", 6, "\"..\""},
        {"a/.", 3, "\".\""},
        {"a\0b", 3, "NUL"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *rule = NULL;
        assert_int_equal(key_check(slice_of(bad[i].key, bad[i].len), &rule), DYN_ERR_INVALID);
        assert_non_null(rule);
        assert_non_null(strstr(rule, bad[i].word));
    }
}

static void test_lengths_are_limited(void **state)
{
    (void)state;
    char room[KEY_LEN_MAX + 1];
    const char *rule = NULL;
    assert_int_equal(key_check(repeat(room, KEY_NAME_MAX + 1), &rule), DYN_ERR_INVALID);
    assert_non_null(strstr(rule, "255"));
    for (size_t i = 0; i < sizeof(room); i++)
        room[i] = i % 100 == 99 ? '/' : 'k';
    assert_int_equal(key_check(slice_of(room, KEY_LEN_MAX), NULL), DYN_OK);
    assert_int_equal(key_check(slice_of(room, KEY_LEN_MAX + 1), &rule), DYN_ERR_INVALID);
    assert_non_null(strstr(rule, "4095"));
}

static void test_a_name_has_no_slash(void **state)
{
    (void)state;
    assert_int_equal(key_name_check(slice_str("a"), NULL), DYN_OK);
    assert_int_equal(key_name_check(slice_str("a/b"), NULL), DYN_ERR_INVALID);
    assert_int_equal(key_name_check(slice_str(""), NULL), DYN_ERR_INVALID);
}

static void test_parent_and_name_join_to_the_key(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"a", "", "a"}, {"a/b", "a", "b"}, {"a/bc/d", "a/bc", "d"}};
    for (size_t i = 0; i < 3; i++) {
        struct slice key = slice_str(cases[i][0]);
        assert_true(slice_equal(key_parent(key), slice_str(cases[i][1])));
        assert_true(slice_equal(key_name(key), slice_str(cases[i][2])));
        struct buf b = BUF_EMPTY;
        key_join(key_parent(key), key_name(key), &b);
        assert_true(slice_equal(buf_slice(&b), key));
        buf_release(&b);
    }
    assert_int_equal(key_parent(slice_str("")).len, 0);
    assert_int_equal(key_name(slice_str("")).len, 0);
}

static void test_position_is_md5(void **state)
{
    (void)state;
    struct position p = position_of(slice_str("abc")); /* RFC 1321 A.5 */
    static const uint8_t want[16] = {0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0,
                                     0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1, 0x7f, 0x72};
    assert_memory_equal(p.bytes, want, 16);
}

static void test_partition_is_the_leading_bits(void **state)
{
    (void)state;
    struct position p = {{0xab, 0xcd, 0xef}};
    assert_int_equal(position_partition(&p, 1), 0);
    assert_int_equal(position_partition(&p, 2), 1);
    assert_int_equal(position_partition(&p, 256), 0xab);
    assert_int_equal(position_partition(&p, 4096), 0xabc);
    assert_int_equal(position_partition(&p, 1u << 24), 0xabcdef);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinary_paths_are_keys),
        cmocka_unit_test(test_each_broken_rule_is_named),
        cmocka_unit_test(test_lengths_are_limited),
        cmocka_unit_test(test_a_name_has_no_slash),
        cmocka_unit_test(test_parent_and_name_join_to_the_key),
        cmocka_unit_test(test_position_is_md5),
        cmocka_unit_test(test_partition_is_the_leading_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
