/* SPDX-License-Identifier: Apache-2.0 */
/* An ordered map from bytes to bytes whose copies cost nothing: trees share what they have in
 * common by reference count, and a change copies only the path to it that others still use. So the
 * memory store keeps the synced disk, the current one and snapshots side by side. */
#ifndef DYN_ADAPTER_STORE_TREE_H
#define DYN_ADAPTER_STORE_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct store_row { /* immutable, shared by reference count */
    uint32_t refs;
    uint32_t key_len;
    size_t value_len;
    uint8_t bytes[]; /* key, then value */
};

struct store_row *store_row_ref(struct store_row *r);
void store_row_unref(struct store_row *r); /* NULL is fine */
struct slice store_row_key(const struct store_row *r);
struct slice store_row_value(const struct store_row *r);

struct store_node;

struct store_tree {
    struct store_node *root;
    uint64_t bytes; /* of keys and values */
};

#define STORE_TREE_EMPTY ((struct store_tree){NULL, 0})

void store_tree_release(struct store_tree *t);
struct store_tree store_tree_share(const struct store_tree *t); /* a copy; release it too */
void store_tree_put(struct store_tree *t, struct slice key, struct slice value);
void store_tree_delete(struct store_tree *t, struct slice key); /* fine if absent */
/* Borrowed until the next change; NULL when absent. */
struct store_row *store_tree_get(const struct store_tree *t, struct slice key);
/* The first row whose key is >= key (or > key, when after). Borrowed; NULL at the end. */
struct store_row *store_tree_seek(const struct store_tree *t, struct slice key, bool after);

#endif
