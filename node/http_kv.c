/* SPDX-License-Identifier: Apache-2.0 */
/* See http_kv.h. Reads are here, writes in http_write.c, directories in http_dir.c. */
#include "http_kv.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "http_call.h"
#include "http_range.h"
#include "http_siblings.h"
#include "http_stream.h"
#include "model/context.h"

#define SMALL (64u << 10) /* values up to this need no room of their own */
/* Of a page of versions: their bytes twice, for a moment. */
#define PAGE_ROOM (2ull * SIBLINGS_PAGE_BYTES)

/* ---- headers ---- */

static void header(struct http_request *r, struct buf *part, const char *name, const char *value)
{
    if (part != NULL)
        buf_printf(part, "%s: %s\r\n", name, value);
    else
        http_reply_header(r, name, value);
}

static void header_number(struct http_request *r, struct buf *part, const char *name,
                          unsigned long long value, bool octal)
{
    char text[32];
    snprintf(text, sizeof(text), octal ? "%04llo" : "%llu", value);
    header(r, part, name, text);
}

static void header_context(struct http_request *r, struct buf *part, struct slice context)
{
    struct buf text = BUF_EMPTY;
    context_format(context, &text);
    buf_put_u8(&text, 0);
    header(r, part, "Dynamount-Context", (const char *)text.data);
    buf_release(&text);
}

static void headers_sibling(struct http_request *r, struct buf *part, const struct sibling *s)
{
    char dot[DOT_TEXT_MAX];
    dot_format(&s->dot, dot);
    header(r, part, "Dynamount-Dot", dot);
    header(r, part, "Dynamount-Type", http_type_name(s->type));
    header_number(r, part, "Dynamount-Time", s->time_ns, false);
    header_number(r, part, "Dynamount-Size", s->size, false);
    header_number(r, part, "Dynamount-Mode", s->attrs.mode, true);
    header_number(r, part, "Dynamount-Uid", s->attrs.uid, false);
    header_number(r, part, "Dynamount-Gid", s->attrs.gid, false);
    header_number(r, part, "Dynamount-Mtime",
                  (unsigned long long)(s->attrs.mtime_ns < 0 ? 0 : s->attrs.mtime_ns), false);
}

void http_reply_sibling(struct http_request *r, const struct sibling *s)
{
    headers_sibling(r, NULL, s);
}

/* ---- reading ---- */

static void put_value(struct buf *out, const struct sibling *s)
{
    if (s->value != NULL)
        buf_put(out, s->value->data, s->value->len);
}

void http_reply_bytes(const struct http_kv_config *cfg, struct http_request *r,
                      const struct sibling *s, const struct http_range *range)
{
    struct buf body = BUF_EMPTY;
    if (range->status == 416) {
        http_reply_error(r, 416, "range", "the range begins behind the end of the value");
    } else if (s->manifest_len != 0 && s->value != NULL) {
        int err = http_stream_file(cfg, r, range->status, slice_of(s->value->data, s->value->len),
                                   range->from, range->to);
        if (err != DYN_OK)
            http_reply_failure(r, err, NULL, 0, 0);
    } else {
        if (s->value != NULL && s->manifest_len == 0)
            buf_put(&body, s->value->data + range->from, (size_t)(range->to - range->from));
        http_reply(r, range->status, "application/octet-stream", &body);
    }
}

static void answer_one(struct http_call *o, const struct get_reply *reply, const struct sibling *s,
                       struct slice context)
{
    const struct http_kv_config *cfg = o->cfg;
    struct http_request *r = http_call_end(o, 200);
    char dot[DOT_TEXT_MAX], etag[DOT_TEXT_MAX + 2];
    if (context.len > 0)
        header_context(r, NULL, context);
    else
        http_call_token(r, reply->token);
    headers_sibling(r, NULL, s);
    dot_format(&s->value_dot, dot);
    snprintf(etag, sizeof(etag), "\"%s\"", dot);
    struct http_range range = http_range_take(r, s->size, etag);
    if (http_request_method(r) == HTTP_HEADERS) { /* values were not asked for */
        struct buf none = BUF_EMPTY;
        header_number(r, NULL, "Content-Length", s->size, false);
        http_reply(r, 200, "application/octet-stream", &none);
        return;
    }
    http_reply_bytes(cfg, r, s, &range);
}

