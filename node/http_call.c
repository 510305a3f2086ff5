/* SPDX-License-Identifier: Apache-2.0 */
/* See http_call.h. */
#include "http_call.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "http_siblings.h"
#include "http_upload.h"
#include "model/context.h"

static void http_call_free(struct http_call *o)
{
    buf_release(&o->key);
    buf_release(&o->token);
    http_options_release(&o->options);
    http_contexts_release(&o->contexts);
    http_upload_free(o->upload);
    free(o);
}

static void asker_gone(void *arg)
{
    struct http_call *o = arg;
    if (o->pending != 0)
        o->cfg->kv.cancel(o->cfg->kv.ctx, o->pending);
    if (o->siblings != NULL)
        http_siblings_cancel(o->siblings);
    http_call_free(o);
}

struct http_call *http_call_new(const struct http_kv_config *cfg, struct http_request *r,
                                enum http_op kind)
{
    struct http_call *o = mem_new(struct http_call);
    o->cfg = cfg;
    o->r = r;
    o->kind = kind;
    http_request_on_gone(r, asker_gone, o);
    return o;
}

struct http_request *http_call_end(struct http_call *o, int status)
{
    struct http_request *r = o->r;
    http_request_on_gone(r, NULL, NULL);
    uint64_t took = o->cfg->time.mono_us(o->cfg->time.ctx) - http_request_started_us(r);
    http_metrics_observe(o->cfg->metrics, o->kind, took, status);
    http_call_free(o);
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

void http_call_fail(struct http_call *o, int err, const char *message, unsigned answered,
                    unsigned needed)
{
    http_reply_failure(http_call_end(o, http_status_of(err)), err, message, answered, needed);
}

void http_call_refuse(struct http_call *o, int err, char *message)
{
    struct http_request *r = http_call_end(o, http_status_of(err));
    http_reply_failure(r, err, message, 0, 0);
    free(message);
}

void http_call_get(struct http_call *o, enum get_want want, kv_get_done done)
{
    const struct get_request q = {
        .opt = o->options.opt, .key = buf_slice(&o->key), .want = want, .value_max = o->value_max};
    o->pending = o->cfg->kv.get(o->cfg->kv.ctx, &q, done, o);
}

/* ---- headers ---- */

const char *http_type_name(enum sibling_type t)
{
    static const char *const names[] = {"deleted", "file", "directory", "symlink"};
    return names[t];
}

void http_call_number(struct http_request *r, const char *name, unsigned long long value)
{
    char text[32];
    snprintf(text, sizeof(text), "%llu", value);
    http_reply_header(r, name, text);
}

void http_call_context(struct http_request *r, struct slice context)
{
    struct buf text = BUF_EMPTY;
    context_format(context, &text);
    buf_put_u8(&text, 0);
    http_reply_header(r, "Dynamount-Context", (const char *)text.data);
    buf_release(&text);
}

void http_call_token(struct http_request *r, struct slice token)
{
    struct buf all = BUF_EMPTY;
    if (token.len == 0)
        return;
    context_all(token, &all);
    http_call_context(r, buf_slice(&all));
    buf_release(&all);
}
