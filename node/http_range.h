/* SPDX-License-Identifier: Apache-2.0 */
/* The one range of a file that a GET may ask for (RFC 9110, section 14). */
#ifndef DYN_HTTP_RANGE_H
#define DYN_HTTP_RANGE_H

#include <stdint.h>

#include "adapter/http_server.h"

struct http_range {
    uint64_t from, to; /* to: the first byte that is not wanted */
    int status;        /* 200: all of it, 206, 416 */
};

/* text: the Range header, may be NULL. Several ranges, another unit or what is malformed are as if
 * nothing was asked, as the RFC allows. */
struct http_range http_range_parse(const char *text, uint64_t size);

/* Looks at Range and If-Range, and sets what an answer with the range says: Accept-Ranges, ETag,
 * Content-Range. */
struct http_range http_range_take(struct http_request *r, uint64_t size, const char *etag);

#endif
