/* SPDX-License-Identifier: Apache-2.0 */
/* A request is an object of ours around one fs_op, alive until it is answered. A reply can fail:
 * the connection was aborted meanwhile. The kernel then never got the nodeid or the handle in it,
 * so it will not give it back either, and the filesystem would hold it for ever; so we give it
 * back. */
#include "adapter/fuse_request.h"

#include <errno.h>
#include <limits.h>
#include <sys/statvfs.h>

#include "base/mem.h"

/* Requests */

struct request *request_new(struct fuse_channel *ch, fuse_req_t req, uint64_t node,
                            void (*done)(struct fs_op *op))
{
    struct request *r = mem_new(struct request);
    r->ch = ch;
    r->req = req;
    r->node = node;
    r->op.done = done;
    r->op.arg = r;
    list_append(&ch->requests, &r->link);
    list_init(&r->interrupted);
    if (req != NULL) {
        const struct fuse_ctx *ctx = fuse_req_ctx(req);
        r->op.caller =
            (struct fs_caller){ctx->uid, ctx->gid, (uint32_t)ctx->pid, (uint32_t)ctx->umask};
        fuse_req_interrupt_func(req, request_interrupted, r);
    }
    return r;
}

void request_free(struct request *r)
{
    list_remove(&r->link);
    list_remove(&r->interrupted);
    buf_release(&r->dir);
    buf_release(&r->nodes);
    free(r);
}

/* Answers with the operation's error, if it has one. */
static bool replied_error(struct request *r)
{
    if (r->op.err == 0)
        return false;
    fuse_reply_err(r->req, r->op.err); /* if this fails, the kernel no longer asks */
    request_free(r);
    return true;
}

static void nobody_waits(struct fs_op *op)
{
    request_free(op->arg);
}

static void give_back_handle(struct request *r, bool dir)
{
    struct request *own = request_new(r->ch, NULL, r->node, nobody_waits);
    if (dir)
        fs_releasedir(r->ch->fs, &own->op, r->node, r->op.open.fh);
    else
        fs_release(r->ch->fs, &own->op, r->node, r->op.open.fh);
}

/* Translations */

static struct timespec timespec_of(int64_t ns)
{
    struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    if (ts.tv_nsec < 0) {
        ts.tv_sec -= 1;
        ts.tv_nsec += 1000000000;
    }
    return ts;
}

static struct stat stat_of(const struct fs_attr *a)
{
    return (struct stat){
        .st_ino = a->ino,
        .st_mode = a->mode,
        .st_nlink = a->nlink,
        .st_uid = a->uid,
        .st_gid = a->gid,
        .st_size = (off_t)a->size,
        .st_blocks = (blkcnt_t)a->blocks,
        .st_blksize = (blksize_t)a->blksize,
        .st_atim = timespec_of(a->atime_ns),
        .st_mtim = timespec_of(a->mtime_ns),
        .st_ctim = timespec_of(a->ctime_ns),
    };
}

static struct fuse_entry_param entry_of(const struct fs_entry *e)
{
    return (struct fuse_entry_param){
        .ino = e->node, /* never given twice, so the generation stays 0 (F30) */
        .attr = stat_of(&e->attr),
        .attr_timeout = (double)e->attr_us / 1e6,
        .entry_timeout = (double)e->entry_us / 1e6,
    };
}

/* Replies. Each frees its request. */

void reply_done(struct fs_op *op)
{
    struct request *r = op->arg;
    fuse_reply_err(r->req, op->err);
    request_free(r);
}

void reply_entry(struct fs_op *op)
{
    struct request *r = op->arg;
    if (replied_error(r))
        return;
    struct fuse_entry_param e = entry_of(&op->entry);
    if (fuse_reply_entry(r->req, &e) != 0 && e.ino != 0)
        fs_forget(r->ch->fs, e.ino, 1);
    request_free(r);
}

void reply_attr(struct fs_op *op)
{
    struct request *r = op->arg;
    if (replied_error(r))
        return;
    struct stat st = stat_of(&op->entry.attr);
    fuse_reply_attr(r->req, &st, (double)op->entry.attr_us / 1e6);
    request_free(r);
}

static void fill_open(struct request *r)
{
    r->fi.fh = r->op.open.fh;
    r->fi.keep_cache = r->op.open.keep_cache;
    r->fi.direct_io = r->op.open.direct_io;
    r->fi.noflush = r->op.open.no_flush;
}

