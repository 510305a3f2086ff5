/* SPDX-License-Identifier: Apache-2.0 */
/* See archive_manifest.h. */
#include "model/archive_manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"

#define FORMAT "dynamount archive 1"
#define DEPTH 5

void archive_manifest_release(struct archive_manifest *m)
{
    settings_release(&m->settings);
    free(m->parts);
    *m = ARCHIVE_MANIFEST_EMPTY;
}

void archive_manifest_parts(struct archive_manifest *m)
{
    free(m->parts);
    m->parts = mem_zalloc((size_t)m->q * ARCHIVE_KINDS * sizeof(*m->parts));
}

struct archive_part *archive_manifest_part(const struct archive_manifest *m, enum archive_kind kind,
                                           uint32_t partition)
{
    return &m->parts[(size_t)kind * m->q + partition];
}

struct archive_foot archive_manifest_sum(const struct archive_manifest *m)
{
    struct archive_foot sum = {.rows = 0};
    for (size_t i = 0; i < (size_t)m->q * ARCHIVE_KINDS; i++) {
        sum.rows += m->parts[i].foot.rows;
        sum.value_bytes += m->parts[i].foot.value_bytes;
        sum.lacking += m->parts[i].foot.lacking;
    }
    return sum;
}

/* ---- writing ----------------------------------------------------------------------------- */

static void add_id(struct json *j, const char *name, uint64_t id)
{
    char text[20];
    snprintf(text, sizeof(text), "%016" PRIx64, id);
    json_add_str(j, name, text);
}

static void add_part(const struct archive_manifest *m, enum archive_kind kind, uint32_t p,
                     struct json *list)
{
    const struct archive_part *part = archive_manifest_part(m, kind, p);
    char name[ARCHIVE_NAME_MAX];
    if (part->run == 0)
        return;
    archive_name(kind, p, part->run, name);
    struct json *j = json_add_object(list, NULL);
    json_add_str(j, "name", name);
    json_add_hex(j, "digest", slice_of(part->foot.digest, DIGEST_LEN));
    json_add_u64(j, "rows", part->foot.rows);
    json_add_u64(j, "value_bytes", part->foot.value_bytes);
    json_add_u64(j, "lacking", part->foot.lacking);
    json_add_u64(j, "copies", part->foot.copies);
    json_add_u64(j, "of", part->foot.owners);
    json_add_u64(j, "begun_ms", part->foot.begun_ms);
}

void archive_manifest_encode(const struct archive_manifest *m, struct buf *out)
{
    struct json *j = json_object();
    struct buf table = BUF_EMPTY;
    struct archive_foot sum = archive_manifest_sum(m);
    json_add_str(j, "format", FORMAT);
    add_id(j, "cluster", m->cluster);
    json_add_u64(j, "q", m->q);
    json_add_u64(j, "n", m->n);
    json_add_u64(j, "r", m->r);
    json_add_u64(j, "w", m->w);
    struct json *ring = json_add_object(j, "ring");
    json_add_u64(ring, "length", m->ring.length);
    json_add_hex(ring, "digest", slice_of(m->ring.digest, DIGEST_LEN));
    json_add_u64(j, "run", m->run);
    json_add_u64(j, "begun_ms", m->begun_ms);
    json_add_u64(j, "ended_ms", m->ended_ms);
    json_add_u64(j, "rows", sum.rows);
    json_add_u64(j, "value_bytes", sum.value_bytes);
    json_add_u64(j, "lacking", sum.lacking);
    settings_encode(&m->settings, &table);
    json_add_hex(j, "settings", buf_slice(&table));
    buf_release(&table);
    struct json *list = json_add_array(j, "files");
    for (unsigned kind = 0; kind < ARCHIVE_KINDS; kind++)
        for (uint32_t p = 0; p < m->q; p++)
            add_part(m, (enum archive_kind)kind, p, list);
    json_print(j, true, out);
    buf_put_u8(out, '\n');
    json_free(j);
}

/* ---- reading ----------------------------------------------------------------------------- */

static bool number(const struct json *j, const char *name, uint64_t max, uint64_t *out)
{
    uint64_t v;
    if (!json_u64(json_get(j, name), &v) || v > max)
        return false;
    *out = v;
    return true;
}

