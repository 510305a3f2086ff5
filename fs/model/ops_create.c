/* SPDX-License-Identifier: Apache-2.0 */
/* create: opens what is there, else makes a file that this mount sees at once and the cluster at
 * flush, so that `echo x > k` is one put. Nothing is lost by waiting: until the flush nobody was
 * told that anything is stored, and a name that was created and not closed for dirty_us is
 * published empty (F12). O_EXCL cannot wait: exclusivity is what it asks the cluster for (F14).
 *
 *   plain:  READ the key again -> exists: as open; else a local inode
 *   O_EXCL: LOCK -> PUT if absent, strict -> READ strict -> alone: handle
 *                                                        -> another lives: WITHDRAW, EEXIST
 *                                                        -> no answer: WITHDRAW, that error
 *                  -> no answer that tells whether it is made: UNSEEN, that error
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/err.h"
#include "model/content.h"
#include "model/open.h"
#include "model/owed.h"
#include "model/place.h"
#include "model/publish.h"
#include "model/unseen.h"
#include "model/xattr_names.h"

#define REUSE_US 1000u /* the lookup of the same open(2) has just read the key */

struct creating {
    struct task t;
    struct place at;
    struct owed_wait owed;
    struct lock_wait lock;
    struct fs_caller caller;
    uint32_t mode;
    int flags;
    struct origin origin; /* O_EXCL: of the put */
    struct cover own;     /* O_EXCL: the version that was put */
    int lost;             /* O_EXCL: with what it ends when that is withdrawn */
    struct staging_wait kept;
};

static void release(struct task *t)
{
    struct creating *c = container_of(t, struct creating, t);
    owed_wait_cancel(&c->owed);
    staging_wait_cancel(&c->kept);
    seen_unlock(&c->lock);
    cover_release(&c->own);
    place_release(&c->at);
}

static void end_create(struct creating *c, struct inode *i, int flags)
{
    struct fs_op *op = c->t.op;
    if (op != NULL) {
        open_handle(i, op, flags);
        inode_entry(i, &op->entry);
        inode_count_lookup(i);
    }
    task_end(&c->t, 0);
}

static struct inode *make(struct creating *c)
{
    struct fs *fs = c->t.fs;
    struct inode *old = inode_of(c->at.seen, 0);
    if (old != NULL)
        inode_unname(old); /* F10: a create under a name that was removed is a new inode */
    struct inode *i = inode_new(fs, c->at.seen, 0, SIBLING_FILE);
    place_new_attrs(&c->at, &c->caller, c->mode, false, &i->s.attrs);
    i->st_ino = i->s.attrs.ino;
    i->xattrs_known = true;
    content_truncate(i, 0);
    inode_touch_dir(fs, key_parent(seen_key(c->at.seen)));
    return i;
}

/* What is there is opened; 0 when that is done, -1 when nothing is there. */
static bool open_existing(struct creating *c, const struct get_reply *p)
{
    struct versions v;
    versions_of(c->at.seen, &v);
    const struct version *at = versions_by_number(&v, c->at.number);
    bool there = at != NULL;
    if (there && at->s.type != SIBLING_FILE) {
        versions_release(&v);
        task_end(&c->t, c->flags & O_EXCL ? EEXIST : at->s.type == SIBLING_DIR ? EISDIR : ELOOP);
        return true;
    }
    struct inode *i = there ? inode_show(c->t.fs, c->at.seen, at, c->at.number) : NULL;
    versions_release(&v);
    if (!there)
        return false;
    const struct sibling *s = p == NULL ? NULL : object_find_value(&p->object, &i->s.value_dot);
    if (s != NULL && s->value != NULL && !content_here(i))
        content_load(i, s->value);
    if (!(c->flags & O_TRUNC) && !content_here(i))
        task_end(&c->t, ESTALE); /* the kernel looks the name up again, and opens it */
    else
        end_create(c, i, c->flags);
    return true;
}

static void on_read(struct task *t, const struct get_reply *p)
{
    struct creating *c = container_of(t, struct creating, t);
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    seen_got(c->at.seen, p);
    if (t->op == NULL) {
        task_end(t, EINTR);
        return;
    }
    if (open_existing(c, p))
        return;
    if (c->at.number != 0) { /* a conflict name whose version has just gone */
        task_end(t, ESTALE);
        return;
    }
    struct inode *i = make(c);
    publish_mark(i, true);
    end_create(c, i, c->flags & ~O_TRUNC);
}

static bool just_read(struct creating *c)
{
    struct seen *s = c->at.seen;
    return s->got_us != 0 && s->got_by == c->caller.pid && s->got_by != 0 &&
           fs_now_us(c->t.fs) - s->got_us < REUSE_US && c->at.number == 0 &&
           object_newest(&s->view) == NULL && !s->implicit_dir;
}

static void withdrawn(struct owed_wait *w, int err)
{
    struct creating *c = w->arg;
    (void)err; /* what could not be dropped yet is owed, and holds up nobody here */
    task_end(&c->t, c->lost);
}

static void withdraw(struct creating *c, int err)
{
    c->lost = err;
    owed_add(c->at.seen, &c->own);
    seen_unlock(&c->lock);
    owed_pay(c->at.seen, &c->owed, withdrawn, c);
}

/* The name is this caller's. Somebody else on this mount may have it open already, by a plain
 * create that found nothing yet: the file is then one, and what he writes replaces the version that
 * was put here. */
