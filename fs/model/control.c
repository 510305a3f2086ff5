/* SPDX-License-Identifier: Apache-2.0 */
/* See control.h. The files: status (how this mount is), conflicts (keys with more than one version,
 * control_conflicts.c), pending (what could not be published yet), metrics (Prometheus text). */
#include "model/control.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "model/content.h"
#include "model/open.h"
#include "model/owed.h"
#include "model/place.h"
#include "model/publish.h"
#include "model/resume.h"
#include "model/unseen.h"

static void put_status(struct fs *fs, struct buf *out)
{
    static const char *const resolve[] = {"shown", "read", "explicit"};
    buf_printf(out, "mount      %016llx\n", (unsigned long long)fs->cfg.mount_id);
    buf_put_str(out, "root       /");
    buf_put_percent(out, buf_slice(&fs->root), "/ ");
    buf_printf(out, "\nresolve    %s\nconflicts  %s\n", resolve[fs->cfg.resolve],
               fs->cfg.hide_conflicts ? "hide" : "show");
    buf_printf(out, "access     %s\n", fs->cfg.read_only ? "read-only" : "read-write");
    buf_printf(out, "inodes     %zu\npending    %u\ncontent    %llu bytes\n", fs->inodes.n,
               fs_dirty_count(fs), (unsigned long long)fs->memory);
    if (fs->host.status != NULL)
        fs->host.status(fs->host.ctx, out);
}

static void put_metric(struct buf *out, const char *name, const char *type, const char *help,
                       uint64_t value)
{
    buf_printf(out, "# HELP dynamount_%s %s\n# TYPE dynamount_%s %s\ndynamount_%s %llu\n", name,
               help, name, type, name, (unsigned long long)value);
}

static void put_metrics(struct fs *fs, struct buf *out)
{
    const struct fs_counters *c = &fs->counters;
    put_metric(out, "operations_total", "counter", "Operations answered.", c->operations);
    put_metric(out, "gets_total", "counter", "Reads of keys.", c->gets);
    put_metric(out, "puts_total", "counter", "Writes of keys.", c->puts);
    put_metric(out, "lists_total", "counter", "Pages of listings.", c->lists);
    put_metric(out, "syncs_total", "counter", "Requests to sync a version.", c->syncs);
    put_metric(out, "value_bytes_put_total", "counter",
               "Bytes of values sent, of an append those appended.", c->value_bytes_put);
    put_metric(out, "published_total", "counter", "Publications that succeeded.", c->published);
    put_metric(out, "publish_failures_total", "counter", "Publications that failed.",
               c->publish_failures);
    put_metric(out, "appends_rebased_total", "counter", "Appends put after a newer version.",
               c->rebased);
    put_metric(out, "lagging_answers_total", "counter",
               "Answers that knew less than this mount, and were asked for again.", c->lagging);
    put_metric(out, "names_from_memory_total", "counter", "Lookups answered without a request.",
               c->names_from_memory);
    put_metric(out, "asked_back_total", "counter", "Inodes that the kernel was asked to give back.",
               c->asked_back);
    put_metric(out, "told_total", "counter", "Changes made elsewhere that nodes told of.", c->told);
    put_metric(out, "told_answers_total", "counter",
               "Answers from memory, because a node would have told of a change.", c->told_answers);
    put_metric(out, "told_directories", "gauge", "Directories that nodes are to tell of.",
               fs->n_told);
    put_metric(out, "inodes", "gauge", "Inodes known to the kernel.", fs->inodes.n);
    put_metric(out, "keys_remembered", "gauge", "Keys remembered.", fs->seens.n);
    put_metric(out, "pending", "gauge", "Files with unpublished changes, and owed drops.",
               fs_dirty_count(fs));
    put_metric(out, "content_bytes", "gauge", "Bytes of content held.", fs->memory);
}

static void put_pending(struct fs *fs, struct buf *out)
{
    publish_report(fs, out);
    owed_report(fs, out);
    unseen_report(fs, out);
    resume_report(fs, out);
}

