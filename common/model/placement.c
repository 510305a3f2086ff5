/* SPDX-License-Identifier: Apache-2.0 */
/* See placement.h. Two questions are kept apart.
 *
 * How many tokens each: shares_deal(), which is monotone: a join only takes and a leave only gives,
 * so nothing moves between third parties.
 *
 * Which ones: walking the ring from any partition should meet distinct nodes, and distinct zones,
 * at once, since a skipped token puts its share of replicas on the node after it. So each moved
 * token is chosen (on a join) or given (on a leave) where it makes the fewest neighbours alike;
 * where that fails, tokens moved by the same event are swapped, which costs no further movement. */
#include "model/placement.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/shares.h"

enum {
    COST_NODE = 16,          /* a neighbour of the same node */
    COST_ZONE = 4,           /* a neighbour of the same zone */
    REACH_MAX = 7,           /* neighbours looked at on each side */
    SEARCH_BUDGET = 1 << 18, /* partitions looked at by one join, over all its tokens */
    SEARCH_MIN = 4,          /* and on each side of one ideal place */
    SEARCH_MAX = 64,
    PASSES = 1,
    SWAP_ATTEMPTS = 512 /* partners tried for a badly placed token */
};

void placement_init(struct placement *pl, uint32_t q, uint32_t n)
{
    *pl = (struct placement){.q = q, .replicas = n};
    pl->reach = n <= 2 ? 1 : n - 1 > REACH_MAX ? REACH_MAX : n - 1;
    pl->owner = mem_reallocarray(NULL, q, sizeof(*pl->owner));
    for (uint32_t p = 0; p < q; p++)
        pl->owner[p] = PLACEMENT_NONE;
}

void placement_release(struct placement *pl)
{
    free(pl->owner);
    free(pl->slots);
    *pl = (struct placement){0};
}

uint32_t placement_add_slot(struct placement *pl, uint32_t zone)
{
    if (pl->n == pl->cap) {
        pl->cap = pl->cap == 0 ? 8 : pl->cap * 2;
        pl->slots = mem_reallocarray(pl->slots, pl->cap, sizeof(*pl->slots));
    }
    pl->slots[pl->n] = (struct placement_slot){.zone = zone};
    return pl->n++;
}

static void set_owner(struct placement *pl, uint32_t p, uint32_t slot)
{
    uint32_t old = pl->owner[p];
    if (old != PLACEMENT_NONE)
        pl->slots[old].tokens--;
    if (slot != PLACEMENT_NONE)
        pl->slots[slot].tokens++;
    pl->owner[p] = slot;
}

void placement_rename(struct placement *pl, uint32_t from, uint32_t to)
{
    for (uint32_t p = 0; p < pl->q; p++) {
        if (pl->owner[p] == from)
            set_owner(pl, p, to);
    }
}

/* --- how many ------------------------------------------------------------------------------- */

static void apportion(struct placement *pl)
{
    uint32_t zones = 0;
    struct share *shares = mem_zalloc(pl->n * sizeof(*shares));
    for (uint32_t i = 0; i < pl->n; i++) {
        shares[i] = (struct share){.weight = pl->slots[i].weight, .zone = pl->slots[i].zone};
        zones = shares[i].zone >= zones ? shares[i].zone + 1 : zones;
    }
    shares_deal(shares, pl->n, zones, pl->replicas, pl->q);
    for (uint32_t i = 0; i < pl->n; i++)
        pl->slots[i].target = shares[i].seats;
    free(shares);
}

/* --- which ones ----------------------------------------------------------------------------- */

/* How badly p would lie with slot x: alike neighbours, weighed by nearness. */
static uint32_t misfit(const struct placement *pl, uint32_t p, uint32_t x)
{
    uint32_t cost = 0, mask = pl->q - 1;
    for (uint32_t d = 1; d <= pl->reach && d < pl->q; d++) {
        uint32_t beside[2] = {pl->owner[(p - d) & mask], pl->owner[(p + d) & mask]};
        for (int side = 0; side < 2; side++) {
            uint32_t o = beside[side];
            if (o == x)
                cost += COST_NODE;
            else if (o != PLACEMENT_NONE && pl->slots[o].zone == pl->slots[x].zone)
                cost += COST_ZONE;
        }
    }
    return cost;
}

/* A place near `center` where x may take a token from somebody who has too many: the nearest of
 * those that fit best within the search width; beyond it, the first that there is. */
static uint32_t find_place(const struct placement *pl, uint32_t center, uint32_t width, uint32_t x)
{
    uint32_t best = PLACEMENT_NONE, mask = pl->q - 1;
    int64_t best_gain = INT64_MIN;
    for (uint32_t d = 0; d <= pl->q / 2; d++) {
        if (d > width && best != PLACEMENT_NONE)
            break;
        for (int side = 0; side < (d == 0 ? 1 : 2); side++) {
            uint32_t p = (side == 0 ? center + d : center - d) & mask, o = pl->owner[p];
            if (o == x || pl->slots[o].tokens <= pl->slots[o].target)
                continue;
            int64_t gain = (int64_t)misfit(pl, p, o) - 2 * (int64_t)misfit(pl, p, x);
            if (gain > best_gain) {
                best = p;
                best_gain = gain;
            }
        }
    }
    return best;
}

/* Gives p back to the donor it was taken from and takes another token of the same donor, near by,
 * if that leaves fewer neighbours alike. Returns the token that x has now. */
