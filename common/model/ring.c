/* SPDX-License-Identifier: Apache-2.0 */
/* See ring.h. Preference lists, drawn from the finished ring; ring_build.c makes it.
 *
 * A preference list is drawn in rounds: each walks the ring from the partition and takes one node
 * of each zone, so a list of any length starts with as many zones as there are. A member without
 * zone is a zone of its own; so without zones one round takes every node, in ring order. Then a few
 * lists pass somebody over, so that nobody has more copies than its share (levelling.h). */
#include "model/ring_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

int ring_compare_members(const void *a, const void *b)
{
    uint64_t x = ((const struct ring_member *)a)->node, y = ((const struct ring_member *)b)->node;
    return (x > y) - (x < y);
}

uint32_t ring_member_index(const struct ring *r, uint64_t node)
{
    const struct ring_member *m = ring_member_find(r, node);
    return m == NULL ? UINT32_MAX : (uint32_t)(m - r->members);
}

/* --- preference lists ----------------------------------------------------------------------- */

static bool bit_add(struct bitset *s, uint32_t i)
{
    uint64_t bit = 1ull << (i % 64), *word = &s->words[i / 64];
    bool fresh = (*word & bit) == 0;
    *word |= bit;
    return fresh;
}

static void bit_reset(struct bitset *s, uint32_t count)
{
    memset(s->words, 0, (count + 63) / 64 * sizeof(s->words[0]));
}

/* The member at step i of the walk from a partition: q tokens, then the members without any. */
static uint16_t walk_at(const struct ring *r, uint32_t partition, uint32_t step)
{
    return step < r->q ? r->owner[(partition + step) & (r->q - 1)] : r->idle[step - r->q];
}

/* The first `want` members of the list, at most all there are. chosen: filled. */
uint32_t ring_draw_primaries(const struct ring *r, uint32_t partition, uint32_t want, uint16_t *out,
                             struct bitset *chosen)
{
    struct bitset zones;
    uint32_t n = 0, steps = r->q + r->idle_count;
    bit_reset(chosen, r->member_count);
    for (uint32_t round = 0; n < want && n < r->member_count; round++) {
        uint32_t zones_seen = 0, zones_left = r->zones_deeper[round];
        bit_reset(&zones, r->zone_count);
        for (uint32_t i = 0; i < steps && n < want && zones_seen < zones_left; i++) {
            uint16_t m = walk_at(r, partition, i);
            if ((chosen->words[m / 64] >> (m % 64) & 1) != 0 || !bit_add(&zones, r->zones[m]))
                continue;
            bit_add(chosen, m);
            zones_seen++;
            out[n++] = m;
        }
    }
    return n;
}

/* The first n of a list longer than what is kept, which it starts with. */
static void extend_primaries(const struct ring *r, uint32_t partition, uint32_t n, uint16_t *out)
{
    struct bitset chosen;
    uint16_t walked[MEMBERS_MAX];
    uint32_t have = r->kept;
    ring_draw_primaries(r, partition, n, walked, &chosen);
    memcpy(out, &r->primaries[(size_t)partition * r->kept], r->kept * sizeof(*out));
    bit_reset(&chosen, r->member_count);
    for (uint32_t i = 0; i < have; i++)
        bit_add(&chosen, out[i]);
    for (uint32_t i = 0; have < n; i++) {
        if (bit_add(&chosen, walked[i]))
            out[have++] = walked[i];
    }
}

static void add_once(uint64_t *nodes, uint32_t *n, uint32_t cap, uint64_t node)
{
    for (uint32_t i = 0; i < *n; i++)
        if (nodes[i] == node)
            return;
    if (*n < cap)
        nodes[(*n)++] = node;
}

/* The row that is read at, and the other one. */
static const uint64_t *voting_row(const struct move *mv, bool voting, uint32_t *n)
{
    bool targets = (mv->phase == MOVE_FILLED) == voting;
    *n = targets ? mv->n_targets : mv->n_voters;
    return targets ? mv->targets : mv->voters;
}

static uint32_t moving_list(const struct ring *r, uint32_t partition, const struct move *mv,
                            uint64_t *nodes, uint32_t cap)
{
    struct bitset seen;
    uint32_t out = 0, n;
    bit_reset(&seen, r->member_count);
    for (int voting = 1; voting >= 0; voting--) {
        const uint64_t *row = voting_row(mv, voting != 0, &n);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t m = ring_member_index(r, row[i]);
            add_once(nodes, &out, cap, row[i]);
            if (m != UINT32_MAX)
                bit_add(&seen, m);
        }
    }
    for (uint32_t i = 0; i < r->q + r->idle_count && out < cap; i++) {
        uint16_t m = walk_at(r, partition, i);
        if (bit_add(&seen, m))
            nodes[out++] = r->members[m].node;
    }
    return out;
}

const struct move *ring_move(const struct ring *r, uint32_t partition)
{
    assert(partition < r->q);
    return r->moves.q == 0 ? NULL : moves_find(&r->moves, partition);
}

uint32_t ring_voters(const struct ring *r, uint32_t partition, uint32_t n)
{
    const struct move *mv = ring_move(r, partition);
    uint32_t row = r->member_count;
    if (mv != NULL)
        voting_row(mv, true, &row);
    return n < row ? n : row;
}

