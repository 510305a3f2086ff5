/* SPDX-License-Identifier: Apache-2.0 */
/* Redis: SET followed by WAIT 1 in one packet, so that each answer means two copies; or GET. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

static void request(struct load_client *c, const struct load_options *o, uint64_t key,
                    const uint8_t *value)
{
    char name[32];
    int len = snprintf(name, sizeof(name), "bench/%llu", (unsigned long long)key);
    c->session = o->put ? c : NULL; /* two answers follow */
    if (!o->put) {
        buf_printf(&c->out, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len, name);
        return;
    }
    buf_printf(&c->out, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%u\r\n", len, name, o->size);
    buf_put(&c->out, value, o->size);
    buf_put_str(&c->out, "\r\n*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n1000\r\n");
}

static int answer(struct load_client *c)
{
    const char *text = (const char *)c->in.data;
    const char *end = c->in.len == 0 ? NULL : memmem(text, c->in.len, "\r\n", 2);
    if (end == NULL)
        return 0;
    if (text[0] == '-')
        return 500;
    if (c->session == NULL) {
        long body = strtol(text + 1, NULL, 10);
        if (body < 0)
            return 404;
        return c->in.len < (size_t)(end - text) + 2 + (size_t)body + 2 ? 0 : 200;
    }
    const char *copies = end + 2;
    const char *copies_end = memmem(copies, c->in.len - (size_t)(copies - text), "\r\n", 2);
    if (copies_end == NULL)
        return 0;
    return copies[0] == ':' && copies[1] != '0' ? 200 : 500;
}

const struct load_protocol load_redis = {.name = "redis", .request = request, .answer = answer};
