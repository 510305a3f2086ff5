/* SPDX-License-Identifier: Apache-2.0 */
/* See large.h. This file: the overlay, what is where. How its chunks leave is in large_send.c. */
#include "model/large.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "model/large_private.h"

struct large *large_new(struct inode *i)
{
    struct large *l = mem_new(struct large);
    l->fs = i->fs;
    l->inode = i;
    l->base_us = fs_now_us(i->fs);
    l->sure_ns = fs_wall_ns(i->fs);
    l->sync_next = LARGE_ALL_SYNCED;
    list_init(&l->waits);
    if (!timer_is_set(&i->fs->renew_timer))
        timer_set(i->fs->timers, &i->fs->renew_timer, l->base_us + RENEW_US);
    return l;
}

void large_free(struct large *l)
{
    if (l == NULL)
        return;
    while (l->n > 0)
        large_slot_remove(l, l->n - 1);
    large_send_stop(l);
    large_sync_stop(l);
    manifest_release(&l->base);
    free(l->slots);
    free(l->borrowed);
    buf_release(&l->ref_key);
    free(l);
}

int large_take(struct large *l, struct slice manifest)
{
    assert(l->n == 0);
    int err = manifest_decode(manifest, &l->base);
    if (err != DYN_OK)
        return err;
    l->size = l->cut = l->built_cut = l->base.size;
    l->base_us = fs_now_us(l->fs);
    l->sure_ns = fs_wall_ns(l->fs);
    l->sync_next = 0;
    return DYN_OK;
}

uint64_t large_size(const struct large *l)
{
    return l->size;
}

size_t large_memory(const struct large *l)
{
    return l->base.n * sizeof(struct chunk) + l->n * (sizeof(struct slot) + sizeof(void *));
}

/* ---- finding ----------------------------------------------------------------------------- */

static uint32_t slot_bound(const struct large *l, uint64_t index)
{
    uint32_t lo = 0, hi = l->n;
    if (l->n != 0 && l->slots[l->n - 1]->index < index)
        return l->n; /* files are mostly written from front to back */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (l->slots[mid]->index < index)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct slot *slot_find(const struct large *l, uint32_t index)
{
    uint32_t at = slot_bound(l, index);
    return at < l->n && l->slots[at]->index == index ? l->slots[at] : NULL;
}

struct slot *large_slot_get(struct large *l, uint32_t index)
{
    uint32_t at = slot_bound(l, index);
    if (at < l->n && l->slots[at]->index == index)
        return l->slots[at];
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 8 : l->cap * 2;
        l->slots = mem_reallocarray(l->slots, l->cap, sizeof(*l->slots));
    }
    memmove(&l->slots[at + 1], &l->slots[at], (l->n - at) * sizeof(*l->slots));
    struct slot *s = mem_new(struct slot);
    s->large = l;
    s->index = index;
    list_init(&s->link);
    l->slots[at] = s;
    l->n++;
    return s;
}

static uint64_t start_of(uint32_t index)
{
    return (uint64_t)index * CHUNK_LEN;
}

/* How much of the manifest's chunk still counts; 0: nothing, a hole. */
static uint32_t base_len(const struct large *l, const struct chunk *c)
{
    uint64_t start = start_of(c->index);
    if (start >= l->cut)
        return 0;
    return l->cut - start < c->len ? (uint32_t)(l->cut - start) : c->len;
}

static const struct upload_id *base_upload(const struct large *l, const struct chunk *c)
{
    return &l->base.uploads[c->upload];
}

/* The stored chunk that is there now, when no dirty slot is: len 0 for a hole. */
struct stored {
    const struct upload_id *upload;
    struct chunk chunk;
};

static struct stored stored_at(const struct large *l, uint32_t index)
{
    const struct slot *s = slot_find(l, index);
    if (s != NULL && s->state == SLOT_STORED)
        return (struct stored){&s->upload, s->chunk};
    const struct chunk *c = s == NULL ? manifest_find(&l->base, index) : NULL;
    struct stored at = {NULL, {.index = index}};
    if (c != NULL) {
        at = (struct stored){base_upload(l, c), *c};
        at.chunk.len = base_len(l, c);
    }
    return at;
}

enum large_look large_look(struct large *l, uint32_t index, struct blob **bytes, uint32_t *len)
{
    struct slot *s = slot_find(l, index);
    if (s != NULL && (s->state == SLOT_DIRTY || s->state == SLOT_SENDING)) {
        *bytes = s->bytes;
        *len = s->chunk.len;
        return s->chunk.len == 0 ? LARGE_HOLE : LARGE_HERE;
    }
    struct stored at = stored_at(l, index);
    if (at.chunk.len == 0)
        return LARGE_HOLE;
    *bytes = chunk_cache_find(l->fs, at.upload, &at.chunk);
    if (*bytes == NULL)
        return LARGE_AWAY;
    *len = at.chunk.len < (*bytes)->len ? at.chunk.len : (*bytes)->len;
    return LARGE_HERE;
}

