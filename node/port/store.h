/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine asks of a disk: an ordered key-value store with column families, atomic batches,
 * and three strengths of acknowledgement. RocksDB stands behind it in production, an ordered map
 * that can lose its unsynced tail in the simulator.
 *
 * Contract. All calls come from one thread. A callback may run inside the call (when the data is in
 * memory) or later from the loop, never from another thread. Reads see every batch handed over
 * before them, written or not (read your writes), so a per-key critical section may end when
 * write() returns. Batches become durable in the order in which they were handed over. A batch that
 * there is no room for is refused by write() itself, and changes nothing. A failed write or sync is
 * reported to that batch and to every later one, and to `failed` (DYN_ERR_NO_SPACE: the disk was
 * full in spite of the reserve), and nothing is retried (HAZARDS E20): the node stops minting and
 * exits. */
#ifndef DYN_PORT_STORE_H
#define DYN_PORT_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"

enum store_family { STORE_META, STORE_VALUE, STORE_HINT, STORE_TREE, STORE_LOCAL, STORE_FAMILIES };

/* A merge XORs its operand, of STORE_MERGE_LEN bytes, into the row, which counts as zeros when
 * absent. So it needs no read, and the order of two merges does not matter (HAZARDS E9). A row is
 * merged into only if it was made so. */
enum store_op_type { STORE_PUT, STORE_DELETE, STORE_MERGE };
#define STORE_MERGE_LEN 16

/* A batch is one buffer of encoded operations, built by the store_batch functions below. */
struct store_batch {
    struct buf ops;
    uint32_t count;
    bool deletes; /* it ends with less data, whatever rows it needs to say so: a disk that is too
                     full for new data takes it all the same (HAZARDS E20) */
};
#define STORE_BATCH_EMPTY ((struct store_batch){BUF_EMPTY, 0, false})
void store_batch_release(struct store_batch *b);
void store_batch_put(struct store_batch *b, enum store_family f, struct slice key,
                     struct slice value);
void store_batch_delete(struct store_batch *b, enum store_family f, struct slice key);
void store_batch_merge(struct store_batch *b, enum store_family f, struct slice key,
                       const uint8_t operand[STORE_MERGE_LEN]);
void store_merge(uint8_t row[STORE_MERGE_LEN], const uint8_t operand[STORE_MERGE_LEN]);
/* Walks: *at starts at 0; false at the end. Slices borrowed from the batch. */
bool store_batch_next(const struct store_batch *b, size_t *at, enum store_op_type *type,
                      enum store_family *f, struct slice *key, struct slice *value);

enum store_sync {
    STORE_BUFFERED, /* acknowledged when in the log, in the page cache; or before, where the store
                     * was told so: then what a loss of power may take a kill may take too */
    STORE_SYNCED,   /* acknowledged when a sync that covers it has returned; syncs are grouped */
};

/* Caller-owned requests; must stay put until the callback. */
struct store_get {
    enum store_family family;
    struct slice key; /* borrowed until the callback */
    void (*done)(struct store_get *req, int err,
                 struct slice value); /* DYN_ERR_NOT_FOUND; value borrowed during the callback */
    void *arg;
    struct list link; /* the store's */
};

struct store_write {
    void (*done)(struct store_write *req, int err);
    void *arg;
    struct list link;     /* the store's */
    uint64_t ticket;      /* the store's */
    enum store_sync sync; /* the store's */
};

/* Ascending scan of [from, prefix...): rows whose key starts with prefix and is >= from (from may
 * be empty: start of prefix). Stops when max_rows or max_bytes (of keys and values) are reached, or
 * when row() returns false; the row that reaches a bound is still given, so each scan gets on. */
struct store_scan {
    enum store_family family;
    struct slice prefix, from; /* borrowed until done */
    uint32_t max_rows;
    uint64_t max_bytes;
    bool (*row)(struct store_scan *req, struct slice key,
                struct slice value); /* borrowed during the call */
    void (*done)(struct store_scan *req, int err,
                 bool more); /* more: stopped with rows left, not at the end */
    void *arg;
    struct list link; /* the store's */
};

struct store_stats {
    uint64_t bytes_used, bytes_free; /* of the disk, for statfs and status */
    uint64_t writes, syncs, reads_memory, reads_disk;
    uint64_t buffered;    /* batches in memory that the kernel has yet to get */
    uint64_t buffer_full; /* batches that came while there was no room for more of them */
};

struct store_port {
    void *ctx;
    void (*get)(void *ctx, struct store_get *req);
    /* DYN_OK: taken, done will run. Otherwise refused at once (DYN_ERR_NO_SPACE, DYN_ERR_STOPPED,
     * DYN_ERR_IO): nothing of it is stored or seen, and done will not run. The batch is emptied
     * either way. req NULL: nobody waits. */
    int (*write)(void *ctx, struct store_batch *batch, enum store_sync sync,
                 struct store_write *req);
    void (*sync)(
        void *ctx,
        struct store_write *req); /* completes when everything handed over before it is synced */
    void (*scan)(void *ctx, struct store_scan *req);
    void (*stats)(void *ctx, struct store_stats *out);
};

#endif
