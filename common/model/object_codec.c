/* SPDX-License-Identifier: Apache-2.0 */
/* Objects as bytes, for rows and messages. Compact, because each put and get carries one: a dot of
 * the object is the index of its actor in the clock and a counter, so it costs two or three bytes;
 * what is usually empty hides behind a flag; client times are differences. Canonical: equal objects
 * give equal bytes.
 *
 *   object  := format(1) clock varint:n sibling*n fields
 *   sibling := index counter u8:type u8:flags u64:time_ns varint:size [hash] [what flags say]
 * [fields] fields  := { varint:tag bytes } varint:0
 *
 * Later versions append tagged fields, to a sibling or to the object: an odd tag is essential, and
 * who does not know it refuses the object; an even one is skipped. Tags are in ascending order.
 * Known ones, of a sibling:
 *
 *   1  its value is a manifest: varint:length varint:allocated
 *   3  with 1: the uploads that the manifest names
 */
#include <assert.h>
#include <stdlib.h>

#include "model/object.h"

#define FORMAT 1

enum flag {
    FLAG_ATTRS = 1,       /* mode, owner or times are not all zero */
    FLAG_XATTRS = 2,      /* the list */
    FLAG_XATTRS_HASH = 4, /* its hash, in an entry */
    FLAG_VALUE_DOT = 8,   /* differs from the dot */
    FLAG_BASE_DOT = 16,   /* not none */
    FLAG_ORIGIN = 32,     /* not all zero */
    FLAG_INO = 64,        /* not zero */
    FLAG_FIELDS = 128,    /* tagged fields follow */
};

enum tag { TAG_END = 0, TAG_MANIFEST = 1, TAG_UPLOADS = 3 };

/* What one sibling takes at least: index, counter, type, flags, time, size. */
#define SIBLING_ENCODED_MIN 13

/* A dot that the clock may not cover (the value of a rename came from another key). */
enum { DOT_NONE = 0, DOT_WHOLE = 1, DOT_INDEXED = 2 };

static void any_dot_encode(const struct clock *c, const struct dot *d, struct buf *out)
{
    uint32_t i;
    if (dot_is_none(d)) {
        buf_put_varint(out, DOT_NONE);
    } else if (clock_index(c, &d->actor, &i)) {
        buf_put_varint(out, (uint64_t)i + DOT_INDEXED);
        buf_put_varint(out, d->counter);
    } else {
        buf_put_varint(out, DOT_WHOLE);
        dot_encode(d, out);
    }
}

static void any_dot_decode(struct reader *r, const struct clock *c, struct dot *d)
{
    uint64_t code = read_varint(r);
    *d = (struct dot){0};
    if (code == DOT_NONE)
        return;
    if (code == DOT_WHOLE) {
        dot_decode(r, d);
    } else if (code - DOT_INDEXED < c->n) {
        d->actor = c->pairs[code - DOT_INDEXED].actor;
        d->counter = read_varint(r);
    } else {
        reader_fail(r);
    }
    if (dot_is_none(d))
        reader_fail(r);
}

static void put_difference(struct buf *out, int64_t v, uint64_t from)
{
    uint64_t d = (uint64_t)v - from;
    buf_put_varint(out, d << 1 ^ (uint64_t)((int64_t)d >> 63));
}

static int64_t read_difference(struct reader *r, uint64_t from)
{
    uint64_t z = read_varint(r);
    return (int64_t)(from + (z >> 1 ^ -(z & 1)));
}

static uint32_t read_u32_varint(struct reader *r, uint32_t max)
{
    uint64_t v = read_varint(r);
    if (v > max) {
        reader_fail(r);
        return 0;
    }
    return (uint32_t)v;
}

static bool is_zero(const uint8_t hash[DIGEST_LEN])
{
    static const uint8_t zeros[DIGEST_LEN];
    return memcmp(hash, zeros, DIGEST_LEN) == 0;
}

