/* SPDX-License-Identifier: Apache-2.0 */
/* The rows that one leaf of a tree stands for, read together. */
#ifndef DYN_ENGINE_LEAF_ROWS_H
#define DYN_ENGINE_LEAF_ROWS_H

#include "engine/trees/tree.h"

struct leaf_row {
    uint64_t slot;
    enum row_kind kind;
    struct slice key; /* owned */
    struct object object;
    struct tree_hash hash;
};

struct leaf_rows { /* caller-owned; must stay put until done */
    struct engine *e;
    uint32_t partition, leaf;
    /* By slot; rows that went while they were read are left out. May run inside leaf_rows_read. */
    void (*done)(struct leaf_rows *l, int err);
    void *arg;

    struct leaf_row *rows;
    uint32_t n, cap;
    uint32_t unreadable; /* rows of its index that are lost, or went while they were read */

    uint32_t next, kept;
    struct buf prefix, row;
    struct store_scan scan;
    struct store_get get;
};
void leaf_rows_read(struct leaf_rows *l);
void leaf_rows_release(struct leaf_rows *l);
const struct leaf_row *leaf_rows_find(const struct leaf_rows *l, uint64_t slot); /* NULL */

#endif
