/* SPDX-License-Identifier: Apache-2.0 */
/* One leaf of a tree is made what its rows make it: after a row was replaced whose hash in it
 * nobody knew. The scrub does so for all leaves of a partition, when it comes by (tree_audit.h). */
#ifndef DYN_ENGINE_LEAF_MEND_H
#define DYN_ENGINE_LEAF_MEND_H

#include "engine/trees/leaf_rows.h"

struct leaf_mend { /* caller-owned; must stay put until done; one at a time */
    struct engine *e;
    uint32_t partition, leaf;
    void (*done)(struct leaf_mend *m); /* may run inside */
    void *arg;

    bool right; /* result; false: some row of it cannot be read, or others change all the time */

    bool touched; /* a row of it has changed since it was begun to be read */
    uint32_t tries;
    struct tree_hash sum; /* as it is stored */
    struct leaf_rows rows;
    struct buf row;
    struct store_get get;
};
void leaf_mend_start(struct leaf_mend *m);
void leaf_mend_release(struct leaf_mend *m);

#endif
