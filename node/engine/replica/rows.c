/* SPDX-License-Identifier: Apache-2.0 */
/* See rows.h for the layout. */
#include "engine/replica/rows.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

#define ROW_FORMAT 1
#define KIND_SPLIT 'f' /* an entry in a fragment other than 0 */

struct place place_of(const struct ring *ring, struct slice key)
{
    struct place at = {.pos = position_of(key)};
    at.partition = position_partition(&at.pos, ring_q(ring));
    return at;
}

static void put_place(const struct place *at, struct buf *out)
{
    buf_reserve(out, 4 + POSITION_LEN + 64);
    buf_put_u32_be(out, at->partition);
    buf_put(out, at->pos.bytes, POSITION_LEN);
}

static void put_kind(const struct place *at, enum row_kind kind, struct slice key, struct buf *out)
{
    put_place(at, out);
    buf_put_u8(out, (uint8_t)kind);
    buf_put_slice(out, key);
}

void row_object(const struct place *at, struct slice key, struct buf *out)
{
    put_kind(at, ROW_OBJECT, key, out);
}

void row_entry_prefix(const struct place *at_dir, struct slice dir, struct buf *out)
{
    put_kind(at_dir, ROW_ENTRY, dir, out);
    buf_put_u8(out, 0);
}

void row_entry(const struct place *at_dir, struct slice dir, struct slice name, struct buf *out)
{
    row_entry_prefix(at_dir, dir, out);
    buf_put_slice(out, name);
}

void row_split_prefix(const struct place *at, struct slice dir, uint32_t fragment, struct buf *out)
{
    put_place(at, out);
    buf_put_u8(out, KIND_SPLIT);
    buf_put_slice(out, dir);
    buf_put_u8(out, 0);
    buf_put_u8(out, (uint8_t)(fragment >> 8));
    buf_put_u8(out, (uint8_t)fragment);
}

void row_dirstat(const struct place *at_dir, struct slice dir, struct buf *out)
{
    put_kind(at_dir, ROW_DIRSTAT, dir, out);
}

/* dir, NUL, and in a fragment other than 0 its number; then the name. */
static int parse_entry(struct slice rest, bool split, struct buf *id)
{
    const uint8_t *nul = rest.len == 0 ? NULL : memchr(rest.data, 0, rest.len);
    if (nul == NULL)
        return DYN_ERR_CORRUPT;
    struct slice dir = slice_of(rest.data, (size_t)(nul - rest.data));
    struct slice name = slice_of(nul + 1, rest.len - dir.len - 1);
    if (split && (name.len < 2 || (name.data[0] | name.data[1]) == 0))
        return DYN_ERR_CORRUPT;
    if (split) {
        buf_put_u8(id, 0);
        buf_put(id, name.data, 2);
        name = slice_of(name.data + 2, name.len - 2);
    }
    key_join(dir, name, id);
    return DYN_OK;
}

int row_meta_parse(struct slice row, struct place *at, enum row_kind *kind, struct buf *key)
{
    struct reader r = reader_of(row);
    struct place p = {0};
    p.partition = read_u32_be(&r);
    read_copy(&r, p.pos.bytes, POSITION_LEN);
    uint8_t k = read_u8(&r);
    struct slice rest = read_raw(&r, reader_left(&r));
    bool split = k == KIND_SPLIT;
    if (!reader_ok(&r) || (k != ROW_OBJECT && k != ROW_ENTRY && k != ROW_DIRSTAT && !split))
        return DYN_ERR_CORRUPT;
    int err = DYN_OK;
    if (k == ROW_ENTRY || split)
        err = parse_entry(rest, split, key);
    else
        buf_put_slice(key, rest);
    if (err != DYN_OK)
        return err;
    *at = p;
    *kind = split ? ROW_ENTRY : (enum row_kind)k;
    return DYN_OK;
}

static void put_dot(const struct dot *d, struct buf *out)
{
    buf_put_u64_be(out, d->actor.node);
    buf_put_u64_be(out, d->actor.epoch.boot);
    buf_put_u32_be(out, d->actor.epoch.run);
    buf_put_u64_be(out, d->counter);
}

void row_value(const struct place *at, struct slice key, const struct dot *value_dot,
               struct buf *out)
{
    put_place(at, out);
    buf_put_slice(out, key);
    buf_put_u8(out, 0);
    put_dot(value_dot, out);
}

void row_kept_prefix(const struct place *at, struct slice key, struct buf *out)
{
    buf_put_u8(out, ROW_KEPT);
    put_place(at, out);
    buf_put_slice(out, key);
    buf_put_u8(out, 0);
}

