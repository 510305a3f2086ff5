/* SPDX-License-Identifier: Apache-2.0 */
/* read, write, flush, release, readlink: what happens through a handle. Writes only stage; flush
 * publishes and says how it went (fsync: ops_sync.c). */
#include <errno.h>
#include <fcntl.h>

#include "base/err.h"
#include "model/content.h"
#include "model/control.h"
#include "model/open.h"
#include "model/ops_large.h"
#include "model/publish.h"

struct io {
    struct task t;
    struct inode *inode; /* held */
    bool writes;
    int flags; /* of the handle, which may be closed by then: the writer was killed */
    uint64_t off;
    uint32_t size;
    bool link;
    struct buf data; /* write: taken over until the content is here */
};

static void release(struct task *t)
{
    struct io *r = container_of(t, struct io, t);
    inode_drop(r->inode);
    buf_release(&r->data);
}

static struct slice window(struct slice all, uint64_t off, uint32_t size)
{
    if (off >= all.len)
        return slice_of("", 0);
    uint64_t left = all.len - off;
    return slice_of(all.data + off, left < size ? (size_t)left : size);
}

void io_note_write(struct inode *i, int flags, uint64_t before, uint64_t asked, bool first_append)
{
    bool append = (flags & O_APPEND) != 0;
    if (first_append) {
        i->appended_only = true;
        i->appended_from = before;
    } else if (!append) {
        i->appended_only = false;
    }
    i->written = true;
    i->s.attrs.mtime_ns = i->s.attrs.ctime_ns = fs_wall_ns(i->fs);
    publish_mark(i, true);
    if (i->n_open == 0) /* the writer was killed, and will not close the file any more */
        publish(i, DURABILITY_DEFAULT, NULL, NULL);
    if (append && before != asked && i->fs->host.inval_attrs != NULL)
        i->fs->host.inval_attrs(i->fs->host.ctx, i->id);
}

static int stage(struct inode *i, int flags, uint64_t off, struct slice data)
{
    uint64_t size = inode_size(i);
    bool append = (flags & O_APPEND) != 0;
    uint64_t at = append ? size : off; /* F18: the kernel's offset is its stale size */
    bool first_append = append && !i->dirty_data;
    int err = content_write(i, at, data);
    if (err != 0)
        return err;
    io_note_write(i, flags, size, off, first_append);
    return 0;
}

/* Where a write would end, or the content already is, no longer fits one value (large.h). */
static bool is_large(const struct inode *i, int flags, uint64_t off, size_t len)
{
    uint64_t at = flags & O_APPEND ? inode_size(i) : off;
    return at <= i->fs->cfg.value_max && content_large_at(i, at + len);
}

/* Goes on as an operation on large content. */
static void hand_over(struct io *r)
{
    struct fs_op *op = r->t.op;
    struct fs *fs = r->t.fs;
    r->t.op = NULL;
    if (op == NULL) {
        /* it was given up */
    } else if (r->writes) {
        large_write_op(fs, op, r->inode, r->flags, r->off, buf_slice(&r->data));
    } else {
        large_read_op(fs, op, r->inode, r->off, r->size);
    }
    task_end(&r->t, 0);
}

static void finish(struct io *r)
{
    struct inode *i = r->inode;
    int err = 0;
    if (r->writes ? is_large(i, r->flags, r->off, r->data.len) : i->large != NULL) {
        hand_over(r);
        return;
    }
    if (r->writes)
        err = stage(i, r->flags, r->off, buf_slice(&r->data));
    if (r->t.op != NULL && r->writes && err == 0)
        r->t.op->written = (uint32_t)r->data.len;
    else if (r->t.op != NULL && !r->writes)
        r->t.op->data = window(content_bytes(i), r->off, r->size);
    task_end(&r->t, err);
}

