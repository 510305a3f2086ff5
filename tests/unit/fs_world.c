/* SPDX-License-Identifier: Apache-2.0 */
/* See fs_world.h. */
#include "fs_world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "unit.h"

static void inval(void *ctx, uint64_t node)
{
    struct mount *m = ctx;
    (void)node;
    m->invals++;
}

static void say(void *ctx, int level, const char *text)
{
    struct mount *m = ctx;
    (void)level;
    snprintf(m->said, sizeof(m->said), "%s", text);
    m->lines++;
}

static void let_go(void *ctx, const struct fs_held *held)
{
    struct mount *m = ctx;
    m->asked_back++;
    if (m->let_go != NULL)
        m->let_go(m, held);
}

static bool still_open(void *ctx, uint32_t pid, uint64_t ino)
{
    (void)pid;
    (void)ino;
    return ((struct mount *)ctx)->still_open;
}

static uint8_t replicas(void *ctx)
{
    return ((struct mount *)ctx)->replicas;
}

static uint64_t cluster(void *ctx)
{
    return ((struct mount *)ctx)->cluster;
}

struct mount *mount_new(struct fake_kv *k, uint64_t id, void (*change)(struct fs_config *c))
{
    struct mount *m = mem_new(struct mount);
    struct fs_config cfg;
    fs_config_defaults(&cfg);
    cfg.mount_id = id;
    if (change != NULL)
        change(&cfg);
    struct kv_port kv = fake_kv_port(k);
    struct time_port time = fake_kv_time(k);
    struct random_port random = fake_kv_random(k);
    struct fs_host host = {.ctx = m,
                           .inval_attrs = inval,
                           .log = say,
                           .let_go = let_go,
                           .still_open = still_open,
                           .replicas = replicas,
                           .cluster = cluster};
    m->k = k;
    m->pid = 100;
    m->fs = fs_new(&cfg, &kv, &time, &random, &k->timers, &host);
    return m;
}

void mount_free(struct mount *m)
{
    if (m == NULL)
        return;
    fs_free(m->fs);
    free(m);
}

int world_set_up(void **state)
{
    struct world *w = mem_new(struct world);
    fake_kv_init(&w->k);
    w->a = mount_new(&w->k, 1, NULL);
    w->b = mount_new(&w->k, 2, NULL);
    *state = w;
    return 0;
}

int world_tear_down(void **state)
{
    struct world *w = *state;
    mount_free(w->a);
    mount_free(w->b);
    fake_kv_release(&w->k);
    free(w);
    return 0;
}

void later(struct mount *m)
{
    fake_kv_run(m->k, 2000000, NULL);
}

static void done(struct fs_op *op)
{
    ((struct call *)op->arg)->done = true;
}

void call_init(struct mount *m, struct call *c)
{
    *c = (struct call){.op = {.done = done, .arg = c, .caller = {.pid = m->pid}}};
}

int call_wait(struct mount *m, struct call *c)
{
    fake_kv_run(m->k, 120000000, &c->done);
    assert_true(c->done);
    m->err = c->op.err;
    return c->op.err;
}

static uint64_t lookup(struct mount *m, uint64_t parent, const char *name, size_t len)
{
    struct call c;
    call_init(m, &c);
    fs_lookup(m->fs, &c.op, parent, slice_of(name, len));
    if (call_wait(m, &c) != 0)
        return 0;
    m->entry = c.op.entry;
    return c.op.entry.node;
}

uint64_t do_lookup(struct mount *m, const char *path)
{
    uint64_t node = FS_ROOT;
    m->err = 0;
    while (*path != 0 && node != 0) {
        size_t len = strcspn(path, "/");
        node = lookup(m, node, path, len);
        path += len + (path[len] == '/');
    }
    return node;
}

/* The directory of a path; *name is its last component. */
static uint64_t parent_of(struct mount *m, const char *path, struct slice *name)
{
    const char *slash = strrchr(path, '/');
    *name = slice_str(slash == NULL ? path : slash + 1);
    if (slash == NULL)
        return FS_ROOT;
    char *dir = mem_strndup(path, (size_t)(slash - path));
    uint64_t node = do_lookup(m, dir);
    free(dir);
    assert_int_not_equal(node, 0);
    return node;
}

