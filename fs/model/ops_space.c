/* SPDX-License-Identifier: Apache-2.0 */
/* fallocate, lseek and copy_file_range: what programs ask about holes, and copies that move no
 * bytes. The content must be here, which for a large file is its manifest.
 *
 *   [CONTENT] -> lseek, copy: done
 *             -> fallocate: ([LOAD] -> zeros into its chunk)* -> done
 */
#include <errno.h>

#include "base/err.h"
#include "model/content.h"
#include "model/large.h"
#include "model/open.h"
#include "model/publish.h"

/* The modes of fallocate(2) and places of lseek(2), whose headers belong to a higher floor. */
enum { KEEP_SIZE = 1, PUNCH_HOLE = 2, ZERO_RANGE = 16 };
enum { WHENCE_DATA = 3, WHENCE_HOLE = 4 };

struct space {
    struct task t;
    struct inode *inode; /* held */
    void (*go)(struct space *s);
    struct chunk_wait load;
    uint64_t at, end; /* what is to become zeros */
    uint64_t size;    /* what the file's size shall be at least */
    int whence;
    bool touched; /* some of it is zeros already */
};

static void release(struct task *t)
{
    struct space *s = container_of(t, struct space, t);
    list_remove(&s->load.link);
    inode_drop(s->inode);
}

static void on_content(struct task *t, const struct get_reply *p)
{
    struct space *s = container_of(t, struct space, t);
    struct inode *i = s->inode;
    const struct sibling *v = object_find_value(&p->object, &i->s.value_dot);
    if (!content_here(i) && v != NULL && v->value != NULL)
        content_load(i, v->value);
    if (content_here(i))
        s->go(s);
    else
        task_end(t, p->status == DYN_OK ? ESTALE : fs_errno(p->status));
}

static void on_load(struct chunk_wait *w, int err)
{
    struct space *s = w->arg;
    if (err != DYN_OK)
        task_end(&s->t, err == DYN_ERR_NOT_FOUND ? EIO : fs_errno(err));
    else
        s->go(s);
}

static struct space *space_new(struct fs *fs, struct fs_op *op, struct inode *i,
                               void (*go)(struct space *s))
{
    struct space *s = task_new(fs, op, sizeof(*s), release);
    s->inode = inode_hold(i);
    s->go = go;
    s->load = (struct chunk_wait){.done = on_load, .arg = s};
    list_init(&s->load.link);
    return s;
}

static void start(struct space *s)
{
    struct inode *i = s->inode;
    if (content_here(i))
        s->go(s);
    else
        task_get(&s->t, seen_key(i->seen), GET_DOT, &i->s.value_dot, on_content);
}

/* ---- fallocate --------------------------------------------------------------------------- */

/* false: it waits for a chunk. */
static bool zero_large(struct space *s)
{
    static const uint8_t zeros[CHUNK_LEN];
    struct large *l = s->inode->large;
    while (s->at < s->end) {
        uint64_t in_chunk = s->at % CHUNK_LEN, n = CHUNK_LEN - in_chunk;
        uint32_t index = (uint32_t)(s->at / CHUNK_LEN);
        n = n < s->end - s->at ? n : s->end - s->at;
        bool whole = in_chunk == 0 && (n == CHUNK_LEN || s->end >= large_size(l));
        struct blob *bytes;
        uint32_t len;
        if (whole) {
            large_punch(l, index);
        } else if (large_look(l, index, &bytes, &len) != LARGE_HOLE &&
                   !large_write(l, s->at, slice_of(zeros, (size_t)n))) {
            s->touched = true;
            large_load(l, index, &s->load);
            return false;
        }
        s->at += n;
    }
    return true;
}

static int zero_small(struct space *s)
{
    struct inode *i = s->inode;
    struct buf zeros = BUF_EMPTY;
    size_t n = (size_t)(s->end - s->at);
    buf_reserve(&zeros, n);
    memset(zeros.data, 0, n);
    int err = content_write(i, s->at, slice_of(zeros.data, n));
    buf_release(&zeros);
    return err;
}

static void changed(struct inode *i)
{
    if (i->large != NULL)
        content_changed(i);
    i->appended_only = false;
    i->written = true;
    i->s.attrs.mtime_ns = i->s.attrs.ctime_ns = fs_wall_ns(i->fs);
    publish_mark(i, true);
}

