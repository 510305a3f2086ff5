/* SPDX-License-Identifier: Apache-2.0 */
/* See archive_file.h. Who reads believes nothing: an archive may have lain anywhere. */
#include "model/archive_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

#define MAGIC "DYNARC"
#define VERSION "01"
#define MAGIC_LEN 6
#define HEAD_LEN (8 + 8 + 4 + 4 + 1 + DIGEST_LEN)
#define FOOT_FIELDS (8 + 8 + 8 + 4 + 4 + 4 + 8 + 8 + 1 + DIGEST_LEN)
#define FOOT_LEN (8 + FOOT_FIELDS + DIGEST_LEN)
#define PIECE_BYTES (1u << 20) /* a piece is ended by the row that passes it */

static const char *const kinds[ARCHIVE_KINDS] = {"keys", "chunks"};

void archive_name(enum archive_kind kind, uint32_t partition, uint64_t run,
                  char out[ARCHIVE_NAME_MAX])
{
    snprintf(out, ARCHIVE_NAME_MAX, "%s-%05" PRIu32 ".%" PRIu64, kinds[kind], partition, run);
}

bool archive_name_parse(const char *name, enum archive_kind *kind, uint32_t *partition,
                        uint64_t *run)
{
    char again[ARCHIVE_NAME_MAX];
    for (unsigned k = 0; k < ARCHIVE_KINDS; k++) {
        size_t len = strlen(kinds[k]);
        uint32_t p;
        uint64_t n;
        if (strncmp(name, kinds[k], len) != 0 ||
            sscanf(name + len, "-%" SCNu32 ".%" SCNu64, &p, &n) != 2)
            continue;
        archive_name((enum archive_kind)k, p, n, again);
        if (strcmp(again, name) != 0)
            continue;
        *kind = (enum archive_kind)k;
        *partition = p;
        *run = n;
        return true;
    }
    return false;
}

/* The digest of a part and of all before it. */
static void chain_on(uint8_t chain[DIGEST_LEN], struct slice part)
{
    uint8_t digest[DIGEST_LEN];
    uint8_t joined[2 * DIGEST_LEN];
    digest_sha256(part, digest); /* of the part first: it is large, and need not be copied */
    memcpy(joined, chain, DIGEST_LEN);
    memcpy(joined + DIGEST_LEN, digest, DIGEST_LEN);
    digest_sha256(slice_of(joined, sizeof(joined)), chain);
}

/* ---- writing ----------------------------------------------------------------------------- */

static int append_part(struct archive_writer *w, struct buf *part)
{
    chain_on(w->chain, buf_slice(part));
    buf_put(part, w->chain, DIGEST_LEN);
    return w->port.append(w->port.ctx, w->file, buf_slice(part));
}

int archive_begin(struct archive_writer *w, const struct archive_port *port, const char *name,
                  const struct archive_head *head)
{
    struct buf text = BUF_EMPTY;
    *w = (struct archive_writer){.port = *port};
    int err = port->create(port->ctx, name, &w->file);
    if (err != DYN_OK) {
        w->file = NULL;
        return err;
    }
    buf_put_str(&text, MAGIC VERSION);
    buf_put_u64(&text, head->cluster);
    buf_put_u32(&text, head->q);
    buf_put_u32(&text, head->partition);
    buf_put_u8(&text, (uint8_t)head->kind);
    err = append_part(w, &text);
    buf_release(&text);
    if (err != DYN_OK)
        archive_abandon(w);
    return err;
}

static int end_piece(struct archive_writer *w)
{
    if (w->piece_rows == 0)
        return DYN_OK;
    buf_set_u32(&w->piece, 0, (uint32_t)(w->piece.len - 8));
    buf_set_u32(&w->piece, 4, w->piece_rows);
    int err = append_part(w, &w->piece);
    buf_clear(&w->piece);
    w->piece_rows = 0;
    return err;
}

