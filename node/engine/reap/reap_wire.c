/* SPDX-License-Identifier: Apache-2.0 */
/* See reap_wire.h. */
#include "engine/reap/reap_wire.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"
#include "model/wire_codec.h"

static int verdict(const struct reader *r)
{
    return reader_ok(r) ? DYN_OK : DYN_ERR_PROTOCOL;
}

/* A count of things of at least `least` bytes each: no more than the body has room for. */
static uint32_t read_count(struct reader *r, uint32_t max, size_t least)
{
    uint32_t count = wire_read_u32(r, max);
    if (reader_ok(r) && count > reader_left(r) / least)
        reader_fail(r);
    return reader_ok(r) ? count : 0;
}

static int open_reply(struct slice body, struct reader *r, int *status)
{
    uint8_t answered, needed;
    int err = wire_open(body, r);
    if (err == DYN_OK)
        wire_read_status(r, status, &answered, &needed);
    return err;
}

/* One of 1 to max. */
static uint8_t read_choice(struct reader *r, uint8_t max)
{
    uint8_t v = read_u8(r);
    if (v == 0 || v > max)
        reader_fail(r);
    return v;
}

/* ---- a step ------------------------------------------------------------------------------ */

void reap_request_encode(const struct reap_request *m, struct buf *out)
{
    wire_begin(out);
    wire_put_epoch(&m->ring, out);
    buf_put_u8(out, (uint8_t)m->step);
    buf_put_varint(out, m->n);
    for (uint32_t i = 0; i < m->n; i++) {
        buf_put_u8(out, (uint8_t)m->items[i].kind);
        buf_put_bytes(out, m->items[i].key);
        buf_put(out, m->items[i].state, DIGEST_LEN);
    }
}

static void read_item(struct reader *r, struct reap_item *item)
{
    uint8_t kind = read_u8(r);
    item->kind = (enum row_kind)kind;
    item->key = read_bytes(r);
    read_copy(r, item->state, DIGEST_LEN);
    if (!reader_ok(r) || item->key.len == 0 || !row_id_valid(item->kind, item->key))
        reader_fail(r);
}

int reap_request_decode(struct slice body, struct reap_request *m)
{
    struct reader r;
    struct reap_request t = {.n = 0};
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_epoch(&r, &t.ring);
    t.step = (enum reap_step)read_choice(&r, REAP_DROP);
    if (t.step == REAP_LOOK)
        reader_fail(&r); /* nobody else's business */
    uint32_t n = read_count(&r, REAP_ITEMS_MAX, 2 + DIGEST_LEN);
    t.items = mem_zalloc((n + 1) * sizeof(*t.items));
    while (reader_ok(&r) && t.n < n)
        read_item(&r, &t.items[t.n++]);
    err = verdict(&r);
    if (err != DYN_OK)
        reap_request_release(&t);
    else
        *m = t;
    return err;
}

void reap_request_release(struct reap_request *m)
{
    free(m->items);
    m->items = NULL;
    m->n = 0;
}

void reap_reply_encode(const struct reap_reply *m, struct buf *out)
{
    wire_begin(out);
    wire_put_status(m->status, 0, 0, out);
    buf_put_varint(out, m->n);
    for (uint32_t i = 0; i < m->n; i++) {
        buf_put_u8(out, (uint8_t)m->votes[i].verdict);
        buf_put(out, m->votes[i].state, DIGEST_LEN);
    }
}

int reap_reply_decode(struct slice body, struct reap_reply *m)
{
    struct reader r;
    struct reap_reply t = {0};
    int err = open_reply(body, &r, &t.status);
    if (err != DYN_OK)
        return err;
    t.n = read_count(&r, REAP_ITEMS_MAX, 1 + DIGEST_LEN);
    t.votes = mem_zalloc((t.n + 1) * sizeof(*t.votes));
    for (uint32_t i = 0; i < t.n; i++) {
        t.votes[i].verdict = (enum reap_verdict)read_choice(&r, REAP_RIPE);
        read_copy(&r, t.votes[i].state, DIGEST_LEN);
    }
    err = verdict(&r);
    if (err != DYN_OK)
        reap_reply_release(&t);
    else
        *m = t;
    return err;
}

void reap_reply_release(struct reap_reply *m)
{
    free(m->votes);
    m->votes = NULL;
    m->n = 0;
}

/* ---- what is kept for others ------------------------------------------------------------- */

void clear_request_encode(const struct clear_request *m, struct buf *out)
{
    wire_begin(out);
    wire_put_epoch(&m->ring, out);
    buf_put_varint(out, m->n);
    for (uint32_t i = 0; i < m->n; i++)
        buf_put_varint(out, m->partitions[i]);
}

int clear_request_decode(struct slice body, struct clear_request *m)
{
    struct reader r;
    struct clear_request t = {.n = 0};
    int err = wire_open(body, &r);
    if (err != DYN_OK)
        return err;
    wire_read_epoch(&r, &t.ring);
    t.n = read_count(&r, REAP_PARTITIONS_MAX, 1);
    t.partitions = mem_zalloc((t.n + 1) * sizeof(*t.partitions));
    for (uint32_t i = 0; i < t.n; i++)
        t.partitions[i] = wire_read_u32(&r, UINT32_MAX);
    err = verdict(&r);
    if (err != DYN_OK)
        clear_request_release(&t);
    else
        *m = t;
    return err;
}

void clear_request_release(struct clear_request *m)
{
    free(m->partitions);
    m->partitions = NULL;
    m->n = 0;
}

void clear_reply_encode(const struct clear_reply *m, struct buf *out)
{
    wire_begin(out);
    wire_put_status(m->status, 0, 0, out);
    buf_put_varint(out, m->n);
    buf_put(out, m->kept, m->n);
}

int clear_reply_decode(struct slice body, struct clear_reply *m)
{
    struct reader r;
    struct clear_reply t = {0};
    int err = open_reply(body, &r, &t.status);
    if (err != DYN_OK)
        return err;
    t.n = read_count(&r, REAP_PARTITIONS_MAX, 1);
    t.kept = mem_zalloc(t.n + 1);
    for (uint32_t i = 0; i < t.n; i++)
        t.kept[i] = read_choice(&r, REAP_COPIES);
    err = verdict(&r);
    if (err != DYN_OK)
        clear_reply_release(&t);
    else
        *m = t;
    return err;
}

void clear_reply_release(struct clear_reply *m)
{
    free(m->kept);
    m->kept = NULL;
    m->n = 0;
}
