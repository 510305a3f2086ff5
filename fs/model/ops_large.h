/* SPDX-License-Identifier: Apache-2.0 */
/* read and write of large files, which may have to wait: for chunks, or for room. */
#ifndef DYN_FS_OPS_LARGE_H
#define DYN_FS_OPS_LARGE_H

#include "model/inode.h"

/* i->large is there. */
void large_read_op(struct fs *fs, struct fs_op *op, struct inode *i, uint64_t off, uint32_t size);
/* The content is here; it becomes large if it is not. */
void large_write_op(struct fs *fs, struct fs_op *op, struct inode *i, int flags, uint64_t off,
                    struct slice data);

#endif
