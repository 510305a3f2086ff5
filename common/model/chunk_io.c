/* SPDX-License-Identifier: Apache-2.0 */
/* See chunk_io.h. */
#include "model/chunk_io.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/key.h"

#define REF_FORMAT 1

/* ---- get --------------------------------------------------------------------------------- */

static void on_got(void *arg, const struct get_reply *p)
{
    struct chunk_get *g = arg;
    g->id = 0;
    const struct sibling *s = p->status == DYN_OK ? object_newest(&p->object) : NULL;
    int err = p->status;
    if (err == DYN_OK && (s == NULL || s->value == NULL))
        err = DYN_ERR_NOT_FOUND;
    else if (err == DYN_OK && !digest_equal(s->value_hash, g->digest))
        err = DYN_ERR_CORRUPT;
    g->done(g, err, err == DYN_OK ? s->value : NULL);
}

void chunk_get_start(struct chunk_io *io, struct chunk_get *g, const struct upload_id *upload,
                     const struct chunk *c)
{
    struct buf key = BUF_EMPTY;
    assert(g->id == 0);
    chunk_key(upload, c->number, &key);
    g->io = io;
    memcpy(g->digest, c->digest, DIGEST_LEN);
    struct get_request q = {
        .opt = {.timeout_ms = io->timeout_ms}, .key = buf_slice(&key), .want = GET_PRESENT};
    g->id = io->kv.get(io->kv.ctx, &q, on_got, g);
    buf_release(&key);
}

static void cancel(struct chunk_io *io, uint64_t *id)
{
    if (*id != 0)
        io->kv.cancel(io->kv.ctx, *id);
    *id = 0;
}

void chunk_get_cancel(struct chunk_get *g)
{
    cancel(g->io, &g->id);
}

/* ---- put --------------------------------------------------------------------------------- */

static void on_put(void *arg, const struct put_reply *p)
{
    struct chunk_put *c = arg;
    c->id = 0;
    c->dot = p->dot;
    c->done(c, p->status);
}

void chunk_put_start(struct chunk_io *io, struct chunk_put *p, const struct upload_id *upload,
                     uint32_t number, struct slice bytes, enum durability durability)
{
    struct buf key = BUF_EMPTY;
    assert(p->id == 0 && bytes.len > 0 && bytes.len <= CHUNK_LEN);
    chunk_key(upload, number, &key);
    p->io = io;
    struct put_request q = {
        .opt = {.timeout_ms = io->timeout_ms, .durability = (uint8_t)durability},
        .key = buf_slice(&key),
        .type = SIBLING_FILE,
        .value = bytes};
    p->id = io->kv.put(io->kv.ctx, &q, on_put, p);
    buf_release(&key);
}

void chunk_put_cancel(struct chunk_put *p)
{
    cancel(p->io, &p->id);
}

/* ---- references -------------------------------------------------------------------------- */

static void add_next(struct upload_ref *r);

static void ref_end(struct upload_ref *r, int err)
{
    buf_release(&r->key);
    free(r->uploads);
    r->uploads = NULL;
    r->done(r, err);
}

static void on_ref(void *arg, const struct put_reply *p)
{
    struct upload_ref *r = arg;
    r->id = 0;
    if (p->status != DYN_OK || r->next == r->n)
        ref_end(r, p->status);
    else
        add_next(r);
}

/* One reference of this writer to this key is one stream: the newer replaces the older (E7). */
static struct origin ref_origin(const struct upload_ref *r)
{
    uint8_t digest[DIGEST_LEN];
    struct origin o = {.writer = r->io->writer, .seq = r->io->time.wall_ns(r->io->time.ctx)};
    digest_md5(buf_slice(&r->key), digest);
    memcpy(&o.stream, digest, sizeof(o.stream));
    return o;
}

static void add_next(struct upload_ref *r)
{
    struct buf key = BUF_EMPTY, value = BUF_EMPTY;
    struct chunk_io *io = r->io;
    upload_key(&r->uploads[r->next++], &key);
    upload_ref_encode(buf_slice(&r->key), r->numbers, &value);
    struct put_request q = {.opt = {.timeout_ms = io->timeout_ms, .durability = DURABILITY_QUORUM},
                            .key = buf_slice(&key),
                            .type = SIBLING_FILE,
                            .origin = ref_origin(r),
                            .value = buf_slice(&value)};
    r->id = io->kv.put(io->kv.ctx, &q, on_ref, r);
    buf_release(&key);
    buf_release(&value);
}

void upload_ref_start(struct chunk_io *io, struct upload_ref *r, struct slice key,
                      const struct upload_id *uploads, uint32_t n, uint32_t numbers)
{
    assert(r->id == 0 && n > 0);
    r->io = io;
    r->key = BUF_EMPTY;
    buf_put_slice(&r->key, key);
    r->uploads = mem_dup(uploads, n * sizeof(*uploads));
    r->n = n;
    r->next = 0;
    r->numbers = numbers;
    add_next(r);
}

void upload_ref_cancel(struct upload_ref *r)
{
    if (r->id == 0)
        return;
    cancel(r->io, &r->id);
    buf_release(&r->key);
    free(r->uploads);
    r->uploads = NULL;
}

void upload_id_new(struct chunk_io *io, struct upload_id *out)
{
    for (size_t at = 0; at < UPLOAD_ID_LEN; at += sizeof(uint64_t)) {
        uint64_t part = random_u64(&io->random);
        memcpy(out->bytes + at, &part, sizeof(part));
    }
}

void upload_ref_encode(struct slice key, uint32_t numbers, struct buf *out)
{
    buf_put_u8(out, REF_FORMAT);
    buf_put_varint(out, numbers);
    buf_put_bytes(out, key);
}

int upload_ref_decode(struct slice value, struct slice *key, uint32_t *numbers)
{
    struct reader r = reader_of_format(value, REF_FORMAT);
    uint64_t n = read_varint(&r);
    struct slice k = read_bytes(&r);
    if (!reader_done(&r) || n > UINT32_MAX || key_check(k, NULL) != DYN_OK)
        return DYN_ERR_CORRUPT;
    *key = k;
    *numbers = (uint32_t)n;
    return DYN_OK;
}
