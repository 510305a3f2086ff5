/* SPDX-License-Identifier: Apache-2.0 */
/* See fake_kv.h. A request is done when it is made; only its answer comes later. */
#include "fake_kv.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "model/key.h"
#include "model/manifest.h"
#include "true_extension.h"

#define CLUSTER 77

enum kind { GET, PUT, LIST, SYNC };

struct reply {
    struct list link;
    struct timer timer;
    struct fake_kv *k;
    uint64_t id;
    enum kind kind;
    union {
        kv_get_done get;
        kv_put_done put;
        kv_list_done list;
        kv_sync_done sync;
    } done;
    void *arg;
    struct get_reply get;
    struct put_reply put;
    struct list_reply list;
    struct sync_reply sync;
    struct buf token, names;
};

void fake_kv_init(struct fake_kv *k)
{
    *k = (struct fake_kv){.now_us = 1000000, .delay_us = 100, .random = 12345};
    timers_init(&k->timers);
    k->mac = mac_new(slice_str("a secret"));
    k->actor = (struct actor){5, {9, 1}};
    k->replies = mem_new(struct list);
    list_init(k->replies);
}

static void reply_free(struct reply *r)
{
    timer_cancel(&r->k->timers, &r->timer);
    list_remove(&r->link);
    object_release(&r->get.object);
    object_release(&r->put.object);
    for (uint32_t i = 0; i < r->list.n; i++)
        object_release(&r->list.entries[i].object);
    free(r->list.entries);
    buf_release(&r->token);
    buf_release(&r->names);
    free(r);
}

static void rows_free(struct fake_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_release(&rows[i].key);
        object_release(&rows[i].object);
    }
    free(rows);
}

void fake_kv_release(struct fake_kv *k)
{
    for (struct list *l; (l = list_first(k->replies)) != NULL;)
        reply_free(container_of(l, struct reply, link));
    rows_free(k->rows, k->n);
    rows_free(k->frozen, k->n_frozen);
    mac_free(k->mac);
    timers_release(&k->timers);
    free(k->replies);
}

static struct object *find_in(struct fake_row *rows, size_t n, struct slice key)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (slice_compare(buf_slice(&rows[mid].key), key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && slice_equal(buf_slice(&rows[low].key), key) ? &rows[low].object : NULL;
}

static struct object *row_find(const struct fake_kv *k, struct slice key)
{
    return find_in(k->rows, k->n, key);
}

static struct object *row_get(struct fake_kv *k, struct slice key)
{
    struct object *o = row_find(k, key);
    if (o != NULL)
        return o;
    if (k->n == k->cap) {
        k->cap = k->cap == 0 ? 16 : 2 * k->cap;
        k->rows = mem_reallocarray(k->rows, k->cap, sizeof(*k->rows));
    }
    size_t at = k->n++;
    while (at > 0 && slice_compare(buf_slice(&k->rows[at - 1].key), key) > 0) {
        k->rows[at] = k->rows[at - 1];
        at--;
    }
    k->rows[at] = (struct fake_row){BUF_EMPTY, OBJECT_EMPTY};
    buf_put_slice(&k->rows[at].key, key);
    return &k->rows[at].object;
}

static void fire(struct timer *t, void *arg)
{
    struct reply *r = arg;
    if (r->k->hold) {
        timer_set(&r->k->timers, t, r->k->now_us + 1000);
        return;
    }
    list_remove(&r->link);
    if (r->kind == GET)
        r->done.get(r->arg, &r->get);
    else if (r->kind == PUT)
        r->done.put(r->arg, &r->put);
    else if (r->kind == LIST)
        r->done.list(r->arg, &r->list);
    else
        r->done.sync(r->arg, &r->sync);
    reply_free(r);
}

static struct reply *answer(struct fake_kv *k, enum kind kind, void *arg)
{
    struct reply *r = mem_new(struct reply);
    r->k = k;
    r->kind = kind;
    r->arg = arg;
    r->id = ++k->next_id;
    timer_init(&r->timer, fire, r);
    timer_set(&k->timers, &r->timer, k->now_us + k->delay_us);
    list_append(k->replies, &r->link);
    r->get.status = r->put.status = r->list.status = r->sync.status = k->refuse;
    return r;
}

static bool has_live_below(const struct fake_kv *k, struct slice dir)
{
    for (size_t i = 0; i < k->n; i++) {
        struct slice key = buf_slice(&k->rows[i].key);
        if (key.len > dir.len + 1 && slice_has_prefix(key, dir) && key.data[dir.len] == '/' &&
            object_live(&k->rows[i].object))
            return true;
    }
    return false;
}

static int64_t dir_mtime(const struct fake_kv *k, struct slice dir)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < k->n; i++)
        if (k->rows[i].key.len > 0 && slice_equal(key_parent(buf_slice(&k->rows[i].key)), dir) &&
            k->rows[i].changed_ns > newest)
            newest = k->rows[i].changed_ns;
    return (int64_t)newest;
}

