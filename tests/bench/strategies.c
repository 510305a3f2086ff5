/* SPDX-License-Identifier: Apache-2.0 */
/* See strategies.h. All three end as the same thing, parts of a ring with a list of nodes each, so
 * that one measure of load serves them all. */
#include "strategies.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/ring.h"

struct token {
    uint64_t position;
    uint16_t node;
};

uint64_t strategy_random(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void init(struct strategy *s, uint32_t parts, uint32_t nodes, uint32_t replicas)
{
    assert(parts > 0 && replicas > 0 && replicas <= nodes && nodes <= UINT16_MAX);
    *s = (struct strategy){.parts = parts, .nodes = nodes, .replicas = replicas};
    s->ends = mem_reallocarray(NULL, parts, sizeof(*s->ends));
    s->list = mem_reallocarray(NULL, (size_t)parts * replicas, sizeof(*s->list));
}

void strategy_release(struct strategy *s)
{
    free(s->ends);
    free(s->list);
    *s = (struct strategy){0};
}

static int compare_tokens(const void *a, const void *b)
{
    const struct token *x = a, *y = b;
    if (x->position != y->position)
        return x->position < y->position ? -1 : 1;
    return (x->node > y->node) - (x->node < y->node);
}

static struct token *draw_tokens(uint32_t nodes, uint32_t each, uint64_t seed)
{
    struct token *tokens = mem_reallocarray(NULL, (size_t)nodes * each, sizeof(*tokens));
    for (uint32_t i = 0; i < nodes * each; i++)
        tokens[i] = (struct token){strategy_random(&seed), (uint16_t)(i % nodes)};
    qsort(tokens, (size_t)nodes * each, sizeof(*tokens), compare_tokens);
    return tokens;
}

/* The first n distinct nodes from token `at` on. Each node has a token, so there are as many. */
static void walk(const struct token *tokens, uint32_t count, uint32_t at, uint32_t n, uint16_t *out)
{
    for (uint32_t have = 0; have < n; at = (at + 1) % count) {
        bool known = false;
        for (uint32_t i = 0; i < have; i++)
            known |= out[i] == tokens[at].node;
        if (!known)
            out[have++] = tokens[at].node;
    }
}

void strategy_tokens(struct strategy *s, uint32_t nodes, uint32_t replicas, uint32_t tokens,
                     uint64_t seed)
{
    uint32_t count = nodes * tokens;
    struct token *drawn = draw_tokens(nodes, tokens, seed);
    init(s, count, nodes, replicas);
    for (uint32_t i = 0; i < count; i++) {
        s->ends[i] = drawn[i].position;
        walk(drawn, count, i, replicas, &s->list[(size_t)i * replicas]);
    }
    s->units = count;
    free(drawn);
}

/* The last position of part i of q equal ones. */
static uint64_t equal_end(uint32_t i, uint32_t q)
{
    return (uint64_t)((((unsigned __int128)i + 1) << 64) / q - 1);
}

void strategy_partitions(struct strategy *s, uint32_t nodes, uint32_t replicas, uint32_t tokens,
                         uint32_t partitions, uint64_t seed)
{
    uint32_t count = nodes * tokens, at = 0;
    struct token *drawn = draw_tokens(nodes, tokens, seed);
    init(s, partitions, nodes, replicas);
    for (uint32_t i = 0; i < partitions; i++) {
        s->ends[i] = equal_end(i, partitions);
        while (at < count && drawn[at].position < s->ends[i])
            at++;
        walk(drawn, count, at % count, replicas, &s->list[(size_t)i * replicas]);
    }
    s->units = (uint64_t)count + partitions;
    free(drawn);
}

static void record(struct history *h, struct member_event ev)
{
    const char *rule = "";
    ev.stamp = h->n + 1;
    if (history_add(h, &ev, &rule) != DYN_OK) {
        fprintf(stderr, "strategies: %s\n", rule);
        exit(2);
    }
}

void strategy_ring(struct strategy *s, uint32_t nodes, uint32_t replicas, uint32_t partitions,
                   uint64_t seed)
{
    struct history h = HISTORY_EMPTY;
    struct ring *ring = NULL;
    uint64_t ids[64];
    char address[] = "node:1";
    assert(replicas <= 64);
    record(
        &h,
        (struct member_event){
            .type = MEMBER_CREATE, .cluster = 1, .q = partitions, .n = replicas, .r = 1, .w = 1});
    for (uint32_t i = 0; i < nodes; i++)
        record(&h, (struct member_event){.type = MEMBER_JOIN,
                                         .node = strategy_random(&seed),
                                         .weight = 100,
                                         .address = address});
    if (ring_build(&h, &ring) != DYN_OK)
        abort();
    init(s, partitions, nodes, replicas);
    for (uint32_t i = 0; i < partitions; i++) {
        s->ends[i] = equal_end(i, partitions);
        ring_preference_list(ring, i, replicas, ids, replicas);
        for (uint32_t k = 0; k < replicas; k++) {
            const struct ring_member *m = ring_member_find(ring, ids[k]);
            s->list[(size_t)i * replicas + k] = (uint16_t)(m - ring_member_at(ring, 0));
        }
    }
    s->units = partitions;
    ring_unref(ring);
    history_release(&h);
}

uint32_t strategy_find(const struct strategy *s, uint64_t position)
{
    uint32_t low = 0, high = s->parts;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->ends[middle] < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low == s->parts ? 0 : low;
}

double strategy_efficiency(const struct strategy *s)
{
    double *load = mem_zalloc(s->nodes * sizeof(*load)), most = 0;
    for (uint32_t i = 0; i < s->parts; i++) {
        /* Wraps as the ring does; a single part is all of it. */
        uint64_t width = s->ends[i] - s->ends[i == 0 ? s->parts - 1 : i - 1];
        double share = s->parts == 1 ? 1 : ldexp((double)width, -64);
        for (uint32_t k = 0; k < s->replicas; k++)
            load[s->list[(size_t)i * s->replicas + k]] += share;
    }
    for (uint32_t i = 0; i < s->nodes; i++)
        most = load[i] > most ? load[i] : most;
    free(load);
    return (double)s->replicas / s->nodes / most;
}
