/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes as one immutable blob: (name, value) pairs, each with its length before it,
 * sorted by name. Lists are short and change seldom, so a change writes a new list, and equal lists
 * are equal bytes. */
#include "base/err.h"
#include "model/object.h"

#define XATTR_NAME_MAX 255 /* as Linux has it */

static struct slice list_slice(const struct blob *list)
{
    return list == NULL ? slice_of(NULL, 0) : slice_of(list->data, list->len);
}

bool xattrs_next(const struct blob *list, size_t *at, struct slice *name, struct slice *value)
{
    struct slice all = list_slice(list);
    if (*at >= all.len)
        return false;
    struct reader r = reader_of(slice_of(all.data + *at, all.len - *at));
    struct slice n = read_bytes(&r), v = read_bytes(&r);
    if (!reader_ok(&r))
        return false;
    *at = all.len - reader_left(&r);
    *name = n;
    *value = v;
    return true;
}

static bool name_valid(struct slice name)
{
    return name.len != 0 && name.len <= XATTR_NAME_MAX && memchr(name.data, 0, name.len) == NULL;
}

bool xattrs_valid(struct slice list)
{
    struct reader r = reader_of(list);
    struct slice last = slice_of(NULL, 0);
    if (list.len > XATTRS_LEN_MAX)
        return false;
    while (reader_left(&r) != 0) {
        struct slice name = read_bytes(&r);
        read_bytes(&r);
        if (!reader_ok(&r) || !name_valid(name) || slice_compare(last, name) >= 0)
            return false;
        last = name;
    }
    return reader_ok(&r);
}

void xattrs_digest(const struct blob *list, uint8_t out[DIGEST_LEN])
{
    if (list == NULL || list->len == 0)
        memset(out, 0, DIGEST_LEN);
    else
        digest_sha256(list_slice(list), out);
}

int xattrs_get(const struct blob *list, struct slice name, struct slice *value)
{
    size_t at = 0;
    struct slice n, v;
    while (xattrs_next(list, &at, &n, &v)) {
        if (slice_equal(n, name)) {
            *value = v;
            return DYN_OK;
        }
    }
    return DYN_ERR_NOT_FOUND;
}

int xattrs_set(const struct blob *list, struct slice name, struct slice value, struct blob **out)
{
    if (!name_valid(name))
        return DYN_ERR_INVALID;
    if (value.len > XATTRS_LEN_MAX)
        return DYN_ERR_TOO_LARGE;
    struct buf b = BUF_EMPTY;
    size_t at = 0;
    struct slice n, v;
    bool found = false, placed = value.data == NULL;
    while (xattrs_next(list, &at, &n, &v)) {
        int c = slice_compare(n, name);
        found |= c == 0;
        if (c >= 0 && !placed) {
            buf_put_bytes(&b, name);
            buf_put_bytes(&b, value);
            placed = true;
        }
        if (c != 0) {
            buf_put_bytes(&b, n);
            buf_put_bytes(&b, v);
        }
    }
    if (!placed) {
        buf_put_bytes(&b, name);
        buf_put_bytes(&b, value);
    }
    int err = DYN_OK;
    if (value.data == NULL && !found)
        err = DYN_ERR_NOT_FOUND;
    else if (b.len > XATTRS_LEN_MAX)
        err = DYN_ERR_TOO_LARGE;
    else
        *out = b.len == 0 ? NULL : blob_new(b.data, b.len);
    buf_release(&b);
    return err;
}
