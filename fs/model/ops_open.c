/* SPDX-License-Identifier: Apache-2.0 */
/* open: fixes the version that a handle serves, and what a write through it may supersede (F1).
 *
 *   unpublished changes -> as it is, no request
 *   GET (the newest version, small values with it) -> adopt or ESTALE (F17) -> [VALUE] -> handle
 *
 * Reads come from the version opened until the last handle is closed, whatever arrives. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "model/content.h"
#include "model/control.h"
#include "model/held.h"
#include "model/open.h"
#include "model/publish.h"

#define RETRIES_MAX 3           /* a file that is replaced faster than it can be opened */
#define VALUE_CACHED_MAX 65536u /* cached content this large is checked by its dot, not fetched */

bool open_reads(int flags)
{
    return (flags & O_ACCMODE) != O_WRONLY;
}

bool open_writes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

struct handle *handle_of(uint64_t fh)
{
    return (struct handle *)(uintptr_t)fh;
}

static void add_context(struct inode *i, int flags)
{
    if (i->number != 0 || (flags & O_APPEND))
        return; /* an append takes what was read, at publication */
    switch (i->fs->cfg.resolve) {
    case FS_RESOLVE_SHOWN:
        seen_collect(i->seen, KNOWN_SHOWN, &i->context);
        break;
    case FS_RESOLVE_READ:
        seen_collect(i->seen, KNOWN_READ, &i->context);
        break;
    case FS_RESOLVE_EXPLICIT:
        break;
    }
}

/* F4: a rename over the name will carry what this open was shown. */
static void remember_served(struct inode *i)
{
    struct seen *s = i->seen;
    if (i->number != 0)
        return;
    cover_clear(&s->served);
    cover_join_dots(&s->served, &i->dots);
    if (i->fs->cfg.resolve == FS_RESOLVE_SHOWN)
        seen_collect(s, KNOWN_SHOWN, &s->served);
    s->was_served = true;
}

static void truncate_at_open(struct inode *i, const struct fs_caller *caller)
{
    content_truncate(i, 0);
    i->appended_only = false;
    i->written = false;
    int64_t now = fs_wall_ns(i->fs);
    i->s.attrs.mtime_ns = i->s.attrs.ctime_ns = now;
    if (caller->uid != 0)
        i->s.attrs.mode &=
            (i->s.attrs.mode & S_IXGRP) ? ~(uint32_t)(S_ISUID | S_ISGID) : ~(uint32_t)S_ISUID;
    publish_mark(i, true);
}

void open_handle(struct inode *i, struct fs_op *op, int flags)
{
    bool named = !i->unlinked && !list_empty(&i->in_seen);
    if (named) {
        seen_flag(i->seen, &i->dots, KNOWN_SHOWN);
        if (open_reads(flags) && !(flags & O_TRUNC))
            seen_flag(i->seen, &i->dots, KNOWN_READ);
        remember_served(i);
        if (open_writes(flags))
            add_context(i, flags);
    }
    struct handle *h = mem_new(struct handle);
    list_append(&i->fs->handles, &h->link);
    h->inode = i;
    h->flags = flags;
    i->n_open++;
    held_used(i);
    if (open_writes(flags))
        i->n_writers++;
    op->open = (struct fs_open){.fh = (uint64_t)(uintptr_t)h,
                                .direct_io = (flags & O_APPEND) != 0 && open_writes(flags),
                                .no_flush = !open_writes(flags)};
    bool same_bytes = !dot_is_none(&i->s.value_dot) && dot_equal(&i->pages_dot, &i->s.value_dot) &&
                      !(flags & O_TRUNC);
    op->open.keep_cache = same_bytes || (inode_busy(i) && i->n_open > 1);
    if (!inode_busy(i))
        i->pages_dot = i->s.value_dot;
    if ((flags & O_TRUNC) && open_writes(flags))
        truncate_at_open(i, &op->caller);
}

void open_release(struct handle *h)
{
    struct inode *i = h->inode;
    bool writes = open_writes(h->flags);
    if (writes) {
        i->n_writers--;
        if (i->n_writers == 0 && !inode_dirty(i))
            cover_clear(&i->context);
    }
    list_remove(&h->link);
    free(h);
    inode_hold(i);
    i->n_open--;
    if (i->n_open == 0 || (writes && i->n_writers == 0))
        publish(i, DURABILITY_DEFAULT, NULL, NULL);
    inode_drop(i);
}

struct opening {
    struct task t;
    struct inode *inode; /* held */
    int flags;
    uint8_t retries;
};

static void release(struct task *t)
{
    inode_drop(container_of(t, struct opening, t)->inode);
}

static void end_open(struct opening *o)
{
    if (o->t.op != NULL)
        open_handle(o->inode, o->t.op, o->flags);
    task_end(&o->t, 0);
}

static bool needs_content(const struct opening *o)
{
    return !(o->flags & O_TRUNC) && !content_here(o->inode);
}

