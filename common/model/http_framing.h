/* SPDX-License-Identifier: Apache-2.0 */
/* Where one HTTP/1.1 request ends and the next begins, decided strictly. Requests are smuggled
 * through whatever two parsers read differently, so a message that is not clean by RFC 9112 is
 * refused before the lenient parser behind sees a byte of it: both length headers or a repeated
 * one, odd chunk sizes, empty header names, space before a colon, folded lines, bare CR or LF, NUL
 * and other controls, trailers, absolute or empty targets. Stricter than the RFC where it lets the
 * receiver choose.
 *
 * The machine takes bytes in pieces of any size and does no I/O. It copies nothing but the start of
 * the target; a body of known length costs no look at its bytes. */
#ifndef DYN_MODEL_HTTP_FRAMING_H
#define DYN_MODEL_HTTP_FRAMING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum http_framing_error {
    HTTP_CLEAN = 0,
    HTTP_BAD_REQUEST_LINE,
    HTTP_BAD_TARGET,
    HTTP_BAD_METHOD,  /* 501 */
    HTTP_BAD_VERSION, /* 505 */
    HTTP_BAD_LINE_END,
    HTTP_BAD_HEADER_NAME,
    HTTP_BAD_HEADER_VALUE,
    HTTP_FOLDED_HEADER,
    HTTP_BAD_LENGTH,
    HTTP_REPEATED_LENGTH,
    HTTP_BOTH_LENGTHS,
    HTTP_BAD_CODING,
    HTTP_BAD_HOST,
    HTTP_BAD_EXPECT, /* 417 */
    HTTP_BAD_CHUNK,
    HTTP_TRAILER,
    HTTP_UNWANTED_BODY,
    HTTP_HEAD_TOO_LARGE,  /* 431 */
    HTTP_BODY_TOO_LARGE,  /* 413 */
    HTTP_HEAD_TOO_SLOW,   /* 408; this and the next are for callers with a clock */
    HTTP_BODY_TOO_SLOW,   /* 408 */
    HTTP_BODIES_TOO_MANY, /* 503 */
};

struct http_limits {
    uint32_t head_max;    /* bytes from the request line to the empty line */
    uint32_t headers_max; /* fields */
    uint64_t body_max;    /* bytes */
};

#define HTTP_TARGET_START 24

struct http_framing {
    struct http_limits limits;
    uint8_t state;
    uint8_t error; /* enum http_framing_error, sticky */
    uint8_t name_len, value_len;
    uint32_t head_len, n_headers;
    char name[20], value[24], method[8];
    char target[HTTP_TARGET_START]; /* its first bytes, ended by a NUL when shorter */
    uint8_t method_len, target_len, at;
    bool has_host, has_length, has_coding, has_expect;
    bool head_only;  /* the method is HEAD */
    uint64_t length; /* announced; of a chunk while chunked */
    uint64_t left;   /* of the body or of the chunk */
    uint64_t body;   /* chunked: bytes announced so far */
};

enum http_framing_event {
    HTTP_MORE, /* all input was used, the message goes on */
    HTTP_HEAD, /* the empty line was read: has_length, has_coding, has_expect, length, target hold.
                  The caller may lower limits.body_max for this message now */
    HTTP_DONE, /* the message is whole; the next feed begins another */
    HTTP_BAD,
};

void http_framing_init(struct http_framing *f, const struct http_limits *limits);

/* Consumes bytes up to the next event; *used says how many. */
enum http_framing_event http_framing_feed(struct http_framing *f, struct slice in, size_t *used);

/* Inside a message: a byte of it was read, and its end was not. */
bool http_framing_open(const struct http_framing *f);
bool http_framing_in_head(const struct http_framing *f);
bool http_framing_in_data(const struct http_framing *f); /* the next `left` bytes are the body's */

int http_framing_status(enum http_framing_error e);          /* 400 and the like */
const char *http_framing_message(enum http_framing_error e); /* a sentence without a full stop */

#endif
