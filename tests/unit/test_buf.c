/* SPDX-License-Identifier: Apache-2.0 */
/* What a writer puts a reader gets back; and whatever bytes a reader is given, it stays within
 * them, gives zeros once it has failed, and says so. */
#include "base/buf.h"
#include "base/err.h"
#include "unit.h"

static void assert_text(const struct buf *b, const char *expected)
{
    assert_int_equal(b->len, strlen(expected));
    assert_memory_equal(b->data, expected, b->len);
}

static void test_what_is_put_is_read_back(void **state)
{
    (void)state;
    struct buf b = BUF_EMPTY;
    buf_put_u8(&b, 0xab);
    buf_put_u32(&b, 0x12345678);
    buf_put_u64(&b, UINT64_C(0x123456789abcdef0));
    buf_put_u32_be(&b, 0x12345678);
    buf_put_u64_be(&b, UINT64_C(0x123456789abcdef0));
    buf_put_bytes(&b, slice_str("key"));
    buf_put_str(&b, "raw");
    buf_set_u32(&b, 1, 7);

    struct reader r = reader_of(buf_slice(&b));
    assert_int_equal(read_u8(&r), 0xab);
    assert_int_equal(read_u32(&r), 7);
    assert_true(read_u64(&r) == UINT64_C(0x123456789abcdef0));
    assert_int_equal(read_u32_be(&r), 0x12345678);
    assert_true(read_u64_be(&r) == UINT64_C(0x123456789abcdef0));
    assert_true(slice_equal(read_bytes(&r), slice_str("key")));
    assert_false(reader_done(&r));
    assert_int_equal(reader_left(&r), 3);
    assert_true(slice_equal(read_raw(&r, 3), slice_str("raw")));
    assert_true(reader_done(&r));
    buf_release(&b);
}

static void test_byte_order_is_as_documented(void **state)
{
    (void)state;
    struct buf b = BUF_EMPTY;
    buf_put_u32(&b, 0x01020304);
    buf_put_u32_be(&b, 0x01020304);
    assert_memory_equal(b.data, "\4\3\2\1\1\2\3\4", 8);
    buf_release(&b);
}

static void test_varints_round_trip_at_every_width(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        const uint64_t around[] = {(UINT64_C(1) << bit) - 1, UINT64_C(1) << bit, UINT64_MAX >> bit};
        for (size_t i = 0; i < 3; i++) {
            struct buf b = BUF_EMPTY;
            buf_put_varint(&b, around[i]);
            assert_in_range(b.len, 1, 10);
            struct reader r = reader_of(buf_slice(&b));
            assert_true(read_varint(&r) == around[i]);
            assert_true(reader_done(&r));
            buf_release(&b);
        }
    }
}

static void test_a_varint_over_64_bits_fails(void **state)
{
    (void)state;
    const char *bad[] = {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
                         "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"};
    for (size_t i = 0; i < 2; i++) {
        struct reader r = reader_of(slice_str(bad[i]));
        assert_true(read_varint(&r) == 0);
        assert_false(reader_ok(&r));
    }
}

static void test_a_reader_never_leaves_its_input(void **state)
{
    (void)state;
    struct reader r = reader_of(slice_of("\x01\x02\x03", 3));
    assert_int_equal(read_u32(&r), 0);
    assert_false(reader_ok(&r));
    assert_int_equal(read_u8(&r), 0); /* the failure sticks, though a byte is there */

    const struct slice lies = slice_of("\xff\xff\xff\xff\x0f"
                                       "ab",
                                       7);
    r = reader_of(lies);
    assert_int_equal(read_bytes(&r).len, 0);
    assert_false(reader_ok(&r));

    r = reader_of(slice_of("abc", 3));
    assert_int_equal(read_raw(&r, SIZE_MAX).len, 0);
    assert_false(reader_ok(&r));

    char out[8];
    memset(out, 'x', sizeof(out));
    r = reader_of(slice_of("abc", 3));
    read_copy(&r, out, sizeof(out));
    assert_false(reader_ok(&r));
    for (size_t i = 0; i < sizeof(out); i++)
        assert_int_equal(out[i], 0);
}

