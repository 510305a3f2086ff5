/* SPDX-License-Identifier: Apache-2.0 */
/* See http_settings.h. */
#include "http_settings.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "http_query.h"
#include "model/settings.h"

/* A request whose asker may go before its answer, which cannot be called off. */
struct op {
    struct http_request *r; /* NULL: gone */
    struct buf dir;
    bool all, sets;
};

static void asker_gone(void *arg)
{
    ((struct op *)arg)->r = NULL;
}

static void add_value(struct json *j, const char *name, enum dir_setting setting, uint8_t value)
{
    struct buf text = BUF_EMPTY;
    setting_print(setting, value, &text);
    json_add_bytes(j, name, buf_slice(&text));
    buf_release(&text);
}

static void add_all(struct json *root, const struct settings *table)
{
    struct json *rows = json_add_array(root, "rows");
    for (uint32_t i = 0; i < table->n; i++) {
        const struct setting_row *row = &table->rows[i];
        if (row->value == 0 || row->setting >= SETTINGS_END)
            continue;
        struct json *j = json_add_object(rows, NULL);
        json_add_bytes(j, "dir", slice_of(row->dir, row->dir_len));
        json_add_str(j, "setting", setting_name(row->setting));
        add_value(j, "value", row->setting, row->value);
    }
}

static void add_rules(struct json *root, const struct settings *table, struct slice dir)
{
    struct rules rules;
    settings_rules(table, dir, &rules);
    json_add_bytes(root, "dir", dir);
    struct json *all = json_add_object(root, "settings");
    for (enum dir_setting i = 1; i < SETTINGS_END; i++) {
        struct json *j = json_add_object(all, setting_name(i));
        add_value(j, "value", i, rules.value[i]);
        if (rules.value[i] != 0)
            json_add_bytes(j, "from", rules.from[i]);
    }
}

static void answer(struct op *o, const struct settings_reply *reply)
{
    struct json *root = json_object();
    struct buf body = BUF_EMPTY;
    if (o->all)
        add_all(root, &reply->table);
    else
        add_rules(root, &reply->table, buf_slice(&o->dir));
    if (o->sets) {
        json_add_u64(root, "known", reply->known);
        json_add_u64(root, "members", reply->members);
    }
    json_print(root, false, &body);
    buf_put_str(&body, "\n");
    json_free(root);
    http_reply(o->r, 200, "application/json", &body);
}

static void done(void *arg, const struct settings_reply *reply)
{
    struct op *o = arg;
    if (o->r != NULL) {
        http_request_on_gone(o->r, NULL, NULL);
        if (reply->status != DYN_OK)
            http_reply_failure(o->r, reply->status, NULL, 0, 0);
        else
            answer(o, reply);
    }
    buf_release(&o->dir);
    free(o);
}

static int take_changes(struct slice query, uint32_t n, struct settings_request *q, char **message)
{
    while (query.len > 0) {
        const uint8_t *end = memchr(query.data, '&', query.len);
        struct slice one =
            slice_of(query.data, end == NULL ? query.len : (size_t)(end - query.data));
        const uint8_t *equals = memchr(one.data, '=', one.len);
        size_t name = equals == NULL ? one.len : (size_t)(equals - one.data);
        size_t skip = end == NULL ? one.len : one.len + 1;
        query = slice_of(query.data + skip, query.len - skip);
        if (equals == NULL || q->n == SETTINGS_END) {
            *message = mem_strdup("settings are NAME=VALUE, each once, with & between them");
            return DYN_ERR_INVALID;
        }
        int err = setting_parse(slice_of(one.data, name),
                                slice_of(one.data + name + 1, one.len - name - 1), n,
                                &q->changes[q->n].setting, &q->changes[q->n].value, message);
        if (err != DYN_OK)
            return err;
        q->n++;
    }
    if (q->n > 0)
        return DYN_OK;
    *message = mem_strdup("nothing is to be set: say ?reconcile=union, for example");
    return DYN_ERR_INVALID;
}

void http_settings_take(const struct http_kv_config *cfg, struct http_request *r, struct slice rest,
                        bool all)
{
    enum http_method method = http_request_method(r);
    struct settings_request q = {0};
    struct op *o = mem_new(struct op);
    char *message = NULL;
    int err = http_key_parse(rest, true, &o->dir, &message);
    o->all = all;
    o->sets = method == HTTP_PUT;
    if (method == HTTP_POST || method == HTTP_DELETE || (all && o->sets)) {
        http_reply_header(r, "Allow", all ? "GET" : "GET, PUT");
        http_reply_error(r, 405, "method", "settings take GET, and PUT for a directory");
        err = DYN_ERR_UNSUPPORTED;
        free(message);
    } else {
        if (err == DYN_OK && o->sets)
            err = take_changes(http_request_query(r), cfg->n, &q, &message);
        if (err != DYN_OK) {
            http_reply_failure(r, err, message, 0, 0);
            free(message);
        }
    }
    if (err != DYN_OK) {
        buf_release(&o->dir);
        free(o);
        return;
    }
    o->r = r;
    http_request_on_gone(r, asker_gone, o);
    q.dir = buf_slice(&o->dir);
    cfg->kv.settings(cfg->kv.ctx, &q, done, o);
}
