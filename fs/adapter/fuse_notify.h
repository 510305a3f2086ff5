/* SPDX-License-Identifier: Apache-2.0 */
/* Telling the kernel that attributes which it may still keep are out of date, and asking it to give
 * inodes back that it does not use. */
#ifndef DYN_FS_FUSE_NOTIFY_H
#define DYN_FS_FUSE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct fs_held;
struct fuse_notifier;
struct fuse_session;

struct fuse_notifier *fuse_notifier_new(struct fuse_session *session); /* starts no thread yet */
/* The kernel can be asked for inodes by their nodeids (protocol 7.45, Linux 6.18); else by name. */
void fuse_notifier_prunes(struct fuse_notifier *n, bool able);
void fuse_notifier_outdate(struct fuse_notifier *n, uint64_t node);
void fuse_notifier_let_go(struct fuse_notifier *n, const struct fs_held *held);
void fuse_notifier_free(struct fuse_notifier *n); /* NULL is fine */

#endif
