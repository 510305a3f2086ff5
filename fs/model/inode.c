/* SPDX-License-Identifier: Apache-2.0 */
/* See inode.h. */
#include "model/inode.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "model/content.h"
#include "model/held.h"
#include "model/large.h"
#include "model/publish.h"
#include "model/staging.h"
#include "model/told.h"

#define BLOCK_SIZE (1u << 20) /* st_blksize: the chunk size (F19) */
#define INO_CHANCE_BITS 27

struct inode *inode_find(struct fs *fs, uint64_t id)
{
    struct slice key = slice_of(&id, sizeof(id));
    struct table_node *n = table_first(&fs->inodes, table_hash(&fs->inodes, key));
    for (; n != NULL; n = table_next(n)) {
        struct inode *i = container_of(n, struct inode, node);
        if (i->id == id)
            return i;
    }
    return NULL;
}

struct inode *inode_hold(struct inode *i)
{
    i->holds++;
    return i;
}

static void inode_free(struct inode *i)
{
    assert(list_empty(&i->waiters) && i->pub == NULL);
    timer_cancel(i->fs->timers, &i->timer);
    staging_free(&i->staging);
    content_release(i);
    held_gone(i);
    if (!list_empty(&i->in_dirty)) {
        list_remove(&i->in_dirty);
        i->fs->n_dirty--;
    }
    list_remove(&i->in_seen);
    seen_unref(i->seen);
    sibling_release(&i->s);
    cover_release(&i->dots);
    cover_release(&i->context);
    table_remove(&i->fs->inodes, &i->node);
    free(i);
}

static bool needed(const struct inode *i)
{
    return i->fs->closing || i->nlookup != 0 || i->holds != 0 || i->n_open != 0 ||
           i->id == FS_ROOT || (!i->unlinked && (inode_dirty(i) || i->pub != NULL));
}

void inode_drop(struct inode *i)
{
    if (i == NULL)
        return;
    assert(i->holds > 0);
    i->holds--;
    if (!needed(i))
        inode_free(i);
}

void inode_forget(struct inode *i, uint64_t n)
{
    i->nlookup = n > i->nlookup ? 0 : i->nlookup - n;
    if (i->nlookup == 0) {
        held_gone(i);
        if (inode_of(i->seen, 0) == i)
            i->seen->was_served = false; /* F4: kept until here */
    }
    inode_hold(i);
    inode_drop(i);
}

void inode_free_all(struct fs *fs)
{
    for (struct table_node *n; (n = table_any(&fs->inodes)) != NULL;)
        inode_free(container_of(n, struct inode, node));
}

struct inode *inode_of(const struct seen *s, uint32_t number)
{
    for (struct list *l = s->inodes.next; l != &s->inodes; l = l->next) {
        struct inode *i = container_of(l, struct inode, in_seen);
        if (i->number == number)
            return i;
    }
    return NULL;
}

struct inode *inode_new(struct fs *fs, struct seen *s, uint32_t number, enum sibling_type type)
{
    struct inode *i = mem_new(struct inode);
    i->fs = fs;
    i->id = fs->next_node++;
    i->seen = seen_ref(s);
    i->number = number;
    i->s.type = type;
    list_init(&i->in_held);
    list_init(&i->in_contents);
    list_init(&i->in_dirty);
    list_init(&i->waiters);
    timer_init(&i->timer, publish_timer, i);
    list_append(&s->inodes, &i->in_seen);
    table_insert(&fs->inodes, &i->node, table_hash(&fs->inodes, slice_of(&i->id, sizeof(i->id))));
    return i;
}

/* Stable for a key and its branch, also over mounts of one process life (F30). */
static uint64_t hashed_ino(const struct inode *i, uint64_t stored)
{
    uint8_t digest[DIGEST_LEN];
    struct buf b = BUF_EMPTY;
    buf_put_u64(&b, stored);
    buf_put_u32(&b, i->number);
    buf_put_slice(&b, seen_key(i->seen));
    digest_md5(buf_slice(&b), digest);
    buf_release(&b);
    uint64_t ino;
    memcpy(&ino, digest, sizeof(ino));
    return ino < 1024 ? ino + 1024 : ino;
}

/* What no filesystem made (a PUT over HTTP, a directory that its entries imply) belongs to whoever
 * mounts: an ordinary user could not touch it otherwise. It is stored with the first change. */
static void take_unowned(struct inode *i)
{
    struct attrs *a = &i->s.attrs;
    if (a->ino != 0 || a->uid != 0 || a->gid != 0)
        return;
    a->uid = i->fs->cfg.uid;
    a->gid = i->fs->cfg.gid;
}

