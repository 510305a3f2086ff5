/* SPDX-License-Identifier: Apache-2.0 */
/* fsync of chunks that this mount has not sent itself (F13). A manifest names them, whoever wrote
 * them: another mount, whose close left them in memory, an earlier run of this one, or the file
 * that they were copied from. None of them is known to be on a disk, and no version of them is
 * known either, but they are written once: so each is synced as whatever lives under its key, a few
 * at a time, in the order of the file.
 *
 * Which ones have been is remembered by the mount, for the manifest may be read anew: its content
 * gave way to other content, or another mount has changed a chunk of it. A table of fixed size
 * does, since what it forgets is only synced once more. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "model/large_private.h"

#define AT_ONCE 16u
#define BLOCKS 2048u /* of 64 chunks each: 128 GiB, in 64 KiB */

/* ---- what is known ----------------------------------------------------------------------- */

struct synced_block { /* 64 numbers of one upload */
    struct upload_id upload;
    uint32_t block;
    uint64_t chunks; /* by bits; 0: nothing is known */
};

static struct synced_block *block_of(const struct fs *fs, const struct upload_id *upload,
                                     uint32_t number)
{
    uint32_t hash;
    memcpy(&hash, upload->bytes, sizeof(hash)); /* made by chance */
    return &fs->synced[(hash + number / 64) % BLOCKS];
}

static bool is_about(const struct synced_block *b, const struct upload_id *upload, uint32_t number)
{
    return b->block == number / 64 && memcmp(&b->upload, upload, sizeof(*upload)) == 0;
}

void large_note_synced(struct fs *fs, const struct upload_id *upload, uint32_t number)
{
    if (fs->synced == NULL)
        fs->synced = mem_zalloc(BLOCKS * sizeof(*fs->synced));
    struct synced_block *b = block_of(fs, upload, number);
    if (!is_about(b, upload, number))
        *b = (struct synced_block){.upload = *upload, .block = number / 64};
    b->chunks |= 1ull << number % 64;
}

static bool known(const struct fs *fs, const struct upload_id *upload, uint32_t number)
{
    if (fs->synced == NULL)
        return false;
    const struct synced_block *b = block_of(fs, upload, number);
    return is_about(b, upload, number) && (b->chunks >> number % 64 & 1) != 0;
}

/* ---- the walk ---------------------------------------------------------------------------- */

struct asked {
    struct large *large;
    uint64_t id; /* 0: none */
    uint32_t index, number;
    struct upload_id upload;
};

struct large_walk {
    struct list waits;
    int error; /* enum dyn_err: nothing more is asked */
    struct asked asked[AT_ONCE];
};

static void go_on(struct large *l);

/* Its requests have ended. What waits may be the end of l. */
static void end(struct large *l, int err)
{
    struct large_walk *w = l->walk;
    struct list waits;
    list_init(&waits);
    for (struct list *it; (it = list_first(&w->waits)) != NULL;) {
        list_remove(it);
        list_append(&waits, it);
    }
    l->walk = NULL;
    free(w);
    for (struct list *it; (it = list_first(&waits)) != NULL;) {
        struct large_wait *wait = container_of(it, struct large_wait, link);
        list_remove(it);
        wait->done(wait, err);
    }
}

static void on_synced(void *arg, const struct sync_reply *p)
{
    struct asked *a = arg;
    struct large *l = a->large;
    a->id = 0;
    if (p->status == DYN_OK) {
        large_note_synced(l->fs, &a->upload, a->number);
    } else {
        l->walk->error = p->status == DYN_ERR_NOT_FOUND ? DYN_ERR_IO : p->status;
        if (a->index < l->sync_next)
            l->sync_next = a->index;
    }
    go_on(l);
}

static void ask(struct large *l, struct asked *a)
{
    struct fs *fs = l->fs;
    struct buf key = BUF_EMPTY;
    chunk_key(&a->upload, a->number, &key);
    struct sync_request q = {.key = buf_slice(&key)};
    q.opt.timeout_ms = fs->io.timeout_ms;
    q.opt.durability = DURABILITY_QUORUM;
    fs->counters.syncs++;
    a->large = l;
    a->id = fs->kv.sync(fs->kv.ctx, &q, on_synced, a);
    buf_release(&key);
}

static bool next(struct large *l, struct asked *a)
{
    struct chunk c;
    while (large_next_stored(l, l->sync_next, &a->upload, &c)) {
        l->sync_next = (uint64_t)c.index + 1;
        a->index = c.index;
        a->number = c.number;
        if (!known(l->fs, &a->upload, c.number))
            return true;
    }
    l->sync_next = LARGE_ALL_SYNCED;
    return false;
}

static void go_on(struct large *l)
{
    struct large_walk *w = l->walk;
    bool waits = false;
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        struct asked *a = &w->asked[i];
        if (a->id == 0 && w->error == DYN_OK && next(l, a))
            ask(l, a);
        waits |= a->id != 0;
    }
    if (!waits)
        end(l, w->error);
}

bool large_all_synced(const struct large *l)
{
    return l->walk == NULL && l->sync_next == LARGE_ALL_SYNCED;
}

void large_sync_all(struct large *l, struct large_wait *wait)
{
    bool begins = l->walk == NULL;
    if (begins) {
        l->walk = mem_new(struct large_walk);
        list_init(&l->walk->waits);
    }
    list_append(&l->walk->waits, &wait->link);
    if (begins)
        go_on(l);
}

void large_sync_stop(struct large *l)
{
    if (l->walk == NULL)
        return;
    for (uint32_t i = 0; i < AT_ONCE; i++)
        if (l->walk->asked[i].id != 0)
            l->fs->kv.cancel(l->fs->kv.ctx, l->walk->asked[i].id);
    end(l, DYN_ERR_CANCELED);
}
