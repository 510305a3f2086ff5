/* SPDX-License-Identifier: Apache-2.0 */
/* Many states at once where this node has nothing yet: how a partition fills. What comes out of it
 * is what replica_write.c makes of each, in one batch, with one read of a row instead of up to
 * four: of rows that lie together the directory is looked at once, too.
 *
 * Only what is ordinary: a row that is not here, whose lock nobody has, of one version at most,
 * with its value, and no directory. All else is left to replica_write.c, row by row. */
#ifndef DYN_ENGINE_REPLICA_ADOPT_H
#define DYN_ENGINE_REPLICA_ADOPT_H

#include "engine/replica/replica.h"

#define ADOPT_ROWS_MAX 128u /* others wait meanwhile: a millisecond or two */

struct adopt_dir { /* above entries of an adoption */
    struct slice dir;
    uint32_t fragment;
    struct place at;
    struct keylock lock;
    struct store_get stat, parent;
    struct buf stat_row, parent_row;
    struct adoption *adoption;
    bool usable, parent_dead, grown;
    uint64_t newest, live_here;
    uint8_t state[DIGEST_LEN]; /* of an entry in it */
};

struct adopt_row {
    /* set by the caller; borrowed until done */
    enum row_kind kind;
    struct slice id; /* of an entry: entry_place.h */
    const struct object *object;

    bool adopted; /* result: it is stored; else it is to be written by itself */

    struct adoption *adoption;
    struct slice key;
    struct place at;
    uint32_t fragment, dir; /* dir: among the adoption's */
    struct keylock lock;
    struct store_get get;
    struct buf row;
    bool fits; /* as far as it is known */
};

struct adoption { /* caller-owned; must stay put until done */
    /* set by the caller */
    struct engine *e;
    uint32_t partition; /* in which all rows must lie */
    struct adopt_row *rows;
    uint32_t n; /* at most ADOPT_ROWS_MAX */
    /* Runs once, perhaps inside. err: the store's, when it has refused or failed to write; nothing
     * is adopted then. */
    void (*done)(struct adoption *a, int err);
    void *arg;

    struct adopt_dir *dirs;
    uint32_t n_dirs, n_active;
    uint64_t generation;
    struct store_write write;
    bool handing_over, acknowledged;
    int ack_err;
};
void adoption_start(struct adoption *a);
/* Of one that ended, was never started (zeroed), or while the engine is taken down. */
void adoption_release(struct adoption *a);

#endif
