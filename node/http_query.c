/* SPDX-License-Identifier: Apache-2.0 */
/* See http_query.h. */
#include "http_query.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/key.h"

static int number(struct slice text, unsigned base, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (text.len == 0 || text.len > 20)
        return DYN_ERR_INVALID;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c < '0' || c >= '0' + base || v > (max - (c - '0')) / base)
            return DYN_ERR_INVALID;
        v = v * base + (uint64_t)(c - '0');
    }
    *out = v;
    return DYN_OK;
}

static int choice(struct slice text, const char *const *names, const uint8_t *values, uint8_t *out)
{
    for (unsigned i = 0; names[i] != NULL; i++)
        if (slice_equal(text, slice_str(names[i]))) {
            *out = values[i];
            return DYN_OK;
        }
    return DYN_ERR_INVALID;
}

static int copies(struct slice value, uint32_t n, uint8_t *out, char **message)
{
    uint64_t v;
    if (number(value, 10, 255, &v) != DYN_OK || v == 0 || v > n) {
        *message = mem_printf("n, r and w are numbers from 1 to %u here", n);
        return DYN_ERR_INVALID;
    }
    *out = (uint8_t)v;
    return DYN_OK;
}

static int page_option(struct slice name, struct slice value, struct http_options *o,
                       char **message)
{
    uint64_t v;
    if (slice_equal(name, slice_str("after"))) {
        buf_clear(&o->after);
        if (percent_decode(value, &o->after) == DYN_OK)
            return DYN_OK;
        *message = mem_strdup("after is not percent-encoded");
        return DYN_ERR_INVALID;
    }
    if (slice_equal(name, slice_str("limit"))) {
        if (number(value, 10, 10000, &v) == DYN_OK && v > 0) {
            o->limit = (uint32_t)v;
            return DYN_OK;
        }
        *message = mem_strdup("limit is a number from 1 to 10000");
        return DYN_ERR_INVALID;
    }
    return DYN_ERR_NOT_FOUND;
}

static int durability_option(struct slice value, struct http_options *o, char **message)
{
    static const char *const names[] = {"buffered", "one", "quorum", NULL};
    static const uint8_t values[] = {DURABILITY_BUFFERED, DURABILITY_ONE, DURABILITY_QUORUM};
    if (choice(value, names, values, &o->opt.durability) == DYN_OK)
        return DYN_OK;
    *message = mem_strdup("durability is buffered, one or quorum");
    return DYN_ERR_INVALID;
}

static int option(struct slice name, struct slice value, enum http_options_kind kind, uint32_t n,
                  struct http_options *o, char **message)
{
    static const char *const sloppy_names[] = {"true", "yes", "false", "no", NULL};
    static const uint8_t sloppy_values[] = {SLOPPY_YES, SLOPPY_YES, SLOPPY_NO, SLOPPY_NO};
    uint64_t v;
    if (slice_equal(name, slice_str("n")))
        return copies(value, n, &o->opt.n, message);
    if (slice_equal(name, slice_str("r")))
        return copies(value, n, &o->opt.r, message);
    if (slice_equal(name, slice_str("w")))
        return copies(value, n, &o->opt.w, message);
    if (slice_equal(name, slice_str("durability")))
        return durability_option(value, o, message);
    if (slice_equal(name, slice_str("sloppy"))) {
        if (choice(value, sloppy_names, sloppy_values, &o->opt.sloppy) == DYN_OK)
            return DYN_OK;
        *message = mem_strdup("sloppy is true or false");
        return DYN_ERR_INVALID;
    }
    if (slice_equal(name, slice_str("timeout"))) {
        if (number(value, 10, REQUEST_TIMEOUT_MS_MAX, &v) == DYN_OK && v > 0) {
            o->opt.timeout_ms = (uint32_t)v;
            return DYN_OK;
        }
        *message = mem_printf("timeout is in milliseconds, from 1 to %u", REQUEST_TIMEOUT_MS_MAX);
        return DYN_ERR_INVALID;
    }
    if (slice_equal(name, slice_str("sibling")) && kind != HTTP_OPTIONS_LIST) {
        o->has_sibling = dot_parse(value, &o->sibling) == DYN_OK;
        if (!o->has_sibling)
            *message = mem_strdup("sibling is a dot, as Dynamount-Dot shows it");
        return o->has_sibling ? DYN_OK : DYN_ERR_INVALID;
    }
    return kind == HTTP_OPTIONS_WRITE ? DYN_ERR_NOT_FOUND : page_option(name, value, o, message);
}

static struct slice cut(struct slice *in, char at)
{
    const uint8_t *mark = in->len == 0 ? NULL : memchr(in->data, at, in->len);
    size_t len = mark == NULL ? in->len : (size_t)(mark - in->data);
    struct slice head = slice_of(in->data, len);
    size_t skip = mark == NULL ? len : len + 1;
    *in = slice_of(in->data + skip, in->len - skip);
    return head;
}

