/* SPDX-License-Identifier: Apache-2.0 */
/* Held against libcrypto's SipHash, for every length up to some blocks. */
#include "base/siphash.h"

#include <openssl/evp.h>

#include "unit.h"

static void reference(const uint8_t key[16], struct slice in, uint8_t out[16])
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
    size_t len = 0;
    assert_int_equal(EVP_MAC_init(ctx, key, 16, NULL), 1);
    assert_int_equal(EVP_MAC_update(ctx, in.data, in.len), 1);
    assert_int_equal(EVP_MAC_final(ctx, out, &len, 16), 1);
    assert_int_equal(len, 16);
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
}

static void test_it_agrees_with_libcrypto(void **state)
{
    (void)state;
    uint8_t key[16], in[200], out[16], expected[16];
    struct siphash_key k = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};
    for (uint8_t i = 0; i < 16; i++)
        key[i] = i;
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i * 7);
    for (size_t len = 0; len <= sizeof(in); len++) {
        reference(key, slice_of(in, len), expected);
        siphash128(&k, slice_of(in, len), out);
        assert_memory_equal(out, expected, 16);
    }
}

static void test_another_key_gives_another_hash(void **state)
{
    (void)state;
    uint8_t a[16], b[16];
    siphash128(&(struct siphash_key){1, 2}, slice_str("key"), a);
    siphash128(&(struct siphash_key){1, 3}, slice_str("key"), b);
    assert_memory_not_equal(a, b, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_agrees_with_libcrypto),
        cmocka_unit_test(test_another_key_gives_another_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
