/* SPDX-License-Identifier: Apache-2.0 */
/* setattr, setxattr, removexattr: changes of what is known about a file. What is dirty anyway takes
 * them along to its flush; else they are one put that moves no bytes (F16), and a put that fails
 * leaves nothing behind. A truncate without a handle is a put of its own.
 *
 *   [CONTENT, XATTRS: read what the change builds on] -> apply -> (dirty before: done) -> PUBLISH
 */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "model/content.h"
#include "model/control.h"
#include "model/publish.h"
#include "model/xattr_names.h"

/* The flags of setxattr(2), whose header belongs to a higher floor. */
enum { SET_CREATE = 1, SET_REPLACE = 2 };

struct setting {
    struct task t;
    struct inode *inode; /* held */
    struct fs_attr attr;
    uint32_t set;
    bool with_handle, read;
    struct buf name, value; /* xattr; name empty: attributes */
    bool remove;
    int flags;
    /* to undo */
    struct attrs before;
    uint64_t gen;
};

static void release(struct task *t)
{
    struct setting *s = container_of(t, struct setting, t);
    inode_drop(s->inode);
    buf_release(&s->name);
    buf_release(&s->value);
    blob_unref(s->before.xattrs);
}

static void end_set(struct setting *s)
{
    struct inode *i = s->inode;
    if (s->t.op != NULL) {
        inode_entry(i, &s->t.op->entry);
        i->kernel_dot = i->s.dot;
    }
    task_end(&s->t, 0);
}

static void undo(struct setting *s)
{
    struct inode *i = s->inode;
    if (i->gen != s->gen || !inode_published(i))
        return; /* others have built on it: it goes out with theirs */
    publish_forget(i);
    blob_unref(i->s.attrs.xattrs);
    i->s.attrs = s->before;
    blob_ref(i->s.attrs.xattrs);
}

static void published(void *arg, int err)
{
    struct setting *s = arg;
    if (err == 0) {
        end_set(s);
        return;
    }
    undo(s);
    task_end(&s->t, err);
}

static int apply_xattr(struct setting *s)
{
    struct inode *i = s->inode;
    struct blob *list = NULL;
    struct slice old;
    bool there = xattrs_get(i->s.attrs.xattrs, buf_slice(&s->name), &old) == DYN_OK;
    if (s->flags & SET_CREATE && there)
        return EEXIST;
    if ((s->flags & SET_REPLACE || s->remove) && !there)
        return ENODATA;
    struct slice value = s->remove
                             ? slice_of(NULL, 0)
                             : slice_of(s->value.len ? s->value.data : (void *)"", s->value.len);
    int err = xattrs_set(i->s.attrs.xattrs, buf_slice(&s->name), value, &list);
    if (err != DYN_OK)
        return err == DYN_ERR_TOO_LARGE ? ENOSPC : fs_errno(err);
    blob_unref(i->s.attrs.xattrs);
    i->s.attrs.xattrs = list;
    return 0;
}

static void apply_times(const struct setting *s, struct attrs *a, int64_t now)
{
    if (s->set & FS_SET_ATIME)
        a->atime_ns = s->attr.atime_ns;
    if (s->set & FS_SET_ATIME_NOW)
        a->atime_ns = now;
    if (s->set & FS_SET_MTIME)
        a->mtime_ns = s->attr.mtime_ns;
    if (s->set & FS_SET_MTIME_NOW)
        a->mtime_ns = now;
    a->ctime_ns = s->set & FS_SET_CTIME ? s->attr.ctime_ns : now;
}

/* A file that no filesystem made gets its default attributes for good with the first change. */
static void materialize(struct inode *i)
{
    struct fs_attr shown;
    if (i->s.attrs.ino != 0 || i->s.attrs.ctime_ns != 0)
        return;
    inode_attr(i, &shown);
    i->s.attrs.mode = shown.mode & 07777;
    i->s.attrs.uid = shown.uid;
    i->s.attrs.gid = shown.gid;
    i->s.attrs.mtime_ns = shown.mtime_ns;
    i->s.attrs.atime_ns = shown.atime_ns;
    i->s.attrs.ino = i->st_ino;
}

/* What is set on a directory stands until something in it changes (F29). So the time of the last
 * such change becomes its own now, and what is set counts as later than that, whatever the clocks
 * of those who made the entries say. */
static int64_t settle_dir(struct inode *i, int64_t now)
{
    struct fs_attr shown;
    inode_attr(i, &shown);
    i->s.attrs.mtime_ns = shown.mtime_ns;
    int64_t entries = inode_entries_changed(i);
    return now > entries ? now : entries + 1;
}

static int apply(struct setting *s)
{
    struct inode *i = s->inode;
    struct attrs *a = &i->s.attrs;
    int64_t now = fs_wall_ns(i->fs);
    materialize(i);
    if (i->s.type == SIBLING_DIR)
        now = settle_dir(i, now);
    i->written = true;
    if (s->name.len != 0) {
        int err = apply_xattr(s);
        if (err == 0)
            a->ctime_ns = now;
        return err;
    }
    if (s->set & FS_SET_SIZE) {
        int err = content_truncate(i, s->attr.size);
        if (err != 0)
            return err;
        i->appended_only = false;
        i->written = true;
        a->mtime_ns = now;
    }
    if (s->set & FS_SET_MODE)
        a->mode = s->attr.mode & 07777;
    if (s->set & FS_SET_UID)
        a->uid = s->attr.uid;
    if (s->set & FS_SET_GID)
        a->gid = s->attr.gid;
    apply_times(s, a, now);
    return 0;
}

