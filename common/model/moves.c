/* SPDX-License-Identifier: Apache-2.0 */
/* See moves.h. */
#include "model/moves.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void moves_init(struct moves *m, uint32_t q)
{
    *m = (struct moves){.of = mem_zalloc(q * sizeof(*m->of)), .q = q};
}

void moves_copy(struct moves *to, const struct moves *from)
{
    *to = *from;
    to->of = mem_dup(from->of, from->q * sizeof(*from->of));
}

void moves_release(struct moves *m)
{
    free(m->of);
    *m = (struct moves){0};
}

static bool in_row(const uint64_t *row, uint32_t n, uint64_t node)
{
    for (uint32_t i = 0; i < n; i++)
        if (row[i] == node)
            return true;
    return false;
}

bool move_is_new(const struct move *mv, uint64_t node)
{
    return mv->phase != MOVE_SETTLED && in_row(mv->targets, mv->n_targets, node) &&
           !in_row(mv->voters, mv->n_voters, node);
}

bool move_is_filling(const struct move *mv, uint64_t node)
{
    if (mv->phase != MOVE_FILLING || !move_is_new(mv, node))
        return false;
    for (uint32_t i = 0; i < mv->n_targets; i++)
        if (mv->targets[i] == node && (mv->filled >> i & 1))
            return false;
    return true;
}

static void set_phase(struct moves *m, struct move *mv, enum move_phase phase)
{
    m->moving += phase != MOVE_SETTLED;
    m->moving -= mv->phase != MOVE_SETTLED;
    mv->phase = phase;
}

static void settle(struct moves *m, struct move *mv)
{
    memcpy(mv->voters, mv->targets, sizeof(mv->voters));
    mv->n_voters = mv->n_targets;
    mv->filled = 0;
    set_phase(m, mv, MOVE_SETTLED);
}

static void advance(struct moves *m, struct move *mv)
{
    if (mv->n_voters == 0) { /* nobody is left to fill from */
        settle(m, mv);
        return;
    }
    if (mv->phase != MOVE_FILLING)
        return;
    for (uint32_t i = 0; i < mv->n_targets; i++)
        if (move_is_filling(mv, mv->targets[i]))
            return;
    set_phase(m, mv, MOVE_FILLED);
}

static bool same_set(const struct move *mv, const uint64_t *row, uint32_t n)
{
    if (n != mv->n_targets)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!in_row(mv->targets, mv->n_targets, row[i]))
            return false;
    return true;
}

/* What had been filled stays so for whoever is still a target: it has had every write since. */
static uint16_t filled_of(const struct move *mv, const uint64_t *row, uint32_t n)
{
    uint16_t filled = 0;
    for (uint32_t i = 0; i < n; i++)
        if (in_row(mv->targets, mv->n_targets, row[i]) && !move_is_filling(mv, row[i]))
            filled |= (uint16_t)(1u << i);
    return filled;
}

static bool all_vote(const struct move *mv)
{
    for (uint32_t i = 0; i < mv->n_targets; i++)
        if (!in_row(mv->voters, mv->n_voters, mv->targets[i]))
            return false;
    return mv->n_voters == mv->n_targets;
}

void moves_assign(struct moves *m, uint32_t config, uint32_t p, const uint64_t *row, uint32_t n)
{
    struct move *mv = &m->of[p];
    assert(n <= MOVES_N_MAX && p < m->q);
    bool first = mv->n_voters == 0, same = same_set(mv, row, n);
    uint16_t filled = filled_of(mv, row, n);
    memset(mv->targets, 0, sizeof(mv->targets));
    memcpy(mv->targets, row, n * sizeof(*row));
    mv->n_targets = (uint8_t)n;
    if (first || (same && mv->phase == MOVE_SETTLED)) { /* the order alone may be another */
        mv->since = first ? config : mv->since;
        settle(m, mv);
        return;
    }
    mv->filled = filled;
    if (same)
        return;
    mv->since = config;
    set_phase(m, mv, MOVE_FILLING);
    if (all_vote(mv))
        settle(m, mv); /* back to what it was */
    else
        advance(m, mv);
}

void moves_filled(struct moves *m, uint32_t config, uint64_t node, uint32_t p)
{
    struct move *mv = &m->of[p];
    if (config < mv->since || !move_is_filling(mv, node))
        return;
    for (uint32_t i = 0; i < mv->n_targets; i++)
        if (mv->targets[i] == node)
            mv->filled |= (uint16_t)(1u << i);
    advance(m, mv);
}

void moves_closed(struct moves *m, uint32_t config, uint32_t p)
{
    struct move *mv = &m->of[p];
    if (config >= mv->since && mv->phase == MOVE_FILLED)
        settle(m, mv);
}

void moves_forget(struct moves *m, uint64_t node)
{
    for (uint32_t p = 0; p < m->q; p++) {
        struct move *mv = &m->of[p];
        uint8_t kept = 0;
        if (mv->phase == MOVE_SETTLED || !in_row(mv->voters, mv->n_voters, node))
            continue;
        for (uint32_t i = 0; i < mv->n_voters; i++)
            if (mv->voters[i] != node)
                mv->voters[kept++] = mv->voters[i];
        memset(&mv->voters[kept], 0, (MOVES_N_MAX - kept) * sizeof(mv->voters[0]));
        mv->n_voters = kept;
        advance(m, mv);
    }
}

uint64_t move_fence(const struct move *mv)
{
    uint64_t h = 0x9e3779b97f4a7c15u + (uint64_t)mv->phase;
    for (uint32_t i = 0; i < (uint32_t)mv->n_voters + mv->n_targets; i++) {
        h ^= i < mv->n_voters ? mv->voters[i] : mv->targets[i - mv->n_voters];
        h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u; /* splitmix64's mixing */
        h = (h ^ h >> 27) * 0x94d049bb133111ebu;
        h ^= h >> 31;
    }
    return h | 1; /* 0: none */
}
