/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/dir/DIR: a page of a directory as JSON. */
#include <stdio.h>

#include "base/err.h"
#include "base/json.h"
#include "http_call.h"

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

static void answer_list(struct http_call *o, const struct list_reply *reply)
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
    http_reply(http_call_end(o, 200), 200, "application/json", &body);
}

/* Nothing is listed below it: is it a directory at all? */
static void looked_at(void *arg, const struct get_reply *reply)
{
    struct http_call *o = arg;
    o->pending = 0;
    if (reply->status != DYN_OK) {
        http_call_fail(o, reply->status, NULL, reply->answered, reply->needed);
        return;
    }
    bool is_dir = reply->implicit_dir; /* an entry came meanwhile */
    for (uint32_t i = 0; i < reply->object.n; i++)
        is_dir |= reply->object.siblings[i].type == SIBLING_DIR;
    if (!is_dir) {
        http_call_fail(o, DYN_ERR_NOT_FOUND,
                       object_live(&reply->object) ? "not a directory" : "no such directory", 0, 0);
        return;
    }
    const struct list_reply nothing = {.status = DYN_OK};
    answer_list(o, &nothing);
}

static void listed(void *arg, const struct list_reply *reply)
{
    struct http_call *o = arg;
    o->pending = 0;
    if (reply->status != DYN_OK) {
        http_call_fail(o, reply->status, NULL, reply->answered, reply->needed);
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
    struct http_call *o = http_call_new(cfg, r, HTTP_OP_LIST);
    int err = http_key_parse(rest, true, &o->key, &message);
    if (err == DYN_OK)
        err = http_options_parse(http_request_query(r), HTTP_OPTIONS_LIST, cfg->n, &o->options,
                                 &message);
    if (err != DYN_OK) {
        http_call_refuse(o, err, message);
        return;
    }
    const struct list_request q = {.opt = o->options.opt,
                                   .dir = buf_slice(&o->key),
                                   .after = buf_slice(&o->options.after),
                                   .limit = o->options.limit};
    o->pending = cfg->kv.list(cfg->kv.ctx, &q, listed, o);
}
