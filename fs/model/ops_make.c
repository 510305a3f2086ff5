/* SPDX-License-Identifier: Apache-2.0 */
/* mkdir, symlink, mknod: something new that is there when the call returns. One put that is refused
 * when a live version is there; two mounts that make the same directory at once have made one
 * (F11). */
#include <errno.h>
#include <sys/stat.h>

#include "base/err.h"
#include "model/content.h"
#include "model/owed.h"
#include "model/place.h"

struct making {
    struct task t;
    struct place at;
    struct owed_wait owed;
    struct lock_wait lock;
    enum sibling_type type;
    struct attrs attrs;
    struct blob *value;
};

static void release(struct task *t)
{
    struct making *m = container_of(t, struct making, t);
    owed_wait_cancel(&m->owed);
    seen_unlock(&m->lock);
    place_release(&m->at);
    blob_unref(m->value);
}

static void on_put(struct task *t, const struct put_reply *p)
{
    struct making *m = container_of(t, struct making, t);
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    seen_put(m->at.seen, p);
    m->at.seen->implicit_dir = false;
    inode_touch_dir(t->fs, key_parent(seen_key(m->at.seen)));
    struct versions v;
    versions_of(m->at.seen, &v);
    int err = 0;
    if (v.n == 0 || v.v[0].s.type != m->type) {
        err = EEXIST; /* another mount was first, and its version holds the name */
    } else {
        struct inode *i = inode_show(t->fs, m->at.seen, &v.v[0], 0);
        if (m->value != NULL && dot_equal(&i->s.dot, &p->dot))
            content_load(i, m->value);
        if (t->op != NULL) {
            inode_entry(i, &t->op->entry);
            inode_count_lookup(i);
        }
    }
    versions_release(&v);
    task_end(t, err);
}

static void granted(struct lock_wait *w)
{
    struct making *m = w->arg;
    struct inode *i = inode_of(m->at.seen, 0);
    if (i != NULL && inode_busy(i)) {
        task_end(&m->t, EEXIST);
        return;
    }
    struct contexts contexts;
    struct cover nothing = COVER_EMPTY; /* but the deletes that are there */
    seen_contexts(m->at.seen, &nothing, &contexts);
    struct put_request q = {.key = seen_key(m->at.seen),
                            .flags = PUT_IF_ABSENT,
                            .type = m->type,
                            .attrs = m->attrs,
                            .contexts = contexts.list,
                            .n_contexts = contexts.n};
    seen_next_origin(m->at.seen, &nothing, &q.origin);
    if (m->value != NULL)
        q.value = slice_of(m->value->data, m->value->len);
    task_put(&m->t, &q, on_put);
    contexts_release(&contexts);
}

/* What was renamed away from here must be gone: the put is refused while anything lives. */
static void paid(struct owed_wait *w, int err)
{
    struct making *m = w->arg;
    if (err != 0)
        task_end(&m->t, err);
    else
        seen_lock(m->at.seen, &m->lock, granted, m);
}

static void make(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name,
                 enum sibling_type type, uint32_t mode, struct slice value)
{
    struct place at;
    int err = fs->cfg.read_only ? EROFS : place_resolve(fs, parent, name, &at);
    if (err == 0 && at.number != 0) {
        place_release(&at);
        err = EEXIST;
    }
    if (err != 0) {
        op_end(fs, op, err);
        return;
    }
    struct making *m = task_new(fs, op, sizeof(*m), release);
    m->t.abandonable = true;
    m->at = at;
    m->type = type;
    place_new_attrs(&at, &op->caller, mode, type == SIBLING_DIR, &m->attrs);
    if (type != SIBLING_DIR)
        m->value = blob_new(value.data, value.len);
    owed_pay(at.seen, &m->owed, paid, m);
}

void fs_mkdir(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name, uint32_t mode)
{
    make(fs, op, parent, name, SIBLING_DIR, mode, slice_of("", 0));
}

void fs_symlink(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name,
                struct slice target)
{
    if (target.len == 0 || target.len > KEY_LEN_MAX)
        op_end(fs, op, target.len == 0 ? ENOENT : ENAMETOOLONG);
    else
        make(fs, op, parent, name, SIBLING_SYMLINK, 0777, target);
}

void fs_mknod(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name, uint32_t mode)
{
    if (!S_ISREG(mode))
        op_end(fs, op, EPERM);
    else
        make(fs, op, parent, name, SIBLING_FILE, mode, slice_of("", 0));
}
