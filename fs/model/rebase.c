/* SPDX-License-Identifier: Apache-2.0 */
/* See rebase.h. */
#include "model/rebase.h"

#include <errno.h>

#include "base/err.h"
#include "model/content.h"
#include "model/large.h"
#include "model/manifest.h"
#include "model/projection.h"
#include "model/staging.h"

static void go_on(struct rebase *r);

/* Writers that have waited go on, with whatever the content is by now. */
static void let_go(struct rebase *r)
{
    if (r->inode->large != NULL)
        large_hold(r->inode->large, false);
    large_free(r->next);
    r->next = NULL;
}

static void end(struct rebase *r, int err)
{
    let_go(r);
    r->t->rebase = NULL;
    r->done(r->t, err);
}

/* ---- what was appended ------------------------------------------------------------------- */

static uint64_t appended(const struct inode *i)
{
    return inode_size(i) - i->appended_from;
}

/* n bytes from `at` on of a chunk that has len, zeros after them. */
static void put_there(struct buf *out, const struct blob *bytes, uint32_t len, uint32_t at,
                      uint32_t n)
{
    uint32_t there = len > at ? len - at : 0;
    there = there < n ? there : n;
    buf_reserve(out, n);
    if (there != 0)
        buf_put(out, bytes->data + at, there);
    memset(out->data + out->len, 0, n - there);
    out->len += n - there;
}

/* All of it, for content that stays small. false: some of it was sent already, and is on its way
 * back. */
static bool gather(struct rebase *r, struct buf *out)
{
    struct inode *i = r->inode;
    if (i->large == NULL) {
        struct slice all = content_bytes(i);
        buf_put(out, all.data + i->appended_from, all.len - (size_t)i->appended_from);
        return true;
    }
    uint64_t size = large_size(i->large);
    buf_reserve(out, (size_t)(size - i->appended_from));
    for (uint64_t at = i->appended_from; at < size;) {
        uint32_t inside = (uint32_t)(at % CHUNK_LEN), len = 0;
        uint64_t n = size - at < CHUNK_LEN - inside ? size - at : CHUNK_LEN - inside;
        struct blob *bytes = NULL;
        if (large_look(i->large, (uint32_t)(at / CHUNK_LEN), &bytes, &len) == LARGE_AWAY) {
            large_load(i->large, (uint32_t)(at / CHUNK_LEN), &r->load);
            return false;
        }
        put_there(out, bytes, len, inside, (uint32_t)n);
        at += n;
    }
    return true;
}

/* ---- where it goes ----------------------------------------------------------------------- */

/* The version under this inode. */
static void adopt(struct rebase *r, const struct version *v)
{
    struct inode *i = r->inode;
    struct attrs mine = i->s.attrs; /* its times; the rest is the other version's */
    content_release(i);
    inode_adopt(i, v);
    i->s.attrs.mtime_ns = mine.mtime_ns;
    i->s.attrs.ctime_ns = mine.ctime_ns;
}

static void adopted(struct rebase *r, uint64_t from)
{
    struct inode *i = r->inode;
    struct fs *fs = i->fs;
    i->appended_from = from;
    i->gen++;
    staging_changed(i->staging);
    fs->counters.rebased++;
    if (fs->host.inval_attrs != NULL)
        fs->host.inval_attrs(fs->host.ctx, i->id);
}

/* Small, and it stays so: all of it in one go. */
static int switch_over(struct rebase *r, const struct version *v, struct slice data)
{
    struct inode *i = r->inode;
    adopt(r, v);
    if (r->value != NULL)
        content_load(i, r->value);
    uint64_t from = inode_size(i);
    int err = content_here(i) ? content_write(i, from, data) : EIO;
    if (err == 0)
        adopted(r, from);
    return err;
}

/* Large content over the version, as it is. NULL: it says that it is large, and is not. */
static struct large *over(struct rebase *r, const struct version *v)
{
    struct large *l = large_new(r->inode);
    struct slice value =
        r->value == NULL ? slice_of("", 0) : slice_of(r->value->data, r->value->len);
    if (v->s.manifest_len != 0 && large_take(l, value) != DYN_OK) {
        large_free(l);
        return NULL;
    }
    for (size_t at = 0, n; v->s.manifest_len == 0 && at < value.len; at += n) {
        n = value.len - at < CHUNK_LEN ? value.len - at : CHUNK_LEN;
        large_write(l, at, slice_of(value.data + at, n));
    }
    return l;
}

/* What was appended, from `at` on, n bytes of one chunk, after those that it has already been put
 * after. false: it waits for bytes. */
static bool put_piece(struct rebase *r, uint64_t at, uint32_t n)
{
    struct inode *i = r->inode;
    uint64_t to = r->from + (at - i->appended_from);
    uint32_t inside = (uint32_t)(at % CHUNK_LEN), len = 0;
    struct blob *bytes = NULL;
    struct buf out = BUF_EMPTY;
    if (i->large == NULL) {
        buf_put(&out, content_bytes(i).data + at, n);
    } else {
        if (large_look(i->large, (uint32_t)(at / CHUNK_LEN), &bytes, &len) == LARGE_AWAY) {
            large_load(i->large, (uint32_t)(at / CHUNK_LEN), &r->load);
            return false;
        }
        put_there(&out, bytes, len, inside, n);
    }
    bool written = large_write(r->next, to, buf_slice(&out));
    buf_release(&out);
    if (!written)
        large_load(r->next, (uint32_t)(to / CHUNK_LEN), &r->load);
    return written;
}

