/* SPDX-License-Identifier: Apache-2.0 */
/* unlink and rmdir: drop exactly the version that was last shown under the name, never one that
 * came later (F2). What was only listed has no token yet: a read of the key brings it, and only the
 * dots shown are chosen from it. A directory is empty when none of its entries' objects really
 * lives (F11).
 *
 *   unlink: LOCK -> [READ for tokens] -> DROP
 *   rmdir:  LOCK -> LIST -> [VERIFY each live entry] -> [READ] -> DROP -> LIST again
 *                                                           -> something came: RESTORE, ENOTEMPTY
 */
#include <errno.h>

#include "base/err.h"
#include "model/naming.h"
#include "model/owed.h"
#include "model/place.h"
#include "model/publish.h"

#define PAGE 256u

struct removing {
    struct task t;
    struct place at;
    struct lock_wait lock;
    struct owed_wait owed;
    bool dir, dropped;
    uint8_t reads;
    struct cover cover;
    struct naming naming;
    struct buf live; /* rmdir: names of entries to verify, NUL-separated */
    size_t live_at;
    struct buf cursor;
    struct seen *entry; /* being verified */
    struct attrs attrs; /* of the directory, should it have to come back */
};

static void prepare(struct removing *r);
static void verify(struct removing *r);

static void release(struct task *t)
{
    struct removing *r = container_of(t, struct removing, t);
    naming_release(&r->naming);
    owed_wait_cancel(&r->owed);
    seen_unlock(&r->lock);
    seen_unref(r->entry);
    place_release(&r->at);
    cover_release(&r->cover);
    buf_release(&r->live);
    buf_release(&r->cursor);
    blob_unref(r->attrs.xattrs);
}

/* Every inode that showed what was dropped has lost its name. */
static void detach(struct removing *r)
{
    list_for_each_safe(it, tmp, &r->at.seen->inodes)
    {
        struct inode *i = container_of(it, struct inode, in_seen);
        bool shows = i->number == r->at.number;
        for (uint32_t k = 0; k < i->dots.n; k++)
            shows |= cover_has(&r->cover, &i->dots.dots[k]);
        if (shows)
            inode_unlink(i);
    }
    inode_touch_dir(r->t.fs, key_parent(seen_key(r->at.seen)));
}

static void on_again(struct task *t, const struct list_reply *p);

static void on_drop(struct task *t, const struct put_reply *p)
{
    struct removing *r = container_of(t, struct removing, t);
    if (p->status == DYN_ERR_BAD_CONTEXT && r->reads == 0) {
        seen_drop_tokens(r->at.seen);
        prepare(r);
        return;
    }
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    owed_add_unfound(r->at.seen, &r->cover, &p->object);
    seen_put(r->at.seen, p);
    if (r->dir) {
        r->dropped = true;
        r->at.seen->implicit_dir = false;
        task_list(t, seen_key(r->at.seen), slice_of("", 0), PAGE, on_again);
        return;
    }
    detach(r);
    task_end(t, 0);
}

static void drop(struct removing *r)
{
    struct contexts contexts;
    if (!seen_names_live(r->at.seen, &r->cover)) {
        task_end(&r->t, ETIMEDOUT); /* to name less would drop the wrong thing, or nothing */
        return;
    }
    seen_contexts(r->at.seen, &r->cover, &contexts);
    if (contexts.n == 0) { /* a delete that names nothing would take all that is there */
        contexts_release(&contexts);
        task_end(&r->t, EIO);
        return;
    }
    struct put_request q = {.key = seen_key(r->at.seen),
                            .flags = PUT_DROP_ONLY,
                            .type = SIBLING_DELETE,
                            .contexts = contexts.list,
                            .n_contexts = contexts.n};
    seen_drop_origin(r->at.seen, &r->cover, &q.origin);
    q.attrs.mtime_ns = q.attrs.ctime_ns = fs_wall_ns(r->t.fs);
    task_put(&r->t, &q, on_drop);
    contexts_release(&contexts);
}