/* omitted: the value does not fit into the answer, and is to be had with ?sibling=DOT. */
static void one_part(struct buf *body, const char *boundary, struct slice token,
                     const struct sibling *s, bool omitted)
{
    struct buf context = BUF_EMPTY;
    char dot[DOT_TEXT_MAX];
    buf_printf(body, "--%s\r\nContent-Type: application/octet-stream\r\n", boundary);
    if (context_dots(token, &s->dot, 1, &context) == DYN_OK)
        header_context(NULL, body, buf_slice(&context));
    buf_release(&context);
    headers_sibling(NULL, body, s);
    if (omitted) { /* too large for this answer: to be had by itself */
        dot_format(&s->dot, dot);
        buf_printf(body, "Content-Location: ?sibling=%s\r\nContent-Length: 0\r\n\r\n\r\n", dot);
        return;
    }
    buf_printf(body, "Content-Length: %llu\r\n\r\n", (unsigned long long)s->size);
    put_value(body, s);
    buf_put_str(body, "\r\n");
}

/* The context of a page that is not all names the versions that it shows, no others. */
static void headers_page(struct http_request *r, struct slice token,
                         const struct http_siblings_page *page)
{
    struct buf context = BUF_EMPTY, next = BUF_EMPTY;
    if (page->n == page->live) {
        http_call_token(r, token);
    } else {
        struct dot *dots = mem_reallocarray(NULL, page->n + 1, sizeof(*dots));
        for (uint32_t i = 0; i < page->n; i++)
            dots[i] = page->siblings[i]->dot;
        if (context_dots(token, dots, page->n, &context) == DYN_OK)
            header_context(r, NULL, buf_slice(&context));
        free(dots);
    }
    if (page->more) {
        http_siblings_cursor(page->siblings[page->n - 1], &next);
        buf_put_u8(&next, 0);
        http_reply_header(r, "Dynamount-Next", (const char *)next.data);
    }
    header_number(r, NULL, "Dynamount-Siblings", page->live, false);
    buf_release(&context);
    buf_release(&next);
}

/* The newest first, as names in a mount go. */
static void answer_siblings(struct http_call *o, const struct http_siblings_page *page)
{
    struct random_port random = o->cfg->random;
    struct buf body = BUF_EMPTY, token = buf_take(&o->token);
    struct http_request *r = http_call_end(o, 300);
    uint64_t not_loaded = 0;
    char boundary[40], *type;
    /* random, so that no value can be made to hold it */
    snprintf(boundary, sizeof(boundary), "%016llx%016llx", (unsigned long long)random_u64(&random),
             (unsigned long long)random_u64(&random));
    for (uint32_t i = 0; i < page->n; i++) {
        const struct sibling *s = page->siblings[i];
        one_part(&body, boundary, buf_slice(&token), s, s->manifest_len != 0);
        if (s->manifest_len == 0 && s->value == NULL)
            not_loaded += s->size;
    }
    buf_printf(&body, "--%s--\r\n", boundary);
    headers_page(r, buf_slice(&token), page);
    if (http_request_method(r) == HTTP_HEADERS)
        header_number(r, NULL, "Content-Length", body.len + not_loaded, false);
    type = mem_printf("multipart/mixed; boundary=%s", boundary);
    http_reply(r, 300, type, &body);
    free(type);
    buf_release(&token);
}

static void got(void *arg, const struct get_reply *reply);

/* After two misses meta and values are asked for together (E24). */
static void page_ready(void *arg, const struct http_siblings_page *page)
{
    struct http_call *o = arg;
    o->siblings = NULL;
    if (page->status == DYN_ERR_STALE && o->misses++ < 3)
        http_call_get(o, o->misses > 2 ? GET_ALL : GET_NEWEST, got);
    else if (page->status == DYN_ERR_INVALID)
        http_call_fail(o, DYN_ERR_INVALID, "after is what Dynamount-Next said", 0, 0);
    else if (page->status != DYN_OK)
        http_call_fail(o, page->status, NULL, 0, 0);
    else
        answer_siblings(o, page);
}

static void start_page(struct http_call *o, const struct get_reply *reply)
{
    buf_clear(&o->token);
    buf_put_slice(&o->token, reply->token);
    struct http_siblings *s = http_siblings_start(
        o->cfg, buf_slice(&o->key), &o->options.opt, reply, buf_slice(&o->options.after),
        o->options.limit, http_request_method(o->r) == HTTP_HEADERS, page_ready, o);
    if (s != NULL) /* otherwise o may be gone */
        o->siblings = s;
}

static void answer_absent(struct http_call *o, const struct get_reply *reply)
{
    struct buf body = BUF_EMPTY;
    struct http_request *r = http_call_end(o, reply->implicit_dir ? 200 : 404);
    if (!object_is_absent(&reply->object))
        http_call_token(r, reply->token);
    if (reply->implicit_dir) {
        http_reply_header(r, "Dynamount-Type", http_type_name(SIBLING_DIR));
        http_reply(r, 200, "application/octet-stream", &body);
    } else {
        http_reply_failure(r, DYN_ERR_NOT_FOUND, NULL, 0, 0);
    }
}

static void got(void *arg, const struct get_reply *reply);