static void test_slices_compare_as_row_keys_do(void **state)
{
    (void)state;
    const struct slice ordered[] = {slice_str(""), slice_str("a"), slice_str("aa"), slice_str("b"),
                                    slice_str("\xff")};
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 5; k++) {
            int order = slice_compare(ordered[i], ordered[k]);
            assert_int_equal((order > 0) - (order < 0), (i > k) - (i < k));
            assert_int_equal(slice_equal(ordered[i], ordered[k]), i == k);
        }
    }
    assert_true(slice_has_prefix(slice_str("a/b"), slice_str("a/")));
    assert_true(slice_has_prefix(slice_str("a"), slice_str("")));
    assert_false(slice_has_prefix(slice_str("a"), slice_str("a/")));
}

static void test_base64url_round_trips_at_every_length(void **state)
{
    (void)state;
    uint8_t bytes[64];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 37 + 251);
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        struct buf text = BUF_EMPTY, back = BUF_EMPTY;
        buf_put_base64url(&text, slice_of(bytes, len));
        assert_int_equal(text.len, (len * 8 + 5) / 6);
        assert_int_equal(base64url_decode(buf_slice(&text), &back), DYN_OK);
        assert_true(slice_equal(buf_slice(&back), slice_of(bytes, len)));
        buf_release(&text);
        buf_release(&back);
    }
}

static void test_base64url_takes_no_other_byte(void **state)
{
    (void)state;
    const char *bad[] = {"ab+d", "ab/d", "abc=", "ab d", "a", "abcde"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf out = BUF_EMPTY;
        assert_int_equal(base64url_decode(slice_str(bad[i]), &out), DYN_ERR_INVALID);
        buf_release(&out);
    }
}

static void test_percent_encoding_keeps_what_it_may_and_round_trips(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY, back = BUF_EMPTY;
    const struct slice name = slice_of("dir/a b%\xff\0~", 11);
    buf_put_percent(&text, name, "/");
    assert_text(&text, "dir/a%20b%25%FF%00~");
    assert_int_equal(percent_decode(buf_slice(&text), &back), DYN_OK);
    assert_true(slice_equal(buf_slice(&back), name));
    buf_release(&text);
    buf_release(&back);
}

static void test_a_bad_escape_is_refused(void **state)
{
    (void)state;
    const char *bad[] = {"%", "a%2", "%zz", "%2g"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf out = BUF_EMPTY;
        assert_int_equal(percent_decode(slice_str(bad[i]), &out), DYN_ERR_INVALID);
        buf_release(&out);
    }
}

static void test_taking_moves_the_contents_out(void **state)
{
    (void)state;
    struct buf b = BUF_EMPTY;
    buf_printf(&b, "%s=%d", "n", 3);
    struct buf taken = buf_take(&b);
    assert_int_equal(b.len, 0);
    assert_null(b.data);
    assert_text(&taken, "n=3");
    buf_clear(&taken);
    assert_int_equal(taken.len, 0);
    buf_release(&taken);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_put_is_read_back),
        cmocka_unit_test(test_byte_order_is_as_documented),
        cmocka_unit_test(test_varints_round_trip_at_every_width),
        cmocka_unit_test(test_a_varint_over_64_bits_fails),
        cmocka_unit_test(test_a_reader_never_leaves_its_input),
        cmocka_unit_test(test_slices_compare_as_row_keys_do),
        cmocka_unit_test(test_base64url_round_trips_at_every_length),
        cmocka_unit_test(test_base64url_takes_no_other_byte),
        cmocka_unit_test(test_percent_encoding_keeps_what_it_may_and_round_trips),
        cmocka_unit_test(test_a_bad_escape_is_refused),
        cmocka_unit_test(test_taking_moves_the_contents_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
