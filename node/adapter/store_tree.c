/* SPDX-License-Identifier: Apache-2.0 */
/* See store_tree.h. A treap (Seidel and Aragon, 1996) whose priorities are a hash of the key: its
 * shape follows from the set of keys alone, so it needs no randomness and stays balanced for keys
 * that nobody chose against the hash. It never sees hostile keys outside of tests. */
#include "adapter/store_tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct store_node {
    uint32_t refs;
    uint64_t priority;
    struct store_node *left, *right; /* each holds one reference */
    struct store_row *row;
};

struct store_row *store_row_ref(struct store_row *r)
{
    r->refs++;
    return r;
}

void store_row_unref(struct store_row *r)
{
    if (r != NULL && --r->refs == 0)
        free(r);
}

struct slice store_row_key(const struct store_row *r)
{
    return slice_of(r->bytes, r->key_len);
}

struct slice store_row_value(const struct store_row *r)
{
    return slice_of(r->bytes + r->key_len, r->value_len);
}

static struct store_row *row_new(struct slice key, struct slice value)
{
    struct store_row *r = mem_alloc(sizeof(*r) + key.len + value.len);
    r->refs = 1;
    r->key_len = (uint32_t)key.len;
    r->value_len = value.len;
    if (key.len > 0)
        memcpy(r->bytes, key.data, key.len);
    if (value.len > 0)
        memcpy(r->bytes + key.len, value.data, value.len);
    return r;
}

static uint64_t priority_of(struct slice key)
{
    uint64_t h = 0xcbf29ce484222325ull; /* FNV-1a, then a finalizer, since only order counts */
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ key.data[i]) * 0x100000001b3ull;
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdull;
    return h ^ h >> 33;
}

static void node_unref(struct store_node *n)
{
    if (n == NULL || --n->refs > 0)
        return;
    node_unref(n->left);
    node_unref(n->right);
    store_row_unref(n->row);
    free(n);
}

static struct store_node *node_ref(struct store_node *n)
{
    if (n != NULL)
        n->refs++;
    return n;
}

/* The node itself when nobody else uses it, else a copy instead of our reference to it. */
static struct store_node *node_own(struct store_node *n)
{
    if (n->refs == 1)
        return n;
    struct store_node *copy = mem_dup(n, sizeof(*n));
    copy->refs = 1;
    node_ref(copy->left);
    node_ref(copy->right);
    store_row_ref(copy->row);
    n->refs--;
    return copy;
}

/* Each of these takes the caller's reference to a tree and returns one to the changed tree, whose
 * root is then owned alone. */
static struct store_node *rotate_right(struct store_node *n)
{
    struct store_node *up = n->left;
    n->left = up->right;
    up->right = n;
    return up;
}

static struct store_node *rotate_left(struct store_node *n)
{
    struct store_node *up = n->right;
    n->right = up->left;
    up->left = n;
    return up;
}

static struct store_node *node_put(struct store_node *n, struct store_row *row)
{
    if (n == NULL) {
        n = mem_new(struct store_node);
        n->refs = 1;
        n->priority = priority_of(store_row_key(row));
        n->row = row;
        return n;
    }
    n = node_own(n);
    int c = slice_compare(store_row_key(row), store_row_key(n->row));
    if (c == 0) {
        store_row_unref(n->row);
        n->row = row;
        return n;
    }
    if (c < 0) {
        n->left = node_put(n->left, row);
        return n->left->priority > n->priority ? rotate_right(n) : n;
    }
    n->right = node_put(n->right, row);
    return n->right->priority > n->priority ? rotate_left(n) : n;
}

/* All keys of a are less than all of b. */
static struct store_node *node_merge(struct store_node *a, struct store_node *b)
{
    if (a == NULL || b == NULL)
        return a == NULL ? b : a;
    if (a->priority > b->priority) {
        a = node_own(a);
        a->right = node_merge(a->right, b);
        return a;
    }
    b = node_own(b);
    b->left = node_merge(a, b->left);
    return b;
}

static struct store_node *node_delete(struct store_node *n, struct slice key)
{
    int c = slice_compare(key, store_row_key(n->row));
    if (c == 0) {
        struct store_node *rest = node_merge(node_ref(n->left), node_ref(n->right));
        node_unref(n);
        return rest;
    }
    n = node_own(n);
    if (c < 0)
        n->left = node_delete(n->left, key);
    else
        n->right = node_delete(n->right, key);
    return n;
}

void store_tree_release(struct store_tree *t)
{
    node_unref(t->root);
    *t = STORE_TREE_EMPTY;
}

struct store_tree store_tree_share(const struct store_tree *t)
{
    node_ref(t->root);
    return *t;
}

struct store_row *store_tree_get(const struct store_tree *t, struct slice key)
{
    struct store_row *r = store_tree_seek(t, key, false);
    return r != NULL && slice_equal(store_row_key(r), key) ? r : NULL;
}

struct store_row *store_tree_seek(const struct store_tree *t, struct slice key, bool after)
{
    struct store_row *found = NULL;
    for (struct store_node *n = t->root; n != NULL;) {
        int c = slice_compare(store_row_key(n->row), key);
        if (c > 0 || (c == 0 && !after)) {
            found = n->row;
            n = n->left;
        } else {
            n = n->right;
        }
    }
    return found;
}

void store_tree_put(struct store_tree *t, struct slice key, struct slice value)
{
    struct store_row *old = store_tree_get(t, key);
    if (old != NULL)
        t->bytes -= old->key_len + old->value_len;
    t->bytes += key.len + value.len;
    t->root = node_put(t->root, row_new(key, value));
}

void store_tree_delete(struct store_tree *t, struct slice key)
{
    struct store_row *old = store_tree_get(t, key);
    if (old == NULL)
        return;
    t->bytes -= old->key_len + old->value_len;
    t->root = node_delete(t->root, key);
}
