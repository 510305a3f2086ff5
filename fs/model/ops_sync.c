/* SPDX-License-Identifier: Apache-2.0 */
/* fsync and fsyncdir. Neither is ever a no-op (F13): what was published at close lies in the page
 * caches of W nodes, and whoever syncs asks for more than that. A directory is synced after the
 * names in it that this mount has changed: who renames a file into place and syncs its folder may
 * then count on the name.
 *
 *   fsync:    [VALUE, the manifest] -> [the chunks that others have sent]
 *             -> dirty: PUBLISH at quorum
 *             -> clean: the chunks sent here -> SYNC of the version shown
 *   fsyncdir: SYNC of each changed name, several at a time -> SYNC of the directory's own object
 *
 * STALE: all replicas answer, and none has seen the version, nor one that came after it. Then it is
 * lost, or so long gone that all of them have agreed to forget it (E15). It is gone where this
 * mount knows what has replaced it, and where it was a removal that still holds: that is asked
 * (GET of all N). In any other case nothing tells the two apart, and it counts as lost. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "model/content.h"
#include "model/inode.h"
#include "model/large.h"
#include "model/publish.h"

#define SYNCS_AT_ONCE 16u

/* ---- fsync ------------------------------------------------------------------------------- */

struct syncing {
    struct task t;
    struct inode *inode; /* held */
    struct dot dot;
    struct large_wait chunks;
};

static void release_sync(struct task *t)
{
    struct syncing *s = container_of(t, struct syncing, t);
    list_remove(&s->chunks.link);
    inode_drop(s->inode);
}

static void on_sync(struct task *t, const struct sync_reply *p)
{
    struct syncing *s = container_of(t, struct syncing, t);
    bool gone = p->status == DYN_ERR_STALE && seen_superseded(s->inode->seen, &s->dot);
    if (p->status == DYN_OK || gone) {
        s->inode->durable_dot = s->dot;
        seen_synced(s->inode->seen, &s->dot);
    }
    task_end(t, gone ? 0 : fs_errno(p->status));
}

static void on_chunks(struct large_wait *w, int err)
{
    struct syncing *s = w->arg;
    bool superseded = err == DYN_ERR_CANCELED && !s->t.fs->closing; /* then so is the version */
    if (err != DYN_OK && !superseded)
        task_end(&s->t, fs_errno(err));
    else
        task_sync(&s->t, seen_key(s->inode->seen), &s->dot, on_sync);
}

/* A manifest on disk is worth what its chunks are. */
static bool has_chunks_in_memory(const struct inode *i)
{
    return i->large != NULL && !large_synced(i->large);
}

static bool on_disk(const struct inode *i)
{
    if (has_chunks_in_memory(i))
        return false;
    return dot_is_none(&i->s.dot) || dot_equal(&i->durable_dot, &i->s.dot);
}

static struct syncing *syncing_new(struct fs *fs, struct fs_op *op, struct inode *i,
                                   void (*done)(struct large_wait *w, int err))
{
    struct syncing *s = task_new(fs, op, sizeof(*s), release_sync);
    s->inode = inode_hold(i);
    s->dot = i->s.dot;
    s->t.abandonable = true;
    s->chunks = (struct large_wait){.durability = DURABILITY_QUORUM, .done = done, .arg = s};
    list_init(&s->chunks.link);
    return s;
}

/* No chunk that others have sent is in memory only. */
static void sync_own(struct fs *fs, struct fs_op *op, struct inode *i)
{
    if (i->unlinked) {
        op_end(fs, op, 0);
    } else if (inode_dirty(i) || i->pub != NULL) {
        publish_op(i, DURABILITY_QUORUM, op);
    } else if (on_disk(i)) {
        op_end(fs, op, 0);
    } else {
        struct syncing *s = syncing_new(fs, op, i, on_chunks);
        if (has_chunks_in_memory(i))
            large_store(i->large, &s->chunks);
        else
            task_sync(&s->t, seen_key(i->seen), &s->dot, on_sync);
    }
}

static bool has_foreign_chunks(const struct inode *i)
{
    return i->large != NULL ? !large_all_synced(i->large) : !i->staged && i->s.manifest_len != 0;
}

static void sync_foreign(struct syncing *s);

static void end_foreign(struct syncing *s)
{
    struct fs *fs = s->t.fs;
    struct fs_op *op = s->t.op;
    struct inode *i = inode_hold(s->inode);
    s->t.op = NULL;
    task_end(&s->t, 0);
    if (op != NULL)
        sync_own(fs, op, i);
    inode_drop(i);
}

static void on_foreign(struct large_wait *w, int err)
{
    struct syncing *s = w->arg;
    if (err == DYN_ERR_CANCELED && !s->t.fs->closing)
        sync_foreign(
            s); /* another version's, or none, or this one's, which have to be read again */
    else if (err != DYN_OK)
        task_end(&s->t, fs_errno(err));
    else
        end_foreign(s);
}