static void unload(struct sibling *s)
{
    blob_unref(s->value);
    s->value = NULL;
}

static void keep_wanted(struct object *o, const struct get_request *q)
{
    const struct sibling *newest = object_newest(o);
    for (uint32_t i = 0; i < o->n; i++) {
        struct sibling *s = &o->siblings[i];
        bool newest_too = q->want == GET_NEWEST || q->want == GET_PRESENT;
        bool wanted = q->want == GET_ALL || (newest_too && s == newest) ||
                      (q->want == GET_DOT && dot_equal(&s->value_dot, &q->value_dot));
        if (!wanted)
            unload(s);
    }
}

static uint64_t do_get(void *ctx, const struct get_request *q, kv_get_done done, void *arg)
{
    struct fake_kv *k = ctx;
    struct reply *r = answer(k, GET, arg);
    r->done.get = done;
    k->gets++;
    k->last_want = q->want;
    const struct object *o = row_find(k, q->key);
    bool lags = k->now_us < k->lag_until_us && (k->lag_below_r == 0 || q->opt.r < k->lag_below_r);
    if (k->lag > 0 || lags) {
        k->lag -= k->lag > 0;
        o = find_in(k->frozen, k->n_frozen, q->key);
    }
    r->get.status = k->refuse_gets != DYN_OK ? k->refuse_gets : r->get.status;
    if (r->get.status != DYN_OK)
        return r->id;
    r->get.dir_mtime_ns = dir_mtime(k, q->key);
    r->get.implicit_dir = (o == NULL || !object_live(o)) && has_live_below(k, q->key);
    k->demanded += q->n_at_least;
    if (q->want == GET_DOT && (o == NULL || object_find_value(o, &q->value_dot) == NULL)) {
        r->get.status = DYN_ERR_STALE;
        return r->id;
    }
    if (q->want == GET_PRESENT && (o == NULL || !object_live(o)))
        r->get.status = DYN_ERR_NOT_FOUND;
    if (o == NULL)
        return r->id;
    object_copy(&r->get.object, o);
    token_make(k->mac, CLUSTER, q->key, o, &r->token);
    r->get.token = buf_slice(&r->token);
    r->get.replicas[0] = k->actor.node;
    r->get.n_replicas = 1;
    keep_wanted(&r->get.object, q);
    return r->id;
}

static struct dot mint(struct fake_kv *k)
{
    return (struct dot){k->actor, ++k->minted};
}

static uint64_t order_time(const struct fake_kv *k, const struct put_request *q,
                           const struct object *o, const struct cover *cover)
{
    const struct sibling *heir =
        q->flags & PUT_INHERIT_TIME ? object_find(o, &q->inherit_dot) : NULL;
    if (heir != NULL)
        return heir->time_ns;
    uint64_t time = q->time_ns != 0 ? q->time_ns : k->now_us * 1000;
    for (uint32_t i = 0; i < o->n; i++)
        if (cover_has(cover, &o->siblings[i].dot) && o->siblings[i].time_ns >= time)
            time = o->siblings[i].time_ns + 1;
    return time;
}

