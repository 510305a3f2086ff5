/* SPDX-License-Identifier: Apache-2.0 */
/* See descent.h. Nodes still to be looked at are a stack; each step takes some of one level from
 * its top, so the stack stays small while many differ:
 *
 *   SLICE (wait for leave to go on)
 *     -> READ_NODES (own children of some nodes) -> ASK_NODES (which differ there?) -> push those
 *     -> READ_LEAVES (own rows of some leaves) -> ASK_LEAVES (which are others there?)
 *          -> REPAIR (a few rows at a time)
 *     and back to SLICE, until the stack is empty
 *
 * A difference of k rows among n so costs k paths of four levels, whatever n is, and k leaves of
 * n/65,536 rows, at 16 bytes each; what the k paths share is asked for once. */
#include "engine/trees/descent.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/repair.h"
#include "engine/slices.h"
#include "engine/trees/exchange_wire.h"
#include "engine/trees/leaf_rows.h"
#include "model/wire.h"

#define IN_FLIGHT 8
#define ASK_ROWS_MAX 2048 /* of own rows in one question, beyond the first leaf */

enum stage { SLICE = 1, READ_NODES, ASK_NODES, READ_LEAVES, ASK_LEAVES, REPAIR };

struct spot {
    uint8_t level; /* TREE_LEVELS: a leaf */
    uint16_t index;
};

struct descent {
    struct background background; /* first */
    struct engine *e;
    struct descent_params p;
    struct descent_result result;
    enum stage stage;
    struct slice_wait slice;
    struct rpc_call call;
    struct spot *stack;
    uint32_t depth, cap;
    /* the nodes, or the leaves, of this step */
    uint32_t level, n, next;
    bool inside, again;
    struct tree_nodes nodes;
    struct tree_read read;
    struct leaf_rows leaves[TREE_LEAVES_MAX];
    /* the rows to repair, in this node's memory */
    struct tree_leaves_reply reply;
    struct buf body; /* what the reply borrows from */
    uint64_t asked_us;
    uint32_t next_row, next_unknown, n_active;
    struct repair repairs[IN_FLIGHT];
    bool busy[IN_FLIGHT], filling;
    int err;
};

static void look(struct descent *d);

/* ---- life -------------------------------------------------------------------------------- */

static void release_step(struct descent *d)
{
    for (uint32_t i = 0; i < TREE_LEAVES_MAX; i++)
        leaf_rows_release(&d->leaves[i]);
    for (uint32_t i = 0; i < IN_FLIGHT; i++) {
        if (d->busy[i])
            repair_release(&d->repairs[i]);
        d->busy[i] = false;
    }
    tree_leaves_reply_release(&d->reply);
    buf_release(&d->body);
}

static void descent_free(struct descent *d)
{
    background_end(d->e, &d->background);
    slices_forget(d->e->slices, &d->slice);
    rpc_cancel(d->e->rpc, &d->call);
    trees_read_release(&d->read);
    release_step(d);
    free(d->stack);
    free(d);
}

static void abandon(struct background *b)
{
    descent_free(container_of(b, struct descent, background));
}

void descent_forget(struct descent *d)
{
    descent_free(d);
}

static void end(struct descent *d, int err)
{
    struct descent_params p = d->p;
    struct descent_result result = d->result;
    descent_free(d);
    p.done(p.arg, err, &result);
}

static void push(struct descent *d, uint32_t level, uint32_t index)
{
    if (d->depth == d->cap) {
        d->cap = d->cap == 0 ? 64 : d->cap * 2;
        d->stack = mem_reallocarray(d->stack, d->cap, sizeof(*d->stack));
    }
    d->stack[d->depth++] = (struct spot){(uint8_t)level, (uint16_t)index};
}

/* Runs `step` until it waits; a callback that comes inside the call only asks for another round. */
static void go(struct descent *d, bool (*step)(struct descent *d))
{
    if (d->inside) {
        d->again = true;
        return;
    }
    bool more = true;
    d->inside = true;
    do {
        d->again = false;
        more = step(d);
    } while (more && d->again);
    if (more)
        d->inside = false;
}

static void next_slice(struct descent *d)
{
    release_step(d);
    d->stage = SLICE;
    slices_ask(d->e->slices, &d->slice);
}

static void on_slice(struct slice_wait *w)
{
    struct descent *d = w->arg;
    if (d->e->stopping || d->e->failed != DYN_OK)
        end(d, DYN_ERR_STOPPED);
    else if (d->depth == 0)
        end(d, d->err);
    else
        look(d);
}

static struct tree_scope scope(const struct descent *d)
{
    const struct engine *e = d->e;
    return (struct tree_scope){.ring = *ring_epoch(e->ring),
                               .fence = ring_fence(e->ring, d->p.partition),
                               .n = ring_n(e->ring)};
}