static bool number32(const struct json *j, const char *name, uint32_t max, uint32_t *out)
{
    uint64_t v;
    if (!number(j, name, max, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex(const struct json *j, const char *name, struct buf *out)
{
    const struct json *v = json_get(j, name);
    const char *text = v == NULL ? NULL : json_str(v);
    if (text == NULL)
        return false;
    for (; text[0] != '\0'; text += 2) {
        int high = nibble(text[0]), low = text[1] == '\0' ? -1 : nibble(text[1]);
        if (high < 0 || low < 0)
            return false;
        buf_put_u8(out, (uint8_t)(high * 16 + low));
    }
    return true;
}

static bool digest(const struct json *j, const char *name, uint8_t out[DIGEST_LEN])
{
    struct buf bytes = BUF_EMPTY;
    bool ok = hex(j, name, &bytes) && bytes.len == DIGEST_LEN;
    if (ok)
        memcpy(out, bytes.data, DIGEST_LEN);
    buf_release(&bytes);
    return ok;
}

static bool read_id(const struct json *j, const char *name, uint64_t *out)
{
    struct buf bytes = BUF_EMPTY;
    bool ok = hex(j, name, &bytes) && bytes.len == 8;
    if (ok) {
        struct reader r = reader_of(buf_slice(&bytes));
        *out = read_u64_be(&r);
    }
    buf_release(&bytes);
    return ok;
}

static bool read_settings(const struct json *j, struct settings *out)
{
    struct buf bytes = BUF_EMPTY;
    bool ok = hex(j, "settings", &bytes);
    if (ok) {
        struct reader r = reader_of(buf_slice(&bytes));
        settings_decode(&r, out);
        ok = reader_done(&r);
    }
    buf_release(&bytes);
    return ok;
}

static bool read_part(const struct json *j, struct archive_manifest *m)
{
    const struct json *name = json_get(j, "name");
    enum archive_kind kind;
    uint32_t p;
    struct archive_part part = {.run = 0};
    struct archive_foot *f = &part.foot;
    if (name == NULL || json_str(name) == NULL ||
        !archive_name_parse(json_str(name), &kind, &p, &part.run) || p >= m->q || part.run == 0 ||
        part.run > m->run || !digest(j, "digest", f->digest) ||
        !number(j, "rows", UINT64_MAX, &f->rows) ||
        !number(j, "value_bytes", UINT64_MAX, &f->value_bytes) ||
        !number32(j, "lacking", UINT32_MAX, &f->lacking) ||
        !number32(j, "copies", UINT32_MAX, &f->copies) ||
        !number32(j, "of", UINT32_MAX, &f->owners) ||
        !number(j, "begun_ms", UINT64_MAX, &f->begun_ms))
        return false;
    struct archive_part *to = archive_manifest_part(m, kind, p);
    if (to->run != 0)
        return false; /* named twice */
    *to = part;
    return true;
}

static bool read_all(const struct json *j, struct archive_manifest *m)
{
    const struct json *ring = json_get(j, "ring"), *files = json_get(j, "files");
    if (!read_id(j, "cluster", &m->cluster) || !number32(j, "q", PARTITIONS_MAX, &m->q) ||
        m->q == 0 || !number32(j, "n", 255, &m->n) || !number32(j, "r", 255, &m->r) ||
        !number32(j, "w", 255, &m->w) || ring == NULL ||
        !number32(ring, "length", UINT32_MAX, &m->ring.length) ||
        !digest(ring, "digest", m->ring.digest) || !number(j, "run", UINT64_MAX, &m->run) ||
        !number(j, "begun_ms", UINT64_MAX, &m->begun_ms) ||
        !number(j, "ended_ms", UINT64_MAX, &m->ended_ms) || !read_settings(j, &m->settings) ||
        files == NULL)
        return false;
    archive_manifest_parts(m);
    for (const struct json *f = json_first(files); f != NULL; f = json_next(f))
        if (!read_part(f, m))
            return false;
    for (size_t i = 0; i < (size_t)m->q * ARCHIVE_KINDS; i++)
        if (m->parts[i].run == 0)
            return false; /* of a whole archive no part is missing */
    return true;
}

int archive_manifest_decode(struct slice text, struct archive_manifest *m)
{
    struct json *j;
    struct archive_manifest got = ARCHIVE_MANIFEST_EMPTY;
    if (json_parse(text, DEPTH, &j) != DYN_OK)
        return DYN_ERR_CORRUPT;
    const struct json *format = json_get(j, "format");
    const char *is = format == NULL ? NULL : json_str(format);
    int err = is == NULL                                     ? DYN_ERR_CORRUPT
              : strncmp(is, FORMAT, strlen(FORMAT) - 1) != 0 ? DYN_ERR_CORRUPT
              : strcmp(is, FORMAT) != 0                      ? DYN_ERR_UNSUPPORTED
              : !read_all(j, &got)                           ? DYN_ERR_CORRUPT
                                                             : DYN_OK;
    json_free(j);
    if (err != DYN_OK) {
        archive_manifest_release(&got);
        return err;
    }
    archive_manifest_release(m);
    *m = got;
    return DYN_OK;
}

int archive_manifest_load(const struct archive_port *port, struct archive_manifest *m)
{
    struct archive_file *f;
    struct buf text = BUF_EMPTY;
    uint64_t size;
    int err = port->open(port->ctx, ARCHIVE_MANIFEST, &f, &size);
    if (err != DYN_OK)
        return err;
    if (size > ARCHIVE_MANIFEST_MAX)
        err = DYN_ERR_CORRUPT;
    if (err == DYN_OK)
        err = port->read(port->ctx, f, 0, (size_t)size, &text);
    if (err == DYN_OK)
        err = archive_manifest_decode(buf_slice(&text), m);
    port->close(port->ctx, f);
    buf_release(&text);
    return err;
}

int archive_manifest_store(const struct archive_port *port, const struct archive_manifest *m)
{
    struct archive_file *f;
    struct buf text = BUF_EMPTY;
    int err = port->create(port->ctx, ARCHIVE_MANIFEST, &f);
    if (err != DYN_OK)
        return err;
    archive_manifest_encode(m, &text);
    err = port->append(port->ctx, f, buf_slice(&text));
    if (err == DYN_OK)
        err = port->commit(port->ctx, f);
    else
        port->discard(port->ctx, f);
    buf_release(&text);
    return err;
}
