/* SPDX-License-Identifier: Apache-2.0 */
/* A value that begins with another: what may be said of it, and what comes of it. */
#include "model/extension.h"

#include "base/err.h"
#include "histories.h"
#include "unit.h"

static struct extension extension_to(const char *base)
{
    struct extension x = {.base = dot_of(3, 4), .len = strlen(base)};
    digest_sha256(slice_str(base), x.digest);
    return x;
}

static void test_an_extension_arrives_as_sent_and_not_in_part(void **state)
{
    (void)state;
    struct extension x = extension_to("what was there"), got;
    struct buf b = BUF_EMPTY;
    extension_encode(&x, &b);
    struct reader r = reader_of(buf_slice(&b));
    extension_decode(&r, &got);
    assert_true(reader_done(&r));
    assert_true(dot_equal(&got.base, &x.base));
    assert_int_equal(got.len, x.len);
    assert_memory_equal(got.digest, x.digest, DIGEST_LEN);
    for (size_t cut = 0; cut < b.len; cut++) {
        r = reader_of(slice_of(b.data, cut));
        extension_decode(&r, &got);
        assert_false(reader_ok(&r));
    }
    buf_release(&b);
}

static void test_a_base_that_no_value_can_have_does_not_decode(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {0, VALUE_LEN_MAX + 1, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct extension x = extension_to("x"), got;
        struct buf b = BUF_EMPTY;
        x.len = lengths[i];
        extension_encode(&x, &b);
        struct reader r = reader_of(buf_slice(&b));
        extension_decode(&r, &got);
        assert_false(reader_ok(&r));
        buf_release(&b);
    }
}

static void test_the_whole_has_the_limit_of_every_value(void **state)
{
    (void)state;
    struct extension x = extension_to("base"), none = {.len = 0};
    assert_int_equal(extension_check(&x, 6, 10), DYN_OK);
    assert_int_equal(extension_check(&x, 7, 10), DYN_ERR_TOO_LARGE);
    assert_int_equal(extension_check(&x, 1, 3), DYN_ERR_TOO_LARGE);
    assert_int_equal(extension_check(&x, UINT64_MAX, 10), DYN_ERR_TOO_LARGE); /* no overflow */
    assert_int_equal(extension_check(&x, 0, 10), DYN_ERR_INVALID);
    assert_int_equal(extension_check(&none, 6, 10), DYN_ERR_INVALID);
    x.base = (struct dot){.counter = 0};
    assert_int_equal(extension_check(&x, 6, 10), DYN_ERR_INVALID);
}

static void test_the_whole_is_the_base_and_what_follows(void **state)
{
    (void)state;
    struct extension x = extension_to("base");
    struct blob *whole = NULL;
    uint8_t hash[DIGEST_LEN], want[DIGEST_LEN];
    assert_int_equal(extension_build(&x, slice_str("base"), slice_str(" and more"), &whole, hash),
                     DYN_OK);
    assert_true(slice_equal(slice_of(whole->data, whole->len), slice_str("base and more")));
    digest_sha256(slice_str("base and more"), want);
    assert_memory_equal(hash, want, DIGEST_LEN);
    blob_unref(whole);
}

static void test_other_bytes_than_are_meant_make_nothing(void **state)
{
    (void)state;
    struct extension x = extension_to("base");
    struct blob *whole = NULL;
    uint8_t hash[DIGEST_LEN];
    static const char *const others[] = {"bass", "bas", "bases", ""};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(extension_build(&x, slice_str(others[i]), slice_str("!"), &whole, hash),
                         DYN_ERR_CORRUPT);
        assert_null(whole);
    }
}

static void test_only_that_version_of_a_file_is_meant(void **state)
{
    (void)state;
    struct extension x = extension_to("base"), none = {.len = 0};
    struct sibling s = file_sibling(dot_of(3, 4), "base", 1);
    assert_true(extension_of(&x, &s));
    assert_false(extension_of(&none, &s));
    s.value_dot = dot_of(3, 5);
    assert_false(extension_of(&x, &s));
    s.value_dot = x.base;
    s.manifest_len = 4; /* its value are no bytes of a file */
    assert_false(extension_of(&x, &s));
    s.manifest_len = 0;
    s.value_hash[0] ^= 1;
    assert_false(extension_of(&x, &s));
    s.value_hash[0] ^= 1;
    s.size++;
    assert_false(extension_of(&x, &s));
    sibling_release(&s);
}

/* With the bytes at hand and by their digest alone. */
static void test_a_longer_value_that_begins_the_same_is_found(void **state)
{
    (void)state;
    char base[EXTENSION_BASE_MIN + 1], longer[EXTENSION_BASE_MIN + 11];
    memset(base, 'b', sizeof(base) - 1);
    base[sizeof(base) - 1] = '\0';
    memcpy(longer, base, sizeof(base) - 1);
    memcpy(longer + sizeof(base) - 1, "0123456789", 11);
    struct sibling s = file_sibling(dot_of(1, 1), base, 1);
    uint8_t hash[DIGEST_LEN], want[DIGEST_LEN];
    digest_sha256(slice_str(longer), want);
    for (int by_digest = 0; by_digest < 2; by_digest++) {
        const struct blob *loaded = by_digest ? NULL : s.value;
        struct extension x = {.len = 0};
        assert_true(extension_find(&s, loaded, slice_str(longer), &x, hash));
        assert_true(extension_of(&x, &s));
        assert_memory_equal(hash, want, DIGEST_LEN);
        x.len = 0;
        assert_false(extension_find(&s, loaded, slice_str(base), &x, hash)); /* nothing follows */
        longer[100] ^= 1;
        assert_false(extension_find(&s, loaded, slice_str(longer), &x, hash));
        longer[100] ^= 1;
        assert_true(extension_is_none(&x));
    }
    struct extension y = {.len = 0};
    s.value_hash[0] ^= 1; /* the bytes at hand are not those of the version after all */
    assert_false(extension_find(&s, s.value, slice_str(longer), &y, hash));
    sibling_release(&s);
    s = file_sibling(dot_of(1, 1), "short", 1);
    struct extension x = {.len = 0};
    assert_false(extension_find(&s, s.value, slice_str("short, and not worth while"), &x, hash));
    sibling_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_extension_arrives_as_sent_and_not_in_part),
        cmocka_unit_test(test_a_base_that_no_value_can_have_does_not_decode),
        cmocka_unit_test(test_the_whole_has_the_limit_of_every_value),
        cmocka_unit_test(test_the_whole_is_the_base_and_what_follows),
        cmocka_unit_test(test_other_bytes_than_are_meant_make_nothing),
        cmocka_unit_test(test_only_that_version_of_a_file_is_meant),
        cmocka_unit_test(test_a_longer_value_that_begins_the_same_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