static void allocate(struct space *s)
{
    struct inode *i = s->inode;
    int err = 0;
    uint64_t size = inode_size(i);
    s->end = s->end < size ? s->end : size;
    bool zeroes = s->at < s->end;
    if (zeroes && content_large_at(i, s->end))
        err = content_enlarge(i);
    if (s->at < s->end && i->large != NULL && !zero_large(s))
        return;
    if (s->at < s->end && i->large == NULL)
        err = zero_small(s);
    if (err == 0 && s->size > size)
        err = content_truncate(i, s->size);
    if (err == 0 && (zeroes || s->size > size || s->touched))
        changed(i);
    task_end(&s->t, err);
}

void fs_fallocate(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh, int mode,
                  uint64_t off, uint64_t len)
{
    struct inode *i = inode_find(fs, node);
    bool zero = (mode & (PUNCH_HOLE | ZERO_RANGE)) != 0;
    int err = i == NULL                                                     ? ESTALE
              : mode & ~(KEEP_SIZE | PUNCH_HOLE | ZERO_RANGE)               ? EOPNOTSUPP
              : len == 0                                                    ? EINVAL
              : off > fs->cfg.value_max || len > fs->cfg.value_max - off    ? EFBIG
              : handle_of(fh) == NULL || !open_writes(handle_of(fh)->flags) ? EBADF
                                                                            : 0;
    if (err != 0 || (!zero && (mode & KEEP_SIZE))) { /* there is no room to be kept */
        op_end(fs, op, err);
        return;
    }
    struct space *s = space_new(fs, op, i, allocate);
    s->at = zero ? off : 0;
    s->end = zero ? off + len : 0;
    s->size = mode & KEEP_SIZE ? 0 : off + len;
    s->t.abandonable = true;
    start(s);
}

/* ---- lseek ------------------------------------------------------------------------------- */

static void seek(struct space *s)
{
    struct inode *i = s->inode;
    uint64_t size = inode_size(i), to = s->at;
    bool hole = s->whence == WHENCE_HOLE;
    if (i->large != NULL)
        to = large_seek(i->large, s->at, hole);
    else if (hole)
        to = size;
    if (s->t.op != NULL)
        s->t.op->offset = to;
    task_end(&s->t, s->at >= size || (!hole && to >= size) ? ENXIO : 0);
}

void fs_lseek(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t off, int whence)
{
    struct inode *i = inode_find(fs, node);
    int err = i == NULL ? ESTALE : whence != WHENCE_DATA && whence != WHENCE_HOLE ? EINVAL : 0;
    if (err != 0) {
        op_end(fs, op, err);
        return;
    }
    struct space *s = space_new(fs, op, i, seek);
    s->t.abandonable = true;
    s->at = off;
    s->whence = whence;
    start(s);
}

/* ---- copy_file_range --------------------------------------------------------------------- */

/* Whole chunks of a file whose bytes are all stored; else the caller copies the bytes itself. */
void fs_copy_range(struct fs *fs, struct fs_op *op, uint64_t from_node, uint64_t from_off,
                   uint64_t to_node, uint64_t to_fh, uint64_t to_off, uint64_t len)
{
    struct inode *from = inode_find(fs, from_node), *to = inode_find(fs, to_node);
    struct handle *h = handle_of(to_fh);
    if (from == NULL || to == NULL || h == NULL || from == to || from->large == NULL ||
        !large_stored(from->large) || !content_here(to) || from_off % CHUNK_LEN != 0 ||
        to_off % CHUNK_LEN != 0 || from_off >= large_size(from->large) ||
        to_off > fs->cfg.value_max || len > fs->cfg.value_max - to_off) {
        op_end(fs, op, EOPNOTSUPP);
        return;
    }
    uint64_t left = large_size(from->large) - from_off, n = len < left ? len : left;
    uint64_t before = inode_size(to);
    if (n < left || to_off + n < before)
        n -= n % CHUNK_LEN; /* the rest of that chunk is not to be touched */
    n = n < UINT32_MAX ? n : UINT32_MAX / CHUNK_LEN * CHUNK_LEN;
    if (n == 0 || to_off > before || content_enlarge(to) != 0) {
        op_end(fs, op, EOPNOTSUPP);
        return;
    }
    large_share(to->large, to_off, from->large, from_off, n);
    op->written = (uint32_t)n;
    content_changed(to);
    io_note_write(to, h->flags, before, to_off, false);
    op_end(fs, op, 0);
}
