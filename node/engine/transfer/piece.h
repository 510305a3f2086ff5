/* SPDX-License-Identifier: Apache-2.0 */
/* The states of a piece of a partition, merged by key into what this node has (E10): a slice of
 * them at a time, and the next in a later turn of the loop, at the pace that requests leave to
 * moves (pace.h). What is not here yet is stored together (replica_adopt.h), the rest row by row
 * like any write. */
#ifndef DYN_ENGINE_PIECE_H
#define DYN_ENGINE_PIECE_H

#include "engine/coordinate/delivery.h"
#include "engine/pace.h"
#include "engine/replica/replica_adopt.h"
#include "model/range_wire.h"

struct piece_merge { /* one state */
    struct piece *piece;
    struct delivery delivery;
    bool started;
};

struct piece { /* caller-owned; must stay put until done */
    /* set by the caller */
    struct engine *e;
    uint32_t partition;
    const struct range_reply *reply; /* borrowed until done */
    uint64_t born_us;                /* when it was asked for */
    uint64_t sources[MOVES_N_MAX];   /* who may have values that did not come along */
    uint32_t n_sources;
    void (*done)(struct piece *p, int err); /* perhaps inside piece_start; err: the first one */
    void *arg;

    struct pace_wait pace;
    uint32_t at, n; /* the slice: rows at .. at + n */
    struct adoption adoption;
    struct adopt_row rows[ADOPT_ROWS_MAX];
    struct piece_merge *merges; /* of the slice */
    uint32_t n_active;
    uint32_t adopted; /* of all slices: rows that were stored together */
    int err;
    bool busy;
};
void piece_start(struct piece *p);
void piece_release(struct piece *p); /* fine when never started (zeroed) */

#endif
