/* SPDX-License-Identifier: Apache-2.0 */
/* See http_answer.h.
 *
 *   HEAD --1xx--> HEAD
 *   HEAD --no body--> DONE
 *   HEAD --length---> BODY --> DONE
 *   HEAD --neither--> UNTIL_CLOSE
 *   HEAD --chunked--> SIZE -> SIZE_END -> CHUNK -> CHUNK_CR -> CHUNK_LF -> SIZE ...
 *                                      -> (size 0) LAST_CR -> LAST_LF -> DONE
 */
#include "model/http_answer.h"

#include <string.h>
#include <strings.h>

enum state {
    HEAD,
    BODY,
    UNTIL_CLOSE,
    SIZE,
    SIZE_END,
    CHUNK,
    CHUNK_CR,
    CHUNK_LF,
    LAST_CR,
    LAST_LF,
    OVER
};

#define SIZE_DIGITS_MAX 15u

void http_answer_next(struct http_answer *a)
{
    struct buf head = a->head;
    buf_clear(&head);
    *a = (struct http_answer){.head = head};
}

void http_answer_release(struct http_answer *a)
{
    buf_release(&a->head);
    *a = HTTP_ANSWER_EMPTY;
}

/* ---- the head ---- */

static bool is_field(struct slice line, const char *name, struct slice *value)
{
    size_t n = strlen(name);
    if (line.len <= n || line.data[n] != ':' || strncasecmp((const char *)line.data, name, n) != 0)
        return false;
    *value = slice_of(line.data + n + 1, line.len - n - 1);
    while (value->len > 0 && (value->data[0] == ' ' || value->data[0] == '\t'))
        *value = slice_of(value->data + 1, value->len - 1);
    while (value->len > 0 &&
           (value->data[value->len - 1] == ' ' || value->data[value->len - 1] == '\t'))
        value->len--;
    return true;
}

static bool is_word(struct slice value, const char *word)
{
    return value.len == strlen(word) && strncasecmp((const char *)value.data, word, value.len) == 0;
}

static bool read_number(struct slice text, uint64_t *out)
{
    uint64_t v = 0;
    if (text.len == 0 || text.len > 18)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = v;
    return true;
}

static bool read_status(struct slice line, int *status)
{
    uint64_t code;
    static const char version[] = "HTTP/1.";
    if (line.len < 12 || memcmp(line.data, version, 7) != 0 || line.data[8] != ' ' ||
        (line.len > 12 && line.data[12] != ' ') ||
        !read_number(slice_of(line.data + 9, 3), &code) || code < 100)
        return false;
    *status = (int)code;
    return true;
}

static bool read_field(struct http_answer *a, struct slice line, bool *chunked)
{
    struct slice value;
    uint64_t length;
    if (is_field(line, "Content-Length", &value)) {
        if (a->has_length || !read_number(value, &length))
            return false;
        a->has_length = true;
        a->left = length;
    } else if (is_field(line, "Transfer-Encoding", &value)) {
        if (*chunked || !is_word(value, "chunked"))
            return false;
        *chunked = true;
    } else if (is_field(line, "Connection", &value)) {
        a->closes |= is_word(value, "close");
    }
    return true;
}

/* The head without its last, empty line. */
static bool read_head(struct http_answer *a, struct slice head, bool *chunked)
{
    bool first = true;
    *chunked = false;
    while (head.len > 0) {
        const uint8_t *end = memchr(head.data, '\n', head.len);
        if (end == NULL || end == head.data || end[-1] != '\r')
            return false;
        struct slice line = slice_of(head.data, (size_t)(end - head.data) - 1);
        head = slice_of(end + 1, head.len - line.len - 2);
        if (first ? !read_status(line, &a->status) : !read_field(a, line, chunked))
            return false;
        first = false;
    }
    return !first && !(*chunked && a->has_length);
}

