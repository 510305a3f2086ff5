/* SPDX-License-Identifier: Apache-2.0 */
/* See table.h. Doubles when there is more than one element a slot. */
#include "model/table.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

void table_init(struct table *t, uint64_t seed)
{
    *t = (struct table){.seed = seed};
}

void table_release(struct table *t)
{
    free(t->slots);
    table_init(t, t->seed);
}

static uint64_t mix(uint64_t h)
{
    /* The finalizer of MurmurHash3 (Appleby). */
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdULL;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ULL;
    return h ^ (h >> 33);
}

uint64_t table_hash(const struct table *t, struct slice key)
{
    uint64_t h = t->seed ^ key.len;
    size_t i = 0;
    for (; i + 8 <= key.len; i += 8) {
        uint64_t word;
        memcpy(&word, key.data + i, 8);
        h = mix(h ^ word);
    }
    uint64_t tail = 0;
    for (; i < key.len; i++)
        tail = tail << 8 | key.data[i];
    return mix(h ^ mix(tail + t->seed));
}

struct table_node *table_first(const struct table *t, uint64_t hash)
{
    if (t->cap == 0)
        return NULL;
    struct table_node *n = t->slots[hash & (t->cap - 1)];
    while (n != NULL && n->hash != hash)
        n = n->next;
    return n;
}

struct table_node *table_next(const struct table_node *n)
{
    struct table_node *next = n->next;
    while (next != NULL && next->hash != n->hash)
        next = next->next;
    return next;
}

static void grow(struct table *t)
{
    size_t cap = t->cap == 0 ? 64 : t->cap * 2;
    struct table_node **slots = mem_zalloc(cap * sizeof(struct table_node *));
    for (size_t i = 0; i < t->cap; i++) {
        struct table_node *next;
        for (struct table_node *n = t->slots[i]; n != NULL; n = next) {
            next = n->next;
            n->next = slots[n->hash & (cap - 1)];
            slots[n->hash & (cap - 1)] = n;
        }
    }
    free(t->slots);
    t->slots = slots;
    t->cap = cap;
    t->lowest = 0;
}

void table_insert(struct table *t, struct table_node *n, uint64_t hash)
{
    if (t->n >= t->cap)
        grow(t);
    size_t slot = hash & (t->cap - 1);
    n->hash = hash;
    n->next = t->slots[slot];
    t->slots[slot] = n;
    t->n++;
    if (slot < t->lowest)
        t->lowest = slot;
}

void table_remove(struct table *t, struct table_node *n)
{
    struct table_node **at = &t->slots[n->hash & (t->cap - 1)];
    while (*at != n) {
        assert(*at != NULL);
        at = &(*at)->next;
    }
    *at = n->next;
    n->next = NULL;
    t->n--;
}

struct table_node *table_any(struct table *t)
{
    if (t->n == 0)
        return NULL;
    while (t->slots[t->lowest] == NULL)
        t->lowest++;
    return t->slots[t->lowest];
}

struct table_node *table_walk(const struct table *t, size_t *slot, const struct table_node *after)
{
    if (after != NULL && after->next != NULL)
        return after->next;
    size_t i = after == NULL ? *slot : *slot + 1;
    while (i < t->cap && t->slots[i] == NULL)
        i++;
    *slot = i;
    return i < t->cap ? t->slots[i] : NULL;
}
