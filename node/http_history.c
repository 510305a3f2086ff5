/* SPDX-License-Identifier: Apache-2.0 */
/* See http_history.h. */
#include "http_history.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "http_query.h"
#include "http_range.h"
#include "http_stream.h"

/* A request whose asker may go before its answer, which cannot be called off. */
struct op {
    const struct http_kv_config *cfg;
    struct http_request *r; /* NULL: gone */
    struct buf key;
    struct kept_request q;
};

static void asker_gone(void *arg)
{
    ((struct op *)arg)->r = NULL;
}

static void answer_list(struct op *o, const struct kept_reply *reply)
{
    struct json *root = json_object();
    struct buf body = BUF_EMPTY;
    json_add_bytes(root, "key", buf_slice(&o->key));
    json_add_u64(root, "answered", reply->answered);
    json_add_u64(root, "asked", reply->asked);
    kept_add_json(json_add_array(root, "kept"), &reply->list);
    json_print(root, false, &body);
    buf_put_str(&body, "\n");
    json_free(root);
    http_reply(o->r, 200, "application/json", &body);
}

static void answer_version(struct op *o, const struct sibling *s)
{
    http_reply_sibling(o->r, s);
    if (http_request_method(o->r) == HTTP_HEADERS) {
        char size[24];
        struct buf none = BUF_EMPTY;
        snprintf(size, sizeof(size), "%llu", (unsigned long long)s->size);
        http_reply_header(o->r, "Content-Length", size);
        http_reply(o->r, 200, "application/octet-stream", &none);
        return;
    }
    struct http_range all = {.status = 200, .from = 0, .to = s->size};
    http_reply_bytes(o->cfg, o->r, s, &all);
}

static void done(void *arg, const struct kept_reply *reply)
{
    struct op *o = arg;
    const struct kept *k = o->q.want == KEPT_VALUE ? kept_list_find(&reply->list, &o->q.dot) : NULL;
    if (o->r != NULL) {
        http_request_on_gone(o->r, NULL, NULL);
        if (reply->status != DYN_OK)
            http_reply_failure(o->r, reply->status,
                               reply->status == DYN_ERR_NOT_FOUND
                                   ? "no node keeps this version, or its bytes"
                                   : NULL,
                               reply->answered, reply->asked);
        else if (o->q.want == KEPT_LIST)
            answer_list(o, reply);
        else
            answer_version(o, kept_version(k));
    }
    buf_release(&o->key);
    free(o);
}

static int take_query(struct slice query, struct kept_request *q, char **message)
{
    const struct slice name = slice_str("dot=");
    if (query.len == 0)
        return DYN_OK;
    q->want = KEPT_VALUE;
    if (slice_has_prefix(query, name) &&
        dot_parse(slice_of(query.data + name.len, query.len - name.len), &q->dot) == DYN_OK)
        return DYN_OK;
    *message = mem_strdup("the history of a key takes ?dot=DOT, with a version's dot, or nothing");
    return DYN_ERR_INVALID;
}

void http_history_take(const struct http_kv_config *cfg, struct engine *e, struct http_request *r,
                       struct slice rest)
{
    struct op *o = mem_new(struct op);
    char *message = NULL;
    int err = http_key_parse(rest, false, &o->key, &message);
    if (err == DYN_OK)
        err = take_query(http_request_query(r), &o->q, &message);
    if (err != DYN_OK) {
        http_reply_failure(r, err, message, 0, 0);
        free(message);
        buf_release(&o->key);
        free(o);
        return;
    }
    o->cfg = cfg;
    o->r = r;
    o->q.key = buf_slice(&o->key);
    http_request_on_gone(r, asker_gone, o);
    engine_kept(e, &o->q, done, o);
}
