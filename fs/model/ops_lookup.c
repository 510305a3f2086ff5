/* SPDX-License-Identifier: Apache-2.0 */
/* lookup and getattr: what a name is, and what an inode is now. A lookup reads the key, or its
 * directory's listing when one of the last second is at hand: the third lookup in a directory
 * within a second fetches the listing from there on (F29), so a walk over many files costs few
 * requests. A conflict name that this mount has not given yet is found by giving numbers to the
 * versions of its base.
 *
 *   NAME -> answer
 *        -> (absent, looks like a projection) BASE -> NUMBERS -> answer
 *   a projection of this mount: STORED (is something really called so?) -> answer
 *                                                                       -> NAME (of the base)
 */
#include <errno.h>

#include "base/err.h"
#include "model/control.h"
#include "model/move.h"
#include "model/numbering.h"
#include "model/owed.h"
#include "model/place.h"
#include "model/told.h"

#define BURST_US 1000000u
#define BURST_PAGE 1000u
#define NUMBER_PAGE 256u

struct lookup {
    struct task t;
    struct place at;
    struct buf name; /* as asked for */
    struct seen *base;
    struct numbering numbering;
};

static void release(struct task *t)
{
    struct lookup *l = container_of(t, struct lookup, t);
    place_release(&l->at);
    numbering_release(&l->numbering);
    seen_unref(l->base);
    buf_release(&l->name);
}

/* What is remembered has used up part of the time that the kernel may keep it. */
static void answer(struct fs_op *op, struct inode *i)
{
    if (op == NULL)
        return;
    inode_entry(i, &op->entry);
    inode_count_lookup(i);
    uint64_t age = inode_busy(i) || told_of(i->seen) ? 0 : fs_now_us(i->fs) - i->learnt_us;
    op->entry.entry_us -= age < op->entry.entry_us ? age : op->entry.entry_us;
    op->entry.attr_us -= age < op->entry.attr_us ? age : op->entry.attr_us;
}

/* Ends the lookup if the version is there. */
static bool show(struct lookup *l, struct seen *s, uint32_t number)
{
    struct inode *i = inode_of(s, number);
    struct versions v = {NULL, 0};
    const struct version *at = NULL;
    if (i == NULL || !inode_busy(i)) {
        versions_of(s, &v);
        at = versions_by_number(&v, number);
        i = at == NULL ? NULL : inode_show(l->t.fs, s, at, number);
    }
    versions_release(&v);
    if (i == NULL)
        return false;
    move_resume(i);
    answer(l->t.op, i);
    task_end(&l->t, 0);
    return true;
}

static void number(struct seen *s)
{
    struct versions v;
    versions_of(s, &v);
    projection_number(s, &v);
    versions_release(&v);
}

static void lookup_key(const struct lookup *l, struct slice name, struct buf *out)
{
    buf_clear(out);
    key_join(seen_key(l->at.dir->seen), name, out);
}

/* Ends the lookup if the name is a projection by now. */
static bool show_alias(struct lookup *l)
{
    struct buf key = BUF_EMPTY;
    lookup_key(l, buf_slice(&l->name), &key);
    struct alias *a = projection_find(l->t.fs, buf_slice(&key));
    buf_release(&key);
    return a != NULL && show(l, a->seen, a->number);
}

/* Longer names, cut to this one (F20). */
static void on_longer(struct task *t, const struct list_reply *p)
{
    struct lookup *l = container_of(t, struct lookup, t);
    struct buf key = BUF_EMPTY;
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    for (int numbered = 0; numbered < 2; numbered++) {
        for (uint32_t i = 0; i < p->n; i++) {
            if (!slice_has_prefix(p->entries[i].name, seen_name(l->base)))
                break;
            lookup_key(l, p->entries[i].name, &key);
            struct seen *s = seen_get(t->fs, buf_slice(&key));
            if (numbered == 0)
                seen_listed(s, &p->entries[i].object);
            else
                number(s);
            seen_unref(s);
        }
    }
    buf_release(&key);
    if (!show_alias(l))
        task_end(t, ENOENT);
}

static void on_numbered(struct task *t, int err)
{
    struct lookup *l = container_of(t, struct lookup, t);
    bool cut = l->name.len + 4 > KEY_NAME_MAX;
    if (err != 0) {
        task_end(t, err);
        return;
    }
    number(l->base);
    if (show_alias(l))
        return;
    if (cut)
        task_list(t, seen_key(l->at.dir->seen), seen_name(l->base), NUMBER_PAGE, on_longer);
    else
        task_end(t, ENOENT);
}

static void on_base(struct task *t, const struct get_reply *p)
{
    struct lookup *l = container_of(t, struct lookup, t);
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    seen_got(l->base, p);
    struct versions v;
    versions_of(l->base, &v);
    bool unnumbered = projection_unnumbered(&v);
    versions_release(&v);
    if (unnumbered)
        numbering_start(&l->numbering, t, l->base, on_numbered);
    else
        on_numbered(t, 0);
}