void row_kept(const struct place *at, struct slice key, const struct dot *dot, struct buf *out)
{
    row_kept_prefix(at, key, out);
    put_dot(dot, out);
}

int row_kept_parse(struct slice row, struct slice *key)
{
    struct reader r = reader_of(row);
    read_raw(&r, 1 + 4 + POSITION_LEN);
    const uint8_t *nul = reader_left(&r) == 0 ? NULL : memchr(r.p, 0, reader_left(&r));
    if (!reader_ok(&r) || nul == NULL)
        return DYN_ERR_CORRUPT;
    *key = slice_of(r.p, (size_t)(nul - r.p));
    return DYN_OK;
}

void row_hint_prefix(uint64_t target, struct buf *out)
{
    buf_put_u8(out, DEBT_HINT);
    buf_put_u64_be(out, target);
}

void row_hint(uint64_t target, uint32_t partition, enum row_kind kind, struct slice key,
              struct buf *out)
{
    row_hint_prefix(target, out);
    buf_put_u32_be(out, partition);
    buf_put_u8(out, (uint8_t)kind);
    buf_put_slice(out, key);
}

int row_hint_parse(struct slice row, uint32_t *partition, enum row_kind *kind, struct slice *key)
{
    struct reader r = reader_of(row);
    read_u8(&r);
    read_u64_be(&r);
    uint32_t p = read_u32_be(&r);
    uint8_t k = read_u8(&r);
    if (!reader_ok(&r) || (k != ROW_OBJECT && k != ROW_ENTRY))
        return DYN_ERR_CORRUPT;
    *partition = p;
    *kind = (enum row_kind)k;
    *key = read_raw(&r, reader_left(&r));
    return DYN_OK;
}

void row_debt(enum debt_kind kind, uint32_t partition, struct slice key, struct buf *out)
{
    buf_put_u8(out, (uint8_t)kind);
    buf_put_u32_be(out, partition);
    buf_put_slice(out, key);
}

int row_debt_parse(struct slice row, struct slice *key)
{
    struct reader r = reader_of(row);
    read_u8(&r);
    read_u32_be(&r);
    if (!reader_ok(&r))
        return DYN_ERR_CORRUPT;
    *key = read_raw(&r, reader_left(&r));
    return DYN_OK;
}

void row_state_release(struct row_state *s)
{
    free(s->lacks);
    free(s->thin);
    free(s->hearsay);
    s->lacks = s->thin = s->hearsay = NULL;
    s->n_lacks = s->n_thin = s->n_hearsay = 0;
}

static bool among(const struct dot *dots, uint32_t n, const struct dot *value_dot)
{
    for (uint32_t i = 0; i < n; i++)
        if (dot_equal(&dots[i], value_dot))
            return true;
    return false;
}

bool row_state_thin(const struct row_state *s, const struct dot *value_dot)
{
    return among(s->thin, s->n_thin, value_dot);
}

bool row_state_lacks(const struct row_state *s, const struct dot *value_dot)
{
    return among(s->lacks, s->n_lacks, value_dot) || row_state_thin(s, value_dot);
}

void row_state_add_lack(struct row_state *s, const struct dot *value_dot)
{
    if (row_state_lacks(s, value_dot))
        return;
    s->lacks = mem_reallocarray(s->lacks, s->n_lacks + 1, sizeof(*s->lacks));
    s->lacks[s->n_lacks++] = *value_dot;
}

void row_state_add_thin(struct row_state *s, const struct dot *value_dot)
{
    if (row_state_lacks(s, value_dot))
        return;
    s->thin = mem_reallocarray(s->thin, s->n_thin + 1, sizeof(*s->thin));
    s->thin[s->n_thin++] = *value_dot;
}

void row_state_add_hearsay(struct row_state *s, const struct dot *value_dot)
{
    if (among(s->hearsay, s->n_hearsay, value_dot))
        return;
    s->hearsay = mem_reallocarray(s->hearsay, s->n_hearsay + 1, sizeof(*s->hearsay));
    s->hearsay[s->n_hearsay++] = *value_dot;
}

bool row_state_vouched(const struct row_state *s, const struct dot *value_dot)
{
    return row_state_thin(s, value_dot) && !among(s->hearsay, s->n_hearsay, value_dot);
}

static void put_dots(const struct dot *dots, uint32_t n, struct buf *out)
{
    buf_put_varint(out, n);
    for (uint32_t i = 0; i < n; i++)
        dot_encode(&dots[i], out);
}

