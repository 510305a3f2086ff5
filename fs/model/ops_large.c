/* SPDX-License-Identifier: Apache-2.0 */
/* See ops_large.h. Both walk over the chunks that they touch; one that is away is sent for, and the
 * walk goes on when it has come. Reads that follow each other have the next chunks sent for ahead.
 *
 *   read:  [LOAD]* -> done
 *   write: [ROOM] -> ([LOAD] -> put into its chunk)* -> done
 */
#include "model/ops_large.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>

#include "base/err.h"
#include "model/content.h"
#include "model/large.h"
#include "model/open.h"

#define AHEAD_MAX 6u
/* Chunks beyond this make manifests that no value can hold. */
#define CHUNKS_MAX 400000u

struct large_io {
    struct task t;
    struct inode *inode; /* held */
    bool writes;
    int flags; /* of the handle */
    struct chunk_wait load;
    struct large_wait room;
    uint64_t off, at, size_before; /* at: how far it is */
    uint64_t asked;                /* write: the kernel's offset */
    uint32_t size;
    struct buf data;    /* read: what is not in one chunk; write: the bytes */
    struct blob *bytes; /* read: the chunk that they lie in */
    bool first_append;
};

static void step(struct large_io *r);

static void release(struct task *t)
{
    struct large_io *r = container_of(t, struct large_io, t);
    list_remove(&r->load.link);
    list_remove(&r->room.link);
    inode_drop(r->inode);
    buf_release(&r->data);
    blob_unref(r->bytes);
}

static void on_load(struct chunk_wait *w, int err)
{
    struct large_io *r = w->arg;
    if (err != DYN_OK)
        task_end(&r->t, err == DYN_ERR_NOT_FOUND ? EIO : fs_errno(err));
    else if (r->t.op == NULL && !r->writes)
        task_end(&r->t, EINTR); /* it was given up */
    else
        step(r);
}

static void on_room(struct large_wait *w, int err)
{
    struct large_io *r = w->arg;
    if (err != DYN_OK)
        task_end(&r->t, fs_errno(err));
    else
        step(r);
}

static struct large_io *io_new(struct fs *fs, struct fs_op *op, struct inode *i)
{
    struct large_io *r = task_new(fs, op, sizeof(*r), release);
    r->inode = inode_hold(i);
    r->load = (struct chunk_wait){.done = on_load, .arg = r};
    r->room = (struct large_wait){.done = on_room, .arg = r};
    list_init(&r->load.link);
    list_init(&r->room.link);
    return r;
}

/* ---- read -------------------------------------------------------------------------------- */

/* The window grows as long as reads follow each other. */
static void read_ahead(struct inode *i, uint32_t from, uint32_t to)
{
    struct large *l = i->large;
    bool follows = from == i->read_next || from + 1 == i->read_next;
    uint64_t last = (large_size(l) - 1) / CHUNK_LEN;
    if (!follows)
        i->read_ahead = 0;
    else if (from == i->read_next && i->read_ahead < AHEAD_MAX)
        i->read_ahead += 2;
    i->read_next = to + 1;
    for (uint32_t n = 1; n <= i->read_ahead && to + n <= last; n++)
        large_load(l, to + n, NULL);
}

static void put_piece(struct buf *out, const struct blob *bytes, uint32_t len, uint32_t at,
                      uint32_t n)
{
    uint32_t there = len > at ? len - at : 0;
    if (there > n)
        there = n;
    if (there != 0)
        buf_put(out, bytes->data + at, there);
    buf_reserve(out, n - there);
    memset(out->data + out->len, 0, n - there);
    out->len += n - there;
}

/* One chunk of what is asked. false: it waits. */
static bool read_piece(struct large_io *r, uint64_t end)
{
    struct large *l = r->inode->large;
    uint32_t index = (uint32_t)(r->at / CHUNK_LEN), at = (uint32_t)(r->at % CHUNK_LEN), len = 0;
    uint64_t n = end - r->at < CHUNK_LEN - at ? end - r->at : CHUNK_LEN - at;
    struct blob *bytes = NULL;
    if (large_look(l, index, &bytes, &len) == LARGE_AWAY) {
        large_load(l, index, &r->load);
        return false;
    }
    if (r->at == r->off && r->off + n == end && at + n <= len) { /* as it lies */
        r->bytes = blob_ref(bytes);
        r->t.op->data = slice_of(bytes->data + at, (size_t)n);
    } else {
        put_piece(&r->data, bytes, len, at, (uint32_t)n);
    }
    r->at += n;
    return true;
}