int archive_put(struct archive_writer *w, struct slice row, uint64_t value_bytes)
{
    if (row.len > ARCHIVE_PIECE_MAX)
        return DYN_ERR_TOO_LARGE;
    if (w->piece_rows > 0 && w->piece.len + row.len > ARCHIVE_PIECE_MAX) {
        int err = end_piece(w);
        if (err != DYN_OK)
            return err;
    }
    if (w->piece_rows == 0) {
        buf_put_u32(&w->piece, 0);
        buf_put_u32(&w->piece, 0);
    }
    buf_put_slice(&w->piece, row);
    w->piece_rows++;
    w->foot.rows++;
    w->foot.value_bytes += value_bytes;
    return w->piece.len >= PIECE_BYTES ? end_piece(w) : DYN_OK;
}

int archive_end(struct archive_writer *w)
{
    struct buf text = BUF_EMPTY;
    struct archive_foot *f = &w->foot;
    int err = end_piece(w);
    if (err == DYN_OK) {
        buf_put_u32(&text, 0);
        buf_put_u32(&text, FOOT_FIELDS);
        buf_put_u64(&text, f->rows);
        buf_put_u64(&text, f->value_bytes);
        buf_put_u64(&text, f->begun_ms);
        buf_put_u32(&text, f->copies);
        buf_put_u32(&text, f->owners);
        buf_put_u32(&text, f->lacking);
        buf_put_u64(&text, f->a);
        buf_put_u64(&text, f->b);
        buf_put_u8(&text, f->level);
        buf_put(&text, w->chain, DIGEST_LEN);
        err = append_part(w, &text);
        memcpy(f->digest, w->chain, DIGEST_LEN);
    }
    buf_release(&text);
    if (err == DYN_OK) {
        struct archive_file *file = w->file;
        w->file = NULL;
        err = w->port.commit(w->port.ctx, file);
    }
    archive_abandon(w);
    return err;
}

void archive_abandon(struct archive_writer *w)
{
    if (w->file != NULL)
        w->port.discard(w->port.ctx, w->file);
    w->file = NULL;
    buf_release(&w->piece);
}

/* ---- reading ----------------------------------------------------------------------------- */

/* Reads what comes next with the digest behind it, and checks that. */
static int read_part(struct archive_reader *r, size_t len, struct buf *out)
{
    size_t whole = len + DIGEST_LEN;
    if (r->size - r->at < whole)
        return DYN_ERR_CORRUPT;
    int err = r->port.read(r->port.ctx, r->file, r->at, whole, out);
    if (err != DYN_OK)
        return err;
    chain_on(r->chain, slice_of(out->data, len));
    if (memcmp(r->chain, out->data + len, DIGEST_LEN) != 0)
        return DYN_ERR_CORRUPT;
    out->len = len;
    r->at += whole;
    return DYN_OK;
}

static int parse_head(struct slice text, struct archive_head *head)
{
    struct reader in = reader_of(text);
    struct slice magic = read_raw(&in, MAGIC_LEN), version = read_raw(&in, 2);
    if (!slice_equal(magic, slice_str(MAGIC)))
        return DYN_ERR_CORRUPT;
    if (!slice_equal(version, slice_str(VERSION)))
        return DYN_ERR_UNSUPPORTED;
    struct archive_head got = {.cluster = read_u64(&in)};
    got.q = read_u32(&in);
    got.partition = read_u32(&in);
    uint8_t kind = read_u8(&in);
    if (!reader_done(&in) || kind >= ARCHIVE_KINDS || got.q > PARTITIONS_MAX ||
        got.partition >= got.q)
        return DYN_ERR_CORRUPT;
    got.kind = (enum archive_kind)kind;
    *head = got;
    return DYN_OK;
}

int archive_open(struct archive_reader *r, const struct archive_port *port, const char *name)
{
    struct buf text = BUF_EMPTY;
    *r = (struct archive_reader){.port = *port};
    int err = port->open(port->ctx, name, &r->file, &r->size);
    if (err != DYN_OK) {
        r->file = NULL;
        return err;
    }
    err = read_part(r, HEAD_LEN - DIGEST_LEN, &text);
    if (err == DYN_OK)
        err = parse_head(buf_slice(&text), &r->head);
    buf_release(&text);
    if (err != DYN_OK)
        archive_close(r);
    return err;
}

