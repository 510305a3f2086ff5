/* SPDX-License-Identifier: Apache-2.0 */
/* See histogram.h. Values below 8 have a bucket each; from there on the three bits below the
 * leading one choose among the eight buckets of its power. */
#include "base/histogram.h"

#include <assert.h>

#define SUB_BITS 3u
#define SUBS (1u << SUB_BITS)

static uint32_t bucket_of(uint64_t value)
{
    if (value < SUBS)
        return (uint32_t)value;
    uint32_t power = 63u - (uint32_t)__builtin_clzll(value);
    uint32_t bucket =
        (power - SUB_BITS + 1) * SUBS + (uint32_t)(value >> (power - SUB_BITS) & (SUBS - 1));
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

uint64_t histogram_bound(uint32_t bucket)
{
    assert(bucket < HISTOGRAM_BUCKETS);
    if (bucket < SUBS)
        return bucket;
    uint32_t shift = bucket / SUBS - 1;
    return ((uint64_t)(SUBS + bucket % SUBS + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->counts[bucket_of(value)]++;
    h->count++;
    h->sum += value;
}

void histogram_join(struct histogram *into, const struct histogram *other)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->counts[i] += other->counts[i];
    into->count += other->count;
    into->sum += other->sum;
}

void histogram_add_bucket(struct histogram *h, uint64_t bound, uint64_t count)
{
    h->counts[bucket_of(bound)] += count;
    h->count += count;
}

uint64_t histogram_quantile(const struct histogram *h, uint32_t of_10000)
{
    assert(of_10000 <= 10000);
    uint64_t rank = h->count / 10000 * of_10000 + h->count % 10000 * of_10000 / 10000, seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > rank || (seen == h->count && seen > 0))
            return histogram_bound(i);
    }
    return 0;
}
