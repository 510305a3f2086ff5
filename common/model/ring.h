/* SPDX-License-Identifier: Apache-2.0 */
/* The ring: Q equal partitions placed on S nodes, strategy 3 of the Dynamo paper (section 6.2), as
 * a pure function of the membership history. Events are folded in order; each moves only the tokens
 * that restore balance (about 1/S of the data for a join). */
#ifndef DYN_MODEL_RING_H
#define DYN_MODEL_RING_H

#include "model/history.h"
#include "model/key.h"
#include "model/moves.h"

struct ring_member {
    uint64_t node;
    uint32_t weight;
    const char *address; /* borrowed from the ring */
    const char *zone;    /* NULL: none */
    uint32_t tokens;     /* partitions whose token it holds */
};

struct ring;

/* DYN_ERR_INVALID when the history has no cluster or no member. */
int ring_build(const struct history *h, struct ring **out);
struct ring *ring_ref(struct ring *r);
void ring_unref(struct ring *r);

uint64_t ring_cluster(const struct ring *r);
uint32_t ring_q(const struct ring *r);
uint32_t ring_n(const struct ring *r); /* cluster defaults */
uint32_t ring_r(const struct ring *r);
uint32_t ring_w(const struct ring *r);
const struct history_epoch *ring_epoch(const struct ring *r);
const struct history *ring_history(const struct ring *r); /* what it was built from; borrowed */
uint32_t ring_member_count(const struct ring *r);
const struct ring_member *ring_member_at(const struct ring *r, uint32_t index); /* sorted by node */
const struct ring_member *ring_member_find(const struct ring *r, uint64_t node); /* NULL */
uint32_t ring_partition_of(const struct ring *r, struct slice key);
uint64_t ring_token(const struct ring *r, uint32_t partition); /* the node holding its token */

/* The configuration: what the last committed change left; the next one is planned on it (E14). */
const uint8_t *ring_config(const struct ring *r); /* DIGEST_LEN bytes */
/* Those that left, or are leaving, and were not removed: they may still vote and hold hints. */
uint32_t ring_former_count(const struct ring *r);
const struct ring_member *ring_former_at(const struct ring *r, uint32_t index);
/* A member, or one that left; NULL for a node that never joined or was removed. */
const struct ring_member *ring_contact(const struct ring *r, uint64_t node);
bool ring_banned(const struct ring *r, uint64_t node); /* removed: it may not come back */

/* Moves (model/moves.h). How many partitions are not settled, and the state of one; NULL when it is
 * settled. */
uint32_t ring_moving(const struct ring *r);
const struct move *ring_move(const struct ring *r, uint32_t partition);
/* How many of a preference list's first n have a vote: n, unless members are fewer, or a moving
 * partition lost voters. */
uint32_t ring_voters(const struct ring *r, uint32_t partition, uint32_t n);
/* While the partition moves, a write needs W of this row too (E13): at most n nodes, 0 when it does
 * not move. nodes: room for n, at most MOVES_N_MAX. */
uint32_t ring_other_row(const struct ring *r, uint32_t partition, uint32_t n, uint64_t *nodes);
/* Equal in two rings that agree on who holds the partition; never 0 (E10). */
uint64_t ring_fence(const struct ring *r, uint32_t partition);

/* The whole preference list of a partition: every member once; the first n (at most the members
 * there are) are the primaries, on distinct nodes and, where zones are given and suffice,
 * distinct zones; the rest are fallbacks in ring order. In a few lists a primary but the first is
 * passed over and comes first after the cluster's N, so that nobody is a primary of more
 * partitions than its share allows (model/levelling.h, model/shares.h): under equal weights, and
 * zones of equal size or none, at most 1 % above the mean (3 % with more zones than N) or the
 * next whole number. Writes at most cap node ids, returns how many. Cheap: precomputed for the
 * primaries up to n = 8, walked for the rest. */
uint32_t ring_preference_list(const struct ring *r, uint32_t partition, uint32_t n, uint64_t *nodes,
                              uint32_t cap);
/* While a partition moves its list starts with those who vote (they may be no members any more),
 * then come the others that hold it or will. */

#endif
