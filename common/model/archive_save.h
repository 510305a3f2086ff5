/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a live cluster into an archive, a partition at a time, sans I/O.
 *
 * Nothing stops for it. What is in an archive is each key as it was at some moment of the run:
 * every state that one of the copies had, with its clock and all its versions, deletes too. N - W +
 * 1 of the voters must have been read, for an acknowledged write is on any W of them; and whoever
 * stands in for somebody is asked for what it keeps. States are not merged here: whoever restores
 * them joins them, and a state must stay as a node sealed it.
 *
 * What users wrote is read before the chunks of large files. So each chunk that a manifest in the
 * archive names was there when the manifest was read, and it stays for UPLOAD_GRACE_S whatever
 * happens to the file. A run that took longer than half of that reads again what has changed.
 *
 * A later run into the same archive fetches what is new: partitions whose trees have the root that
 * they had are left alone, and of the others the states that are there already. A run that breaks
 * off leaves the archive before it whole, and the next one goes on from its files. */
#ifndef DYN_MODEL_ARCHIVE_SAVE_H
#define DYN_MODEL_ARCHIVE_SAVE_H

#include "base/clock_port.h"
#include "base/timers.h"
#include "model/archive_manifest.h"
#include "model/client.h"

struct archive_save_config {
    struct client *client;
    struct archive_port port;
    struct time_port time;
    struct timers *timers;
    uint32_t parallel; /* partitions at a time; 0: 4 */
    uint64_t call_us;  /* before a node counts as silent; 0: 5 s */
    bool all;          /* use nothing of an earlier run */
};

struct archive_progress {
    uint32_t done, total; /* partition files */
    uint32_t unchanged;   /* of them: left as they were */
    uint64_t rows, kept;  /* in the files written by this run; of them: taken from earlier */
    uint64_t bytes;       /* of values that were fetched */
    uint32_t partition;   /* the last that was begun */
};

struct archive_save;
/* done runs once, not inside. Then the manifest is there, or err says why not, and message (in
 * archive_save_message) what it was about:
 *   DYN_ERR_REFUSED      the archive is of another cluster
 *   DYN_ERR_NO_QUORUM    of some partition too few copies answered
 *   DYN_ERR_CORRUPT      a file of an earlier run is damaged
 *   DYN_ERR_NO_SPACE, DYN_ERR_IO, and what the cluster says */
struct archive_save *archive_save_start(const struct archive_save_config *cfg,
                                        void (*done)(void *arg, int err), void *arg);
void archive_save_progress(const struct archive_save *s, struct archive_progress *out);
const char *archive_save_message(const struct archive_save *s);
const struct archive_manifest *archive_save_manifest(const struct archive_save *s);
void archive_save_free(struct archive_save *s); /* after done, or after client_free; NULL is fine */

#endif
