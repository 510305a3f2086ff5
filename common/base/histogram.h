/* SPDX-License-Identifier: Apache-2.0 */
/* How long things took, in bounded memory: counts by buckets that grow with the value, each at most
 * an eighth wider than its lower bound. So a quantile is right to 12.5 %, from a microsecond to an
 * hour, and histograms of several nodes are added up bucket by bucket. */
#ifndef DYN_BASE_HISTOGRAM_H
#define DYN_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 240 /* 8 for each power of two up to 2^32 us; longer counts as the last */

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count, sum;
};

void histogram_add(struct histogram *h, uint64_t value);
void histogram_join(struct histogram *into, const struct histogram *other);
/* What so many of 10,000 values are not above: 5000 the median, 9990 the p99.9. The upper
 * bound of its bucket; 0 when there is nothing. */
uint64_t histogram_quantile(const struct histogram *h, uint32_t of_10000);
/* The greatest value that is counted in this bucket. */
uint64_t histogram_bound(uint32_t bucket);
/* Counts that came from elsewhere: bound is one that histogram_bound gave. */
void histogram_add_bucket(struct histogram *h, uint64_t bound, uint64_t count);

#endif
