/* SPDX-License-Identifier: Apache-2.0 */
/* See range_wire.h. All of it is hostile, also what comes out of an archive: each count and length
 * is bounded before memory is taken. */
#include "model/range_wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/key.h"

#define FORMAT 1
#define CURSOR_MAX 16384u
#define ENTRY_ID_LEN_MAX (KEY_LEN_MAX + 4u) /* nodes know what else it must be */

void range_name_put(const struct range_row *row, struct buf *out)
{
    buf_put_u8(out, row->kind);
    buf_put_bytes(out, row->key);
}

static void read_name(struct reader *r, struct range_row *row)
{
    uint8_t kind = read_u8(r);
    row->kind = kind;
    row->key = read_bytes(r);
    bool root = row->key.len == 0 && kind == RANGE_OBJECT;
    bool object = kind == RANGE_OBJECT && (root || key_check(row->key, NULL) == DYN_OK);
    bool entry = kind == RANGE_ENTRY && row->key.len <= ENTRY_ID_LEN_MAX;
    if (!reader_ok(r) || (!object && !entry))
        reader_fail(r);
}

/* ---- requests ---------------------------------------------------------------------------- */

void range_request_encode(const struct range_request *q, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put_u32(out, q->ring.length);
    buf_put(out, q->ring.digest, DIGEST_LEN);
    buf_put_u64(out, q->fence);
    buf_put_u32(out, q->partition);
    buf_put_bytes(out, q->after);
    buf_put_varint(out, q->n);
    for (uint32_t i = 0; i < q->n; i++)
        range_name_put(&q->rows[i], out);
}