static void ask(struct descent *d, uint8_t type, struct buf *body,
                void (*done)(struct rpc_call *call, int err, struct slice body))
{
    descent_count_bytes(d->e, body->len);
    d->call = (struct rpc_call){.done = done, .arg = d};
    rpc_start(d->e->rpc, &d->call, d->p.node, type, body, d->e->cfg.request_timeout_us);
}

/* ---- nodes ------------------------------------------------------------------------------- */

static void on_nodes_reply(struct rpc_call *call, int err, struct slice body)
{
    struct descent *d = call->arg;
    struct tree_nodes_reply r;
    descent_count_bytes(d->e, body.len);
    if (err == DYN_OK)
        err = tree_nodes_reply_decode(body, &r);
    if (err == DYN_OK)
        err = r.status;
    if (err == DYN_OK && r.count != d->n)
        err = DYN_ERR_PROTOCOL;
    if (err != DYN_OK) {
        end(d, err);
        return;
    }
    for (uint32_t i = d->n; i-- > 0;)
        for (uint32_t k = TREE_FANOUT; k-- > 0;)
            if (r.differs[i] & 1u << k)
                push(d, d->level + 1, d->nodes.node[i].index * TREE_FANOUT + k);
    next_slice(d);
}

static bool read_node(struct descent *d);

static void on_node(struct tree_read *r, int err)
{
    struct descent *d = r->arg;
    if (err != DYN_OK)
        d->err = err;
    for (uint32_t k = 0; k < TREE_FANOUT; k++)
        d->nodes.node[d->next].child[k] = r->child[k].a;
    d->next++;
    go(d, read_node);
}

static bool read_node(struct descent *d)
{
    if (d->next == d->n) {
        struct buf body = BUF_EMPTY;
        tree_nodes_encode(&d->nodes, &body);
        d->stage = ASK_NODES;
        d->inside = false;
        ask(d, FRAME_TREE_NODES, &body, on_nodes_reply);
        return false;
    }
    d->read.trees = d->e->trees;
    d->read.partition = d->p.partition;
    d->read.level = d->level;
    d->read.index = d->nodes.node[d->next].index;
    d->read.done = on_node;
    d->read.arg = d;
    trees_read(&d->read);
    return true;
}

/* ---- repair ------------------------------------------------------------------------------ */

static void fill(struct descent *d);

static void on_repaired(struct repair *r, int err)
{
    struct descent *d = r->arg;
    uint32_t i = (uint32_t)(r - d->repairs);
    if (err == DYN_OK && r->skipped)
        d->result.skipped++;
    else if (err == DYN_OK && r->changed)
        d->result.repaired++;
    else if (err != DYN_OK && r->sending)
        d->result.unsent++;
    else if (err != DYN_OK)
        d->result.failed++;
    d->e->stats.exchange_repaired += err == DYN_OK && r->changed;
    repair_release(r);
    d->busy[i] = false;
    d->n_active--;
    if (!d->filling)
        fill(d);
}

static const struct leaf_row *find_own(const struct descent *d, uint64_t slot)
{
    for (uint32_t i = 0; i < d->n; i++)
        if (d->leaves[i].leaf == tree_leaf_of(slot))
            return leaf_rows_find(&d->leaves[i], slot);
    return NULL;
}

/* The next row that differs; false when there is none. */
static bool next_difference(struct descent *d, struct repair *r)
{
    *r = (struct repair){.e = d->e,
                         .node = d->p.node,
                         .born_us = d->asked_us,
                         .young_too = d->p.young_too,
                         .done = on_repaired,
                         .arg = d};
    if (d->next_row < d->reply.count) {
        struct tree_difference *t = &d->reply.rows[d->next_row++];
        r->kind = t->kind;
        r->key = t->key;
        r->theirs = t->object;
        t->object = OBJECT_EMPTY;
        return true;
    }
    while (d->next_unknown < d->reply.n_unknown) {
        const struct leaf_row *own = find_own(d, d->reply.unknown[d->next_unknown++]);
        if (own == NULL)
            continue; /* not one of those that were sent */
        r->kind = own->kind;
        r->key = own->key;
        return true;
    }
    return false;
}

static void fill(struct descent *d)
{
    bool more = true;
    d->filling = true;
    for (uint32_t i = 0; i < IN_FLIGHT && more; i++) {
        while (!d->busy[i] && more) {
            more = next_difference(d, &d->repairs[i]);
            if (!more)
                break;
            d->busy[i] = true;
            d->n_active++;
            d->result.differing++;
            d->e->stats.exchange_differing++;
            repair_start(&d->repairs[i]);
        }
    }
    d->filling = false;
    if (d->n_active == 0)
        next_slice(d);
}

/* ---- leaves ------------------------------------------------------------------------------ */

static void explain(const struct descent *d, uint64_t slot, bool *explained)
{
    for (uint32_t i = 0; i < d->n; i++)
        explained[i] |= d->leaves[i].leaf == tree_leaf_of(slot);
}

