/* SPDX-License-Identifier: Apache-2.0 */
/* See tree.h. The leaves are rows. The two levels below the root are sums over them, made when a
 * tree is first asked for and kept up from then on: 4 KiB for a partition, TREES_MAX partitions at
 * most. Levels below those are 256 rows at most, and read when asked.
 *
 * Summing up is a scan, or several, during which writes go on: a scan may or may not have seen
 * them. So whatever changed since the beginning is summed up again at the end, a 256th of the tree
 * at a time, which the store then nearly always has in memory and gives at once. */
#include "engine/trees/tree.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"
#include "engine/trees/leaf_mend.h"
#include "engine/trees/tree_audit.h"
#include "engine/trees/tree_private.h"

#define TREES_MAX 1024
#define LOAD_ROWS 4096
#define PREFIX_LEN 6 /* partition, n, kind of row */

enum tree_row { LEAF = 'l', KEY = 'k' };

_Static_assert(sizeof(struct tree_hash) == STORE_MERGE_LEN, "a hash is what a merge takes");

/* ---- rows -------------------------------------------------------------------------------- */

static void put_prefix(const struct trees *t, uint32_t partition, enum tree_row kind,
                       struct buf *out)
{
    buf_put_u32_be(out, partition);
    buf_put_u8(out, t->n);
    buf_put_u8(out, (uint8_t)kind);
}

static void put_slot(struct buf *out, uint32_t leaf)
{
    buf_put_u8(out, (uint8_t)(leaf >> 8));
    buf_put_u8(out, (uint8_t)leaf);
}

void trees_leaf_prefix(const struct trees *t, uint32_t partition, uint32_t leaf, struct buf *out)
{
    put_prefix(t, partition, KEY, out);
    put_slot(out, leaf);
}

int trees_leaf_row(struct slice row, uint64_t *slot, enum row_kind *kind, struct slice *key)
{
    struct reader r = reader_of(row);
    read_raw(&r, PREFIX_LEN);
    uint64_t s = read_u64_be(&r);
    uint8_t k = read_u8(&r);
    if (!reader_ok(&r) || (k != ROW_OBJECT && k != ROW_ENTRY))
        return DYN_ERR_CORRUPT;
    *slot = s;
    *kind = (enum row_kind)k;
    *key = read_raw(&r, reader_left(&r));
    return DYN_OK;
}

void trees_sum_prefix(const struct trees *t, uint32_t partition, struct buf *out)
{
    put_prefix(t, partition, LEAF, out);
}

void trees_sum_row(const struct trees *t, uint32_t partition, uint32_t leaf, struct buf *out)
{
    put_prefix(t, partition, LEAF, out);
    put_slot(out, leaf);
}

void trees_key_row(struct trees *t, uint32_t partition, enum row_kind kind, struct slice key,
                   struct buf *out)
{
    put_prefix(t, partition, KEY, out);
    buf_put_u64_be(out, trees_slot(t, kind, key));
    buf_put_u8(out, (uint8_t)kind);
    buf_put_slice(out, key);
}

bool trees_leaf_sum(struct slice row, struct slice value, uint32_t *leaf, struct tree_hash *sum)
{
    if (row.len != PREFIX_LEN + 2 || value.len != sizeof(*sum))
        return false;
    *leaf = (uint32_t)row.data[PREFIX_LEN] << 8 | row.data[PREFIX_LEN + 1];
    memcpy(sum, value.data, sizeof(*sum));
    return true;
}

/* ---- hashes ------------------------------------------------------------------------------ */

static struct tree_hash keyed(struct trees *t)
{
    struct tree_hash h;
    uint8_t out[DIGEST_LEN];
    siphash128(&t->key, buf_slice(&t->scratch), out);
    memcpy(&h, out, sizeof(h));
    return h;
}

struct tree_hash trees_hash(struct trees *t, enum row_kind kind, struct slice key,
                            const struct object *o, const struct row_state *s)
{
    struct buf *b = &t->scratch;
    if (object_is_absent(o) || (s != NULL && s->prepared.boot != 0))
        return (struct tree_hash){0, 0};
    buf_clear(b);
    buf_put_u8(b, (uint8_t)kind);
    buf_put_bytes(b, key);
    buf_put_varint(b, o->clock.n);
    for (uint32_t i = 0; i < o->clock.n; i++)
        dot_encode(&(struct dot){o->clock.pairs[i].actor, o->clock.pairs[i].counter}, b);
    buf_put_varint(b, o->n);
    for (uint32_t i = 0; i < o->n; i++)
        dot_encode(&o->siblings[i].dot, b);
    for (uint32_t i = 0; s != NULL && i < s->n_lacks; i++)
        dot_encode(&s->lacks[i], b);
    return keyed(t);
}

