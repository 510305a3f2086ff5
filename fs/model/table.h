/* SPDX-License-Identifier: Apache-2.0 */
/* A chained hash table of nodes that live inside their elements: three tables of the filesystem
 * (nodeids, keys, conflict names) must answer in O(1) for as many entries as a kernel caches. The
 * hash is seeded, since names come from strangers. */
#ifndef DYN_FS_TABLE_H
#define DYN_FS_TABLE_H

#include <stdbool.h>

#include "base/buf.h"

struct table_node {
    struct table_node *next;
    uint64_t hash;
};

struct table {
    struct table_node **slots;
    size_t n, cap;
    size_t lowest; /* no slot before it has an element */
    uint64_t seed;
};

void table_init(struct table *t, uint64_t seed);
void table_release(struct table *t); /* the elements are the caller's */
uint64_t table_hash(const struct table *t, struct slice key);
/* Elements with this hash, one after the other; NULL at the end. */
struct table_node *table_first(const struct table *t, uint64_t hash);
struct table_node *table_next(const struct table_node *n);
void table_insert(struct table *t, struct table_node *n, uint64_t hash);
void table_remove(struct table *t, struct table_node *n);
/* Any element, NULL when empty: to take out all, one by one, in time linear in their number. */
struct table_node *table_any(struct table *t);
/* Walks all elements while nothing is inserted or removed; *slot starts at 0, after at NULL. */
struct table_node *table_walk(const struct table *t, size_t *slot, const struct table_node *after);

#endif
