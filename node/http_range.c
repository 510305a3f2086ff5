/* SPDX-License-Identifier: Apache-2.0 */
/* See http_range.h. */
#include "http_range.h"

#include <stdio.h>
#include <string.h>

static bool read_number(const char **p, uint64_t *out)
{
    uint64_t v = 0;
    const char *start = *p;
    for (; **p >= '0' && **p <= '9'; (*p)++) {
        if (v > (UINT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(**p - '0');
    }
    *out = v;
    return *p != start;
}

struct http_range http_range_parse(const char *text, uint64_t size)
{
    const struct http_range all = {0, size, 200}, none = {0, 0, 416};
    uint64_t from = 0, last = 0;
    if (text == NULL || strncmp(text, "bytes=", 6) != 0)
        return all;
    const char *p = text + 6;
    bool has_from = read_number(&p, &from);
    if (*p++ != '-')
        return all;
    bool has_last = read_number(&p, &last);
    if (*p != 0 || (!has_from && !has_last) || (has_from && has_last && last < from))
        return all;
    if (!has_from) { /* the last so many bytes */
        if (last == 0 || size == 0)
            return none;
        return (struct http_range){last < size ? size - last : 0, size, 206};
    }
    if (from >= size)
        return none;
    return (struct http_range){from, has_last && last < size - 1 ? last + 1 : size, 206};
}

struct http_range http_range_take(struct http_request *r, uint64_t size, const char *etag)
{
    const char *same = http_request_header(r, "If-Range");
    char text[96];
    struct http_range range = http_range_parse(http_request_header(r, "Range"), size);
    if (http_request_method(r) == HTTP_HEADERS || (same != NULL && strcmp(same, etag) != 0))
        range = (struct http_range){0, size, 200};
    http_reply_header(r, "Accept-Ranges", "bytes");
    http_reply_header(r, "ETag", etag);
    if (range.status == 206)
        snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)range.from,
                 (unsigned long long)range.to - 1, (unsigned long long)size);
    else
        snprintf(text, sizeof(text), "bytes */%llu", (unsigned long long)size);
    if (range.status != 200)
        http_reply_header(r, "Content-Range", text);
    return range;
}
