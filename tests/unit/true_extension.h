/* SPDX-License-Identifier: Apache-2.0 */
/* What a put says of its value is true: it begins with the bytes that are meant, and where that
 * version is still there, they are its. Header only, for the fake cluster. */
#ifndef DYN_TESTS_TRUE_EXTENSION_H
#define DYN_TESTS_TRUE_EXTENSION_H

#include <assert.h>

#include "base/err.h"
#include "model/wire.h"

/* o: the key as it is; may be NULL. Returns how many bytes of the value travel. */
static inline uint64_t true_extension(const struct object *o, const struct put_request *q)
{
    const struct extension *x = &q->extends;
    uint8_t digest[DIGEST_LEN];
    if (extension_is_none(x))
        return q->value.len;
    assert(extension_check(x, q->value.len - x->len, VALUE_LEN_MAX) == DYN_OK);
    digest_sha256(slice_of(q->value.data, (size_t)x->len), digest);
    assert(digest_equal(digest, x->digest));
    const struct sibling *s = o == NULL ? NULL : object_find_value(o, &x->base);
    assert(s == NULL || extension_of(x, s));
    (void)s;
    return q->value.len - x->len;
}

#endif