static void on_read(struct task *t, const struct get_reply *p)
{
    struct removing *r = container_of(t, struct removing, t);
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    prepare(r);
}

static bool any_there(const struct removing *r)
{
    for (uint32_t i = 0; i < r->at.seen->view.n; i++) {
        const struct sibling *s = &r->at.seen->view.siblings[i];
        if (sibling_live(s) && cover_has(&r->cover, &s->dot))
            return true;
    }
    return false;
}

static void choose(struct removing *r)
{
    struct versions v;
    place_shown(&r->at, &r->cover);
    versions_of(r->at.seen, &v);
    bool all = r->t.fs->cfg.hide_conflicts && r->at.number == 0 && !r->dir;
    bool dir = v.n != 0 && v.v[0].s.type == SIBLING_DIR;
    if (v.n != 0 && (r->cover.n == 0 || r->dir) && dir == r->dir)
        cover_join_dots(&r->cover, &v.v[0].dots);
    for (uint32_t i = 0; all && i < v.n; i++)
        cover_join_dots(&r->cover, &v.v[i].dots);
    versions_release(&v);
}

static void prepare(struct removing *r)
{
    struct seen *s = r->at.seen;
    bool all = r->t.fs->cfg.hide_conflicts && !r->dir;
    if (r->reads == 0 && (s->learnt_us == 0 || all)) {
        r->reads++;
        naming_start(&r->naming, &r->t, s, &r->cover, on_read);
        return;
    }
    choose(r);
    if (r->reads < 2 && !seen_can_name(s, &r->cover)) {
        r->reads++;
        naming_start(&r->naming, &r->t, s, &r->cover, on_read);
        return;
    }
    struct versions v;
    versions_of(s, &v);
    enum sibling_type type = v.n == 0 ? SIBLING_DELETE : v.v[0].s.type;
    uint32_t n = v.n;
    versions_release(&v);
    if (any_there(r)) {
        drop(r);
    } else if (n == 0 || (r->at.number == 0 && type != SIBLING_DIR && r->cover.n == 0)) {
        detach(r);
        task_end(&r->t, ENOENT);
    } else {
        /* What was shown is gone already, and what is there now was never shown: it stays. A
         * directory that only its dead entries implied ends the same way. */
        detach(r);
        task_end(&r->t, 0);
    }
}

/* rmdir: the entries. */

static void restored(struct task *t, const struct put_reply *p)
{
    struct removing *r = container_of(t, struct removing, t);
    if (p->status == DYN_OK)
        seen_put(r->at.seen, p);
    task_end(t, ENOTEMPTY);
}

static bool row_lives(struct removing *r, const struct list_entry *e)
{
    struct buf key = BUF_EMPTY;
    key_join(seen_key(r->at.seen), e->name, &key);
    struct seen *s = seen_get(r->t.fs, buf_slice(&key));
    buf_release(&key);
    seen_listed(s, &e->object);
    bool live = object_live(&s->view);
    seen_unref(s);
    return live;
}

static void on_again(struct task *t, const struct list_reply *p)
{
    struct removing *r = container_of(t, struct removing, t);
    bool live = false;
    for (uint32_t i = 0; p->status == DYN_OK && i < p->n; i++)
        live |= row_lives(r, &p->entries[i]); /* what was verified is remembered as dead */
    if (!live) { /* a failed listing changes nothing: entries bring their directory back (E16) */
        detach(r);
        task_end(t, 0);
        return;
    }
    struct put_request q = {.key = seen_key(r->at.seen),
                            .flags = PUT_IMPLICIT,
                            .type = SIBLING_DIR,
                            .attrs = r->attrs,
                            .origin = {t->fs->cfg.mount_id, t->fs->next_stream++, 1}};
    task_put(t, &q, restored);
}

