/* SPDX-License-Identifier: Apache-2.0 */
/* See exchange_wire.h. */
#include "engine/trees/exchange_wire.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"
#include "model/wire_codec.h"

static void put_scope(const struct tree_scope *s, struct buf *out)
{
    wire_begin(out);
    wire_put_epoch(&s->ring, out);
    buf_put_u64(out, s->fence);
    buf_put_varint(out, s->n);
}

static int open_scope(struct slice body, struct reader *r, struct tree_scope *s)
{
    int err = wire_open(body, r);
    if (err != DYN_OK)
        return err;
    wire_read_epoch(r, &s->ring);
    s->fence = read_u64(r);
    s->n = wire_read_u32(r, N_MAX);
    return DYN_OK;
}

static void begin_reply(int status, struct buf *out)
{
    wire_begin(out);
    wire_put_status(status, 0, 0, out);
}

static int open_reply(struct slice body, struct reader *r, int *status)
{
    uint8_t answered, needed;
    int err = wire_open(body, r);
    if (err == DYN_OK)
        wire_read_status(r, status, &answered, &needed);
    return err;
}

/* A count of things of at least `least` bytes each: no more than the body has room for. */
static uint32_t read_count(struct reader *r, uint32_t max, size_t least)
{
    uint32_t count = wire_read_u32(r, max);
    if (reader_ok(r) && count > reader_left(r) / least)
        reader_fail(r);
    return reader_ok(r) ? count : 0;
}

static int verdict(const struct reader *r)
{
    return reader_ok(r) ? DYN_OK : DYN_ERR_PROTOCOL;
}

/* ---- roots ------------------------------------------------------------------------------- */

void tree_roots_encode(const struct tree_roots *m, struct buf *out)
{
    put_scope(&m->scope, out);
    buf_put_varint(out, m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        buf_put_varint(out, m->partition[i]);
        buf_put_u64(out, m->root[i].a);
        buf_put_u64(out, m->root[i].b);
    }
}

int tree_roots_decode(struct slice body, struct tree_roots *m)
{
    struct reader r;
    struct tree_roots t = {0};
    int err = open_scope(body, &r, &t.scope);
    if (err != DYN_OK)
        return err;
    t.count = read_count(&r, TREE_ROOTS_MAX, 17);
    t.partition = mem_reallocarray(NULL, t.count + 1, sizeof(*t.partition));
    t.root = mem_reallocarray(NULL, t.count + 1, sizeof(*t.root));
    for (uint32_t i = 0; i < t.count; i++) {
        t.partition[i] = wire_read_u32(&r, UINT32_MAX);
        t.root[i].a = read_u64(&r);
        t.root[i].b = read_u64(&r);
    }
    err = verdict(&r);
    if (err != DYN_OK)
        tree_roots_release(&t);
    else
        *m = t;
    return err;
}

void tree_roots_release(struct tree_roots *m)
{
    free(m->partition);
    free(m->root);
    m->partition = NULL;
    m->root = NULL;
    m->count = 0;
}

void tree_roots_reply_encode(const struct tree_roots_reply *m, struct buf *out)
{
    begin_reply(m->status, out);
    buf_put_varint(out, m->count);
    for (uint32_t i = 0; i < m->count; i++)
        buf_put_varint(out, m->differs[i]);
}

int tree_roots_reply_decode(struct slice body, struct tree_roots_reply *m)
{
    struct reader r;
    struct tree_roots_reply t = {0};
    int err = open_reply(body, &r, &t.status);
    if (err != DYN_OK)
        return err;
    t.count = read_count(&r, TREE_ROOTS_MAX, 1);
    t.differs = mem_reallocarray(NULL, t.count + 1, sizeof(*t.differs));
    for (uint32_t i = 0; i < t.count; i++)
        t.differs[i] = wire_read_u32(&r, TREE_ROOTS_MAX - 1);
    err = verdict(&r);
    if (err != DYN_OK)
        tree_roots_reply_release(&t);
    else
        *m = t;
    return err;
}

void tree_roots_reply_release(struct tree_roots_reply *m)
{
    free(m->differs);
    m->differs = NULL;
    m->count = 0;
}