int range_request_decode(struct slice body, struct range_request *q)
{
    struct reader r = reader_of_format(body, FORMAT);
    struct range_request got = {.n = 0};
    got.ring.length = read_u32(&r);
    read_copy(&r, got.ring.digest, DIGEST_LEN);
    got.fence = read_u64(&r);
    got.partition = read_u32(&r);
    got.after = read_bytes(&r);
    uint64_t n = read_varint(&r);
    if (n > RANGE_ROWS_MAX || got.after.len > CURSOR_MAX || got.partition >= PARTITIONS_MAX)
        reader_fail(&r);
    if (reader_ok(&r) && n > 0)
        got.rows = mem_zalloc(n * sizeof(*got.rows));
    while (reader_ok(&r) && got.n < n)
        read_name(&r, &got.rows[got.n++]);
    if (!reader_ok(&r)) {
        range_request_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *q = got;
    return DYN_OK;
}

void range_request_release(struct range_request *q)
{
    free(q->rows);
    q->rows = NULL;
    q->n = 0;
}

/* ---- replies ----------------------------------------------------------------------------- */

#define STATUS_AT 1u
#define ROWS_AT 6u

void range_reply_begin(struct buf *out, enum range_form form)
{
    buf_put_u8(out, FORMAT);
    buf_put_u32(out, 0); /* status */
    buf_put_u8(out, (uint8_t)form);
    buf_put_u32(out, 0); /* rows */
}

void range_reply_end(struct buf *out, int status, uint32_t rows, bool more, struct slice cursor)
{
    uint8_t digest[DIGEST_LEN];
    buf_set_u32(out, STATUS_AT, (uint32_t)status);
    buf_set_u32(out, ROWS_AT, rows);
    buf_put_u8(out, more);
    buf_put_bytes(out, cursor);
    digest_sha256(buf_slice(out), digest);
    buf_put(out, digest, DIGEST_LEN);
}

static void read_row(struct reader *r, struct range_reply *p)
{
    struct range_row *row = &p->rows[p->n++];
    row->object = OBJECT_EMPTY;
    if (p->form == RANGE_SEALED) {
        range_sealed_read(r, row);
        return;
    }
    read_name(r, row);
    if (p->form == RANGE_HASHES) {
        read_copy(r, row->hash, DIGEST_LEN);
    } else if (reader_ok(r)) {
        object_decode(r, &row->object);
        object_values_decode(r, &row->object);
    }
}

int range_reply_decode(struct slice body, struct range_reply *p)
{
    uint8_t digest[DIGEST_LEN];
    struct range_reply got = {.n = 0};
    if (body.len < DIGEST_LEN)
        return DYN_ERR_PROTOCOL;
    body.len -= DIGEST_LEN;
    digest_sha256(body, digest);
    if (memcmp(digest, body.data + body.len, DIGEST_LEN) != 0)
        return DYN_ERR_CORRUPT;
    struct reader r = reader_of_format(body, FORMAT);
    got.status = (int)read_u32(&r);
    uint8_t form = read_u8(&r);
    uint32_t n = read_u32(&r);
    if (n > RANGE_ROWS_MAX || got.status > 0 || form > RANGE_SEALED)
        reader_fail(&r);
    got.form = (enum range_form)form;
    if (reader_ok(&r) && n > 0)
        got.rows = mem_zalloc(n * sizeof(*got.rows));
    while (reader_ok(&r) && got.n < n)
        read_row(&r, &got);
    got.more = read_u8(&r) != 0;
    got.cursor = read_bytes(&r);
    if (!reader_ok(&r) || got.cursor.len > CURSOR_MAX) {
        range_reply_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *p = got;
    return DYN_OK;
}

static void release_rows(struct range_row **rows, uint32_t *n)
{
    for (uint32_t i = 0; i < *n; i++)
        object_release(&(*rows)[i].object);
    free(*rows);
    *rows = NULL;
    *n = 0;
}

void range_reply_release(struct range_reply *p)
{
    release_rows(&p->rows, &p->n);
}

/* ---- sealed rows ------------------------------------------------------------------------- */

void range_seal(struct mac *mac, uint64_t cluster, uint8_t kind, struct slice key,
                struct slice encoded, uint8_t out[DIGEST_LEN])
{
    struct buf head = BUF_EMPTY;
    buf_put_str(&head, "dynamount archived state"); /* of no other use of the secret */
    buf_put_u64(&head, cluster);
    buf_put_u8(&head, kind);
    buf_put_bytes(&head, key);
    const struct slice parts[] = {buf_slice(&head), encoded};
    mac_compute(mac, parts, 2, out);
    buf_release(&head);
}

void range_sealed_put(const struct range_row *row, const struct object *values, struct buf *out)
{
    range_name_put(row, out);
    buf_put_varint(out, row->prefix);
    buf_put_bytes(out, row->encoded);
    buf_put(out, row->seal, DIGEST_LEN);
    object_values_encode(values, out);
}

void range_sealed_read(struct reader *r, struct range_row *row)
{
    const uint8_t *begin = r->p;
    row->object = OBJECT_EMPTY;
    read_name(r, row);
    uint64_t prefix = read_varint(r);
    row->encoded = read_bytes(r);
    read_copy(r, row->seal, DIGEST_LEN);
    if (!reader_ok(r) || row->kind != RANGE_OBJECT || prefix > OBJECT_SIBLINGS_MAX) {
        reader_fail(r);
        return;
    }
    struct reader in = reader_of(row->encoded);
    object_decode(&in, &row->object);
    if (!reader_done(&in) || object_is_absent(&row->object) || prefix > row->object.n)
        reader_fail(r);
    object_values_decode(r, &row->object);
    if (!reader_ok(r))
        return;
    row->prefix = (uint32_t)prefix;
    object_hash(&row->object, row->hash);
    row->raw = slice_of(begin, (size_t)(r->p - begin));
}

/* ---- archives ---------------------------------------------------------------------------- */

void archive_request_encode(const struct archive_request *q, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put_u8(out, (uint8_t)q->op);
    buf_put_u64(out, q->target);
    range_request_encode(&q->range, out);
}

int archive_request_decode(struct slice body, struct archive_request *q)
{
    struct reader r = reader_of_format(body, FORMAT);
    struct archive_request got = {.target = 0};
    uint8_t op = read_u8(&r);
    got.target = read_u64(&r);
    if (!reader_ok(&r) || op < ARCHIVE_ROOT || op > ARCHIVE_STANDS_IN)
        return DYN_ERR_PROTOCOL;
    got.op = (enum archive_op)op;
    int err = range_request_decode(read_raw(&r, reader_left(&r)), &got.range);
    for (uint32_t i = 0; err == DYN_OK && i < got.range.n; i++)
        if (got.range.rows[i].kind != RANGE_OBJECT)
            err = DYN_ERR_PROTOCOL;
    if (err != DYN_OK)
        range_request_release(&got.range);
    else
        *q = got;
    return err;
}

void archive_root_encode(const struct archive_root *p, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put_u32(out, (uint32_t)p->status);
    buf_put_u64(out, p->a);
    buf_put_u64(out, p->b);
}

int archive_root_decode(struct slice body, struct archive_root *p)
{
    struct reader r = reader_of_format(body, FORMAT);
    struct archive_root got = {.status = (int)read_u32(&r)};
    got.a = read_u64(&r);
    got.b = read_u64(&r);
    if (!reader_ok(&r) || got.status > 0)
        return DYN_ERR_PROTOCOL;
    *p = got;
    return DYN_OK;
}

void archive_targets_encode(const struct archive_targets *p, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put_u32(out, (uint32_t)p->status);
    buf_put_u32(out, p->n);
    for (uint32_t i = 0; i < p->n; i++)
        buf_put_u64(out, p->nodes[i]);
}

int archive_targets_decode(struct slice body, struct archive_targets *p)
{
    struct reader r = reader_of_format(body, FORMAT);
    struct archive_targets got = {.status = (int)read_u32(&r)};
    uint32_t n = read_u32(&r);
    if (n > ARCHIVE_TARGETS_MAX || got.status > 0)
        reader_fail(&r);
    if (reader_ok(&r))
        got.nodes = mem_zalloc((n + 1) * sizeof(*got.nodes));
    for (; reader_ok(&r) && got.n < n; got.n++)
        got.nodes[got.n] = read_u64(&r);
    if (!reader_ok(&r)) {
        archive_targets_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *p = got;
    return DYN_OK;
}

void archive_targets_release(struct archive_targets *p)
{
    free(p->nodes);
    p->nodes = NULL;
    p->n = 0;
}

void restore_request_begin(struct buf *out, uint32_t rows)
{
    buf_put_u8(out, FORMAT);
    buf_put_u32(out, rows);
}

int restore_request_decode(struct slice body, struct restore_request *q)
{
    struct reader r = reader_of_format(body, FORMAT);
    struct restore_request got = {.n = 0};
    uint32_t n = read_u32(&r);
    if (n > RANGE_ROWS_MAX)
        reader_fail(&r);
    if (reader_ok(&r) && n > 0)
        got.rows = mem_zalloc(n * sizeof(*got.rows));
    while (reader_ok(&r) && got.n < n)
        range_sealed_read(&r, &got.rows[got.n++]);
    if (!reader_done(&r)) {
        restore_request_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *q = got;
    return DYN_OK;
}

void restore_request_release(struct restore_request *q)
{
    release_rows(&q->rows, &q->n);
}

void restore_reply_encode(const struct restore_reply *p, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put_u32(out, (uint32_t)p->status);
    buf_put_u32(out, p->n);
    for (uint32_t i = 0; i < p->n; i++)
        buf_put_u32(out, (uint32_t)p->rows[i]);
}

int restore_reply_decode(struct slice body, struct restore_reply *p)
{
    struct reader r = reader_of_format(body, FORMAT);
    struct restore_reply got = {.status = (int)read_u32(&r)};
    uint32_t n = read_u32(&r);
    if (n > RANGE_ROWS_MAX || got.status > 0)
        reader_fail(&r);
    if (reader_ok(&r))
        got.rows = mem_zalloc((n + 1) * sizeof(*got.rows));
    for (; reader_ok(&r) && got.n < n; got.n++) {
        got.rows[got.n] = (int)read_u32(&r);
        if (got.rows[got.n] > 0)
            reader_fail(&r);
    }
    if (!reader_ok(&r)) {
        restore_reply_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *p = got;
    return DYN_OK;
}

void restore_reply_release(struct restore_reply *p)
{
    free(p->rows);
    p->rows = NULL;
    p->n = 0;
}
