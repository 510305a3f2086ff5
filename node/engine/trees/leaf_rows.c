/* SPDX-License-Identifier: Apache-2.0 */
/* See leaf_rows.h. The index of the leaf says which rows there are, then each is read. No lock:
 * what is compared may be old by the time that it is acted upon, and all acting merges. */
#include "engine/trees/leaf_rows.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"

#define ROWS_MAX 4096 /* a partition of 10^8 rows has 1,500 a leaf */

static void next_row(struct leaf_rows *l);

static void keep(struct leaf_rows *l, const struct leaf_row *r)
{
    l->rows[l->kept++] = *r;
}

static void drop(struct leaf_row *r)
{
    free((void *)(uintptr_t)r->key.data);
    object_release(&r->object);
}

static void on_row(struct store_get *req, int err, struct slice value)
{
    struct leaf_rows *l = req->arg;
    struct leaf_row r = l->rows[l->next++];
    struct row_state state = ROW_STATE_NONE;
    if (err == DYN_OK && row_decode(value, &state, &r.object) == DYN_OK) {
        r.hash = trees_hash(l->e->trees, r.kind, r.key, &r.object, &state);
        keep(l, &r);
    } else {
        l->unreadable++;
        drop(&r);
    }
    row_state_release(&state);
    next_row(l);
}

static void next_row(struct leaf_rows *l)
{
    if (l->next == l->n) {
        l->n = l->next = l->kept;
        l->done(l, DYN_OK);
        return;
    }
    const struct leaf_row *r = &l->rows[l->next];
    buf_clear(&l->row);
    struct place at = place_of_row(l->e->ring, r->kind, r->key);
    row_of_id(&at, r->kind, r->key, &l->row);
    l->get = (struct store_get){
        .family = STORE_META, .key = buf_slice(&l->row), .done = on_row, .arg = l};
    l->e->ports.store.get(l->e->ports.store.ctx, &l->get);
}

static bool on_index(struct store_scan *req, struct slice row, struct slice value)
{
    struct leaf_rows *l = req->arg;
    struct leaf_row r = {.object = OBJECT_EMPTY};
    (void)value;
    if (trees_leaf_row(row, &r.slot, &r.kind, &r.key) != DYN_OK)
        return true;
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 16 : l->cap * 2;
        l->rows = mem_reallocarray(l->rows, l->cap, sizeof(*l->rows));
    }
    r.key = slice_of(mem_dup(r.key.data, r.key.len), r.key.len);
    l->rows[l->n++] = r;
    return true;
}

static void on_indexed(struct store_scan *req, int err, bool more)
{
    struct leaf_rows *l = req->arg;
    (void)more;
    if (err != DYN_OK)
        l->done(l, err);
    else
        next_row(l);
}

void leaf_rows_read(struct leaf_rows *l)
{
    l->n = l->next = l->kept = l->unreadable = 0;
    buf_clear(&l->prefix);
    trees_leaf_prefix(l->e->trees, l->partition, l->leaf, &l->prefix);
    l->scan = (struct store_scan){.family = STORE_TREE,
                                  .prefix = buf_slice(&l->prefix),
                                  .max_rows = ROWS_MAX,
                                  .max_bytes = UINT64_MAX,
                                  .row = on_index,
                                  .done = on_indexed,
                                  .arg = l};
    l->e->ports.store.scan(l->e->ports.store.ctx, &l->scan);
}

void leaf_rows_release(struct leaf_rows *l)
{
    for (uint32_t i = 0; i < l->kept; i++)
        drop(&l->rows[i]);
    for (uint32_t i = l->next > l->kept ? l->next : l->kept; i < l->n; i++)
        drop(&l->rows[i]); /* not read yet: the engine is taken down */
    free(l->rows);
    l->rows = NULL;
    l->n = l->cap = l->next = l->kept = 0;
    buf_release(&l->prefix);
    buf_release(&l->row);
}

const struct leaf_row *leaf_rows_find(const struct leaf_rows *l, uint64_t slot)
{
    uint32_t low = 0, high = l->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (l->rows[mid].slot < slot)
            low = mid + 1;
        else
            high = mid;
    }
    return low < l->n && l->rows[low].slot == slot ? &l->rows[low] : NULL;
}