/* Content that had given way to other content (content.h) comes back by its dot. */
static void on_content(struct task *t, const struct get_reply *p)
{
    struct io *r = container_of(t, struct io, t);
    struct inode *i = r->inode;
    const struct sibling *s = object_find_value(&p->object, &i->s.value_dot);
    if (!content_here(i)) {
        if (p->status == DYN_ERR_STALE && !task_got_other(t, i->seen))
            seen_got(i->seen, p); /* the next lookup shows what took its place */
        if (p->status != DYN_OK || s == NULL || s->value == NULL) {
            task_end(t, p->status == DYN_OK ? ESTALE : fs_errno(p->status));
            return;
        }
        content_load(i, s->value);
    }
    finish(r);
}

static struct io *io_new(struct fs *fs, struct fs_op *op, struct inode *i)
{
    struct io *r = task_new(fs, op, sizeof(*r), release);
    r->inode = inode_hold(i);
    return r;
}

static void start(struct io *r)
{
    if (content_here(r->inode))
        finish(r);
    else
        task_get(&r->t, seen_key(r->inode->seen), GET_DOT, &r->inode->s.value_dot, on_content);
}

void fs_read(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh, uint64_t off,
             uint32_t size)
{
    if (node >= NODE_CONTROL && node < NODE_FIRST) {
        op->data = window(buf_slice(&handle_of(fh)->control), off, size);
        op_end(fs, op, 0);
        return;
    }
    struct inode *i = inode_find(fs, node);
    if (i == NULL) {
        op_end(fs, op, ESTALE);
        return;
    }
    if (i->large != NULL) {
        large_read_op(fs, op, i, off, size);
        return;
    }
    struct io *r = io_new(fs, op, i);
    r->t.abandonable = true;
    r->off = off;
    r->size = size;
    start(r);
}

void fs_write(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh, uint64_t off,
              struct slice data)
{
    struct inode *i = inode_find(fs, node);
    struct handle *h = handle_of(fh);
    if (i == NULL || h == NULL) {
        op_end(fs, op, i == NULL ? ESTALE : EBADF);
        return;
    }
    if (content_here(i) && is_large(i, h->flags, off, data.len)) {
        large_write_op(fs, op, i, h->flags, off, data);
        return;
    }
    if (content_here(i)) {
        int err = stage(i, h->flags, off, data);
        op->written = err == 0 ? (uint32_t)data.len : 0;
        op_end(fs, op, err);
        return;
    }
    struct io *r = io_new(fs, op, i);
    r->t.abandonable = true;
    r->writes = true;
    r->flags = h->flags;
    r->off = off;
    buf_put_slice(&r->data, data);
    start(r);
}

void fs_readlink(struct fs *fs, struct fs_op *op, uint64_t node)
{
    struct inode *i = inode_find(fs, node);
    if (i == NULL || i->s.type != SIBLING_SYMLINK) {
        op_end(fs, op, i == NULL ? ESTALE : EINVAL);
        return;
    }
    struct io *r = io_new(fs, op, i);
    r->t.abandonable = true;
    r->size = UINT32_MAX;
    start(r);
}

/* A shell's redirection: it will close the file again, after it has written. */
static bool will_come_again(const struct inode *i, const struct fs_op *op)
{
    const struct fs_host *host = &i->fs->host;
    struct fs_attr attr;
    if (host->still_open == NULL)
        return false;
    inode_attr(i, &attr);
    return host->still_open(host->ctx, op->caller.pid, attr.ino);
}

/* Every writer's close gets the true result (F8); who only read has nothing to be told. */
void fs_flush(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh)
{
    struct inode *i = inode_find(fs, node);
    bool reader = fh != 0 && !open_writes(handle_of(fh)->flags);
    if (i == NULL || reader) /* NULL: a control file */
        op_end(fs, op, 0);
    else if (publish_can_wait(i) && will_come_again(i, op))
        op_end(fs, op, 0);
    else
        publish_op(i, DURABILITY_DEFAULT, op);
}

void fs_release(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh)
{
    if (node >= NODE_CONTROL && node < NODE_FIRST)
        control_release(handle_of(fh));
    else
        open_release(handle_of(fh));
    op_end(fs, op, 0);
}
