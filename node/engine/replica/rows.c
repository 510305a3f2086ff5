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
    s->lacks = NULL;
    s->n_lacks = 0;
}

bool row_state_lacks(const struct row_state *s, const struct dot *value_dot)
{
    for (uint32_t i = 0; i < s->n_lacks; i++)
        if (dot_equal(&s->lacks[i], value_dot))
            return true;
    return false;
}

void row_state_add_lack(struct row_state *s, const struct dot *value_dot)
{
    if (row_state_lacks(s, value_dot))
        return;
    s->lacks = mem_reallocarray(s->lacks, s->n_lacks + 1, sizeof(*s->lacks));
    s->lacks[s->n_lacks++] = *value_dot;
}

/* format, mark, object, and only where something is lacking, prepared or kept: how many dots are
 * lacking, the dots; then, where it is prepared or something is kept, since when it is prepared;
 * then, where something is kept, how many, bytes, since when. */
void row_encode(const struct row_state *s, const struct object *o, struct buf *out)
{
    buf_put_u8(out, ROW_FORMAT);
    buf_put_varint(out, s->mark.run);
    if (s->mark.run != 0)
        buf_put_u64(out, s->mark.boot);
    object_encode(o, out);
    bool has_kept = s->kept.n != 0, has_prepared = s->prepared.boot != 0 || has_kept;
    if (s->n_lacks == 0 && !has_prepared)
        return;
    buf_put_varint(out, s->n_lacks);
    for (uint32_t i = 0; i < s->n_lacks; i++)
        dot_encode(&s->lacks[i], out);
    if (!has_prepared)
        return;
    buf_put_u64(out, s->prepared.boot);
    buf_put_u64(out, s->prepared.us);
    if (!has_kept)
        return;
    buf_put_varint(out, s->kept.n);
    buf_put_varint(out, s->kept.bytes);
    buf_put_varint(out, s->kept.last_ms);
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
    uint64_t n = reader_ok(&r) && reader_left(&r) > 0 ? read_varint(&r) : 0;
    for (uint64_t i = 0; i < n && reader_ok(&r); i++) {
        struct dot lack;
        dot_decode(&r, &lack);
        if (reader_ok(&r))
            row_state_add_lack(&t, &lack);
    }
    if (reader_ok(&r) && reader_left(&r) > 0) {
        t.prepared.boot = read_u64(&r);
        t.prepared.us = read_u64(&r);
    }
    if (reader_ok(&r) && reader_left(&r) > 0) {
        t.kept.n = (uint32_t)read_varint(&r);
        t.kept.bytes = read_varint(&r);
        t.kept.last_ms = read_varint(&r);
    }
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
