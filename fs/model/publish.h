/* SPDX-License-Identifier: Apache-2.0 */
/* Publication: an inode's unpublished changes become one put. One publication of an inode is on its
 * way at a time; who asks meanwhile waits for it and for at most one more, shared by all (F27).
 * What fails stays dirty and is tried again, under the context it had (F8). A repeat carries the
 * same (mount, stream, sequence), so a "maybe" never conflicts with its own author (F9).
 *
 *   LOCK -> [REFRESH: appends look for a version to be rebased onto; tokens are fetched]
 *        -> [REBASE: fetches the bytes to append to] -> PUT -> done
 *        a refused context goes back from PUT to REFRESH, once
 */
#ifndef DYN_FS_PUBLISH_H
#define DYN_FS_PUBLISH_H

#include "model/inode.h"

/* A change of content or of attributes was staged. */
void publish_mark(struct inode *i, bool data);
/* Publishes what is there now, at least with this durability; done(arg, errno) runs when that is
 * out or has failed, at once when there is nothing to do. done may be NULL. */
void publish(struct inode *i, enum durability durability, void (*done)(void *arg, int err),
             void *arg);
/* The same for an operation, which it ends. */
void publish_op(struct inode *i, enum durability durability, struct fs_op *op);
/* The operation ends with EINTR, the publication that it waits for goes on. */
void publish_leave(struct fs_op *op);
/* Nothing but a create or an O_TRUNC has happened, and nothing has failed. A shell that redirects
 * closes one descriptor of the file before it writes through another: publishing at that flush
 * would show everyone an empty file first and cost a second put. So it may wait if the same
 * process will close the file again. */
bool publish_can_wait(const struct inode *i);
/* The inode lost its name: nothing is published any more, who waits is told that all is well. */
void publish_abandon(struct inode *i);
/* Forgets changes that were not put (an operation that failed and must not have an effect). */
void publish_forget(struct inode *i);
/* The filesystem ends: who still waits is told EIO, nothing more is put. */
void publish_stop(struct inode *i);
void publish_timer(struct timer *t, void *arg);
/* What a put of this version under this name supersedes (F1). */
void publish_cover(const struct inode *i, struct cover *out);
/* The next origin of this inode's line (F9). */
void publish_origin(struct inode *i, struct origin *out);
/* A put of i's bytes or attributes was answered: the inode shows what is now there. sent: the
 * bytes (shared), NULL when only attributes changed; hash: their digest, NULL: not known; gen: the
 * change that was sent. */
void publish_took(struct inode *i, const struct put_reply *p, const struct origin *origin,
                  struct blob *sent, const uint8_t *hash, uint64_t gen);
/* For .dynamount/pending: a line for each inode that is dirty, oldest first. */
void publish_report(struct fs *fs, struct buf *out);
/* The inode's last attempt to publish ended with i->error, the one before with was: for the log. */
void publish_say(const struct inode *i, int was);
void publish_report_error(int err, struct buf *out); /* nothing when 0 */

#endif