/* ---- nodes ------------------------------------------------------------------------------- */

void tree_nodes_encode(const struct tree_nodes *m, struct buf *out)
{
    put_scope(&m->scope, out);
    buf_put_varint(out, m->partition);
    buf_put_varint(out, m->level);
    buf_put_varint(out, m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        buf_put_varint(out, m->node[i].index);
        for (uint32_t k = 0; k < TREE_FANOUT; k++)
            buf_put_u64(out, m->node[i].child[k]);
    }
}

int tree_nodes_decode(struct slice body, struct tree_nodes *m)
{
    struct reader r;
    struct tree_nodes t = {0};
    int err = open_scope(body, &r, &t.scope);
    if (err != DYN_OK)
        return err;
    t.partition = wire_read_u32(&r, UINT32_MAX);
    t.level = wire_read_u32(&r, TREE_LEVELS - 1);
    t.count = read_count(&r, TREE_NODES_MAX, 1 + 8 * TREE_FANOUT);
    for (uint32_t i = 0; i < t.count; i++) {
        t.node[i].index = wire_read_u32(&r, (1u << (4 * t.level)) - 1);
        for (uint32_t k = 0; k < TREE_FANOUT; k++)
            t.node[i].child[k] = read_u64(&r);
    }
    if (verdict(&r) == DYN_OK)
        *m = t;
    return verdict(&r);
}

void tree_nodes_reply_encode(const struct tree_nodes_reply *m, struct buf *out)
{
    begin_reply(m->status, out);
    buf_put_varint(out, m->count);
    for (uint32_t i = 0; i < m->count; i++)
        buf_put_varint(out, m->differs[i]);
}

int tree_nodes_reply_decode(struct slice body, struct tree_nodes_reply *m)
{
    struct reader r;
    struct tree_nodes_reply t = {0};
    int err = open_reply(body, &r, &t.status);
    if (err != DYN_OK)
        return err;
    t.count = read_count(&r, TREE_NODES_MAX, 1);
    for (uint32_t i = 0; i < t.count; i++)
        t.differs[i] = (uint16_t)wire_read_u32(&r, UINT16_MAX);
    if (verdict(&r) == DYN_OK)
        *m = t;
    return verdict(&r);
}

/* ---- leaves ------------------------------------------------------------------------------ */

uint32_t tree_leaves_rows(const struct tree_leaves *m)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < m->count; i++)
        total += m->n_rows[i];
    return total;
}

void tree_leaves_encode(const struct tree_leaves *m, struct buf *out)
{
    uint32_t total = tree_leaves_rows(m);
    put_scope(&m->scope, out);
    buf_put_varint(out, m->partition);
    buf_put_varint(out, m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        buf_put_varint(out, m->leaf[i]);
        buf_put_varint(out, m->n_rows[i]);
    }
    for (uint32_t i = 0; i < total; i++) {
        buf_put_u64(out, m->rows[i].slot);
        buf_put_u64(out, m->rows[i].hash);
    }
}

int tree_leaves_decode(struct slice body, struct tree_leaves *m)
{
    struct reader r;
    struct tree_leaves t = {0};
    uint64_t total = 0;
    int err = open_scope(body, &r, &t.scope);
    if (err != DYN_OK)
        return err;
    t.partition = wire_read_u32(&r, UINT32_MAX);
    t.count = read_count(&r, TREE_LEAVES_MAX, 2);
    for (uint32_t i = 0; i < t.count; i++) {
        t.leaf[i] = wire_read_u32(&r, TREE_LEAVES - 1);
        t.n_rows[i] = wire_read_u32(&r, TREE_ROWS_MAX);
        total += t.n_rows[i];
    }
    if (total > TREE_ROWS_MAX || total > reader_left(&r) / 16)
        reader_fail(&r);
    if (!reader_ok(&r))
        return DYN_ERR_PROTOCOL;
    t.rows = mem_reallocarray(NULL, total + 1, sizeof(*t.rows));
    for (uint64_t i = 0; i < total; i++) {
        t.rows[i].slot = read_u64(&r);
        t.rows[i].hash = read_u64(&r);
    }
    *m = t;
    return DYN_OK;
}