static enum http_answer_event end_of_head(struct http_answer *a)
{
    bool chunked;
    if (!read_head(a, slice_of(a->head.data, a->head.len - 2), &chunked))
        return HTTP_ANSWER_BAD;
    if (a->status < 200) {
        http_answer_next(a);
        return HTTP_ANSWER_MORE;
    }
    bool empty = a->status == 204 || a->status == 304 || (a->has_length && a->left == 0);
    a->state = (uint8_t)(empty ? OVER : chunked ? SIZE : a->has_length ? BODY : UNTIL_CLOSE);
    a->closes |= a->state == UNTIL_CLOSE;
    if (chunked)
        a->left = 0;
    return empty ? HTTP_ANSWER_DONE : HTTP_ANSWER_MORE;
}

/* Takes bytes up to the empty line. */
static enum http_answer_event feed_head(struct http_answer *a, struct slice in, size_t *used)
{
    for (size_t at = 0; at < in.len;) {
        const uint8_t *end = memchr(in.data + at, '\n', in.len - at);
        size_t n = end == NULL ? in.len - at : (size_t)(end - in.data) + 1 - at;
        if (a->head.len + n > HTTP_ANSWER_HEAD_MAX)
            return HTTP_ANSWER_BAD;
        buf_put(&a->head, in.data + at, n);
        at += n;
        *used = at;
        size_t len = a->head.len;
        if (end != NULL && len >= 4 && memcmp(a->head.data + len - 4, "\r\n\r\n", 4) == 0)
            return end_of_head(a);
    }
    return HTTP_ANSWER_MORE;
}

/* ---- the body ---- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool expect(struct http_answer *a, uint8_t c, uint8_t want, enum state next)
{
    a->state = (uint8_t)next;
    return c == want;
}

/* One byte of what stands between chunks. */
static bool feed_framing(struct http_answer *a, uint8_t c)
{
    int digit;
    switch (a->state) {
    case SIZE:
        digit = hex_digit(c);
        if (digit < 0)
            return a->digits > 0 && expect(a, c, '\r', SIZE_END);
        a->left = a->left << 4 | (uint64_t)digit;
        return ++a->digits <= SIZE_DIGITS_MAX;
    case SIZE_END:
        a->digits = 0;
        return expect(a, c, '\n', a->left == 0 ? LAST_CR : CHUNK);
    case CHUNK_CR:
        return expect(a, c, '\r', CHUNK_LF);
    case CHUNK_LF:
        return expect(a, c, '\n', SIZE);
    case LAST_CR:
        return expect(a, c, '\r', LAST_LF);
    default:
        return expect(a, c, '\n', OVER);
    }
}

static struct slice take_body(struct http_answer *a, struct slice in)
{
    size_t n = in.len;
    if (a->state == UNTIL_CLOSE)
        return in;
    if (n > a->left)
        n = (size_t)a->left;
    a->left -= n;
    if (a->left == 0)
        a->state = (uint8_t)(a->state == BODY ? OVER : CHUNK_CR);
    return slice_of(in.data, n);
}

enum http_answer_event http_answer_feed(struct http_answer *a, struct slice in, size_t *used,
                                        struct slice *body)
{
    *used = 0;
    while (a->state != OVER && *used < in.len) {
        struct slice rest = slice_of(in.data + *used, in.len - *used);
        if (a->state == HEAD) {
            size_t n = 0;
            enum http_answer_event e = feed_head(a, rest, &n);
            *used += n;
            if (e != HTTP_ANSWER_MORE)
                return e;
        } else if (a->state == BODY || a->state == CHUNK || a->state == UNTIL_CLOSE) {
            *body = take_body(a, rest);
            *used += body->len;
            return HTTP_ANSWER_BODY;
        } else {
            ++*used;
            if (!feed_framing(a, rest.data[0]))
                return HTTP_ANSWER_BAD;
        }
    }
    return a->state == OVER ? HTTP_ANSWER_DONE : HTTP_ANSWER_MORE;
}

uint64_t http_answer_left(const struct http_answer *a)
{
    return a->state == BODY || a->state == CHUNK ? a->left : 0;
}

bool http_answer_ends(const struct http_answer *a)
{
    return a->state == UNTIL_CLOSE;
}
