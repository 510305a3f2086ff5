/* SPDX-License-Identifier: Apache-2.0 */
/* See seen.h. */
#include "model/seen.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "model/owed.h"
#include "model/projection.h"

void cover_join_dots(struct cover *into, const struct cover *from)
{
    for (uint32_t i = 0; i < from->n; i++)
        cover_add_dot(into, &from->dots[i]);
}

void cover_clear(struct cover *c)
{
    c->n = 0;
}

bool cover_same_dots(const struct cover *a, const struct cover *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!dot_equal(&a->dots[i], &b->dots[i]))
            return false;
    return true;
}

struct slice seen_key(const struct seen *s)
{
    return buf_slice(&s->key);
}

struct slice seen_name(const struct seen *s)
{
    return key_name(buf_slice(&s->key));
}

struct seen *seen_ref(struct seen *s)
{
    if (s->refs++ == 0) {
        list_remove(&s->idle);
        s->fs->n_idle--;
    }
    return s;
}

struct seen *seen_find(struct fs *fs, struct slice key)
{
    struct table_node *n = table_first(&fs->seens, table_hash(&fs->seens, key));
    for (; n != NULL; n = table_next(n)) {
        struct seen *s = container_of(n, struct seen, node);
        if (slice_equal(seen_key(s), key))
            return seen_ref(s);
    }
    return NULL;
}

struct seen *seen_get(struct fs *fs, struct slice key)
{
    struct seen *s = seen_find(fs, key);
    if (s != NULL)
        return s;
    s = mem_new(struct seen);
    s->fs = fs;
    s->refs = 1;
    s->next_number = 1;
    buf_put_slice(&s->key, key);
    list_init(&s->idle);
    list_init(&s->recents);
    list_init(&s->in_recents);
    list_init(&s->unsynced);
    list_init(&s->in_unsynced);
    list_init(&s->inodes);
    list_init(&s->waiting);
    table_insert(&fs->seens, &s->node, table_hash(&fs->seens, key));
    return s;
}

static void forget_written(struct seen *s)
{
    struct seen *dir = s->dir;
    s->dir = NULL;
    list_remove(&s->in_recents);
    seen_unref(dir);
}

static void remember_written(struct seen *s)
{
    bool live = owed_leaves_live(s);
    s->written_us = fs_now_us(s->fs);
    if (live == (s->dir != NULL) || s->key.len == 0)
        return;
    if (!live) {
        forget_written(s);
        return;
    }
    s->dir = seen_get(s->fs, key_parent(seen_key(s)));
    list_append(&s->dir->recents, &s->in_recents);
}

static void forget_unsynced(struct seen *s)
{
    struct seen *dir = s->sync_dir;
    s->sync_dir = NULL;
    list_remove(&s->in_unsynced);
    clock_release(&s->unsynced_clock);
    seen_unref(dir);
}

static void remember_unsynced(struct seen *s, const struct put_reply *p)
{
    const struct sibling *written = object_find(&p->object, &p->dot);
    if (dot_is_none(&p->dot) || s->key.len == 0 || s->fs->cfg.durability == DURABILITY_QUORUM)
        return;
    s->unsynced_dot = p->dot;
    clock_release(&s->unsynced_clock);
    if (written != NULL && !sibling_live(written))
        clock_copy(&s->unsynced_clock, &p->object.clock);
    if (s->sync_dir != NULL)
        return;
    s->sync_dir = seen_get(s->fs, key_parent(seen_key(s)));
    list_append(&s->sync_dir->unsynced, &s->in_unsynced);
}

void seen_synced(struct seen *s, const struct dot *d)
{
    if (s->sync_dir != NULL && dot_equal(&s->unsynced_dot, d))
        forget_unsynced(s);
}

bool seen_superseded(struct seen *s, const struct dot *d)
{
    return seen_known(s, d) == NULL;
}

bool seen_removal_stands(const struct seen *s, const struct object *answer)
{
    for (uint32_t i = 0; i < answer->n; i++)
        if (sibling_live(&answer->siblings[i]) &&
            clock_covers(&s->unsynced_clock, &answer->siblings[i].dot))
            return false;
    return s->unsynced_clock.n != 0;
}