/* A piece at a time, as chunks leave: no more is held than of any file that is written. Who appends
 * meanwhile waits. false: it waits, and go_on comes again. */
static bool stage_anew(struct rebase *r)
{
    struct inode *i = r->inode;
    if (i->large != NULL)
        large_hold(i->large, true);
    if (r->at < i->appended_from)
        r->at = i->appended_from;
    for (uint64_t n; r->at < inode_size(i); r->at += n) {
        uint64_t in_old = CHUNK_LEN - r->at % CHUNK_LEN;
        uint64_t in_new = CHUNK_LEN - (r->from + (r->at - i->appended_from)) % CHUNK_LEN;
        n = inode_size(i) - r->at;
        n = n < in_old ? n : in_old;
        n = n < in_new ? n : in_new;
        if (large_must_wait(r->next, CHUNK_LEN)) {
            large_wait_room(r->next, &r->room);
            return false;
        }
        if (!put_piece(r, r->at, (uint32_t)n))
            return false;
    }
    return true;
}

/* In one go, so that nobody sees the version without what was appended. */
static void switch_to_next(struct rebase *r, const struct version *v)
{
    struct inode *i = r->inode;
    if (i->large != NULL)
        large_hold(i->large, false);
    adopt(r, v);
    i->large = r->next;
    r->next = NULL;
    content_changed(i);
    adopted(r, r->from);
}

/* What it can be appended to: a file of the same name that took the place of ours. */
static const struct version *base_of(const struct inode *i, const struct versions *v)
{
    bool replaced = v->n != 0 && v->v[0].s.type == SIBLING_FILE &&
                    versions_by_dots(v, &i->dots) == NULL &&
                    !dot_equal(&v->v[0].s.value_dot, &i->s.value_dot);
    return replaced && v->v[0].s.size + appended(i) <= i->fs->cfg.value_max ? &v->v[0] : NULL;
}

static bool becomes_large(const struct inode *i, const struct version *base)
{
    return base->s.manifest_len != 0 || base->s.size + appended(i) > i->fs->cfg.inline_max;
}

/* false: it waits. */
static bool place(struct rebase *r, const struct version *base, int *err)
{
    struct inode *i = r->inode;
    struct buf data = BUF_EMPTY;
    *err = 0;
    if (r->next == NULL && !becomes_large(i, base)) {
        bool here = gather(r, &data);
        if (here)
            *err = switch_over(r, base, buf_slice(&data));
        buf_release(&data);
        return here;
    }
    if (r->next == NULL)
        r->next = over(r, base);
    if (r->next == NULL) {
        *err = EIO;
        return true;
    }
    if (r->at == 0)
        r->from = large_size(r->next);
    if (!stage_anew(r))
        return false;
    switch_to_next(r, base);
    return true;
}

static void go_on(struct rebase *r)
{
    struct inode *i = r->inode;
    struct versions v;
    if (i->unlinked || !i->appended_only) {
        end(r, 0);
        return;
    }
    versions_of(i->seen, &v);
    const struct version *base = base_of(i, &v);
    int err = 0;
    bool done = true;
    if (base != NULL && dot_equal(&base->s.value_dot, &r->value_dot))
        done = place(r, base, &err);
    /* else it was replaced again: publication looks for what is there now */
    versions_release(&v);
    if (done)
        end(r, err);
}

static void on_room(struct large_wait *w, int err)
{
    struct rebase *r = w->arg;
    if (err != DYN_OK)
        end(r, fs_errno(err));
    else
        go_on(r);
}

static void on_load(struct chunk_wait *w, int err)
{
    struct rebase *r = w->arg;
    if (err != DYN_OK)
        end(r, err == DYN_ERR_NOT_FOUND ? EIO : fs_errno(err));
    else
        go_on(r);
}

static void on_version(struct task *t, const struct get_reply *p)
{
    struct rebase *r = t->rebase;
    struct inode *i = r->inode;
    if (p->status != DYN_OK) {
        end(r, p->status == DYN_ERR_STALE ? EIO : fs_errno(p->status));
        return;
    }
    seen_got(i->seen, p);
    const struct sibling *s = object_find_value(&p->object, &r->value_dot);
    if (s == NULL || (s->value == NULL && s->size != 0)) {
        end(r, 0);
        return;
    }
    r->value = blob_ref(s->value);
    go_on(r);
}

bool rebase_start(struct rebase *r, struct task *t, struct inode *i, const struct object *answer,
                  void (*done)(struct task *t, int err))
{
    struct versions v;
    if (!i->appended_only || i->number != 0 || i->dots.n == 0 ||
        object_find_origin(answer, &(struct origin){i->writer, i->stream, i->seq}) != NULL)
        return false;
    versions_of(i->seen, &v);
    const struct version *base = base_of(i, &v);
    if (base != NULL) {
        *r = (struct rebase){.t = t, .inode = i, .value_dot = base->s.value_dot, .done = done};
        r->load = (struct chunk_wait){.done = on_load, .arg = r};
        r->room = (struct large_wait){.done = on_room, .arg = r};
        list_init(&r->load.link);
        list_init(&r->room.link);
        t->rebase = r;
        task_get(t, seen_key(i->seen), GET_DOT, &r->value_dot, on_version);
    }
    versions_release(&v);
    return base != NULL;
}

void rebase_release(struct rebase *r)
{
    if (r->t == NULL)
        return;
    list_remove(&r->load.link);
    list_remove(&r->room.link);
    large_free(r->next);
    r->next = NULL;
    blob_unref(r->value);
    r->value = NULL;
}
