/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of FRAME_SETTINGS and FRAME_SETTINGS_SYNC; see settings.h. */
#include "base/err.h"
#include "model/key.h"
#include "model/settings.h"
#include "model/wire_codec.h"

void settings_request_encode(const struct settings_request *q, struct buf *out)
{
    wire_begin(out);
    buf_put_bytes(out, q->dir);
    buf_put_varint(out, q->n);
    for (uint32_t i = 0; i < q->n; i++) {
        buf_put_u8(out, (uint8_t)q->changes[i].setting);
        buf_put_u8(out, q->changes[i].value);
    }
}

int settings_request_decode(struct slice body, struct settings_request *q)
{
    struct settings_request t = {0};
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    t.dir = wire_read_bytes(&r, KEY_LEN_MAX);
    t.n = wire_read_u32(&r, SETTINGS_END);
    for (uint32_t i = 0; i < t.n && reader_ok(&r); i++) {
        t.changes[i].setting = read_u8(&r);
        t.changes[i].value = read_u8(&r);
    }
    if (!reader_ok(&r))
        return DYN_ERR_PROTOCOL;
    *q = t;
    return DYN_OK;
}

void settings_reply_encode(const struct settings_reply *p, struct buf *out)
{
    wire_begin(out);
    wire_put_status(p->status, 0, 0, out);
    buf_put_varint(out, p->known);
    buf_put_varint(out, p->members);
    settings_encode(&p->table, out);
}

int settings_reply_decode(struct slice body, struct settings_reply *p)
{
    struct settings_reply t = {.table = SETTINGS_EMPTY};
    struct reader r;
    uint8_t answered, needed;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_status(&r, &t.status, &answered, &needed);
    t.known = wire_read_u32(&r, UINT32_MAX);
    t.members = wire_read_u32(&r, UINT32_MAX);
    settings_decode(&r, &t.table);
    if (!reader_ok(&r)) {
        settings_release(&t.table);
        return DYN_ERR_PROTOCOL;
    }
    *p = t;
    return DYN_OK;
}

void settings_reply_release(struct settings_reply *p)
{
    settings_release(&p->table);
}

void settings_sync_encode(const struct settings_sync *m, struct buf *out)
{
    wire_begin(out);
    buf_put(out, m->digest, DIGEST_LEN);
    buf_put_u8(out, m->has_table);
    if (m->has_table)
        settings_encode(&m->table, out);
}

void settings_sync_release(struct settings_sync *m)
{
    settings_release(&m->table);
}

int settings_sync_decode(struct slice body, struct settings_sync *m)
{
    struct settings_sync t = {.table = SETTINGS_EMPTY};
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    read_copy(&r, t.digest, DIGEST_LEN);
    t.has_table = wire_read_bool(&r);
    if (t.has_table)
        settings_decode(&r, &t.table);
    if (!reader_ok(&r)) {
        settings_release(&t.table);
        return DYN_ERR_PROTOCOL;
    }
    *m = t;
    return DYN_OK;
}