static void on_list(struct task *t, const struct list_reply *p)
{
    struct removing *r = container_of(t, struct removing, t);
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    for (uint32_t i = 0; i < p->n; i++) {
        if (!row_lives(r, &p->entries[i]))
            continue;
        buf_put_slice(&r->live, p->entries[i].name);
        buf_put_u8(&r->live, 0);
    }
    if (r->live.len == 0 && p->more) {
        buf_clear(&r->cursor);
        buf_put_slice(&r->cursor, p->cursor);
        task_list(t, seen_key(r->at.seen), buf_slice(&r->cursor), PAGE, on_list);
        return;
    }
    verify(r);
}

static void on_verify(struct task *t, const struct get_reply *p)
{
    struct removing *r = container_of(t, struct removing, t);
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    seen_got(r->entry, p);
    bool live = object_live(&r->entry->view) || p->implicit_dir;
    seen_unref(r->entry);
    r->entry = NULL;
    if (live)
        task_end(t, ENOTEMPTY);
    else
        verify(r);
}

/* Asks the objects behind the entries that look alive, one by one: the first that lives ends it. */
static void verify(struct removing *r)
{
    if (r->live_at >= r->live.len) {
        prepare(r);
        return;
    }
    const uint8_t *name = r->live.data + r->live_at;
    size_t len = strnlen((const char *)name, r->live.len - r->live_at);
    r->live_at += len + 1;
    struct buf key = BUF_EMPTY;
    key_join(seen_key(r->at.seen), slice_of(name, len), &key);
    r->entry = seen_get(r->t.fs, buf_slice(&key));
    buf_release(&key);
    task_get(&r->t, seen_key(r->entry), GET_META, NULL, on_verify);
}

static void clear_out(struct removing *r);

static void paid(struct owed_wait *w, int err)
{
    struct removing *r = w->arg;
    if (err != 0)
        task_end(&r->t, err);
    else
        clear_out(r);
}

/* What was renamed out of the directory, and is no longer shown there, must be gone first. */
static void clear_out(struct removing *r)
{
    struct seen *s = owed_below(r->t.fs, seen_key(r->at.seen));
    if (s != NULL)
        owed_pay(s, &r->owed, paid, r);
    else
        task_list(&r->t, seen_key(r->at.seen), slice_of("", 0), PAGE, on_list);
}

static void granted(struct lock_wait *w)
{
    struct removing *r = w->arg;
    struct inode *i = inode_of(r->at.seen, r->at.number);
    if (r->dir) {
        if (i != NULL && i->s.type != SIBLING_DIR) {
            task_end(&r->t, ENOTDIR);
        } else if (place_has_unpublished(r->t.fs, seen_key(r->at.seen))) {
            task_end(&r->t, ENOTEMPTY);
        } else {
            if (i != NULL) {
                r->attrs = i->s.attrs;
                blob_ref(r->attrs.xattrs);
            }
            clear_out(r);
        }
        return;
    }
    if (i != NULL && i->s.type == SIBLING_DIR) {
        task_end(&r->t, EISDIR);
    } else if (i != NULL && !inode_published(i)) {
        inode_unlink(i); /* the cluster never heard of it */
        inode_touch_dir(r->t.fs, key_parent(seen_key(r->at.seen)));
        task_end(&r->t, 0);
    } else {
        prepare(r);
    }
}

static void start(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name, bool dir)
{
    struct place at;
    int err = fs->cfg.read_only ? EROFS : place_resolve(fs, parent, name, &at);
    if (err != 0) {
        op_end(fs, op, err);
        return;
    }
    struct removing *r = task_new(fs, op, sizeof(*r), release);
    r->t.abandonable = true;
    r->at = at;
    r->dir = dir;
    seen_lock(at.seen, &r->lock, granted, r);
}

void fs_unlink(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name)
{
    start(fs, op, parent, name, false);
}

void fs_rmdir(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name)
{
    start(fs, op, parent, name, true);
}