static int add(struct fake_kv *k, const struct put_request *q, struct object *o,
               const struct cover *cover, struct dot *out)
{
    struct sibling s = {.type = q->type, .attrs = q->attrs, .origin = q->origin};
    s.dot = mint(k);
    s.base_dot = q->base_dot;
    if (q->flags & PUT_KEEP_VALUE) {
        const struct sibling *src = object_find_value(o, &q->value_dot);
        if (src == NULL)
            return DYN_ERR_STALE;
        s.value_dot = s.base_dot = src->value_dot;
        s.size = src->size;
        s.manifest_len = src->manifest_len;
        s.allocated = src->allocated;
        s.uploads = blob_ref(src->uploads);
        memcpy(s.value_hash, src->value_hash, DIGEST_LEN);
        s.value = blob_ref(src->value);
    } else if (q->type == SIBLING_FILE || q->type == SIBLING_SYMLINK) {
        s.value_dot = s.dot;
        s.size = q->value.len;
        digest_sha256(q->value, s.value_hash);
        s.value = blob_new(q->value.data, q->value.len);
        if (q->flags & PUT_MANIFEST && manifest_describe(q->value, &s) != DYN_OK) {
            blob_unref(s.value);
            return DYN_ERR_INVALID;
        }
    }
    blob_ref(s.attrs.xattrs);
    s.time_ns = order_time(k, q, o, cover);
    *out = s.dot;
    struct sibling written = s;
    bool was_live = object_live(o);
    object_write(o, cover, &s, k->now_us / 1000);
    if (object_live(o) != was_live)
        container_of(o, struct fake_row, object)->changed_ns = written.time_ns;
    if (object_find(o, out) == NULL)
        for (uint32_t i = 0; i < o->n; i++)
            if (sibling_same_content(&o->siblings[i], &written))
                *out = o->siblings[i].dot;
    return DYN_OK;
}

static int drop(struct fake_kv *k, const struct put_request *q, struct object *o,
                struct cover *cover, struct dot *out)
{
    uint32_t covered = 0, left = 0;
    object_cover_stream(o, &q->origin, cover);
    for (uint32_t i = 0; i < o->n; i++) {
        bool in = cover_has(cover, &o->siblings[i].dot);
        covered += in;
        left += !in && sibling_live(&o->siblings[i]);
    }
    if (covered == 0)
        return DYN_OK;
    if (left == 0)
        return add(k, q, o, cover, out);
    object_write(o, cover, NULL, k->now_us / 1000);
    return DYN_OK;
}

static int apply(struct fake_kv *k, const struct put_request *q, struct dot *out)
{
    struct object *o = row_get(k, q->key);
    struct cover cover = COVER_EMPTY;
    int err = DYN_OK;
    const struct sibling *before = object_find_origin(o, &q->origin);
    if (before != NULL) {
        *out = before->dot;
        return DYN_OK;
    }
    for (uint32_t i = 0; i < q->n_contexts && err == DYN_OK; i++)
        err = context_verify(k->mac, CLUSTER, q->key, q->contexts[i], &cover);
    uint32_t found = 0; /* a clock binds also what is not found, single dots do not */
    for (uint32_t i = 0; i < cover.n; i++)
        if (k->overlook == 0 || cover.dots[i].actor.node != k->overlook)
            cover.dots[found++] = cover.dots[i];
    cover.n = found;
    if (err == DYN_OK && q->flags & PUT_IF_ABSENT && object_live(o))
        err = DYN_ERR_EXISTS;
    bool implicit_done = q->flags & PUT_IMPLICIT && object_live(o);
    if (q->flags & PUT_CURRENT || (q->type == SIBLING_DELETE && q->n_contexts == 0))
        clock_copy(&cover.clock, &o->clock);
    for (uint32_t i = 0; q->flags & (PUT_IF_ABSENT | PUT_IMPLICIT) && i < o->n; i++)
        if (!sibling_live(&o->siblings[i]))
            cover_add_dot(&cover, &o->siblings[i].dot);
    if (err == DYN_OK && !implicit_done)
        err = q->flags & PUT_DROP_ONLY ? drop(k, q, o, &cover, out) : add(k, q, o, &cover, out);
    cover_release(&cover);
    return err;
}