/* How many of the fields behind the object are there: each is, where it or a later one says
 * something. */
static uint32_t fields(const struct row_state *s)
{
    return s->n_hearsay != 0       ? 5
           : s->n_thin != 0        ? 4
           : s->kept.n != 0        ? 3
           : s->prepared.boot != 0 ? 2
           : s->n_lacks != 0       ? 1
                                   : 0;
}

/* format, mark, object, and only where something of that or behind it is so: how many dots are
 * lacking, the dots; since when it is prepared; what is kept: how many, bytes, since when; how
 * many dots are thin, the dots; how many of those are hearsay, the dots. */
void row_encode(const struct row_state *s, const struct object *o, struct buf *out)
{
    buf_put_u8(out, ROW_FORMAT);
    buf_put_varint(out, s->mark.run);
    if (s->mark.run != 0)
        buf_put_u64(out, s->mark.boot);
    object_encode(o, out);
    uint32_t n = fields(s);
    if (n >= 1)
        put_dots(s->lacks, s->n_lacks, out);
    if (n >= 2) {
        buf_put_u64(out, s->prepared.boot);
        buf_put_u64(out, s->prepared.us);
    }
    if (n >= 3) {
        buf_put_varint(out, s->kept.n);
        buf_put_varint(out, s->kept.bytes);
        buf_put_varint(out, s->kept.last_ms);
    }
    if (n >= 4)
        put_dots(s->thin, s->n_thin, out);
    if (n >= 5)
        put_dots(s->hearsay, s->n_hearsay, out);
}

static void read_dots(struct reader *r, struct row_state *s,
                      void (*add)(struct row_state *s, const struct dot *value_dot))
{
    uint64_t n = reader_ok(r) && reader_left(r) > 0 ? read_varint(r) : 0;
    for (uint64_t i = 0; i < n && reader_ok(r); i++) {
        struct dot dot;
        dot_decode(r, &dot);
        if (reader_ok(r))
            add(s, &dot);
    }
}

int row_decode(struct slice row, struct row_state *s, struct object *o)
{
    struct reader r = reader_of(row);
    struct row_state t = ROW_STATE_NONE;
    if (read_u8(&r) != ROW_FORMAT)
        return DYN_ERR_CORRUPT;
    uint64_t run = read_varint(&r);
    if (run > UINT32_MAX)
        return DYN_ERR_CORRUPT;
    t.mark.run = (uint32_t)run;
    if (t.mark.run != 0)
        t.mark.boot = read_u64(&r);
    object_decode(&r, o);
    read_dots(&r, &t, row_state_add_lack);
    if (reader_ok(&r) && reader_left(&r) > 0) {
        t.prepared.boot = read_u64(&r);
        t.prepared.us = read_u64(&r);
    }
    if (reader_ok(&r) && reader_left(&r) > 0) {
        t.kept.n = (uint32_t)read_varint(&r);
        t.kept.bytes = read_varint(&r);
        t.kept.last_ms = read_varint(&r);
    }
    read_dots(&r, &t, row_state_add_thin);
    read_dots(&r, &t, row_state_add_hearsay);
    if (!reader_done(&r)) {
        row_state_release(&t);
        return DYN_ERR_CORRUPT;
    }
    *s = t;
    return DYN_OK;
}

void object_row_encode(struct epoch mark, const struct object *o, struct buf *out)
{
    const struct row_state s = {.mark = mark};
    row_encode(&s, o, out);
}

int object_row_decode(struct slice row, struct epoch *mark, struct object *o)
{
    struct row_state s;
    int err = row_decode(row, &s, o);
    if (err != DYN_OK)
        return err;
    *mark = s.mark;
    row_state_release(&s);
    return DYN_OK;
}

void debt_encode(const struct debt *d, struct buf *out)
{
    buf_put_u8(out, ROW_FORMAT);
    buf_put_u64(out, d->since_ms);
    buf_put_varint(out, d->bytes);
    buf_put(out, d->state, DIGEST_LEN);
}

int debt_decode(struct slice row, struct debt *d)
{
    struct reader r = reader_of(row);
    struct debt t;
    if (read_u8(&r) != ROW_FORMAT)
        return DYN_ERR_CORRUPT;
    t.since_ms = read_u64(&r);
    t.bytes = read_varint(&r);
    read_copy(&r, t.state, DIGEST_LEN);
    if (!reader_done(&r))
        return DYN_ERR_CORRUPT;
    *d = t;
    return DYN_OK;
}