void large_load(struct large *l, uint32_t index, struct chunk_wait *w)
{
    const struct slot *s = slot_find(l, index);
    if (s != NULL && s->state != SLOT_STORED)
        return;
    struct stored at = stored_at(l, index);
    if (at.chunk.len != 0 && chunk_cache_find(l->fs, at.upload, &at.chunk) == NULL)
        chunk_cache_load(l->fs, at.upload, &at.chunk, w);
}

bool large_next_stored(const struct large *l, uint64_t index, struct upload_id *upload,
                       struct chunk *c)
{
    while (index <= UINT32_MAX) {
        uint32_t at = slot_bound(l, index);
        const struct chunk *b = manifest_from(&l->base, index);
        uint64_t next = at < l->n ? l->slots[at]->index : UINT64_MAX;
        if (b != NULL && b->index < next)
            next = b->index;
        if (next == UINT64_MAX)
            break;
        struct stored found = stored_at(l, (uint32_t)next);
        if (found.chunk.len != 0) {
            *upload = *found.upload;
            *c = found.chunk;
            c->index = (uint32_t)next;
            return true;
        }
        index = next + 1;
    }
    return false;
}

/* ---- changing ---------------------------------------------------------------------------- */

void large_slot_remove(struct large *l, uint32_t at)
{
    struct slot *s = l->slots[at];
    large_slot_clean(s);
    memmove(&l->slots[at], &l->slots[at + 1], (l->n - at - 1) * sizeof(*l->slots));
    l->n--;
    free(s);
}

/* Gives the slot bytes of its own, the first `len` of them those of `old`. */
static void make_dirty(struct slot *s, const struct blob *old, uint32_t len)
{
    struct blob *bytes = blob_new(NULL, CHUNK_LEN);
    if (len != 0)
        memcpy(bytes->data, old->data, len);
    large_slot_clean(s);
    s->bytes = bytes;
    s->chunk.len = len;
    large_slot_dirty(s);
}

/* A thread may be writing them to this machine's disk (staging.h). */
static void own_bytes(struct slot *s)
{
    if (s->bytes->refs == 1)
        return;
    struct blob *copy = blob_new(s->bytes->data, CHUNK_LEN);
    blob_unref(s->bytes);
    s->bytes = copy;
}

bool large_write(struct large *l, uint64_t off, struct slice data)
{
    uint32_t index = (uint32_t)(off / CHUNK_LEN), at = (uint32_t)(off % CHUNK_LEN);
    uint32_t end = at + (uint32_t)data.len, len = 0;
    struct blob *old = NULL;
    assert(data.len > 0 && data.len <= CHUNK_LEN - at);
    struct slot *s = slot_find(l, index);
    if (s == NULL || s->state == SLOT_HOLE || s->state == SLOT_STORED) {
        len = stored_at(l, index).chunk.len;
        bool needed = len != 0 && (at > 0 || data.len < len);
        if (needed && large_look(l, index, &old, &len) == LARGE_AWAY)
            return false;
        blob_ref(old);
        s = large_slot_get(l, index);
        make_dirty(s, old, needed ? len : 0);
        blob_unref(old);
    } else if (s->state == SLOT_SENDING) {
        large_slot_recall(s);
    }
    own_bytes(s);
    if (at > s->chunk.len)
        memset(s->bytes->data + s->chunk.len, 0, at - s->chunk.len);
    memcpy(s->bytes->data + at, data.data, data.len);
    if (end > s->chunk.len)
        s->chunk.len = end;
    if (off + data.len > l->size)
        l->size = off + data.len;
    large_written(s, end == CHUNK_LEN && s->chunk.len == CHUNK_LEN);
    return true;
}

void large_truncate(struct large *l, uint64_t size)
{
    uint32_t at = slot_bound(l, size / CHUNK_LEN);
    if (at < l->n && start_of(l->slots[at]->index) < size) {
        struct slot *s = l->slots[at++];
        uint32_t inside = (uint32_t)(size % CHUNK_LEN);
        if (s->chunk.len > inside) {
            s->chunk.len = inside;
            s->stamp = ++l->fs->next_stamp;
        }
    }
    while (l->n > at)
        large_slot_remove(l, l->n - 1);
    if (size < l->cut)
        l->cut = size;
    if (size < l->built_cut)
        l->built_cut = size;
    l->size = size;
    large_send_check(l);
}

