/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of FRAME_VERSIONS and FRAME_KEPT; see kept.h. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/kept.h"
#include "model/key.h"
#include "model/wire_codec.h"

#define KEPT_ENCODED_MIN 16u /* of one record, at least */

void kept_request_encode(const struct kept_request *q, struct buf *out)
{
    wire_begin(out);
    buf_put_varint(out, q->timeout_ms);
    buf_put_bytes(out, q->key);
    buf_put_u8(out, (uint8_t)q->want);
    if (q->want == KEPT_VALUE)
        dot_encode(&q->dot, out);
}

int kept_request_decode(struct slice body, struct kept_request *q)
{
    struct reader r;
    struct kept_request got = {0};
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    got.timeout_ms = wire_read_u32(&r, UINT32_MAX);
    got.key = wire_read_bytes(&r, KEY_LEN_MAX);
    uint8_t want = read_u8(&r);
    got.want = (enum kept_want)want;
    if (want >= KEPT_WANT_END)
        reader_fail(&r);
    if (want == KEPT_VALUE)
        dot_decode(&r, &got.dot);
    if (!reader_ok(&r))
        return DYN_ERR_PROTOCOL;
    if (got.timeout_ms > REQUEST_TIMEOUT_MS_MAX)
        got.timeout_ms = REQUEST_TIMEOUT_MS_MAX;
    if (key_check(got.key, NULL) != DYN_OK)
        return DYN_ERR_INVALID;
    *q = got;
    return DYN_OK;
}

void kept_reply_encode(const struct kept_reply *p, struct buf *out)
{
    wire_begin(out);
    wire_put_status(p->status, p->answered, p->asked, out);
    buf_put_u8(out, p->cut);
    buf_put_varint(out, p->list.n);
    for (uint32_t i = 0; i < p->list.n; i++) {
        kept_encode(&p->list.k[i], out);
        object_values_encode(&p->list.k[i].object, out);
    }
}

int kept_reply_decode(struct slice body, struct kept_reply *p)
{
    struct reader r;
    struct kept_reply got = {.list = KEPT_LIST_EMPTY};
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_status(&r, &got.status, &got.answered, &got.asked);
    got.cut = wire_read_bool(&r);
    uint64_t n = read_varint(&r);
    if (n > KEPT_LIST_MAX || n > reader_left(&r) / KEPT_ENCODED_MIN)
        reader_fail(&r);
    for (uint64_t i = 0; i < n && reader_ok(&r); i++) {
        struct kept k = {.object = OBJECT_EMPTY};
        kept_decode(&r, &k);
        if (reader_ok(&r))
            object_values_decode(&r, &k.object);
        if (reader_ok(&r))
            kept_list_add(&got.list, &k);
        else
            kept_release(&k);
    }
    if (!reader_ok(&r)) {
        kept_list_release(&got.list);
        return DYN_ERR_PROTOCOL;
    }
    *p = got;
    return DYN_OK;
}

void kept_reply_release(struct kept_reply *p)
{
    kept_list_release(&p->list);
}
