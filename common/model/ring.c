/* SPDX-License-Identifier: Apache-2.0 */
/* See ring.h. The fold plays the history's events in order onto a placement, so equal histories
 * have equal rings, and a longer history differs from its prefix by what its further events move.
 * What does not make sense any more where two histories met (a join of a removed node, a leave of
 * one that left) is skipped, by everybody alike.
 *
 * A preference list is drawn in rounds: each walks the ring from the partition and takes one node
 * of each zone, so a list of any length starts with as many zones as there are. A member without
 * zone is a zone of its own; so without zones one round takes every node, in ring order. Then a few
 * lists pass somebody over, so that nobody has more copies than its share (levelling.h). */
#include "model/ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/levelling.h"
#include "model/placement.h"
#include "model/shares.h"

#define PRIMARIES_KEPT 8
#define PRIMARIES_DRAWN 24 /* so many to choose from while loads are levelled */

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
};

_Static_assert(MEMBERS_MAX <= UINT16_MAX, "members are numbered in 16 bits");

/* --- the fold ------------------------------------------------------------------------------- */

struct folded { /* what the events say about a node, by slot of the placement */
    uint64_t node;
    const char *address, *zone; /* borrowed from the history */
    bool removed;
};

struct fold {
    struct placement placement;
    struct folded *nodes;
    uint32_t members;
    uint32_t zones; /* zone numbers given so far */
    const struct member_event *create;
};

static uint32_t fold_slot(const struct fold *f, uint64_t node)
{
    for (uint32_t i = 0; i < f->placement.n; i++) {
        if (f->nodes[i].node == node)
            return i;
    }
    return PLACEMENT_NONE;
}

static void fold_zone(struct fold *f, uint32_t slot, const char *zone)
{
    uint32_t number = UINT32_MAX;
    for (uint32_t i = 0; zone != NULL && i < f->placement.n; i++) {
        if (f->nodes[i].zone != NULL && i != slot && strcmp(f->nodes[i].zone, zone) == 0) {
            number = f->placement.slots[i].zone;
            break;
        }
    }
    f->nodes[slot].zone = zone;
    f->placement.slots[slot].zone = number == UINT32_MAX ? f->zones++ : number;
}

