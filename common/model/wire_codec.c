/* SPDX-License-Identifier: Apache-2.0 */
/* See wire_codec.h. Each read bounds what it takes before memory is taken for it. */
#include "model/wire_codec.h"

#include <assert.h>
#include <limits.h>

#include "base/err.h"
#include "base/mem.h"

void wire_begin(struct buf *out)
{
    buf_put_u8(out, WIRE_FORMAT);
}

int wire_open(struct slice body, struct reader *r)
{
    *r = reader_of(body);
    uint8_t format = read_u8(r);
    if (!reader_ok(r))
        return DYN_ERR_PROTOCOL;
    return format == WIRE_FORMAT ? DYN_OK : DYN_ERR_UNSUPPORTED;
}

bool wire_read_bool(struct reader *r)
{
    uint8_t v = read_u8(r);
    if (v > 1)
        reader_fail(r);
    return v == 1;
}

uint32_t wire_read_u32(struct reader *r, uint32_t max)
{
    uint64_t v = read_varint(r);
    if (v > max) {
        reader_fail(r);
        return 0;
    }
    return (uint32_t)v;
}

struct slice wire_read_bytes(struct reader *r, size_t max)
{
    struct slice s = read_bytes(r);
    if (s.len > max) {
        reader_fail(r);
        return slice_of(NULL, 0);
    }
    return s;
}

/* Zigzag, so that 0 ("none given") takes one byte. */
void wire_put_i64(int64_t v, struct buf *out)
{
    buf_put_varint(out, ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0));
}

int64_t wire_read_i64(struct reader *r)
{
    uint64_t z = read_varint(r);
    uint64_t v = (z >> 1) ^ ((z & 1) != 0 ? UINT64_MAX : 0);
    int64_t out;
    memcpy(&out, &v, sizeof(out));
    return out;
}

/* The small enums share a byte: durability in bits 0-1, sloppiness in 2-3, forwarded in 4. */
void wire_put_options(const struct request_options *o, struct buf *out)
{
    assert(o->durability <= DURABILITY_QUORUM && o->sloppy <= SLOPPY_NO && o->forwarded <= 1);
    buf_put_u8(out, o->n);
    buf_put_u8(out, o->r);
    buf_put_u8(out, o->w);
    buf_put_u8(out, (uint8_t)(o->durability | o->sloppy << 2 | o->forwarded << 4));
    buf_put_varint(out, o->timeout_ms);
    buf_put_varint(out, o->expires_ms);
}

void wire_read_options(struct reader *r, struct request_options *o)
{
    o->n = read_u8(r);
    o->r = read_u8(r);
    o->w = read_u8(r);
    uint8_t bits = read_u8(r);
    o->durability = bits & 3;
    o->sloppy = bits >> 2 & 3;
    o->forwarded = bits >> 4 & 1;
    if (o->sloppy > SLOPPY_NO || bits >> 5 != 0)
        reader_fail(r);
    o->timeout_ms = wire_read_u32(r, UINT32_MAX);
    o->expires_ms = read_varint(r);
}

void wire_put_status(int status, uint8_t answered, uint8_t needed, struct buf *out)
{
    assert(status <= 0);
    buf_put_varint(out, (uint64_t)(-(int64_t)status));
    buf_put_u8(out, answered);
    buf_put_u8(out, needed);
}

void wire_read_status(struct reader *r, int *status, uint8_t *answered, uint8_t *needed)
{
    *status = -(int)wire_read_u32(r, INT_MAX);
    *answered = read_u8(r);
    *needed = read_u8(r);
}

void wire_put_contexts(const struct slice *contexts, uint32_t n, struct buf *out)
{
    assert(n <= CONTEXTS_MAX);
    buf_put_varint(out, n);
    for (uint32_t i = 0; i < n; i++)
        buf_put_bytes(out, contexts[i]);
}

void wire_read_contexts(struct reader *r, struct slice **contexts, uint32_t *n)
{
    *contexts = NULL;
    *n = wire_read_u32(r, CONTEXTS_MAX);
    if (*n == 0)
        return;
    *contexts = mem_reallocarray(NULL, *n, sizeof(**contexts));
    for (uint32_t i = 0; i < *n; i++)
        (*contexts)[i] = wire_read_bytes(r, CONTEXT_LEN_MAX);
}

void wire_put_replicas(const uint64_t *nodes, uint8_t n, struct buf *out)
{
    assert(n <= WIRE_REPLICAS_MAX);
    buf_put_u8(out, n);
    for (uint8_t i = 0; i < n; i++)
        buf_put_u64(out, nodes[i]);
}

void wire_read_replicas(struct reader *r, uint64_t nodes[WIRE_REPLICAS_MAX], uint8_t *n)
{
    *n = read_u8(r);
    if (*n > WIRE_REPLICAS_MAX) {
        reader_fail(r);
        *n = 0;
    }
    for (uint8_t i = 0; i < *n; i++)
        nodes[i] = read_u64(r);
}

void wire_put_epoch(const struct history_epoch *e, struct buf *out)
{
    buf_put_varint(out, e->length);
    buf_put(out, e->digest, sizeof(e->digest));
}

void wire_read_epoch(struct reader *r, struct history_epoch *e)
{
    e->length = wire_read_u32(r, UINT32_MAX);
    read_copy(r, e->digest, sizeof(e->digest));
}