int http_options_parse(struct slice query, enum http_options_kind kind, uint32_t n,
                       struct http_options *out, char **message)
{
    struct http_options o = {0};
    int err = DYN_OK;
    while (query.len > 0 && err == DYN_OK) {
        struct slice value = cut(&query, '&');
        struct slice name = cut(&value, '=');
        err = option(name, value, kind, n, &o, message);
        if (err == DYN_ERR_NOT_FOUND) {
            struct buf shown = BUF_EMPTY;
            buf_put_percent(&shown, name, "%");
            *message = mem_printf("unknown parameter '%.*s'", (int)shown.len, (char *)shown.data);
            buf_release(&shown);
            err = DYN_ERR_INVALID;
        }
    }
    uint32_t copies_asked = o.opt.n == 0 ? n : o.opt.n;
    if (err == DYN_OK && (o.opt.r > copies_asked || o.opt.w > copies_asked)) {
        *message = mem_strdup("r and w may not be larger than n");
        err = DYN_ERR_INVALID;
    }
    if (err != DYN_OK) {
        http_options_release(&o);
        return err;
    }
    *out = o;
    return DYN_OK;
}

void http_options_release(struct http_options *o)
{
    buf_release(&o->after);
}

int http_key_parse(struct slice text, bool empty_ok, struct buf *key, char **message)
{
    struct buf k = BUF_EMPTY;
    const char *rule = NULL;
    int err = percent_decode(text, &k);
    if (err != DYN_OK)
        *message = mem_strdup("the key is not percent-encoded");
    else if (k.len > 0 || !empty_ok)
        err = key_check(buf_slice(&k), &rule);
    if (err == DYN_OK && key_internal(buf_slice(&k))) {
        err = DYN_ERR_INVALID;
        rule = "what is below " KEY_INTERNAL " is the cluster's own";
    }
    if (rule != NULL)
        *message = mem_strdup(rule);
    if (err != DYN_OK) {
        buf_release(&k);
        return err;
    }
    buf_release(key);
    *key = k;
    return DYN_OK;
}

static int attr(const struct http_request *r, const char *header, unsigned base, uint64_t max,
                uint64_t *out, char **message)
{
    const char *text = http_request_header(r, header);
    if (text == NULL || number(slice_str(text), base, max, out) == DYN_OK)
        return DYN_OK;
    *message = mem_printf("%s is not a%s number in its range", header, base == 8 ? "n octal" : "");
    return DYN_ERR_INVALID;
}

int http_attrs_parse(const struct http_request *r, struct attrs *attrs, char **message)
{
    uint64_t mode = attrs->mode, uid = attrs->uid, gid = attrs->gid;
    uint64_t mtime = (uint64_t)attrs->mtime_ns;
    int err = attr(r, "Dynamount-Mode", 8, 07777, &mode, message);
    if (err == DYN_OK)
        err = attr(r, "Dynamount-Uid", 10, UINT32_MAX, &uid, message);
    if (err == DYN_OK)
        err = attr(r, "Dynamount-Gid", 10, UINT32_MAX, &gid, message);
    if (err == DYN_OK)
        err = attr(r, "Dynamount-Mtime", 10, INT64_MAX, &mtime, message);
    if (err != DYN_OK)
        return err;
    attrs->mode = (uint32_t)mode;
    attrs->uid = (uint32_t)uid;
    attrs->gid = (uint32_t)gid;
    attrs->mtime_ns = (int64_t)mtime;
    return DYN_OK;
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = slice_of(s.data + 1, s.len - 1);
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

int http_contexts_parse(const char *text, struct http_contexts *out, char **message)
{
    struct slice left = slice_str(text == NULL ? "" : text);
    *out = (struct http_contexts){.n = 0};
    while (left.len > 0) {
        struct slice one = trim(cut(&left, ','));
        if (out->n == CONTEXTS_MAX || context_parse(one, &out->bytes[out->n]) != DYN_OK) {
            *message = mem_strdup("Dynamount-Context is not a context that a read gave");
            http_contexts_release(out);
            return DYN_ERR_BAD_CONTEXT;
        }
        out->slices[out->n] = buf_slice(&out->bytes[out->n]);
        out->n++;
    }
    return DYN_OK;
}

void http_contexts_release(struct http_contexts *c)
{
    for (uint32_t i = 0; i < CONTEXTS_MAX; i++)
        buf_release(&c->bytes[i]);
    c->n = 0;
}

int http_status_of(int err)
{
    switch (err) {
    case DYN_OK:
        return 200;
    case DYN_ERR_INVALID:
    case DYN_ERR_BAD_CONTEXT:
        return 400;
    case DYN_ERR_DENIED:
        return 403;
    case DYN_ERR_NOT_FOUND:
        return 404;
    case DYN_ERR_CONFLICT:
    case DYN_ERR_NOT_EMPTY:
        return 409;
    case DYN_ERR_STALE:
        return 410;
    case DYN_ERR_EXISTS:
        return 412;
    case DYN_ERR_TOO_LARGE:
        return 413;
    case DYN_ERR_UNSUPPORTED:
        return 501;
    case DYN_ERR_NO_QUORUM:
    case DYN_ERR_TIMEOUT:
    case DYN_ERR_UNREACHABLE:
    case DYN_ERR_REFUSED:
    case DYN_ERR_OVERLOAD:
    case DYN_ERR_STOPPED:
        return 503;
    case DYN_ERR_NO_SPACE:
        return 507;
    default:
        return 500;
    }
}