static uint8_t flags_of(const struct sibling *s)
{
    const struct attrs *a = &s->attrs;
    unsigned flags = 0;
    if ((a->mode | a->uid | a->gid) != 0 || (a->mtime_ns | a->ctime_ns | a->atime_ns) != 0)
        flags |= FLAG_ATTRS;
    if (a->xattrs != NULL && a->xattrs->len != 0)
        flags |= FLAG_XATTRS;
    else if (!is_zero(a->xattrs_hash))
        flags |= FLAG_XATTRS_HASH;
    if (!dot_equal(&s->value_dot, &s->dot))
        flags |= FLAG_VALUE_DOT;
    if (!dot_is_none(&s->base_dot))
        flags |= FLAG_BASE_DOT;
    if ((s->origin.writer | s->origin.stream | s->origin.seq) != 0)
        flags |= FLAG_ORIGIN;
    if (a->ino != 0)
        flags |= FLAG_INO;
    if (s->manifest_len != 0)
        flags |= FLAG_FIELDS;
    return (uint8_t)flags;
}

static void attrs_encode(const struct sibling *s, unsigned flags, struct buf *out)
{
    const struct attrs *a = &s->attrs;
    if (flags & FLAG_ATTRS) {
        assert(a->mode <= 07777);
        buf_put_varint(out, a->mode);
        buf_put_varint(out, a->uid);
        buf_put_varint(out, a->gid);
        put_difference(out, a->mtime_ns, s->time_ns);
        put_difference(out, a->ctime_ns, (uint64_t)a->mtime_ns);
        put_difference(out, a->atime_ns, (uint64_t)a->mtime_ns);
    }
    if (flags & FLAG_XATTRS)
        buf_put_bytes(out, slice_of(a->xattrs->data, a->xattrs->len));
    if (flags & FLAG_XATTRS_HASH)
        buf_put(out, a->xattrs_hash, DIGEST_LEN);
    if (flags & FLAG_INO)
        buf_put_u64(out, a->ino);
}

static void attrs_decode(struct reader *r, unsigned flags, struct sibling *s)
{
    struct attrs *a = &s->attrs;
    if (flags & FLAG_ATTRS) {
        a->mode = read_u32_varint(r, 07777);
        a->uid = read_u32_varint(r, UINT32_MAX);
        a->gid = read_u32_varint(r, UINT32_MAX);
        a->mtime_ns = read_difference(r, s->time_ns);
        a->ctime_ns = read_difference(r, (uint64_t)a->mtime_ns);
        a->atime_ns = read_difference(r, (uint64_t)a->mtime_ns);
    }
    if ((flags & FLAG_XATTRS) != 0 && (flags & FLAG_XATTRS_HASH) != 0)
        reader_fail(r);
    if (flags & FLAG_XATTRS) {
        struct slice list = read_bytes(r);
        if (!reader_ok(r) || list.len == 0 || !xattrs_valid(list))
            reader_fail(r);
        else
            a->xattrs = blob_new(list.data, list.len);
    }
    if (flags & FLAG_XATTRS_HASH)
        read_copy(r, a->xattrs_hash, DIGEST_LEN);
    if (flags & FLAG_INO)
        a->ino = read_u64(r);
}

static void manifest_fields_encode(const struct sibling *s, struct buf *out)
{
    struct buf field = BUF_EMPTY;
    buf_put_varint(&field, s->manifest_len);
    buf_put_varint(&field, s->allocated);
    buf_put_varint(out, TAG_MANIFEST);
    buf_put_bytes(out, buf_slice(&field));
    buf_release(&field);
    if (s->uploads != NULL) {
        buf_put_varint(out, TAG_UPLOADS);
        buf_put_bytes(out, slice_of(s->uploads->data, s->uploads->len));
    }
    buf_put_varint(out, TAG_END);
}