struct tree_hash trees_hash_unreadable(struct trees *t, enum row_kind kind, struct slice key,
                                       struct slice value)
{
    struct buf *b = &t->scratch;
    buf_clear(b);
    buf_put_u8(b, (uint8_t)kind);
    buf_put_bytes(b, key);
    buf_put_slice(b, slice_str("unreadable"));
    buf_put_bytes(b, value);
    return keyed(t);
}

uint64_t trees_slot(struct trees *t, enum row_kind kind, struct slice key)
{
    buf_clear(&t->scratch);
    buf_put_u8(&t->scratch, (uint8_t)kind);
    buf_put_slice(&t->scratch, key);
    struct tree_hash h = keyed(t);
    return h.a;
}

/* ---- upkeep ------------------------------------------------------------------------------ */

static struct tree_change *note_change(struct trees *t, uint32_t partition, uint32_t leaf,
                                       const struct tree_hash *delta)
{
    if (t->n_changes == t->cap_changes) {
        t->cap_changes = t->cap_changes == 0 ? 8 : t->cap_changes * 2;
        t->changes = mem_reallocarray(t->changes, t->cap_changes, sizeof(*t->changes));
    }
    t->version++;
    t->changes[t->n_changes] = (struct tree_change){partition, leaf, *delta, BUF_EMPTY};
    return &t->changes[t->n_changes++];
}

uint64_t trees_version(const struct trees *t)
{
    return t->version;
}

void trees_mend(struct trees *t, struct store_batch *b, uint32_t partition, uint32_t leaf,
                const struct tree_hash *delta)
{
    struct buf row = BUF_EMPTY;
    uint8_t operand[STORE_MERGE_LEN];
    memcpy(operand, delta, sizeof(operand));
    trees_sum_row(t, partition, leaf, &row);
    store_batch_merge(b, STORE_TREE, buf_slice(&row), operand);
    note_change(t, partition, leaf, delta);
    buf_release(&row);
}

void trees_insert(struct trees *t, struct store_batch *b, enum row_kind kind,
                  const struct place *at, struct slice key, struct tree_hash before,
                  struct tree_hash after)
{
    uint32_t partition = at->partition;
    struct buf row = BUF_EMPTY;
    uint64_t slot = trees_slot(t, kind, key);
    struct tree_hash delta = before;
    uint8_t operand[STORE_MERGE_LEN];
    tree_hash_add(&delta, &after);
    memcpy(operand, &delta, sizeof(operand));
    buf_reserve(&row, PREFIX_LEN + 9 + key.len);
    trees_sum_row(t, partition, tree_leaf_of(slot), &row);
    store_batch_merge(b, STORE_TREE, buf_slice(&row), operand);
    struct tree_change *change = note_change(t, partition, tree_leaf_of(slot), &delta);
    if (t->audit != NULL && t->audited == partition)
        row_of_id(at, kind, key, &change->row);
    if (tree_hash_none(&before) != tree_hash_none(&after)) {
        buf_clear(&row);
        trees_key_row(t, partition, kind, key, &row);
        if (tree_hash_none(&after))
            store_batch_delete(b, STORE_TREE, buf_slice(&row));
        else
            store_batch_put(b, STORE_TREE, buf_slice(&row), slice_of("", 0));
    }
    buf_release(&row);
}

void trees_change(struct trees *t, struct store_batch *b, enum row_kind kind,
                  const struct place *at, struct slice key, struct tree_hash before,
                  struct tree_hash after)
{
    if (tree_hash_equal(&before, &after) || !trees_covers(t, kind, at, key))
        return;
    trees_insert(t, b, kind, at, key, before, after);
}

void trees_replace(struct trees *t, struct store_batch *b, enum row_kind kind,
                   const struct place *at, struct slice key)
{
    struct buf row = BUF_EMPTY;
    if (!trees_covers(t, kind, at, key))
        return;
    trees_key_row(t, at->partition, kind, key, &row);
    store_batch_put(b, STORE_TREE, buf_slice(&row), slice_of("", 0));
    buf_release(&row);
}

