/* SPDX-License-Identifier: Apache-2.0 */
/* See store_cache.h. A hash table of chains, and a list through all rows in the order in which they
 * came. A row that was used since goes to the end of it again when its turn to go has come: to move
 * it with each use would touch its neighbours, in memory that is seldom in the processor's caches.
 * The table grows with the rows, up to what the bound lets there be. */
#include "adapter/store_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"

enum {
    BUCKETS_FIRST = 1024,
    VALUE_MAX = 8192, /* larger ones are read from where they lie: copying them twice is no gain */
    ROW_COST = 48,    /* what the allocator and the table take beside the row itself */
};

struct store_cached {
    struct store_cached *next; /* of its bucket */
    struct list in_order;      /* of store_cache.rows; the oldest first */
    uint64_t hash;
    uint32_t refs;
    uint32_t key_len, value_len;
    uint8_t family;
    bool absent;
    bool used;       /* since it came into its place in the order */
    uint8_t bytes[]; /* key, value */
};

struct store_cache {
    struct store_cached **buckets;
    size_t n_buckets, n_rows; /* n_buckets: a power of two */
    struct list rows;
    uint64_t bytes, bytes_max;
};

uint64_t store_cache_hash(enum store_family f, struct slice key)
{
    uint64_t h = 0x9e3779b97f4a7c15ull * ((uint64_t)f + 1) + key.len, word;
    size_t at = 0;
    for (; at + 8 <= key.len; at += 8) {
        memcpy(&word, key.data + at, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }
    word = 0;
    if (key.len > at)
        memcpy(&word, key.data + at, key.len - at);
    h = (h ^ word) * 0xc4ceb9fe1a85ec53ull;
    return h ^ h >> 29;
}

static uint64_t cost(const struct store_cached *row)
{
    return sizeof(*row) + row->key_len + row->value_len + ROW_COST;
}

void store_cached_unref(struct store_cached *row)
{
    if (--row->refs == 0)
        free(row);
}

bool store_cached_absent(const struct store_cached *row)
{
    return row->absent;
}

struct slice store_cached_value(const struct store_cached *row)
{
    return slice_of(row->bytes + row->key_len, row->value_len);
}

static struct store_cached **find(struct store_cache *c, uint64_t hash, enum store_family f,
                                  struct slice key)
{
    struct store_cached **at = &c->buckets[hash & (c->n_buckets - 1)];
    while (*at != NULL &&
           ((*at)->hash != hash || (*at)->family != (uint8_t)f || (*at)->key_len != key.len ||
            memcmp((*at)->bytes, key.data, key.len) != 0))
        at = &(*at)->next;
    return at;
}

/* Takes the row out of its chain, where *at points to it, and lets it go. */
static void drop(struct store_cache *c, struct store_cached **at)
{
    struct store_cached *row = *at;
    *at = row->next;
    list_remove(&row->in_order);
    c->bytes -= cost(row);
    c->n_rows--;
    store_cached_unref(row);
}

static void evict(struct store_cache *c)
{
    while (c->bytes > c->bytes_max) {
        struct store_cached *oldest =
            container_of(list_first(&c->rows), struct store_cached, in_order);
        if (oldest->used) {
            oldest->used = false;
            list_remove(&oldest->in_order);
            list_append(&c->rows, &oldest->in_order);
            continue;
        }
        struct store_cached **at = &c->buckets[oldest->hash & (c->n_buckets - 1)];
        while (*at != oldest)
            at = &(*at)->next;
        drop(c, at);
    }
}

static void grow(struct store_cache *c)
{
    size_t n = c->n_buckets * 2;
    struct store_cached **wider = mem_zalloc(n * sizeof(struct store_cached *));
    for (size_t i = 0; i < c->n_buckets; i++) {
        for (struct store_cached *row = c->buckets[i], *next; row != NULL; row = next) {
            next = row->next;
            row->next = wider[row->hash & (n - 1)];
            wider[row->hash & (n - 1)] = row;
        }
    }
    free(c->buckets);
    c->buckets = wider;
    c->n_buckets = n;
}

struct store_cache *store_cache_new(uint64_t bytes_max)
{
    struct store_cache *c = mem_new(struct store_cache);
    c->n_buckets = BUCKETS_FIRST;
    c->buckets = mem_zalloc(c->n_buckets * sizeof(struct store_cached *));
    c->bytes_max = bytes_max;
    list_init(&c->rows);
    return c;
}

void store_cache_free(struct store_cache *c)
{
    if (c == NULL)
        return;
    store_cache_clear(c);
    free(c->buckets);
    free(c);
}

struct store_cached *store_cache_find(struct store_cache *c, uint64_t hash, enum store_family f,
                                      struct slice key)
{
    struct store_cached *row = *find(c, hash, f, key);
    if (row == NULL)
        return NULL;
    row->used = true;
    row->refs++;
    return row;
}

static void put(struct store_cache *c, uint64_t hash, enum store_family f, struct slice key,
                struct slice value, bool absent)
{
    struct store_cached **at = find(c, hash, f, key);
    if (*at != NULL && (*at)->refs == 1 && (*at)->value_len == value.len) {
        (*at)->absent = absent;
        (*at)->used = true;
        if (value.len > 0)
            memcpy((*at)->bytes + key.len, value.data, value.len);
        return;
    }
    if (*at != NULL)
        drop(c, at);
    if (key.len + value.len > VALUE_MAX)
        return;
    if (c->n_rows >= c->n_buckets)
        grow(c);
    struct store_cached *row = mem_alloc(sizeof(*row) + key.len + value.len);
    struct store_cached **bucket = &c->buckets[hash & (c->n_buckets - 1)];
    *row = (struct store_cached){.next = *bucket,
                                 .hash = hash,
                                 .refs = 1,
                                 .key_len = (uint32_t)key.len,
                                 .value_len = (uint32_t)value.len,
                                 .family = (uint8_t)f,
                                 .absent = absent};
    if (key.len > 0)
        memcpy(row->bytes, key.data, key.len);
    if (value.len > 0)
        memcpy(row->bytes + key.len, value.data, value.len);
    *bucket = row;
    list_init(&row->in_order);
    list_append(&c->rows, &row->in_order);
    c->n_rows++;
    c->bytes += cost(row);
    evict(c);
}

void store_cache_put(struct store_cache *c, uint64_t hash, enum store_family f, struct slice key,
                     struct slice value)
{
    put(c, hash, f, key, value, false);
}

void store_cache_put_absent(struct store_cache *c, uint64_t hash, enum store_family f,
                            struct slice key)
{
    put(c, hash, f, key, slice_of(NULL, 0), true);
}

void store_cache_forget(struct store_cache *c, uint64_t hash, enum store_family f, struct slice key)
{
    struct store_cached **at = find(c, hash, f, key);
    if (*at != NULL)
        drop(c, at);
}

void store_cache_clear(struct store_cache *c)
{
    for (size_t i = 0; i < c->n_buckets; i++)
        while (c->buckets[i] != NULL)
            drop(c, &c->buckets[i]);
}

uint64_t store_cache_bytes(const struct store_cache *c)
{
    return c->bytes;
}
