/* SPDX-License-Identifier: Apache-2.0 */
/* See content.h. */
#include "model/content.h"

#include <assert.h>
#include <errno.h>

#include "base/err.h"
#include "model/large.h"

static void count(struct inode *i)
{
    struct fs *fs = i->fs;
    uint64_t now = (i->loaded == NULL ? 0 : i->loaded->len) + (i->staged ? i->stage.cap : 0) +
                   (i->large == NULL ? 0 : large_memory(i->large));
    fs->memory = fs->memory - i->counted + now;
    i->counted = now;
    list_remove(&i->in_contents);
    if (now != 0)
        list_append(&fs->contents, &i->in_contents);
}

/* Loaded bytes give way, those of closed files first. Bytes that no request could bring back stay.
 */
static void give_way(struct fs *fs, const struct inode *but)
{
    for (int open = 0; open < 2 && fs->memory > fs->cfg.memory_max; open++) {
        list_for_each_safe(it, tmp, &fs->contents)
        {
            struct inode *i = container_of(it, struct inode, in_contents);
            if (fs->memory <= fs->cfg.memory_max)
                return;
            if (i == but || (i->loaded == NULL && i->large == NULL) || inode_busy(i) ||
                (i->n_open != 0 && (open == 0 || list_empty(&i->in_seen))))
                continue;
            content_unload(i);
        }
    }
}

bool content_here(const struct inode *i)
{
    return i->staged || i->loaded != NULL || i->large != NULL || i->s.size == 0;
}

struct slice content_bytes(const struct inode *i)
{
    assert(i->large == NULL);
    if (i->staged)
        return buf_slice(&i->stage);
    return i->loaded == NULL ? slice_of("", 0) : slice_of(i->loaded->data, i->loaded->len);
}

/* Bytes that are no manifest are as good as not here. */
static void load_manifest(struct inode *i, const struct blob *b)
{
    struct large *l = large_new(i);
    if (large_take(l, slice_of(b->data, b->len)) == DYN_OK)
        i->large = l;
    else
        large_free(l);
}

void content_load(struct inode *i, struct blob *b)
{
    if (i->s.manifest_len != 0) {
        if (!i->staged && i->large == NULL)
            load_manifest(i, b);
        count(i);
        return;
    }
    blob_ref(b);
    blob_unref(i->loaded);
    i->loaded = b;
    count(i);
    give_way(i->fs, i);
}

static void drop_large(struct inode *i)
{
    struct large *l = i->large;
    i->large = NULL;
    large_free(l);
}

void content_unload(struct inode *i)
{
    if (!i->staged)
        drop_large(i);
    blob_unref(i->loaded);
    i->loaded = NULL;
    count(i);
}

void content_release(struct inode *i)
{
    buf_release(&i->stage);
    i->staged = false;
    content_unload(i); /* large content too, as it is not staged any more */
}

void content_settle(struct inode *i, struct blob *b)
{
    assert(i->large == NULL);
    buf_release(&i->stage);
    i->staged = false;
    content_load(i, b);
}

static void stage(struct inode *i)
{
    if (i->staged)
        return;
    assert(content_here(i));
    struct slice bytes = content_bytes(i);
    buf_clear(&i->stage);
    buf_put_slice(&i->stage, bytes);
    i->staged = true;
}

/* Grows by doubling would waste half of what many small files need: the buffer does that itself. */
static void extend(struct inode *i, uint64_t size)
{
    if (size <= i->stage.len)
        return;
    size_t more = (size_t)size - i->stage.len;
    buf_reserve(&i->stage, more);
    memset(i->stage.data + i->stage.len, 0, more);
    i->stage.len = (size_t)size;
}

bool content_large_at(const struct inode *i, uint64_t end)
{
    return i->large != NULL || end > i->fs->cfg.inline_max;
}

int content_enlarge(struct inode *i)
{
    if (i->large != NULL)
        return 0;
    struct slice bytes = content_bytes(i);
    struct large *l = large_new(i);
    for (size_t at = 0, n; at < bytes.len; at += n) { /* one chunk; more if HTTP put it */
        n = bytes.len - at < CHUNK_LEN ? bytes.len - at : CHUNK_LEN;
        large_write(l, at, slice_of(bytes.data + at, n));
    }
    buf_release(&i->stage);
    blob_unref(i->loaded);
    i->loaded = NULL;
    i->large = l;
    i->staged = true;
    count(i);
    return 0;
}

void content_changed(struct inode *i)
{
    i->staged = true;
    count(i);
}

int content_write(struct inode *i, uint64_t off, struct slice data)
{
    struct fs *fs = i->fs;
    if (off > fs->cfg.value_max || data.len > fs->cfg.value_max - off)
        return EFBIG;
    assert(!content_large_at(i, off + data.len));
    if (fs->memory + data.len > fs->cfg.memory_max) {
        give_way(fs, i);
        if (fs->memory + data.len > 2 * fs->cfg.memory_max)
            return ENOSPC; /* nothing can be published, and there is no more room to keep it */
    }
    stage(i);
    extend(i, off);
    size_t inside = i->stage.len - (size_t)off < data.len ? i->stage.len - (size_t)off : data.len;
    if (inside != 0)
        memcpy(i->stage.data + off, data.data, inside);
    buf_put(&i->stage, data.data + inside, data.len - inside);
    count(i);
    return 0;
}

void content_restore(struct inode *i, struct slice bytes)
{
    buf_clear(&i->stage);
    buf_put_slice(&i->stage, bytes);
    i->staged = true;
    count(i);
}

int content_truncate(struct inode *i, uint64_t size)
{
    if (size > i->fs->cfg.value_max)
        return EFBIG;
    if (size == 0) {
        drop_large(i);
        buf_clear(&i->stage);
        i->staged = true;
    } else if (content_large_at(i, size)) {
        content_enlarge(i);
        large_truncate(i->large, size);
        i->staged = true;
    } else {
        stage(i);
        extend(i, size);
        i->stage.len = (size_t)size;
    }
    count(i);
    return 0;
}
