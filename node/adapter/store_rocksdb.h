/* SPDX-License-Identifier: Apache-2.0 */
/* The store in production: RocksDB behind struct store_port, on an event loop. What is in memory is
 * answered inside the call; what must wait for the disk goes to threads of its own, and comes back
 * when the loop calls store_rocksdb_poll(). Batches of one turn of the loop are written together at
 * its end, and syncs are grouped: while one runs, the next gathers. */
#ifndef DYN_ADAPTER_STORE_ROCKSDB_H
#define DYN_ADAPTER_STORE_ROCKSDB_H

#include <stdbool.h>
#include <stdint.h>

#include "port/store.h"
#include "port/store_host.h"

struct store_rocksdb;

struct store_rocksdb_config {
    const char *path;            /* folder; made when missing; borrowed during the open */
    uint64_t cluster, node;      /* refuse a store of others; 0: whatever the store says */
    uint64_t cache_bytes;        /* half for rows used lately, half for blocks and filters */
    uint64_t write_buffer_bytes; /* all memtables together */
    /* Writes that may be acknowledged as buffered from this process's memory, before the kernel has
     * them; also no more bytes than write_buffer_bytes. 0: none, and a kill takes nothing along. */
    uint32_t buffer_objects;
    uint64_t blob_bytes;    /* values from this size on lie in RocksDB's blob files, */
    uint64_t file_bytes;    /* from this size on in files of their own (store_files.h); 0: none, */
    uint32_t spare_files;   /* as long as so many, made ahead, last; nor any with a buffer */
    uint64_t ballast_bytes; /* 0: none */
    uint64_t reserve_bytes; /* free room below which no new data is taken */
};

/* Everything but path and identity. */
struct store_rocksdb_config store_rocksdb_config_default(void);

/* Blocks; for the start of a program. host: copied. On failure *message (caller frees) is a
 * sentence for the operator and the result DYN_ERR_INVALID (another cluster's, another node's or a
 * newer store), DYN_ERR_EXISTS (in use by another process), DYN_ERR_CORRUPT or DYN_ERR_IO. */
int store_rocksdb_open(const struct store_rocksdb_config *config, const struct store_host *host,
                       struct store_rocksdb **out, char **message);
/* A clean stop: completes all requests, syncs, leaves the mark of a clean stop (unless the disk
 * failed). Blocks. NULL is fine. */
void store_rocksdb_close(struct store_rocksdb *s);

struct store_port store_rocksdb_port(struct store_rocksdb *s);

/* Writes what was handed over since the last call, completes what is buffered, starts a sync. The
 * loop calls it at the end of a turn in which host.dirty was called. */
void store_rocksdb_flush_turn(struct store_rocksdb *s);
/* Completes what the threads have done. The loop calls it after host.wake. */
void store_rocksdb_poll(struct store_rocksdb *s);

/* What the last run left. */
bool store_rocksdb_was_created(const struct store_rocksdb *s); /* there was nothing */
/* It ended by store_rocksdb_close() (or there was none). Otherwise its unsynced tail may be
 * missing and the node must not vote before it has exchanged (HAZARDS E13). */
bool store_rocksdb_was_clean(const struct store_rocksdb *s);
/* What was acknowledged before it was synced may be gone: the machine went down with the last run,
 * or the log is damaged, or the last run had an object buffer and was killed. Without one a process
 * that was killed loses nothing, for the kernel has its writes. */
bool store_rocksdb_lost_tail(const struct store_rocksdb *s);
/* That has been noted: the next run is not told of it again. Blocks, once in a run. */
int store_rocksdb_tail_noted(struct store_rocksdb *s, char **message);
/* Writes that were synced and are missing, at least: the log is bad in its middle. 0: none. */
uint64_t store_rocksdb_lost(const struct store_rocksdb *s);

/* Zeros when the store has not been given an identity. */
void store_rocksdb_identity(const struct store_rocksdb *s, uint64_t *cluster, uint64_t *node);
/* Gives one to a store that has none, synced before it returns. Blocks; for the start. */
int store_rocksdb_adopt(struct store_rocksdb *s, uint64_t cluster, uint64_t node);

#endif