void inode_adopt(struct inode *i, const struct version *v)
{
    bool xattrs = v->xattrs;
    bool same_dot = cover_same_dots(&i->dots, &v->dots);
    if (!dot_equal(&i->s.value_dot, &v->s.value_dot))
        content_unload(i);
    struct blob *kept = NULL;
    if (!xattrs && same_dot && i->xattrs_known)
        kept = blob_ref(i->s.attrs.xattrs);
    uint64_t ino = i->s.attrs.ino;
    sibling_release(&i->s);
    sibling_copy(&i->s, &v->s);
    take_unowned(i);
    if (!xattrs) {
        blob_unref(i->s.attrs.xattrs);
        i->s.attrs.xattrs = kept;
    }
    i->xattrs_known = xattrs || (same_dot && i->xattrs_known);
    if (!same_dot) {
        i->stream = 0; /* F9: a new line of descent */
        cover_clear(&i->dots);
        cover_join_dots(&i->dots, &v->dots);
    }
    if (i->st_ino == 0 || ino != v->s.attrs.ino)
        i->st_ino = i->id == FS_ROOT                        ? FS_ROOT
                    : i->number == 0 && v->s.attrs.ino != 0 ? v->s.attrs.ino
                                                            : hashed_ino(i, v->s.attrs.ino);
    i->learnt_us = i->seen->learnt_us;
    i->behind = false;
}

void inode_unname(struct inode *i)
{
    list_remove(&i->in_seen);
}

void inode_unlink(struct inode *i)
{
    inode_unname(i);
    i->unlinked = true;
    publish_abandon(i);
    inode_hold(i);
    inode_drop(i);
}

void inode_rebind(struct inode *i, struct seen *s, uint32_t number)
{
    struct seen *old = i->seen;
    list_remove(&i->in_seen);
    i->seen = seen_ref(s);
    i->number = number;
    list_append(&s->inodes, &i->in_seen);
    seen_unref(old);
    staging_moved(i->staging);
}

static void remember_shown(struct seen *s, const struct version *v, uint32_t number)
{
    seen_flag(s, &v->dots, number == 0 ? KNOWN_SHOWN : KNOWN_SHOWN | KNOWN_LISTED);
    if (number != 0) /* the other side of the conflict, if that was shown, is now one too */
        seen_flag(s, &s->name_shown, KNOWN_LISTED);
    if (number != 0)
        return;
    cover_clear(&s->name_shown);
    cover_join_dots(&s->name_shown, &v->dots);
}

struct inode *inode_show(struct fs *fs, struct seen *s, const struct version *v, uint32_t number)
{
    struct inode *i = inode_of(s, number);
    if (i != NULL && inode_busy(i))
        return i;
    if (i != NULL &&
        (i->s.type != v->s.type ||
         (i->n_open != 0 && !dot_equal(&i->s.value_dot, &v->s.value_dot) && i->n_writers == 0))) {
        inode_unname(i); /* F17, F30: who has it open keeps what he opened */
        i = NULL;
    }
    remember_shown(s, v, number);
    if (i == NULL)
        i = inode_new(fs, s, number, v->s.type);
    else if (i->n_writers != 0 && !dot_equal(&i->s.value_dot, &v->s.value_dot))
        return i; /* the next open takes the version over */
    inode_adopt(i, v);
    return i;
}

bool inode_dirty(const struct inode *i)
{
    return i->dirty_data || i->dirty_meta;
}

bool inode_published(const struct inode *i)
{
    return !dot_is_none(&i->s.dot) || i->s.type == SIBLING_DIR;
}

bool inode_busy(const struct inode *i)
{
    return inode_dirty(i) || i->pub != NULL || !inode_published(i);
}

uint64_t inode_size(const struct inode *i)
{
    if (i->large != NULL)
        return large_size(i->large);
    return i->staged ? i->stage.len : i->s.size;
}

/* Not what another mount has put under the name since: its stream goes on, and nobody was shown it.
 */
void inode_dots(const struct inode *i, struct cover *out)
{
    const struct origin *own[] = {&i->seen->put, &i->seen->line};
    struct origin line = i->s.origin;
    for (int k = 0; k < 2; k++) /* of a change that may have happened */
        if (own[k]->writer == line.writer && own[k]->stream == line.stream &&
            own[k]->seq > line.seq)
            line.seq = own[k]->seq;
    line.seq++;
    cover_join_dots(out, &i->dots);
    if (!dot_is_none(&i->s.dot) && i->s.type != SIBLING_DELETE)
        object_cover_stream(&i->seen->view, &line, out);
}

