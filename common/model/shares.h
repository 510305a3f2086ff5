/* SPDX-License-Identifier: Apache-2.0 */
/* What each member's fair share of the ring is, in whole tokens or whole copies: the most even one
 * that weights, distinct nodes and distinct zones permit. */
#ifndef DYN_MODEL_SHARES_H
#define DYN_MODEL_SHARES_H

#include <stdint.h>

/* Percent that a load may be above its fair share: each join or leave would move more otherwise, as
 * exceptions change places. Where lists choose among more zones than they are long, the walk is
 * uneven by itself, so there are more of them. */
#define SHARES_SLACK 1
#define SHARES_SLACK_ZONED 3

struct share {
    uint32_t weight; /* 0: takes no part */
    uint32_t zone;   /* equal numbers, equal zones; below the number of zones given */
    uint32_t seats;  /* out: its share; their sum is the total */
    uint32_t most; /* out: what it may have without a higher load per weight than its peers have */
};

/* Deals `total` seats to the members. replicas: the N of preference lists; a seat stands for that
 * many copies of one partition divided by the total (so total = Q deals tokens, total = Q times the
 * smaller of N and the members deals copies). A member has at most one copy of a partition, and a
 * zone as many as ring_preference_list() gives it: the greatest load per weight is the least that
 * there can be under these bounds. When one member joins, leaves or changes weight, the others all
 * lose or all gain (or keep) seats. Ties go to the first. */
void shares_deal(struct share *shares, uint32_t n, uint32_t zones, uint32_t replicas,
                 uint32_t total);

/* How many of a list's first `replicas` members one zone may have when zone z has size[z] members:
 * lists are drawn in rounds of one member a zone, and this is the number of rounds. */
uint32_t shares_rounds(const uint32_t *size, uint32_t zones, uint32_t replicas);

#endif