void large_punch(struct large *l, uint32_t index)
{
    struct slot *s = large_slot_get(l, index);
    large_slot_clean(s);
    s->chunk.len = 0;
    large_send_check(l);
}

void large_share(struct large *l, uint64_t off, struct large *from, uint64_t from_off, uint64_t n)
{
    assert(large_stored(from) && off % CHUNK_LEN == 0 && from_off % CHUNK_LEN == 0);
    for (uint64_t at = 0; at < n; at += CHUNK_LEN) {
        struct stored c = stored_at(from, (uint32_t)((from_off + at) / CHUNK_LEN));
        struct slot *s = large_slot_get(l, (uint32_t)((off + at) / CHUNK_LEN));
        large_slot_clean(s);
        s->chunk = c.chunk;
        if (c.chunk.len == 0)
            continue; /* a hole, as it is now */
        s->state = SLOT_STORED;
        s->upload = *c.upload;
        large_borrow(l, c.upload);
    }
    if (off + n > l->size)
        l->size = off + n;
    l->sync_next = 0;
    large_send_check(l);
}

/* ---- the whole --------------------------------------------------------------------------- */

struct walk { /* all chunks in order, those of slots before those that they mask */
    uint32_t slot, chunk;
};

/* false: the end. Holes are left out. *s is NULL for a chunk of the manifest. */
static bool walk_next(const struct large *l, struct walk *w, const struct slot **s,
                      struct stored *out)
{
    for (;;) {
        const struct slot *a = w->slot < l->n ? l->slots[w->slot] : NULL;
        const struct chunk *b = w->chunk < l->base.n ? &l->base.chunks[w->chunk] : NULL;
        if (a == NULL && b == NULL)
            return false;
        bool takes_slot = a != NULL && (b == NULL || a->index <= b->index);
        if (takes_slot) {
            w->slot++;
            if (b != NULL && b->index == a->index)
                w->chunk++;
            *out = (struct stored){&a->upload, a->chunk};
        } else {
            w->chunk++;
            *out = (struct stored){base_upload(l, b), *b};
            out->chunk.len = base_len(l, b);
        }
        *s = takes_slot ? a : NULL;
        if (takes_slot)
            out->chunk.index = a->index;
        if (out->chunk.len != 0)
            return true;
    }
}

uint64_t large_allocated(const struct large *l)
{
    uint64_t bytes = 0;
    const struct slot *s;
    struct stored at;
    if (l->n == 0 && l->cut == l->base.size)
        return l->base_allocated != 0 ? l->base_allocated : manifest_allocated(&l->base);
    for (struct walk w = {0, 0}; walk_next(l, &w, &s, &at);)
        bytes += at.chunk.len;
    return bytes;
}

uint32_t large_chunks(const struct large *l)
{
    return l->base.n + l->n; /* at most */
}

uint64_t large_seek(const struct large *l, uint64_t off, bool hole)
{
    const struct slot *s;
    struct stored at;
    for (struct walk w = {0, 0}; walk_next(l, &w, &s, &at);) {
        uint64_t start = start_of(at.chunk.index), end = start + CHUNK_LEN;
        if (end > l->size)
            end = l->size;
        if (off >= end)
            continue;
        if (!hole)
            return off > start ? off : start;
        if (off < start)
            return off;
        off = end;
    }
    return hole && off < l->size ? off : l->size;
}

void large_manifest(struct large *l, struct manifest *out)
{
    const struct slot *s;
    struct stored at;
    assert(large_stored(l));
    *out = (struct manifest){.size = l->size};
    for (struct walk w = {0, 0}; walk_next(l, &w, &s, &at);)
        manifest_add(out, at.upload, &at.chunk);
    for (uint32_t i = 0; i < l->n; i++)
        l->slots[i]->built = true;
    l->built_cut = l->size;
}

bool large_same(const struct large *l, const struct manifest *m)
{
    return manifest_same_bytes(&l->base, m);
}

void large_settle(struct large *l, struct slice manifest)
{
    struct manifest m = MANIFEST_EMPTY;
    if (manifest.len != 0 && manifest_decode(manifest, &m) != DYN_OK)
        return; /* the overlay still says all of it */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        struct slot *s = l->slots[i];
        if (!s->built) {
            l->slots[kept++] = s;
            continue;
        }
        large_slot_clean(s);
        free(s);
    }
    l->n = kept;
    if (manifest.len != 0) {
        manifest_release(&l->base);
        l->base = m;
    }
    l->cut = l->built_cut;
    l->base_us = fs_now_us(l->fs);
    l->base_allocated = 0;
    if (kept == 0)
        l->n_borrowed = 0; /* the manifest lists them now */
    large_roll(l);
}
