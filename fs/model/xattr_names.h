/* SPDX-License-Identifier: Apache-2.0 */
/* Which extended attributes there are, answered without a request: user.* are stored,
 * user.dynamount.* are this filesystem's own and read-only, security.* are asked for by the kernel
 * on each write and must cost nothing (F26). */
#ifndef DYN_FS_XATTR_NAMES_H
#define DYN_FS_XATTR_NAMES_H

#include "base/buf.h"

#define XATTR_OWN "user.dynamount."
/* Stored with a file that O_EXCL made, until its first bytes: nothing else tells the equal, empty
 * files of two mounts apart, which would collapse into one that both think theirs (E7, F14). */
#define XATTR_EXCLUSIVE XATTR_OWN "exclusive"

/* 0, or the errno that get (set) answers for such a name. */
int xattr_name_readable(struct slice name);
int xattr_name_settable(struct slice name);

/* user.dynamount.reconcile and its like: settings of directories; see ops_settings.c. */
struct fs;
struct fs_op;
bool xattr_is_setting(struct slice name);
void xattr_get_setting(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name);
/* An empty value unsets. */
void xattr_set_setting(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name,
                       struct slice value);

#endif
