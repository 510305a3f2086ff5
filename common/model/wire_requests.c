/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of what clients ask: get, put, list, sync. They come from anyone who can reach the port,
 * so a decode accepts nothing that a coordinator would have to look at twice: keys keep the rules
 * of keys, enums are in range, flags are known, and lists are bounded. */
#include "model/wire.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "model/key.h"
#include "model/wire_codec.h"

#define PUT_FLAGS_ALL                                                                              \
    (PUT_CURRENT | PUT_IF_ABSENT | PUT_KEEP_VALUE | PUT_INHERIT_TIME | PUT_DROP_ONLY |             \
     PUT_IMPLICIT | PUT_MANIFEST | PUT_KEEP_ATTRS | PUT_OWN_MODE | PUT_OWN_UID | PUT_OWN_GID |     \
     PUT_EXTENDS)

/* The root directory is a key for requests, though not for puts from outside (the engine's rule).
 */
static int check_key(struct slice key)
{
    return key.len == 0 ? DYN_OK : key_check(key, NULL);
}

static void put_optional_dot(const struct dot *d, struct buf *out)
{
    bool some = !dot_is_none(d);
    buf_put_u8(out, some);
    if (some)
        dot_encode(d, out);
}

static void read_optional_dot(struct reader *r, struct dot *d)
{
    *d = (struct dot){.counter = 0};
    if (wire_read_bool(r))
        dot_decode(r, d);
}

void get_request_encode(const struct get_request *q, struct buf *out)
{
    wire_begin(out);
    wire_put_options(&q->opt, out);
    buf_put_bytes(out, q->key);
    buf_put_u8(out, (uint8_t)q->want);
    put_optional_dot(&q->value_dot, out);
    wire_put_contexts(q->at_least, q->n_at_least, out);
    if (q->value_max != 0)
        buf_put_varint(out, q->value_max);
}

int get_request_decode(struct slice body, struct get_request *q)
{
    struct get_request got = {.n_at_least = 0};
    struct slice *contexts;
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_options(&r, &got.opt);
    got.key = wire_read_bytes(&r, KEY_LEN_MAX);
    uint8_t want = read_u8(&r);
    if (want > GET_PRESENT)
        reader_fail(&r);
    got.want = (enum get_want)want;
    read_optional_dot(&r, &got.value_dot);
    wire_read_contexts(&r, &contexts, &got.n_at_least);
    got.at_least = contexts;
    if (reader_ok(&r) && reader_left(&r) > 0)
        got.value_max = read_varint(&r);
    err = reader_ok(&r) ? check_key(got.key) : DYN_ERR_PROTOCOL;
    if (err != DYN_OK) {
        get_request_release(&got);
        return err;
    }
    *q = got;
    return DYN_OK;
}

void get_request_release(struct get_request *q)
{
    free((void *)(uintptr_t)q->at_least);
    q->at_least = NULL;
    q->n_at_least = 0;
}

static void put_attrs(const struct attrs *a, struct buf *out)
{
    buf_put_varint(out, a->mode);
    buf_put_varint(out, a->uid);
    buf_put_varint(out, a->gid);
    wire_put_i64(a->mtime_ns, out);
    wire_put_i64(a->ctime_ns, out);
    wire_put_i64(a->atime_ns, out);
    buf_put_varint(out, a->ino);
    buf_put_bytes(out, a->xattrs == NULL ? slice_of(NULL, 0)
                                         : slice_of(a->xattrs->data, a->xattrs->len));
}

static void read_attrs(struct reader *r, struct attrs *a)
{
    a->mode = wire_read_u32(r, 07777);
    a->uid = wire_read_u32(r, UINT32_MAX);
    a->gid = wire_read_u32(r, UINT32_MAX);
    a->mtime_ns = wire_read_i64(r);
    a->ctime_ns = wire_read_i64(r);
    a->atime_ns = wire_read_i64(r);
    a->ino = read_varint(r);
    struct slice xattrs = wire_read_bytes(r, XATTRS_LEN_MAX);
    if (!xattrs_valid(xattrs))
        reader_fail(r);
    else if (xattrs.len != 0)
        a->xattrs = blob_new(xattrs.data, xattrs.len);
}

