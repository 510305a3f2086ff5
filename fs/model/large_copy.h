/* SPDX-License-Identifier: Apache-2.0 */
/* A large file under another name: its manifest is put there, and no bytes move (F6). What was
 * written and not yet published leaves first, and the records of all its uploads name the new key
 * before a manifest there names them (E23). */
#ifndef DYN_FS_LARGE_COPY_H
#define DYN_FS_LARGE_COPY_H

#include "model/large.h"

struct large_copy {                              /* caller-owned */
    void (*done)(struct large_copy *c, int err); /* enum dyn_err */
    void *arg;
    struct inode *inode; /* borrowed; i->large may be gone when done runs */
    struct slice key;    /* borrowed */
    struct large_wait store;
    struct upload_ref ref;
    struct blob *manifest; /* the value to put, when done runs; NULL: i->large is gone */
};

void large_copy_start(struct large_copy *c, struct inode *i, struct slice key,
                      void (*done)(struct large_copy *c, int err), void *arg);
void large_copy_release(struct large_copy *c); /* also when zeroed, or on its way */

#endif