static void on_manifest(struct task *t, const struct get_reply *p)
{
    struct syncing *s = container_of(t, struct syncing, t);
    struct inode *i = s->inode;
    const struct sibling *v = object_find_value(&p->object, &i->s.value_dot);
    bool got = p->status == DYN_OK && v != NULL && v->value != NULL;
    if (got && !content_here(i))
        content_load(i, v->value);
    if (!has_foreign_chunks(i) || i->large != NULL)
        sync_foreign(s);
    else if (task_got_other(t, i->seen) || !dot_equal(&s->dot, &i->s.dot))
        sync_foreign(s); /* it has another name or version now */
    else
        task_end(t, got ? EIO : p->status == DYN_OK ? ESTALE : fs_errno(p->status));
}

static void sync_foreign(struct syncing *s)
{
    struct inode *i = s->inode;
    s->dot = i->s.dot;
    if (!has_foreign_chunks(i) || i->unlinked)
        end_foreign(s);
    else if (i->large != NULL)
        large_sync_all(i->large, &s->chunks);
    else
        task_get(&s->t, seen_key(i->seen), GET_DOT, &i->s.value_dot, on_manifest);
}

void fs_fsync(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh)
{
    (void)fh;
    struct inode *i = inode_find(fs, node);
    if (i == NULL)
        op_end(fs, op, 0);
    else if (!has_foreign_chunks(i))
        sync_own(fs, op, i);
    else
        sync_foreign(syncing_new(fs, op, i, on_foreign));
}

/* ---- fsyncdir ---------------------------------------------------------------------------- */

struct dir_syncing {
    struct task t;
    uint64_t node, fh;
    struct seen **names; /* referenced, until each is asked about */
    size_t n, next, running;
    int err;
};

struct name_syncing {
    struct task t;
    struct dir_syncing *all;
    struct seen *name; /* referenced */
    struct dot dot;
};

static void go_on(struct dir_syncing *d);

static void release_dir(struct task *t)
{
    struct dir_syncing *d = container_of(t, struct dir_syncing, t);
    while (d->next < d->n)
        seen_unref(d->names[d->next++]);
    free(d->names);
}

static void release_name(struct task *t)
{
    seen_unref(container_of(t, struct name_syncing, t)->name);
}

static void end_name(struct name_syncing *s, int err)
{
    struct dir_syncing *d = s->all;
    if (err == DYN_OK)
        seen_synced(s->name, &s->dot);
    else if (d->err == 0)
        d->err = fs_errno(err);
    task_end(&s->t, 0);
    d->running--;
    go_on(d);
}

static void on_read(struct task *t, const struct get_reply *p)
{
    struct name_syncing *s = container_of(t, struct name_syncing, t);
    bool same = dot_equal(&s->dot, &s->name->unsynced_dot); /* else it has been changed again */
    if (p->status != DYN_OK)
        end_name(s, p->status);
    else
        end_name(s, !same || seen_removal_stands(s->name, &p->object) ? DYN_OK : DYN_ERR_STALE);
}

static void on_name(struct task *t, const struct sync_reply *p)
{
    struct name_syncing *s = container_of(t, struct name_syncing, t);
    if (p->status != DYN_ERR_STALE)
        end_name(s, p->status);
    else if (seen_superseded(s->name, &s->dot))
        end_name(s, DYN_OK);
    else
        task_get_all(t, seen_key(s->name), on_read);
}

/* Now the directory's own object. */
static void end_dir(struct dir_syncing *d)
{
    struct fs *fs = d->t.fs;
    struct fs_op *op = d->t.op;
    uint64_t node = d->node, fh = d->fh;
    if (d->err != 0 || op == NULL) {
        task_end(&d->t, d->err);
        return;
    }
    d->t.op = NULL;
    task_end(&d->t, 0);
    fs_fsync(fs, op, node, fh);
}

static void go_on(struct dir_syncing *d)
{
    while (d->next < d->n && d->running < SYNCS_AT_ONCE && d->err == 0) {
        struct name_syncing *s = task_new(d->t.fs, NULL, sizeof(*s), release_name);
        s->all = d;
        s->name = d->names[d->next++];
        s->dot = s->name->unsynced_dot;
        d->running++;
        task_sync(&s->t, seen_key(s->name), &s->dot, on_name);
    }
    if (d->running == 0)
        end_dir(d);
}

void fs_fsyncdir(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh)
{
    struct inode *dir = inode_find(fs, node);
    size_t cap = 0;
    if (dir == NULL || seen_unsynced(dir->seen, NULL) == NULL) {
        fs_fsync(fs, op, node, fh);
        return;
    }
    struct dir_syncing *d = task_new(fs, op, sizeof(*d), release_dir);
    d->t.abandonable = true;
    d->node = node;
    d->fh = fh;
    for (struct seen *s = NULL; (s = seen_unsynced(dir->seen, s)) != NULL;) {
        if (d->n == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            d->names = mem_reallocarray(d->names, cap, sizeof(*d->names));
        }
        d->names[d->n++] = seen_ref(s);
    }
    go_on(d);
}