struct seen *seen_unsynced(struct seen *dir, struct seen *after)
{
    struct list *l = after == NULL ? dir->unsynced.next : after->in_unsynced.next;
    return l == &dir->unsynced ? NULL : container_of(l, struct seen, in_unsynced);
}

struct seen *seen_recent(struct seen *dir, struct seen *after)
{
    struct list *l = after == NULL ? dir->recents.next : after->in_recents.next;
    while (l != &dir->recents) {
        struct seen *s = container_of(l, struct seen, in_recents);
        l = l->next;
        if (fs_now_us(s->fs) - s->written_us >= SEEN_MEMORY_US)
            forget_written(s);
        else if (owed_leaves_live(s))
            return s;
    }
    return NULL;
}

static void seen_free(struct seen *s)
{
    if (s->dir != NULL)
        forget_written(s);
    if (s->sync_dir != NULL)
        forget_unsynced(s);
    assert(list_empty(&s->recents) && list_empty(&s->unsynced) && s->told == NULL);
    assert(list_empty(&s->inodes) && list_empty(&s->waiting) && !s->locked);
    for (uint32_t i = 0; i < s->n; i++) {
        projection_drop(s, &s->known[i]);
        blob_unref(s->known[i].token);
    }
    free(s->known);
    cover_release(&s->name_shown);
    cover_release(&s->served);
    object_release(&s->view);
    table_remove(&s->fs->seens, &s->node);
    list_remove(&s->idle);
    buf_release(&s->key);
    free(s);
}

void seen_unref(struct seen *s)
{
    if (s == NULL)
        return;
    assert(s->refs > 0);
    if (--s->refs > 0)
        return;
    struct fs *fs = s->fs;
    list_append(&fs->idle, &s->idle);
    fs->n_idle++;
    /* Keys with conflict names stay, for numbers must not come back (F3): they are few. At the end
     * all go (seen_free_all). */
    for (uint32_t tries = 0; !fs->closing && fs->n_idle > SEEN_IDLE_MAX && tries < 16; tries++) {
        struct seen *oldest = container_of(list_first(&fs->idle), struct seen, idle);
        list_remove(&oldest->idle);
        if (oldest->next_number > 1) {
            list_append(&fs->idle, &oldest->idle);
            continue;
        }
        fs->n_idle--;
        seen_free(oldest);
    }
}

void seen_free_all(struct fs *fs)
{
    size_t slot = 0;
    for (struct table_node *n = NULL; (n = table_walk(&fs->seens, &slot, n)) != NULL;) {
        struct seen *s = container_of(n, struct seen, node);
        if (s->dir != NULL)
            forget_written(s);
        if (s->sync_dir != NULL)
            forget_unsynced(s);
    }
    for (struct table_node *n; (n = table_any(&fs->seens)) != NULL;) {
        struct seen *s = container_of(n, struct seen, node);
        assert(s->refs == 0);
        seen_free(s);
    }
    fs->n_idle = 0;
}

struct known *seen_known(struct seen *s, const struct dot *d)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (dot_equal(&s->known[i].dot, d))
            return &s->known[i];
    return NULL;
}

void seen_flag(struct seen *s, const struct cover *dots, uint8_t flags)
{
    for (uint32_t i = 0; i < dots->n; i++) {
        struct known *k = seen_known(s, &dots->dots[i]);
        if (k != NULL)
            k->flags |= flags;
    }
}

void seen_collect(const struct seen *s, uint8_t flags, struct cover *out)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->known[i].flags & flags)
            cover_add_dot(out, &s->known[i].dot);
}

void seen_collect_all(const struct seen *s, uint8_t flags, struct cover *out)
{
    for (uint32_t i = 0; i < s->n; i++)
        if ((s->known[i].flags & flags) == flags)
            cover_add_dot(out, &s->known[i].dot);
}

