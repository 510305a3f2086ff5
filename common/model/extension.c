/* SPDX-License-Identifier: Apache-2.0 */
/* See extension.h. */
#include "model/extension.h"

#include "base/err.h"

bool extension_is_none(const struct extension *x)
{
    return x->len == 0;
}

bool extension_of(const struct extension *x, const struct sibling *s)
{
    return !extension_is_none(x) && s->type == SIBLING_FILE && s->manifest_len == 0 &&
           s->size == x->len && dot_equal(&s->value_dot, &x->base) &&
           digest_equal(s->value_hash, x->digest);
}

bool extension_find(const struct sibling *s, const struct blob *loaded, struct slice value,
                    struct extension *out, uint8_t hash[DIGEST_LEN])
{
    uint8_t of_base[DIGEST_LEN], of_both[DIGEST_LEN];
    if (s->type != SIBLING_FILE || s->manifest_len != 0 || dot_is_none(&s->value_dot) ||
        s->size < EXTENSION_BASE_MIN || value.len <= s->size)
        return false;
    size_t len = (size_t)s->size;
    if (loaded != NULL && (loaded->len != len || memcmp(value.data, loaded->data, len) != 0))
        return false;
    digest_sha256_both(slice_of(value.data, len), slice_of(value.data + len, value.len - len),
                       of_base, of_both);
    if (!digest_equal(of_base, s->value_hash))
        return false;
    *out = (struct extension){.base = s->value_dot, .len = s->size};
    memcpy(out->digest, of_base, DIGEST_LEN);
    memcpy(hash, of_both, DIGEST_LEN);
    return true;
}

void extension_encode(const struct extension *x, struct buf *out)
{
    dot_encode(&x->base, out);
    buf_put_varint(out, x->len);
    buf_put(out, x->digest, DIGEST_LEN);
}

void extension_decode(struct reader *r, struct extension *x)
{
    dot_decode(r, &x->base);
    x->len = read_varint(r);
    read_copy(r, x->digest, DIGEST_LEN);
    if (x->len == 0 || x->len > VALUE_LEN_MAX)
        reader_fail(r);
}

int extension_check(const struct extension *x, uint64_t suffix_len, uint64_t max)
{
    if (extension_is_none(x) || dot_is_none(&x->base) || suffix_len == 0)
        return DYN_ERR_INVALID;
    return x->len > max || suffix_len > max - x->len ? DYN_ERR_TOO_LARGE : DYN_OK;
}

int extension_build(const struct extension *x, struct slice base, struct slice suffix,
                    struct blob **whole, uint8_t hash[DIGEST_LEN])
{
    uint8_t of_base[DIGEST_LEN], of_both[DIGEST_LEN];
    if (base.len != x->len)
        return DYN_ERR_CORRUPT;
    digest_sha256_both(base, suffix, of_base, of_both);
    if (!digest_equal(of_base, x->digest))
        return DYN_ERR_CORRUPT;
    struct blob *b = blob_new(NULL, base.len + suffix.len);
    memcpy(b->data, base.data, base.len);
    memcpy(b->data + base.len, suffix.data, suffix.len);
    *whole = b;
    memcpy(hash, of_both, DIGEST_LEN);
    return DYN_OK;
}
