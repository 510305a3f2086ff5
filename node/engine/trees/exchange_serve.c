/* SPDX-License-Identifier: Apache-2.0 */
/* See exchange_serve.h. Each question is answered from the trees, one partition, node or leaf after
 * the other; nothing is remembered between questions, so a peer that goes away leaves nothing
 * behind. The work that a question asks for is bounded by its decoder. */
#include "engine/trees/exchange_serve.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/trees/exchange_wire.h"
#include "engine/trees/leaf_rows.h"
#include "model/wire.h"

struct answer {
    struct background background; /* first */
    struct engine *e;
    uint64_t origin, rid;
    uint8_t type;
    uint32_t next;
    bool inside, again; /* a callback inside the call: go round once more */
    struct tree_roots roots;
    struct tree_roots_reply differs;
    struct tree_load load;
    struct tree_nodes nodes;
    struct tree_nodes_reply masks;
    struct tree_read read;
    struct tree_leaves leaves;
    struct tree_leaves_page page;
    uint32_t row; /* of leaves.rows, the first of the leaf at hand */
    bool unreadable;
    struct leaf_rows own;
};

static void answer_free(struct answer *a)
{
    background_end(a->e, &a->background);
    trees_forget(&a->load);
    trees_read_release(&a->read);
    leaf_rows_release(&a->own);
    tree_roots_release(&a->roots);
    tree_roots_reply_release(&a->differs);
    tree_leaves_release(&a->leaves);
    buf_release(&a->page.rows);
    buf_release(&a->page.unknown);
    free(a);
}

static void abandon(struct background *b)
{
    answer_free(container_of(b, struct answer, background));
}

static void reply(struct answer *a, int status)
{
    struct buf body = BUF_EMPTY;
    a->differs.status = a->masks.status = status;
    if (a->type == FRAME_TREE_ROOTS)
        tree_roots_reply_encode(&a->differs, &body);
    else if (a->type == FRAME_TREE_NODES)
        tree_nodes_reply_encode(&a->masks, &body);
    else
        tree_leaves_page_end(&a->page, status, &body);
    a->e->ports.net.reply(a->e->ports.net.ctx, a->origin, a->rid, (uint8_t)(a->type + FRAME_REPLY),
                          &body);
    answer_free(a);
}

/* Runs `step` until it waits or has answered. A step that ends inside says so by calling on(). */
static void go(struct answer *a, bool (*step)(struct answer *a))
{
    bool more = true;
    a->inside = true;
    do {
        a->again = false;
        more = step(a);
    } while (more && a->again);
    if (more)
        a->inside = false;
}

static void on(struct answer *a, bool (*step)(struct answer *a))
{
    if (a->inside)
        a->again = true;
    else
        go(a, step);
}

/* partition: only where the fence counts, else 0. */
static int check_scope(const struct answer *a, const struct tree_scope *s, uint32_t partition)
{
    const struct engine *e = a->e;
    if (!e->serving || e->failed != DYN_OK)
        return DYN_ERR_STOPPED;
    if (partition >= ring_q(e->ring))
        return DYN_ERR_PROTOCOL;
    bool fenced = s->fence != 0 && s->fence == ring_fence(e->ring, partition);
    if ((!fenced && !history_epoch_equal(&s->ring, ring_epoch(e->ring))) || s->n != ring_n(e->ring))
        return DYN_ERR_REFUSED;
    return trees_complete(e->trees) ? DYN_OK : DYN_ERR_OVERLOAD;
}

/* ---- roots ------------------------------------------------------------------------------- */

static bool next_root(struct answer *a);

static void on_loaded(struct tree_load *l, int err)
{
    struct answer *a = l->arg;
    struct tree_hash root;
    uint32_t i = a->next++;
    if (err == DYN_OK && trees_root(a->e->trees, a->roots.partition[i], &root) &&
        !tree_hash_equal(&root, &a->roots.root[i]))
        a->differs.differs[a->differs.count++] = i;
    on(a, next_root);
}

static bool next_root(struct answer *a)
{
    if (a->next == a->roots.count) {
        reply(a, DYN_OK);
        return false;
    }
    a->load = (struct tree_load){.done = on_loaded, .arg = a};
    trees_load(a->e->trees, a->roots.partition[a->next], &a->load);
    return true;
}

