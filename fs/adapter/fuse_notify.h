/* SPDX-License-Identifier: Apache-2.0 */
/* Telling the kernel that attributes which it may still keep are out of date. */
#ifndef DYN_FS_FUSE_NOTIFY_H
#define DYN_FS_FUSE_NOTIFY_H

#include <stdint.h>

struct fuse_notifier;
struct fuse_session;

struct fuse_notifier *fuse_notifier_new(struct fuse_session *session); /* starts no thread yet */
void fuse_notifier_outdate(struct fuse_notifier *n, uint64_t node);
void fuse_notifier_free(struct fuse_notifier *n); /* NULL is fine */

#endif