void reply_open(struct fs_op *op)
{
    struct request *r = op->arg;
    if (replied_error(r))
        return;
    fill_open(r);
    if (fuse_reply_open(r->req, &r->fi) != 0)
        give_back_handle(r, false);
    request_free(r);
}

void reply_opendir(struct fs_op *op)
{
    struct request *r = op->arg;
    if (replied_error(r))
        return;
    fill_open(r);
    if (fuse_reply_open(r->req, &r->fi) != 0)
        give_back_handle(r, true);
    request_free(r);
}

void reply_create(struct fs_op *op)
{
    struct request *r = op->arg;
    if (replied_error(r))
        return;
    struct fuse_entry_param e = entry_of(&op->entry);
    fill_open(r);
    if (fuse_reply_create(r->req, &e, &r->fi) != 0) {
        r->node = e.ino;
        give_back_handle(r, false);
        fs_forget(r->ch->fs, e.ino, 1);
    }
    request_free(r);
}

void reply_data(struct fs_op *op)
{
    struct request *r = op->arg;
    if (replied_error(r))
        return;
    fuse_reply_buf(r->req, (const char *)op->data.data, op->data.len);
    request_free(r);
}

void reply_xattr(struct fs_op *op)
{
    struct request *r = op->arg;
    if (replied_error(r))
        return;
    if (r->size == 0)
        fuse_reply_xattr(r->req, op->data.len);
    else if (op->data.len > r->size)
        fuse_reply_err(r->req, ERANGE);
    else
        fuse_reply_buf(r->req, (const char *)op->data.data, op->data.len);
    request_free(r);
}

void reply_write(struct fs_op *op)
{
    struct request *r = op->arg;
    if (replied_error(r))
        return;
    fuse_reply_write(r->req, op->written);
    request_free(r);
}

void reply_lseek(struct fs_op *op)
{
    struct request *r = op->arg;
    if (replied_error(r))
        return;
    fuse_reply_lseek(r->req, (off_t)op->offset);
    request_free(r);
}

void reply_statfs(struct fs_op *op)
{
    struct request *r = op->arg;
    if (replied_error(r))
        return;
    const struct fs_statfs *f = &op->statfs;
    struct statvfs st = {
        .f_bsize = f->block_size,
        .f_frsize = f->block_size,
        .f_blocks = f->blocks,
        .f_bfree = f->blocks_free,
        .f_bavail = f->blocks_free,
        .f_files = f->files,
        .f_ffree = f->files_free,
        .f_favail = f->files_free,
        .f_namemax = f->name_max,
    };
    fuse_reply_statfs(r->req, &st);
    request_free(r);
}

bool reply_dir_fill(struct fs_op *op, struct slice name, const struct fs_entry *entry,
                    uint64_t next_off)
{
    struct request *r = op->arg;
    char text[NAME_MAX + 1];
    if (name.len > NAME_MAX)
        return true; /* cannot be said to the kernel; the model lets no such name in */
    memcpy(text, name.data, name.len);
    text[name.len] = 0;
    struct fuse_entry_param e = entry_of(entry);
    char *at = (char *)r->dir.data + r->dir.len;
    size_t room = r->size - r->dir.len;
    size_t len = r->plus ? fuse_add_direntry_plus(r->req, at, room, text, &e, (off_t)next_off)
                         : fuse_add_direntry(r->req, at, room, text, &e.attr, (off_t)next_off);
    if (len > room)
        return false;
    r->dir.len += len;
    /* The kernel counts a lookup for each entry but these two. */
    if (r->plus && e.ino != 0 && !slice_equal(name, slice_str(".")) &&
        !slice_equal(name, slice_str("..")))
        buf_put_u64(&r->nodes, e.ino);
    return true;
}

void reply_dir(struct fs_op *op)
{
    struct request *r = op->arg;
    int failed = op->err != 0 ? fuse_reply_err(r->req, op->err)
                              : fuse_reply_buf(r->req, (const char *)r->dir.data, r->dir.len);
    if (failed != 0 || op->err != 0) {
        struct reader nodes = reader_of(buf_slice(&r->nodes));
        while (reader_left(&nodes) > 0)
            fs_forget(r->ch->fs, read_u64(&nodes), 1);
    }
    request_free(r);
}
