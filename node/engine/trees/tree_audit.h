/* SPDX-License-Identifier: Apache-2.0 */
/* Making a partition's leaves once more from its rows (HAZARDS E19): whatever lies between the two
 * after a fault is found, and mended. */
#ifndef DYN_ENGINE_TREE_AUDIT_H
#define DYN_ENGINE_TREE_AUDIT_H

#include "engine/trees/tree.h"

struct tree_audit;

/* A walk over all rows of a partition. The caller reads them in order, a slice at a time:
 *
 *   tree_audit_slice()       before the scan of a slice
 *   tree_audit_row()         for each row of it, or tree_audit_unreadable()
 *   tree_audit_slice_end()   false: rows changed meanwhile; read the slice again. more: this slice
 *                            has not come to the partition's end
 *   tree_audit_finish()      after the last slice
 *
 * Rows that change behind the walk are followed. One audit at a time. */
struct tree_audit *tree_audit_new(struct trees *t, uint32_t partition);
void tree_audit_free(struct tree_audit *a); /* also in the middle; NULL is fine */
void tree_audit_slice(struct tree_audit *a);
void tree_audit_row(struct tree_audit *a, struct slice row, enum row_kind kind, struct slice key,
                    struct tree_hash hash);
/* Instead, for a row that cannot be read. What its leaf should be is not known, so the leaf stays
 * as it is: it still says that the row should be here, and whoever fills from this node without
 * getting it finds another root (E10). */
void tree_audit_unreadable(struct tree_audit *a, struct slice row, enum row_kind kind,
                           struct slice key);
bool tree_audit_slice_end(struct tree_audit *a, bool more);
/* Has anything changed in the partition since the last slice was read? */
bool tree_audit_touched(const struct tree_audit *a);
struct slice tree_audit_cursor(const struct tree_audit *a); /* from where to read; borrowed */
/* done(arg, err, leaves that were wrong), which are right now; may run inside. */
void tree_audit_finish(struct tree_audit *a, void (*done)(void *arg, int err, uint32_t wrong),
                       void *arg);

/* From the trees: a row changes, in a batch that was taken. */
void tree_audit_change(struct tree_audit *a, struct slice row, uint32_t leaf,
                       const struct tree_hash *delta);

#endif
