/* SPDX-License-Identifier: Apache-2.0 */
/* Keeping what the cluster has not taken on this machine's disk, so that a kill -9 of the mount
 * does not take it along (F8). What is kept when:
 *
 * - What an acknowledged close or fsync covered lies in the cluster, and needs nothing here.
 * - A file whose publication has failed, or has stood still for a second, is written here, and
 *   only then anybody is told of the failure. So is a drop that is owed, before the rename ends.
 * - From then on the record follows: a later change is written within a second, and in any case
 *   before the next put of it leaves. So a record is never older than what may have reached the
 *   cluster, and its origin tells whether that has happened (F9).
 * - What was written to an open file and no publication was tried for (30 s at most, F12) is as
 *   safe as in any page cache: nobody was promised anything, and writing all twice would halve the
 *   speed of every large copy.
 *
 * Records go when the change is published, or given up for good. What a disk would not take is
 * logged once, and nobody waits for a disk longer than a few seconds. A record that an earlier run
 * left behind is resumed (resume.c).
 *
 *   (none) --save--> WRITING --done--> WRITTEN --changed--> [a second] --> WRITING
 *                       \--- changed meanwhile and somebody waits: again ---/
 */
#ifndef DYN_FS_STAGING_H
#define DYN_FS_STAGING_H

#include "model/staged.h"
#include "port/stage.h"

struct staging; /* the record of a file or a debt */

/* What a record is made of. */
struct staging_source {
    uint64_t (*version)(const void *of); /* counts its changes */
    /* The record as of now: its body, and chunks beside it, appended to *chunks, which the caller
     * frees. */
    void (*describe)(void *of, struct buf *body, struct stage_chunk **chunks, uint32_t *n);
};

struct staging_wait { /* caller-owned */
    struct list link;
    struct timer limit;
    struct fs *fs;
    void (*done)(void *arg);
    void *arg;
};

/* Has the present state written, unless it is. Then, or when that has failed or takes too long,
 * done runs, inside the call when there is nothing to wait for. w may be NULL: nobody waits. */
void staging_save(struct fs *fs, struct staging **at, const struct staging_source *source, void *of,
                  struct staging_wait *w, void (*done)(void *arg), void *arg);
void staging_wait_cancel(struct staging_wait *w); /* fine when zeroed or over */
/* Is the present state on disk, or on its way there for nobody to wait for? No record: true. */
bool staging_current(const struct staging *s);
void staging_changed(struct staging *s); /* NULL is fine */
void staging_moved(struct staging *s);   /* ... its key, which is no version of its own */
/* It is published, or given up. While the filesystem ends, records stay. */
void staging_drop(struct staging **at);
/* ... also then: it is kept elsewhere. */
void staging_drop_at_end(struct staging **at);
/* The record `id` of an earlier run is that of `of`, as it is now. */
void staging_adopt(struct fs *fs, struct staging **at, const struct staging_source *source,
                   void *of, uint64_t id, uint64_t bytes);
void staging_free(struct staging **at); /* the record stays */

/* The records of files. Nothing but files is kept: other changes are undone when they fail. */
void staging_save_file(struct inode *i, struct staging_wait *w, void (*done)(void *arg), void *arg);
extern const struct staging_source staging_of_files;
/* What the mount knows of the key, as a part of a record. */
void staging_put_seen(struct seen *s, const struct cover *cover, struct staged *out);

#endif
