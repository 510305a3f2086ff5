/* SPDX-License-Identifier: Apache-2.0 */
/* Bringing an archive back into a cluster, sans I/O. Each state is joined with what is there: what
 * was written or deleted since covers it, so nothing newer is undone and nothing deleted comes
 * back, as long as its tombstone is known; and doing it again does nothing.
 *
 * The whole archive is read and checked before anything of it is sent. Then directories go first,
 * from the root down, so that no file is ever without one (E16); then the chunks of large files,
 * then all other keys, so that no manifest is without its chunks; and the records of uploads last,
 * because from then on a collector may look at the chunks (E8).
 *
 * Into another cluster the states need its seal, which takes its secret: who has that may say
 * anything to its nodes anyway. The dots stay those of the old cluster's nodes, which nobody mints
 * under in the new one. */
#ifndef DYN_MODEL_ARCHIVE_LOAD_H
#define DYN_MODEL_ARCHIVE_LOAD_H

#include "base/clock_port.h"
#include "base/timers.h"
#include "model/archive_manifest.h"
#include "model/client.h"

struct archive_load_config {
    struct client *client; /* NULL: only check */
    struct archive_port port;
    struct time_port time;
    struct timers *timers;
    uint32_t parallel;  /* messages under way; 0: 8 */
    uint64_t call_us;   /* 0: 20 s */
    struct mac *seal;   /* of the cluster that is restored into; NULL: the archive's own do */
    bool into_new;      /* another cluster than the archive's is what is meant */
    bool merge;         /* and it may have keys already */
    struct slice below; /* only this key and what lies below it; "": all. Borrowed */
};

enum archive_load_phase {
    LOAD_CHECK, /* reading and checking all of it */
    LOAD_SETTINGS,
    LOAD_DIRS,
    LOAD_CHUNKS,
    LOAD_KEYS,
    LOAD_UPLOADS,
    LOAD_DONE
};

struct archive_load_progress {
    enum archive_load_phase phase;
    uint32_t file, files; /* of this phase */
    uint64_t rows, bytes; /* checked, then sent and acknowledged */
    uint64_t rows_total;  /* in the archive */
};

struct archive_load;
/* done runs once, not inside:
 *   DYN_ERR_NOT_FOUND    there is no whole archive
 *   DYN_ERR_CORRUPT      a file is damaged; the message names it and the place
 *   DYN_ERR_REFUSED      it is of another cluster, and into_new was not said
 *   DYN_ERR_EXISTS       the other cluster is not empty, and merge was not said
 *   DYN_ERR_DENIED       the cluster does not know the seal
 *   DYN_ERR_NO_SPACE, DYN_ERR_NO_QUORUM and what else the cluster says */
struct archive_load *archive_load_start(const struct archive_load_config *cfg,
                                        void (*done)(void *arg, int err), void *arg);
void archive_load_progress(const struct archive_load *l, struct archive_load_progress *out);
const char *archive_load_message(const struct archive_load *l);
const struct archive_manifest *archive_load_manifest(const struct archive_load *l);
void archive_load_free(struct archive_load *l); /* after done, or after client_free; NULL is fine */

#endif
