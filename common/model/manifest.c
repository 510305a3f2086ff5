/* SPDX-License-Identifier: Apache-2.0 */
/* See manifest.h. */
#include "model/manifest.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/key.h"

#define FORMAT 1
#define CHUNK_DIR KEY_INTERNAL "/chunk/"
#define UPLOAD_DIR KEY_INTERNAL "/upload/"

void manifest_release(struct manifest *m)
{
    free(m->uploads);
    free(m->chunks);
    *m = MANIFEST_EMPTY;
}

static uint32_t lower_bound(const struct manifest *m, uint64_t index)
{
    uint32_t lo = 0, hi = m->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (m->chunks[mid].index < index)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct chunk *manifest_from(const struct manifest *m, uint64_t index)
{
    uint32_t at = lower_bound(m, index);
    return at == m->n ? NULL : &m->chunks[at];
}

const struct chunk *manifest_find(const struct manifest *m, uint32_t index)
{
    const struct chunk *c = manifest_from(m, index);
    return c != NULL && c->index == index ? c : NULL;
}

/* The newest are asked for most. */
static uint32_t intern_upload(struct manifest *m, const struct upload_id *upload)
{
    for (uint32_t i = m->n_uploads; i > 0; i--)
        if (memcmp(&m->uploads[i - 1], upload, sizeof(*upload)) == 0)
            return i - 1;
    if (m->n_uploads == m->cap_uploads) {
        m->cap_uploads = m->cap_uploads == 0 ? 2 : m->cap_uploads * 2;
        m->uploads = mem_reallocarray(m->uploads, m->cap_uploads, sizeof(*m->uploads));
    }
    m->uploads[m->n_uploads] = *upload;
    return m->n_uploads++;
}

static void append(struct manifest *m, const struct chunk *c)
{
    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? 4 : m->cap * 2;
        m->chunks = mem_reallocarray(m->chunks, m->cap, sizeof(*m->chunks));
    }
    m->chunks[m->n++] = *c;
}

void manifest_add(struct manifest *m, const struct upload_id *upload, const struct chunk *c)
{
    assert(c->len > 0 && c->len <= CHUNK_LEN);
    assert(m->n == 0 || m->chunks[m->n - 1].index < c->index);
    struct chunk copy = *c;
    copy.upload = intern_upload(m, upload);
    append(m, &copy);
}

uint64_t manifest_allocated(const struct manifest *m)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < m->n; i++)
        bytes += m->chunks[i].len;
    return bytes;
}

bool manifest_same_bytes(const struct manifest *a, const struct manifest *b)
{
    if (a->size != b->size || a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        const struct chunk *x = &a->chunks[i], *y = &b->chunks[i];
        if (x->index != y->index || x->len != y->len || !digest_equal(x->digest, y->digest))
            return false;
    }
    return true;
}

/* ---- bytes ------------------------------------------------------------------------------- */

static bool follows(const struct chunk *before, const struct chunk *c)
{
    return c->index == before->index + 1 && c->upload == before->upload &&
           c->number == before->number + 1 && c->len == before->len;
}

static uint32_t run_length(const struct manifest *m, uint32_t from)
{
    uint32_t n = 1;
    while (from + n < m->n && follows(&m->chunks[from + n - 1], &m->chunks[from + n]))
        n++;
    return n;
}

void manifest_encode(const struct manifest *m, struct buf *out)
{
    uint32_t runs = 0, next = 0;
    for (uint32_t i = 0; i < m->n; i += run_length(m, i))
        runs++;
    buf_reserve(out, 32 + (size_t)m->n_uploads * UPLOAD_ID_LEN + (size_t)m->n * DIGEST_LEN);
    buf_put_u8(out, FORMAT);
    buf_put_varint(out, m->size);
    buf_put_varint(out, m->n_uploads);
    for (uint32_t i = 0; i < m->n_uploads; i++)
        buf_put(out, m->uploads[i].bytes, UPLOAD_ID_LEN);
    buf_put_varint(out, runs);
    for (uint32_t i = 0, n; i < m->n; i += n) {
        const struct chunk *c = &m->chunks[i];
        n = run_length(m, i);
        buf_put_varint(out, c->index - next);
        buf_put_varint(out, c->upload);
        buf_put_varint(out, c->number);
        buf_put_varint(out, c->len);
        buf_put_varint(out, n);
        for (uint32_t k = 0; k < n; k++)
            buf_put(out, c[k].digest, DIGEST_LEN);
        next = c->index + n;
    }
}