/* F3: does `to` stand where `from` stood? It inherited the rank, or has its bytes, or the next. */
static bool replaces(const struct known *to, const struct known *from)
{
    if (from->type == SIBLING_DELETE || to->type != from->type || dot_is_none(&from->value_dot))
        return false;
    if (to->time_ns == from->time_ns)
        return true;
    return dot_equal(&to->value_dot, &from->value_dot) ||
           dot_equal(&to->base_dot, &from->value_dot);
}

/* Its number goes to whoever took its place, or to nobody. */
static void give_number_up(struct seen *s, struct known *gone)
{
    if (gone->number == 0)
        return;
    const struct sibling *newest = object_newest(&s->view);
    for (uint32_t i = 0; i < s->n; i++) {
        struct known *k = &s->known[i];
        bool holds_name = newest != NULL && dot_equal(&newest->dot, &k->dot);
        if (k == gone || k->number != 0 || holds_name || !replaces(k, gone) ||
            object_find(&s->view, &k->dot) == NULL)
            continue;
        projection_hand_on(gone, k);
        return;
    }
    projection_drop(s, gone);
}

void seen_hide(struct seen *s, const struct dot *d)
{
    struct known *k = seen_known(s, d);
    if (k != NULL)
        give_number_up(s, k);
}

/* Brings the known versions in line with the view. */
static void settle(struct seen *s)
{
    for (uint32_t i = 0; i < s->view.n; i++) {
        const struct sibling *v = &s->view.siblings[i];
        if (seen_known(s, &v->dot) != NULL)
            continue;
        if (s->n == s->cap) {
            s->cap = s->cap == 0 ? 1 : s->cap * 2;
            s->known = mem_reallocarray(s->known, s->cap, sizeof(*s->known));
        }
        s->known[s->n++] = (struct known){.dot = v->dot,
                                          .value_dot = v->value_dot,
                                          .base_dot = v->base_dot,
                                          .type = v->type,
                                          .time_ns = v->time_ns};
    }
    for (uint32_t i = 0; i < s->n;) {
        struct known *k = &s->known[i];
        if (object_find(&s->view, &k->dot) != NULL || !clock_covers(&s->view.clock, &k->dot)) {
            i++;
            continue;
        }
        give_number_up(s, k);
        blob_unref(k->token);
        *k = s->known[--s->n];
    }
}

bool seen_remembers(const struct seen *s)
{
    return s->learnt_us != 0 && fs_now_us(s->fs) - s->believed_us < SEEN_MEMORY_US;
}

/* A listing leaves extended attributes out; those that are known stay. */
static void keep_xattrs(struct seen *s, struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++) {
        struct sibling *to = &o->siblings[i];
        const struct known *k = seen_known(s, &to->dot);
        const struct sibling *from = object_find(&s->view, &to->dot);
        if (to->attrs.xattrs == NULL && k != NULL && k->xattrs && from != NULL)
            to->attrs.xattrs = blob_ref(from->attrs.xattrs);
    }
}

static void mark_xattrs(struct seen *s, const struct object *answer)
{
    for (uint32_t i = 0; i < answer->n; i++) {
        struct known *k = seen_known(s, &answer->siblings[i].dot);
        if (k != NULL)
            k->xattrs = true;
    }
}

/* It has seen nothing that is not in the view, and not all of that: an absent object, too. */
static bool only_lags(const struct seen *s, const struct object *answer)
{
    return seen_remembers(s) && clock_dominates(&s->view.clock, &answer->clock) &&
           !clock_dominates(&answer->clock, &s->view.clock);
}

/* The answer leads: what a get brings is more than what a listing told. */
static void learn(struct seen *s, const struct object *answer)
{
    uint64_t now = fs_now_us(s->fs);
    struct object o = OBJECT_EMPTY;
    bool lags = only_lags(s, answer);
    object_copy(&o, answer);
    if (seen_remembers(s))
        object_join(&o, &s->view);
    if (!lags)
        s->believed_us = now; /* else one that is asked about all the time is never forgotten */
    for (uint32_t i = 0; i < o.n; i++) {
        blob_unref(o.siblings[i].value);
        o.siblings[i].value = NULL;
    }
    keep_xattrs(s, &o);
    object_release(&s->view);
    s->view = o;
    s->learnt_us = now == 0 ? 1 : now;
    if (s->fs->asked_us > s->asked_us)
        s->asked_us = s->fs->asked_us;
    settle(s);
    if (owed_leaves_live(s))
        projection_yield(s);
}

