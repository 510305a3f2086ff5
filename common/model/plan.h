/* SPDX-License-Identifier: Apache-2.0 */
/* A change of membership before it is committed: what administrators have staged, checked against
 * the ring that it starts from, and what it would do. Pure, so that the node that shows a plan and
 * the one that commits it come to the same result (E14). */
#ifndef DYN_MODEL_PLAN_H
#define DYN_MODEL_PLAN_H

#include "model/ring.h"

struct plan { /* parts of one MEMBER_CHANGE */
    struct member_event *parts;
    uint32_t n;
};
#define PLAN_EMPTY ((struct plan){NULL, 0})

void plan_release(struct plan *p);
void plan_encode(const struct plan *p, struct buf *out);
int plan_decode(struct slice bytes, struct plan *p /* initialized, replaced */);

/* Adds a part, in place of an earlier one about the same node and thing. DYN_ERR_INVALID with
 * *rule (static): it makes no sense on this ring. */
int plan_stage(struct plan *p, const struct ring *ring, const struct member_event *part,
               const char **rule);
/* Drops what is staged about a node; false: nothing was. */
bool plan_unstage(struct plan *p, uint64_t node);

struct plan_node { /* what changes for one node */
    uint64_t node;
    const char *address; /* borrowed from a ring */
    uint32_t tokens_before, tokens_after;
    uint32_t copies_before, copies_after; /* partitions that it is one of the N for */
    uint32_t gains, loses; /* copies that move to it, and that it need keep no more */
};

struct plan_outcome {
    struct member_event change; /* what would be committed; its node and stamp are set */
    struct ring *before, *after;
    struct plan_node *nodes; /* of both rings */
    uint32_t n_nodes;
    uint32_t moving;                        /* partitions that get other owners */
    uint32_t copies_moved;                  /* replicas that have to be filled */
    uint32_t weakest_before, weakest_after; /* distinct zones in the list that spans the fewest;
                                               a node without zone is a zone of its own */
    uint32_t balance_before, balance_after; /* permille: mean copies by weight over the most */
    uint8_t digest[DIGEST_LEN];             /* of the plan and what it was planned on */
    char *refused;                          /* owned; NULL: it is safe */
    bool impossible; /* refused, and not even by force (commit.h): something still moves, or no
                        copy of some partition would be left */
};

/* What committing the plan at `ring` would do. node: who would commit it. DYN_ERR_INVALID when
 * nothing is staged, or nobody would be left. */
int plan_outcome(const struct plan *p, struct ring *ring, uint64_t node, struct plan_outcome *out);
void plan_outcome_release(struct plan_outcome *o);

#endif
