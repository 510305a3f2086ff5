/* SPDX-License-Identifier: Apache-2.0 */
/* See http_siblings.h.
 *
 *   [FETCHING the next value of the page that is not here] -> ... -> done
 *   FETCHING -> it has gone: done says so */
#include "http_siblings.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

struct http_siblings {
    const struct http_kv_config *cfg;
    struct buf key;
    struct request_options opt;
    struct object object;
    struct http_siblings_page page;
    uint32_t next;    /* of the page: whose value is looked at */
    uint64_t pending; /* id at the kv port */
    bool starting, ended;
    void (*done)(void *arg, const struct http_siblings_page *page);
    void *arg;
};

void http_siblings_cursor(const struct sibling *s, struct buf *out)
{
    char dot[DOT_TEXT_MAX];
    dot_format(&s->dot, dot);
    buf_printf(out, "%" PRIu64 "-%s", s->time_ns, dot);
}

static int cursor_parse(struct slice text, uint64_t *time_ns, struct dot *dot)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < text.len && i < 20 && text.data[i] >= '0' && text.data[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(text.data[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return DYN_ERR_INVALID;
        v = v * 10 + digit;
    }
    if (i == 0 || i == text.len || text.data[i] != '-')
        return DYN_ERR_INVALID;
    *time_ns = v;
    return dot_parse(slice_of(text.data + i + 1, text.len - i - 1), dot);
}

static void free_all(struct http_siblings *s)
{
    object_release(&s->object);
    buf_release(&s->key);
    free(s->page.siblings);
    free(s);
}

void http_siblings_cancel(struct http_siblings *s)
{
    if (s->pending != 0)
        s->cfg->kv.cancel(s->cfg->kv.ctx, s->pending);
    free_all(s);
}

static void end(struct http_siblings *s, int status)
{
    s->page.status = status;
    s->ended = true;
    s->done(s->arg, &s->page);
    if (!s->starting)
        free_all(s);
}

static int newest_first(const void *a, const void *b)
{
    return sibling_order(*(const struct sibling *const *)b, *(const struct sibling *const *)a);
}

/* What lies in chunks is named in a page, not shown. */
static uint64_t part_len(const struct sibling *s)
{
    return s->manifest_len != 0 ? 0 : s->size;
}

/* Cuts the page out of all versions. */
static int choose(struct http_siblings *s, struct slice after, uint32_t limit)
{
    struct http_siblings_page *p = &s->page;
    struct sibling last = {0};
    uint64_t bytes = 0;
    uint32_t all = 0, first = 0;
    if (after.len > 0 && cursor_parse(after, &last.time_ns, &last.dot) != DYN_OK)
        return DYN_ERR_INVALID;
    p->siblings = mem_reallocarray(NULL, s->object.n + 1, sizeof(*p->siblings));
    for (uint32_t i = 0; i < s->object.n; i++)
        if (sibling_live(&s->object.siblings[i]))
            p->siblings[all++] = &s->object.siblings[i];
    p->live = all;
    qsort(p->siblings, all, sizeof(*p->siblings), newest_first);
    while (after.len > 0 && first < all && sibling_order(p->siblings[first], &last) >= 0)
        first++;
    memmove(p->siblings, p->siblings + first, (all - first) * sizeof(*p->siblings));
    all -= first;
    while (p->n < all && p->n < limit &&
           (p->n == 0 || bytes + part_len(p->siblings[p->n]) <= SIBLINGS_PAGE_BYTES))
        bytes += part_len(p->siblings[p->n++]);
    p->more = p->n < all;
    return DYN_OK;
}

static void fetch_next(struct http_siblings *s);

/* Several versions can share one value. */
static void attach(struct http_siblings *s, const struct sibling *from)
{
    for (uint32_t i = 0; i < s->object.n; i++) {
        struct sibling *to = &s->object.siblings[i];
        if (to->value == NULL && from->value != NULL && to->size == from->size &&
            to->manifest_len == from->manifest_len && dot_equal(&to->value_dot, &from->value_dot) &&
            digest_equal(to->value_hash, from->value_hash))
            to->value = blob_ref(from->value);
    }
}

static void fetched(void *arg, const struct get_reply *reply)
{
    struct http_siblings *s = arg;
    const struct sibling *wanted = s->page.siblings[s->next], *found;
    s->pending = 0;
    found = object_find_value(&reply->object, &wanted->value_dot);
    if (reply->status == DYN_OK && found != NULL)
        attach(s, found);
    if (reply->status == DYN_OK && wanted->value == NULL)
        end(s, DYN_ERR_STALE);
    else if (reply->status != DYN_OK)
        end(s, reply->status);
    else
        fetch_next(s);
}

static void fetch_next(struct http_siblings *s)
{
    struct http_siblings_page *p = &s->page;
    while (s->next < p->n &&
           (p->siblings[s->next]->value != NULL || part_len(p->siblings[s->next]) == 0))
        s->next++;
    if (s->next == p->n) {
        end(s, DYN_OK);
        return;
    }
    const struct get_request q = {.opt = s->opt,
                                  .key = buf_slice(&s->key),
                                  .want = GET_DOT,
                                  .value_dot = p->siblings[s->next]->value_dot};
    s->pending = s->cfg->kv.get(s->cfg->kv.ctx, &q, fetched, s);
}

struct http_siblings *
http_siblings_start(const struct http_kv_config *cfg, struct slice key,
                    const struct request_options *opt, const struct get_reply *reply,
                    struct slice after, uint32_t limit, bool meta,
                    void (*done)(void *arg, const struct http_siblings_page *page), void *arg)
{
    struct http_siblings *s = mem_new(struct http_siblings);
    s->cfg = cfg;
    s->opt = *opt;
    s->object = OBJECT_EMPTY;
    s->page.object = &s->object;
    s->done = done;
    s->arg = arg;
    buf_put_slice(&s->key, key);
    object_copy(&s->object, &reply->object);
    s->starting = true;
    int err = choose(s, after, limit != 0 ? limit : SIBLINGS_PAGE);
    if (err != DYN_OK || meta)
        end(s, err);
    else
        fetch_next(s);
    s->starting = false;
    if (!s->ended)
        return s;
    free_all(s);
    return NULL;
}
