/* SPDX-License-Identifier: Apache-2.0 */
/* Where a name of an operation points: (directory, name) resolved to a key and, for a conflict name
 * that this mount has given, the number of its branch. */
#ifndef DYN_FS_PLACE_H
#define DYN_FS_PLACE_H

#include "model/inode.h"

#define CONTROL_NAME ".dynamount"

struct place {
    struct inode *dir; /* held */
    struct seen *seen; /* referenced */
    uint32_t number;
};

/* 0, or a positive errno; then *out is untouched. EPERM for the control tree. */
int place_resolve(struct fs *fs, uint64_t parent, struct slice name, struct place *out);
void place_release(struct place *p);
/* A live name of this mount alone, not yet published, lies in the directory. */
bool place_has_unpublished(const struct fs *fs, struct slice dir_key);
/* The version that an operation on this name means: the one last shown there (F2, F4). Adds its
 * dots. */
void place_shown(const struct place *p, struct cover *out);
/* Writes the attributes of something new in dir: ids, setgid, times, inode number. */
void place_new_attrs(const struct place *p, const struct fs_caller *caller, uint32_t mode, bool dir,
                     struct attrs *out);

#endif