static bool same_zone(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* A member's zone bounds its share of tokens: see shares.h. */
static void fold_move(struct fold *f, uint32_t slot, const char *zone)
{
    bool same = same_zone(f->nodes[slot].zone, zone);
    fold_zone(f, slot, zone);
    if (!same)
        placement_rebalance(&f->placement);
}

static void fold_weight(struct fold *f, uint32_t slot, uint32_t weight)
{
    struct placement_slot *s = &f->placement.slots[slot];
    if (s->weight == weight)
        return;
    f->members += s->weight == 0;
    f->members -= weight == 0;
    s->weight = weight;
    placement_rebalance(&f->placement);
}

static void fold_join(struct fold *f, const struct member_event *ev)
{
    uint32_t slot = fold_slot(f, ev->node), old = PLACEMENT_NONE;
    if (slot != PLACEMENT_NONE && f->nodes[slot].removed)
        return;
    bool joined = slot != PLACEMENT_NONE && f->placement.slots[slot].weight > 0;
    if (ev->replaces != 0)
        old = fold_slot(f, ev->replaces);
    if (!joined && old == PLACEMENT_NONE && f->members >= MEMBERS_MAX)
        return;
    if (slot == PLACEMENT_NONE) {
        slot = placement_add_slot(&f->placement, 0);
        f->nodes = mem_reallocarray(f->nodes, slot + 1, sizeof(*f->nodes));
        f->nodes[slot] = (struct folded){.node = ev->node};
    }
    f->nodes[slot].address = ev->address;
    if (joined)
        fold_move(f, slot, ev->zone);
    else
        fold_zone(f, slot, ev->zone);
    if (old != PLACEMENT_NONE && !joined && f->placement.slots[old].weight > 0) {
        placement_rename(&f->placement, old, slot);
        f->placement.slots[slot].weight = f->placement.slots[old].weight;
        f->placement.slots[old].weight = 0;
        if (!same_zone(f->nodes[old].zone, ev->zone))
            placement_rebalance(&f->placement);
    } else if (old != PLACEMENT_NONE) {
        fold_weight(f, old, 0);
    }
    if (old != PLACEMENT_NONE)
        f->nodes[old].removed = true;
    fold_weight(f, slot, ev->weight);
}

static void fold_event(struct fold *f, const struct member_event *ev)
{
    uint32_t slot = fold_slot(f, ev->node);
    bool member = slot != PLACEMENT_NONE && f->placement.slots[slot].weight > 0;
    if (ev->type == MEMBER_CREATE) {
        f->create = ev;
        placement_init(&f->placement, ev->q, ev->n);
    } else if (ev->type == MEMBER_JOIN) {
        fold_join(f, ev);
    } else if (slot != PLACEMENT_NONE && ev->type == MEMBER_REMOVE) {
        f->nodes[slot].removed = true;
        fold_weight(f, slot, 0);
    } else if (member && ev->type == MEMBER_LEAVE) {
        fold_weight(f, slot, 0);
    } else if (member && ev->type == MEMBER_WEIGHT) {
        fold_weight(f, slot, ev->weight);
    } else if (member && ev->type == MEMBER_ZONE) {
        fold_move(f, slot, ev->zone);
    } else if (member && ev->type == MEMBER_ADDRESS) {
        f->nodes[slot].address = ev->address;
    }
}

/* --- the finished ring ---------------------------------------------------------------------- */

static int compare_members(const void *a, const void *b)
{
    uint64_t x = ((const struct ring_member *)a)->node, y = ((const struct ring_member *)b)->node;
    return (x > y) - (x < y);
}

static uint32_t member_index(const struct ring *r, uint64_t node)
{
    const struct ring_member *m = ring_member_find(r, node);
    return m == NULL ? UINT32_MAX : (uint32_t)(m - r->members);
}

static char *dup_or_null(const char *s)
{
    return s == NULL ? NULL : mem_strdup(s);
}

/* Members sorted by node, zones numbered from 0, tokens by member instead of by slot. */
static void ring_settle(struct ring *r, const struct fold *f)
{
    const struct placement *pl = &f->placement;
    uint32_t *zone_of = mem_reallocarray(NULL, f->zones, sizeof(*zone_of));
    for (uint32_t i = 0; i < f->zones; i++)
        zone_of[i] = UINT32_MAX;
    r->members = mem_reallocarray(NULL, f->members, sizeof(*r->members));
    for (uint32_t i = 0; i < pl->n; i++) {
        if (pl->slots[i].weight == 0)
            continue;
        r->members[r->member_count++] = (struct ring_member){
            .node = f->nodes[i].node,
            .weight = pl->slots[i].weight,
            .address = dup_or_null(f->nodes[i].address),
            .zone = dup_or_null(f->nodes[i].zone),
            .tokens = pl->slots[i].tokens,
        };
    }
    assert(r->member_count == f->members);
    qsort(r->members, r->member_count, sizeof(*r->members), compare_members);
    r->zones = mem_reallocarray(NULL, r->member_count, sizeof(*r->zones));
    uint16_t *index_of = mem_reallocarray(NULL, pl->n, sizeof(*index_of));
    for (uint32_t i = 0; i < pl->n; i++) {
        if (pl->slots[i].weight == 0)
            continue;
        uint32_t *zone = &zone_of[pl->slots[i].zone];
        if (*zone == UINT32_MAX)
            *zone = r->zone_count++;
        index_of[i] = (uint16_t)member_index(r, f->nodes[i].node);
        r->zones[index_of[i]] = *zone;
    }
    r->owner = mem_reallocarray(NULL, r->q, sizeof(*r->owner));
    for (uint32_t p = 0; p < r->q; p++)
        r->owner[p] = index_of[pl->owner[p]];
    r->idle = mem_reallocarray(NULL, r->member_count, sizeof(*r->idle));
    for (uint32_t i = 0; i < r->member_count; i++) {
        if (r->members[i].tokens == 0)
            r->idle[r->idle_count++] = (uint16_t)i;
    }
    free(index_of);
    free(zone_of);
}

/* --- preference lists ----------------------------------------------------------------------- */

struct bitset {
    uint64_t words[MEMBERS_MAX / 64];
};

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
static uint32_t draw_primaries(const struct ring *r, uint32_t partition, uint32_t want,
                               uint16_t *out, struct bitset *chosen)
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

/* Each round takes one member of each zone that has any left, so round k can stop after as many
 * members as there are zones with more than k. */
static void ring_count_zones(struct ring *r)
{
    uint32_t *size = mem_zalloc((r->zone_count + 1) * sizeof(*size));
    for (uint32_t i = 0; i < r->member_count; i++)
        r->zones_deeper[size[r->zones[i]]++]++;
    free(size);
}

/* Nobody should be a primary of more partitions than its share of all copies. */
static void ring_level(const struct ring *r, uint16_t *rows, uint32_t drawn)
{
    struct levelling lv = {
        .q = r->q,
        .kept = drawn,
        .rows = rows,
        .n = r->n < r->member_count ? r->n : r->member_count,
        .members = r->member_count,
        .zone = r->zones,
    };
    if (lv.n >= drawn)
        return; /* lists of all members */
    struct share *shares = mem_reallocarray(NULL, r->member_count, sizeof(*shares));
    uint32_t *most = mem_reallocarray(NULL, r->member_count, sizeof(*most));
    uint32_t *size = mem_zalloc(r->zone_count * sizeof(*size));
    for (uint32_t i = 0; i < r->member_count; i++) {
        shares[i] = (struct share){.weight = r->members[i].weight, .zone = r->zones[i]};
        size[r->zones[i]]++;
    }
    shares_deal(shares, r->member_count, r->zone_count, r->n, r->q * lv.n);
    for (uint32_t i = 0; i < r->member_count; i++)
        most[i] = shares[i].most;
    lv.most = most;
    lv.rounds = shares_rounds(size, r->zone_count, r->n);
    levelling_run(&lv);
    free(size);
    free(most);
    free(shares);
}

static void ring_keep_primaries(struct ring *r)
{
    struct bitset chosen;
    uint32_t drawn = r->member_count < PRIMARIES_DRAWN ? r->member_count : PRIMARIES_DRAWN;
    uint16_t *rows = mem_reallocarray(NULL, (size_t)r->q * drawn, sizeof(*rows));
    for (uint32_t p = 0; p < r->q; p++)
        draw_primaries(r, p, drawn, &rows[(size_t)p * drawn], &chosen);
    ring_level(r, rows, drawn);
    r->kept = drawn < PRIMARIES_KEPT ? drawn : PRIMARIES_KEPT;
    for (uint32_t p = 0; p < r->q; p++)
        memmove(&rows[(size_t)p * r->kept], &rows[(size_t)p * drawn], r->kept * sizeof(*rows));
    r->primaries = mem_reallocarray(rows, (size_t)r->q * r->kept, sizeof(*rows));
}

/* The first n of a list longer than what is kept, which it starts with. */
static void extend_primaries(const struct ring *r, uint32_t partition, uint32_t n, uint16_t *out)
{
    struct bitset chosen;
    uint16_t walked[MEMBERS_MAX];
    uint32_t have = r->kept;
    draw_primaries(r, partition, n, walked, &chosen);
    memcpy(out, &r->primaries[(size_t)partition * r->kept], r->kept * sizeof(*out));
    bit_reset(&chosen, r->member_count);
    for (uint32_t i = 0; i < have; i++)
        bit_add(&chosen, out[i]);
    for (uint32_t i = 0; have < n; i++) {
        if (bit_add(&chosen, walked[i]))
            out[have++] = walked[i];
    }
}

uint32_t ring_preference_list(const struct ring *r, uint32_t partition, uint32_t n, uint64_t *nodes,
                              uint32_t cap)
{
    struct bitset chosen;
    uint16_t longer[MEMBERS_MAX];
    const uint16_t *primaries = longer;
    uint32_t out = 0;
    assert(partition < r->q);
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

/* --- face ----------------------------------------------------------------------------------- */

int ring_build(const struct history *h, struct ring **out)
{
    struct fold f = {0};
    int err = DYN_OK;
    for (uint32_t i = 0; i < h->n; i++)
        fold_event(&f, &h->events[i]);
    if (f.create == NULL || f.members == 0) {
        err = DYN_ERR_INVALID;
        goto out;
    }
    struct ring *r = mem_new(struct ring);
    r->refs = 1;
    r->cluster = f.create->cluster;
    r->q = f.create->q;
    r->n = f.create->n;
    r->r = f.create->r;
    r->w = f.create->w;
    r->epoch = history_epoch(h);
    history_copy(&r->history, h);
    ring_settle(r, &f);
    ring_count_zones(r);
    ring_keep_primaries(r);
    *out = r;
out:
    placement_release(&f.placement);
    free(f.nodes);
    return err;
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
    history_release(&r->history);
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
    return bsearch(&key, r->members, r->member_count, sizeof(*r->members), compare_members);
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
