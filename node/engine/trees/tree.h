/* SPDX-License-Identifier: Apache-2.0 */
/* Merkle trees over the rows of each partition (Dynamo, section 4.7; HAZARDS E9, E19), so that two
 * nodes learn what one of them lacks by comparing little.
 *
 * One tree for each (partition, N), of 16^4 leaves. A leaf is the XOR of a keyed hash of each of
 * its rows: kind, key, clock, dots, and which values are not held; so a change is an update in the
 * row's own batch, an associative merge that reads nothing, whatever the size of the partition.
 * Which leaf is decided by a keyed hash of the whole key (of an entry: its id), so a directory of a
 * million entries is spread like anything else. An inner node is the XOR of all below it, as good a
 * fingerprint as a hash of hashes when whoever writes does not know the key, and it keeps up with a
 * write by one XOR in memory.
 *
 *   STORE_TREE   partition, n, 'l', slot (2 bytes)                 -> XOR of hashes, by merges
 *                partition, n, 'k', slot (8 bytes), kind, key      -> nothing: a leaf's rows
 *   STORE_LOCAL  "tree"                                        -> are they complete? how far?
 *
 * All rows of a partition are in its tree, whether this node is one of its owners or keeps copies
 * for them; only owners compare. Local marks, and rows about to be reaped, are not hashed. */
#ifndef DYN_ENGINE_TREE_H
#define DYN_ENGINE_TREE_H

#include "engine/core.h"

enum { TREE_FANOUT = 16, TREE_LEVELS = 4, TREE_LEAVES = 65536 };

struct tree_hash {
    uint64_t a, b; /* zeros: nothing */
};
static inline void tree_hash_add(struct tree_hash *sum, const struct tree_hash *h)
{
    sum->a ^= h->a;
    sum->b ^= h->b;
}
static inline bool tree_hash_equal(const struct tree_hash *x, const struct tree_hash *y)
{
    return x->a == y->a && x->b == y->b;
}
static inline bool tree_hash_none(const struct tree_hash *h)
{
    return (h->a | h->b) == 0;
}

struct trees *trees_new(struct engine *e);
void trees_free(struct trees *t);
/* Trees that are not complete (a store of an earlier release) are built from the rows, in slices,
 * while the node serves. done may run inside. */
void trees_start(struct trees *t, void (*done)(void *arg, int err), void *arg);
bool trees_complete(const struct trees *t); /* until then nothing may be compared */
/* Another number whenever a row was changed in any of them. */
uint64_t trees_version(const struct trees *t);

/* ---- with each write --------------------------------------------------------------------- */

/* What a row counts for in its tree; nothing for an absent object. s: of what is known here alone,
 * the values that are not held do count; NULL: all are. */
struct tree_hash trees_hash(struct trees *t, enum row_kind kind, struct slice key,
                            const struct object *o, const struct row_state *s);
/* Adds to a batch that changes a row what the tree makes of it. at: where the row lies, so for an
 * entry the place of its fragment; key: of an entry its id. After the batch has been handed
 * over, or refused, trees_handed() must run, before anything else changes a row. */
void trees_change(struct trees *t, struct store_batch *b, enum row_kind kind,
                  const struct place *at, struct slice key, struct tree_hash before,
                  struct tree_hash after);
/* The same for a row that could not be read: what it counted for is not known, so the sum stays as
 * it is until leaf_mend.h or the scrub makes it right. Were the new state added to it, one that
 * equals the old would take itself out of the sum, and whoever fills from here would believe to
 * have all without it (E10). */
void trees_replace(struct trees *t, struct store_batch *b, enum row_kind kind,
                   const struct place *at, struct slice key);
void trees_handed(struct trees *t, bool taken);

/* ---- reading ----------------------------------------------------------------------------- */

struct tree_load { /* caller-owned; must stay put until done or trees_forget */
    struct list link;
    void (*done)(struct tree_load *l, int err);
    void *arg;
};
/* Sums a partition's tree up, if that has not been done; it is kept up from then on, until others
 * need its memory. done may run inside. */
void trees_load(struct trees *t, uint32_t partition, struct tree_load *l);
void trees_forget(struct tree_load *l); /* done will not run; fine when it has */
/* False when it is not loaded. */
bool trees_root(struct trees *t, uint32_t partition, struct tree_hash *out);

/* The 16 children of a node; level 0 is the root, children of level 3 are leaves. */
struct tree_read { /* caller-owned; must stay put until done */
    struct trees *trees;
    uint32_t partition, level, index;
    struct tree_hash child[TREE_FANOUT];
    void (*done)(struct tree_read *r, int err); /* may run inside */
    void *arg;

    struct tree_load load;
    struct buf prefix;
    struct store_scan scan;
};
void trees_read(struct tree_read *r);
void trees_read_release(struct tree_read *r);

/* Which leaf, and where in it. */
uint64_t trees_slot(struct trees *t, enum row_kind kind, struct slice key);
static inline uint32_t tree_leaf_of(uint64_t slot)
{
    return (uint32_t)(slot >> 48);
}
/* Rows of sums, for whoever checks them. */
void trees_sum_prefix(const struct trees *t, uint32_t partition, struct buf *out);
void trees_sum_row(const struct trees *t, uint32_t partition, uint32_t leaf, struct buf *out);
bool trees_leaf_sum(struct slice row, struct slice value, uint32_t *leaf, struct tree_hash *sum);
/* Adds what makes a leaf right that is wrong by delta. trees_handed() as after a change. */
void trees_mend(struct trees *t, struct store_batch *b, uint32_t partition, uint32_t leaf,
                const struct tree_hash *delta);
/* The row of the index. */
void trees_key_row(struct trees *t, uint32_t partition, enum row_kind kind, struct slice key,
                   struct buf *out);
/* The rows of a leaf: prefix of their keys in STORE_TREE, and what each says. */
void trees_leaf_prefix(const struct trees *t, uint32_t partition, uint32_t leaf, struct buf *out);
int trees_leaf_row(struct slice row, uint64_t *slot, enum row_kind *kind,
                   struct slice *key); /* DYN_ERR_CORRUPT */

#endif
