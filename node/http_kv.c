/* SPDX-License-Identifier: Apache-2.0 */
/* See http_kv.h. One struct op per request, freed with its answer or when the asker goes. A write
 * that names one sibling by its dot first reads, because only a token of this cluster, not the dot
 * alone, may cover anything. */
#include "http_kv.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "http_query.h"
#include "http_range.h"
#include "http_siblings.h"
#include "http_stream.h"
#include "model/context.h"

struct op {
    const struct http_kv_config *cfg;
    struct http_request *r;
    enum http_op kind;
    uint64_t pending;               /* id at the kv port */
    struct http_siblings *siblings; /* a page of them is being fetched */
    unsigned misses;                /* of versions that went while a page was fetched */
    struct buf token;               /* of the read that the page is from */
    struct buf key;
    struct http_options options;
    struct put_request put;
    struct http_contexts contexts;
};

static void op_free(struct op *o)
{
    buf_release(&o->key);
    buf_release(&o->token);
    http_options_release(&o->options);
    http_contexts_release(&o->contexts);
    free(o);
}

static void asker_gone(void *arg)
{
    struct op *o = arg;
    if (o->pending != 0)
        o->cfg->kv.cancel(o->cfg->kv.ctx, o->pending);
    if (o->siblings != NULL)
        http_siblings_cancel(o->siblings);
    op_free(o);
}

static struct op *op_new(const struct http_kv_config *cfg, struct http_request *r,
                         enum http_op kind)
{
    struct op *o = mem_new(struct op);
    o->cfg = cfg;
    o->r = r;
    o->kind = kind;
    http_request_on_gone(r, asker_gone, o);
    return o;
}

/* Counts the request and lets go of it: answer through the result, once. */
static struct http_request *op_end(struct op *o, int status)
{
    struct http_request *r = o->r;
    http_request_on_gone(r, NULL, NULL);
    uint64_t took = o->cfg->time.mono_us(o->cfg->time.ctx) - http_request_started_us(r);
    http_metrics_observe(o->cfg->metrics, o->kind, took, status);
    op_free(o);
    return r;
}

void http_reply_failure(struct http_request *r, int err, const char *message, unsigned answered,
                        unsigned needed)
{
    struct json *j = json_object();
    struct buf body = BUF_EMPTY;
    json_add_str(j, "error", dyn_err_code(err));
    if (needed > 0 && http_status_of(err) == 503) {
        char *text = mem_printf("%s: %u answered of %u needed",
                                message != NULL ? message : dyn_err_message(err), answered, needed);
        json_add_str(j, "message", text);
        json_add_u64(j, "answered", answered);
        json_add_u64(j, "needed", needed);
        free(text);
    } else {
        json_add_str(j, "message", message != NULL ? message : dyn_err_message(err));
    }
    json_print(j, false, &body);
    buf_put_str(&body, "\n");
    json_free(j);
    http_reply(r, http_status_of(err), "application/json", &body);
}

static void op_fail(struct op *o, int err, const char *message, unsigned answered, unsigned needed)
{
    http_reply_failure(op_end(o, http_status_of(err)), err, message, answered, needed);
}

/* For a request that broke a rule: message is freed. */
static void op_refuse(struct op *o, int err, char *message)
{
    struct http_request *r = op_end(o, http_status_of(err));
    http_reply_failure(r, err, message, 0, 0);
    free(message);
}

/* ---- headers ---- */

const char *http_type_name(enum sibling_type t)
{
    static const char *const names[] = {"deleted", "file", "directory", "symlink"};
    return names[t];
}

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