static uint32_t type_bits(enum sibling_type type)
{
    switch (type) {
    case SIBLING_DIR:
        return S_IFDIR;
    case SIBLING_SYMLINK:
        return S_IFLNK;
    default:
        return S_IFREG;
    }
}

static void default_attrs(const struct inode *i, struct fs_attr *out)
{
    bool dir = i->s.type == SIBLING_DIR;
    out->mode = type_bits(i->s.type) | (dir ? 0755u : 0644u);
    out->uid = i->fs->cfg.uid;
    out->gid = i->fs->cfg.gid;
}

static int64_t later_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t inode_entries_changed(const struct inode *i)
{
    return later_of(i->seen->dir_mtime_ns, i->changed_ns);
}

void inode_attr(const struct inode *i, struct fs_attr *out)
{
    const struct attrs *a = &i->s.attrs;
    const struct fs_config *cfg = &i->fs->cfg;
    bool dir = i->s.type == SIBLING_DIR;
    *out = (struct fs_attr){.ino = i->st_ino, .blksize = BLOCK_SIZE};
    out->mode = type_bits(i->s.type) | (a->mode & 07777);
    out->uid = a->uid;
    out->gid = a->gid;
    /* Made by no filesystem (a PUT over HTTP, a directory that its entries imply, the root). */
    if (a->mode == 0 && a->ino == 0 && a->ctime_ns == 0)
        default_attrs(i, out);
    if (i->s.type == SIBLING_SYMLINK)
        out->mode = S_IFLNK | 0777;
    if (cfg->map_uid)
        out->uid = cfg->uid;
    if (cfg->map_gid)
        out->gid = cfg->gid;
    if (cfg->map_umask && i->s.type != SIBLING_SYMLINK)
        out->mode &= ~(cfg->umask & 0777);
    out->size = dir ? 4096 : inode_size(i);
    uint64_t allocated = i->large != NULL         ? large_allocated(i->large)
                         : i->s.manifest_len != 0 ? i->s.allocated
                                                  : out->size;
    out->blocks = (allocated + 511) / 512; /* F19 */
    out->nlink = i->unlinked ? 0 : 1;
    out->mtime_ns = a->mtime_ns;
    out->ctime_ns = a->ctime_ns;
    out->atime_ns = a->atime_ns;
    if (a->mtime_ns == 0 && a->ctime_ns == 0) /* made by no filesystem; 1970 is a time too */
        out->mtime_ns = out->ctime_ns = out->atime_ns = (int64_t)i->s.time_ns;
    if (dir) { /* F29 */
        int64_t entries = inode_entries_changed(i);
        /* What was set afterwards stands: cp -a, tar and rsync set a directory's times last. */
        if (entries > a->ctime_ns)
            out->mtime_ns = later_of(entries, a->ctime_ns == 0 ? out->mtime_ns : 0);
        out->ctime_ns = later_of(out->ctime_ns, entries);
    }
}

void inode_entry(struct inode *i, struct fs_entry *out)
{
    *out = (struct fs_entry){.node = i->id,
                             .attr_us = told_time(i->seen, i->fs->cfg.attr_us),
                             .entry_us = told_time(i->seen, i->fs->cfg.entry_us)};
    inode_attr(i, &out->attr);
}

void inode_count_lookup(struct inode *i)
{
    i->nlookup++;
    i->kernel_dot = i->s.dot;
    held_used(i);
}

/* Programs that walk through a large directory (du, rm -r, chmod -R) do so by inode number, for on
 * a disk that is how inodes lie. Here it is names that lie together (F29), and most directories are
 * filled in the order of their names: so what is made later has the greater number. The time, in
 * microseconds, begins anew each 38 hours; that leaves so many bits to chance that two files made
 * in the same microsecond on different mounts are one in 134 million. */
uint64_t inode_new_ino(struct fs *fs)
{
    uint64_t ino, us = (uint64_t)fs_wall_ns(fs) / 1000;
    do {
        ino = us << INO_CHANCE_BITS | random_u64(&fs->random) >> (64 - INO_CHANCE_BITS);
    } while (ino < 1024);
    return ino;
}

void inode_touch_dir(struct fs *fs, struct slice dir_key)
{
    struct seen *s = seen_find(fs, dir_key);
    if (s == NULL)
        return;
    struct inode *dir = inode_of(s, 0);
    if (dir != NULL)
        dir->changed_ns = fs_wall_ns(fs);
    seen_unref(s);
}