/* One value that did not fit into an answer of all. */
static void get_value(struct http_call *o, const struct dot *value_dot)
{
    const struct get_request q = {
        .opt = o->options.opt, .key = buf_slice(&o->key), .want = GET_DOT, .value_dot = *value_dot};
    o->pending = o->cfg->kv.get(o->cfg->kv.ctx, &q, got, o);
}

static void answer_named(struct http_call *o, const struct get_reply *reply)
{
    const struct sibling *s = object_find(&reply->object, &o->options.sibling);
    struct buf context = BUF_EMPTY;
    if (s == NULL || !sibling_live(s)) {
        http_call_fail(o, DYN_ERR_STALE, NULL, 0, 0);
        return;
    }
    if (s->size > 0 && s->value == NULL && http_request_method(o->r) != HTTP_HEADERS) {
        get_value(o, &s->value_dot);
        return;
    }
    if (context_dots(reply->token, &s->dot, 1, &context) != DYN_OK)
        buf_clear(&context);
    answer_one(o, reply, s, buf_slice(&context));
    buf_release(&context);
}

/* ---- room for answers ---- */

static uint64_t part_room(const struct sibling *s)
{
    if (s->manifest_len != 0)
        return s->manifest_len + HTTP_STREAM_ROOM;
    return s->size > SMALL ? s->size : 0;
}

/* Bytes that the answer will hold while it is made and taken; small ones are not counted. */
static uint64_t room_needed(const struct http_call *o, const struct get_reply *reply)
{
    const struct object *all = &reply->object;
    uint64_t sum = 0;
    if (reply->status != DYN_OK || http_request_method(o->r) == HTTP_HEADERS)
        return 0;
    if (o->options.has_sibling) {
        const struct sibling *s = object_find(all, &o->options.sibling);
        return s == NULL ? 0 : part_room(s);
    }
    if (object_live_count(all) == 1)
        return part_room(object_newest(all));
    for (uint32_t i = 0; i < all->n; i++)
        sum += sibling_live(&all->siblings[i]) && all->siblings[i].manifest_len == 0
                   ? all->siblings[i].size
                   : 0;
    return sum <= SMALL ? 0 : sum < PAGE_ROOM ? sum : PAGE_ROOM;
}

/* Now the values may come. */
static void room_granted(void *arg)
{
    struct http_call *o = arg;
    o->value_max = o->room > SMALL ? o->room : SMALL;
    if (o->options.has_sibling)
        o->value_max = SMALL; /* it is asked for by its dot */
    http_call_get(o, GET_NEWEST, got);
}

static bool waits_for_room(struct http_call *o, const struct get_reply *reply)
{
    uint64_t needed = room_needed(o, reply);
    if (needed <= o->room)
        return false;
    o->room = needed;
    if (http_request_reserve(o->r, needed, room_granted, o))
        room_granted(o);
    return true;
}

static void got(void *arg, const struct get_reply *reply)
{
    struct http_call *o = arg;
    uint32_t live = object_live_count(&reply->object);
    o->pending = 0;
    if (waits_for_room(o, reply))
        return;
    if (reply->status != DYN_OK)
        http_call_fail(o, reply->status, NULL, reply->answered, reply->needed);
    else if (o->options.has_sibling)
        answer_named(o, reply);
    else if (live == 0)
        answer_absent(o, reply);
    else if (live == 1)
        answer_one(o, reply, object_newest(&reply->object), slice_of(NULL, 0));
    else
        start_page(o, reply);
}

/* Larger values wait until there is room for them. */
static void start_read(struct http_call *o)
{
    o->value_max = SMALL;
    http_call_get(o, http_request_method(o->r) == HTTP_HEADERS ? GET_META : GET_NEWEST, got);
}

void http_kv_take(const struct http_kv_config *cfg, struct http_request *r, struct slice rest)
{
    enum http_method method = http_request_method(r);
    char *message = NULL;
    if (method == HTTP_POST) {
        http_reply_header(r, "Allow", "GET, HEAD, PUT, DELETE");
        http_reply_error(r, 405, "method", "a key takes GET, HEAD, PUT and DELETE");
        return;
    }
    bool reads = method == HTTP_GET || method == HTTP_HEADERS;
    struct http_call *o = http_call_new(cfg, r,
                                        reads                ? HTTP_OP_GET
                                        : method == HTTP_PUT ? HTTP_OP_PUT
                                                             : HTTP_OP_DELETE);
    int err = http_key_parse(rest, false, &o->key, &message);
    if (err == DYN_OK)
        err = http_options_parse(http_request_query(r),
                                 reads ? HTTP_OPTIONS_READ : HTTP_OPTIONS_WRITE, cfg->n,
                                 &o->options, &message);
    if (err != DYN_OK)
        http_call_refuse(o, err, message);
    else if (reads)
        start_read(o);
    else
        http_write_take(o);
}
