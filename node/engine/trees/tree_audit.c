/* SPDX-License-Identifier: Apache-2.0 */
/* See tree_audit.h. The sums are made in memory (1 MiB at most, for one partition at a time) while
 * writes go on: what changes before the cursor changes the sum as well, what changes behind it
 * will be met. At the end both sums stand for the same rows, so whatever differs is wrong by
 * exactly the difference, which goes into the leaf as one more merge; no write has to wait. */
#include "engine/trees/tree_audit.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/trees/tree_private.h"

#define LEAVES_A_SCAN 1024

struct tree_audit {
    struct trees *t;
    uint32_t partition;
    struct tree_hash *sum[TREE_INNER]; /* of the walk so far, 256 leaves each; NULL: nothing */
    struct leaf_part {
        uint32_t leaf;
        struct tree_hash hash;
    } * slice; /* what this slice adds */
    uint32_t n_slice, cap_slice;
    struct buf cursor, next; /* rows before the cursor are in the sum; ... */
    bool whole;              /* ... all are, those behind it, too, if any come now */
    bool touched;
    uint32_t *unknown; /* leaves that have a row that cannot be read */
    uint32_t n_unknown, cap_unknown;
    /* finishing */
    uint32_t at, wrong, wrong_before; /* before: of earlier scans */
    struct buf prefix, from;
    struct store_scan scan;
    struct store_batch batch;
    void (*done)(void *arg, int err, uint32_t wrong);
    void *arg;
};

struct tree_audit *tree_audit_new(struct trees *t, uint32_t partition)
{
    struct tree_audit *a = mem_new(struct tree_audit);
    a->t = t;
    a->partition = partition;
    a->batch = STORE_BATCH_EMPTY;
    t->audit = a;
    t->audited = partition;
    return a;
}

void tree_audit_free(struct tree_audit *a)
{
    if (a == NULL)
        return;
    a->t->audit = NULL;
    for (uint32_t i = 0; i < TREE_INNER; i++)
        free(a->sum[i]);
    free(a->slice);
    free(a->unknown);
    buf_release(&a->cursor);
    buf_release(&a->next);
    buf_release(&a->prefix);
    buf_release(&a->from);
    store_batch_release(&a->batch);
    free(a);
}

/* ---- the walk ---------------------------------------------------------------------------- */

static void add(struct tree_audit *a, uint32_t leaf, const struct tree_hash *h)
{
    struct tree_hash **block = &a->sum[leaf >> 8];
    if (*block == NULL)
        *block = mem_zalloc((TREE_LEAVES / TREE_INNER) * sizeof(**block));
    tree_hash_add(&(*block)[leaf & 255], h);
}

static struct tree_hash sum_of(const struct tree_audit *a, uint32_t leaf)
{
    const struct tree_hash *block = a->sum[leaf >> 8];
    return block == NULL ? (struct tree_hash){0, 0} : block[leaf & 255];
}

void tree_audit_slice(struct tree_audit *a)
{
    a->touched = false;
    a->n_slice = 0;
    buf_clear(&a->next);
    buf_put_slice(&a->next, buf_slice(&a->cursor));
}

void tree_audit_row(struct tree_audit *a, struct slice row, enum row_kind kind, struct slice key,
                    struct tree_hash hash)
{
    uint32_t leaf = tree_leaf_of(trees_slot(a->t, kind, key));
    if (a->n_slice == a->cap_slice) {
        a->cap_slice = a->cap_slice == 0 ? 64 : a->cap_slice * 2;
        a->slice = mem_reallocarray(a->slice, a->cap_slice, sizeof(*a->slice));
    }
    a->slice[a->n_slice++] = (struct leaf_part){leaf, hash};
    buf_clear(&a->next);
    buf_put_slice(&a->next, row);
    buf_put_u8(&a->next, 0);
}

static bool is_unknown(const struct tree_audit *a, uint32_t leaf)
{
    for (uint32_t i = 0; i < a->n_unknown; i++)
        if (a->unknown[i] == leaf)
            return true;
    return false;
}

void tree_audit_unreadable(struct tree_audit *a, struct slice row, enum row_kind kind,
                           struct slice key)
{
    uint32_t leaf = tree_leaf_of(trees_slot(a->t, kind, key));
    tree_audit_row(a, row, kind, key, (struct tree_hash){0, 0});
    if (is_unknown(a, leaf))
        return;
    if (a->n_unknown == a->cap_unknown) {
        a->cap_unknown = a->cap_unknown == 0 ? 16 : a->cap_unknown * 2;
        a->unknown = mem_reallocarray(a->unknown, a->cap_unknown, sizeof(*a->unknown));
    }
    a->unknown[a->n_unknown++] = leaf;
}

