/* SPDX-License-Identifier: Apache-2.0 */
/* See buf.h: what is not called for each field of each message. */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

int slice_compare(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n == 0 ? 0 : memcmp(a.data, b.data, n);
    if (c != 0)
        return c;
    return a.len < b.len ? -1 : a.len > b.len;
}

bool slice_has_prefix(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = BUF_EMPTY;
}

void buf_grow(struct buf *b, size_t extra)
{
    size_t need = b->len + extra;
    assert(need >= extra);
    size_t cap = b->cap < 128 ? 256 : b->cap * 2; /* most messages and rows fit at once */
    if (cap < need)
        cap = need;
    b->data = mem_realloc(b->data, cap);
    b->cap = cap;
}

struct buf buf_take(struct buf *b)
{
    struct buf out = *b;
    *b = BUF_EMPTY;
    return out;
}

void buf_put_str(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    buf_reserve(b, (size_t)n + 1);
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

void buf_put_long_varint(struct buf *b, uint64_t v)
{
    uint8_t t[10];
    size_t n = 0;
    while (v >= 0x80) {
        t[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    t[n++] = (uint8_t)v;
    buf_put(b, t, n);
}

void buf_set_u32(struct buf *b, size_t at, uint32_t v)
{
    assert(at + 4 <= b->len);
    for (unsigned i = 0; i < 4; i++)
        b->data[at + i] = (uint8_t)(v >> (8 * i));
}

uint64_t read_long_varint(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_u8(r);
        if (r->bad)
            return 0;
        if (shift == 63 && byte > 1)
            break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return v;
    }
    reader_fail(r);
    return 0;
}

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void buf_put_base64url(struct buf *b, struct slice s)
{
    for (size_t i = 0; i < s.len; i += 3) {
        size_t n = s.len - i < 3 ? s.len - i : 3;
        uint32_t v = (uint32_t)s.data[i] << 16;
        if (n > 1)
            v |= (uint32_t)s.data[i + 1] << 8;
        if (n > 2)
            v |= s.data[i + 2];
        buf_reserve(b, 4);
        for (size_t k = 0; k <= n; k++)
            buf_put_u8(b, (uint8_t)base64_alphabet[v >> (18 - 6 * k) & 63]);
    }
}

static int base64_digit(uint8_t c)
{
    const char *at = c == 0 ? NULL : strchr(base64_alphabet, c);
    return at == NULL ? -1 : (int)(at - base64_alphabet);
}

int base64url_decode(struct slice text, struct buf *out)
{
    struct buf tmp = BUF_EMPTY;
    uint32_t acc = 0;
    unsigned bits = 0;
    if (text.len % 4 == 1)
        return DYN_ERR_INVALID;
    for (size_t i = 0; i < text.len; i++) {
        int d = base64_digit(text.data[i]);
        if (d < 0) {
            buf_release(&tmp);
            return DYN_ERR_INVALID;
        }
        acc = acc << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_put_u8(&tmp, (uint8_t)(acc >> bits));
        }
    }
    buf_put(out, tmp.data, tmp.len);
    buf_release(&tmp);
    return DYN_OK;
}

static const char hex_digits[] = "0123456789abcdef";

void buf_put_hex(struct buf *b, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        buf_put_u8(b, (uint8_t)hex_digits[s.data[i] >> 4]);
        buf_put_u8(b, (uint8_t)hex_digits[s.data[i] & 15]);
    }
}

static bool unreserved(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void buf_put_percent(struct buf *b, struct slice s, const char *keep)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        if (unreserved(c) || (c != 0 && strchr(keep, c) != NULL)) {
            buf_put_u8(b, c);
        } else {
            buf_put_u8(b, '%');
            buf_put_u8(b, (uint8_t)("0123456789ABCDEF"[c >> 4]));
            buf_put_u8(b, (uint8_t)("0123456789ABCDEF"[c & 15]));
        }
    }
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int percent_decode(struct slice text, struct buf *out)
{
    size_t start = out->len;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '%') {
            buf_put_u8(out, text.data[i]);
            continue;
        }
        int hi = i + 2 < text.len ? hex_value(text.data[i + 1]) : -1;
        int lo = i + 2 < text.len ? hex_value(text.data[i + 2]) : -1;
        if (hi < 0 || lo < 0) {
            out->len = start;
            return DYN_ERR_INVALID;
        }
        buf_put_u8(out, (uint8_t)(hi << 4 | lo));
        i += 2;
    }
    return DYN_OK;
}
