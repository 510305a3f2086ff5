/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012): a keyed pseudo-random
 * function that costs some tens of nanoseconds for a hundred bytes. For hashes that whoever
 * chooses the input must be unable to steer, where a message authentication code would cost too
 * much. */
#ifndef DYN_BASE_SIPHASH_H
#define DYN_BASE_SIPHASH_H

#include "base/buf.h"
#include "base/digest.h"

struct siphash_key {
    uint64_t k0, k1;
};

void siphash128(const struct siphash_key *key, struct slice s, uint8_t out[DIGEST_LEN]);

#endif