/* The coordinator has not got it yet. */
static void overlook_siblings(const struct fake_kv *k, struct object *o)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        if (o->siblings[i].dot.actor.node == k->overlook)
            sibling_release(&o->siblings[i]);
        else
            o->siblings[kept++] = o->siblings[i];
    }
    o->n = kept;
    kept = 0;
    for (uint32_t i = 0; i < o->clock.n; i++)
        if (o->clock.pairs[i].actor.node != k->overlook)
            o->clock.pairs[kept++] = o->clock.pairs[i];
    o->clock.n = kept;
}

static uint64_t do_put(void *ctx, const struct put_request *q, kv_put_done done, void *arg)
{
    struct fake_kv *k = ctx;
    struct reply *r = answer(k, PUT, arg);
    r->done.put = done;
    k->puts++;
    k->bytes_put += true_extension(row_find(k, q->key), q);
    k->last_put = *q;
    if (q->opt.durability > k->most_durable)
        k->most_durable = q->opt.durability;
    if (r->put.status == DYN_OK)
        r->put.status = k->refuse_puts;
    if (r->put.status != DYN_OK)
        return r->id;
    r->put.status = apply(k, q, &r->put.dot);
    if (r->put.status != DYN_OK)
        return r->id;
    if (k->lose > 0) {
        k->lose--;
        r->put.status = DYN_ERR_TIMEOUT;
        return r->id;
    }
    const struct object *o = row_get(k, q->key);
    object_copy(&r->put.object, o);
    for (uint32_t i = 0; i < r->put.object.n; i++)
        unload(&r->put.object.siblings[i]);
    if (k->overlook != 0)
        overlook_siblings(k, &r->put.object);
    token_make(k->mac, CLUSTER, q->key, &r->put.object, &r->token);
    r->put.token = buf_slice(&r->token);
    r->put.replicas[0] = k->actor.node;
    r->put.n_replicas = 1;
    return r->id;
}

static void add_entry(struct reply *r, struct slice name, const struct object *o)
{
    r->list.entries = mem_reallocarray(r->list.entries, r->list.n + 1, sizeof(*r->list.entries));
    struct list_entry *e = &r->list.entries[r->list.n++];
    *e = (struct list_entry){.name = name, .object = OBJECT_EMPTY};
    object_project(o, &e->object);
}

static uint64_t do_list(void *ctx, const struct list_request *q, kv_list_done done, void *arg)
{
    struct fake_kv *k = ctx;
    struct reply *r = answer(k, LIST, arg);
    r->done.list = done;
    k->lists++;
    if (k->refuse != DYN_OK)
        return r->id;
    const struct fake_row *rows = k->stale_lists ? k->frozen : k->rows;
    size_t n = k->stale_lists ? k->n_frozen : k->n;
    uint32_t limit = q->limit == 0 ? 1000 : q->limit;
    for (size_t i = 0; i < n; i++) {
        struct slice key = buf_slice(&rows[i].key), name = key_name(key);
        if (key.len == 0 || !slice_equal(key_parent(key), q->dir) ||
            (q->after.len != 0 && slice_compare(name, q->after) <= 0) ||
            (!q->dead_too && !object_live(&rows[i].object)))
            continue;
        if (r->list.n == limit) {
            r->list.more = true;
            break;
        }
        add_entry(r, name, &rows[i].object);
    }
    buf_reserve(&r->names, 1 << 16);
    for (uint32_t i = 0; i < r->list.n; i++) { /* names must outlive the rows */
        struct slice name = r->list.entries[i].name;
        buf_put_slice(&r->names, name);
    }
    size_t at = 0;
    for (uint32_t i = 0; i < r->list.n; i++) {
        r->list.entries[i].name.data = r->names.data + at;
        at += r->list.entries[i].name.len;
    }
    if (r->list.n != 0)
        r->list.cursor = r->list.entries[r->list.n - 1].name;
    return r->id;
}

static uint64_t do_sync(void *ctx, const struct sync_request *q, kv_sync_done done, void *arg)
{
    struct fake_kv *k = ctx;
    struct reply *r = answer(k, SYNC, arg);
    r->done.sync = done;
    k->syncs++;
    const struct object *o = row_find(k, q->key);
    if (k->refuse == DYN_OK && dot_is_none(&q->dot))
        r->sync.status = o != NULL && object_live(o) ? DYN_OK : DYN_ERR_NOT_FOUND;
    else if (k->refuse == DYN_OK && (o == NULL || !clock_covers(&o->clock, &q->dot)))
        r->sync.status = DYN_ERR_STALE;
    return r->id;
}

