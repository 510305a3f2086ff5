/* SPDX-License-Identifier: Apache-2.0 */
/* See levelling.h. Whole tokens cannot share out replicas evenly: of 1,024 partitions on 30
 * nodes, some hold 35 tokens and so 105 copies, when 103 would do; and where two tokens of a node
 * or a zone are close, the walk passes one over and burdens the next. The remedy is that of
 * consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018): a node that
 * has its share is passed over. But only those over their share are touched, at the end, and in
 * an order that stays the same from ring to ring, so that a few copies in a hundred are placed
 * off the walk, and mostly the same ones after a change.
 *
 * To pass over a primary, it swaps its place with one further down in the row. Where nobody there
 * has room, someone there may make room elsewhere: the shortest such chain is found breadth
 * first, as in any assignment problem, so what can be levelled within the rows is. */
#include "model/levelling.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct step { /* how the search reached a member: in this row it would follow that one */
    uint32_t row;
    uint16_t from;
    bool seen;
};

struct work {
    const struct levelling *lv;
    uint32_t *load;   /* by member: rows it is a primary of */
    uint32_t *starts; /* by member: where its rows start in `in`; one more at the end */
    uint32_t *in;     /* rows that a member is in, wherever */
    struct step *steps;
    uint16_t *queue;
};

static uint16_t *row_of(const struct levelling *lv, uint32_t row)
{
    return &lv->rows[(size_t)row * lv->kept];
}

static void work_init(struct work *w, const struct levelling *lv)
{
    *w = (struct work){.lv = lv};
    w->load = mem_zalloc(lv->members * sizeof(*w->load));
    w->starts = mem_zalloc((lv->members + 2) * sizeof(*w->starts));
    w->in = mem_reallocarray(NULL, (size_t)lv->q * lv->kept, sizeof(*w->in));
    w->steps = mem_reallocarray(NULL, lv->members, sizeof(*w->steps));
    w->queue = mem_reallocarray(NULL, lv->members, sizeof(*w->queue));
    for (size_t i = 0; i < (size_t)lv->q * lv->kept; i++)
        w->starts[lv->rows[i] + 2]++;
    for (uint32_t m = 0; m < lv->members; m++)
        w->starts[m + 2] += w->starts[m + 1];
    for (uint32_t row = 0; row < lv->q; row++) {
        const uint16_t *list = row_of(lv, row);
        for (uint32_t k = 0; k < lv->kept; k++) {
            w->in[w->starts[list[k] + 1]++] = row;
            w->load[list[k]] += k < lv->n;
        }
    }
}

static void work_release(struct work *w)
{
    free(w->load);
    free(w->starts);
    free(w->in);
    free(w->steps);
    free(w->queue);
}

/* Would the row's primaries still span the zones with `next` in the place of primary `at`? */
static bool spans(const struct levelling *lv, const uint16_t *list, uint32_t at, uint16_t next)
{
    uint32_t there = lv->zone[list[at]], here = lv->zone[next], from = 0, to = 0;
    if (there == here)
        return true;
    for (uint32_t k = 0; k < lv->n; k++) {
        from += lv->zone[list[k]] == there;
        to += lv->zone[list[k]] == here;
    }
    return from == lv->rounds && to < lv->rounds;
}

/* The place of member m among the row's primaries behind the first, or 0. */
static uint32_t place_of(const struct levelling *lv, const uint16_t *list, uint16_t m)
{
    for (uint32_t k = 1; k < lv->n; k++) {
        if (list[k] == m)
            return k;
    }
    return 0;
}

/* Passes primary m over for `next`, further down: the others keep their order. */
static void pass_over(const struct work *w, uint32_t row, uint16_t m, uint16_t next)
{
    uint16_t *list = row_of(w->lv, row);
    uint32_t at = place_of(w->lv, list, m), n = w->lv->n, down = n;
    while (list[down] != next)
        down++;
    memmove(&list[n + 1], &list[n], (down - n) * sizeof(*list));
    memmove(&list[at], &list[at + 1], (n - 1 - at) * sizeof(*list));
    list[n - 1] = next;
    list[n] = m;
    w->load[m]--;
    w->load[next]++;
}

/* Undoes the chain that ends at m, from its end: each on it hands one row to the one behind. */
static void shift_chain(const struct work *w, uint16_t m)
{
    while (w->steps[m].from != m) {
        pass_over(w, w->steps[m].row, w->steps[m].from, m);
        m = w->steps[m].from;
    }
}

/* Looks, from a member over its most, for the nearest with room; moves one copy along. */
static bool relieve(const struct work *w, uint16_t over)
{
    const struct levelling *lv = w->lv;
    uint32_t head = 0, tail = 0;
    memset(w->steps, 0, lv->members * sizeof(*w->steps));
    w->steps[over] = (struct step){.from = over, .seen = true};
    w->queue[tail++] = over;
    while (head < tail) {
        uint16_t m = w->queue[head++];
        for (uint32_t i = w->starts[m]; i < w->starts[m + 1]; i++) {
            const uint16_t *list = row_of(lv, w->in[i]);
            uint32_t at = place_of(lv, list, m);
            for (uint32_t k = lv->n; at > 0 && k < lv->kept; k++) {
                uint16_t next = list[k];
                if (w->steps[next].seen || !spans(lv, list, at, next))
                    continue;
                w->steps[next] = (struct step){.row = w->in[i], .from = m, .seen = true};
                w->queue[tail++] = next;
                if (w->load[next] < lv->most[next]) {
                    shift_chain(w, next);
                    return true;
                }
            }
        }
    }
    return false;
}

uint32_t levelling_run(const struct levelling *lv)
{
    struct work w;
    uint32_t left = 0;
    assert(lv->n > 0 && lv->n <= lv->kept);
    work_init(&w, lv);
    for (uint32_t m = 0; m < lv->members; m++) {
        while (w.load[m] > lv->most[m] && relieve(&w, (uint16_t)m))
            ;
        left += w.load[m] > lv->most[m] ? w.load[m] - lv->most[m] : 0;
    }
    work_release(&w);
    return left;
}
