/* SPDX-License-Identifier: Apache-2.0 */
/* See bad_rows.h. One after the other, each in a slice of the scrub's:
 *
 *   WAITING (a message's life and a quarter) -> GATHER all others -> DELIVER the join to this node,
 *   with its values -> LEAF (leaf_mend.h) -> the next
 *   LEAF -> some row of it cannot be read -> WAITING, twice as long as before
 *
 * Whatever else fails ends it, and so does a write that could read the row since others were asked:
 * the row is noted again by whoever meets it. */
#include "engine/trees/bad_rows.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/delivery.h"
#include "engine/coordinate/gather.h"
#include "engine/slices.h"
#include "engine/trees/leaf_mend.h"

#define BAD_ROWS_MAX 256u
#define DOUBLED_MAX 8u

struct bad_row {
    struct list link;
    uint8_t *key;
    size_t key_len;
    uint64_t due_us;
    uint32_t again; /* replaced so often; its leaf is not right yet */
};

struct bad_rows {
    struct engine *e;
    struct list waiting; /* by due_us */
    uint32_t n;
    struct timer timer;
    struct slice_wait slice;
    struct bad_row *now; /* NULL: none is being mended */
    struct gather *gather;
    struct object object; /* what all others have */
    struct delivery delivery;
    bool delivering;
    struct leaf_mend leaf;
    bool at_leaf;
    bool readable; /* it was, since the others were asked */
};

static struct slice key_of(const struct bad_row *r)
{
    return slice_of(r->key, r->key_len);
}

static void row_free(struct bad_rows *b, struct bad_row *r)
{
    b->n--;
    free(r->key);
    free(r);
}

static void wait_for_next(struct bad_rows *b)
{
    struct list *first = list_first(&b->waiting);
    if (b->now != NULL || first == NULL)
        return;
    timer_set(b->e->ports.timers, &b->timer, container_of(first, struct bad_row, link)->due_us);
}

static void end(struct bad_rows *b)
{
    object_release(&b->object);
    row_free(b, b->now);
    b->now = NULL;
    wait_for_next(b);
}

static void wait_until_due(struct bad_rows *b, struct bad_row *r)
{
    uint64_t life = b->e->cfg.message_life_us + b->e->cfg.message_life_us / 4;
    r->due_us = engine_now(b->e) + (life << (r->again < DOUBLED_MAX ? r->again : DOUBLED_MAX));
    struct list *at = &b->waiting; /* where the first that is due later is, or the end */
    list_for_each_safe(l, tmp, &b->waiting)
    {
        if (at == &b->waiting && container_of(l, struct bad_row, link)->due_us > r->due_us)
            at = l;
    }
    list_insert_before(at, &r->link);
    wait_for_next(b);
}

static void on_leaf(struct leaf_mend *m)
{
    struct bad_rows *b = m->arg;
    bool right = m->right;
    leaf_mend_release(m);
    b->at_leaf = false;
    if (right) {
        end(b);
        return;
    }
    struct bad_row *r = b->now;
    object_release(&b->object);
    b->now = NULL;
    r->again++;
    wait_until_due(b, r);
}

/* What the bad row counted for is still in its leaf's sum. */
static void mend_leaf(struct bad_rows *b)
{
    struct slice key = key_of(b->now);
    struct trees *t = b->e->trees;
    b->leaf = (struct leaf_mend){.e = b->e,
                                 .partition = ring_partition_of(b->e->ring, key),
                                 .leaf = tree_leaf_of(trees_slot(t, ROW_OBJECT, key)),
                                 .done = on_leaf,
                                 .arg = b};
    b->at_leaf = true;
    leaf_mend_start(&b->leaf);
}

static void on_delivered(struct delivery *d, int err)
{
    struct bad_rows *b = d->arg;
    delivery_release(d);
    b->delivering = false;
    b->e->stats.bad_rows_mended += err == DYN_OK && b->now->again == 0;
    if (err == DYN_OK)
        mend_leaf(b);
    else
        end(b);
}

static void deliver(struct bad_rows *b, uint64_t born_us)
{
    struct engine *e = b->e;
    struct delivery *d = &b->delivery;
    struct slice key = key_of(b->now);
    *d = (struct delivery){.e = e,
                           .key = key,
                           .object = &b->object,
                           .born_us = born_us,
                           .node = e->cfg.node,
                           .roles = ROLE_OBJECT,
                           .owe_entry = true,
                           .mend = true,
                           .timeout_us = e->cfg.replica_timeout_us,
                           .done = on_delivered,
                           .arg = b};
    d->n_holders = ring_preference_list(e->ring, ring_partition_of(e->ring, key), ring_n(e->ring),
                                        d->holders, READ_QUORUM_NODES);
    b->delivering = true;
    delivery_start(d);
}

