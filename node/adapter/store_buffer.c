/* SPDX-License-Identifier: Apache-2.0 */
/* See store_buffer.h. Batches lie in a ring in the order in which they came; each has an array of
 * its rows, which hang in a table of chains by hash, the newest first. So a row is found in its
 * newest state, and forgetting the oldest batch takes the last of each row's places away. */
#include "adapter/store_buffer.h"

#include <assert.h>
#include <stdlib.h>

#include "adapter/store_cache.h"
#include "base/mem.h"

enum { CHAINS = 4096 };

struct row {
    struct row *next, **link; /* link: what points here */
    uint64_t hash;
    struct slice key, value; /* in the batch */
    enum store_op_type type;
    enum store_family family;
};

struct held {
    struct store_batch batch;
    uint32_t n;
    struct row rows[];
};

struct store_buffer {
    struct held **ring;
    uint32_t first, n, cap; /* cap: a power of two */
    uint64_t bytes, last;
    uint32_t batches_max;
    uint64_t bytes_max;
    struct row *chains[CHAINS];
};

struct store_buffer *store_buffer_new(uint32_t batches_max, uint64_t bytes_max)
{
    struct store_buffer *b = mem_new(struct store_buffer);
    assert(batches_max > 0 && bytes_max > 0);
    b->batches_max = batches_max;
    b->bytes_max = bytes_max;
    return b;
}

static struct held *held_at(const struct store_buffer *b, uint32_t i)
{
    assert(i < b->n);
    return b->ring[(b->first + i) & (b->cap - 1)];
}

static void held_free(struct held *h)
{
    store_batch_release(&h->batch);
    free(h);
}

void store_buffer_free(struct store_buffer *b)
{
    if (b == NULL)
        return;
    for (uint32_t i = 0; i < b->n; i++)
        held_free(held_at(b, i));
    free(b->ring);
    free(b);
}

static uint64_t held_bytes(const struct held *h)
{
    return sizeof(*h) + h->n * sizeof(h->rows[0]) + h->batch.ops.len;
}

static void grow(struct store_buffer *b)
{
    uint32_t cap = b->cap == 0 ? 64 : b->cap * 2;
    struct held **ring = mem_reallocarray(NULL, cap, sizeof(struct held *));
    for (uint32_t i = 0; i < b->n; i++)
        ring[i] = held_at(b, i);
    free(b->ring);
    b->ring = ring;
    b->first = 0;
    b->cap = cap;
}

static void hang_in(struct store_buffer *b, struct row *r)
{
    struct row **chain = &b->chains[r->hash % CHAINS];
    r->next = *chain;
    r->link = chain;
    if (r->next != NULL)
        r->next->link = &r->next;
    *chain = r;
}

static void take_out(struct row *r)
{
    *r->link = r->next;
    if (r->next != NULL)
        r->next->link = r->link;
}

uint64_t store_buffer_add(struct store_buffer *b, struct store_batch *batch)
{
    struct held *h = mem_zalloc(sizeof(*h) + batch->count * sizeof(h->rows[0]));
    size_t at = 0;
    enum store_op_type type;
    enum store_family f;
    struct slice key, value;
    h->batch = *batch;
    *batch = STORE_BATCH_EMPTY;
    while (store_batch_next(&h->batch, &at, &type, &f, &key, &value)) {
        struct row *r = &h->rows[h->n++];
        assert(h->n <= h->batch.count);
        *r = (struct row){.hash = store_cache_hash(f, key),
                          .key = key,
                          .value = value,
                          .type = type,
                          .family = f};
        hang_in(b, r);
    }
    if (b->n == b->cap)
        grow(b);
    b->ring[(b->first + b->n++) & (b->cap - 1)] = h;
    b->bytes += held_bytes(h);
    return ++b->last;
}

uint64_t store_buffer_last(const struct store_buffer *b)
{
    return b->last;
}

uint32_t store_buffer_count(const struct store_buffer *b)
{
    return b->n;
}

bool store_buffer_is_full(const struct store_buffer *b)
{
    return b->n >= b->batches_max || b->bytes >= b->bytes_max;
}

bool store_buffer_is_swollen(const struct store_buffer *b)
{
    return b->n / 2 >= b->batches_max || b->bytes / 2 >= b->bytes_max;
}

enum store_buffered store_buffer_find(const struct store_buffer *b, uint64_t hash,
                                      enum store_family f, struct slice key, struct slice *value)
{
    for (const struct row *r = b->chains[hash % CHAINS]; r != NULL; r = r->next) {
        if (r->hash != hash || r->family != f || !slice_equal(r->key, key))
            continue;
        if (r->type == STORE_PUT)
            *value = r->value;
        return r->type == STORE_PUT      ? STORE_BUFFER_ROW
               : r->type == STORE_DELETE ? STORE_BUFFER_ABSENT
                                         : STORE_BUFFER_UNKNOWN;
    }
    return STORE_BUFFER_NONE;
}

uint64_t store_buffer_meets(const struct store_buffer *b, enum store_family f, struct slice prefix,
                            struct slice from)
{
    for (uint32_t i = b->n; i-- > 0;) {
        const struct held *h = held_at(b, i);
        for (uint32_t k = 0; k < h->n; k++) {
            const struct row *r = &h->rows[k];
            if (r->family == f && slice_has_prefix(r->key, prefix) &&
                slice_compare(r->key, from) >= 0)
                return b->last - (b->n - 1 - i);
        }
    }
    return 0;
}

uint32_t store_buffer_oldest(const struct store_buffer *b, uint64_t bytes_max, uint32_t cap,
                             const struct store_batch **batches)
{
    uint32_t n = 0;
    for (uint64_t bytes = 0; n < b->n && n < cap && bytes < bytes_max; n++) {
        batches[n] = &held_at(b, n)->batch;
        bytes += batches[n]->ops.len;
    }
    return n;
}

uint64_t store_buffer_written(struct store_buffer *b, uint32_t n)
{
    assert(n <= b->n);
    for (; n > 0; n--) {
        struct held *h = held_at(b, 0);
        for (uint32_t k = 0; k < h->n; k++)
            take_out(&h->rows[k]);
        b->bytes -= held_bytes(h);
        held_free(h);
        b->first = (b->first + 1) & (b->cap - 1);
        b->n--;
    }
    return b->last - b->n;
}