static void read_run(struct reader *r, struct manifest *m, uint64_t *next)
{
    uint64_t gap = read_varint(r), upload = read_varint(r), number = read_varint(r);
    uint64_t len = read_varint(r), count = read_varint(r);
    uint64_t chunks = (m->size + CHUNK_LEN - 1) / CHUNK_LEN;
    if (!reader_ok(r) || upload >= m->n_uploads || len == 0 || len > CHUNK_LEN || count == 0 ||
        count > reader_left(r) / DIGEST_LEN || gap > chunks - *next ||
        count > chunks - *next - gap || number > UINT32_MAX || count > UINT32_MAX - number) {
        reader_fail(r);
        return;
    }
    uint64_t first = *next + gap;
    if ((first + count - 1) * CHUNK_LEN + len > m->size)
        reader_fail(r);
    for (uint64_t i = 0; i < count && reader_ok(r); i++) {
        struct chunk c = {.index = (uint32_t)(first + i),
                          .number = (uint32_t)(number + i),
                          .len = (uint32_t)len,
                          .upload = (uint32_t)upload};
        read_copy(r, c.digest, DIGEST_LEN);
        append(m, &c);
    }
    *next = first + count;
}

static void read_uploads(struct reader *r, struct manifest *m)
{
    uint64_t n = read_varint(r);
    if (n > UPLOADS_MAX || n > reader_left(r) / UPLOAD_ID_LEN) {
        reader_fail(r);
        return;
    }
    m->n_uploads = m->cap_uploads = (uint32_t)n;
    if (n == 0)
        return;
    m->uploads = mem_reallocarray(NULL, n, sizeof(*m->uploads));
    for (uint64_t i = 0; i < n; i++)
        read_copy(r, m->uploads[i].bytes, UPLOAD_ID_LEN);
}

int manifest_decode(struct slice bytes, struct manifest *m)
{
    struct manifest got = MANIFEST_EMPTY;
    struct reader r = reader_of(bytes);
    uint64_t next = 0;
    if (bytes.len > MANIFEST_LEN_MAX || read_u8(&r) != FORMAT)
        reader_fail(&r);
    got.size = read_varint(&r);
    if (got.size == 0 || got.size > FILE_LEN_MAX)
        reader_fail(&r);
    if (reader_ok(&r))
        read_uploads(&r, &got);
    uint64_t runs = read_varint(&r);
    for (uint64_t i = 0; i < runs && reader_ok(&r); i++)
        read_run(&r, &got, &next);
    if (!reader_done(&r)) {
        manifest_release(&got);
        return DYN_ERR_INVALID;
    }
    manifest_release(m);
    *m = got;
    return DYN_OK;
}

int manifest_describe(struct slice bytes, struct sibling *s)
{
    struct manifest m = MANIFEST_EMPTY;
    int err = manifest_decode(bytes, &m);
    if (err != DYN_OK)
        return err;
    s->size = m.size;
    s->manifest_len = (uint32_t)bytes.len;
    s->allocated = manifest_allocated(&m);
    blob_unref(s->uploads);
    s->uploads = NULL;
    if (m.n_uploads != 0)
        s->uploads = blob_new(m.uploads, (size_t)m.n_uploads * sizeof(*m.uploads));
    manifest_release(&m);
    return DYN_OK;
}

/* ---- keys -------------------------------------------------------------------------------- */

void chunk_key(const struct upload_id *upload, uint32_t number, struct buf *out)
{
    buf_put_str(out, CHUNK_DIR);
    buf_put_hex(out, slice_of(upload->bytes, UPLOAD_ID_LEN));
    buf_printf(out, "/%u", number);
}

void upload_key(const struct upload_id *upload, struct buf *out)
{
    buf_put_str(out, UPLOAD_DIR);
    buf_put_hex(out, slice_of(upload->bytes, UPLOAD_ID_LEN));
}

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The upload that a key names right after dir. */
static int parse_upload(struct slice key, struct slice dir, struct upload_id *upload)
{
    struct upload_id got;
    if (key.len < dir.len + 2 * UPLOAD_ID_LEN || !slice_has_prefix(key, dir))
        return DYN_ERR_INVALID;
    for (size_t i = 0; i < UPLOAD_ID_LEN; i++) {
        const uint8_t *at = key.data + dir.len + 2 * i;
        int high = hex_digit(at[0]), low = hex_digit(at[1]);
        if (high < 0 || low < 0)
            return DYN_ERR_INVALID;
        got.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *upload = got;
    return DYN_OK;
}

int upload_key_parse(struct slice key, struct upload_id *upload)
{
    struct slice dir = slice_str(UPLOAD_DIR);
    return key.len == dir.len + 2 * UPLOAD_ID_LEN ? parse_upload(key, dir, upload)
                                                  : DYN_ERR_INVALID;
}

int chunk_key_parse(struct slice key, struct upload_id *upload)
{
    struct slice dir = slice_str(CHUNK_DIR);
    size_t name = dir.len + 2 * UPLOAD_ID_LEN;
    return key.len > name && key.data[name] == '/' ? parse_upload(key, dir, upload)
                                                   : DYN_ERR_INVALID;
}