static int parse_foot(struct slice text, const uint8_t chain[DIGEST_LEN], struct archive_foot *foot)
{
    struct reader in = reader_of(text);
    struct archive_foot f = {.rows = 0};
    uint8_t before[DIGEST_LEN];
    uint32_t zero = read_u32(&in), len = read_u32(&in);
    f.rows = read_u64(&in);
    f.value_bytes = read_u64(&in);
    f.begun_ms = read_u64(&in);
    f.copies = read_u32(&in);
    f.owners = read_u32(&in);
    f.lacking = read_u32(&in);
    f.a = read_u64(&in);
    f.b = read_u64(&in);
    uint8_t level = read_u8(&in);
    read_copy(&in, before, DIGEST_LEN);
    if (!reader_done(&in) || zero != 0 || len != FOOT_FIELDS || level > 1)
        return DYN_ERR_CORRUPT;
    f.level = level != 0;
    memcpy(f.digest, chain, DIGEST_LEN);
    *foot = f;
    return DYN_OK;
}

static int read_foot(struct archive_reader *r)
{
    struct buf text = BUF_EMPTY;
    uint64_t rows = r->foot.rows;
    int err = read_part(r, FOOT_LEN - DIGEST_LEN, &text);
    if (err == DYN_OK)
        err = parse_foot(buf_slice(&text), r->chain, &r->foot);
    if (err == DYN_OK && (r->at != r->size || r->foot.rows != rows))
        err = DYN_ERR_CORRUPT;
    buf_release(&text);
    r->ended = err == DYN_OK;
    return err == DYN_OK ? DYN_ERR_NOT_FOUND : err;
}

static int next_piece(struct archive_reader *r)
{
    r->piece_at = r->at;
    buf_clear(&r->piece);
    if (r->size - r->at < 8)
        return DYN_ERR_CORRUPT;
    int err = r->port.read(r->port.ctx, r->file, r->at, 8, &r->piece);
    if (err != DYN_OK)
        return err;
    struct reader in = reader_of(buf_slice(&r->piece));
    uint32_t len = read_u32(&in), rows = read_u32(&in);
    buf_clear(&r->piece);
    if (len == 0)
        return read_foot(r);
    r->pieces++;
    if (len > ARCHIVE_PIECE_MAX || rows == 0 || rows > len)
        return DYN_ERR_CORRUPT;
    err = read_part(r, 8 + (size_t)len, &r->piece);
    if (err != DYN_OK)
        return err;
    r->rows = reader_of(buf_slice(&r->piece));
    read_u64(&r->rows);
    r->left = rows;
    return DYN_OK;
}

int archive_next(struct archive_reader *r, struct range_row *row)
{
    if (r->ended)
        return DYN_ERR_NOT_FOUND;
    int err = r->left == 0 ? next_piece(r) : DYN_OK;
    if (err != DYN_OK)
        return err;
    *row = (struct range_row){.prefix = 0};
    range_sealed_read(&r->rows, row);
    r->left--;
    r->foot.rows++; /* until the real one is read */
    bool last = r->left == 0 && reader_left(&r->rows) > 0;
    if (reader_ok(&r->rows) && !last)
        return DYN_OK;
    object_release(&row->object);
    return DYN_ERR_CORRUPT;
}

void archive_close(struct archive_reader *r)
{
    if (r->file != NULL)
        r->port.close(r->port.ctx, r->file);
    r->file = NULL;
    buf_release(&r->piece);
}

int archive_foot_read(const struct archive_port *port, const char *name, struct archive_head *head,
                      struct archive_foot *foot)
{
    struct archive_reader r;
    int err = archive_open(&r, port, name);
    if (err != DYN_OK)
        return err;
    struct buf text = BUF_EMPTY;
    if (r.size - r.at < FOOT_LEN)
        err = DYN_ERR_CORRUPT;
    r.at = err == DYN_OK ? r.size - FOOT_LEN : r.at;
    if (err == DYN_OK)
        err = port->read(port->ctx, r.file, r.size - FOOT_LEN, FOOT_LEN, &text);
    if (err == DYN_OK) { /* it says itself what comes before it */
        memcpy(r.chain, text.data + FOOT_LEN - 2 * DIGEST_LEN, DIGEST_LEN);
        buf_clear(&text);
        err = read_part(&r, FOOT_LEN - DIGEST_LEN, &text);
    }
    if (err == DYN_OK)
        err = parse_foot(buf_slice(&text), r.chain, foot);
    if (err == DYN_OK)
        *head = r.head;
    buf_release(&text);
    archive_close(&r);
    return err;
}
