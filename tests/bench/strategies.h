/* SPDX-License-Identifier: Apache-2.0 */
/* The three ways of section 6.2 of the Dynamo paper to partition a ring and to place its parts on
 * nodes, for comparison. 1 and 2 live here only; 3 is what production does: model/ring.h itself. */
#ifndef DYN_BENCH_STRATEGIES_H
#define DYN_BENCH_STRATEGIES_H

#include <stdint.h>

/* A ring cut into parts, each with the nodes that hold its keys. Positions are the first 64 bits of
 * a key's hash. */
struct strategy {
    uint32_t parts, nodes, replicas;
    uint64_t *ends; /* ascending: part i is (ends[i - 1], ends[i]], part 0 wraps around */
    uint16_t *list; /* by part, `replicas` distinct nodes */
    uint64_t units; /* of membership metadata: see each */
};

/* nodes <= 65,535; replicas <= nodes; the same seed gives the same strategy. Each fills *s.
 *
 * Strategy 1: T random tokens a node, and a part between each two; it is on the first N distinct
 * nodes clockwise from its end. Metadata: an entry (position, node) for each token. */
void strategy_tokens(struct strategy *s, uint32_t nodes, uint32_t replicas, uint32_t tokens,
                     uint64_t seed);

/* Strategy 2: T random tokens a node; Q equal parts, each on the first N distinct nodes clockwise
 * from its end. Metadata: an entry for each token and one for each partition. */
void strategy_partitions(struct strategy *s, uint32_t nodes, uint32_t replicas, uint32_t tokens,
                         uint32_t partitions, uint64_t seed);

/* Strategy 3: Q equal parts, Q / S tokens a node: the ring of a history in which nodes join one by
 * one, without zones. partitions: a power of two. Metadata: an entry for each partition. */
void strategy_ring(struct strategy *s, uint32_t nodes, uint32_t replicas, uint32_t partitions,
                   uint64_t seed);

void strategy_release(struct strategy *s);

/* The part that a position lies in. */
uint32_t strategy_find(const struct strategy *s, uint64_t position);

/* Load-balance efficiency (section 6.2): mean load of a node by the greatest. Load of a node: the
 * fraction of the ring of which it holds a replica, so what it serves of requests to many keys that
 * are equally popular, where each request goes to all N replicas. */
double strategy_efficiency(const struct strategy *s);

/* splitmix64 (Steele, Lea and Flood, 2014): any seed is good. */
uint64_t strategy_random(uint64_t *seed);

#endif
