/* SPDX-License-Identifier: Apache-2.0 */
/* Handles: what an open adds to an inode. */
#ifndef DYN_FS_OPEN_H
#define DYN_FS_OPEN_H

#include "model/inode.h"

/* Opens the inode as it is now for op: the context (F1), what counts as read and served, O_TRUNC.
 */
void open_handle(struct inode *i, struct fs_op *op, int flags);
struct handle *handle_of(uint64_t fh);
/* Closes a handle; publishes what is still dirty when it was the last (F7). */
void open_release(struct handle *h);

bool open_reads(int flags);
bool open_writes(int flags);

/* What a write leaves behind beside the bytes: `before` is the size that the file had, `asked` the
 * offset that came with it. */
void io_note_write(struct inode *i, int flags, uint64_t before, uint64_t asked, bool first_append);

#endif