static void cancel(void *ctx, uint64_t id)
{
    struct fake_kv *k = ctx;
    list_for_each_safe(it, tmp, k->replies)
    {
        struct reply *r = container_of(it, struct reply, link);
        if (r->id == id)
            reply_free(r);
    }
}

struct kv_port fake_kv_port(struct fake_kv *k)
{
    return (struct kv_port){k, do_get, do_put, do_list, do_sync, cancel};
}

static uint64_t mono(void *ctx)
{
    return ((struct fake_kv *)ctx)->now_us;
}

static uint64_t wall(void *ctx)
{
    return ((struct fake_kv *)ctx)->now_us * 1000;
}

struct time_port fake_kv_time(struct fake_kv *k)
{
    return (struct time_port){k, mono, wall};
}

static void random_bytes(void *ctx, void *out, size_t len)
{
    struct fake_kv *k = ctx;
    for (size_t i = 0; i < len; i++) {
        k->random = k->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)out)[i] = (uint8_t)(k->random >> 56);
    }
}

struct random_port fake_kv_random(struct fake_kv *k)
{
    return (struct random_port){k, random_bytes};
}

void fake_kv_run(struct fake_kv *k, uint64_t limit_us, const bool *stop)
{
    uint64_t until = k->now_us + limit_us;
    while ((stop == NULL || !*stop) && timers_next(&k->timers) <= until) {
        if (timers_next(&k->timers) > k->now_us)
            k->now_us = timers_next(&k->timers);
        timers_run(&k->timers, k->now_us);
    }
    if (stop == NULL)
        k->now_us = until;
}

void fake_kv_let_go(struct fake_kv *k)
{
    k->hold = false;
}

static struct fake_row *rows_copy(const struct fake_row *rows, size_t n)
{
    struct fake_row *copy = mem_zalloc((n + 1) * sizeof(*copy));
    for (size_t i = 0; i < n; i++) {
        buf_put_slice(&copy[i].key, buf_slice(&rows[i].key));
        object_copy(&copy[i].object, &rows[i].object);
        copy[i].changed_ns = rows[i].changed_ns;
    }
    return copy;
}

void fake_kv_freeze(struct fake_kv *k)
{
    rows_free(k->frozen, k->n_frozen);
    k->frozen = rows_copy(k->rows, k->n);
    k->n_frozen = k->n;
}

void fake_kv_roll_back(struct fake_kv *k)
{
    rows_free(k->rows, k->n);
    k->rows = rows_copy(k->frozen, k->n_frozen);
    k->n = k->n_frozen;
    k->cap = k->n + 1;
}

void fake_kv_reap(struct fake_kv *k, const char *key)
{
    struct object *o = row_get(k, slice_str(key));
    assert(!object_live(o));
    object_release(o);
    *o = OBJECT_EMPTY;
}

void fake_kv_forget_counts(struct fake_kv *k)
{
    k->gets = k->puts = k->lists = k->syncs = 0;
    k->bytes_put = 0;
}

/* Other writers */

static struct dot write_covering(struct fake_kv *k, const char *key, struct put_request *q,
                                 const struct cover *cover)
{
    struct dot dot = {0};
    k->now_us += 1000;
    q->key = slice_str(key);
    add(k, q, row_get(k, q->key), cover, &dot);
    return dot;
}

static struct put_request file_of(struct fake_kv *k, const char *value)
{
    return (struct put_request){.type = SIBLING_FILE,
                                .attrs = {.mode = 0644,
                                          .ino = 5000 + k->minted,
                                          .mtime_ns = (int64_t)k->now_us * 1000,
                                          .ctime_ns = (int64_t)k->now_us * 1000},
                                .value = slice_str(value)};
}