static const struct {
    const char *name;
    void (*put)(struct fs *fs, struct buf *out);
    void (*start)(struct fs *fs, struct fs_op *op); /* instead: ends op, by control_opened */
} files[] = {{"status", put_status, NULL},
             {"conflicts", NULL, control_conflicts},
             {"pending", put_pending, NULL},
             {"metrics", put_metrics, NULL}};

#define N_FILES (sizeof(files) / sizeof(files[0]))

static bool ours(uint64_t node)
{
    return node >= NODE_CONTROL && node < NODE_FIRST;
}

static void attr(const struct fs *fs, uint64_t node, struct fs_attr *out)
{
    int64_t now = fs_wall_ns(fs);
    bool dir = node == NODE_CONTROL;
    *out = (struct fs_attr){.ino = node,
                            .mode = dir ? S_IFDIR | 0555 : S_IFREG | 0444,
                            .nlink = 1,
                            .uid = fs->cfg.uid,
                            .gid = fs->cfg.gid,
                            .blksize = 4096,
                            .atime_ns = now,
                            .mtime_ns = now,
                            .ctime_ns = now};
}

static void entry(const struct fs *fs, uint64_t node, struct fs_entry *out)
{
    *out = (struct fs_entry){.node = node, .entry_us = fs->cfg.entry_us};
    attr(fs, node, &out->attr);
}

bool control_lookup(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name)
{
    uint64_t node = 0;
    if (parent == FS_ROOT && slice_equal(name, slice_str(CONTROL_NAME)))
        node = NODE_CONTROL;
    else if (!ours(parent))
        return false;
    for (unsigned i = 0; parent == NODE_CONTROL && i < N_FILES; i++)
        if (slice_equal(name, slice_str(files[i].name)))
            node = NODE_CONTROL + 1 + i;
    if (node != 0)
        entry(fs, node, &op->entry);
    op_end(fs, op, node == 0 ? ENOENT : 0);
    return true;
}

bool control_getattr(struct fs *fs, struct fs_op *op, uint64_t node)
{
    if (!ours(node))
        return false;
    entry(fs, node, &op->entry);
    op_end(fs, op, 0);
    return true;
}

void control_opened(struct fs *fs, struct fs_op *op, struct buf *content)
{
    struct handle *h = mem_new(struct handle);
    list_append(&fs->handles, &h->link);
    h->control = buf_take(content);
    op->open = (struct fs_open){.fh = (uint64_t)(uintptr_t)h, .direct_io = true};
}

bool control_open(struct fs *fs, struct fs_op *op, uint64_t node, int flags)
{
    if (!ours(node))
        return false;
    uint64_t index = node - NODE_CONTROL - 1;
    if (node == NODE_CONTROL || index >= N_FILES || open_writes(flags)) {
        op_end(fs, op, node == NODE_CONTROL ? EISDIR : EACCES);
        return true;
    }
    if (files[index].start != NULL) {
        files[index].start(fs, op);
        return true;
    }
    struct buf content = BUF_EMPTY;
    files[index].put(fs, &content);
    control_opened(fs, op, &content);
    op_end(fs, op, 0);
    return true;
}

bool control_readdir(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t off, fs_fill fill)
{
    if (!ours(node))
        return false;
    for (uint64_t at = off; at < N_FILES + 2; at++) {
        struct fs_entry e;
        const char *name = at == 0 ? "." : at == 1 ? ".." : files[at - 2].name;
        entry(fs, at < 2 ? NODE_CONTROL : NODE_CONTROL + at - 1, &e);
        if (at < 2)
            e.node = 0;
        if (!fill(op, slice_str(name), &e, at + 1))
            break;
    }
    op_end(fs, op, 0);
    return true;
}

void control_release(struct handle *h)
{
    if (h == NULL)
        return;
    list_remove(&h->link);
    buf_release(&h->control);
    free(h);
}
