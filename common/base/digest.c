/* SPDX-License-Identifier: Apache-2.0 */
/* The one file that includes libcrypto's digests. The algorithms are fetched once per thread:
 * OpenSSL 3 otherwise looks the implementation up by name, under a lock, for every message. */
#include "base/digest.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#include "base/mem.h"

static const EVP_MD *fetch(const EVP_MD **slot, const char *name)
{
    if (*slot == NULL)
        *slot = EVP_MD_fetch(NULL, name, NULL);
    assert(*slot != NULL);
    return *slot;
}

static void digest(const EVP_MD *md, struct slice s, uint8_t out[DIGEST_LEN])
{
    uint8_t full[EVP_MAX_MD_SIZE];
    int ok = EVP_Digest(s.data, s.len, full, NULL, md, NULL);
    if (ok != 1)
        abort();
    memcpy(out, full, DIGEST_LEN);
}

void digest_md5(struct slice s, uint8_t out[DIGEST_LEN])
{
    static _Thread_local const EVP_MD *md5;
    digest(fetch(&md5, "MD5"), s, out);
}

void digest_sha256(struct slice s, uint8_t out[DIGEST_LEN])
{
    static _Thread_local const EVP_MD *sha256;
    digest(fetch(&sha256, "SHA256"), s, out);
}

struct mac {
    EVP_MAC_CTX *ctx;
};

struct mac *mac_new(struct slice key)
{
    struct mac *m = mem_new(struct mac);
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    char name[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", name, 0),
                           OSSL_PARAM_construct_end()};
    m->ctx = EVP_MAC_CTX_new(hmac);
    if (m->ctx == NULL || EVP_MAC_init(m->ctx, key.data, key.len, params) != 1)
        abort();
    EVP_MAC_free(hmac);
    return m;
}

void mac_free(struct mac *m)
{
    if (m == NULL)
        return;
    EVP_MAC_CTX_free(m->ctx);
    free(m);
}

void mac_compute(struct mac *m, const struct slice *parts, size_t n, uint8_t out[DIGEST_LEN])
{
    uint8_t full[EVP_MAX_MD_SIZE];
    size_t len = 0;
    int ok = EVP_MAC_init(m->ctx, NULL, 0, NULL); /* same key again */
    for (size_t i = 0; i < n && ok == 1; i++)
        ok = EVP_MAC_update(m->ctx, parts[i].data, parts[i].len);
    if (ok != 1 || EVP_MAC_final(m->ctx, full, &len, sizeof(full)) != 1)
        abort();
    memcpy(out, full, DIGEST_LEN);
}

bool digest_equal(const uint8_t a[DIGEST_LEN], const uint8_t b[DIGEST_LEN])
{
    return CRYPTO_memcmp(a, b, DIGEST_LEN) == 0;
}
