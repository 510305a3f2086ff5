/* SPDX-License-Identifier: Apache-2.0 */
/* rename. Between keys it is a put of the bytes under the new one, then a drop of exactly what was
 * shown under the old one; unpublished changes travel along, so the save of an editor is one put
 * and one drop; a drop that fails is done later (owed.h). `mv f.conflict.N f` is one put that moves
 * no bytes. What a rename onto a name supersedes is what this mount last served for it, never a
 * version fetched for the call (F4).
 *
 *   LOCK, LOCK -> SOURCE (bytes, if they are not here)
 *     -> [directories: LIST both, the target must be empty]
 *     -> [TOKENS of the target] -> PUT target -> the drop of the source is owed, and tried (owed.h)
 *   within one key: LOCK -> [TOKENS] -> PUT
 *   a directory with something in it: as far as the TOKENS, then move.h
 */
#include <errno.h>

#include "base/err.h"
#include "model/content.h"
#include "model/large_copy.h"
#include "model/move.h"
#include "model/naming.h"
#include "model/owed.h"
#include "model/place.h"
#include "model/publish.h"

#define NOREPLACE 1u /* of renameat2(2), which <stdio.h> and <linux/fs.h> both claim */

struct renaming {
    struct task t;
    struct place from, to;
    struct lock_wait first, second;
    struct inode *inode; /* held */
    uint32_t flags;
    bool listed_from, listed_to, source_read, target_read, again;
    bool whole;         /* a directory with something in it: move.h */
    struct cover cover; /* superseded at the target */
    struct naming naming;
    struct cover drop; /* dropped at the source */
    struct owed_wait paid;
    struct origin origin;
    struct blob *sent;
    bool durable; /* what fsync has promised of the old name holds for the new one */
    struct large_copy copy;
    bool copied; /* large: copy.manifest is what to put */
    uint64_t gen;
    int64_t ctime_ns;
};

static void proceed(struct renaming *r);

static void release(struct task *t)
{
    struct renaming *r = container_of(t, struct renaming, t);
    naming_release(&r->naming);
    owed_wait_cancel(&r->paid);
    seen_unlock(&r->second);
    seen_unlock(&r->first);
    inode_drop(r->inode);
    place_release(&r->from);
    place_release(&r->to);
    cover_release(&r->cover);
    cover_release(&r->drop);
    large_copy_release(&r->copy);
    blob_unref(r->sent);
}

static bool within_key(const struct renaming *r)
{
    return r->from.seen == r->to.seen;
}

/* F4 */
static void target_cover(struct renaming *r)
{
    struct seen *s = r->to.seen;
    enum fs_resolve resolve = r->t.fs->cfg.resolve;
    struct inode *i = inode_of(s, 0);
    if (s->was_served)
        cover_join_dots(&r->cover, &s->served);
    else
        cover_join_dots(&r->cover, &s->name_shown);
    if (i != NULL && i->s.type == SIBLING_DIR)
        cover_join_dots(&r->cover, &i->dots);
    if (i != NULL && inode_dirty(i)) /* its unpublished changes are replaced, and what they would */
        publish_cover(i, &r->cover);
    if (resolve == FS_RESOLVE_SHOWN)
        seen_collect(s, s->was_served ? KNOWN_LISTED : KNOWN_SHOWN, &r->cover);
    if (resolve != FS_RESOLVE_EXPLICIT)
        seen_collect(s, KNOWN_READ, &r->cover);
    if (within_key(r))
        cover_join_dots(&r->cover, &r->inode->dots);
}

/* The target now is what was renamed. */
static void take_name(struct renaming *r, const struct put_reply *p)
{
    struct inode *i = r->inode, *old = inode_of(r->to.seen, 0);
    if (old != NULL && old != i)
        inode_unlink(old);
    inode_rebind(i, r->to.seen, 0);
    i->writer = r->origin.writer;
    i->stream = r->origin.stream;
    i->seq = r->origin.seq;
    i->seq_gen = r->gen;
    struct dot pages = i->pages_dot, value = i->s.value_dot;
    bool same_pages = dot_equal(&pages, &value);
    i->s.attrs.ctime_ns = r->ctime_ns;
    publish_took(i, p, &r->origin, r->sent, NULL, r->gen);
    i->pages_dot = same_pages ? i->s.value_dot : (struct dot){0};
    inode_touch_dir(r->t.fs, key_parent(seen_key(r->to.seen)));
}

