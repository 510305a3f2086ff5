/* SPDX-License-Identifier: Apache-2.0 */
/* See core.h: one operation on its way, and its requests. All requests of the model go through
 * here, so deadlines, counters and the end of the filesystem have one home. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "model/publish.h"
#include "model/resume.h"
#include "model/seen.h"

uint64_t fs_now_us(const struct fs *fs)
{
    return fs->time.mono_us(fs->time.ctx);
}

int64_t fs_wall_ns(const struct fs *fs)
{
    return (int64_t)fs->time.wall_ns(fs->time.ctx);
}

void fs_say(const struct fs *fs, int level, const char *fmt, ...)
{
    if (fs->host.log == NULL)
        return;
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fs->host.log(fs->host.ctx, level, text);
}

int fs_errno(int err)
{
    switch (err) {
    case DYN_OK:
        return 0;
    case DYN_ERR_INVALID:
        return EINVAL;
    case DYN_ERR_TOO_LARGE:
        return EFBIG;
    case DYN_ERR_NOT_FOUND:
        return ENOENT;
    case DYN_ERR_EXISTS:
        return EEXIST;
    case DYN_ERR_TIMEOUT:
    case DYN_ERR_NO_QUORUM:
    case DYN_ERR_UNREACHABLE:
    case DYN_ERR_OVERLOAD: /* the client has waited until the deadline: never EAGAIN (F22) */
        return ETIMEDOUT;
    case DYN_ERR_NO_SPACE:
        return ENOSPC;
    case DYN_ERR_STALE:
        return ESTALE;
    case DYN_ERR_DENIED:
        return EACCES;
    case DYN_ERR_NOT_EMPTY:
        return ENOTEMPTY;
    case DYN_ERR_CONFLICT:
        return EBUSY;
    case DYN_ERR_CANCELED:
        return EINTR;
    default:
        return EIO;
    }
}

void *task_new(struct fs *fs, struct fs_op *op, size_t size, void (*release)(struct task *t))
{
    assert(size >= sizeof(struct task) && !fs->closing);
    struct task *t = mem_zalloc(size);
    t->fs = fs;
    t->op = op;
    t->release = release;
    list_append(&fs->tasks, &t->link);
    if (op != NULL) {
        op->fs = fs;
        op->state = t;
    }
    return t;
}

void op_end(struct fs *fs, struct fs_op *op, int err)
{
    fs->counters.operations++;
    op->err = err;
    op->state = NULL;
    op->done(op);
}

void task_end(struct task *t, int err)
{
    assert(t->kv_id == 0);
    struct fs_op *op = t->op;
    t->op = NULL;
    list_remove(&t->link);
    timer_cancel(t->fs->timers, &t->ask.pause);
    buf_release(&t->ask.key);
    if (op != NULL)
        op_end(t->fs, op, err);
    if (t->release != NULL)
        t->release(t);
    free(t);
}

void fs_interrupt(struct fs_op *op)
{
    struct task *t = op->state;
    if (op->flushed != NULL)
        publish_leave(op);
    if (t == NULL || !t->abandonable || t->op != op)
        return;
    t->op = NULL; /* what the task still learns is worth keeping */
    op_end(t->fs, op, EINTR);
}

static uint8_t at_most_all(const struct fs *fs, uint8_t wanted)
{
    uint8_t n = fs->host.replicas == NULL ? 0 : fs->host.replicas(fs->host.ctx);
    return n != 0 && wanted > n ? n : wanted;
}

void task_options(const struct fs *fs, struct request_options *opt)
{
    opt->timeout_ms = (uint32_t)(fs->cfg.deadline_us / 1000);
    if (opt->r == 0)
        opt->r = at_most_all(fs, fs->cfg.r);
    if (opt->w == 0)
        opt->w = at_most_all(fs, fs->cfg.w);
}

uint8_t fs_majority(const struct fs *fs)
{
    uint8_t n = fs->host.replicas == NULL ? 0 : fs->host.replicas(fs->host.ctx);
    return n == 0 ? 0 : (uint8_t)(n / 2 + 1);
}

static void on_put(void *arg, const struct put_reply *p)
{
    struct task *t = arg;
    struct fs *fs = t->fs;
    t->kv_id = 0;
    fs->asked_us = t->asked_us;
    t->on.put(t, p);
    fs->asked_us = 0;
}

static void on_list(void *arg, const struct list_reply *p)
{
    struct task *t = arg;
    struct fs *fs = t->fs;
    t->kv_id = 0;
    resume_look(t->fs);
    fs->asked_us = t->asked_us;
    t->on.listed(t, p);
    fs->asked_us = 0;
}

static void on_sync(void *arg, const struct sync_reply *p)
{
    struct task *t = arg;
    t->kv_id = 0;
    t->on.synced(t, p);
}

void task_put(struct task *t, struct put_request *q,
              void (*put)(struct task *t, const struct put_reply *p))
{
    assert(t->kv_id == 0);
    task_options(t->fs, &q->opt);
    if (q->opt.durability == DURABILITY_DEFAULT)
        q->opt.durability = t->fs->cfg.durability;
    t->on.put = put;
    t->asked_us = fs_now_us(t->fs);
    t->fs->counters.puts++;
    t->fs->counters.value_bytes_put += q->value.len - q->extends.len;
    t->kv_id = t->fs->kv.put(t->fs->kv.ctx, q, on_put, t);
}

void task_list(struct task *t, struct slice dir, struct slice after, uint32_t limit,
               void (*listed)(struct task *t, const struct list_reply *p))
{
    assert(t->kv_id == 0);
    struct list_request q = {.dir = dir, .after = after, .limit = limit};
    task_options(t->fs, &q.opt);
    t->on.listed = listed;
    t->asked_us = fs_now_us(t->fs);
    t->fs->counters.lists++;
    t->kv_id = t->fs->kv.list(t->fs->kv.ctx, &q, on_list, t);
}

void task_sync(struct task *t, struct slice key, const struct dot *dot,
               void (*synced)(struct task *t, const struct sync_reply *p))
{
    assert(t->kv_id == 0);
    struct sync_request q = {.key = key, .dot = *dot};
    task_options(t->fs, &q.opt);
    q.opt.durability = DURABILITY_QUORUM;
    t->on.synced = synced;
    t->fs->counters.syncs++;
    t->kv_id = t->fs->kv.sync(t->fs->kv.ctx, &q, on_sync, t);
}