/* For F29. */
static void count_found(struct fs *fs, struct inode *dir)
{
    uint64_t now = fs_now_us(fs);
    if (dir->burst == 0 || now - dir->burst_us > BURST_US) {
        dir->burst_us = now;
        dir->burst = 0;
    }
    dir->burst++;
}

/* What is here and not in the cluster yet needs no answer of that. */
static bool unpublished(struct lookup *l)
{
    struct inode *i = inode_of(l->at.seen, l->at.number);
    if (i == NULL || !inode_busy(i) || l->t.op == NULL)
        return false;
    answer(l->t.op, i);
    task_end(&l->t, 0);
    return true;
}

static void on_name(struct task *t, const struct get_reply *p)
{
    struct lookup *l = container_of(t, struct lookup, t);
    struct slice base;
    uint32_t number;
    if (p->status != DYN_OK) { /* it may have been resumed meanwhile (resume.h) */
        if (!unpublished(l))
            task_end(t, fs_errno(p->status));
        return;
    }
    seen_got(l->at.seen, p);
    l->at.seen->got_by = t->op == NULL ? 0 : t->op->caller.pid;
    struct inode *dir = l->at.dir;
    inode_hold(dir);
    bool found = show(l, l->at.seen, l->at.number);
    if (found)
        count_found(dir->fs, dir);
    inode_drop(dir);
    if (found)
        return;
    struct inode *gone = inode_of(l->at.seen, l->at.number);
    if (gone != NULL && gone->n_open == 0)
        inode_unname(gone);
    if (l->at.number != 0 || !projection_parse(buf_slice(&l->name), &base, &number)) {
        task_end(t, ENOENT);
        return;
    }
    struct buf key = BUF_EMPTY;
    key_join(seen_key(l->at.dir->seen), base, &key);
    l->base = seen_get(t->fs, buf_slice(&key));
    buf_release(&key);
    task_get(t, seen_key(l->base), GET_META, NULL, on_base);
}

static bool fresh(const struct fs *fs, const struct seen *s)
{
    return s->learnt_us != 0 && fs_now_us(fs) - s->learnt_us < told_time(s, fs->cfg.entry_us);
}

static void on_page(struct task *t, const struct list_reply *p)
{
    struct lookup *l = container_of(t, struct lookup, t);
    struct buf key = BUF_EMPTY;
    for (uint32_t i = 0; p->status == DYN_OK && i < p->n; i++) {
        buf_clear(&key);
        key_join(seen_key(l->at.dir->seen), p->entries[i].name, &key);
        struct seen *s = seen_get(t->fs, buf_slice(&key));
        seen_listed(s, &p->entries[i].object);
        seen_unref(s);
    }
    buf_release(&key);
    l->at.dir->page_n = p->status == DYN_OK ? p->n : 0;
    if (fresh(t->fs, l->at.seen) && show(l, l->at.seen, l->at.number))
        return;
    task_get(t, seen_key(l->at.seen), GET_META, NULL, on_name);
}

/* Is this the third in a second that finds something? One page a second, more only while an eighth
 * of the last one has answered lookups: a walk in another order than by name must not fetch one for
 * every third. (F29) */
static bool in_burst(struct fs *fs, struct inode *dir)
{
    uint64_t now = fs_now_us(fs);
    bool useful = now - dir->page_us > BURST_US || dir->page_hits * 8 > dir->page_n;
    if (now - dir->burst_us > BURST_US || dir->burst < 2 || !useful)
        return false;
    dir->burst = 0;
    dir->page_us = now;
    dir->page_hits = 0;
    return true;
}

/* An inode whose attributes were learnt within the second answers without a request. */
static bool from_memory(struct lookup *l)
{
    struct fs *fs = l->t.fs;
    if (unpublished(l))
        return true;
    struct inode *dir = l->at.dir;
    bool told = told_of(l->at.seen);
    if (l->t.op == NULL || !(told || fresh(fs, l->at.seen)))
        return false;
    inode_hold(dir);
    bool found = show(l, l->at.seen, l->at.number);
    if (found) {
        fs->counters.names_from_memory++;
        fs->counters.told_answers += told;
        dir->page_hits++;
    }
    inode_drop(dir);
    return found;
}

/* A projection's name: has a key been stored meanwhile that is really called so? It has the name
 * then, and the projection the next number. */
static void on_stored(struct task *t, const struct get_reply *p)
{
    struct lookup *l = container_of(t, struct lookup, t);
    struct buf key = BUF_EMPTY;
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    lookup_key(l, buf_slice(&l->name), &key);
    struct seen *s = seen_get(t->fs, buf_slice(&key));
    buf_release(&key);
    seen_got(s, p);
    if (owed_leaves_live(s)) {
        seen_unref(l->at.seen);
        l->at.seen = seen_ref(s);
        l->at.number = 0;
        show(l, s, 0);
    } else {
        task_get(t, seen_key(l->at.seen), GET_META, NULL, on_name);
    }
    seen_unref(s);
}

