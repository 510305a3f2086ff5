/* SPDX-License-Identifier: Apache-2.0 */
/* getxattr and listxattr; see xattr_names.h for the names. The filesystem's own attributes say what
 * the cluster knows of a file: its dot, its context for curl and dynactl, how many versions there
 * are, who holds them. They are read afresh, with one request. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "model/inode.h"
#include "model/xattr_names.h"

int xattr_name_readable(struct slice name)
{
    if (slice_has_prefix(name, slice_str("user.")))
        return name.len > 5 ? 0 : EINVAL;
    return slice_has_prefix(name, slice_str("security.")) ? ENODATA : EOPNOTSUPP;
}

int xattr_name_settable(struct slice name)
{
    if (slice_has_prefix(name, slice_str(XATTR_OWN)))
        return EPERM;
    if (slice_has_prefix(name, slice_str("user.")))
        return name.len > 5 ? 0 : EINVAL;
    return EOPNOTSUPP;
}

struct reading {
    struct task t;
    struct inode *inode; /* held */
    struct buf name;     /* empty: list */
    struct buf out;
};

static void release(struct task *t)
{
    struct reading *r = container_of(t, struct reading, t);
    inode_drop(r->inode);
    buf_release(&r->name);
    buf_release(&r->out);
}

static void put_context(const struct inode *i, struct buf *out)
{
    struct contexts contexts;
    seen_contexts(i->seen, &i->dots, &contexts);
    for (uint32_t k = 0; k < contexts.n; k++) {
        if (k != 0)
            buf_put_str(out, ",");
        context_format(contexts.list[k], out);
    }
    contexts_release(&contexts);
}

static void put_replicas(const struct seen *s, struct buf *out)
{
    for (uint8_t k = 0; k < s->n_replicas; k++)
        buf_printf(out, "%s%016llx", k == 0 ? "" : ",", (unsigned long long)s->replicas[k]);
}

/* 0 or ENODATA. */
static int own(const struct inode *i, struct slice name, struct buf *out)
{
    struct slice what = slice_of(name.data + strlen(XATTR_OWN), name.len - strlen(XATTR_OWN));
    if (slice_equal(what, slice_str("context"))) {
        put_context(i, out);
    } else if (slice_equal(what, slice_str("dot"))) {
        char text[DOT_TEXT_MAX];
        if (dot_is_none(&i->s.dot))
            return ENODATA;
        dot_format(&i->s.dot, text);
        buf_put_str(out, text);
    } else if (slice_equal(what, slice_str("siblings"))) {
        struct versions v;
        versions_of(i->seen, &v);
        buf_printf(out, "%u", v.n);
        versions_release(&v);
    } else if (slice_equal(what, slice_str("replicas"))) {
        put_replicas(i->seen, out);
    } else if (slice_equal(what, slice_str("time"))) {
        buf_printf(out, "%llu.%09llu", (unsigned long long)(i->s.time_ns / 1000000000),
                   (unsigned long long)(i->s.time_ns % 1000000000));
    } else {
        return ENODATA;
    }
    return 0;
}

static void list(struct reading *r)
{
    size_t at = 0;
    struct slice name, value;
    while (xattrs_next(r->inode->s.attrs.xattrs, &at, &name, &value)) {
        if (slice_has_prefix(name, slice_str(XATTR_OWN)))
            continue;
        buf_put_slice(&r->out, name);
        buf_put_u8(&r->out, 0);
    }
    if (r->t.op != NULL)
        r->t.op->data = buf_slice(&r->out);
    task_end(&r->t, 0);
}

static void finish(struct reading *r)
{
    struct inode *i = r->inode;
    struct slice name = buf_slice(&r->name), value;
    int err = 0;
    if (name.len == 0) {
        list(r);
        return;
    }
    if (slice_has_prefix(name, slice_str(XATTR_OWN)))
        err = own(i, name, &r->out);
    else if (xattrs_get(i->s.attrs.xattrs, name, &value) != DYN_OK)
        err = ENODATA;
    else
        buf_put_slice(&r->out, value);
    if (r->t.op != NULL)
        r->t.op->data = buf_slice(&r->out);
    task_end(&r->t, err);
}

static void on_read(struct task *t, const struct get_reply *p)
{
    struct reading *r = container_of(t, struct reading, t);
    struct inode *i = r->inode;
    if (task_got_other(t, i->seen)) {
        task_get_whole(t, seen_key(i->seen), on_read);
        return;
    }
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    seen_got(i->seen, p);
    struct versions v;
    versions_of(i->seen, &v);
    const struct version *at = versions_by_number(&v, i->number);
    /* An open file keeps showing the version that it was opened at. */
    if (i->n_open != 0 || i->unlinked || list_empty(&i->in_seen))
        at = versions_by_dots(&v, &i->dots);
    if (at != NULL && !inode_busy(i) && at->s.type == i->s.type)
        inode_adopt(i, at);
    versions_release(&v);
    finish(r);
}

static void read_xattrs(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name)
{
    struct inode *i = inode_find(fs, node);
    if (i == NULL) {
        bool control = node >= NODE_CONTROL && node < NODE_FIRST;
        op->data = slice_of("", 0);
        op_end(fs, op, !control ? ESTALE : name.len == 0 ? 0 : ENODATA);
        return;
    }
    struct reading *r = task_new(fs, op, sizeof(*r), release);
    r->t.abandonable = true;
    r->inode = inode_hold(i);
    buf_put_slice(&r->name, name);
    bool own_name = slice_has_prefix(name, slice_str(XATTR_OWN));
    bool recent = i->learnt_us != 0 && fs_now_us(fs) - i->learnt_us < fs->cfg.attr_us;
    bool local = i->xattrs_known && !own_name && (recent || i->n_open != 0);
    if (local || !inode_published(i) || i->unlinked)
        finish(r);
    else
        task_get_whole(&r->t, seen_key(i->seen), on_read);
}

void fs_getxattr(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name)
{
    int err = xattr_name_readable(name);
    if (err != 0)
        op_end(fs, op, err);
    else if (xattr_is_setting(name))
        xattr_get_setting(fs, op, node, name);
    else
        read_xattrs(fs, op, node, name);
}

void fs_listxattr(struct fs *fs, struct fs_op *op, uint64_t node)
{
    read_xattrs(fs, op, node, slice_of("", 0));
}