int do_open(struct mount *m, const char *path, int flags)
{
    struct call c;
    struct slice name;
    for (int tries = 0; tries < 3; tries++) { /* as the kernel does after ESTALE */
        uint64_t parent = parent_of(m, path, &name);
        uint64_t node = lookup(m, parent, (const char *)name.data, name.len);
        if (node == 0 && !(flags & O_CREAT))
            return m->err;
        if (node != 0 && flags & O_CREAT && flags & O_EXCL)
            return m->err = EEXIST;
        call_init(m, &c);
        if (node != 0)
            fs_open_file(m->fs, &c.op, node, flags & ~(O_CREAT | O_EXCL));
        else
            fs_create(m->fs, &c.op, parent, name, 0644, flags);
        if (call_wait(m, &c) == ESTALE)
            continue;
        m->open = c.op.open;
        m->fh = c.op.open.fh;
        m->node = node != 0 ? node : c.op.entry.node;
        return m->err;
    }
    return m->err;
}

int do_write(struct mount *m, uint64_t node, uint64_t fh, uint64_t off, const char *text)
{
    struct call c;
    call_init(m, &c);
    fs_write(m->fs, &c.op, node, fh, off, slice_str(text));
    if (call_wait(m, &c) == 0)
        assert_int_equal(c.op.written, strlen(text));
    return m->err;
}

int do_flush(struct mount *m, uint64_t node, uint64_t fh)
{
    struct call c;
    call_init(m, &c);
    fs_flush(m->fs, &c.op, node, fh);
    return call_wait(m, &c);
}

int do_fsync(struct mount *m, uint64_t node, uint64_t fh)
{
    struct call c;
    call_init(m, &c);
    fs_fsync(m->fs, &c.op, node, fh);
    return call_wait(m, &c);
}

void do_release(struct mount *m, uint64_t node, uint64_t fh)
{
    struct call c;
    call_init(m, &c);
    fs_release(m->fs, &c.op, node, fh);
    assert_int_equal(call_wait(m, &c), 0);
}

int do_close(struct mount *m, uint64_t node, uint64_t fh)
{
    int err = do_flush(m, node, fh);
    do_release(m, node, fh);
    return m->err = err;
}

static struct mount *reader_of_call; /* done borrows op->data only while it runs */

static void take_data(struct fs_op *op)
{
    struct mount *m = reader_of_call;
    assert_true(op->data.len < sizeof(m->text));
    if (op->err == 0 && op->data.len != 0)
        memcpy(m->text, op->data.data, op->data.len);
    m->text[op->err == 0 ? op->data.len : 0] = 0;
    done(op);
}

const char *do_read_at(struct mount *m, uint64_t node, uint64_t fh, uint64_t off)
{
    struct call c;
    call_init(m, &c);
    c.op.done = take_data;
    reader_of_call = m;
    fs_read(m->fs, &c.op, node, fh, off, sizeof(m->text) - 1);
    return call_wait(m, &c) == 0 ? m->text : NULL;
}

const char *do_read(struct mount *m, uint64_t node, uint64_t fh)
{
    return do_read_at(m, node, fh, 0);
}

int do_getattr(struct mount *m, uint64_t node)
{
    struct call c;
    call_init(m, &c);
    fs_getattr(m->fs, &c.op, node, 0);
    if (call_wait(m, &c) == 0)
        m->entry = c.op.entry;
    return m->err;
}

int do_setattr(struct mount *m, const char *path, const struct fs_attr *a, uint32_t set)
{
    struct call c;
    uint64_t node = do_lookup(m, path);
    if (node == 0)
        return m->err;
    call_init(m, &c);
    fs_setattr(m->fs, &c.op, node, 0, a, set);
    if (call_wait(m, &c) == 0)
        m->entry = c.op.entry;
    return m->err;
}

static int write_file(struct mount *m, const char *text, const char *path, int flags)
{
    if (do_open(m, path, flags) != 0)
        return m->err;
    uint64_t node = m->node, fh = m->fh;
    int err = *text == 0 ? 0 : do_write(m, node, fh, 0, text);
    int closed = do_close(m, node, fh);
    return m->err = err != 0 ? err : closed;
}

int sh_echo(struct mount *m, const char *text, const char *path)
{
    return write_file(m, text, path, O_WRONLY | O_CREAT | O_TRUNC);
}

int sh_append(struct mount *m, const char *text, const char *path)
{
    return write_file(m, text, path, O_WRONLY | O_CREAT | O_APPEND);
}

