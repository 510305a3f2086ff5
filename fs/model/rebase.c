/* SPDX-License-Identifier: Apache-2.0 */
/* See rebase.h. */
#include "model/rebase.h"

#include <assert.h>
#include <errno.h>

#include "base/err.h"
#include "model/content.h"
#include "model/large.h"
#include "model/manifest.h"
#include "model/projection.h"
#include "model/staging.h"

static void go_on(struct rebase *r);

static void end(struct rebase *r, int err)
{
    r->t->rebase = NULL;
    r->done(r->t, err);
}

/* ---- what was appended ------------------------------------------------------------------- */

static uint64_t appended(const struct inode *i)
{
    return inode_size(i) - i->appended_from;
}

/* More is put as the conflict that it is: it would have to come back, and all be here at once. */
static uint64_t most(const struct fs *fs)
{
    uint64_t half = fs->cfg.staging_max / 2;
    return half < fs->cfg.cache_max / 2 ? half : fs->cfg.cache_max / 2;
}

/* false: some of it was sent already, and is on its way back. */
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
        uint32_t there = len > inside ? len - inside : 0;
        if (there > n)
            there = (uint32_t)n;
        if (there != 0)
            buf_put(out, bytes->data + inside, there);
        memset(out->data + out->len, 0, (size_t)n - there);
        out->len += (size_t)n - there;
        at += n;
    }
    return true;
}

/* ---- where it goes ----------------------------------------------------------------------- */

/* The chunk in which a large version ends is written on. false: it is on its way. */
static bool tail_is_here(struct rebase *r)
{
    struct manifest m = MANIFEST_EMPTY;
    bool here = true;
    if (manifest_decode(slice_of(r->value->data, r->value->len), &m) != DYN_OK)
        return true; /* then there is no large content either */
    const struct chunk *c =
        m.size % CHUNK_LEN == 0 ? NULL : manifest_find(&m, (uint32_t)(m.size / CHUNK_LEN));
    if (c != NULL && chunk_cache_find(r->t->fs, &m.uploads[c->upload], c) == NULL) {
        chunk_cache_load(r->t->fs, &m.uploads[c->upload], c, &r->load);
        here = false;
    }
    manifest_release(&m);
    return here;
}

static int append(struct inode *i, struct slice data)
{
    uint64_t at = inode_size(i);
    if (at > i->fs->cfg.value_max || data.len > i->fs->cfg.value_max - at)
        return EFBIG;
    if (!content_large_at(i, at + data.len))
        return content_write(i, at, data);
    int err = content_enlarge(i);
    for (size_t done = 0, n; done < data.len && err == 0; done += n) {
        n = CHUNK_LEN - (size_t)((at + done) % CHUNK_LEN);
        n = n < data.len - done ? n : data.len - done;
        bool written = large_write(i->large, at + done, slice_of(data.data + done, n));
        assert(written); /* tail_is_here() */
        (void)written;
    }
    content_changed(i);
    return err;
}

/* The version under this inode, and after it what was appended: in one go, so that nobody sees it
 * without. */
static int switch_over(struct rebase *r, const struct version *v, struct slice data)
{
    struct inode *i = r->inode;
    struct fs *fs = i->fs;
    struct attrs mine = i->s.attrs; /* its times; the rest is the other version's */
    content_release(i);
    inode_adopt(i, v);
    if (r->value != NULL)
        content_load(i, r->value);
    if (!content_here(i))
        return EIO; /* it says that it is large, and is not */
    i->appended_from = inode_size(i);
    int err = append(i, data);
    i->s.attrs.mtime_ns = mine.mtime_ns;
    i->s.attrs.ctime_ns = mine.ctime_ns;
    i->gen++;
    staging_changed(i->staging);
    fs->counters.rebased++;
    if (fs->host.inval_attrs != NULL)
        fs->host.inval_attrs(fs->host.ctx, i->id);
    return err;
}

/* What it can be appended to: a file of the same name that took the place of ours. */
static const struct version *base_of(const struct inode *i, const struct versions *v)
{
    bool replaced = v->n != 0 && v->v[0].s.type == SIBLING_FILE &&
                    versions_by_dots(v, &i->dots) == NULL &&
                    !dot_equal(&v->v[0].s.value_dot, &i->s.value_dot);
    return replaced && v->v[0].s.size + appended(i) <= i->fs->cfg.value_max ? &v->v[0] : NULL;
}

static void go_on(struct rebase *r)
{
    struct inode *i = r->inode;
    struct buf data = BUF_EMPTY;
    struct versions v;
    if (i->unlinked || !i->appended_only) {
        end(r, 0);
        return;
    }
    versions_of(i->seen, &v);
    const struct version *base = base_of(i, &v);
    int err = 0;
    bool wait = false;
    if (base != NULL && dot_equal(&base->s.value_dot, &r->value_dot)) {
        wait = (base->s.manifest_len != 0 && !tail_is_here(r)) || !gather(r, &data);
        if (!wait)
            err = switch_over(r, base, buf_slice(&data));
    } /* else it was replaced again: published as it is, it is a conflict, and nothing is lost */
    versions_release(&v);
    buf_release(&data);
    if (!wait)
        end(r, err);
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
    if (!i->appended_only || i->number != 0 || i->dots.n == 0 || appended(i) > most(i->fs) ||
        object_find_origin(answer, &(struct origin){i->writer, i->stream, i->seq}) != NULL)
        return false;
    versions_of(i->seen, &v);
    const struct version *base = base_of(i, &v);
    if (base != NULL) {
        *r = (struct rebase){.t = t, .inode = i, .value_dot = base->s.value_dot, .done = done};
        r->load = (struct chunk_wait){.done = on_load, .arg = r};
        list_init(&r->load.link);
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
    blob_unref(r->value);
    r->value = NULL;
}
