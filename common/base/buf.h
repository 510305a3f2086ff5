/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes: a borrowed slice, a growable buffer that encodes, and a reader that decodes hostile input.
 * The reader's error is sticky: decode a whole structure, then ask reader_ok() once. Integers in
 * content are little-endian or LEB128 varints; the _be forms are for row keys, where byte order is
 * sort order. What is called for each field of each message is inline: a put encodes and decodes
 * some hundreds of them. */
#ifndef DYN_BASE_BUF_H
#define DYN_BASE_BUF_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data;
    size_t len;
};

static inline struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){(const uint8_t *)data, len};
}

static inline struct slice slice_str(const char *s)
{
    return slice_of(s, strlen(s));
}

bool slice_equal(struct slice a, struct slice b);
int slice_compare(struct slice a, struct slice b); /* as memcmp, then by length */
bool slice_has_prefix(struct slice s, struct slice prefix);

struct buf {
    uint8_t *data;
    size_t len, cap;
};

#define BUF_EMPTY ((struct buf){NULL, 0, 0})

void buf_free(struct buf *b); /* for buf_release */

static inline void buf_release(struct buf *b) /* frees the storage and empties it */
{
    if (b->data != NULL)
        buf_free(b);
}

struct buf buf_take(struct buf *b);         /* moves the contents out, b becomes empty */
void buf_grow(struct buf *b, size_t extra); /* for buf_reserve */

static inline void buf_clear(struct buf *b) /* keeps the storage */
{
    b->len = 0;
}

static inline struct slice buf_slice(const struct buf *b) /* borrowed until the next change */
{
    return slice_of(b->data, b->len);
}

static inline void buf_reserve(struct buf *b, size_t extra)
{
    if (extra > b->cap - b->len)
        buf_grow(b, extra);
}

static inline void buf_put(struct buf *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    buf_reserve(b, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static inline void buf_put_slice(struct buf *b, struct slice s)
{
    buf_put(b, s.data, s.len);
}

static inline void buf_put_u8(struct buf *b, uint8_t v)
{
    buf_reserve(b, 1);
    b->data[b->len++] = v;
}

static inline void buf_put_u32(struct buf *b, uint32_t v)
{
    v = htole32(v);
    buf_put(b, &v, sizeof(v));
}

static inline void buf_put_u64(struct buf *b, uint64_t v)
{
    v = htole64(v);
    buf_put(b, &v, sizeof(v));
}

static inline void buf_put_u32_be(struct buf *b, uint32_t v)
{
    v = htobe32(v);
    buf_put(b, &v, sizeof(v));
}

static inline void buf_put_u64_be(struct buf *b, uint64_t v)
{
    v = htobe64(v);
    buf_put(b, &v, sizeof(v));
}

void buf_put_str(struct buf *b, const char *s); /* without the NUL */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_put_long_varint(struct buf *b, uint64_t v); /* for buf_put_varint */

static inline void buf_put_varint(struct buf *b, uint64_t v)
{
    if (v < 0x80)
        buf_put_u8(b, (uint8_t)v);
    else
        buf_put_long_varint(b, v);
}

static inline void buf_put_bytes(struct buf *b, struct slice s) /* varint length, then the bytes */
{
    buf_put_varint(b, s.len);
    buf_put(b, s.data, s.len);
}

void buf_set_u32(struct buf *b, size_t at, uint32_t v); /* overwrites 4 bytes written before */

struct reader {
    const uint8_t *p, *end;
    bool bad;
};

/* Each of these compares a length with what is left before a pointer moves, so no input can make it
 * read past the end. After a failure r->p is r->end. */
static inline struct reader reader_of(struct slice s)
{
    return (struct reader){s.data, s.len == 0 ? s.data : s.data + s.len, false};
}

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

static inline bool reader_ok(const struct reader *r) /* nothing failed so far */
{
    return !r->bad;
}

static inline bool reader_done(const struct reader *r) /* nothing failed and nothing is left */
{
    return !r->bad && r->p == r->end;
}

static inline void reader_fail(struct reader *r) /* later reads give zeros */
{
    r->bad = true;
    r->p = r->end;
}

static inline struct slice read_raw(struct reader *r, size_t len) /* borrowed from the input */
{
    if (r->bad || len > reader_left(r)) {
        reader_fail(r);
        return slice_of(NULL, 0);
    }
    struct slice s = slice_of(r->p, len);
    if (len != 0)
        r->p += len;
    return s;
}

static inline void read_copy(struct reader *r, void *out, size_t len)
{
    struct slice s = read_raw(r, len);
    if (len == 0)
        return;
    if (s.len == len)
        memcpy(out, s.data, len);
    else
        memset(out, 0, len);
}

static inline uint8_t read_u8(struct reader *r)
{
    if (r->p == r->end) {
        reader_fail(r);
        return 0;
    }
    return *r->p++;
}

static inline void read_format(struct reader *r, uint8_t format) /* any other first byte fails */
{
    if (read_u8(r) != format)
        reader_fail(r);
}

/* Of a message or row that opens with its format. */
static inline struct reader reader_of_format(struct slice s, uint8_t format)
{
    struct reader r = reader_of(s);
    read_format(&r, format);
    return r;
}

static inline uint32_t read_u32(struct reader *r)
{
    uint32_t v;
    read_copy(r, &v, sizeof(v));
    return le32toh(v);
}

static inline uint64_t read_u64(struct reader *r)
{
    uint64_t v;
    read_copy(r, &v, sizeof(v));
    return le64toh(v);
}

static inline uint32_t read_u32_be(struct reader *r)
{
    uint32_t v;
    read_copy(r, &v, sizeof(v));
    return be32toh(v);
}

static inline uint64_t read_u64_be(struct reader *r)
{
    uint64_t v;
    read_copy(r, &v, sizeof(v));
    return be64toh(v);
}

uint64_t read_long_varint(struct reader *r); /* for read_varint */

/* At most 10 bytes, minimal or not; overflow fails. */
static inline uint64_t read_varint(struct reader *r)
{
    return r->p != r->end && *r->p < 0x80 ? *r->p++ : read_long_varint(r);
}

static inline struct slice read_bytes(struct reader *r) /* varint length, then bytes; borrowed */
{
    uint64_t len = read_varint(r);
    if (len > reader_left(r)) {
        reader_fail(r);
        return slice_of(NULL, 0);
    }
    return read_raw(r, (size_t)len);
}

/* base64url without padding (RFC 4648 section 5). Decode fails with DYN_ERR_INVALID on any other
 * byte. */
void buf_put_base64url(struct buf *b, struct slice s);
int base64url_decode(struct slice text, struct buf *out);

void buf_put_hex(struct buf *b, struct slice s);

/* Percent-encodes each byte outside RFC 3986's unreserved set and those in `keep` (e.g. "/"). */
void buf_put_percent(struct buf *b, struct slice s, const char *keep);
int percent_decode(struct slice text, struct buf *out); /* DYN_ERR_INVALID on a bad escape */

#endif