static void fetch(struct opening *o);

/* F17: who only reads keeps his snapshot, and the name gets a new inode. */
static bool may_adopt(const struct inode *i, const struct version *v)
{
    return i->n_open == 0 || i->n_writers != 0 || dot_equal(&i->s.value_dot, &v->s.value_dot);
}

static int adopt(struct inode *i)
{
    struct versions v;
    versions_of(i->seen, &v);
    const struct version *at = versions_by_number(&v, i->number);
    int err = 0;
    if (at == NULL || at->s.type != i->s.type || !may_adopt(i, at)) {
        inode_unname(i); /* the kernel looks the name up again */
        err = ESTALE;
    } else {
        inode_adopt(i, at);
    }
    versions_release(&v);
    return err;
}

/* The version was replaced meanwhile: what is there now is opened. */
static bool look_again(struct opening *o, const struct get_reply *p)
{
    if (p->status != DYN_ERR_STALE || o->retries == RETRIES_MAX)
        return false;
    struct inode *i = o->inode;
    bool named = !i->unlinked && !list_empty(&i->in_seen);
    o->retries++;
    seen_got(i->seen, p);
    if (named && (inode_busy(i) || adopt(i) == 0))
        fetch(o);
    else
        task_end(&o->t, ESTALE);
    return true;
}

static void on_value(struct task *t, const struct get_reply *p)
{
    struct opening *o = container_of(t, struct opening, t);
    struct inode *i = o->inode;
    const struct sibling *s = object_find_value(&p->object, &i->s.value_dot);
    if (task_got_other(t, i->seen)) {
        fetch(o);
        return;
    }
    if (look_again(o, p))
        return;
    if (p->status != DYN_OK || inode_busy(i)) {
        if (inode_busy(i))
            end_open(o);
        else
            task_end(t, fs_errno(p->status));
        return;
    }
    seen_got(i->seen, p);
    if (s == NULL || s->value == NULL) {
        task_end(t, ESTALE);
        return;
    }
    content_load(i, s->value);
    end_open(o);
}

static void on_version(struct task *t, const struct get_reply *p)
{
    struct opening *o = container_of(t, struct opening, t);
    struct inode *i = o->inode;
    if (task_got_other(t, i->seen)) {
        fetch(o);
        return;
    }
    if (look_again(o, p))
        return;
    if (p->status != DYN_OK) {
        task_end(t, fs_errno(p->status));
        return;
    }
    seen_got(i->seen, p);
    if (inode_busy(i) || i->unlinked || list_empty(&i->in_seen)) {
        if (!inode_busy(i) && !content_here(i))
            task_end(t, ESTALE);
        else
            end_open(o);
        return;
    }
    int err = adopt(i);
    if (err != 0) {
        task_end(t, err);
        return;
    }
    if (!dot_equal(&i->kernel_dot, &i->s.dot)) { /* F5 */
        if (t->fs->host.inval_attrs != NULL)
            t->fs->host.inval_attrs(t->fs->host.ctx, i->id);
        i->kernel_dot = i->s.dot;
    }
    const struct sibling *s = object_find_value(&p->object, &i->s.value_dot);
    if (needs_content(o) && s != NULL && s->value != NULL)
        content_load(i, s->value);
    if (needs_content(o))
        task_get(t, seen_key(i->seen), GET_DOT, &i->s.value_dot, on_value);
    else
        end_open(o);
}

static void fetch(struct opening *o)
{
    struct inode *i = o->inode;
    bool meta = (o->flags & O_TRUNC) || i->large != NULL ||
                (i->loaded != NULL && i->loaded->len > VALUE_CACHED_MAX);
    enum get_want want = meta ? GET_META : i->number != 0 ? GET_DOT : GET_NEWEST;
    task_get(&o->t, seen_key(i->seen), want, &i->s.value_dot, on_version);
}

void fs_open_file(struct fs *fs, struct fs_op *op, uint64_t node, int flags)
{
    if (control_open(fs, op, node, flags))
        return;
    struct inode *i = inode_find(fs, node);
    int err = i == NULL                                                      ? ESTALE
              : i->s.type == SIBLING_DIR                                     ? EISDIR
              : i->s.type == SIBLING_SYMLINK                                 ? ELOOP
              : fs->cfg.read_only && (open_writes(flags) || flags & O_TRUNC) ? EROFS
                                                                             : 0;
    if (err != 0) {
        op_end(fs, op, err);
        return;
    }
    struct opening *o = task_new(fs, op, sizeof(*o), release);
    o->t.abandonable = true;
    o->inode = inode_hold(i);
    o->flags = flags;
    bool nameless = i->unlinked || list_empty(&i->in_seen);
    if ((inode_busy(i) && content_here(i)) || (nameless && content_here(i)))
        end_open(o);
    else if (nameless)
        task_end(&o->t, ESTALE);
    else
        fetch(o);
}
