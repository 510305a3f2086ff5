/* SPDX-License-Identifier: Apache-2.0 */
/* See shares.h. Jefferson's apportionment (seats by greatest weight / (seats + 1)), the one that
 * minimizes the greatest load per weight, under bounds. It is monotone in the number of seats and
 * in the set of members, so a join only takes and a leave only gives: nothing moves between third
 * parties.
 *
 * The bounds come from preference lists. Of three zones under N = 3 each holds every key once,
 * whatever its weight, so tokens past a third of the ring would only be passed over by the walk,
 * and make the copies of others uneven. A zone that its bound holds back or lifts is dealt by
 * itself, what is left goes to the others.
 *
 * All whole numbers: the ring is a function of the history, on every machine. One level (seats per
 * weight, in fixed point) is found by bisection where bounds matter; what rounding down leaves, at
 * most a seat a member, is dealt one by one through a heap. */
#include "model/shares.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"

enum {
    SEATS_BITS = 32, /* whole part of a level: seats per weight */
    LEVEL_BITS = 20, /* and its fraction; times a weight of up to 1000 they fit into 64 bits */
};

struct zone_bounds {
    uint64_t least, most; /* seats */
    uint64_t seats;       /* dealt so far */
};

struct deal {
    struct share *shares;
    uint32_t n, zones;
    uint64_t total, node_most;
    uint32_t slack; /* percent */
    struct zone_bounds *bounds;
};

uint32_t shares_rounds(const uint32_t *size, uint32_t zones, uint32_t replicas)
{
    uint64_t reached = 0;
    for (uint32_t round = 0;; round++) {
        uint64_t before = reached;
        if (reached >= replicas)
            return round;
        for (uint32_t z = 0; z < zones; z++)
            reached += size[z] > round;
        if (reached == before)
            return round;
    }
}

/* Bounds in seats, where they are no whole numbers: rounded down, so that a zone which a newcomer
 * sets free, or which loses its freedom, does not gain a seat from it. But where each zone's bounds
 * meet, somebody has to have what is over. */
static void set_bounds(struct deal *d, uint32_t replicas)
{
    uint32_t *size = mem_zalloc((d->zones + 1) * sizeof(*size)), used = 0;
    uint64_t members = 0, reached = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        size[d->shares[i].zone] += d->shares[i].weight > 0;
        members += d->shares[i].weight > 0;
    }
    uint64_t copies = replicas < members ? replicas : members;
    uint32_t rounds = shares_rounds(size, d->zones, replicas);
    for (uint32_t z = 0; z < d->zones; z++) {
        reached += size[z] < rounds ? size[z] : rounds;
        used += size[z] > 0;
    }
    bool met = reached == copies; /* all that can take part in the last round do */
    uint64_t up = met ? copies - 1 : 0, full = met ? rounds : rounds - 1;
    for (uint32_t z = 0; z < d->zones; z++) {
        uint64_t most = size[z] < rounds ? size[z] : rounds;
        uint64_t least = size[z] < full ? size[z] : full;
        d->bounds[z].least = d->total * least / copies;
        d->bounds[z].most = (d->total * most + up) / copies;
    }
    d->node_most = (d->total + up) / copies;
    d->slack = used > replicas && used < members ? SHARES_SLACK_ZONED : SHARES_SLACK;
    free(size);
}

/* --- levels --------------------------------------------------------------------------------- */

static uint64_t seats_at(const struct deal *d, uint32_t i, uint64_t level)
{
    uint64_t seats = level * d->shares[i].weight >> LEVEL_BITS;
    return seats < d->node_most ? seats : d->node_most;
}

