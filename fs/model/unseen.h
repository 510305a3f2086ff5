/* SPDX-License-Identifier: Apache-2.0 */
/* Files of O_EXCL that failed without an answer which says whether they were made (F14). A node
 * that was too slow to answer may make one long after its caller was told of the failure, under a
 * dot that nobody here knows. So the key is read again and again: a version by that put's origin
 * (F9) is owed (owed.h) as soon as it is seen. It is listed in .dynamount/pending until then, or
 * until all replicas have shown for a while that there is none.
 *
 *   WAITING -> READ all replicas, else a strict quorum -> it is there: LOCK -> owed -> WAITING
 *      ^                                               -> the stream has gone on: gone
 *      +-- nothing is there, all say so for QUIET_US: gone; SEEN_MEMORY_US after the put: gone
 */
#ifndef DYN_FS_UNSEEN_H
#define DYN_FS_UNSEEN_H

#include "model/seen.h"
#include "model/staging.h"

/* The put of that origin may yet take effect, and is to be undone. done runs when that is kept on
 * this machine's disk as well, perhaps inside the call. */
void unseen_add(struct seen *s, const struct origin *put, struct staging_wait *w,
                void (*done)(void *arg), void *arg);
/* As an earlier run of this mount did, by the record of that number. */
void unseen_resume(struct seen *s, const struct origin *put, uint64_t age_us, uint64_t record,
                   uint64_t bytes);

/* Those of which no read has said yet that nothing is there: unmounting waits for them. */
uint32_t unseen_count(const struct fs *fs);
void unseen_hurry(struct fs *fs); /* all are read now: the mount is ending */
void unseen_report(struct fs *fs, struct buf *out);
void unseen_free_all(struct fs *fs);

#endif
