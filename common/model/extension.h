/* SPDX-License-Identifier: Apache-2.0 */
/* A value that begins with one that the receiver has already: a log that grew by a line is that
 * line, and the name of what it was before (F27). It only shortens what travels: whoever cannot
 * make the whole of it says so, and is sent the whole. */
#ifndef DYN_MODEL_EXTENSION_H
#define DYN_MODEL_EXTENSION_H

#include "model/object.h"

/* To read the base costs the receiver more than it saves below this. */
#define EXTENSION_BASE_MIN 4096u

struct extension {
    struct dot base;            /* value_dot of the version, of the same key */
    uint64_t len;               /* bytes of its value; 0: this is none */
    uint8_t digest[DIGEST_LEN]; /* digest_sha256 of them */
};

bool extension_is_none(const struct extension *x);
/* Does this sibling have the value that is meant, and is that what a file's bytes are? */
bool extension_of(const struct extension *x, const struct sibling *s);
/* Is `value` longer than that of s, and does it begin with it, by the digest of that? Then *out
 * says so, and hash is digest_sha256 of all of `value`. loaded: what are held to be the bytes of s,
 * to see sooner that it does not; may be NULL. False where it would not be worth while, too. */
bool extension_find(const struct sibling *s, const struct blob *loaded, struct slice value,
                    struct extension *out, uint8_t hash[DIGEST_LEN]);

/* Bases are 1 to VALUE_LEN_MAX bytes: decoding fails the reader otherwise. */
void extension_encode(const struct extension *x, struct buf *out);
void extension_decode(struct reader *r, struct extension *x);

/* May such a value be asked for? DYN_ERR_INVALID: nothing follows, or there is no base.
 * DYN_ERR_TOO_LARGE: the whole is over max bytes. */
int extension_check(const struct extension *x, uint64_t suffix_len, uint64_t max);
/* The one place that makes the whole: base, then suffix. hash: digest_sha256 of the whole.
 * DYN_ERR_CORRUPT: these are not the bytes that are meant. */
int extension_build(const struct extension *x, struct slice base, struct slice suffix,
                    struct blob **whole, uint8_t hash[DIGEST_LEN]);

#endif
