/* SPDX-License-Identifier: Apache-2.0 */
/* The control tree .dynamount/ at the root: reachable, not listed; its files are made at open. */
#ifndef DYN_FS_CONTROL_H
#define DYN_FS_CONTROL_H

#include "model/inode.h"

/* Each answers op and returns true when the operation concerns the control tree. */
bool control_lookup(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name);
bool control_getattr(struct fs *fs, struct fs_op *op, uint64_t node);
bool control_open(struct fs *fs, struct fs_op *op, uint64_t node, int flags);
bool control_readdir(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t off, fs_fill fill);
void control_release(struct handle *h);

/* For control.c and the files that take a while: op gets a handle with this content, which is
 * taken; then end it. */
void control_opened(struct fs *fs, struct fs_op *op, struct buf *content);
void control_conflicts(struct fs *fs, struct fs_op *op); /* control_conflicts.c; ends op */

void dir_free_all(struct fs *fs); /* ops_dir.c: cursors that nobody released */

#endif
