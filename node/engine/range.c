/* SPDX-License-Identifier: Apache-2.0 */
/* See range.h. Nothing here changes a row; what is read may change meanwhile, and that is fine: a
 * write that comes after the receiver became an owner goes to the receiver too. */
#include "engine/range.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/catchup.h"
#include "engine/entry_place.h"
#include "engine/peer_wire.h"
#include "engine/view.h"

#define FORMAT 1
#define SCAN_BYTES (512u << 10)
#define CURSOR_MAX 16384u
#define FENCES_MAX 65536u

/* ---- bodies ------------------------------------------------------------------------------ */

static struct reader open_body(struct slice body)
{
    struct reader r = reader_of(body);
    if (read_u8(&r) != FORMAT)
        reader_fail(&r);
    return r;
}

static void put_name(const struct range_row *row, struct buf *out)
{
    buf_put_u8(out, (uint8_t)row->kind);
    buf_put_bytes(out, row->key);
}

static void read_name(struct reader *r, struct range_row *row)
{
    uint8_t kind = read_u8(r);
    row->kind = (enum row_kind)kind;
    row->key = read_bytes(r);
    if (!reader_ok(r) || !row_id_valid(row->kind, row->key))
        reader_fail(r);
}

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
        put_name(&q->rows[i], out);
}

int range_request_decode(struct slice body, struct range_request *q)
{
    struct reader r = open_body(body);
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

/* A reply is built up while the store is read: header, rows, and at its end the number of rows,
 * the cursor and the digest. */
static void reply_begin(struct buf *out, bool objects)
{
    buf_put_u8(out, FORMAT);
    buf_put_u32(out, 0); /* status */
    buf_put_u8(out, objects);
    buf_put_u32(out, 0); /* rows */
}

#define STATUS_AT 1u
#define ROWS_AT 6u

static void reply_end(struct buf *out, int status, uint32_t rows, bool more, struct slice cursor)
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
    read_name(r, row);
    if (!p->objects) {
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
    struct reader r = open_body(body);
    got.status = (int)read_u32(&r);
    got.objects = read_u8(&r) != 0;
    uint32_t n = read_u32(&r);
    if (n > RANGE_ROWS_MAX || got.status > 0)
        reader_fail(&r);
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

void range_reply_release(struct range_reply *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        object_release(&p->rows[i].object);
    free(p->rows);
    p->rows = NULL;
    p->n = 0;
}

void fence_list_encode(const struct fence_list *l, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put_varint(out, l->n);
    for (uint32_t i = 0; i < l->n; i++) {
        buf_put_u32(out, l->partitions[i]);
        buf_put_u64(out, l->fences[i]);
    }
}

int fence_list_decode(struct slice body, struct fence_list *l)
{
    struct reader r = open_body(body);
    struct fence_list got = {.n = 0};
    uint64_t n = read_varint(&r);
    if (n > FENCES_MAX || n * 12 > reader_left(&r))
        reader_fail(&r);
    if (reader_ok(&r) && n > 0) {
        got.partitions = mem_reallocarray(NULL, n, sizeof(*got.partitions));
        got.fences = mem_reallocarray(NULL, n, sizeof(*got.fences));
    }
    for (; reader_ok(&r) && got.n < n; got.n++) {
        got.partitions[got.n] = read_u32(&r);
        got.fences[got.n] = read_u64(&r);
    }
    if (!reader_ok(&r)) {
        fence_list_release(&got);
        return DYN_ERR_PROTOCOL;
    }
    *l = got;
    return DYN_OK;
}

void fence_list_release(struct fence_list *l)
{
    free(l->partitions);
    free(l->fences);
    *l = (struct fence_list){0};
}

/* ---- serving ----------------------------------------------------------------------------- */

struct giving {                   /* one frame being served */
    struct background background; /* first */
    struct engine *e;
    uint64_t origin, rid;
    uint8_t type;
    struct buf body, out, prefix, cursor;
    struct range_request q;
    struct store_scan scan;
    struct replica_read read;
    bool reading;
    uint32_t rows, next;
    size_t seen;
};

static void giving_free(struct giving *g)
{
    background_end(g->e, &g->background);
    if (g->reading)
        replica_read_release(&g->read);
    range_request_release(&g->q);
    buf_release(&g->body);
    buf_release(&g->out);
    buf_release(&g->prefix);
    buf_release(&g->cursor);
    free(g);
}

static void abandon(struct background *b)
{
    giving_free(container_of(b, struct giving, background));
}

static void give(struct giving *g, int status, bool more)
{
    struct net_port *net = &g->e->ports.net;
    reply_end(&g->out, status, g->rows, more, buf_slice(&g->cursor));
    net->reply(net->ctx, g->origin, g->rid, (uint8_t)(g->type + FRAME_REPLY), &g->out);
    giving_free(g);
}

static int check_range(const struct giving *g)
{
    struct engine *e = g->e;
    if (!e->serving || e->failed != DYN_OK)
        return DYN_ERR_STOPPED;
    if (g->q.partition >= ring_q(e->ring))
        return DYN_ERR_INVALID;
    if (history_epoch_equal(&g->q.ring, ring_epoch(e->ring)) ||
        g->q.fence == ring_fence(e->ring, g->q.partition))
        return catchup_votes(e->catchup, g->q.partition) ? DYN_OK : DYN_ERR_OVERLOAD;
    return DYN_ERR_REFUSED;
}

/* What the row is about, and the hash of its state; false for rows that are no state. */
static bool parse_row(struct slice row, struct slice value, struct buf *name, enum row_kind *kind,
                      uint8_t hash[DIGEST_LEN])
{
    struct object o = OBJECT_EMPTY;
    struct epoch mark;
    struct place at;
    buf_clear(name);
    bool good = row_meta_parse(row, &at, kind, name) == DYN_OK && *kind != ROW_DIRSTAT &&
                object_row_decode(value, &mark, &o) == DYN_OK;
    if (good)
        object_hash(&o, hash);
    object_release(&o);
    return good;
}

static bool on_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct giving *g = req->arg;
    struct buf name = BUF_EMPTY;
    struct range_row row = {0};
    buf_clear(&g->cursor);
    buf_put_slice(&g->cursor, key);
    buf_put_u8(&g->cursor, 0); /* the least key after this one */
    if (parse_row(key, value, &name, &row.kind, row.hash)) {
        row.key = buf_slice(&name);
        put_name(&row, &g->out);
        buf_put(&g->out, row.hash, DIGEST_LEN);
        g->rows++;
    }
    buf_release(&name);
    return g->rows < RANGE_ROWS_MAX;
}

static void on_scanned(struct store_scan *req, int err, bool more)
{
    struct giving *g = req->arg;
    give(g, err, more);
}

static void give_list(struct giving *g)
{
    buf_put_u32_be(&g->prefix, g->q.partition);
    if (g->q.after.len > 0 && !slice_has_prefix(g->q.after, buf_slice(&g->prefix))) {
        give(g, DYN_ERR_INVALID, false);
        return;
    }
    g->scan = (struct store_scan){.family = STORE_META,
                                  .prefix = buf_slice(&g->prefix),
                                  .from = g->q.after,
                                  .max_rows = UINT32_MAX,
                                  .max_bytes = SCAN_BYTES,
                                  .row = on_row,
                                  .done = on_scanned,
                                  .arg = g};
    g->e->ports.store.scan(g->e->ports.store.ctx, &g->scan);
}

static void give_next(struct giving *g);

/* Many large versions of one key do not fit into a frame: the receiver fetches their values one by
 * one. */
static void leave_out(struct object *o, uint64_t most)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < o->n; i++)
        bytes += o->siblings[i].value != NULL ? o->siblings[i].value->len : 0;
    for (uint32_t i = 0; i < o->n && o->n > 1 && bytes > most; i++) {
        blob_unref(o->siblings[i].value);
        o->siblings[i].value = NULL;
    }
}

