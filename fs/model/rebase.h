/* SPDX-License-Identifier: Apache-2.0 */
/* An append goes after the bytes that are there when it is published, not after those that it was
 * staged over (F9, F18): if a newer version took their place, it is fetched, and what was appended
 * is staged again at its end. A version that stands beside them is a conflict, and stays one. Small
 * or large on either side, and of any length: what becomes large is staged chunk by chunk over the
 * version, beside the content that the mount goes on showing, and takes its place when it is all
 * there.
 *
 *   VERSION -> [LOAD: chunks of what was appended, the last chunk of the version; ROOM]* -> staged
 *              anew -> in its place
 */
#ifndef DYN_FS_REBASE_H
#define DYN_FS_REBASE_H

#include "model/chunk_cache.h"
#include "model/inode.h"
#include "model/large.h"

struct rebase { /* caller-owned, zeroed */
    struct task *t;
    struct inode *inode; /* held by the caller */
    struct blob *value;  /* of the version, bytes or a manifest */
    struct dot value_dot;
    struct large *next; /* what becomes the content; NULL: not begun, or small */
    uint64_t from, at;  /* the version's size; how far into the old content it is */
    struct chunk_wait load;
    struct large_wait room;
    void (*done)(struct task *t, int err); /* 0 or a positive errno */
};

/* answer: what the cluster has, in which the inode's own last put is not looked for again. false:
 * nothing to do, and done does not run. t->rebase is r meanwhile. */
bool rebase_start(struct rebase *r, struct task *t, struct inode *i, const struct object *answer,
                  void (*done)(struct task *t, int err));
void rebase_release(struct rebase *r); /* from the task's release; fine when never started */

#endif