static uint32_t exchange(struct placement *pl, uint32_t p, uint32_t donor, uint32_t width,
                         uint32_t x)
{
    uint32_t best = p, mask = pl->q - 1;
    pl->owner[p] = donor;
    int64_t best_gain = (int64_t)misfit(pl, p, donor) - (int64_t)misfit(pl, p, x);
    for (uint32_t i = 1; i <= 2 * width; i++) {
        uint32_t r = (p - width - 1 + i + (i > width)) & mask;
        if (pl->owner[r] != donor)
            continue;
        int64_t gain = (int64_t)misfit(pl, r, donor) - (int64_t)misfit(pl, r, x);
        if (gain > best_gain) {
            best = r;
            best_gain = gain;
        }
    }
    pl->owner[best] = x;
    return best;
}

static void take_tokens(struct placement *pl, uint32_t x)
{
    uint32_t k = pl->slots[x].target - pl->slots[x].tokens;
    uint32_t width = SEARCH_BUDGET / k;
    width = width < SEARCH_MIN ? SEARCH_MIN : width > SEARCH_MAX ? SEARCH_MAX : width;
    if (width > (pl->q - 1) / 2)
        width = (pl->q - 1) / 2;
    uint32_t *taken = mem_reallocarray(NULL, k, sizeof(*taken));
    uint32_t *donors = mem_reallocarray(NULL, k, sizeof(*donors));
    for (uint32_t j = 0; j < k; j++) {
        uint32_t center = (uint32_t)((uint64_t)j * pl->q / k);
        uint32_t p = find_place(pl, center, width, x);
        assert(p != PLACEMENT_NONE);
        taken[j] = p;
        donors[j] = pl->owner[p];
        set_owner(pl, p, x);
    }
    for (uint32_t pass = 0; pass < PASSES; pass++) {
        for (uint32_t j = 0; j < k; j++)
            taken[j] = exchange(pl, taken[j], donors[j], width, x);
    }
    free(taken);
    free(donors);
}

/* Whoever still lacks tokens and fits best at p; among equals the one that lacks most. */
static uint32_t find_recipient(const struct placement *pl, uint32_t p, const uint32_t *lacking,
                               uint32_t n)
{
    uint32_t best = PLACEMENT_NONE, best_cost = UINT32_MAX, best_lack = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct placement_slot *s = &pl->slots[lacking[i]];
        uint32_t lack = s->target - s->tokens;
        if (lack == 0)
            continue;
        uint32_t cost = misfit(pl, p, lacking[i]);
        if (cost < best_cost || (cost == best_cost && lack > best_lack)) {
            best = lacking[i];
            best_cost = cost;
            best_lack = lack;
        }
    }
    return best;
}

/* Swaps the token at p with another of the given ones if both together fit better so. */
static void improve(struct placement *pl, const uint32_t *given, uint32_t n, uint32_t at)
{
    uint32_t p = given[at], a = pl->owner[p];
    for (uint32_t i = 1; i < n && i <= SWAP_ATTEMPTS; i++) {
        uint32_t r = given[(at + i) % n], b = pl->owner[r];
        if (a == b)
            continue;
        uint32_t before = misfit(pl, p, a) + misfit(pl, r, b);
        pl->owner[p] = b;
        pl->owner[r] = a;
        if (misfit(pl, p, b) + misfit(pl, r, a) < before)
            return;
        pl->owner[p] = a;
        pl->owner[r] = b;
    }
}

/* How two equal members share the ring. To them any arrangement is alike; from this one a third
 * member, taking each third token of either, makes a b c a b c, which a plain a b a b would deny to
 * it and, as nothing moves between third parties, to every later one. */
static const bool HALVES[6] = {false, true, false, false, true, true};

static void give_tokens(struct placement *pl, uint32_t x)
{
    uint32_t held = pl->slots[x].tokens, k = held - pl->slots[x].target;
    uint32_t *lacking = mem_reallocarray(NULL, pl->n, sizeof(*lacking));
    uint32_t *given = mem_reallocarray(NULL, k, sizeof(*given));
    uint32_t n = 0, seen = 0, gone = 0;
    for (uint32_t i = 0; i < pl->n; i++) {
        if (pl->slots[i].tokens < pl->slots[i].target)
            lacking[n++] = i;
    }
    bool halve = held == pl->q && 2 * k == held;
    for (uint32_t p = 0; p < pl->q && gone < k; p++) {
        if (pl->owner[p] != x)
            continue;
        seen++;
        bool due = halve ? HALVES[p % 6] || held - seen < k - gone
                         : (uint64_t)seen * k / held > gone; /* evenly, when it keeps some */
        if (due) {
            set_owner(pl, p, find_recipient(pl, p, lacking, n));
            given[gone++] = p;
        }
    }
    assert(gone == k);
    for (uint32_t i = 0; i < k; i++) {
        if (misfit(pl, given[i], pl->owner[given[i]]) > 0)
            improve(pl, given, k, i);
    }
    free(given);
    free(lacking);
}

/* With one member, or none, there is nothing to choose. */
static bool settle_alone(struct placement *pl)
{
    uint32_t alone = PLACEMENT_NONE;
    for (uint32_t i = 0; i < pl->n; i++) {
        if (pl->slots[i].weight == 0)
            continue;
        if (alone != PLACEMENT_NONE)
            return false;
        alone = i;
    }
    for (uint32_t p = 0; p < pl->q; p++)
        set_owner(pl, p, alone);
    return true;
}

void placement_rebalance(struct placement *pl)
{
    if (settle_alone(pl))
        return;
    apportion(pl);
    uint32_t givers = 0, giver = 0;
    for (uint32_t i = 0; i < pl->n; i++) {
        if (pl->slots[i].tokens > pl->slots[i].target) {
            givers++;
            giver = i;
        }
    }
    if (givers == 1) {
        give_tokens(pl, giver);
        return;
    }
    for (uint32_t i = 0; i < pl->n && givers > 0; i++) {
        if (pl->slots[i].tokens < pl->slots[i].target)
            take_tokens(pl, i);
    }
}