static void sibling_encode(const struct clock *c, const struct sibling *s, struct buf *out)
{
    uint32_t index = 0;
    bool covered = clock_index(c, &s->dot.actor, &index);
    assert(covered && s->dot.counter != 0 && s->dot.counter <= c->pairs[index].counter);
    (void)covered;
    unsigned flags = flags_of(s);
    buf_put_varint(out, index);
    buf_put_varint(out, s->dot.counter);
    buf_put_u8(out, (uint8_t)s->type);
    buf_put_u8(out, (uint8_t)flags);
    buf_put_u64(out, s->time_ns);
    buf_put_varint(out, s->size);
    if (s->size != 0)
        buf_put(out, s->value_hash, DIGEST_LEN);
    attrs_encode(s, flags, out);
    if (flags & FLAG_VALUE_DOT)
        any_dot_encode(c, &s->value_dot, out);
    if (flags & FLAG_BASE_DOT)
        any_dot_encode(c, &s->base_dot, out);
    if (flags & FLAG_ORIGIN) {
        buf_put_u64(out, s->origin.writer);
        buf_put_varint(out, s->origin.stream);
        buf_put_varint(out, s->origin.seq);
    }
    if (flags & FLAG_FIELDS)
        manifest_fields_encode(s, out);
}

/* No bytes, one hash: not worth a place on the wire. */
static void empty_value_hash(enum sibling_type type, uint8_t out[DIGEST_LEN])
{
    if (type == SIBLING_FILE || type == SIBLING_SYMLINK)
        digest_sha256(slice_of("", 0), out);
    else
        memset(out, 0, DIGEST_LEN);
}

static void fields_skip(struct reader *r)
{
    for (;;) {
        uint64_t tag = read_varint(r);
        if (tag == 0)
            return; /* the end, or a failed reader */
        if (tag % 2 != 0)
            reader_fail(r);
        read_bytes(r);
    }
}

static void manifest_field_decode(struct slice field, struct sibling *s, struct reader *r)
{
    struct reader in = reader_of(field);
    s->manifest_len = read_u32_varint(&in, VALUE_LEN_MAX);
    s->allocated = read_varint(&in);
    if (!reader_ok(&in) || s->manifest_len == 0 || s->type != SIBLING_FILE || s->size == 0)
        reader_fail(r);
}

static void uploads_decode(struct slice field, struct sibling *s, struct reader *r)
{
    if (s->manifest_len == 0 || field.len == 0 || field.len % UPLOAD_ID_LEN != 0 ||
        field.len > (size_t)UPLOADS_MAX * UPLOAD_ID_LEN)
        reader_fail(r);
    else
        s->uploads = blob_new(field.data, field.len);
}

static void sibling_fields_decode(struct reader *r, struct sibling *s)
{
    uint64_t last = 0;
    for (;;) {
        uint64_t tag = read_varint(r);
        if (tag == TAG_END)
            return; /* the end, or a failed reader */
        if (tag <= last)
            reader_fail(r);
        last = tag;
        struct slice field = read_bytes(r);
        if (!reader_ok(r))
            return;
        if (tag == TAG_MANIFEST)
            manifest_field_decode(field, s, r);
        else if (tag == TAG_UPLOADS)
            uploads_decode(field, s, r);
        else if (tag % 2 != 0)
            reader_fail(r);
    }
}

static void value_decode(struct reader *r, struct sibling *s)
{
    bool has_value = s->type == SIBLING_FILE || s->type == SIBLING_SYMLINK;
    s->size = read_varint(r);
    if (s->size == 0)
        empty_value_hash(s->type, s->value_hash);
    else if (has_value)
        read_copy(r, s->value_hash, DIGEST_LEN);
    else
        reader_fail(r);
}

/* s: zeroed. On failure it may hold a blob. */
static void sibling_decode(struct reader *r, const struct clock *c, struct sibling *s)
{
    uint64_t index = read_varint(r);
    uint64_t counter = read_varint(r);
    if (index >= c->n || counter == 0 || counter > c->pairs[index].counter)
        reader_fail(r);
    if (!reader_ok(r))
        return;
    s->dot = (struct dot){c->pairs[index].actor, counter};
    uint8_t type = read_u8(r);
    if (type > SIBLING_SYMLINK)
        reader_fail(r);
    s->type = (enum sibling_type)type;
    unsigned flags = read_u8(r);
    s->time_ns = read_u64(r);
    value_decode(r, s);
    attrs_decode(r, flags, s);
    s->value_dot = s->dot;
    if (flags & FLAG_VALUE_DOT)
        any_dot_decode(r, c, &s->value_dot);
    if (flags & FLAG_BASE_DOT)
        any_dot_decode(r, c, &s->base_dot);
    if (flags & FLAG_ORIGIN) {
        s->origin.writer = read_u64(r);
        s->origin.stream = read_varint(r);
        s->origin.seq = read_varint(r);
    }
    if (flags & FLAG_FIELDS)
        sibling_fields_decode(r, s);
}

