/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 with keep-alive: PUT or GET of a path. */
#include <stdlib.h>
#include <string.h>

#include "load.h"

static void request(struct load_client *c, const struct load_options *o, uint64_t key,
                    const uint8_t *value)
{
    buf_printf(&c->out, "%s %s%llu%s HTTP/1.1\r\nHost: bench\r\n", o->put ? "PUT" : "GET", o->path,
               (unsigned long long)key, o->query);
    if (o->put) {
        buf_printf(&c->out, "If-Match: *\r\nContent-Length: %u\r\n\r\n", o->size);
        buf_put(&c->out, value, o->size);
    } else {
        buf_put_str(&c->out, "\r\n");
    }
}

static int answer(struct load_client *c)
{
    const char *text = (const char *)c->in.data;
    const char *end = c->in.len < 16 ? NULL : memmem(text, c->in.len, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - text) + 4, body = 0;
    for (const char *line = text; line < end;
         line = (const char *)memmem(line, head, "\r\n", 2) + 2)
        if (strncasecmp(line, "content-length:", 15) == 0)
            body = strtoul(line + 15, NULL, 10);
    if (c->in.len < head + body)
        return 0;
    return (int)strtol(text + 9, NULL, 10);
}

const struct load_protocol load_http = {.name = "http", .request = request, .answer = answer};