static void on_state(struct replica_read *read, int err)
{
    struct giving *g = read->arg;
    g->reading = false;
    if (err == DYN_OK) {
        leave_out(&read->object, g->e->cfg.frame_values_max);
        put_name(&g->q.rows[g->next], &g->out);
        object_encode(&read->object, &g->out);
        object_values_encode(&read->object, &g->out);
        g->rows++;
        g->next++;
    }
    replica_read_release(read);
    if (err != DYN_OK)
        give(g, g->rows > 0 ? DYN_OK : err, false); /* what there is; the rest elsewhere */
    else
        give_next(g);
}

static void give_next(struct giving *g)
{
    if (g->next == g->q.n || g->out.len >= RANGE_BYTES_MAX) {
        give(g, DYN_OK, false);
        return;
    }
    const struct range_row *row = &g->q.rows[g->next];
    g->read = (struct replica_read){.e = g->e,
                                    .key = row->key,
                                    .load = row->kind == ROW_OBJECT ? LOAD_ALL : LOAD_NONE,
                                    .entry = row->kind == ROW_ENTRY,
                                    .done = on_state,
                                    .arg = g};
    g->reading = true;
    replica_read_start(&g->read);
}

static void serve_fences(struct engine *e, uint64_t origin, uint64_t rid, struct slice body)
{
    struct fence_list l = {.n = 0};
    struct buf out = BUF_EMPTY;
    int err = fence_list_decode(body, &l);
    for (uint32_t i = 0; i < l.n && err == DYN_OK; i++)
        if (l.partitions[i] >= ring_q(e->ring) ||
            l.fences[i] != ring_fence(e->ring, l.partitions[i]))
            err = DYN_ERR_REFUSED;
    fence_list_release(&l);
    peer_status_encode(e->serving ? err : DYN_ERR_STOPPED, &out);
    e->ports.net.reply(e->ports.net.ctx, origin, rid, FRAME_FENCED + FRAME_REPLY, &out);
}

void range_frame(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type, struct slice body)
{
    if (type == FRAME_FENCED) {
        serve_fences(e, origin, rid, body);
        return;
    }
    struct giving *g = mem_new(struct giving);
    g->e = e;
    g->origin = origin;
    g->rid = rid;
    g->type = type;
    buf_put_slice(&g->body, body);
    background_add(e, &g->background, abandon);
    reply_begin(&g->out, type == FRAME_RANGE_FETCH);
    int err = range_request_decode(buf_slice(&g->body), &g->q);
    if (err == DYN_OK)
        err = check_range(g);
    if (err != DYN_OK)
        give(g, err, false);
    else if (type == FRAME_RANGE_LIST)
        give_list(g);
    else
        give_next(g);
}