bool tree_audit_slice_end(struct tree_audit *a, bool more)
{
    if (a->touched)
        return false;
    for (uint32_t i = 0; i < a->n_slice; i++)
        add(a, a->slice[i].leaf, &a->slice[i].hash);
    a->n_slice = 0;
    buf_clear(&a->cursor);
    buf_put_slice(&a->cursor, buf_slice(&a->next));
    a->whole = !more;
    return true;
}

bool tree_audit_touched(const struct tree_audit *a)
{
    return a->touched;
}

struct slice tree_audit_cursor(const struct tree_audit *a)
{
    return buf_slice(&a->cursor);
}

void tree_audit_change(struct tree_audit *a, struct slice row, uint32_t leaf,
                       const struct tree_hash *delta)
{
    if (a->whole || slice_compare(row, buf_slice(&a->cursor)) < 0)
        add(a, leaf, delta);
    a->touched = true;
}

/* ---- the comparison ---------------------------------------------------------------------- */

static void compare_leaf(struct tree_audit *a, uint32_t leaf, struct tree_hash stored)
{
    struct tree_hash sum = sum_of(a, leaf);
    tree_hash_add(&stored, &sum);
    if (tree_hash_none(&stored) || is_unknown(a, leaf))
        return;
    trees_mend(a->t, &a->batch, a->partition, leaf, &stored);
    a->wrong++;
}

/* Leaves for which there is no row: mostly there should be none. */
static void compare_absent(struct tree_audit *a, uint32_t up_to)
{
    for (; a->at < up_to; a->at++) {
        if (a->sum[a->at >> 8] == NULL)
            a->at |= 255; /* the whole block */
        else
            compare_leaf(a, a->at, (struct tree_hash){0, 0});
    }
    a->at = up_to;
}

static bool on_leaf(struct store_scan *req, struct slice row, struct slice value)
{
    struct tree_audit *a = req->arg;
    struct tree_hash stored;
    uint32_t leaf;
    if (!trees_leaf_sum(row, value, &leaf, &stored) || leaf < a->at)
        return true;
    compare_absent(a, leaf);
    compare_leaf(a, leaf, stored);
    a->at = leaf + 1;
    return true;
}

static void next_leaves(struct tree_audit *a);

static void finish(struct tree_audit *a, int err)
{
    void (*done)(void *arg, int err, uint32_t wrong) = a->done;
    void *arg = a->arg;
    uint32_t wrong = a->wrong;
    tree_audit_free(a);
    done(arg, err, wrong);
}

static int hand_over(struct tree_audit *a)
{
    struct engine *e = a->t->e;
    int err = DYN_OK;
    if (a->batch.count > 0)
        err = e->failed != DYN_OK
                  ? DYN_ERR_STOPPED
                  : e->ports.store.write(e->ports.store.ctx, &a->batch, STORE_BUFFERED, NULL);
    trees_handed(a->t, err == DYN_OK);
    store_batch_release(&a->batch);
    a->batch = STORE_BATCH_EMPTY;
    return err;
}

static void on_leaves(struct store_scan *req, int err, bool more)
{
    struct tree_audit *a = req->arg;
    uint32_t from = a->from.len > 0 ? (uint32_t)a->from.data[a->from.len - 2] << 8 |
                                          a->from.data[a->from.len - 1]
                                    : 0;
    if (err == DYN_OK && a->touched) { /* which of the changes has the scan seen? */
        trees_handed(a->t, false);
        store_batch_release(&a->batch);
        a->batch = STORE_BATCH_EMPTY;
        a->wrong = a->wrong_before;
        a->at = from;
        next_leaves(a);
        return;
    }
    if (err == DYN_OK && !more)
        compare_absent(a, TREE_LEAVES);
    if (err == DYN_OK)
        err = hand_over(a);
    if (err != DYN_OK || !more)
        finish(a, err);
    else
        next_leaves(a);
}

static void next_leaves(struct tree_audit *a)
{
    struct engine *e = a->t->e;
    a->touched = false;
    a->wrong_before = a->wrong;
    buf_clear(&a->from);
    trees_sum_row(a->t, a->partition, a->at, &a->from);
    a->scan = (struct store_scan){.family = STORE_TREE,
                                  .prefix = buf_slice(&a->prefix),
                                  .from = buf_slice(&a->from),
                                  .max_rows = LEAVES_A_SCAN,
                                  .max_bytes = UINT64_MAX,
                                  .row = on_leaf,
                                  .done = on_leaves,
                                  .arg = a};
    e->ports.store.scan(e->ports.store.ctx, &a->scan);
}

void tree_audit_finish(struct tree_audit *a, void (*done)(void *arg, int err, uint32_t wrong),
                       void *arg)
{
    a->done = done;
    a->arg = arg;
    assert(a->whole);
    trees_sum_prefix(a->t, a->partition, &a->prefix);
    next_leaves(a);
}