void put_request_encode(const struct put_request *q, struct buf *out)
{
    buf_reserve(out, q->value.len + q->key.len + 256);
    wire_begin(out);
    wire_put_options(&q->opt, out);
    buf_put_bytes(out, q->key);
    buf_put_varint(out, q->flags);
    buf_put_u8(out, (uint8_t)q->type);
    put_attrs(&q->attrs, out);
    buf_put_varint(out, q->origin.writer);
    buf_put_varint(out, q->origin.stream);
    buf_put_varint(out, q->origin.seq);
    put_optional_dot(&q->value_dot, out);
    put_optional_dot(&q->inherit_dot, out);
    put_optional_dot(&q->base_dot, out);
    buf_put_varint(out, q->time_ns);
    wire_put_contexts(q->contexts, q->n_contexts, out);
    buf_put_bytes(out, q->value);
    if (q->flags & PUT_EXTENDS)
        extension_encode(&q->extends, out);
}

void put_request_encode_extending(const struct put_request *q, struct buf *out)
{
    struct put_request shorter = *q;
    assert(!extension_is_none(&q->extends) && q->extends.len < q->value.len);
    shorter.flags |= PUT_EXTENDS;
    shorter.value = slice_of(q->value.data + q->extends.len, q->value.len - (size_t)q->extends.len);
    put_request_encode(&shorter, out);
}

int put_request_decode(struct slice body, struct put_request *q)
{
    struct put_request got = {.n_contexts = 0};
    struct slice *contexts;
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_options(&r, &got.opt);
    got.key = wire_read_bytes(&r, KEY_LEN_MAX);
    got.flags = wire_read_u32(&r, PUT_FLAGS_ALL);
    uint8_t type = read_u8(&r);
    if (type > SIBLING_SYMLINK)
        reader_fail(&r);
    got.type = (enum sibling_type)type;
    read_attrs(&r, &got.attrs);
    got.origin.writer = read_varint(&r);
    got.origin.stream = read_varint(&r);
    got.origin.seq = read_varint(&r);
    read_optional_dot(&r, &got.value_dot);
    read_optional_dot(&r, &got.inherit_dot);
    read_optional_dot(&r, &got.base_dot);
    got.time_ns = read_varint(&r);
    wire_read_contexts(&r, &contexts, &got.n_contexts);
    got.contexts = contexts;
    got.value = read_bytes(&r);
    if (got.flags & PUT_EXTENDS)
        extension_decode(&r, &got.extends);
    err = reader_ok(&r) ? check_key(got.key) : DYN_ERR_PROTOCOL;
    if (err != DYN_OK) {
        put_request_release(&got);
        return err;
    }
    *q = got;
    return DYN_OK;
}

void put_request_release(struct put_request *q)
{
    free((void *)(uintptr_t)q->contexts);
    q->contexts = NULL;
    q->n_contexts = 0;
    blob_unref(q->attrs.xattrs);
    q->attrs.xattrs = NULL;
}

void list_request_encode(const struct list_request *q, struct buf *out)
{
    wire_begin(out);
    wire_put_options(&q->opt, out);
    buf_put_bytes(out, q->dir);
    buf_put_bytes(out, q->after);
    buf_put_varint(out, q->limit);
    buf_put_u8(out, q->dead_too);
}

int list_request_decode(struct slice body, struct list_request *q)
{
    struct list_request got = {.limit = 0};
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_options(&r, &got.opt);
    got.dir = wire_read_bytes(&r, KEY_LEN_MAX);
    got.after = wire_read_bytes(&r, LIST_CURSOR_MAX);
    got.limit = wire_read_u32(&r, LIST_LIMIT_MAX);
    got.dead_too = wire_read_bool(&r);
    err = reader_ok(&r) ? check_key(got.dir) : DYN_ERR_PROTOCOL;
    if (err == DYN_OK)
        *q = got;
    return err;
}

void sync_request_encode(const struct sync_request *q, struct buf *out)
{
    wire_begin(out);
    wire_put_options(&q->opt, out);
    buf_put_bytes(out, q->key);
    put_optional_dot(&q->dot, out);
}

int sync_request_decode(struct slice body, struct sync_request *q)
{
    struct sync_request got = {.key = {NULL, 0}};
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_options(&r, &got.opt);
    got.key = wire_read_bytes(&r, KEY_LEN_MAX);
    read_optional_dot(&r, &got.dot);
    err = reader_ok(&r) ? check_key(got.key) : DYN_ERR_PROTOCOL;
    if (err == DYN_OK)
        *q = got;
    return err;
}
