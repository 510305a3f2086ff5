/* SPDX-License-Identifier: Apache-2.0 */
/* See key.h. Every rule on keys is checked here and nowhere else, so that a path means the same to
 * HTTP, the mount and the store: no two spellings of one key, no name that a directory cannot hold.
 */
#include "model/key.h"

#include <assert.h>

#include "base/digest.h"
#include "base/err.h"

static int broken(const char **rule, const char *sentence)
{
    if (rule != NULL)
        *rule = sentence;
    return DYN_ERR_INVALID;
}

int key_name_check(struct slice name, const char **rule)
{
    if (name.len == 0)
        return broken(rule, "a key has no empty component: no leading, trailing or double slash");
    if (name.len > KEY_NAME_MAX)
        return broken(rule, "a component of a key has at most 255 bytes");
    if (name.data[0] == '.' && (name.len == 1 || (name.len == 2 && name.data[1] == '.')))
        return broken(rule, "no component of a key is \".\" or \"..\"");
    if (memchr(name.data, 0, name.len) != NULL)
        return broken(rule, "a key has no NUL byte");
    if (memchr(name.data, '/', name.len) != NULL)
        return broken(rule, "a name has no slash");
    return DYN_OK;
}

int key_check(struct slice key, const char **rule)
{
    if (key.len == 0)
        return broken(rule, "a key is not empty");
    if (key.len > KEY_LEN_MAX)
        return broken(rule, "a key has at most 4095 bytes");
    for (size_t at = 0; at <= key.len;) {
        struct slice rest = slice_of(key.data + at, key.len - at);
        const uint8_t *slash = rest.len == 0 ? NULL : memchr(rest.data, '/', rest.len);
        size_t len = slash == NULL ? rest.len : (size_t)(slash - rest.data);
        int err = key_name_check(slice_of(rest.data, len), rule);
        if (err != DYN_OK)
            return err;
        at += len + 1;
    }
    return DYN_OK;
}

bool key_internal(struct slice key)
{
    const size_t len = sizeof(KEY_INTERNAL) - 1;
    return key.len >= len && memcmp(key.data, KEY_INTERNAL, len) == 0 &&
           (key.len == len || key.data[len] == '/');
}

/* Offset of the last component. */
static size_t name_start(struct slice key)
{
    size_t at = key.len;
    while (at > 0 && key.data[at - 1] != '/')
        at--;
    return at;
}

struct slice key_parent(struct slice key)
{
    size_t at = name_start(key);
    return slice_of(key.data, at == 0 ? 0 : at - 1);
}

struct slice key_name(struct slice key)
{
    size_t at = name_start(key);
    return slice_of(at == 0 ? key.data : key.data + at, key.len - at);
}

void key_join(struct slice dir, struct slice name, struct buf *out)
{
    buf_reserve(out, dir.len + 1 + name.len);
    if (dir.len != 0) {
        buf_put_slice(out, dir);
        buf_put_u8(out, '/');
    }
    buf_put_slice(out, name);
}

struct position position_of(struct slice key)
{
    struct position pos;
    digest_md5(key, pos.bytes);
    return pos;
}

uint32_t position_partition(const struct position *pos, uint32_t q)
{
    assert(q >= 1 && q <= 1u << 24 && (q & (q - 1)) == 0);
    uint32_t top = (uint32_t)pos->bytes[0] << 16 | (uint32_t)pos->bytes[1] << 8 | pos->bytes[2];
    return top / ((1u << 24) / q);
}