void trees_handed(struct trees *t, bool taken)
{
    for (uint32_t i = 0; i < t->n_changes; i++) {
        struct tree_change *c = &t->changes[i];
        struct tree *tree = t->by_partition[c->partition];
        uint32_t inner = c->leaf >> 8;
        if (taken && c->row.len > 0 && t->audit != NULL)
            tree_audit_change(t->audit, buf_slice(&c->row), c->leaf, &c->delta);
        buf_release(&c->row);
        if (taken && t->mending != NULL && t->mending->partition == c->partition &&
            t->mending->leaf == c->leaf)
            t->mending->touched = true;
        if (!taken || tree == NULL)
            continue;
        tree_hash_add(&tree->root, &c->delta);
        tree_hash_add(&tree->inner[inner], &c->delta);
        if (!tree->loaded)
            tree->touched[inner / 8] |= (uint8_t)(1u << inner % 8);
    }
    t->n_changes = 0;
}

/* ---- summing up -------------------------------------------------------------------------- */

static void tree_free(struct tree *tree)
{
    list_remove(&tree->lru);
    tree->trees->by_partition[tree->partition] = NULL;
    buf_release(&tree->prefix);
    buf_release(&tree->cursor);
    free(tree);
}

static void make_room(struct trees *t)
{
    list_for_each_safe(l, tmp, &t->lru)
    {
        struct tree *oldest = container_of(l, struct tree, lru);
        if (t->loaded < TREES_MAX)
            return;
        if (!oldest->loaded)
            continue;
        t->loaded--;
        tree_free(oldest);
    }
}

static void tree_loaded(struct tree *tree, int err)
{
    struct trees *t = tree->trees;
    struct list waiting;
    list_init(&waiting);
    while (!list_empty(&tree->waiting)) {
        struct list *l = list_first(&tree->waiting);
        list_remove(l);
        list_append(&waiting, l);
    }
    if (err == DYN_OK) {
        tree->root = (struct tree_hash){0, 0};
        for (uint32_t i = 0; i < TREE_INNER; i++)
            tree_hash_add(&tree->root, &tree->inner[i]);
        tree->loaded = true;
        t->loaded++;
    } else {
        tree_free(tree);
    }
    while (!list_empty(&waiting)) {
        struct tree_load *l = container_of(list_first(&waiting), struct tree_load, link);
        list_remove(&l->link);
        l->done(l, err);
    }
}

static void load_on(struct tree *tree);

static bool on_leaf(struct store_scan *req, struct slice key, struct slice value)
{
    struct tree *tree = req->arg;
    struct tree_hash sum;
    uint32_t leaf;
    if (trees_leaf_sum(key, value, &leaf, &sum))
        tree_hash_add(&tree->inner[leaf >> 8], &sum);
    buf_clear(&tree->cursor);
    buf_put_slice(&tree->cursor, key);
    buf_put_u8(&tree->cursor, 0);
    return true;
}

static void on_leaves(struct store_scan *req, int err, bool more)
{
    struct tree *tree = req->arg;
    if (err != DYN_OK) {
        tree_loaded(tree, err);
        return;
    }
    if (!more) {
        tree->at = 0; /* from here on, what has been touched */
        buf_clear(&tree->cursor);
    }
    load_on(tree);
}

static void scan_leaves(struct tree *tree)
{
    struct engine *e = tree->trees->e;
    tree->scan = (struct store_scan){.family = STORE_TREE,
                                     .prefix = buf_slice(&tree->prefix),
                                     .from = buf_slice(&tree->cursor),
                                     .max_rows = LOAD_ROWS,
                                     .max_bytes = UINT64_MAX,
                                     .row = on_leaf,
                                     .done = on_leaves,
                                     .arg = tree};
    e->ports.store.scan(e->ports.store.ctx, &tree->scan);
}

static bool next_touched(struct tree *tree)
{
    for (uint32_t i = 0; i < TREE_INNER; i++)
        if (tree->touched[i / 8] & (1u << i % 8)) {
            tree->touched[i / 8] &= (uint8_t) ~(1u << i % 8);
            tree->at = i;
            return true;
        }
    return false;
}

static void load_on(struct tree *tree)
{
    if (tree->at == TREE_INNER) {
        scan_leaves(tree);
        return;
    }
    if (!next_touched(tree)) {
        tree_loaded(tree, DYN_OK);
        return;
    }
    tree->inner[tree->at] = (struct tree_hash){0, 0};
    buf_clear(&tree->prefix);
    put_prefix(tree->trees, tree->partition, LEAF, &tree->prefix);
    buf_put_u8(&tree->prefix, (uint8_t)tree->at);
    scan_leaves(tree);
}