static void step_read(struct large_io *r)
{
    struct inode *i = r->inode;
    if (i->large == NULL) { /* truncated meanwhile */
        task_end(&r->t, r->t.op == NULL ? EINTR : 0);
        return;
    }
    uint64_t size = large_size(i->large), end = r->off + r->size < size ? r->off + r->size : size;
    while (r->at < end)
        if (!read_piece(r, end))
            return;
    if (r->bytes == NULL)
        r->t.op->data = buf_slice(&r->data);
    task_end(&r->t, 0);
}

void large_read_op(struct fs *fs, struct fs_op *op, struct inode *i, uint64_t off, uint32_t size)
{
    uint64_t all = large_size(i->large);
    if (off >= all || size == 0) {
        op->data = slice_of("", 0);
        op_end(fs, op, 0);
        return;
    }
    struct large_io *r = io_new(fs, op, i);
    uint64_t last = off + size <= all ? off + size - 1 : all - 1;
    r->t.abandonable = true;
    r->off = r->at = off;
    r->size = size;
    read_ahead(i, (uint32_t)(off / CHUNK_LEN), (uint32_t)(last / CHUNK_LEN));
    step(r);
}

/* ---- write ------------------------------------------------------------------------------- */

static void end_write(struct large_io *r)
{
    struct inode *i = r->inode;
    content_changed(i);
    io_note_write(i, r->flags, r->size_before, r->asked, r->first_append);
    if (r->t.op != NULL)
        r->t.op->written = (uint32_t)r->data.len;
    task_end(&r->t, 0);
}

/* While it waited, the file may have grown, or have been staged anew over a newer version. */
static void place_append(struct large_io *r)
{
    if ((r->flags & O_APPEND) == 0)
        return;
    r->off = r->at = r->size_before = inode_size(r->inode);
}

static void step_write(struct large_io *r)
{
    struct inode *i = r->inode;
    if (r->at == r->off)
        place_append(r);
    if (i->large == NULL && content_enlarge(i) != 0) {
        task_end(&r->t, EFBIG);
        return;
    }
    struct large *l = i->large;
    if (r->at == r->off && large_must_wait(l, r->data.len)) {
        large_wait_room(l, &r->room);
        return;
    }
    uint64_t end = r->off + r->data.len;
    while (r->at < end) {
        uint64_t n = CHUNK_LEN - r->at % CHUNK_LEN;
        n = n < end - r->at ? n : end - r->at;
        if (!large_write(l, r->at, slice_of(r->data.data + (r->at - r->off), (size_t)n))) {
            large_load(l, (uint32_t)(r->at / CHUNK_LEN), &r->load);
            return;
        }
        r->at += n;
    }
    end_write(r);
}

static void step(struct large_io *r)
{
    if (r->writes)
        step_write(r);
    else
        step_read(r);
}

void large_write_op(struct fs *fs, struct fs_op *op, struct inode *i, int flags, uint64_t off,
                    struct slice data)
{
    uint64_t size = inode_size(i);
    bool append = (flags & O_APPEND) != 0;
    uint64_t at = append ? size : off; /* F18: the kernel's offset is its stale size */
    if (at > fs->cfg.value_max || data.len > fs->cfg.value_max - at ||
        (i->large != NULL && large_chunks(i->large) > CHUNKS_MAX)) {
        op_end(fs, op, EFBIG);
        return;
    }
    if (data.len == 0) {
        op_end(fs, op, 0);
        return;
    }
    struct large_io *r = io_new(fs, op, i);
    r->t.abandonable = true; /* the bytes go where they should, all of them */
    r->writes = true;
    r->flags = flags;
    r->off = r->at = at;
    r->size_before = size;
    r->asked = off;
    r->first_append = append && !i->dirty_data;
    buf_put_slice(&r->data, data);
    step(r);
}
