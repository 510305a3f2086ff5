/* SPDX-License-Identifier: Apache-2.0 */
/* The one file that includes libcrypto's digests. A put hashes a dozen short strings, and OpenSSL's
 * EVP interface takes four allocations and a wiping of its context for each, several times what the
 * hash itself costs. So the algorithms are called directly, on contexts of the caller's stack; the
 * calls are deprecated because providers cannot replace them, which is no matter here. HMAC is RFC
 * 2104 on top of them: the states after the two padded keys are computed once and copied. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/md5.h>
#include <openssl/sha.h>
#include <stdlib.h>

#include "base/mem.h"

void digest_md5(struct slice s, uint8_t out[DIGEST_LEN])
{
    MD5_CTX c;
    if (MD5_Init(&c) != 1 || MD5_Update(&c, s.data, s.len) != 1 || MD5_Final(out, &c) != 1)
        abort();
}

static void sha256_end(SHA256_CTX *c, uint8_t out[SHA256_DIGEST_LENGTH])
{
    if (SHA256_Final(out, c) != 1)
        abort();
}

void digest_sha256(struct slice s, uint8_t out[DIGEST_LEN])
{
    SHA256_CTX c;
    uint8_t full[SHA256_DIGEST_LENGTH];
    if (SHA256_Init(&c) != 1 || SHA256_Update(&c, s.data, s.len) != 1)
        abort();
    sha256_end(&c, full);
    memcpy(out, full, DIGEST_LEN);
}

void digest_sha256_both(struct slice a, struct slice b, uint8_t of_a[DIGEST_LEN],
                        uint8_t of_both[DIGEST_LEN])
{
    SHA256_CTX c, both;
    uint8_t full[SHA256_DIGEST_LENGTH];
    if (SHA256_Init(&c) != 1 || SHA256_Update(&c, a.data, a.len) != 1)
        abort();
    both = c;
    if (SHA256_Update(&both, b.data, b.len) != 1)
        abort();
    sha256_end(&c, full);
    memcpy(of_a, full, DIGEST_LEN);
    sha256_end(&both, full);
    memcpy(of_both, full, DIGEST_LEN);
}

enum { POLY_KEY_LEN = 32, POLY_TAG_LEN = 16 };

struct mac {
    SHA256_CTX inner, outer; /* after the key, padded with 0x36 and with 0x5c */
    EVP_MAC_CTX *poly;       /* for hashing; NULL until it is needed */
    uint8_t poly_key[POLY_KEY_LEN];
};

static void start_with(SHA256_CTX *c, const uint8_t key[SHA256_CBLOCK], uint8_t pad)
{
    uint8_t block[SHA256_CBLOCK];
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = key[i] ^ pad;
    if (SHA256_Init(c) != 1 || SHA256_Update(c, block, sizeof(block)) != 1)
        abort();
    OPENSSL_cleanse(block, sizeof(block));
}

struct mac *mac_new(struct slice key)
{
    struct mac *m = mem_new(struct mac);
    uint8_t padded[SHA256_CBLOCK] = {0};
    if (key.len > sizeof(padded)) {
        SHA256_CTX c;
        if (SHA256_Init(&c) != 1 || SHA256_Update(&c, key.data, key.len) != 1)
            abort();
        sha256_end(&c, padded);
    } else if (key.len > 0) {
        memcpy(padded, key.data, key.len);
    }
    start_with(&m->inner, padded, 0x36);
    start_with(&m->outer, padded, 0x5c);
    OPENSSL_cleanse(padded, sizeof(padded));
    return m;
}

void mac_free(struct mac *m)
{
    if (m == NULL)
        return;
    EVP_MAC_CTX_free(m->poly);
    OPENSSL_cleanse(m, sizeof(*m));
    free(m);
}

static void compute_full(struct mac *m, const struct slice *parts, size_t n,
                         uint8_t full[SHA256_DIGEST_LENGTH])
{
    SHA256_CTX c = m->inner;
    for (size_t i = 0; i < n; i++)
        if (SHA256_Update(&c, parts[i].data, parts[i].len) != 1)
            abort();
    sha256_end(&c, full);
    c = m->outer;
    if (SHA256_Update(&c, full, SHA256_DIGEST_LENGTH) != 1)
        abort();
    sha256_end(&c, full);
}

void mac_compute(struct mac *m, const struct slice *parts, size_t n, uint8_t out[DIGEST_LEN])
{
    uint8_t full[SHA256_DIGEST_LENGTH];
    compute_full(m, parts, n, full);
    memcpy(out, full, DIGEST_LEN);
}

static void poly_make(struct mac *m)
{
    static const char purpose[] = "the key of the hash below an authenticator";
    const struct slice s = slice_of(purpose, sizeof(purpose));
    _Static_assert(POLY_KEY_LEN == SHA256_DIGEST_LENGTH, "one fills the other");
    EVP_MAC *poly = EVP_MAC_fetch(NULL, "POLY1305", NULL);
    compute_full(m, &s, 1, m->poly_key);
    m->poly = poly == NULL ? NULL : EVP_MAC_CTX_new(poly);
    EVP_MAC_free(poly);
    if (m->poly == NULL)
        abort();
}

/* Poly1305 under a key that stays the same is no authenticator, but it is a hash of which nobody
 * who lacks the key can find two texts that collide, as long as he sees no outcome: the chance of
 * one guess is below 2^-80 for 64 MiB (RFC 8439, section 4). So HMAC is given it for the text, and
 * nothing else is done with it (Wegman and Carter: hash, then a pseudorandom function). */
void mac_compute_hashed(struct mac *m, const struct slice *parts, size_t n, uint8_t out[DIGEST_LEN])
{
    static const char purpose[] = "hashed";
    uint8_t tag[POLY_TAG_LEN];
    size_t len;
    if (m->poly == NULL)
        poly_make(m);
    if (EVP_MAC_init(m->poly, m->poly_key, sizeof(m->poly_key), NULL) != 1)
        abort();
    for (size_t i = 1; i < n; i++)
        if (EVP_MAC_update(m->poly, parts[i].data, parts[i].len) != 1)
            abort();
    if (EVP_MAC_final(m->poly, tag, &len, sizeof(tag)) != 1 || len != sizeof(tag))
        abort();
    const struct slice text[] = {slice_of(purpose, sizeof(purpose)), parts[0],
                                 slice_of(tag, sizeof(tag))};
    mac_compute(m, text, 3, out);
    OPENSSL_cleanse(tag, sizeof(tag));
}

bool digest_equal(const uint8_t a[DIGEST_LEN], const uint8_t b[DIGEST_LEN])
{
    return CRYPTO_memcmp(a, b, DIGEST_LEN) == 0;
}