void object_encode(const struct object *o, struct buf *out)
{
    buf_reserve(out, 16 + (size_t)o->clock.n * 32 + (size_t)o->n * 128);
    buf_put_u8(out, FORMAT);
    clock_encode(&o->clock, out);
    buf_put_varint(out, o->n);
    for (uint32_t i = 0; i < o->n; i++)
        sibling_encode(&o->clock, &o->siblings[i], out);
    buf_put_varint(out, 0);
}

void object_decode(struct reader *r, struct object *o)
{
    struct object got = OBJECT_EMPTY;
    read_format(r, FORMAT);
    clock_decode(r, &got.clock);
    uint64_t n = read_varint(r);
    if (n > OBJECT_SIBLINGS_MAX || n > reader_left(r) / SIBLING_ENCODED_MIN)
        reader_fail(r);
    if (reader_ok(r) && n != 0) {
        got.siblings = mem_reallocarray(NULL, (size_t)n, sizeof(*got.siblings));
        got.cap = (uint32_t)n;
    }
    while (reader_ok(r) && got.n < n) {
        struct sibling *s = &got.siblings[got.n++];
        *s = (struct sibling){0};
        sibling_decode(r, &got.clock, s);
        if (got.n > 1 && dot_compare(&s[-1].dot, &s->dot) >= 0)
            reader_fail(r);
    }
    fields_skip(r);
    if (!reader_ok(r)) {
        object_release(&got);
        return;
    }
    object_release(o);
    *o = got;
}

static bool value_to_send(const struct object *o, uint32_t i)
{
    const struct sibling *s = &o->siblings[i];
    if (s->value == NULL || s->size == 0)
        return false;
    for (uint32_t k = 0; k < i; k++)
        if (o->siblings[k].value != NULL && dot_equal(&o->siblings[k].value_dot, &s->value_dot))
            return false; /* one value under two siblings */
    return true;
}

void object_values_encode(const struct object *o, struct buf *out)
{
    uint32_t n = 0;
    size_t bytes = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        if (value_to_send(o, i)) {
            assert(o->siblings[i].value->len == sibling_value_len(&o->siblings[i]));
            assert(!dot_is_none(&o->siblings[i].value_dot));
            n++;
            bytes += 48 + o->siblings[i].value->len;
        }
    }
    buf_reserve(out, 10 + bytes);
    buf_put_varint(out, n);
    for (uint32_t i = 0; i < o->n && n > 0; i++) {
        if (!value_to_send(o, i))
            continue;
        dot_encode(&o->siblings[i].value_dot, out);
        buf_put_bytes(out, slice_of(o->siblings[i].value->data, o->siblings[i].value->len));
        n--;
    }
}

static void value_attach(struct reader *r, struct object *o, const struct dot *d, struct slice v)
{
    struct blob *blob = NULL;
    uint8_t hash[DIGEST_LEN];
    for (uint32_t i = 0; i < o->n && reader_ok(r); i++) {
        struct sibling *s = &o->siblings[i];
        if (!dot_equal(&s->value_dot, d) || s->size == 0)
            continue;
        if (blob == NULL) {
            digest_sha256(v, hash);
            blob = blob_new(v.data, v.len);
        }
        if (sibling_value_len(s) != v.len || !digest_equal(s->value_hash, hash))
            reader_fail(r);
        else if (s->value == NULL)
            s->value = blob_ref(blob);
    }
    blob_unref(blob);
}

void object_values_decode(struct reader *r, struct object *o)
{
    uint64_t n = read_varint(r);
    if (n > OBJECT_SIBLINGS_MAX)
        reader_fail(r);
    for (uint64_t i = 0; i < n && reader_ok(r); i++) {
        struct dot d = {0};
        dot_decode(r, &d);
        struct slice v = read_bytes(r);
        if (dot_is_none(&d) || v.len == 0 || v.len > UINT32_MAX)
            reader_fail(r);
        if (reader_ok(r))
            value_attach(r, o, &d, v);
    }
}