static void count_unexplained(struct descent *d)
{
    bool explained[TREE_LEAVES_MAX] = {false};
    for (uint32_t i = 0; i < d->reply.count; i++)
        explain(d, trees_slot(d->e->trees, d->reply.rows[i].kind, d->reply.rows[i].key), explained);
    for (uint32_t i = 0; i < d->reply.n_unknown; i++)
        explain(d, d->reply.unknown[i], explained);
    for (uint32_t i = 0; i < d->n; i++)
        d->result.unexplained += !explained[i] || d->leaves[i].unreadable > 0;
}

static void on_leaves_reply(struct rpc_call *call, int err, struct slice body)
{
    struct descent *d = call->arg;
    descent_count_bytes(d->e, body.len);
    buf_clear(&d->body);
    buf_put_slice(&d->body, body);
    if (err == DYN_OK)
        err = tree_leaves_reply_decode(buf_slice(&d->body), &d->reply);
    if (err == DYN_OK && d->reply.status != DYN_ERR_CORRUPT)
        err = d->reply.status;
    if (err != DYN_OK) {
        end(d, err);
        return;
    }
    d->result.unexplained += d->reply.status == DYN_ERR_CORRUPT;
    d->result.cut |= body.len >= TREE_LEAVES_REPLY_BYTES;
    count_unexplained(d);
    d->stage = REPAIR;
    d->next_row = d->next_unknown = 0;
    fill(d);
}

static void ask_leaves(struct descent *d)
{
    struct tree_leaves m = {.scope = scope(d), .partition = d->p.partition, .count = d->n};
    struct buf body = BUF_EMPTY;
    uint32_t total = 0;
    for (uint32_t i = 0; i < d->n; i++)
        total += d->leaves[i].n;
    m.rows = mem_reallocarray(NULL, total + 1, sizeof(*m.rows));
    total = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        const struct leaf_rows *l = &d->leaves[i];
        m.leaf[i] = l->leaf;
        m.n_rows[i] = l->n;
        for (uint32_t k = 0; k < l->n; k++)
            m.rows[total++] = (struct tree_row_sum){l->rows[k].slot, l->rows[k].hash.a};
    }
    tree_leaves_encode(&m, &body);
    tree_leaves_release(&m);
    d->stage = ASK_LEAVES;
    d->asked_us = engine_now(d->e);
    ask(d, FRAME_TREE_LEAVES, &body, on_leaves_reply);
}

static bool read_leaf(struct descent *d);

static void on_leaf(struct leaf_rows *l, int err)
{
    struct descent *d = l->arg;
    if (err != DYN_OK)
        d->err = err;
    d->next++;
    go(d, read_leaf);
}

static bool read_leaf(struct descent *d)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < d->next; i++)
        rows += d->leaves[i].n;
    if (d->next > 0 && rows > ASK_ROWS_MAX) { /* the others wait */
        for (uint32_t i = d->n; i-- > d->next;)
            push(d, TREE_LEVELS, d->leaves[i].leaf);
        d->n = d->next;
    }
    if (d->next == d->n) {
        d->inside = false;
        ask_leaves(d);
        return false;
    }
    leaf_rows_read(&d->leaves[d->next]);
    return true;
}

/* ---- steps ------------------------------------------------------------------------------- */

static void take_nodes(struct descent *d)
{
    d->nodes.scope = scope(d);
    d->nodes.partition = d->p.partition;
    d->nodes.level = d->level;
    while (d->depth > 0 && d->n < TREE_NODES_MAX && d->stack[d->depth - 1].level == d->level)
        d->nodes.node[d->n++].index = d->stack[--d->depth].index;
    d->nodes.count = d->n;
    d->stage = READ_NODES;
    go(d, read_node);
}

static void take_leaves(struct descent *d)
{
    while (d->depth > 0 && d->n < TREE_LEAVES_MAX && d->stack[d->depth - 1].level == TREE_LEVELS)
        d->leaves[d->n++] = (struct leaf_rows){.e = d->e,
                                               .partition = d->p.partition,
                                               .leaf = d->stack[--d->depth].index,
                                               .done = on_leaf,
                                               .arg = d};
    d->stage = READ_LEAVES;
    go(d, read_leaf);
}

static void look(struct descent *d)
{
    d->level = d->stack[d->depth - 1].level;
    d->n = d->next = 0;
    if (d->level < TREE_LEVELS)
        take_nodes(d);
    else
        take_leaves(d);
}

struct descent *descent_start(struct engine *e, const struct descent_params *p)
{
    struct descent *d = mem_new(struct descent);
    d->e = e;
    d->p = *p;
    background_add(e, &d->background, abandon);
    slice_wait_init(&d->slice, WORK_EXCHANGE, on_slice, d);
    push(d, 0, 0);
    next_slice(d);
    return d;
}

void descent_count_bytes(struct engine *e, size_t bytes)
{
    e->stats.exchange_bytes += bytes;
}