const char *sh_cat(struct mount *m, const char *path)
{
    if (do_open(m, path, O_RDONLY) != 0)
        return NULL;
    uint64_t node = m->node, fh = m->fh;
    const char *text = do_read(m, node, fh);
    do_close(m, node, fh);
    return text;
}

static bool add_name(struct fs_op *op, struct slice name, const struct fs_entry *e, uint64_t next)
{
    struct mount *m = reader_of_call;
    (void)next;
    (void)op;
    if (slice_equal(name, slice_str(".")) || slice_equal(name, slice_str("..")))
        return true;
    assert_int_not_equal(e->node, 0);
    size_t at = strlen(m->text);
    assert_true(at + name.len + 2 < sizeof(m->text));
    memcpy(m->text + at, name.data, name.len);
    memcpy(m->text + at + name.len, " ", 2);
    return true;
}

static uint64_t last_cookie;

static bool add_and_count(struct fs_op *op, struct slice name, const struct fs_entry *e,
                          uint64_t next)
{
    last_cookie = next;
    return add_name(op, name, e, next);
}

const char *sh_ls(struct mount *m, const char *path)
{
    struct call c;
    uint64_t node = do_lookup(m, path), before;
    if (node == 0)
        return NULL;
    call_init(m, &c);
    fs_opendir(m->fs, &c.op, node);
    if (call_wait(m, &c) != 0)
        return NULL;
    uint64_t fh = c.op.open.fh;
    m->text[0] = 0;
    reader_of_call = m;
    last_cookie = 0;
    do {
        before = last_cookie;
        call_init(m, &c);
        fs_readdir(m->fs, &c.op, node, fh, before, true, add_and_count);
    } while (call_wait(m, &c) == 0 && last_cookie != before);
    int err = c.op.err;
    call_init(m, &c);
    fs_releasedir(m->fs, &c.op, node, fh);
    call_wait(m, &c);
    m->err = err;
    return err == 0 ? m->text : NULL;
}

typedef void (*name_op)(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name);

static int by_name(struct mount *m, const char *path, name_op op)
{
    struct call c;
    struct slice name;
    uint64_t parent = parent_of(m, path, &name);
    if (lookup(m, parent, (const char *)name.data, name.len) == 0)
        return m->err;
    call_init(m, &c);
    op(m->fs, &c.op, parent, name);
    return call_wait(m, &c);
}

int sh_rm(struct mount *m, const char *path)
{
    return by_name(m, path, fs_unlink);
}

int sh_rmdir(struct mount *m, const char *path)
{
    return by_name(m, path, fs_rmdir);
}

int sh_mv(struct mount *m, const char *from, const char *to)
{
    struct call c;
    struct slice name, new_name;
    uint64_t parent = parent_of(m, from, &name), new_parent = parent_of(m, to, &new_name);
    if (lookup(m, parent, (const char *)name.data, name.len) == 0)
        return m->err;
    lookup(m, new_parent, (const char *)new_name.data, new_name.len);
    call_init(m, &c);
    fs_rename(m->fs, &c.op, parent, name, new_parent, new_name, 0);
    return call_wait(m, &c);
}

int sh_mkdir(struct mount *m, const char *path)
{
    struct call c;
    struct slice name;
    uint64_t parent = parent_of(m, path, &name);
    call_init(m, &c);
    fs_mkdir(m->fs, &c.op, parent, name, 0755);
    return call_wait(m, &c);
}

int sh_chmod(struct mount *m, const char *path, uint32_t mode)
{
    return do_setattr(m, path, &(struct fs_attr){.mode = mode}, FS_SET_MODE);
}

int sh_setxattr(struct mount *m, const char *path, const char *name, const char *value)
{
    struct call c;
    uint64_t node = do_lookup(m, path);
    if (node == 0)
        return m->err;
    call_init(m, &c);
    fs_setxattr(m->fs, &c.op, node, slice_str(name), slice_str(value), 0);
    return call_wait(m, &c);
}

const char *sh_getxattr(struct mount *m, const char *path, const char *name)
{
    struct call c;
    uint64_t node = do_lookup(m, path);
    if (node == 0)
        return NULL;
    call_init(m, &c);
    c.op.done = take_data;
    reader_of_call = m;
    fs_getxattr(m->fs, &c.op, node, slice_str(name));
    return call_wait(m, &c) == 0 ? m->text : NULL;
}