static void on_gathered(void *arg, const struct gather_result *result)
{
    struct bad_rows *b = arg;
    b->gather = NULL;
    if (result->status != DYN_OK || object_is_absent(result->object) || b->e->failed != DYN_OK) {
        end(b);
        return;
    }
    object_copy(&b->object, result->object);
    deliver(b, result->born_us);
}

/* How many others vote on it; 0: none, or this node is none of its replicas. */
static uint32_t others(const struct engine *e, struct slice key, uint32_t n)
{
    uint64_t nodes[READ_QUORUM_NODES];
    uint32_t p = ring_partition_of(e->ring, key), voters = ring_voters(e->ring, p, n);
    uint32_t known = ring_preference_list(e->ring, p, n, nodes, READ_QUORUM_NODES);
    for (uint32_t i = 0; i < known && i < voters; i++)
        if (nodes[i] == e->cfg.node)
            return voters - 1;
    return 0;
}

static void on_slice(struct slice_wait *w)
{
    struct bad_rows *b = w->arg;
    struct engine *e = b->e;
    const struct request_options options = {.sloppy = SLOPPY_NO};
    struct slice key = key_of(b->now);
    struct gather_params p = {.key = key, .values = VALUE_NONE, .done = on_gathered, .arg = b};
    int err = e->stopping || e->failed != DYN_OK ? DYN_ERR_STOPPED
                                                 : engine_quorum(e, &options, key, &p.quorum);
    b->readable = false;
    p.quorum.r = err == DYN_OK ? others(e, key, p.quorum.n) : 0;
    if (p.quorum.r == 0)
        end(b);
    else
        b->gather = gather_start(e, &p);
}

static void on_timer(struct timer *timer, void *arg)
{
    struct bad_rows *b = arg;
    struct list *first = list_first(&b->waiting);
    (void)timer;
    list_remove(first);
    b->now = container_of(first, struct bad_row, link);
    slices_ask(b->e->slices, &b->slice);
}

void bad_rows_readable(struct bad_rows *b, struct slice key)
{
    if (b->now != NULL && slice_equal(key_of(b->now), key))
        b->readable = true;
}

bool bad_rows_replaces(const struct bad_rows *b)
{
    return !b->readable;
}

static struct bad_row *find(const struct bad_rows *b, struct slice key)
{
    if (b->now != NULL && slice_equal(key_of(b->now), key))
        return b->now;
    list_for_each_safe(l, tmp, &b->waiting)
    {
        struct bad_row *r = container_of(l, struct bad_row, link);
        if (slice_equal(key_of(r), key))
            return r;
    }
    return NULL;
}

void bad_rows_note(struct bad_rows *b, struct slice key)
{
    struct engine *e = b->e;
    struct bad_row *r = find(b, key);
    if (r != NULL && r != b->now && r->again > 0) { /* not only its leaf is bad */
        r->again = 0;
        list_remove(&r->link);
        wait_until_due(b, r);
    }
    if (r != NULL || e->stopping || e->failed != DYN_OK || b->n == BAD_ROWS_MAX)
        return;
    r = mem_new(struct bad_row);
    r->key = mem_dup(key.data, key.len);
    r->key_len = key.len;
    b->n++;
    e->stats.bad_rows++;
    wait_until_due(b, r);
}

struct bad_rows *bad_rows_new(struct engine *e)
{
    struct bad_rows *b = mem_new(struct bad_rows);
    b->e = e;
    b->object = OBJECT_EMPTY;
    list_init(&b->waiting);
    timer_init(&b->timer, on_timer, b);
    slice_wait_init(&b->slice, WORK_SCRUB, on_slice, b);
    return b;
}

void bad_rows_free(struct bad_rows *b)
{
    if (b == NULL)
        return;
    timer_cancel(b->e->ports.timers, &b->timer);
    slices_forget(b->e->slices, &b->slice);
    if (b->gather != NULL)
        gather_forget(b->gather);
    if (b->delivering)
        delivery_release(&b->delivery);
    if (b->at_leaf)
        leaf_mend_release(&b->leaf);
    object_release(&b->object);
    if (b->now != NULL)
        row_free(b, b->now);
    list_for_each_safe(l, tmp, &b->waiting) row_free(b, container_of(l, struct bad_row, link));
    free(b);
}