void tree_leaves_release(struct tree_leaves *m)
{
    free(m->rows);
    m->rows = NULL;
    m->count = 0;
}

void tree_leaves_page_row(struct tree_leaves_page *p, enum row_kind kind, struct slice key,
                          const struct object *o)
{
    buf_put_u8(&p->rows, (uint8_t)kind);
    buf_put_bytes(&p->rows, key);
    object_encode(o, &p->rows);
    p->count++;
}

void tree_leaves_page_unknown(struct tree_leaves_page *p, uint64_t slot)
{
    buf_put_u64(&p->unknown, slot);
    p->n_unknown++;
}

void tree_leaves_page_end(struct tree_leaves_page *p, int status, struct buf *out)
{
    begin_reply(status, out);
    buf_put_varint(out, p->count);
    buf_put_slice(out, buf_slice(&p->rows));
    buf_put_varint(out, p->n_unknown);
    buf_put_slice(out, buf_slice(&p->unknown));
    buf_release(&p->rows);
    buf_release(&p->unknown);
}

static bool read_difference(struct reader *r, struct tree_difference *d)
{
    uint8_t kind = read_u8(r);
    *d = (struct tree_difference){.kind = (enum row_kind)kind, .object = OBJECT_EMPTY};
    d->key = wire_read_bytes(r, ENTRY_ID_MAX);
    if (!row_id_valid(d->kind, d->key))
        reader_fail(r);
    object_decode(r, &d->object);
    if (reader_ok(r) && object_is_absent(&d->object))
        reader_fail(r);
    return reader_ok(r);
}

int tree_leaves_reply_decode(struct slice body, struct tree_leaves_reply *m)
{
    struct reader r;
    struct tree_leaves_reply t = {0};
    int err = open_reply(body, &r, &t.status);
    if (err != DYN_OK)
        return err;
    uint32_t count = read_count(&r, TREE_ROWS_MAX, 4);
    for (uint32_t i = 0; i < count && reader_ok(&r); i++) {
        if (t.count == t.cap) { /* objects are small or many, never both beyond the body */
            t.cap = t.cap == 0 ? 16 : t.cap * 2;
            t.rows = mem_reallocarray(t.rows, t.cap, sizeof(*t.rows));
        }
        read_difference(&r, &t.rows[t.count++]);
    }
    t.n_unknown = read_count(&r, TREE_ROWS_MAX, 8);
    t.unknown = mem_reallocarray(NULL, t.n_unknown + 1, sizeof(*t.unknown));
    for (uint32_t i = 0; i < t.n_unknown; i++)
        t.unknown[i] = read_u64(&r);
    err = verdict(&r);
    if (err != DYN_OK)
        tree_leaves_reply_release(&t);
    else
        *m = t;
    return err;
}

void tree_leaves_reply_release(struct tree_leaves_reply *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        object_release(&m->rows[i].object);
    free(m->rows);
    free(m->unknown);
    m->rows = NULL;
    m->unknown = NULL;
    m->count = m->n_unknown = 0;
}

/* ---- entries ----------------------------------------------------------------------------- */

void entry_mend_encode(const struct entry_mend *m, struct buf *out)
{
    put_scope(&m->scope, out);
    buf_put_bytes(out, m->key);
    buf_put(out, m->state, DIGEST_LEN);
    object_encode(&m->object, out);
}

int entry_mend_decode(struct slice body, struct entry_mend *m)
{
    struct reader r;
    struct entry_mend t = {.object = OBJECT_EMPTY};
    int err = open_scope(body, &r, &t.scope);
    if (err != DYN_OK)
        return err;
    t.key = wire_read_bytes(&r, ENTRY_ID_MAX);
    if (!entry_id_valid(t.key))
        reader_fail(&r);
    read_copy(&r, t.state, DIGEST_LEN);
    object_decode(&r, &t.object);
    err = verdict(&r);
    if (err != DYN_OK)
        entry_mend_release(&t);
    else
        *m = t;
    return err;
}

void entry_mend_release(struct entry_mend *m)
{
    object_release(&m->object);
}
