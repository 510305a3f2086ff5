/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of what nodes answer. A client believes a node about its data but not with its memory: a
 * node may be broken, or the port may belong to somebody else by now. */
#include "model/wire.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "model/key.h"
#include "model/wire_codec.h"

void get_reply_encode(const struct get_reply *p, struct buf *out)
{
    wire_begin(out);
    wire_put_status(p->status, p->answered, p->needed, out);
    buf_put_u8(out, p->implicit_dir);
    wire_put_i64(p->dir_mtime_ns, out);
    object_encode(&p->object, out);
    object_values_encode(&p->object, out);
    buf_put_bytes(out, p->token);
    wire_put_replicas(p->replicas, p->n_replicas, out);
    wire_put_epoch(&p->ring, out);
}

int get_reply_decode(struct slice body, struct get_reply *p)
{
    struct get_reply got = {.object = OBJECT_EMPTY};
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_status(&r, &got.status, &got.answered, &got.needed);
    got.implicit_dir = wire_read_bool(&r);
    got.dir_mtime_ns = wire_read_i64(&r);
    object_decode(&r, &got.object);
    object_values_decode(&r, &got.object);
    got.token = wire_read_bytes(&r, CONTEXT_LEN_MAX);
    wire_read_replicas(&r, got.replicas, &got.n_replicas);
    wire_read_epoch(&r, &got.ring);
    if (!reader_ok(&r)) {
        get_reply_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *p = got;
    return DYN_OK;
}

void get_reply_release(struct get_reply *p)
{
    object_release(&p->object);
}

void put_reply_encode(const struct put_reply *p, struct buf *out)
{
    bool dot = !dot_is_none(&p->dot);
    wire_begin(out);
    wire_put_status(p->status, p->answered, p->needed, out);
    buf_put_u8(out, dot);
    if (dot)
        dot_encode(&p->dot, out);
    object_encode(&p->object, out);
    buf_put_bytes(out, p->token);
    wire_put_replicas(p->replicas, p->n_replicas, out);
    wire_put_epoch(&p->ring, out);
}

int put_reply_decode(struct slice body, struct put_reply *p)
{
    struct put_reply got = {.object = OBJECT_EMPTY};
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_status(&r, &got.status, &got.answered, &got.needed);
    if (wire_read_bool(&r))
        dot_decode(&r, &got.dot);
    object_decode(&r, &got.object);
    got.token = wire_read_bytes(&r, CONTEXT_LEN_MAX);
    wire_read_replicas(&r, got.replicas, &got.n_replicas);
    wire_read_epoch(&r, &got.ring);
    if (!reader_ok(&r)) {
        put_reply_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *p = got;
    return DYN_OK;
}

void put_reply_release(struct put_reply *p)
{
    object_release(&p->object);
}

void list_reply_encode(const struct list_reply *p, struct buf *out)
{
    assert(p->n <= LIST_LIMIT_MAX);
    wire_begin(out);
    wire_put_status(p->status, p->answered, p->needed, out);
    buf_put_u8(out, p->more);
    buf_put_bytes(out, p->cursor);
    wire_put_i64(p->dir_mtime_ns, out);
    wire_put_epoch(&p->ring, out);
    buf_put_varint(out, p->n);
    for (uint32_t i = 0; i < p->n; i++) {
        buf_put_bytes(out, p->entries[i].name);
        object_encode(&p->entries[i].object, out);
    }
}

/* Room grows with what was really read, not with the count that was claimed. */
static void read_entries(struct reader *r, struct list_reply *p)
{
    uint32_t n = wire_read_u32(r, LIST_LIMIT_MAX), cap = 0;
    while (reader_ok(r) && p->n < n) {
        struct list_entry e = {.object = OBJECT_EMPTY};
        e.name = wire_read_bytes(r, KEY_NAME_MAX);
        if (!reader_ok(r) || key_name_check(e.name, NULL) != DYN_OK ||
            (p->n != 0 && slice_compare(p->entries[p->n - 1].name, e.name) >= 0)) {
            reader_fail(r);
            return;
        }
        object_decode(r, &e.object);
        if (p->n == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            p->entries = mem_reallocarray(p->entries, cap, sizeof(*p->entries));
        }
        p->entries[p->n++] = e;
    }
}

int list_reply_decode(struct slice body, struct list_reply *p)
{
    struct list_reply got = {.entries = NULL};
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_status(&r, &got.status, &got.answered, &got.needed);
    got.more = wire_read_bool(&r);
    got.cursor = wire_read_bytes(&r, LIST_CURSOR_MAX);
    got.dir_mtime_ns = wire_read_i64(&r);
    wire_read_epoch(&r, &got.ring);
    read_entries(&r, &got);
    if (!reader_ok(&r)) {
        list_reply_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *p = got;
    return DYN_OK;
}

void list_reply_release(struct list_reply *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        object_release(&p->entries[i].object);
    free(p->entries);
    p->entries = NULL;
    p->n = 0;
}

void sync_reply_encode(const struct sync_reply *p, struct buf *out)
{
    wire_begin(out);
    wire_put_status(p->status, p->answered, p->needed, out);
}

int sync_reply_decode(struct slice body, struct sync_reply *p)
{
    struct sync_reply got = {.status = DYN_OK};
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_status(&r, &got.status, &got.answered, &got.needed);
    if (!reader_ok(&r))
        return DYN_ERR_PROTOCOL;
    *p = got;
    return DYN_OK;
}

void ring_reply_encode(const struct ring_reply *p, struct buf *out)
{
    struct buf history = BUF_EMPTY;
    wire_begin(out);
    wire_put_status(p->status, 0, 0, out);
    buf_put_u64(out, p->node);
    if (p->status == DYN_OK)
        history_encode(&p->history, &history);
    buf_put_bytes(out, buf_slice(&history));
    buf_release(&history);
}

int ring_reply_decode(struct slice body, struct ring_reply *p)
{
    struct ring_reply got = {.history = HISTORY_EMPTY};
    uint8_t answered, needed;
    struct reader r;
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_status(&r, &got.status, &answered, &needed);
    got.node = read_u64(&r);
    struct slice history = read_bytes(&r);
    if (reader_ok(&r) && got.status == DYN_OK) {
        struct reader inner = reader_of(history);
        history_decode(&inner, &got.history);
        if (!reader_done(&inner))
            reader_fail(&r);
    }
    if (!reader_ok(&r)) {
        ring_reply_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *p = got;
    return DYN_OK;
}

void ring_reply_release(struct ring_reply *p)
{
    history_release(&p->history);
}
