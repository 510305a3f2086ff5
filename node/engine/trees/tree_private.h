/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the trees share: their upkeep and their building. */
#ifndef DYN_ENGINE_TREE_PRIVATE_H
#define DYN_ENGINE_TREE_PRIVATE_H

#include "base/siphash.h"
#include "engine/trees/tree.h"

#define TREE_INNER 256 /* nodes kept in memory: those two levels below the root */

struct tree { /* one that is summed up, or being so */
    struct list lru;
    uint32_t partition;
    bool loaded;
    struct tree_hash root, inner[TREE_INNER];
    /* while loading */
    struct trees *trees;
    uint8_t touched[TREE_INNER / 8]; /* changed meanwhile: summed up again at the end */
    uint32_t at;                     /* which of them is being read, TREE_INNER: all */
    struct buf prefix, cursor;
    struct store_scan scan;
    struct list waiting; /* struct tree_load.link */
};

struct tree_change {
    uint32_t partition, leaf;
    struct tree_hash delta;
    struct buf row; /* in STORE_META; empty unless its partition is audited */
};

struct trees {
    struct engine *e;
    struct siphash_key key;
    uint8_t n;
    struct tree **by_partition; /* NULL: not summed up */
    uint32_t loaded;
    struct list lru;             /* the least recently used first */
    struct tree_change *changes; /* of the batch being made */
    uint32_t n_changes, cap_changes;
    struct buf scratch;
    uint64_t version;          /* counts changes */
    struct tree_audit *audit;  /* NULL: none under way */
    uint32_t audited;          /* its partition */
    struct leaf_mend *mending; /* NULL: none under way */

    /* building: rows of STORE_META before `cursor` are in the trees */
    bool complete, clearing, touched;
    struct buf cursor, next;
    struct timer timer;
    struct store_scan scan;
    struct store_get get;
    struct store_batch batch;
    bool batching, more;
    void (*started)(void *arg, int err);
    void *started_arg;
};

/* Is the row, which changes now, in the trees already? If not the walk will meet it. */
bool trees_covers(struct trees *t, enum row_kind kind, const struct place *at, struct slice key);
/* What a row counts for that cannot be read: something that no peer's row does. Its leaf differs
 * from theirs then, and names it, until what they have has replaced it (bad_rows.h). */
struct tree_hash trees_hash_unreadable(struct trees *t, enum row_kind kind, struct slice key,
                                       struct slice value);
void trees_insert(struct trees *t, struct store_batch *b, enum row_kind kind,
                  const struct place *at, struct slice key, struct tree_hash before,
                  struct tree_hash after);
void trees_build_free(struct trees *t);
void trees_build_fire(struct timer *timer, void *arg);

#endif