static void take_token(struct seen *s, struct slice token)
{
    struct dot *dots;
    uint32_t n;
    if (token.len == 0 || token.len > CONTEXT_LEN_MAX || token_dots(token, &dots, &n) != DYN_OK)
        return;
    struct blob *b = blob_new(token.data, token.len);
    for (uint32_t i = 0; i < n; i++) {
        struct known *k = seen_known(s, &dots[i]);
        if (k == NULL)
            continue;
        blob_unref(k->token);
        k->token = blob_ref(b);
    }
    blob_unref(b);
    free(dots);
}

static void take_replicas(struct seen *s, const uint64_t *replicas, uint8_t n)
{
    s->n_replicas = n > 8 ? 8 : n;
    memcpy(s->replicas, replicas, s->n_replicas * sizeof(*replicas));
}

void seen_got(struct seen *s, const struct get_reply *p)
{
    learn(s, &p->object);
    mark_xattrs(s, &p->object);
    take_token(s, p->token);
    take_replicas(s, p->replicas, p->n_replicas);
    s->implicit_dir = p->implicit_dir;
    s->dir_mtime_ns = p->dir_mtime_ns;
    s->got_us = s->learnt_us;
}

void seen_put(struct seen *s, const struct put_reply *p)
{
    learn(s, &p->object);
    mark_xattrs(s, &p->object);
    take_token(s, p->token);
    take_replicas(s, p->replicas, p->n_replicas);
    remember_written(s);
    remember_unsynced(s, p);
}

void seen_restore(struct seen *s, const struct object *view, const struct slice *tokens, uint32_t n)
{
    learn(s, view);
    for (uint32_t i = 0; i < n; i++)
        take_token(s, tokens[i]);
}

void seen_listed(struct seen *s, const struct object *entry)
{
    learn(s, entry);
}

void seen_forget_view(struct seen *s)
{
    s->learnt_us = s->asked_us = 0;
}

static bool wanted(const struct known *k, const struct cover *dots)
{
    return k->type == SIBLING_DELETE || cover_has(dots, &k->dot);
}

bool seen_names_live(const struct seen *s, const struct cover *dots)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->known[i].token == NULL && cover_has(dots, &s->known[i].dot) &&
            object_find(&s->view, &s->known[i].dot) != NULL)
            return false;
    return true;
}

bool seen_can_name(const struct seen *s, const struct cover *dots)
{
    if (!seen_names_live(s, dots))
        return false;
    for (uint32_t i = 0; i < dots->n; i++)
        if (!clock_covers(&s->view.clock, &dots->dots[i]))
            return false; /* nothing has been learnt that could say whether it lives */
    return true;
}

static bool same_token(const struct blob *a, const struct blob *b)
{
    return a == b || slice_equal(slice_of(a->data, a->len), slice_of(b->data, b->len));
}

/* All that the token names: then its whole clock. It says the same, but binds the coordinator also
 * while it has not found those versions. */
static bool choose(struct slice token, const struct cover *group, struct buf *out)
{
    struct dot *dots;
    uint32_t n;
    if (token_dots(token, &dots, &n) != DYN_OK)
        return false;
    free(dots);
    if (n == group->n) {
        context_all(token, out);
        return true;
    }
    return context_dots(token, group->dots, group->n, out) == DYN_OK;
}