/* Fills sums[zone]; returns what all take together, each zone within its bounds. */
static uint64_t taken_at(const struct deal *d, uint64_t level, uint64_t *sums, bool *bounded)
{
    uint64_t all = 0;
    *bounded = false;
    for (uint32_t z = 0; z < d->zones; z++)
        sums[z] = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        uint64_t seats = seats_at(d, i, level);
        *bounded |= seats == d->node_most;
        sums[d->shares[i].zone] += seats;
    }
    for (uint32_t z = 0; z < d->zones; z++) {
        const struct zone_bounds *b = &d->bounds[z];
        *bounded |= sums[z] < b->least || sums[z] > b->most;
        all += sums[z] < b->least ? b->least : sums[z] > b->most ? b->most : sums[z];
    }
    return all;
}

/* The greatest level at which all zones together take no more than the total. */
static uint64_t common_level(const struct deal *d, uint64_t *sums)
{
    uint64_t weights = 0;
    bool bounded;
    for (uint32_t i = 0; i < d->n; i++)
        weights += d->shares[i].weight;
    uint64_t low = 0, high = d->total << LEVEL_BITS;
    uint64_t unbounded = high / weights;
    taken_at(d, unbounded, sums, &bounded);
    if (!bounded)
        return unbounded;
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        if (taken_at(d, middle, sums, &bounded) <= d->total)
            low = middle;
        else
            high = middle - 1;
    }
    taken_at(d, low, sums, &bounded);
    return low;
}

/* Bisects for all zones out of bounds at once: levels[z] becomes the greatest at which zone z by
 * itself takes no more than the bound that it is past. */
static void zone_levels(const struct deal *d, const uint64_t *sums, uint64_t *levels)
{
    uint64_t *own = mem_reallocarray(NULL, d->zones, sizeof(*own));
    uint64_t *limit = mem_reallocarray(NULL, d->zones, sizeof(*limit));
    bool any = false;
    for (uint32_t z = 0; z < d->zones; z++) {
        const struct zone_bounds *b = &d->bounds[z];
        limit[z] = sums[z] < b->least ? b->least : sums[z] > b->most ? b->most : 0;
        any |= limit[z] > 0;
        if (limit[z] > 0)
            levels[z] = 0;
    }
    for (uint32_t shift = SEATS_BITS + LEVEL_BITS; any && shift-- > 0;) {
        uint64_t step = 1ull << shift;
        for (uint32_t z = 0; z < d->zones; z++)
            own[z] = 0;
        for (uint32_t i = 0; i < d->n; i++) {
            uint32_t z = d->shares[i].zone;
            own[z] += limit[z] == 0 ? 0 : seats_at(d, i, levels[z] + step);
        }
        for (uint32_t z = 0; z < d->zones; z++)
            levels[z] += limit[z] > 0 && own[z] <= limit[z] ? step : 0;
    }
    free(own);
    free(limit);
}

/* --- what rounding left --------------------------------------------------------------------- */

/* Does a deserve the next seat before b? */
static bool deserves_first(const struct share *s, uint32_t a, uint32_t b)
{
    uint64_t x = (uint64_t)s[a].weight * (s[b].seats + 1);
    uint64_t y = (uint64_t)s[b].weight * (s[a].seats + 1);
    return x != y ? x > y : a < b;
}

static void sift_down(const struct share *s, uint32_t *heap, uint32_t n, uint32_t at)
{
    for (;;) {
        uint32_t best = at, left = 2 * at + 1;
        if (left < n && deserves_first(s, heap[left], heap[best]))
            best = left;
        if (left + 1 < n && deserves_first(s, heap[left + 1], heap[best]))
            best = left + 1;
        if (best == at)
            return;
        uint32_t tmp = heap[at];
        heap[at] = heap[best];
        heap[best] = tmp;
        at = best;
    }
}

/* Deals up to `left` seats one by one, to zones below their least, or below their most. Returns
 * how many found nobody. */
