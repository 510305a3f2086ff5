/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes: a borrowed slice, a growable buffer that encodes, and a reader that decodes hostile input.
 * The reader's error is sticky: decode a whole structure, then ask reader_ok() once. Integers in
 * content are little-endian or LEB128 varints; the _be forms are for row keys, where byte order is
 * sort order. */
#ifndef DYN_BASE_BUF_H
#define DYN_BASE_BUF_H

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

void buf_release(struct buf *b); /* frees the storage and empties it */
void buf_clear(struct buf *b);   /* keeps the storage */
void buf_reserve(struct buf *b, size_t extra);
struct slice buf_slice(const struct buf *b); /* borrowed until the next change */
struct buf buf_take(struct buf *b);          /* moves the contents out, b becomes empty */

void buf_put(struct buf *b, const void *data, size_t len);
void buf_put_slice(struct buf *b, struct slice s);
void buf_put_str(struct buf *b, const char *s); /* without the NUL */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_u32_be(struct buf *b, uint32_t v);
void buf_put_u64_be(struct buf *b, uint64_t v);
void buf_put_varint(struct buf *b, uint64_t v);
void buf_put_bytes(struct buf *b, struct slice s);      /* varint length, then the bytes */
void buf_set_u32(struct buf *b, size_t at, uint32_t v); /* overwrites 4 bytes written before */

struct reader {
    const uint8_t *p, *end;
    bool bad;
};

struct reader reader_of(struct slice s);
bool reader_ok(const struct reader *r);   /* nothing failed so far */
bool reader_done(const struct reader *r); /* nothing failed and nothing is left */
size_t reader_left(const struct reader *r);
void reader_fail(struct reader *r); /* later reads give zeros */
uint8_t read_u8(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
uint32_t read_u32_be(struct reader *r);
uint64_t read_u64_be(struct reader *r);
uint64_t read_varint(struct reader *r); /* at most 10 bytes, minimal or not; overflow fails */
struct slice read_raw(struct reader *r, size_t len); /* borrowed from the input */
struct slice read_bytes(struct reader *r);           /* varint length, then the bytes; borrowed */
void read_copy(struct reader *r, void *out, size_t len);

/* base64url without padding (RFC 4648 section 5). Decode fails with DYN_ERR_INVALID on any other
 * byte. */
void buf_put_base64url(struct buf *b, struct slice s);
int base64url_decode(struct slice text, struct buf *out);

void buf_put_hex(struct buf *b, struct slice s);

/* Percent-encodes each byte outside RFC 3986's unreserved set and those in `keep` (e.g. "/"). */
void buf_put_percent(struct buf *b, struct slice s, const char *keep);
int percent_decode(struct slice text, struct buf *out); /* DYN_ERR_INVALID on a bad escape */

#endif
