/* SPDX-License-Identifier: Apache-2.0 */
/* See played_fs.h. */
#include "played_fs.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "adapter/caller.h"
#include "unit.h"

struct played_fs *played_fs;

bool caller_is_killed(uint32_t pid)
{
    assert_int_equal(pid, 77);
    return played_fs->killed;
}

static struct call *record(const char *what, uint64_t node, struct slice name, uint64_t number,
                           struct fs_op *op)
{
    assert_true(played_fs->n_calls < CALLS_MAX);
    struct call *c = &played_fs->calls[played_fs->n_calls++];
    snprintf(c->what, sizeof(c->what), "%s", what);
    snprintf(c->name, sizeof(c->name), "%.*s", (int)name.len, (const char *)name.data);
    c->node = node;
    c->number = number;
    c->op = op;
    return c;
}

#define NO_NAME slice_of("", 0)

void fs_interrupt(struct fs_op *op)
{
    record("interrupt", 0, NO_NAME, 0, op);
    op->err = EINTR;
    op->done(op);
}

void fs_lookup(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name)
{
    (void)fs;
    record("lookup", parent, name, 0, op);
}

void fs_forget(struct fs *fs, uint64_t node, uint64_t nlookup)
{
    (void)fs;
    record("forget", node, NO_NAME, nlookup, NULL);
}

void fs_mknod(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name, uint32_t mode)
{
    (void)fs;
    record("mknod", parent, name, mode, op);
}

void fs_create(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name, uint32_t mode,
               int flags)
{
    (void)fs, (void)flags;
    record("create", parent, name, mode, op);
}

void fs_open_file(struct fs *fs, struct fs_op *op, uint64_t node, int flags)
{
    (void)fs;
    record("open", node, NO_NAME, (uint64_t)flags, op);
}

void fs_read(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh, uint64_t off,
             uint32_t size)
{
    (void)fs, (void)fh, (void)size;
    record("read", node, NO_NAME, off, op);
}

void fs_write(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh, uint64_t off,
              struct slice data)
{
    (void)fs, (void)fh;
    record("write", node, data, off, op);
}

void fs_release(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh)
{
    (void)fs;
    record("release", node, NO_NAME, fh, op);
    op->done(op);
}

void fs_getxattr(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name)
{
    (void)fs;
    record("getxattr", node, name, 0, op);
    op->data = slice_str("0123456789");
    op->done(op);
}

void fs_readdir(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh, uint64_t off,
                bool plus, fs_fill fill)
{
    (void)fs, (void)fh, (void)off;
    record("readdir", node, NO_NAME, plus, op);
    static const struct {
        const char *name;
        uint64_t node;
    } names[] = {{".", 9}, {"..", 1}, {"a", 21}, {"b", 22}, {"too much", 23}};
    for (uint64_t i = 0; i < 5; i++) {
        struct fs_entry e = {.node = names[i].node, .attr = {.ino = i + 100, .mode = S_IFREG}};
        if (!fill(op, slice_str(names[i].name), &e, i + 1))
            break;
    }
    op->done(op);
}

/* What these tests do not ask for. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define UNASKED(name, ...)                                                                         \
    void name(struct fs *fs, struct fs_op *op, __VA_ARGS__)                                        \
    {                                                                                              \
        fail();                                                                                    \
    }
UNASKED(fs_getattr, uint64_t a, uint64_t b)
UNASKED(fs_setattr, uint64_t a, uint64_t b, const struct fs_attr *c, uint32_t d)
UNASKED(fs_mkdir, uint64_t a, struct slice b, uint32_t c)
UNASKED(fs_symlink, uint64_t a, struct slice b, struct slice c)
UNASKED(fs_readlink, uint64_t a)
UNASKED(fs_flush, uint64_t a, uint64_t b)
UNASKED(fs_fsync, uint64_t a, uint64_t b)
UNASKED(fs_fallocate, uint64_t a, uint64_t b, int c, uint64_t d, uint64_t e)
UNASKED(fs_lseek, uint64_t a, uint64_t b, int c)
UNASKED(fs_copy_range, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
UNASKED(fs_unlink, uint64_t a, struct slice b)
UNASKED(fs_rmdir, uint64_t a, struct slice b)
UNASKED(fs_rename, uint64_t a, struct slice b, uint64_t c, struct slice d, uint32_t e)
UNASKED(fs_opendir, uint64_t a)
UNASKED(fs_releasedir, uint64_t a, uint64_t b)
UNASKED(fs_fsyncdir, uint64_t a, uint64_t b)
UNASKED(fs_stat_fs, uint64_t a)
UNASKED(fs_setxattr, uint64_t a, struct slice b, struct slice c, int d)
UNASKED(fs_listxattr, uint64_t a)
UNASKED(fs_removexattr, uint64_t a, struct slice b)
#pragma GCC diagnostic pop
