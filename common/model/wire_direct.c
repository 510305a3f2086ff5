/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of what a client asks of one replica, for itself: its own copy of a key, and that it be
 * brought up to the others'. Both name the owners that the client goes by (a fence), because
 * whoever knows others may not be a replica at all. */
#include "model/wire.h"

#include "base/err.h"
#include "model/key.h"
#include "model/wire_codec.h"

static int check_key(struct slice key)
{
    return key.len == 0 ? DYN_OK : key_check(key, NULL);
}

void direct_get_encode(const struct direct_get *q, struct buf *out)
{
    wire_begin(out);
    buf_put_u64(out, q->fence);
    buf_put_u8(out, q->n);
    buf_put_u8(out, q->r);
    buf_put_bytes(out, q->key);
    buf_put_u8(out, (uint8_t)q->want);
    if (q->want == GET_DOT)
        dot_encode(&q->value_dot, out);
}

int direct_get_decode(struct slice body, struct direct_get *q)
{
    struct direct_get got = {.n = 0};
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    got.fence = read_u64(&r);
    got.n = read_u8(&r);
    got.r = read_u8(&r);
    got.key = wire_read_bytes(&r, KEY_LEN_MAX);
    uint8_t want = read_u8(&r);
    if (want > GET_DOT)
        reader_fail(&r);
    got.want = (enum get_want)want;
    if (want == GET_DOT)
        dot_decode(&r, &got.value_dot);
    err = reader_ok(&r) ? check_key(got.key) : DYN_ERR_PROTOCOL;
    if (err == DYN_OK)
        *q = got;
    return err;
}

void direct_reply_encode(const struct direct_reply *p, struct buf *out)
{
    wire_begin(out);
    wire_put_status(p->status, 0, 0, out);
    wire_put_epoch(&p->ring, out);
    buf_put_u64(out, p->fence);
    buf_put_u8(out, p->implicit_dir);
    wire_put_i64(p->dir_mtime_ns, out);
    object_encode(&p->object, out);
    object_values_encode(&p->object, out);
    buf_put_bytes(out, p->token);
}

int direct_reply_decode(struct slice body, struct direct_reply *p)
{
    struct direct_reply got = {.object = OBJECT_EMPTY};
    uint8_t answered, needed;
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_status(&r, &got.status, &answered, &needed);
    wire_read_epoch(&r, &got.ring);
    got.fence = read_u64(&r);
    got.implicit_dir = wire_read_bool(&r);
    got.dir_mtime_ns = wire_read_i64(&r);
    object_decode(&r, &got.object);
    object_values_decode(&r, &got.object);
    got.token = wire_read_bytes(&r, CONTEXT_LEN_MAX);
    if (!reader_ok(&r)) {
        direct_reply_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *p = got;
    return DYN_OK;
}

void direct_reply_release(struct direct_reply *p)
{
    object_release(&p->object);
}

void behind_encode(const struct behind *q, struct buf *out)
{
    wire_begin(out);
    buf_put_u64(out, q->fence);
    buf_put_bytes(out, q->key);
}

int behind_decode(struct slice body, struct behind *q)
{
    struct behind got;
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    got.fence = read_u64(&r);
    got.key = wire_read_bytes(&r, KEY_LEN_MAX);
    err = reader_ok(&r) ? check_key(got.key) : DYN_ERR_PROTOCOL;
    if (err == DYN_OK)
        *q = got;
    return err;
}