void trees_load(struct trees *t, uint32_t partition, struct tree_load *l)
{
    struct tree *tree = t->by_partition[partition];
    list_init(&l->link);
    if (tree != NULL && tree->loaded) {
        list_remove(&tree->lru);
        list_append(&t->lru, &tree->lru);
        l->done(l, DYN_OK);
        return;
    }
    bool begin = tree == NULL;
    if (begin) {
        make_room(t);
        tree = mem_new(struct tree);
        tree->trees = t;
        tree->partition = partition;
        tree->at = TREE_INNER;
        list_init(&tree->waiting);
        list_append(&t->lru, &tree->lru);
        t->by_partition[partition] = tree;
        put_prefix(t, partition, LEAF, &tree->prefix);
    }
    list_append(&tree->waiting, &l->link);
    if (begin)
        load_on(tree);
}

void trees_forget(struct tree_load *l)
{
    if (l->done != NULL)
        list_remove(&l->link);
}

bool trees_root(struct trees *t, uint32_t partition, struct tree_hash *out)
{
    const struct tree *tree = t->by_partition[partition];
    if (tree == NULL || !tree->loaded)
        return false;
    *out = tree->root;
    return true;
}

/* ---- nodes ------------------------------------------------------------------------------- */

static void on_inner_loaded(struct tree_load *l, int err)
{
    struct tree_read *r = l->arg;
    const struct tree *tree = r->trees->by_partition[r->partition];
    for (uint32_t i = 0; err == DYN_OK && i < TREE_INNER; i++) {
        uint32_t child = r->level == 0 ? i / TREE_FANOUT : i % TREE_FANOUT;
        if (r->level == 0 || i / TREE_FANOUT == r->index)
            tree_hash_add(&r->child[child], &tree->inner[i]);
    }
    r->done(r, err);
}

static bool on_child_leaf(struct store_scan *req, struct slice key, struct slice value)
{
    struct tree_read *r = req->arg;
    struct tree_hash sum;
    uint32_t leaf;
    if (!trees_leaf_sum(key, value, &leaf, &sum))
        return true;
    if (r->level == 2)
        tree_hash_add(&r->child[leaf / TREE_FANOUT % TREE_FANOUT], &sum);
    else if (leaf / TREE_FANOUT == r->index)
        tree_hash_add(&r->child[leaf % TREE_FANOUT], &sum);
    return true;
}

static void on_child_leaves(struct store_scan *req, int err, bool more)
{
    (void)more;
    struct tree_read *r = req->arg;
    r->done(r, err);
}

void trees_read(struct tree_read *r)
{
    struct engine *e = r->trees->e;
    assert(r->level < TREE_LEVELS && r->index < 1u << (4 * r->level));
    memset(r->child, 0, sizeof(r->child));
    buf_clear(&r->prefix);
    if (r->level < 2) {
        r->load = (struct tree_load){.done = on_inner_loaded, .arg = r};
        trees_load(r->trees, r->partition, &r->load);
        return;
    }
    put_prefix(r->trees, r->partition, LEAF, &r->prefix);
    buf_put_u8(&r->prefix, (uint8_t)(r->level == 2 ? r->index : r->index / TREE_FANOUT));
    r->scan = (struct store_scan){.family = STORE_TREE,
                                  .prefix = buf_slice(&r->prefix),
                                  .max_rows = UINT32_MAX,
                                  .max_bytes = UINT64_MAX,
                                  .row = on_child_leaf,
                                  .done = on_child_leaves,
                                  .arg = r};
    e->ports.store.scan(e->ports.store.ctx, &r->scan);
}

void trees_read_release(struct tree_read *r)
{
    trees_forget(&r->load);
    buf_release(&r->prefix);
}

/* ---- life -------------------------------------------------------------------------------- */

struct trees *trees_new(struct engine *e)
{
    struct trees *t = mem_new(struct trees);
    const struct slice purpose = slice_str("hashes of the merkle trees");
    uint8_t key[DIGEST_LEN];
    t->e = e;
    t->n = (uint8_t)ring_n(e->ring);
    t->by_partition = mem_zalloc(ring_q(e->ring) * sizeof(struct tree *));
    list_init(&t->lru);
    timer_init(&t->timer, trees_build_fire, t);
    mac_compute(e->mac, &purpose, 1, key);
    struct reader r = reader_of(slice_of(key, sizeof(key)));
    t->key.k0 = read_u64(&r);
    t->key.k1 = read_u64(&r);
    return t;
}

void trees_free(struct trees *t)
{
    if (t == NULL)
        return;
    trees_build_free(t);
    while (!list_empty(&t->lru))
        tree_free(container_of(list_first(&t->lru), struct tree, lru));
    free(t->by_partition);
    free(t->changes);
    buf_release(&t->scratch);
    free(t);
}