void fs_lookup(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name)
{
    struct place at;
    if (control_lookup(fs, op, parent, name))
        return;
    int err = place_resolve(fs, parent, name, &at);
    if (err != 0) {
        op_end(fs, op, err == EINVAL ? ENOENT : err);
        return;
    }
    struct lookup *l = task_new(fs, op, sizeof(*l), release);
    l->t.abandonable = true;
    l->at = at;
    buf_put_slice(&l->name, name);
    told_touch(at.dir->seen);
    if (from_memory(l))
        return;
    if (at.number == 0 && in_burst(fs, at.dir)) {
        /* From just before this name on: a name's prefix sorts before it. */
        task_list(&l->t, seen_key(at.dir->seen), slice_of(name.data, name.len - 1), BURST_PAGE,
                  on_page);
        return;
    }
    if (at.number != 0) {
        struct buf key = BUF_EMPTY;
        lookup_key(l, name, &key);
        task_get(&l->t, buf_slice(&key), GET_META, NULL, on_stored);
        buf_release(&key);
        return;
    }
    task_get(&l->t, seen_key(at.seen), GET_META, NULL, on_name);
}

void fs_forget(struct fs *fs, uint64_t node, uint64_t nlookup)
{
    struct inode *i = inode_find(fs, node);
    if (i != NULL && node != FS_ROOT)
        inode_forget(i, nlookup);
}

struct getattr {
    struct task t;
    struct inode *inode; /* held */
};

static void release_getattr(struct task *t)
{
    inode_drop(container_of(t, struct getattr, t)->inode);
}

static void end_getattr(struct getattr *g)
{
    if (g->t.op != NULL) {
        inode_entry(g->inode, &g->t.op->entry);
        g->inode->kernel_dot = g->inode->s.dot;
    }
    task_end(&g->t, 0);
}

static void settle_attr(struct getattr *g);

static void on_attr(struct task *t, const struct get_reply *p)
{
    struct getattr *g = container_of(t, struct getattr, t);
    struct inode *i = g->inode;
    if (task_got_other(t, i->seen)) {
        task_get(t, seen_key(i->seen), GET_META, NULL, on_attr);
        return;
    }
    if (p->status != DYN_OK && i->s.type == SIBLING_DIR && t->op != NULL &&
        (i->learnt_us != 0 || i->id == FS_ROOT)) {
        /* What is below it may be in reach, or only here and unpublished (F8): a directory's old
         * attributes let programs go on to it, and the root is the way to .dynamount/pending. */
        end_getattr(g);
        return;
    }
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    seen_got(i->seen, p);
    settle_attr(g);
}

/* What the inode is now, as far as is known of its key. */
static void settle_attr(struct getattr *g)
{
    struct task *t = &g->t;
    struct inode *i = g->inode;
    if (inode_busy(i) || i->n_open != 0 || i->unlinked || list_empty(&i->in_seen)) {
        end_getattr(g);
        return;
    }
    struct versions v;
    versions_of(i->seen, &v);
    const struct version *at = versions_by_number(&v, i->number);
    bool gone = at == NULL && i->id != FS_ROOT;
    if (gone || (at != NULL && at->s.type != i->s.type)) {
        inode_unname(i);
        gone = true;
    } else if (at != NULL) {
        move_resume(inode_show(t->fs, i->seen, at, i->number));
    } else {
        i->learnt_us = i->seen->learnt_us;
        i->behind = false;
    }
    versions_release(&v);
    if (gone)
        task_end(t, ESTALE);
    else
        end_getattr(g);
}

void fs_getattr(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh)
{
    (void)fh;
    if (control_getattr(fs, op, node))
        return;
    struct inode *i = inode_find(fs, node);
    if (i == NULL) {
        op_end(fs, op, ESTALE);
        return;
    }
    /* The root of all has no attributes in the cluster, and is the way to .dynamount/status, which
     * says that the cluster cannot be reached. */
    bool unreached = i->id == FS_ROOT && seen_key(i->seen).len == 0 && fs->host.replicas != NULL &&
                     fs->host.replicas(fs->host.ctx) == 0;
    uint64_t age = fs_now_us(fs) - i->learnt_us;
    bool local = inode_busy(i) || i->n_open != 0 || i->unlinked || list_empty(&i->in_seen) ||
                 (i->learnt_us != 0 && age < told_time(i->seen, fs->cfg.attr_us) && !i->behind);
    bool told = i->learnt_us != 0 && told_of(i->seen);
    if (i->s.type == SIBLING_DIR)
        told_touch(i->seen);
    struct getattr *g = task_new(fs, op, sizeof(*g), release_getattr);
    g->t.abandonable = true;
    g->inode = inode_hold(i);
    if (unreached || (local && (i->s.type != SIBLING_DIR || i->learnt_us != 0 || i->unlinked)))
        end_getattr(g);
    else if (told || (i->behind && i->learnt_us != 0 && fresh(fs, i->seen))) {
        fs->counters.told_answers++;
        settle_attr(g);
    } else
        task_get(&g->t, seen_key(i->seen), GET_META, NULL, on_attr);
}
