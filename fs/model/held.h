/* SPDX-License-Identifier: Apache-2.0 */
/* How many inodes the kernel makes this mount keep. It holds on to what it has looked up until its
 * own memory becomes short, and the mount keeps an inode, and what it knows of its name, for each:
 * a million lookups would cost gigabytes, and only the kernel's share of them is ever reclaimed. So
 * beyond names_max the longest unused ones are asked back (host.let_go). What is in no use comes
 * back as if memory had become short, by FORGET, and is looked up again when it is wanted again.
 * What is in use stays, and is asked for again when it is the longest unused once more. */
#ifndef DYN_FS_HELD_H
#define DYN_FS_HELD_H

#include "model/inode.h"

void held_init(struct fs *fs);
/* The kernel has it and has just used it, as far as this mount can see. */
void held_used(struct inode *i);
/* The kernel has given it back, or it is freed. */
void held_gone(struct inode *i);

#endif