static int open_roots(struct answer *a, struct slice body)
{
    int err = tree_roots_decode(body, &a->roots);
    if (err == DYN_OK)
        err = a->roots.scope.fence == 0 ? check_scope(a, &a->roots.scope, 0) : DYN_ERR_PROTOCOL;
    for (uint32_t i = 0; err == DYN_OK && i < a->roots.count; i++)
        if (a->roots.partition[i] >= ring_q(a->e->ring))
            err = DYN_ERR_PROTOCOL;
    if (err == DYN_OK)
        a->differs.differs =
            mem_reallocarray(NULL, a->roots.count + 1, sizeof(*a->differs.differs));
    return err;
}

/* ---- nodes ------------------------------------------------------------------------------- */

static bool next_node(struct answer *a);

static void on_node(struct tree_read *r, int err)
{
    struct answer *a = r->arg;
    uint32_t i = a->next++, mask = 0;
    for (uint32_t k = 0; err == DYN_OK && k < TREE_FANOUT; k++)
        if (r->child[k].a != a->nodes.node[i].child[k])
            mask |= 1u << k;
    a->masks.differs[i] = (uint16_t)mask;
    on(a, next_node);
}

static bool next_node(struct answer *a)
{
    if (a->next == a->nodes.count) {
        a->masks.count = a->nodes.count;
        reply(a, DYN_OK);
        return false;
    }
    a->read.trees = a->e->trees;
    a->read.partition = a->nodes.partition;
    a->read.level = a->nodes.level;
    a->read.index = a->nodes.node[a->next].index;
    a->read.done = on_node;
    a->read.arg = a;
    trees_read(&a->read);
    return true;
}

/* ---- leaves ------------------------------------------------------------------------------ */

static bool next_leaf(struct answer *a);

/* Both sides are in order of slots. */
static void compare(struct answer *a)
{
    const struct tree_row_sum *theirs = a->leaves.rows + a->row;
    uint32_t n = a->leaves.n_rows[a->next], i = 0;
    for (uint32_t k = 0; k < a->own.n; k++) {
        const struct leaf_row *own = &a->own.rows[k];
        for (; i < n && theirs[i].slot < own->slot; i++)
            tree_leaves_page_unknown(&a->page, theirs[i].slot);
        bool known = i < n && theirs[i].slot == own->slot;
        bool equal = known && theirs[i].hash == own->hash.a;
        i += known;
        if (!equal && a->page.rows.len < TREE_LEAVES_REPLY_BYTES)
            tree_leaves_page_row(&a->page, own->kind, own->key, &own->object);
    }
    for (; i < n; i++)
        tree_leaves_page_unknown(&a->page, theirs[i].slot);
}

static void on_leaf(struct leaf_rows *l, int err)
{
    struct answer *a = l->arg;
    if (err == DYN_OK)
        compare(a);
    a->unreadable |= err != DYN_OK || l->unreadable > 0;
    a->row += a->leaves.n_rows[a->next++];
    leaf_rows_release(l);
    on(a, next_leaf);
}

static bool next_leaf(struct answer *a)
{
    if (a->next == a->leaves.count) {
        reply(a, a->unreadable ? DYN_ERR_CORRUPT : DYN_OK);
        return false;
    }
    a->own = (struct leaf_rows){.e = a->e,
                                .partition = a->leaves.partition,
                                .leaf = a->leaves.leaf[a->next],
                                .done = on_leaf,
                                .arg = a};
    leaf_rows_read(&a->own);
    return true;
}

/* ---- frames ------------------------------------------------------------------------------ */

static int open_nodes(struct answer *a, struct slice body)
{
    int err = tree_nodes_decode(body, &a->nodes);
    if (err == DYN_OK)
        err = check_scope(a, &a->nodes.scope, a->nodes.partition);
    return err;
}

static int open_leaves(struct answer *a, struct slice body)
{
    int err = tree_leaves_decode(body, &a->leaves);
    if (err == DYN_OK)
        err = check_scope(a, &a->leaves.scope, a->leaves.partition);
    return err;
}

void exchange_serve(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type,
                    struct slice body)
{
    struct answer *a = mem_new(struct answer);
    a->e = e;
    a->origin = origin;
    a->rid = rid;
    a->type = type;
    background_add(e, &a->background, abandon);
    bool (*step)(struct answer *) = next_leaf;
    int err;
    if (type == FRAME_TREE_ROOTS) {
        err = open_roots(a, body);
        step = next_root;
    } else if (type == FRAME_TREE_NODES) {
        err = open_nodes(a, body);
        step = next_node;
    } else {
        err = open_leaves(a, body);
    }
    if (err != DYN_OK)
        reply(a, err);
    else
        go(a, step);
}
