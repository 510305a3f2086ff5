/* SPDX-License-Identifier: Apache-2.0 */
/* See http_conflicts.h. Depth first, one page of one directory at a time, so a walk over a large
 * tree costs the node little at any moment; bounded in time, in results and in directories kept. */
#include "http_conflicts.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "http_query.h"
#include "model/key.h"

#define WALK_MAX_US 30000000u
#define DIRS_MAX 100000u
#define LIMIT_DEFAULT 1000u

struct level {
    struct buf dir, after; /* after: where its listing goes on */
};

struct walk {
    const struct http_kv_config *cfg;
    struct http_request *r;
    uint64_t pending, until_us;
    struct level *dirs; /* a stack, the one being listed on top */
    uint32_t n_dirs, cap_dirs, walked, found, limit;
    struct json *answer, *list;
    bool cut;
};

static void walk_free(struct walk *w)
{
    while (w->n_dirs > 0) {
        w->n_dirs--;
        buf_release(&w->dirs[w->n_dirs].dir);
        buf_release(&w->dirs[w->n_dirs].after);
    }
    free(w->dirs);
    json_free(w->answer);
    free(w);
}

static void asker_gone(void *arg)
{
    struct walk *w = arg;
    if (w->pending != 0)
        w->cfg->kv.cancel(w->cfg->kv.ctx, w->pending);
    walk_free(w);
}

static void push(struct walk *w, struct slice dir, struct slice after)
{
    if (w->n_dirs == DIRS_MAX) {
        w->cut = true;
        return;
    }
    if (w->n_dirs == w->cap_dirs) {
        w->cap_dirs = w->cap_dirs == 0 ? 16 : w->cap_dirs * 2;
        w->dirs = mem_reallocarray(w->dirs, w->cap_dirs, sizeof(*w->dirs));
    }
    struct level *l = &w->dirs[w->n_dirs++];
    *l = (struct level){BUF_EMPTY, BUF_EMPTY};
    buf_put_slice(&l->dir, dir);
    buf_put_slice(&l->after, after);
}

static void finish(struct walk *w)
{
    struct buf body = BUF_EMPTY;
    struct http_request *r = w->r;
    json_add_u64(w->answer, "directories", w->walked);
    json_add_bool(w->answer, "more", w->cut || w->n_dirs > 0);
    json_print(w->answer, false, &body);
    buf_put_str(&body, "\n");
    http_request_on_gone(r, NULL, NULL);
    walk_free(w);
    http_reply(r, 200, "application/json", &body);
}

static bool has_live_dir(const struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->siblings[i].type == SIBLING_DIR)
            return true;
    return false;
}

/* Directory versions are one directory, never a conflict (F11). */
static uint32_t versions(const struct object *o)
{
    uint32_t n = has_live_dir(o);
    for (uint32_t i = 0; i < o->n; i++)
        n += sibling_live(&o->siblings[i]) && o->siblings[i].type != SIBLING_DIR;
    return n;
}

static void listed(void *arg, const struct list_reply *reply);

static void next(struct walk *w)
{
    uint64_t now = w->cfg->time.mono_us(w->cfg->time.ctx);
    if (w->n_dirs == 0 || w->found >= w->limit || now >= w->until_us) {
        finish(w);
        return;
    }
    const struct level *l = &w->dirs[w->n_dirs - 1];
    const struct list_request q = {.dir = buf_slice(&l->dir), .after = buf_slice(&l->after)};
    w->pending = w->cfg->kv.list(w->cfg->kv.ctx, &q, listed, w);
}

static void listed(void *arg, const struct list_reply *reply)
{
    struct walk *w = arg;
    w->pending = 0;
    if (reply->status != DYN_OK) {
        struct http_request *r = w->r;
        int err = reply->status;
        unsigned answered = reply->answered, needed = reply->needed;
        http_request_on_gone(r, NULL, NULL);
        walk_free(w);
        http_reply_failure(r, err, NULL, answered, needed);
        return;
    }
    struct buf dir = buf_take(&w->dirs[--w->n_dirs].dir);
    buf_release(&w->dirs[w->n_dirs].after);
    w->walked += !reply->more;
    if (reply->more) /* below its own directories, which are walked first */
        push(w, buf_slice(&dir), reply->cursor);
    for (uint32_t i = 0; i < reply->n; i++) {
        const struct list_entry *e = &reply->entries[i];
        struct buf key = BUF_EMPTY;
        key_join(buf_slice(&dir), e->name, &key);
        if (versions(&e->object) > 1 && w->found < w->limit) {
            struct json *j = json_add_object(w->list, NULL);
            json_add_bytes(j, "key", buf_slice(&key));
            json_add_u64(j, "siblings", versions(&e->object));
            w->found++;
        }
        if (has_live_dir(&e->object))
            push(w, buf_slice(&key), slice_of(NULL, 0));
        buf_release(&key);
    }
    buf_release(&dir);
    next(w);
}

static int options(struct slice query, uint32_t n, struct buf *under, uint32_t *limit,
                   char **message)
{
    struct http_options o;
    struct slice rest = query;
    const struct slice prefix = slice_str("under=");
    int err = DYN_OK;
    if (slice_has_prefix(query, prefix)) { /* first, or not at all */
        const uint8_t *end = memchr(query.data, '&', query.len);
        size_t len = end == NULL ? query.len : (size_t)(end - query.data);
        err = http_key_parse(slice_of(query.data + prefix.len, len - prefix.len), true, under,
                             message);
        rest = end == NULL ? slice_of(NULL, 0) : slice_of(end + 1, query.len - len - 1);
    }
    if (err == DYN_OK)
        err = http_options_parse(rest, HTTP_OPTIONS_LIST, n, &o, message);
    if (err != DYN_OK)
        return err;
    *limit = o.limit == 0 ? LIMIT_DEFAULT : o.limit;
    http_options_release(&o);
    return DYN_OK;
}

void http_conflicts_take(const struct http_kv_config *cfg, struct http_request *r)
{
    struct buf under = BUF_EMPTY;
    uint32_t limit;
    char *message = NULL;
    int err = options(http_request_query(r), cfg->n, &under, &limit, &message);
    if (err != DYN_OK) {
        http_reply_failure(r, err, message, 0, 0);
        free(message);
        buf_release(&under);
        return;
    }
    struct walk *w = mem_new(struct walk);
    w->cfg = cfg;
    w->r = r;
    w->limit = limit;
    w->until_us = cfg->time.mono_us(cfg->time.ctx) + WALK_MAX_US;
    w->answer = json_object();
    w->list = json_add_array(w->answer, "conflicts");
    push(w, buf_slice(&under), slice_of(NULL, 0));
    buf_release(&under);
    http_request_on_gone(r, asker_gone, w);
    next(w);
}