/* The drop will never be allowed: both names stay, and each shows what is stored there. */
static void keep_old_name(struct renaming *r)
{
    struct inode *i = r->inode;
    struct versions v;
    struct inode *there = inode_of(r->from.seen, r->from.number);
    owed_forgive(r->from.seen);
    if (inode_busy(i))
        return;
    if (there != NULL)
        inode_unname(there);
    inode_rebind(i, r->from.seen, r->from.number);
    versions_of(r->from.seen, &v);
    const struct version *at = versions_by_dots(&v, &r->drop);
    if (at != NULL)
        inode_adopt(i, at);
    else
        inode_unname(i);
    versions_release(&v);
}

static void dropped(struct owed_wait *w, int err)
{
    struct renaming *r = w->arg;
    if (err != EACCES && err != EINVAL) {
        task_end(&r->t, 0); /* or will be dropped: owed.h */
        return;
    }
    keep_old_name(r);
    task_end(&r->t, err);
}

/* The new name is stored, so the old one is gone from here on. */
static void drop_source(struct renaming *r)
{
    owed_add(r->from.seen, &r->drop);
    r->from.seen->implicit_dir = false;
    inode_touch_dir(r->t.fs, key_parent(seen_key(r->from.seen)));
    seen_unlock(&r->second);
    seen_unlock(&r->first);
    owed_pay(r->from.seen, &r->paid, dropped, r);
}

static void on_put(struct task *t, const struct put_reply *p)
{
    struct renaming *r = container_of(t, struct renaming, t);
    if (p->status == DYN_ERR_BAD_CONTEXT && !r->again) {
        r->again = true;
        r->target_read = false;
        seen_drop_tokens(r->to.seen);
        proceed(r);
        return;
    }
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    inode_dots(r->inode, &r->drop);
    owed_add_unfound(r->to.seen, &r->cover, &p->object);
    take_name(r, p);
    if (r->durable) {
        r->inode->durable_dot = r->inode->s.dot;
        seen_synced(r->to.seen, &p->dot);
    }
    if (within_key(r) || r->drop.n == 0) {
        inode_touch_dir(t->fs, key_parent(seen_key(r->from.seen)));
        task_end(t, 0);
    } else {
        drop_source(r);
    }
}

static void on_copied(struct large_copy *c, int err)
{
    struct renaming *r = c->arg;
    if (err != DYN_OK) {
        task_end(&r->t, fs_errno(err));
        return;
    }
    r->copied = c->manifest != NULL;
    proceed(r);
}

/* The bytes of a large file stay where they are, for the manifest to name. */
static bool copy_large(struct renaming *r)
{
    struct inode *i = r->inode;
    if (i->large == NULL || (within_key(r) && !inode_dirty(i)) ||
        (r->copied && large_stored(i->large)))
        return false;
    r->copied = false;
    large_copy_release(&r->copy);
    large_copy_start(&r->copy, i, seen_key(r->to.seen), on_copied, r);
    return true;
}

