/* SPDX-License-Identifier: Apache-2.0 */
/* See moves.h. */
#include "model/moves.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void moves_init(struct moves *m, uint32_t q)
{
    *m = (struct moves){.index = mem_zalloc(q * sizeof(*m->index)), .q = q};
}

void moves_release(struct moves *m)
{
    free(m->list);
    free(m->index);
    *m = (struct moves){0};
}

static struct move *find(const struct moves *m, uint32_t p)
{
    assert(p < m->q);
    return m->index[p] == 0 ? NULL : &m->list[m->index[p] - 1];
}

const struct move *moves_find(const struct moves *m, uint32_t p)
{
    return find(m, p);
}

static struct move *begin(struct moves *m, uint32_t p, const uint64_t *row, uint32_t n)
{
    if (m->moving == m->cap) {
        m->cap = m->cap == 0 ? 16 : m->cap * 2;
        m->list = mem_reallocarray(m->list, m->cap, sizeof(*m->list));
    }
    struct move *mv = &m->list[m->moving++];
    *mv = (struct move){.partition = p, .phase = MOVE_FILLING};
    memcpy(mv->voters, row, n * sizeof(*row));
    memcpy(mv->targets, row, n * sizeof(*row));
    mv->n_voters = mv->n_targets = (uint8_t)n;
    m->index[p] = m->moving;
    return mv;
}

static void settle(struct moves *m, struct move *mv)
{
    const struct move *last = &m->list[--m->moving];
    m->index[mv->partition] = 0;
    if (last == mv)
        return;
    *mv = *last;
    m->index[mv->partition] = (uint32_t)(mv - m->list) + 1;
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
    mv->phase = MOVE_FILLED;
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

void moves_assign(struct moves *m, uint32_t config, uint32_t p, const uint64_t *old, uint32_t n_old,
                  const uint64_t *row, uint32_t n)
{
    struct move *mv = find(m, p);
    assert(n <= MOVES_N_MAX && n_old <= MOVES_N_MAX);
    struct move before = {.n_targets = (uint8_t)n_old};
    memcpy(before.targets, old, n_old * sizeof(*old));
    bool same = same_set(mv != NULL ? mv : &before, row, n);
    if (same && mv == NULL)
        return; /* the order alone may be another */
    if (mv == NULL)
        mv = begin(m, p, old, n_old);
    uint16_t filled = filled_of(mv, row, n);
    memset(mv->targets, 0, sizeof(mv->targets));
    memcpy(mv->targets, row, n * sizeof(*row));
    mv->n_targets = (uint8_t)n;
    mv->filled = filled;
    if (same)
        return;
    mv->since = config;
    mv->phase = MOVE_FILLING;
    if (all_vote(mv))
        settle(m, mv); /* back to what it was */
    else
        advance(m, mv);
}

void moves_filled(struct moves *m, uint32_t config, uint64_t node, uint32_t p)
{
    struct move *mv = find(m, p);
    if (mv == NULL || config < mv->since || !move_is_filling(mv, node))
        return;
    for (uint32_t i = 0; i < mv->n_targets; i++)
        if (mv->targets[i] == node)
            mv->filled |= (uint16_t)(1u << i);
    advance(m, mv);
}

void moves_closed(struct moves *m, uint32_t config, uint32_t p)
{
    struct move *mv = find(m, p);
    if (mv != NULL && config >= mv->since && mv->phase == MOVE_FILLED)
        settle(m, mv);
}

void moves_forget(struct moves *m, uint64_t node)
{
    for (uint32_t p = 0; p < m->q; p++) {
        struct move *mv = find(m, p);
        uint8_t kept = 0;
        if (mv == NULL || !in_row(mv->voters, mv->n_voters, node))
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
