/* SPDX-License-Identifier: Apache-2.0 */
/* RocksDB as this project uses it: blocking calls over our column families, with our errors. Reads
 * and syncs may come from any thread, the batch belongs to one. store_rocksdb.h makes an
 * asynchronous store of it. */
#ifndef DYN_ADAPTER_ROCKS_H
#define DYN_ADAPTER_ROCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "port/store.h"

struct rocks;

struct rocks_config {
    const char *path;            /* folder; made when missing */
    uint64_t cache_bytes;        /* blocks, filters and blobs in memory */
    uint64_t write_buffer_bytes; /* all memtables together */
    uint64_t blob_bytes;         /* values from this size on lie in blob files */
};

/* The family of our own rows, which no scan of an engine meets. */
#define ROCKS_OWN ((enum store_family)STORE_FAMILIES)

/* A read that was to stay in memory would have to go to the disk. Positive: not an error. */
#define ROCKS_INCOMPLETE 1

/* On failure *message (caller frees) is a sentence for the operator: DYN_ERR_EXISTS when another
 * process has it open, DYN_ERR_CORRUPT, DYN_ERR_IO. */
int rocks_open(const struct rocks_config *config, struct rocks **out, char **message);
void rocks_close(struct rocks *r); /* NULL is fine */

/* The number of the newest write; 0 in a new database. */
uint64_t rocks_sequence(const struct rocks *r);
/* Failures in the background (flushes, compactions) since the open. */
uint64_t rocks_background_errors(const struct rocks *r);
uint64_t rocks_bytes_used(const struct rocks *r);

/* The one batch, written with rocks_write, which empties it whatever comes of it. Failures of these
 * set *message (caller frees): DYN_ERR_NO_SPACE, DYN_ERR_CORRUPT, DYN_ERR_IO. */
void rocks_batch_put(struct rocks *r, enum store_family f, struct slice key, struct slice value);
void rocks_batch_delete(struct rocks *r, enum store_family f, struct slice key);
void rocks_batch_merge(struct rocks *r, enum store_family f, struct slice key,
                       struct slice operand); /* the tree's family only */
void rocks_batch_clear(struct rocks *r);
int rocks_write(struct rocks *r, char **message); /* to the log, in the page cache */
/* Batches of a store, in their order and as one; apart from the batch above. From one thread at a
 * time, which may be another than that of other calls. */
int rocks_write_all(struct rocks *r, const struct store_batch *const *batches, uint32_t n,
                    char **message);
int rocks_sync(struct rocks *r, char **message);  /* the log, to the platter */
int rocks_flush(struct rocks *r, char **message); /* memtables to tables */
/* Whether compactions take deleted values out of blob files: turned on and off by how much of them
 * is garbage, to be asked now and then, by one thread; any: on, however little. Returns which. */
bool rocks_collect_blobs(struct rocks *r, bool any);
/* Gives the room of deleted rows of a family back now instead of some day. Rewrites what is left of
 * it. */
void rocks_reclaim(struct rocks *r, enum store_family f);
/* From another thread: one that is under way ends soon, with less done, and none begins again. */
void rocks_reclaim_no_more(struct rocks *r);

/* A row, pinned where RocksDB has it. DYN_ERR_NOT_FOUND, DYN_ERR_CORRUPT, DYN_ERR_IO, and
 * ROCKS_INCOMPLETE when memory_only. *out is untouched then. */
struct rocks_value;
int rocks_get(const struct rocks *r, enum store_family f, struct slice key, bool memory_only,
              struct rocks_value **out);
struct slice rocks_value_slice(const struct rocks_value *v);
void rocks_value_free(struct rocks_value *v); /* NULL is fine */

/* Rows in ascending order, those with the prefix and >= from. */
enum rocks_cursor_mode { ROCKS_CURSOR_MEMORY, ROCKS_CURSOR_CACHED, ROCKS_CURSOR_ONCE };
struct rocks_cursor;
struct rocks_cursor *rocks_cursor_new(const struct rocks *r, enum store_family f,
                                      struct slice prefix, struct slice from,
                                      enum rocks_cursor_mode mode);
void rocks_cursor_free(struct rocks_cursor *c); /* NULL is fine */
/* False at the end, or where it failed: then rocks_cursor_error(). Slices borrowed until next. */
bool rocks_cursor_row(const struct rocks_cursor *c, struct slice *key, struct slice *value);
void rocks_cursor_next(struct rocks_cursor *c);
int rocks_cursor_error(const struct rocks_cursor *c); /* as rocks_get */

#endif