static uint64_t deal_rest(struct deal *d, uint64_t left, bool to_least, uint32_t *heap)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->shares[i].weight > 0)
            heap[n++] = i;
    }
    for (uint32_t at = n; at-- > 0;)
        sift_down(d->shares, heap, n, at);
    while (n > 0 && left > 0) {
        struct share *s = &d->shares[heap[0]];
        struct zone_bounds *b = &d->bounds[s->zone];
        if (s->seats >= d->node_most || b->seats >= (to_least ? b->least : b->most)) {
            heap[0] = heap[--n];
        } else {
            s->seats++;
            b->seats++;
            left--;
        }
        sift_down(d->shares, heap, n, 0);
    }
    return left;
}

/* --- what is permitted ---------------------------------------------------------------------- */

struct peers {              /* members that share what they have by nothing but their weights */
    uint64_t seats, weight; /* of all of them */
    uint64_t top_seats, top_weight; /* of the one with most seats per weight */
};

static void peers_add(struct peers *p, const struct share *s)
{
    p->seats += s->seats;
    p->weight += s->weight;
    if (s->seats * p->top_weight > p->top_seats * s->weight || p->top_weight == 0) {
        p->top_seats = s->seats;
        p->top_weight = s->weight;
    }
}

/* Peers are all members of zones within bounds, and those within one zone that its bound decides;
 * who is at its own bound has none. */
static void permit(const struct deal *d)
{
    struct peers common = {0}, *own = mem_zalloc(d->zones * sizeof(*own));
    struct peers **peers = mem_reallocarray(NULL, d->zones, sizeof(struct peers *));
    for (uint32_t z = 0; z < d->zones; z++) {
        const struct zone_bounds *b = &d->bounds[z];
        peers[z] = b->seats >= b->most || b->seats <= b->least ? &own[z] : &common;
    }
    for (uint32_t i = 0; i < d->n; i++) {
        const struct share *s = &d->shares[i];
        if (s->weight > 0 && s->seats < d->node_most)
            peers_add(peers[s->zone], s);
    }
    for (uint32_t i = 0; i < d->n; i++) {
        struct share *s = &d->shares[i];
        const struct peers *p = peers[s->zone];
        s->most = s->seats;
        if (s->weight == 0 || s->seats >= d->node_most)
            continue;
        uint64_t level = p->top_seats * s->weight / p->top_weight;
        uint64_t slack = p->seats * s->weight * (100 + d->slack) / (p->weight * 100);
        uint64_t most = level > slack ? level : slack;
        s->most = (uint32_t)(most < d->node_most ? most : d->node_most);
    }
    free(peers);
    free(own);
}

void shares_deal(struct share *shares, uint32_t n, uint32_t zones, uint32_t replicas,
                 uint32_t total)
{
    struct deal d = {.shares = shares, .n = n, .zones = zones, .total = total};
    d.bounds = mem_zalloc(zones * sizeof(*d.bounds));
    set_bounds(&d, replicas);
    uint64_t *sums = mem_reallocarray(NULL, zones, sizeof(*sums));
    uint64_t *levels = mem_reallocarray(NULL, zones, sizeof(*levels));
    uint32_t *heap = mem_reallocarray(NULL, n, sizeof(*heap));
    uint64_t level = common_level(&d, sums), left = total;
    for (uint32_t z = 0; z < zones; z++)
        levels[z] = level;
    zone_levels(&d, sums, levels);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t seats = seats_at(&d, i, levels[shares[i].zone]);
        shares[i].seats = (uint32_t)seats;
        d.bounds[shares[i].zone].seats += seats;
        left -= seats;
    }
    left = deal_rest(&d, left, true, heap);
    left = deal_rest(&d, left, false, heap);
    if (left > 0) { /* of very few: the bounds lost more by rounding */
        d.node_most++;
        for (uint32_t z = 0; z < zones; z++)
            d.bounds[z].most++;
        left = deal_rest(&d, left, false, heap);
    }
    assert(left == 0);
    permit(&d);
    free(heap);
    free(levels);
    free(sums);
    free(d.bounds);
}
