/* SPDX-License-Identifier: Apache-2.0 */
/* Which member holds which of the Q tokens (strategy 3 of the Dynamo paper, section 6.2), changed
 * one membership event at a time. Members are named by slots, small numbers given in the order of
 * joining. The caller changes weights and calls placement_rebalance(), which moves the fewest
 * tokens that restore balance. Everything is deterministic: the same changes give the same tokens.
 */
#ifndef DYN_MODEL_PLACEMENT_H
#define DYN_MODEL_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#define PLACEMENT_NONE UINT32_MAX

struct placement_slot {
    uint32_t weight; /* 0: not a member */
    uint32_t zone;   /* equal numbers, equal zones; a member without zone has one of its own */
    uint32_t tokens; /* how many it holds */
    uint32_t target; /* how many it should hold; scratch of a rebalance */
};

struct placement {
    uint32_t q;
    uint32_t replicas; /* N: how long preference lists are */
    uint32_t reach;    /* tokens of one node or zone should be further apart than this */
    uint32_t *owner;   /* by partition: slot, or PLACEMENT_NONE while there is no member */
    struct placement_slot *slots;
    uint32_t n, cap;
};

/* q: number of partitions; n: the length of preference lists to spread over. */
void placement_init(struct placement *pl, uint32_t q, uint32_t n);
void placement_release(struct placement *pl);
uint32_t placement_add_slot(struct placement *pl, uint32_t zone); /* weight 0 */

/* Brings token counts to balance after the weight or zone of one slot changed: the counts are those
 * of shares_deal(), and after a change of weight no token moves between two slots whose weights did
 * not change. */
void placement_rebalance(struct placement *pl);

/* All tokens of one slot become those of another, which holds none. */
void placement_rename(struct placement *pl, uint32_t from, uint32_t to);

#endif
