/* SPDX-License-Identifier: Apache-2.0 */
/* Digests over libcrypto: MD5 for ring positions (as in the Dynamo paper, section 4.2; not for
 * security), SHA-256 truncated to 128 bits for the identity of values, HMAC-SHA-256 truncated to
 * 128 bits for contexts and peer batches. */
#ifndef DYN_BASE_DIGEST_H
#define DYN_BASE_DIGEST_H

#include <stdint.h>

#include "base/buf.h"

#define DIGEST_LEN 16

void digest_md5(struct slice s, uint8_t out[DIGEST_LEN]);
void digest_sha256(struct slice s, uint8_t out[DIGEST_LEN]); /* first 16 bytes */
/* Of a, and of a followed by b, with one pass over a. */
void digest_sha256_both(struct slice a, struct slice b, uint8_t of_a[DIGEST_LEN],
                        uint8_t of_both[DIGEST_LEN]);

/* A keyed authenticator, prepared once because key set-up costs more than a short message. */
struct mac;
struct mac *mac_new(struct slice key);
void mac_free(struct mac *m);
void mac_compute(struct mac *m, const struct slice *parts, size_t n, uint8_t out[DIGEST_LEN]);
/* The same of parts[0] and a hash of the rest, for much: a tenth of the time. For each key and what
 * mac_compute says of the same parts, another. */
void mac_compute_hashed(struct mac *m, const struct slice *parts, size_t n,
                        uint8_t out[DIGEST_LEN]);
bool digest_equal(const uint8_t a[DIGEST_LEN], const uint8_t b[DIGEST_LEN]); /* in constant time */

#endif