void seen_contexts(const struct seen *s, const struct cover *dots, struct contexts *out)
{
    size_t ends[CONTEXTS_MAX];
    *out = (struct contexts){.bytes = BUF_EMPTY};
    for (uint32_t i = 0; i < s->n && out->n < CONTEXTS_MAX; i++) {
        const struct known *k = &s->known[i];
        bool first = k->token != NULL && wanted(k, dots);
        for (uint32_t j = 0; first && j < i; j++)
            if (s->known[j].token != NULL && wanted(&s->known[j], dots) &&
                same_token(s->known[j].token, k->token))
                first = false;
        if (!first)
            continue;
        struct cover group = COVER_EMPTY;
        for (uint32_t j = i; j < s->n; j++)
            if (s->known[j].token != NULL && wanted(&s->known[j], dots) &&
                same_token(s->known[j].token, k->token))
                cover_add_dot(&group, &s->known[j].dot);
        if (choose(slice_of(k->token->data, k->token->len), &group, &out->bytes))
            ends[out->n++] = out->bytes.len;
        cover_release(&group);
    }
    for (uint32_t i = 0; i < out->n; i++) {
        size_t from = i == 0 ? 0 : ends[i - 1];
        out->list[i] = slice_of(out->bytes.data + from, ends[i] - from);
    }
}

void contexts_release(struct contexts *c)
{
    buf_release(&c->bytes);
}

void seen_drop_tokens(struct seen *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        blob_unref(s->known[i].token);
        s->known[i].token = NULL;
    }
}

static bool same_stream(const struct origin *a, const struct origin *b)
{
    return a->writer != 0 && a->writer == b->writer && a->stream == b->stream;
}

/* May the name's stream go on, though what it had is no more named than by these dots? */
static bool line_goes_on(const struct seen *s, const struct cover *dots)
{
    for (uint32_t i = 0; i < s->view.n; i++) {
        const struct sibling *v = &s->view.siblings[i];
        if (sibling_live(v) && same_stream(&v->origin, &s->line) && !cover_has(dots, &v->dot))
            return false;
    }
    return s->line.writer != 0;
}

void seen_next_origin(struct seen *s, const struct cover *cover, struct origin *out)
{
    if (line_goes_on(s, cover))
        s->line.seq++;
    else
        s->line = (struct origin){s->fs->cfg.mount_id, s->fs->next_stream++, 1};
    *out = s->put = s->line;
}

void seen_drop_origin(struct seen *s, const struct cover *dots, struct origin *out)
{
    for (uint32_t i = 0; i < s->view.n; i++) {
        const struct origin *wrote = &s->view.siblings[i].origin;
        bool own = wrote->writer == s->fs->cfg.mount_id || same_stream(wrote, &s->put);
        if (wrote->writer == 0 || !own || !cover_has(dots, &s->view.siblings[i].dot))
            continue;
        *out = *wrote;
        if (same_stream(wrote, &s->put) && s->put.seq > wrote->seq)
            out->seq = s->put.seq; /* of a change that may have happened */
        if (same_stream(wrote, &s->line) && s->line.seq > out->seq)
            out->seq = s->line.seq;
        out->seq++;
        if (same_stream(wrote, &s->line))
            s->line.seq = out->seq;
        return;
    }
    if (line_goes_on(s, dots))
        seen_next_origin(s, dots, out);
    else
        *out = (struct origin){s->fs->cfg.mount_id, s->fs->next_stream++, 1};
}

void seen_lock(struct seen *s, struct lock_wait *w, void (*granted)(struct lock_wait *w), void *arg)
{
    *w = (struct lock_wait){.seen = seen_ref(s), .granted = granted, .arg = arg};
    list_init(&w->link);
    if (s->locked) {
        list_append(&s->waiting, &w->link);
        return;
    }
    s->locked = true;
    w->held = true;
    granted(w);
}

void seen_unlock(struct lock_wait *w)
{
    struct seen *s = w->seen;
    if (s == NULL)
        return;
    w->seen = NULL;
    list_remove(&w->link);
    if (w->held) {
        w->held = false;
        struct list *next = list_first(&s->waiting);
        s->locked = next != NULL && !s->fs->closing;
        if (s->locked) {
            struct lock_wait *n = container_of(next, struct lock_wait, link);
            list_remove(&n->link);
            n->held = true;
            n->granted(n);
        }
    }
    seen_unref(s);
}