static void change(struct setting *s)
{
    struct inode *i = s->inode;
    bool size = s->name.len == 0 && s->set & FS_SET_SIZE;
    bool deferred = inode_dirty(i) || !inode_published(i) || (size && s->with_handle);
    s->before = i->s.attrs;
    blob_ref(s->before.xattrs);
    int err = apply(s);
    if (err != 0) {
        task_end(&s->t, err);
        return;
    }
    /* The root has no object of its own: what is set on it lasts as long as the mount. */
    bool local = i->unlinked || seen_key(i->seen).len == 0;
    if (!local || size)
        publish_mark(i, size);
    s->gen = i->gen;
    if (local || deferred)
        end_set(s);
    else
        publish(i, DURABILITY_DEFAULT, published, s);
}

static bool ready(const struct setting *s)
{
    const struct inode *i = s->inode;
    bool size = s->name.len == 0 && s->set & FS_SET_SIZE && s->attr.size != 0;
    if (size && !content_here(i))
        return false;
    if (i->s.type == SIBLING_DIR && !s->read && seen_key(i->seen).len != 0 && !inode_busy(i))
        return false; /* when its entries changed must be known afresh */
    return s->name.len == 0 || i->xattrs_known || i->unlinked;
}

static void start(struct setting *s);

static void on_read(struct task *t, const struct get_reply *p)
{
    struct setting *s = container_of(t, struct setting, t);
    struct inode *i = s->inode;
    if (task_got_other(t, i->seen)) {
        start(s);
        return;
    }
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    s->read = true;
    seen_got(i->seen, p);
    struct versions v;
    versions_of(i->seen, &v);
    const struct version *at = versions_by_dots(&v, &i->dots);
    if (at == NULL && i->s.type == SIBLING_DIR)
        at = versions_by_number(&v, i->number);
    if (at != NULL && !inode_busy(i))
        inode_adopt(i, at);
    versions_release(&v);
    const struct sibling *bytes = object_find_value(&p->object, &i->s.value_dot);
    if (!content_here(i) && bytes != NULL && bytes->value != NULL)
        content_load(i, bytes->value);
    if (i->id == FS_ROOT)
        i->xattrs_known = true;
    if (ready(s))
        change(s);
    else
        task_end(t, ESTALE);
}

static void start(struct setting *s)
{
    struct inode *i = s->inode;
    if (ready(s))
        change(s);
    else if (i->s.size != 0 && !content_here(i) && s->name.len == 0)
        task_get(&s->t, seen_key(i->seen), GET_DOT, &i->s.value_dot, on_read);
    else
        task_get_whole(&s->t, seen_key(i->seen), on_read);
}

static struct setting *setting_new(struct fs *fs, struct fs_op *op, uint64_t node)
{
    struct inode *i = inode_find(fs, node);
    int err = i == NULL ? ESTALE : fs->cfg.read_only ? EROFS : 0;
    if (node >= NODE_CONTROL && node < NODE_FIRST)
        err = EPERM;
    if (err != 0) {
        op_end(fs, op, err);
        return NULL;
    }
    struct setting *s = task_new(fs, op, sizeof(*s), release);
    s->t.abandonable = true;
    s->inode = inode_hold(i);
    return s;
}

void fs_setattr(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh,
                const struct fs_attr *attr, uint32_t set)
{
    if (node >= NODE_CONTROL && node < NODE_FIRST && (set & ~(FS_SET_SIZE | FS_SET_CTIME)) == 0 &&
        control_getattr(fs, op, node))
        return; /* `echo > .dynamount/x` truncates first; the open is what refuses */
    struct setting *s = setting_new(fs, op, node);
    if (s == NULL)
        return;
    if (set & FS_SET_SIZE && s->inode->s.type != SIBLING_FILE) {
        task_end(&s->t, s->inode->s.type == SIBLING_DIR ? EISDIR : EINVAL);
        return;
    }
    if (set & FS_SET_SIZE && attr->size > fs->cfg.value_max) {
        task_end(&s->t, EFBIG);
        return;
    }
    s->attr = *attr;
    s->set = set;
    s->with_handle = fh != 0;
    start(s);
}

static void set_xattr(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name,
                      struct slice value, int flags, bool remove)
{
    int err = xattr_name_settable(name);
    if (xattr_is_setting(name)) {
        xattr_set_setting(fs, op, node, name, value);
        return;
    }
    if (err != 0) {
        op_end(fs, op, err);
        return;
    }
    struct setting *s = setting_new(fs, op, node);
    if (s == NULL)
        return;
    buf_put_slice(&s->name, name);
    buf_put_slice(&s->value, value);
    s->flags = flags;
    s->remove = remove;
    start(s);
}

void fs_setxattr(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name,
                 struct slice value, int flags)
{
    set_xattr(fs, op, node, name, value, flags, false);
}

void fs_removexattr(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name)
{
    set_xattr(fs, op, node, name, slice_of("", 0), 0, true);
}
