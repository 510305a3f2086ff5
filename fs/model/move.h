/* SPDX-License-Identifier: Apache-2.0 */
/* Renames a directory with all that lies below it (F25). Keys are paths, so each object below gets
 * a new key: first all are put under the new name, then exactly what was copied is dropped under
 * the old one. At no moment anything is missing, and what somebody else changes or makes meanwhile
 * stays where it is.
 *
 * A crash in between would leave both names. So the directory carries a record, an extended
 * attribute that says where it is going, from before the first copy until its own drop, which is
 * the last, and is renewed in between (move_record.c). Whichever mount looks at a directory with an
 * old record finishes the move; to do a part twice does no harm, since equal copies collapse (E7)
 * and drops name what they take.
 *
 *   SETTLE (publish what is dirty below) -> WALK -> RECORD -> COPY -> CHECK -> (changed) SETTLE
 *                                                                  -> REBIND -> DROP -> done
 *   too many, too large: EXDEV before anything is done;  COPY fails: UNDO -> done
 */
#ifndef DYN_FS_MOVE_H
#define DYN_FS_MOVE_H

#include "model/inode.h"

#define XATTR_MOVING "user.dynamount.moving"

/* from: a directory; to: where nothing lives but an empty directory, whose tokens are known. Take
 * no locks of either. done runs once, later: 0, EXDEV, or the errno of what went wrong. */
void move_start(struct fs *fs, struct seen *from, struct seen *to, void (*done)(void *arg, int err),
                void *arg);
/* The inode has just been read: finishes the move that its record tells of, if nobody seems to. */
void move_resume(struct inode *dir);
/* Something is being moved from or to this key. */
bool move_under_way(const struct fs *fs, const struct seen *s);

#endif