static void won(struct creating *c)
{
    struct seen *s = c->at.seen;
    struct versions v;
    struct inode *i = inode_of(s, 0);
    versions_of(s, &v);
    const struct version *at = versions_by_dots(&v, &c->own);
    if (at != NULL && (i == NULL || !inode_busy(i))) {
        i = inode_show(c->t.fs, s, at, 0);
        struct blob *empty = blob_new(NULL, 0);
        if (!content_here(i))
            content_load(i, empty);
        blob_unref(empty);
    } else if (i != NULL) {
        cover_join_dots(&i->context, &c->own);
        seen_flag(s, &c->own, KNOWN_SHOWN);
    }
    versions_release(&v);
    inode_touch_dir(c->t.fs, key_parent(seen_key(s)));
    if (i != NULL)
        end_create(c, i, c->flags & ~O_TRUNC);
    else
        task_end(&c->t, EEXIST); /* put, seen and dropped by somebody within the call */
}

static void on_check(struct task *t, const struct get_reply *p)
{
    struct creating *c = container_of(t, struct creating, t);
    if (p->status != DYN_OK) { /* whether there is another is not known */
        withdraw(c, fs_errno(p->status));
        return;
    }
    seen_got(c->at.seen, p);
    bool alone = true;
    for (uint32_t i = 0; i < p->object.n; i++) {
        const struct sibling *s = &p->object.siblings[i];
        if (!sibling_live(s) || cover_has(&c->own, &s->dot))
            continue;
        if (s->origin.writer == c->origin.writer && s->origin.stream == c->origin.stream)
            cover_add_dot(&c->own, &s->dot); /* two coordinators have minted this put (F9) */
        else
            alone = false;
    }
    if (alone)
        won(c);
    else
        withdraw(c, EEXIST);
}

static void kept(void *arg)
{
    struct creating *c = arg;
    task_end(&c->t, c->lost);
}

/* May a node have made it all the same, or make it yet? */
static bool uncertain(int err)
{
    return err == ETIMEDOUT || err == ENOSPC || err == EIO || err == EINTR;
}

static void on_exclusive(struct task *t, const struct put_reply *p)
{
    struct creating *c = container_of(t, struct creating, t);
    if (p->status != DYN_OK) {
        c->lost = fs_errno(p->status);
        seen_unlock(&c->lock);
        if (uncertain(c->lost))
            unseen_add(c->at.seen, &c->origin, &c->kept, kept, c);
        else
            task_end(t, c->lost);
        return;
    }
    seen_put(c->at.seen, p);
    cover_add_dot(&c->own, &p->dot);
    task_get_strict(t, seen_key(c->at.seen), on_check);
}

static struct blob *unique_mark(struct fs *fs)
{
    uint64_t mark[2] = {fs->cfg.mount_id, fs->next_stream++};
    struct blob *list = NULL;
    int err = xattrs_set(NULL, slice_str(XATTR_EXCLUSIVE), slice_of(mark, sizeof(mark)), &list);
    assert(err == DYN_OK);
    (void)err;
    return list;
}

/* The inode is made when the name is won: until then nobody can open a file that may not be. */
static void put_exclusive(struct creating *c)
{
    struct contexts contexts;
    struct blob *mark = unique_mark(c->t.fs);
    struct cover nothing = COVER_EMPTY; /* but the deletes that are there */
    seen_contexts(c->at.seen, &nothing, &contexts);
    struct put_request q = {.key = seen_key(c->at.seen),
                            .flags = PUT_IF_ABSENT,
                            .type = SIBLING_FILE,
                            .value = slice_of("", 0),
                            .contexts = contexts.list,
                            .n_contexts = contexts.n};
    seen_next_origin(c->at.seen, &nothing, &q.origin);
    c->origin = q.origin;
    place_new_attrs(&c->at, &c->caller, c->mode, false, &q.attrs);
    q.opt.sloppy = SLOPPY_NO;
    q.opt.w = q.opt.r = fs_majority(c->t.fs);
    q.attrs.xattrs = mark;
    task_put(&c->t, &q, on_exclusive);
    blob_unref(mark);
    contexts_release(&contexts);
}

static void granted(struct lock_wait *w)
{
    struct creating *c = w->arg;
    struct inode *i = inode_of(c->at.seen, c->at.number);
    if ((i != NULL && inode_busy(i)) || c->at.number != 0)
        task_end(&c->t, EEXIST);
    else
        put_exclusive(c);
}

static void paid(struct owed_wait *w, int err)
{
    struct creating *c = w->arg;
    if (err != 0)
        task_end(&c->t, err);
    else
        seen_lock(c->at.seen, &c->lock, granted, c);
}

void fs_create(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name, uint32_t mode,
               int flags)
{
    struct place at;
    int err = fs->cfg.read_only ? EROFS : place_resolve(fs, parent, name, &at);
    if (err != 0) {
        op_end(fs, op, err);
        return;
    }
    struct creating *c = task_new(fs, op, sizeof(*c), release);
    c->t.abandonable = true;
    c->at = at;
    c->caller = op->caller;
    c->mode = mode;
    c->flags = flags;
    struct inode *i = inode_of(at.seen, at.number);
    if (flags & O_EXCL) {
        owed_pay(at.seen, &c->owed, paid, c);
    } else if (i != NULL && inode_busy(i) && i->s.type == SIBLING_FILE &&
               (content_here(i) || flags & O_TRUNC)) {
        end_create(c, i, flags);
    } else if (just_read(c)) {
        i = make(c);
        publish_mark(i, true);
        end_create(c, i, flags & ~O_TRUNC);
    } else {
        task_get(&c->t, seen_key(at.seen), flags & O_TRUNC ? GET_META : GET_NEWEST, NULL, on_read);
    }
}
