/* SPDX-License-Identifier: Apache-2.0 */
/* Positions and tokens must be the same on every node and in every release, so they are held
 * against the published test vectors of RFC 1321, FIPS 180-4 and RFC 4231. */
#include "base/digest.h"
#include "unit.h"

static void assert_hex(const uint8_t digest[DIGEST_LEN], const char *expected)
{
    struct buf hex = BUF_EMPTY;
    buf_put_hex(&hex, slice_of(digest, DIGEST_LEN));
    buf_put_u8(&hex, 0);
    assert_string_equal((const char *)hex.data, expected);
    buf_release(&hex);
}

static void test_md5_agrees_with_rfc_1321(void **state)
{
    (void)state;
    uint8_t out[DIGEST_LEN];
    digest_md5(slice_str(""), out);
    assert_hex(out, "d41d8cd98f00b204e9800998ecf8427e");
    digest_md5(slice_str("message digest"), out);
    assert_hex(out, "f96b697d7cb7938d525a2f31aaf161d0");
}

static void test_sha256_is_cut_to_its_first_half(void **state)
{
    (void)state;
    uint8_t out[DIGEST_LEN];
    digest_sha256(slice_str("abc"), out);
    assert_hex(out, "ba7816bf8f01cfea414140de5dae2223");
    digest_sha256(slice_of(NULL, 0), out);
    assert_hex(out, "e3b0c44298fc1c149afbf4c8996fb924");
}

static void test_two_digests_of_one_pass_are_those_of_two(void **state)
{
    (void)state;
    uint8_t of_a[DIGEST_LEN], of_both[DIGEST_LEN];
    digest_sha256_both(slice_str("abc"), slice_of(NULL, 0), of_a, of_both);
    assert_hex(of_a, "ba7816bf8f01cfea414140de5dae2223");
    assert_hex(of_both, "ba7816bf8f01cfea414140de5dae2223");
    digest_sha256_both(slice_str("a"), slice_str("bc"), of_a, of_both);
    assert_hex(of_a, "ca978112ca1bbdcafac231b39a23dc4d");
    assert_hex(of_both, "ba7816bf8f01cfea414140de5dae2223");
}

static void test_mac_agrees_with_rfc_4231(void **state)
{
    (void)state;
    uint8_t out[DIGEST_LEN];
    struct mac *m = mac_new(slice_str("Jefe"));
    struct slice whole = slice_str("what do ya want for nothing?");
    mac_compute(m, &whole, 1, out);
    assert_hex(out, "5bdcc146bf60754e6a042426089575c7");
    mac_free(m);
}

static void test_mac_hashes_a_key_that_is_longer_than_a_block(void **state)
{
    (void)state;
    uint8_t out[DIGEST_LEN], key[131];
    memset(key, 0xaa, sizeof(key));
    struct mac *m = mac_new(slice_of(key, sizeof(key)));
    struct slice whole = slice_str("Test Using Larger Than Block-Size Key - Hash Key First");
    mac_compute(m, &whole, 1, out);
    assert_hex(out, "60e431591ee0b67f0d8a26aacbf5b77f");
    mac_free(m);
}

static void test_a_mac_is_over_the_parts_in_order_and_can_be_used_again(void **state)
{
    (void)state;
    uint8_t once[DIGEST_LEN], parts[DIGEST_LEN], swapped[DIGEST_LEN];
    struct mac *m = mac_new(slice_str("secret"));
    const struct slice ab = slice_str("ab");
    const struct slice a_b[] = {slice_str("a"), slice_str("b")};
    const struct slice b_a[] = {slice_str("b"), slice_str("a")};
    mac_compute(m, &ab, 1, once);
    mac_compute(m, a_b, 2, parts);
    mac_compute(m, b_a, 2, swapped);
    assert_true(digest_equal(once, parts));
    assert_false(digest_equal(once, swapped));
    mac_free(m);
}

static void test_another_key_gives_another_mac(void **state)
{
    (void)state;
    uint8_t one[DIGEST_LEN], two[DIGEST_LEN];
    struct mac *a = mac_new(slice_str("secret")), *b = mac_new(slice_str("secreu"));
    const struct slice text = slice_str("text");
    mac_compute(a, &text, 1, one);
    mac_compute(b, &text, 1, two);
    assert_false(digest_equal(one, two));
    mac_free(a);
    mac_free(b);
    mac_free(NULL);
}

static void test_a_mac_over_a_hash_differs_by_any_byte_of_any_part_and_by_the_key(void **state)
{
    (void)state;
    uint8_t text[700], one[DIGEST_LEN], other[DIGEST_LEN];
    struct mac *m = mac_new(slice_str("secret")), *n = mac_new(slice_str("secreu"));
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 7);
    const struct slice two[] = {slice_of(text, 28), slice_of(text + 28, sizeof(text) - 28)};
    const struct slice three[] = {two[0], slice_of(text + 28, 100), slice_of(text + 128, 572)};
    const struct slice moved[] = {slice_of(text, 27), slice_of(text + 27, sizeof(text) - 27)};
    const struct slice shorter[] = {two[0], slice_of(text + 28, sizeof(text) - 29)};
    mac_compute_hashed(m, two, 2, one);
    mac_compute_hashed(m, three, 3, other);
    assert_true(digest_equal(one, other));
    mac_compute_hashed(m, moved, 2, other);
    assert_false(digest_equal(one, other));
    mac_compute_hashed(m, shorter, 2, other);
    assert_false(digest_equal(one, other));
    mac_compute_hashed(n, two, 2, other);
    assert_false(digest_equal(one, other));
    mac_compute(m, two, 2, other);
    assert_false(digest_equal(one, other));
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] ^= 1;
        mac_compute_hashed(m, two, 2, other);
        assert_false(digest_equal(one, other));
        text[i] ^= 1;
    }
    mac_free(m);
    mac_free(n);
}

static void test_digests_differ_by_any_byte(void **state)
{
    (void)state;
    uint8_t a[DIGEST_LEN] = {0}, b[DIGEST_LEN] = {0};
    assert_true(digest_equal(a, b));
    for (size_t i = 0; i < DIGEST_LEN; i++) {
        b[i] = 1;
        assert_false(digest_equal(a, b));
        b[i] = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_md5_agrees_with_rfc_1321),
        cmocka_unit_test(test_sha256_is_cut_to_its_first_half),
        cmocka_unit_test(test_two_digests_of_one_pass_are_those_of_two),
        cmocka_unit_test(test_mac_agrees_with_rfc_4231),
        cmocka_unit_test(test_mac_hashes_a_key_that_is_longer_than_a_block),
        cmocka_unit_test(test_a_mac_is_over_the_parts_in_order_and_can_be_used_again),
        cmocka_unit_test(test_another_key_gives_another_mac),
        cmocka_unit_test(test_a_mac_over_a_hash_differs_by_any_byte_of_any_part_and_by_the_key),
        cmocka_unit_test(test_digests_differ_by_any_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
