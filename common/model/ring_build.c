/* SPDX-License-Identifier: Apache-2.0 */
/* See ring.h. The fold plays the history's events in order onto a placement, so equal histories
 * have equal rings, and a longer history differs from its prefix by what its further events move.
 * What does not make sense any more where two histories met (a join of a removed node, a leave of
 * one that left) is skipped, by everybody alike.
 *
 * Events up to the first committed change are how the cluster was born. From then on each change
 * names the configuration it follows, one with another base is skipped, and partitions pass from
 * old rows to new ones as moves.h says. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/levelling.h"
#include "model/placement.h"
#include "model/ring_private.h"
#include "model/shares.h"

#define PRIMARIES_KEPT 8
#define PRIMARIES_DRAWN 24 /* so many to choose from while loads are levelled */

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
    /* committed changes */
    struct buf birth;               /* encoded events before the first change */
    uint8_t (*configs)[DIGEST_LEN]; /* configs[0]: before the first change */
    uint32_t n_configs;
    struct ring *settled; /* the ring of the last configuration; NULL before the first change */
    struct moves moves;
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

static char *dup_or_null(const char *s)
{
    return s == NULL ? NULL : mem_strdup(s);
}

static void settle_outsiders(struct ring *r, const struct fold *f)
{
    r->former = mem_reallocarray(NULL, f->placement.n, sizeof(*r->former));
    r->banned = mem_reallocarray(NULL, f->placement.n, sizeof(*r->banned));
    for (uint32_t i = 0; i < f->placement.n; i++) {
        const struct folded *n = &f->nodes[i];
        if (n->removed)
            r->banned[r->banned_count++] = n->node;
        else if (f->placement.slots[i].weight == 0)
            r->former[r->former_count++] = (struct ring_member){
                .node = n->node, .address = dup_or_null(n->address), .zone = dup_or_null(n->zone)};
    }
    qsort(r->former, r->former_count, sizeof(*r->former), ring_compare_members);
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
    qsort(r->members, r->member_count, sizeof(*r->members), ring_compare_members);
    r->zones = mem_reallocarray(NULL, r->member_count, sizeof(*r->zones));
    uint16_t *index_of = mem_reallocarray(NULL, pl->n, sizeof(*index_of));
    for (uint32_t i = 0; i < pl->n; i++) {
        if (pl->slots[i].weight == 0)
            continue;
        uint32_t *zone = &zone_of[pl->slots[i].zone];
        if (*zone == UINT32_MAX)
            *zone = r->zone_count++;
        index_of[i] = (uint16_t)ring_member_index(r, f->nodes[i].node);
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
    settle_outsiders(r, f);
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
        ring_draw_primaries(r, p, drawn, &rows[(size_t)p * drawn], &chosen);
    ring_level(r, rows, drawn);
    r->kept = drawn < PRIMARIES_KEPT ? drawn : PRIMARIES_KEPT;
    for (uint32_t p = 0; p < r->q; p++)
        memmove(&rows[(size_t)p * r->kept], &rows[(size_t)p * drawn], r->kept * sizeof(*rows));
    r->primaries = mem_reallocarray(rows, (size_t)r->q * r->kept, sizeof(*rows));
}

/* --- committed changes ---------------------------------------------------------------------- */

/* The ring of what has been folded so far, without history and moves. */
static struct ring *ring_of_fold(const struct fold *f)
{
    struct ring *r = mem_new(struct ring);
    r->refs = 1;
    r->cluster = f->create->cluster;
    r->q = f->create->q;
    r->n = f->create->n;
    r->r = f->create->r;
    r->w = f->create->w;
    ring_settle(r, f);
    ring_count_zones(r);
    ring_keep_primaries(r);
    return r;
}

static void assign_rows(struct fold *f, const struct ring *before, const struct ring *r)
{
    uint64_t old[MOVES_N_MAX], row[MOVES_N_MAX];
    uint32_t n = r->n < MOVES_N_MAX ? r->n : MOVES_N_MAX;
    for (uint32_t p = 0; p < r->q; p++) {
        uint32_t n_old = ring_preference_list(before, p, n, old, n);
        uint32_t n_new = ring_preference_list(r, p, n, row, n);
        moves_assign(&f->moves, f->n_configs - 1, p, old, n_old, row, n_new);
    }
}

static void add_config(struct fold *f, struct slice what)
{
    f->configs = mem_reallocarray(f->configs, f->n_configs + 1, sizeof(*f->configs));
    digest_sha256(what, f->configs[f->n_configs++]);
}

static bool names_config(const struct fold *f, const struct member_event *ev, uint32_t *which)
{
    for (uint32_t i = f->n_configs; i > 0; i--) {
        if (memcmp(f->configs[i - 1], ev->base, DIGEST_LEN) != 0)
            continue;
        *which = i - 1;
        return true;
    }
    return false;
}

static void forget_removed(struct fold *f, const struct member_event *change)
{
    for (uint32_t i = 0; i < change->n_parts; i++) {
        const struct member_event *part = &change->parts[i];
        uint64_t gone = part->type == MEMBER_REMOVE ? part->node
                        : part->type == MEMBER_JOIN ? part->replaces
                                                    : 0;
        if (gone != 0)
            moves_forget(&f->moves, gone);
    }
}

static void fold_change(struct fold *f, const struct member_event *ev)
{
    struct buf link = BUF_EMPTY;
    if (memcmp(ev->base, f->configs[f->n_configs - 1], DIGEST_LEN) != 0)
        return; /* another change has followed its base */
    if (f->settled == NULL) {
        moves_init(&f->moves, f->create->q);
        f->settled = ring_of_fold(f);
    }
    buf_put(&link, f->configs[f->n_configs - 1], DIGEST_LEN);
    member_event_encode(ev, &link);
    add_config(f, buf_slice(&link));
    buf_release(&link);
    for (uint32_t i = 0; i < ev->n_parts; i++)
        fold_event(f, &ev->parts[i]);
    if (f->members == 0)
        return; /* the last one left: there is nothing to place */
    struct ring *before = f->settled;
    f->settled = ring_of_fold(f);
    assign_rows(f, before, f->settled);
    forget_removed(f, ev);
    ring_unref(before);
}

static void fold_progress(struct fold *f, const struct member_event *ev)
{
    uint32_t config;
    if (f->moves.q == 0 || !names_config(f, ev, &config))
        return;
    for (uint32_t i = 0; i < ev->n_partitions; i++) {
        if (ev->partitions[i] >= f->moves.q)
            return;
        if (ev->type == MEMBER_FILLED)
            moves_filled(&f->moves, config, ev->node, ev->partitions[i]);
        else
            moves_closed(&f->moves, config, ev->partitions[i]);
    }
}

static bool is_late(const struct member_event *ev)
{
    return ev->type == MEMBER_CHANGE || ev->type == MEMBER_FILLED || ev->type == MEMBER_CLOSED;
}

static void fold_history(struct fold *f, const struct history *h)
{
    for (uint32_t i = 0; i < h->n; i++) {
        const struct member_event *ev = &h->events[i];
        if (!is_late(ev) && f->n_configs == 0) {
            member_event_encode(ev, &f->birth);
            fold_event(f, ev);
            continue;
        }
        if (f->create == NULL || f->members == 0)
            return;
        if (f->n_configs == 0)
            add_config(f, buf_slice(&f->birth));
        if (ev->type == MEMBER_CHANGE)
            fold_change(f, ev);
        else if (is_late(ev))
            fold_progress(f, ev);
    }
    if (f->n_configs == 0)
        add_config(f, buf_slice(&f->birth));
}

/* --- face ----------------------------------------------------------------------------------- */

int ring_build(const struct history *h, struct ring **out)
{
    struct fold f = {0};
    int err = DYN_OK;
    fold_history(&f, h);
    if (f.create == NULL || f.members == 0) {
        err = DYN_ERR_INVALID;
        goto out;
    }
    struct ring *r = f.settled != NULL ? f.settled : ring_of_fold(&f);
    f.settled = NULL;
    r->epoch = history_epoch(h);
    history_copy(&r->history, h);
    memcpy(r->config, f.configs[f.n_configs - 1], DIGEST_LEN);
    r->moves = f.moves;
    f.moves = (struct moves){0};
    *out = r;
out:
    ring_unref(f.settled);
    moves_release(&f.moves);
    placement_release(&f.placement);
    buf_release(&f.birth);
    free(f.configs);
    free(f.nodes);
    return err;
}
