/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the store on RocksDB, shared by the file that writes and the file that reads. */
#ifndef DYN_ADAPTER_STORE_ROCKSDB_PRIVATE_H
#define DYN_ADAPTER_STORE_ROCKSDB_PRIVATE_H

#include "adapter/lanes.h"
#include "adapter/rocks.h"
#include "adapter/store_buffer.h"
#include "adapter/store_cache.h"
#include "adapter/store_disk.h"
#include "adapter/store_files.h"
#include "adapter/store_identity.h"
#include "adapter/store_rocksdb.h"

enum {
    TURN_OPS_MAX = 1024,      /* operations that wait for the end of a turn, */
    TURN_BYTES_MAX = 1 << 20, /* and bytes; beyond, they are written at once */
    TURN_MARKS = 16384,
    WRITE_BATCHES_MAX = 1024,  /* of the buffer that are written at once, */
    WRITE_BYTES_MAX = 1 << 20, /* and bytes, about */
    SYNC_PAUSE_MS = 100,       /* before the buffer's store syncs what nobody asked it to */
    CHECK_MS = 1000,
    RECLAIM_MS = 10000,   /* between attempts to find room */
    LOW_BLAME_MS = 60000, /* for so long after room was low, it is to blame */
};

enum lane {
    LANE_WRITE,
    LANE_PAUSE,
    LANE_SYNC,
    LANE_READ,
    LANE_SCAN,
    LANE_UPKEEP,
    LANE_FILES,
    LANES
};

struct sync_job {
    struct lane_job job;
    struct store_rocksdb *s;
    uint64_t ticket, sequence;
    char *message;
    int err;
    bool running;
};

/* A group of the buffer's batches on its way to the log. */
struct write_job {
    struct lane_job job;
    struct store_rocksdb *s;
    const struct store_batch *batches[WRITE_BATCHES_MAX];
    uint32_t n;
    char *message;
    int err;
    bool running;
};

/* The while until what is written is synced, though nobody waits for it. */
struct pause_job {
    struct lane_job job;
    struct store_rocksdb *s;
    bool running;
};

struct check_job {
    struct lane_job job;
    struct store_rocksdb *s;
    uint64_t background_errors;
    bool running, low, reclaim;
};

/* A piece of the upkeep of files (store_files_tidy). */
struct files_job {
    struct lane_job job;
    struct store_rocksdb *s;
    uint64_t durable;
    bool running, spares; /* spares: none failed to be made */
};

struct store_rocksdb {
    char *folder;
    struct store_host host;
    struct store_disk *disk;
    struct lanes *lanes;
    struct rocks *db;
    struct store_files *files; /* NULL: no row refers to one */
    struct files_job tidy;
    struct store_cache *rows;
    struct list cold_gets; /* struct cold_get.link: on their way to a thread and back */
    struct store_identity identity;
    uint64_t lost;

    /* The batches of this turn lie in the database's batch, and each of their keys has a mark, by
     * its hash. So few bytes stay in the processor's caches, where a table of keys would not. */
    uint64_t turn_bytes;
    uint32_t turn_ops;
    uint64_t marks[TURN_MARKS / 64];
    /* Or they lie in the buffer, and a thread writes them: then tickets count batches. */
    struct store_buffer *buffer; /* NULL: none */
    struct write_job writer;
    struct pause_job pause;
    bool sync_due;         /* the pause is over: sync what is written */
    struct list unwritten; /* store_write.link: wait for the writer */
    struct list held;      /* held_read.link: reads that do */
    bool dirty;            /* the host knows that a flush is due */

    /* Each write goes from waiting (its batch) to unsynced (a sync, if it wants one) to settled
     * (its callback; its ticket then holds the outcome). */
    struct list waiting, unsynced, settled;
    uint64_t written, durable; /* tickets: batches written so far, and how many are synced */
    struct sync_job sync;
    struct check_job check;
    uint64_t checked_ms, background_errors;
    uint64_t low_ms, reclaimed_ms, reclaimed_at; /* at: of bytes_written */

    uint64_t bytes_written;
    struct store_stats stats;
    bool stopped, told, closing;
    bool full; /* why it stopped: RocksDB cannot go on after a write that found no room */
    int failure;
    char *failure_message;
};

/* Writes what waits for the end of the turn, without running a callback. */
void store_rocksdb_turn_write(struct store_rocksdb *s);
/* May a batch that waits hold the row with this store_cache_hash? */
bool store_rocksdb_turn_may_hold(const struct store_rocksdb *s, uint64_t hash);
/* A row was written: what the cache, or a read that is under way, knows of it is no longer so. */
void store_rocksdb_row_written(struct store_rocksdb *s, enum store_op_type type, uint64_t hash,
                               enum store_family f, struct slice key, struct slice value);

/* For store_rocksdb_buffer.c. Takes the message. */
void store_rocksdb_stop_writing(struct store_rocksdb *s, int err, char *message);
void store_rocksdb_settle(struct store_rocksdb *s, struct store_write *req, int err);
void store_rocksdb_start_sync(struct store_rocksdb *s);

/* The buffer (store_rocksdb_buffer.c). open: makes one if it is configured. */
void store_rocksdb_buffer_open(struct store_rocksdb *s, const struct store_rocksdb_config *config);
void store_rocksdb_buffer_add(struct store_rocksdb *s, struct store_batch *batch,
                              enum store_sync sync, struct store_write *req);
void store_rocksdb_buffer_sync(struct store_rocksdb *s, struct store_write *req);
void store_rocksdb_start_write(struct store_rocksdb *s); /* when there is what, and nothing runs */
/* True: answered, or held until what it must see has been written. */
bool store_rocksdb_buffer_get(struct store_rocksdb *s, struct store_get *req, uint64_t hash);
bool store_rocksdb_buffer_scan(struct store_rocksdb *s, struct store_scan *req);
void store_rocksdb_release_held(struct store_rocksdb *s); /* runs callbacks */
/* Writes all that is left, at the end, when no thread does. */
void store_rocksdb_buffer_drain(struct store_rocksdb *s);
/* Reads past the buffer. */
void store_rocksdb_get_written(struct store_rocksdb *s, struct store_get *req);
void store_rocksdb_scan_written(struct store_rocksdb *s, struct store_scan *req);

/* What belongs into files goes there (store_rocksdb_files.c), and the batch is left with
 * references. An error is for whoever hands it over; after any but DYN_ERR_NO_SPACE the store has
 * stopped. */
int store_rocksdb_take_out(struct store_rocksdb *s, struct store_batch *batch);
uint32_t store_rocksdb_format(const struct store_rocksdb_config *config);
int store_rocksdb_files_open(struct store_rocksdb *s, const struct store_rocksdb_config *config,
                             char **message);
void store_rocksdb_tidy(struct store_rocksdb *s); /* when there is what, and nothing runs */
/* True: the row is a reference, and a thread answers the read from its file. */
bool store_rocksdb_get_file(struct store_rocksdb *s, struct store_get *req, uint64_t hash,
                            struct slice row);

/* The port's reads. */
void store_rocksdb_get(void *ctx, struct store_get *req);
void store_rocksdb_scan(void *ctx, struct store_scan *req);

#endif
