/* SPDX-License-Identifier: Apache-2.0 */
/* What a staging file says: one file whose content the cluster has not taken, or one drop that is
 * owed (owed.h), with all that publishing it under its old context takes (F8): what this mount
 * knew of the key, the tokens that name those versions, what is to be superseded, and the origin,
 * by which a put that did arrive is known again (F9).
 *
 *   body     := format(1) u8:kind u64:cluster varint:since_ns bytes:key object:view
 *               varint:n token[n] dots:cover origin rest
 *   rest     := nothing                                        (a drop, or unseen.h)
 *             | varint:number varint:error u8:flags object:shown dots:dots varint:appended_from
 *               content                                        (a file)
 *   content  := bytes                                          (flag LARGE is not set)
 *             | bytes:manifest varint:cut varint:size i64:since_ns varint:n slot[n]
 *   slot     := varint:index u8:state varint:len [upload varint:number digest]   (STORED)
 *
 * The bytes of slots that are DIRTY come beside the record (port/stage.h), in the order of the
 * slots. Those that are STORED were sent, and are not sent again; what follows goes under another
 * upload, since of the old one numbers may have been used that no record knew of. The file is on
 * this machine's disk, but disks rot and folders are copied: all of it is checked. */
#ifndef DYN_FS_STAGED_H
#define DYN_FS_STAGED_H

#include "model/core.h"
#include "model/manifest.h"

enum staged_kind { STAGED_FILE = 1, STAGED_DROP = 2, STAGED_UNSEEN = 3 };
enum staged_state { STAGED_HOLE = 0, STAGED_STORED = 1, STAGED_DIRTY = 2 };

struct staged_slot {
    enum staged_state state;
    struct upload_id upload;
    struct chunk chunk; /* without upload */
};

struct staged_large {
    struct slice manifest; /* what it was read as; empty: nothing */
    struct buf own;        /* that, when it was made for this */
    uint64_t cut, size;
    int64_t since_ns; /* wall clock: when the references to all uploads were last known to hold */
    struct staged_slot *slots;
    uint32_t n, cap, n_dirty;
};

struct staged {
    enum staged_kind kind;
    uint64_t cluster;
    uint64_t since_ns; /* wall clock, when it became unpublished */
    struct slice key;
    struct object view;
    struct slice tokens[CONTEXTS_MAX];
    uint32_t n_tokens;
    struct cover cover;
    struct origin origin;
    /* a file */
    uint32_t number; /* 0: the name itself */
    int error;       /* errno of the last attempt */
    bool published, xattrs_known, data, meta, appended_only, is_large;
    struct sibling shown; /* dots none unless published */
    struct cover dots;
    uint64_t appended_from;
    struct slice content;
    struct staged_large large;
};

void staged_encode(const struct staged *s, struct buf *out);
/* s: uninitialized; slices are borrowed from body. DYN_ERR_CORRUPT, DYN_ERR_UNSUPPORTED; then there
 * is nothing to release. */
int staged_decode(struct slice body, struct staged *s);
void staged_release(struct staged *s);
void staged_add_slot(struct staged_large *l, const struct staged_slot *slot);

#endif
