/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of an inode: what was loaded, and over it what was written and not yet published. Up to
 * cfg.inline_max they are whole in memory; loaded bytes are a cache that gives way when
 * cfg.memory_max is passed, staged bytes are not. Larger content is i->large (large.h): then what
 * is loaded is its manifest. */
#ifndef DYN_FS_CONTENT_H
#define DYN_FS_CONTENT_H

#include "model/inode.h"

bool content_here(const struct inode *i);           /* can be read without a request */
struct slice content_bytes(const struct inode *i);  /* borrowed until the next change; not large */
void content_load(struct inode *i, struct blob *b); /* shares b: the value of i->s */
void content_unload(struct inode *i);               /* forgets loaded bytes */
void content_release(struct inode *i);              /* forgets all bytes */
/* The staged bytes become the loaded ones (they are published as b). */
void content_settle(struct inode *i, struct blob *b);
/* Writes at off, zeros before it where the file was shorter. content_here() holds. A positive
 * errno: EFBIG, ENOSPC. */
/* Would a write that ends there, or does the content already, take more than one value? Then
 * large_write() writes, over what content_enlarge() made of it. */
bool content_large_at(const struct inode *i, uint64_t end);
int content_enlarge(struct inode *i);  /* content_here() holds. A positive errno: EFBIG */
void content_changed(struct inode *i); /* large content was written to */
int content_write(struct inode *i, uint64_t off, struct slice data);
void content_restore(struct inode *i, struct slice bytes); /* stages them as they are */
int content_truncate(struct inode *i, uint64_t size);      /* size 0 needs no content here */

#endif
