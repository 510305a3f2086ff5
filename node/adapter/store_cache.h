/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that were read or written lately, in memory: what RocksDB would have to look for in several
 * places, decompress and copy lies here as it is, and so does the knowledge that a row is absent.
 * Bounded in bytes; rows that have gone unused for long go first. One thread. */
#ifndef DYN_ADAPTER_STORE_CACHE_H
#define DYN_ADAPTER_STORE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "port/store.h"

struct store_cache;
struct store_cached; /* a row, referenced */

struct store_cache *store_cache_new(uint64_t bytes_max);
void store_cache_free(struct store_cache *c); /* NULL is fine */

/* Whose hash is asked for by several calls is computed once. */
uint64_t store_cache_hash(enum store_family f, struct slice key);

/* NULL: the cache knows nothing of the row. Otherwise it is alive until it is let go, whatever is
 * written meanwhile. */
struct store_cached *store_cache_find(struct store_cache *c, uint64_t hash, enum store_family f,
                                      struct slice key);
void store_cached_unref(struct store_cached *row);
bool store_cached_absent(const struct store_cached *row);
struct slice store_cached_value(const struct store_cached *row);

/* The row's newest state. A row that is too large to be worth its place is forgotten instead. */
void store_cache_put(struct store_cache *c, uint64_t hash, enum store_family f, struct slice key,
                     struct slice value);
void store_cache_put_absent(struct store_cache *c, uint64_t hash, enum store_family f,
                            struct slice key);
void store_cache_forget(struct store_cache *c, uint64_t hash, enum store_family f,
                        struct slice key);
void store_cache_clear(struct store_cache *c);

uint64_t store_cache_bytes(const struct store_cache *c);

#endif
