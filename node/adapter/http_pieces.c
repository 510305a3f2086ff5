/* SPDX-License-Identifier: Apache-2.0 */
/* Requests whose bodies come in pieces (http_server.h), between the server and http_body.c. */
#include <assert.h>
#include <stdlib.h>

#include "adapter/http_body.h"
#include "adapter/http_server_private.h"
#include "base/err.h"
#include "base/mem.h"

void http_reply_refusal(struct http_request *r, enum http_framing_error e, uint64_t body_max)
{
    int status = http_framing_status(e);
    const char *code = status == 413   ? dyn_err_code(DYN_ERR_TOO_LARGE)
                       : status == 408 ? dyn_err_code(DYN_ERR_TIMEOUT)
                       : status == 503 ? dyn_err_code(DYN_ERR_OVERLOAD)
                                       : "bad_http";
    char *limit = e == HTTP_BODY_TOO_LARGE ? mem_printf("%s of %llu bytes", http_framing_message(e),
                                                        (unsigned long long)body_max)
                                           : NULL;
    http_reply_error(r, status, code, limit != NULL ? limit : http_framing_message(e));
    free(limit);
}

void http_body_end(struct http_request *r)
{
    if (r->body != NULL)
        r->conn->server->bodies--;
    http_body_free(r->body);
    r->body = NULL;
}

void http_reply_overload(struct http_request *r, const char *message)
{
    http_reply_header(r, "Retry-After", "1");
    http_reply_error(r, 503, dyn_err_code(DYN_ERR_OVERLOAD), message);
}

void http_request_take_back(struct http_request *r)
{
    void (*gone)(void *a) = r->gone;
    r->gone = NULL;
    r->conn->server->stats.refused++;
    if (gone != NULL)
        gone(r->gone_arg);
}

/* Whoever reads the body is told that the request is gone, and the refusal is the answer. */
void http_body_bad(void *arg, enum http_framing_error e)
{
    struct http_request *r = arg;
    http_request_take_back(r);
    http_reply_refusal(r, e, HTTP_STREAM_MAX);
}

bool http_request_streams(const struct http_request *r)
{
    return r->streams;
}

void http_request_read(struct http_request *r,
                       void (*bytes)(void *arg, struct slice piece, bool end), void *arg)
{
    assert(r->streams && r->body == NULL);
    r->body = http_body_new(r->conn->server->loop, &r->conn->gate, &r->body_ended, bytes, arg);
    r->conn->server->bodies++;
    http_body_on_bad(r->body, http_body_bad, r);
    http_body_begin(r->body); /* r may be gone */
}

void http_request_pause(struct http_request *r, bool paused)
{
    http_body_pause(r->body, paused);
}