uint32_t ring_other_row(const struct ring *r, uint32_t partition, uint32_t n, uint64_t *nodes)
{
    const struct move *mv = ring_move(r, partition);
    if (mv == NULL)
        return 0;
    uint32_t have;
    const uint64_t *row = voting_row(mv, false, &have);
    if (n > have)
        n = have;
    memcpy(nodes, row, n * sizeof(*nodes));
    return n;
}

uint64_t ring_fence(const struct ring *r, uint32_t partition)
{
    struct move settled = {.phase = MOVE_SETTLED};
    const struct move *mv = ring_move(r, partition);
    if (mv != NULL)
        return move_fence(mv);
    uint32_t n = r->n < r->member_count ? r->n : r->member_count;
    settled.n_voters = settled.n_targets =
        (uint8_t)ring_preference_list(r, partition, n, settled.voters, n);
    memcpy(settled.targets, settled.voters, sizeof(settled.targets));
    return move_fence(&settled);
}

uint32_t ring_preference_list(const struct ring *r, uint32_t partition, uint32_t n, uint64_t *nodes,
                              uint32_t cap)
{
    const struct move *mv = ring_move(r, partition);
    if (mv != NULL)
        return moving_list(r, partition, mv, nodes, cap);
    struct bitset chosen;
    uint16_t longer[MEMBERS_MAX];
    const uint16_t *primaries = longer;
    uint32_t out = 0;
    if (n > r->member_count)
        n = r->member_count;
    if (n <= r->kept)
        primaries = &r->primaries[(size_t)partition * r->kept];
    else
        extend_primaries(r, partition, n, longer);
    bit_reset(&chosen, r->member_count);
    for (uint32_t i = 0; i < n; i++)
        bit_add(&chosen, primaries[i]);
    for (; out < n && out < cap; out++)
        nodes[out] = r->members[primaries[out]].node;
    for (uint32_t i = 0; out < cap && out < r->member_count; i++) {
        uint16_t m = walk_at(r, partition, i);
        if (bit_add(&chosen, m))
            nodes[out++] = r->members[m].node;
    }
    return out;
}

struct ring *ring_ref(struct ring *r)
{
    r->refs++;
    return r;
}

void ring_unref(struct ring *r)
{
    if (r == NULL || --r->refs > 0)
        return;
    for (uint32_t i = 0; i < r->member_count; i++) {
        free((char *)r->members[i].address);
        free((char *)r->members[i].zone);
    }
    for (uint32_t i = 0; i < r->former_count; i++) {
        free((char *)r->former[i].address);
        free((char *)r->former[i].zone);
    }
    history_release(&r->history);
    moves_release(&r->moves);
    free(r->former);
    free(r->banned);
    free(r->members);
    free(r->zones);
    free(r->owner);
    free(r->idle);
    free(r->primaries);
    free(r);
}

uint64_t ring_cluster(const struct ring *r)
{
    return r->cluster;
}

uint32_t ring_q(const struct ring *r)
{
    return r->q;
}

uint32_t ring_n(const struct ring *r)
{
    return r->n;
}

uint32_t ring_r(const struct ring *r)
{
    return r->r;
}

uint32_t ring_w(const struct ring *r)
{
    return r->w;
}

const struct history_epoch *ring_epoch(const struct ring *r)
{
    return &r->epoch;
}

const struct history *ring_history(const struct ring *r)
{
    return &r->history;
}

uint32_t ring_member_count(const struct ring *r)
{
    return r->member_count;
}

const struct ring_member *ring_member_at(const struct ring *r, uint32_t index)
{
    assert(index < r->member_count);
    return &r->members[index];
}

const struct ring_member *ring_member_find(const struct ring *r, uint64_t node)
{
    struct ring_member key = {.node = node};
    return bsearch(&key, r->members, r->member_count, sizeof(*r->members), ring_compare_members);
}

uint32_t ring_partition_of(const struct ring *r, struct slice key)
{
    struct position pos = position_of(key);
    return position_partition(&pos, r->q);
}

uint64_t ring_token(const struct ring *r, uint32_t partition)
{
    assert(partition < r->q);
    return r->members[r->owner[partition]].node;
}

const uint8_t *ring_config(const struct ring *r)
{
    return r->config;
}

uint32_t ring_former_count(const struct ring *r)
{
    return r->former_count;
}

const struct ring_member *ring_former_at(const struct ring *r, uint32_t index)
{
    assert(index < r->former_count);
    return &r->former[index];
}

const struct ring_member *ring_contact(const struct ring *r, uint64_t node)
{
    struct ring_member key = {.node = node};
    const struct ring_member *m = ring_member_find(r, node);
    if (m != NULL || r->former_count == 0)
        return m;
    return bsearch(&key, r->former, r->former_count, sizeof(*r->former), ring_compare_members);
}

bool ring_banned(const struct ring *r, uint64_t node)
{
    for (uint32_t i = 0; i < r->banned_count; i++)
        if (r->banned[i] == node)
            return true;
    return false;
}

uint32_t ring_moving(const struct ring *r)
{
    return r->moves.moving;
}
