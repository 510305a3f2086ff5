/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a ring, for ring.c and ring_build.c. */
#ifndef DYN_MODEL_RING_PRIVATE_H
#define DYN_MODEL_RING_PRIVATE_H

#include "model/ring.h"

struct ring {
    uint32_t refs;
    uint64_t cluster;
    uint32_t q, n, r, w;
    struct history_epoch epoch;
    struct history history;
    struct ring_member *members; /* sorted by node */
    uint32_t *zones;             /* by member: equal numbers, equal zones */
    uint32_t member_count, zone_count;
    uint16_t *owner; /* by partition: member holding its token */
    uint16_t *idle;  /* members without tokens, by node: the tail of every walk */
    uint32_t idle_count;
    uint16_t *primaries; /* by partition, `kept` of them: the start of its preference list */
    uint32_t kept;
    uint32_t zones_deeper[MEMBERS_MAX]; /* at k: how many zones have more than k members */
    uint8_t config[DIGEST_LEN];
    struct ring_member *former; /* left, not removed; by node */
    uint64_t *banned;           /* sorted */
    uint32_t former_count, banned_count;
    struct moves moves; /* none before the first committed change: q is 0 */
};

_Static_assert(MEMBERS_MAX <= UINT16_MAX, "members are numbered in 16 bits");

struct bitset {
    uint64_t words[MEMBERS_MAX / 64];
};

int ring_compare_members(const void *a, const void *b);          /* by node */
uint32_t ring_member_index(const struct ring *r, uint64_t node); /* UINT32_MAX: no member */
/* The first `want` members of a list, at most all there are, by the walk alone. chosen: filled. */
uint32_t ring_draw_primaries(const struct ring *r, uint32_t partition, uint32_t want, uint16_t *out,
                             struct bitset *chosen);

#endif