static void headers_token(struct http_request *r, struct slice token)
{
    struct buf all = BUF_EMPTY;
    if (token.len == 0)
        return;
    context_all(token, &all);
    header_context(r, NULL, buf_slice(&all));
    buf_release(&all);
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

/* ---- reading ---- */

static void put_value(struct buf *out, const struct sibling *s)
{
    if (s->value != NULL)
        buf_put(out, s->value->data, s->value->len);
}

/* The bytes that are asked for: as they are here, or chunk by chunk. */
static void answer_bytes(const struct http_kv_config *cfg, struct http_request *r,
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

static void answer_one(struct op *o, const struct get_reply *reply, const struct sibling *s,
                       struct slice context)
{
    const struct http_kv_config *cfg = o->cfg;
    struct http_request *r = op_end(o, 200);
    char dot[DOT_TEXT_MAX], etag[DOT_TEXT_MAX + 2];
    if (context.len > 0)
        header_context(r, NULL, context);
    else
        headers_token(r, reply->token);
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
    answer_bytes(cfg, r, s, &range);
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
        headers_token(r, token);
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
static void answer_siblings(struct op *o, const struct http_siblings_page *page)
{
    struct random_port random = o->cfg->random;
    struct buf body = BUF_EMPTY, token = buf_take(&o->token);
    struct http_request *r = op_end(o, 300);
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

static void start_get(struct op *o, enum get_want want, kv_get_done done);
static void got(void *arg, const struct get_reply *reply);

/* After two misses meta and values are asked for together (E24). */
static void page_ready(void *arg, const struct http_siblings_page *page)
{
    struct op *o = arg;
    o->siblings = NULL;
    if (page->status == DYN_ERR_STALE && o->misses++ < 3)
        start_get(o, o->misses > 2 ? GET_ALL : GET_NEWEST, got);
    else if (page->status == DYN_ERR_INVALID)
        op_fail(o, DYN_ERR_INVALID, "after is what Dynamount-Next said", 0, 0);
    else if (page->status != DYN_OK)
        op_fail(o, page->status, NULL, 0, 0);
    else
        answer_siblings(o, page);
}

static void start_page(struct op *o, const struct get_reply *reply)
{
    buf_clear(&o->token);
    buf_put_slice(&o->token, reply->token);
    struct http_siblings *s = http_siblings_start(
        o->cfg, buf_slice(&o->key), &o->options.opt, reply, buf_slice(&o->options.after),
        o->options.limit, http_request_method(o->r) == HTTP_HEADERS, page_ready, o);
    if (s != NULL) /* otherwise o may be gone */
        o->siblings = s;
}

static void answer_absent(struct op *o, const struct get_reply *reply)
{
    struct buf body = BUF_EMPTY;
    struct http_request *r = op_end(o, reply->implicit_dir ? 200 : 404);
    if (!object_is_absent(&reply->object))
        headers_token(r, reply->token);
    if (reply->implicit_dir) {
        http_reply_header(r, "Dynamount-Type", http_type_name(SIBLING_DIR));
        http_reply(r, 200, "application/octet-stream", &body);
    } else {
        http_reply_failure(r, DYN_ERR_NOT_FOUND, NULL, 0, 0);
    }
}

static void got(void *arg, const struct get_reply *reply);

/* One value that did not fit into an answer of all. */
static void get_value(struct op *o, const struct dot *value_dot)
{
    const struct get_request q = {
        .opt = o->options.opt, .key = buf_slice(&o->key), .want = GET_DOT, .value_dot = *value_dot};
    o->pending = o->cfg->kv.get(o->cfg->kv.ctx, &q, got, o);
}

static void answer_named(struct op *o, const struct get_reply *reply)
{
    const struct sibling *s = object_find(&reply->object, &o->options.sibling);
    struct buf context = BUF_EMPTY;
    if (s == NULL || !sibling_live(s)) {
        op_fail(o, DYN_ERR_STALE, NULL, 0, 0);
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

static void got(void *arg, const struct get_reply *reply)
{
    struct op *o = arg;
    uint32_t live = object_live_count(&reply->object);
    o->pending = 0;
    if (reply->status != DYN_OK)
        op_fail(o, reply->status, NULL, reply->answered, reply->needed);
    else if (o->options.has_sibling)
        answer_named(o, reply);
    else if (live == 0)
        answer_absent(o, reply);
    else if (live == 1)
        answer_one(o, reply, object_newest(&reply->object), slice_of(NULL, 0));
    else
        start_page(o, reply);
}

static void start_get(struct op *o, enum get_want want, kv_get_done done)
{
    const struct get_request q = {.opt = o->options.opt, .key = buf_slice(&o->key), .want = want};
    o->pending = o->cfg->kv.get(o->cfg->kv.ctx, &q, done, o);
}

/* ---- writing ---- */

static void answer_write(struct op *o, const struct put_reply *reply)
{
    char dot[DOT_TEXT_MAX];
    struct buf body = BUF_EMPTY;
    struct http_request *r = op_end(o, 204);
    headers_token(r, reply->token);
    if (!dot_is_none(&reply->dot)) {
        dot_format(&reply->dot, dot);
        http_reply_header(r, "Dynamount-Dot", dot);
    }
    header_number(r, NULL, "Dynamount-Siblings", object_live_count(&reply->object), false);
    http_reply(r, 204, NULL, &body);
}

static void written(void *arg, const struct put_reply *reply)
{
    struct op *o = arg;
    o->pending = 0;
    if (reply->status != DYN_OK)
        op_fail(o, reply->status, NULL, reply->answered, reply->needed);
    else
        answer_write(o, reply);
}

static void start_put(struct op *o)
{
    o->put.opt = o->options.opt;
    o->put.key = buf_slice(&o->key);
    o->put.contexts = o->contexts.slices;
    o->put.n_contexts = o->contexts.n;
    o->put.value = o->kind == HTTP_OP_PUT ? http_request_body(o->r) : slice_of(NULL, 0);
    o->pending = o->cfg->kv.put(o->cfg->kv.ctx, &o->put, written, o);
}

static void read_before_write(void *arg, const struct get_reply *reply)
{
    struct op *o = arg;
    struct buf context = BUF_EMPTY;
    o->pending = 0;
    if (reply->status != DYN_OK) {
        op_fail(o, reply->status, NULL, reply->answered, reply->needed);
    } else if (context_dots(reply->token, &o->options.sibling, 1, &context) != DYN_OK) {
        op_fail(o, DYN_ERR_STALE, NULL, 0, 0);
    } else {
        o->contexts.bytes[0] = buf_take(&context);
        o->contexts.slices[0] = buf_slice(&o->contexts.bytes[0]);
        o->contexts.n = 1;
        start_put(o);
    }
    buf_release(&context);
}

/* If-Match: * covers whatever the coordinator has; If-None-Match: * wants nothing to be there. */
static int conditions(struct op *o, char **message)
{
    const char *match = http_request_header(o->r, "If-Match");
    const char *none = http_request_header(o->r, "If-None-Match");
    if ((match != NULL && strcmp(match, "*") != 0) || (none != NULL && strcmp(none, "*") != 0)) {
        *message = mem_strdup("If-Match and If-None-Match take '*' alone");
        return DYN_ERR_INVALID;
    }
    if ((match != NULL) + (none != NULL) + (o->contexts.n > 0) + o->options.has_sibling > 1) {
        *message = mem_strdup("a context, If-Match, If-None-Match and sibling= exclude each other");
        return DYN_ERR_INVALID;
    }
    if (match != NULL)
        o->put.flags |= PUT_CURRENT;
    if (none != NULL)
        o->put.flags |= PUT_IF_ABSENT;
    return DYN_OK;
}

static int write_type(struct op *o, char **message)
{
    const char *type = http_request_header(o->r, "Dynamount-Type");
    struct slice body = http_request_body(o->r);
    o->put.type = SIBLING_FILE;
    if (type != NULL && strcmp(type, http_type_name(SIBLING_DIR)) == 0)
        o->put.type = SIBLING_DIR;
    else if (type != NULL && strcmp(type, http_type_name(SIBLING_SYMLINK)) == 0)
        o->put.type = SIBLING_SYMLINK;
    else if (type != NULL && strcmp(type, http_type_name(SIBLING_FILE)) != 0)
        *message = mem_strdup("Dynamount-Type is file, directory or symlink");
    if (*message == NULL && o->put.type == SIBLING_DIR && body.len > 0)
        *message = mem_strdup("a directory has no bytes");
    if (*message == NULL && o->put.type == SIBLING_SYMLINK && (body.len == 0 || body.len > 4095))
        *message = mem_strdup("a symlink's target has 1 to 4095 bytes");
    return *message == NULL ? DYN_OK : DYN_ERR_INVALID;
}

static int prepare_put(struct op *o, char **message)
{
    int64_t now = (int64_t)o->cfg->time.wall_ns(o->cfg->time.ctx);
    int err = write_type(o, message);
    if (err != DYN_OK)
        return err;
    o->put.attrs = (struct attrs){.mode = o->put.type == SIBLING_DIR ? 0755 : 0644,
                                  .mtime_ns = now,
                                  .ctime_ns = now,
                                  .atime_ns = now};
    return http_attrs_parse(o->r, &o->put.attrs, message);
}

static void take_write(struct op *o, char *message)
{
    int err =
        http_contexts_parse(http_request_header(o->r, "Dynamount-Context"), &o->contexts, &message);
    if (err == DYN_OK)
        err = conditions(o, &message);
    if (err == DYN_OK && o->kind == HTTP_OP_PUT) {
        err = prepare_put(o, &message);
    } else if (err == DYN_OK) {
        o->put.type = SIBLING_DELETE;
        if (o->options.has_sibling)
            o->put.flags |= PUT_DROP_ONLY;
        else if (o->contexts.n == 0)
            o->put.flags |= PUT_CURRENT; /* covering nothing, it would delete nothing */
    }
    if (err != DYN_OK)
        op_refuse(o, err, message);
    else if (o->options.has_sibling)
        start_get(o, GET_META, read_before_write);
    else
        start_put(o);
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
    struct op *o = op_new(cfg, r,
                          reads                ? HTTP_OP_GET
                          : method == HTTP_PUT ? HTTP_OP_PUT
                                               : HTTP_OP_DELETE);
    int err = http_key_parse(rest, false, &o->key, &message);
    if (err == DYN_OK)
        err = http_options_parse(http_request_query(r),
                                 reads ? HTTP_OPTIONS_READ : HTTP_OPTIONS_WRITE, cfg->n,
                                 &o->options, &message);
    if (err != DYN_OK)
        op_refuse(o, err, message);
    else if (reads)
        start_get(o, method == HTTP_HEADERS ? GET_META : GET_NEWEST, got);
    else
        take_write(o, NULL);
}

/* ---- directories ---- */

static void add_entry(struct json *entries, const struct list_entry *e)
{
    const struct sibling *s = object_newest(&e->object);
    char dot[DOT_TEXT_MAX], mode[8];
    if (s == NULL)
        return;
    struct json *j = json_add_object(entries, NULL);
    dot_format(&s->dot, dot);
    snprintf(mode, sizeof(mode), "%04o", s->attrs.mode & 07777);
    json_add_bytes(j, "name", e->name);
    json_add_str(j, "type", http_type_name(s->type));
    json_add_u64(j, "size", s->size);
    json_add_u64(j, "siblings", object_live_count(&e->object));
    json_add_str(j, "mode", mode);
    json_add_u64(j, "uid", s->attrs.uid);
    json_add_u64(j, "gid", s->attrs.gid);
    json_add_u64(j, "mtime_ns", s->attrs.mtime_ns < 0 ? 0 : (uint64_t)s->attrs.mtime_ns);
    json_add_str(j, "dot", dot);
}

static void answer_list(struct op *o, const struct list_reply *reply)
{
    struct json *j = json_object();
    struct buf body = BUF_EMPTY;
    json_add_bytes(j, "dir", buf_slice(&o->key));
    struct json *entries = json_add_array(j, "entries");
    for (uint32_t i = 0; i < reply->n; i++)
        add_entry(entries, &reply->entries[i]);
    json_add_bool(j, "more", reply->more);
    if (reply->more)
        json_add_bytes(j, "cursor", reply->cursor);
    json_print(j, false, &body);
    buf_put_str(&body, "\n");
    json_free(j);
    http_reply(op_end(o, 200), 200, "application/json", &body);
}

/* Nothing is listed below it: is it a directory at all? */
static void looked_at(void *arg, const struct get_reply *reply)
{
    struct op *o = arg;
    o->pending = 0;
    if (reply->status != DYN_OK) {
        op_fail(o, reply->status, NULL, reply->answered, reply->needed);
        return;
    }
    bool is_dir = reply->implicit_dir; /* an entry came meanwhile */
    for (uint32_t i = 0; i < reply->object.n; i++)
        is_dir |= reply->object.siblings[i].type == SIBLING_DIR;
    if (!is_dir) {
        op_fail(o, DYN_ERR_NOT_FOUND,
                object_live(&reply->object) ? "not a directory" : "no such directory", 0, 0);
        return;
    }
    const struct list_reply nothing = {.status = DYN_OK};
    answer_list(o, &nothing);
}

static void listed(void *arg, const struct list_reply *reply)
{
    struct op *o = arg;
    o->pending = 0;
    if (reply->status != DYN_OK) {
        op_fail(o, reply->status, NULL, reply->answered, reply->needed);
        return;
    }
    if (reply->n == 0 && !reply->more && o->key.len != 0) {
        const struct get_request q = {
            .opt = o->options.opt, .key = buf_slice(&o->key), .want = GET_META};
        o->pending = o->cfg->kv.get(o->cfg->kv.ctx, &q, looked_at, o);
        return;
    }
    answer_list(o, reply);
}

void http_dir_take(const struct http_kv_config *cfg, struct http_request *r, struct slice rest)
{
    char *message = NULL;
    if (rest.len > 0 && rest.data[rest.len - 1] == '/')
        rest.len--;
    struct op *o = op_new(cfg, r, HTTP_OP_LIST);
    int err = http_key_parse(rest, true, &o->key, &message);
    if (err == DYN_OK)
        err = http_options_parse(http_request_query(r), HTTP_OPTIONS_LIST, cfg->n, &o->options,
                                 &message);
    if (err != DYN_OK) {
        op_refuse(o, err, message);
        return;
    }
    const struct list_request q = {.opt = o->options.opt,
                                   .dir = buf_slice(&o->key),
                                   .after = buf_slice(&o->options.after),
                                   .limit = o->options.limit};
    o->pending = cfg->kv.list(cfg->kv.ctx, &q, listed, o);
}