struct dot fake_kv_write(struct fake_kv *k, const char *key, const char *value, bool supersedes)
{
    struct object *o = row_get(k, slice_str(key));
    struct put_request q = file_of(k, value);
    struct cover cover = COVER_EMPTY;
    const struct sibling *newest = object_newest(o);
    if (supersedes) {
        clock_copy(&cover.clock, &o->clock);
        if (newest != NULL) {
            q.base_dot = newest->value_dot;
            q.attrs.ino = newest->attrs.ino;
        }
    }
    struct dot d = write_covering(k, key, &q, &cover);
    cover_release(&cover);
    return d;
}

void fake_kv_take_copy(struct fake_kv *k, const char *key, struct sibling *copy)
{
    sibling_copy(copy, object_newest(row_get(k, slice_str(key))));
}

void fake_kv_copy_arrives(struct fake_kv *k, const char *key, struct sibling *copy)
{
    struct object *o = row_get(k, slice_str(key));
    struct cover nothing = COVER_EMPTY;
    bool own_value = dot_equal(&copy->value_dot, &copy->dot);
    copy->dot = mint(k);
    if (own_value)
        copy->value_dot = copy->dot;
    copy->time_ns++;
    object_write(o, &nothing, copy, k->now_us / 1000);
}

void fake_kv_mint_again(struct fake_kv *k, const char *key)
{
    struct sibling copy;
    fake_kv_take_copy(k, key, &copy);
    fake_kv_copy_arrives(k, key, &copy);
}

struct dot fake_kv_curl(struct fake_kv *k, const char *key, const char *value)
{
    struct put_request q = file_of(k, value);
    struct cover nothing = COVER_EMPTY;
    q.attrs.ino = 0;
    return write_covering(k, key, &q, &nothing);
}

struct dot fake_kv_write_over(struct fake_kv *k, const char *key, const char *value,
                              const struct dot *over)
{
    struct put_request q = file_of(k, value);
    struct cover cover = COVER_EMPTY;
    cover_add_dot(&cover, over);
    const struct sibling *s = object_find(row_get(k, slice_str(key)), over);
    if (s != NULL)
        q.base_dot = s->value_dot;
    struct dot d = write_covering(k, key, &q, &cover);
    cover_release(&cover);
    return d;
}

struct dot fake_kv_chmod_beside(struct fake_kv *k, const char *key, const struct dot *of,
                                uint32_t mode)
{
    const struct sibling *s = object_find(row_get(k, slice_str(key)), of);
    struct cover nothing = COVER_EMPTY;
    struct put_request q = {.type = SIBLING_FILE,
                            .flags = PUT_KEEP_VALUE,
                            .value_dot = s->value_dot,
                            .attrs = s->attrs};
    q.attrs.mode = mode;
    q.attrs.ctime_ns = (int64_t)k->now_us * 1000;
    return write_covering(k, key, &q, &nothing);
}

struct dot fake_kv_write_at(struct fake_kv *k, uint64_t node, const char *key, const char *value)
{
    uint64_t own = k->actor.node;
    k->actor.node = node;
    struct dot d = fake_kv_write(k, key, value, false);
    k->actor.node = own;
    return d;
}

struct dot fake_kv_mkdir(struct fake_kv *k, const char *key)
{
    struct cover nothing = COVER_EMPTY;
    struct put_request q = {.type = SIBLING_DIR, .attrs = {.mode = 0755, .ino = 9000 + k->minted}};
    return write_covering(k, key, &q, &nothing);
}

void fake_kv_delete(struct fake_kv *k, const char *key)
{
    struct object *o = row_get(k, slice_str(key));
    struct put_request q = {.type = SIBLING_DELETE};
    struct cover cover = COVER_EMPTY;
    clock_copy(&cover.clock, &o->clock);
    write_covering(k, key, &q, &cover);
    cover_release(&cover);
}

const struct object *fake_kv_object(struct fake_kv *k, const char *key)
{
    return row_get(k, slice_str(key));
}

uint32_t fake_kv_live(struct fake_kv *k, const char *key)
{
    return object_live_count(fake_kv_object(k, key));
}

bool fake_kv_holds(struct fake_kv *k, const char *key, const char *value)
{
    const struct object *o = fake_kv_object(k, key);
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        if (s->type == SIBLING_FILE && s->size == strlen(value) &&
            (s->size == 0 || memcmp(s->value->data, value, s->size) == 0))
            return true;
    }
    return false;
}