static void put_target(struct renaming *r)
{
    struct inode *i = r->inode;
    struct fs *fs = r->t.fs;
    struct contexts contexts;
    seen_contexts(r->to.seen, &r->cover, &contexts);
    r->gen = i->gen;
    r->ctime_ns = fs_wall_ns(fs);
    seen_next_origin(r->to.seen, &r->cover, &r->origin);
    struct put_request q = {.key = seen_key(r->to.seen),
                            .type = i->s.type,
                            .attrs = i->s.attrs,
                            .origin = r->origin,
                            .contexts = contexts.list,
                            .n_contexts = contexts.n};
    q.attrs.ctime_ns = r->ctime_ns;
    q.attrs.ino = i->st_ino;
    memset(q.attrs.xattrs_hash, 0, DIGEST_LEN);
    r->durable = !dot_is_none(&i->s.dot) && dot_equal(&i->durable_dot, &i->s.dot);
    if (r->durable)
        q.opt.durability = DURABILITY_QUORUM;
    if (r->flags & NOREPLACE)
        q.flags |= PUT_IF_ABSENT;
    if (within_key(r) && !inode_dirty(i)) {
        q.flags |= PUT_KEEP_VALUE;
        q.value_dot = i->s.value_dot;
        q.base_dot = i->s.value_dot;
    } else if (i->large != NULL) {
        blob_unref(r->sent);
        r->sent = blob_ref(r->copy.manifest);
        q.value = slice_of(r->sent->data, r->sent->len);
        q.flags |= PUT_MANIFEST;
    } else if (i->s.type != SIBLING_DIR) {
        struct slice bytes = content_bytes(i);
        blob_unref(r->sent);
        r->sent = blob_new(bytes.data, bytes.len);
        q.value = bytes;
    }
    i->s.attrs.ino = i->st_ino;
    task_put(&r->t, &q, on_put);
    contexts_release(&contexts);
}

static void on_target(struct task *t, const struct get_reply *p)
{
    struct renaming *r = container_of(t, struct renaming, t);
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    proceed(r);
}

/* The source with its bytes and extended attributes, as this mount shows it. */
static void on_source(struct task *t, const struct get_reply *p)
{
    struct renaming *r = container_of(t, struct renaming, t);
    struct seen *s = r->from.seen;
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    seen_got(s, p);
    struct versions v;
    versions_of(s, &v);
    struct inode *i = r->inode;
    const struct version *at =
        i == NULL ? versions_by_number(&v, r->from.number) : versions_by_dots(&v, &i->dots);
    if (at == NULL) {
        versions_release(&v);
        task_end(t, ENOENT);
        return;
    }
    if (i == NULL)
        i = r->inode = inode_hold(inode_show(t->fs, s, at, r->from.number));
    else if (!inode_busy(i))
        inode_adopt(i, at);
    versions_release(&v);
    const struct sibling *bytes = object_find_value(&p->object, &i->s.value_dot);
    if (!content_here(i) && bytes != NULL && bytes->value != NULL)
        content_load(i, bytes->value);
    if (i->s.type != SIBLING_DIR && !content_here(i) && !within_key(r))
        task_end(t, ESTALE);
    else
        proceed(r);
}

/* A directory moves onto an empty one only; with something in it, it moves as a whole. */
static void on_list(struct task *t, const struct list_reply *p)
{
    struct renaming *r = container_of(t, struct renaming, t);
    bool of_target = r->listed_to;
    struct seen *dir = of_target ? r->to.seen : r->from.seen;
    struct buf key = BUF_EMPTY;
    bool live = false;
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    for (uint32_t i = 0; i < p->n && !live; i++) {
        buf_clear(&key);
        key_join(seen_key(dir), p->entries[i].name, &key);
        struct seen *s = seen_get(t->fs, buf_slice(&key));
        seen_listed(s, &p->entries[i].object);
        live = object_live(&s->view);
        seen_unref(s);
    }
    buf_release(&key);
    live |= p->more || place_has_unpublished(t->fs, seen_key(dir));
    r->whole |= live && !of_target;
    if (live && of_target)
        task_end(t, ENOTEMPTY);
    else
        proceed(r);
}

static bool list_first_time(struct renaming *r)
{
    if (r->inode->s.type != SIBLING_DIR)
        return false;
    if (!r->listed_from) {
        r->listed_from = true;
        task_list(&r->t, seen_key(r->from.seen), slice_of("", 0), 0, on_list);
        return true;
    }
    if (!r->listed_to) {
        r->listed_to = true;
        task_list(&r->t, seen_key(r->to.seen), slice_of("", 0), 0, on_list);
        return true;
    }
    return false;
}

static int refused(const struct renaming *r)
{
    struct inode *over = inode_of(r->to.seen, 0);
    bool dir = r->inode->s.type == SIBLING_DIR;
    if (r->flags & NOREPLACE && over != NULL && inode_busy(over))
        return EEXIST;
    if (over == NULL || within_key(r))
        return 0;
    if (over->s.type == SIBLING_DIR)
        return dir ? 0 : EISDIR;
    return dir ? ENOTDIR : 0;
}

