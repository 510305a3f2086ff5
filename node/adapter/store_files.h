/* SPDX-License-Identifier: Apache-2.0 */
/* Large values in files of their own, beside RocksDB. Their rows of STORE_VALUE hold references
 * instead. */
#ifndef DYN_ADAPTER_STORE_FILES_H
#define DYN_ADAPTER_STORE_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "port/store.h"

struct store_files;

struct store_files_config {
    const char *folder;
    uint64_t min_bytes; /* values from this size on lie in files; 0: no new ones */
    uint32_t spares;    /* so many empty files are kept ready */
    bool orphans;       /* look for files that no row refers to, as after a kill */
};

/* The row of STORE_VALUE under a key, as it is on disk, appended: DYN_ERR_NOT_FOUND, or another
 * error when it cannot be read. */
struct store_files_rows {
    int (*get)(void *arg, struct slice key, struct buf *row);
    void *arg;
};

/* Makes the folder where it is missing, and takes up what a killed process had written and not yet
 * synced. Waits for no disk but to read; what it made is synced with the first sync.
 * DYN_ERR_NO_SPACE, DYN_ERR_IO with *message (caller frees). */
int store_files_open(const struct store_files_config *config, const struct store_files_rows *rows,
                     struct store_files **out, char **message);
void store_files_free(struct store_files *f); /* NULL is fine */

/* ---- on the loop's thread ---- */

/* Before a batch is written: writes its large values to files, as far as any are ready, and puts
 * references into their place; and notes which values it deletes. Those files go when `ticket`, the
 * batch's, is durable. On failure the batch is unchanged, no file of it is there, and *message is
 * set (caller frees): DYN_ERR_NO_SPACE, DYN_ERR_IO. */
int store_files_take_out(struct store_files *f, struct store_batch *batch, uint64_t ticket,
                         char **message);
bool store_files_unsynced(struct store_files *f);
bool store_files_want_sync(struct store_files *f); /* so many that nobody need ask for it */
bool store_files_dropping(struct store_files *f);  /* deletions that are not durable, or not done */
/* Is there something for store_files_tidy, be it only spare files? durable: the newest ticket that
 * is. */
bool store_files_tidy_due(struct store_files *f, uint64_t durable, bool spares);

/* ---- on any thread ---- */

/* Does a row of STORE_VALUE hold a reference? */
bool store_files_is_ref(struct slice row);
/* The value of a row, appended to `out`. DYN_ERR_NOT_FOUND: the file is gone, as after the row was
 * deleted meanwhile; DYN_ERR_CORRUPT, DYN_ERR_IO. */
int store_files_get(struct store_files *f, struct slice key, struct slice ref, struct buf *out);
/* All files that were written before the call are on the platter, with their names; the log that
 * refers to them may follow. Once it has failed, what is there is unknown. From one thread at a
 * time. */
int store_files_sync(struct store_files *f, char **message);
/* A piece of what needs no hurry: makes spare files, removes those of values whose deletion is
 * durable, counts, looks for files without a row. False: spare files could not be made. From one
 * thread at a time. */
bool store_files_tidy(struct store_files *f, uint64_t durable, const struct store_files_rows *rows);
/* Ahead of the mark of a clean stop, when all is synced and no other thread is left: removes what
 * is to go, or leaves a note for the next start, on the platter. Errors as store_files_open. */
int store_files_end(struct store_files *f, uint64_t durable, char **message);
void store_files_look_no_more(struct store_files *f); /* one that is under way ends soon */
uint64_t store_files_bytes(struct store_files *f);

#endif
