/* SPDX-License-Identifier: Apache-2.0 */
/* The content of a file that is too large for one value: a manifest as it was read, and over it, a
 * chunk at a time, what was written since. Nothing is fetched that is only overwritten, full chunks
 * leave while the file is still being written, and what stays in memory is bounded for the whole
 * mount (F24): beyond cfg.staging_max bytes writers wait.
 *
 * A chunk of the overlay (a slot):
 *
 *   DIRTY  --full, or the mount holds too much, or a publication wants it--> queued
 *   queued --its turn, and the upload's record is there (E8)--> SENDING
 *   SENDING --W have it--> STORED (its bytes are in the cache at most)
 *   SENDING --failed--> DIRTY        SENDING, STORED --written again--> DIRTY
 *   HOLE masks what the manifest has there
 *
 * Settled slots become the manifest of the next version; then they go. */
#ifndef DYN_FS_LARGE_H
#define DYN_FS_LARGE_H

#include "model/chunk_cache.h"
#include "model/inode.h"

struct large;
struct staged_large;
struct stage_chunk;

struct large_wait { /* caller-owned */
    struct list link;
    enum durability durability;
    void (*done)(struct large_wait *w, int err); /* enum dyn_err */
    void *arg;
};

struct large *large_new(struct inode *i); /* of size 0 */
void large_free(struct large *l);         /* who waits is told DYN_ERR_CANCELED */
/* Nothing was changed so far: these bytes are the version. DYN_ERR_INVALID. */
int large_take(struct large *l, struct slice manifest);
uint64_t large_size(const struct large *l);
uint64_t large_allocated(const struct large *l);
size_t large_memory(const struct large *l); /* without chunks */

enum large_look { LARGE_HOLE, LARGE_HERE, LARGE_AWAY };
/* The chunk at index as it is now: *bytes (borrowed) of which *len count, zeros after; AWAY: to
 * be loaded first. */
enum large_look large_look(struct large *l, uint32_t index, struct blob **bytes, uint32_t *len);
/* Has bytes that are away brought here. w NULL: nobody waits, what is here or a hole is fine. */
void large_load(struct large *l, uint32_t index, struct chunk_wait *w);
/* data lies within one chunk. false: the chunk's bytes must be loaded first. */
bool large_write(struct large *l, uint64_t off, struct slice data);
void large_truncate(struct large *l, uint64_t size);
/* The whole chunk becomes a hole; the size stays. */
void large_punch(struct large *l, uint32_t index);
/* The chunks of another file, all of them stored, become those of this one; both offsets are whole
 * chunks, and so is n unless both files end there. */
void large_share(struct large *l, uint64_t off, struct large *from, uint64_t from_off, uint64_t n);
/* The next byte at or after off that lies in a hole, or in none; the size when there is none. */
uint64_t large_seek(const struct large *l, uint64_t off, bool hole);
/* How many chunks the file has that are no holes. */
uint32_t large_chunks(const struct large *l);

/* All that was written lies with W replicas at w->durability, and the upload's record says so.
 * While anyone waits for that, large_storing(). */
void large_store(struct large *l, struct large_wait *w);
bool large_storing(const struct large *l);
bool large_stored(const struct large *l);
/* Of what this mount has sent nothing is known to be in memory only (F13). */
bool large_synced(const struct large *l);
/* Nor is it possible of what others have sent. */
bool large_all_synced(const struct large *l);
/* Brings all that is stored onto the disks of W replicas, whoever has sent it. DYN_ERR_IO: a chunk
 * is lost. Not to be called while large_all_synced(). done may run inside. */
void large_sync_all(struct large *l, struct large_wait *w);
/* What it is now; large_stored() holds. */
void large_manifest(struct large *l, struct manifest *out);
/* Is that what the version had, byte for byte? (F28) */
bool large_same(const struct large *l, const struct manifest *m);
/* The last large_manifest() was published as this; empty: it is what the version had before. */
void large_settle(struct large *l, struct slice manifest);

/* For the staging folder (large_stage.c): what it is now, chunks appended to *chunks; and i, which
 * had no content, has that again. chunks: those of its dirty slots, CHUNK_LEN each. */
void large_describe(struct large *l, struct staged_large *out, struct stage_chunk **chunks,
                    uint32_t *n);
void large_restore(struct inode *i, const struct staged_large *from, struct blob **chunks);

/* Bytes are not to be taken now: too many are on their way, or a publication gathers or moves the
 * file's. */
bool large_must_wait(const struct large *l, size_t more);
/* That it holds bytes back, until it is told otherwise. */
void large_hold(struct large *l, bool held);
/* Runs when that may have changed: DYN_OK, or why sending fails. */
void large_wait_room(struct large *l, struct large_wait *w);

#endif