static void moved(void *arg, int err)
{
    struct renaming *r = arg;
    task_end(&r->t, err);
}

static void move_whole(struct renaming *r)
{
    seen_unlock(&r->second);
    seen_unlock(&r->first);
    move_start(r->t.fs, r->from.seen, r->to.seen, moved, r);
}

static void proceed(struct renaming *r)
{
    struct inode *i = r->inode;
    bool bytes = i != NULL && (i->s.type == SIBLING_DIR || within_key(r) || content_here(i));
    if (!r->source_read && (!bytes || (!i->xattrs_known && inode_published(i)))) {
        r->source_read = true;
        enum get_want want = i == NULL ? GET_NEWEST : bytes ? GET_META : GET_DOT;
        task_get(&r->t, seen_key(r->from.seen), want, i == NULL ? NULL : &i->s.value_dot,
                 on_source);
        return;
    }
    int err = refused(r);
    if (err != 0) {
        task_end(&r->t, err);
        return;
    }
    if (list_first_time(r))
        return;
    cover_clear(&r->cover);
    target_cover(r);
    owed_collect(r->to.seen, &r->cover);
    if (!r->target_read && !seen_can_name(r->to.seen, &r->cover)) {
        r->target_read = true;
        naming_start(&r->naming, &r->t, r->to.seen, &r->cover, on_target);
        return;
    }
    if (r->whole)
        move_whole(r);
    else if (!copy_large(r))
        put_target(r);
}

static void granted_second(struct lock_wait *w)
{
    struct renaming *r = w->arg;
    struct inode *i = inode_of(r->from.seen, r->from.number);
    r->inode = i == NULL ? NULL : inode_hold(i);
    proceed(r);
}

static void granted_first(struct lock_wait *w)
{
    struct renaming *r = w->arg;
    bool in_order = slice_compare(seen_key(r->from.seen), seen_key(r->to.seen)) < 0;
    if (within_key(r))
        granted_second(w);
    else
        seen_lock(in_order ? r->to.seen : r->from.seen, &r->second, granted_second, r);
}

/* In the order of keys, so that two renames never wait for each other. */
static void lock_both(struct renaming *r)
{
    bool in_order = slice_compare(seen_key(r->from.seen), seen_key(r->to.seen)) < 0;
    seen_lock(in_order ? r->from.seen : r->to.seen, &r->first, granted_first, r);
}

static void target_paid(struct owed_wait *w, int err)
{
    struct renaming *r = w->arg;
    if (err != 0)
        task_end(&r->t, err);
    else
        lock_both(r);
}

void fs_rename(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name,
               uint64_t new_parent, struct slice new_name, uint32_t flags)
{
    struct place from, to;
    int err = flags & ~NOREPLACE ? EINVAL : fs->cfg.read_only ? EROFS : 0;
    if (err == 0)
        err = place_resolve(fs, parent, name, &from);
    if (err != 0) {
        op_end(fs, op, err);
        return;
    }
    err = place_resolve(fs, new_parent, new_name, &to);
    if (err == 0 && (to.number != 0 || (to.seen == from.seen && from.number == 0))) {
        err = to.number != 0 ? EEXIST : -1; /* -1: onto itself, which is nothing to do */
        place_release(&to);
    }
    if (err != 0) {
        place_release(&from);
        op_end(fs, op, err < 0 ? 0 : err);
        return;
    }
    if (move_under_way(fs, from.seen) || move_under_way(fs, to.seen)) {
        place_release(&from);
        place_release(&to);
        op_end(fs, op, EBUSY);
        return;
    }
    struct renaming *r = task_new(fs, op, sizeof(*r), release);
    r->t.abandonable = true;
    r->from = from;
    r->to = to;
    r->flags = flags;
    if (flags & NOREPLACE) /* the put is refused while anything lives there */
        owed_pay(to.seen, &r->paid, target_paid, r);
    else
        lock_both(r);
}
