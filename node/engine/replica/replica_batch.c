/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of one write, put together once all that they depend on has been read: the object with
 * its values, its entry, and what the directory's own row counts, each with what trees make of it
 * (E19). All go into one batch, so no crash can part them. */
#include "engine/fragments/entry_place.h"
#include "engine/replica/replica.h"

bool replica_liveness_changed(const struct replica_write *w)
{
    return (w->roles & ROLE_ENTRY) && w->entry_live_changed && !entry_key_is_head(w->key);
}

static void batch_object(struct replica_write *w, struct store_batch *b)
{
    struct buf key = BUF_EMPTY, row = BUF_EMPTY;
    kept_batch(w, b);
    row_object(&w->at, w->key, &key);
    row_encode(&w->after, &w->object, &row);
    store_batch_put(b, STORE_META, buf_slice(&key), buf_slice(&row));
    if (w->replaces)
        trees_replace(w->e->trees, b, ROW_OBJECT, &w->at, w->key);
    else
        trees_change(w->e->trees, b, ROW_OBJECT, &w->at, w->key,
                     trees_hash(w->e->trees, ROW_OBJECT, w->key, &w->stored, &w->state),
                     trees_hash(w->e->trees, ROW_OBJECT, w->key, &w->object, &w->after));
    for (uint32_t i = 0; i < w->object.n; i++) {
        const struct sibling *s = &w->object.siblings[i];
        if (s->size == 0 || s->value == NULL || replica_holds_value(w, &s->value_dot))
            continue;
        buf_clear(&key);
        row_value(&w->at, w->key, &s->value_dot, &key);
        store_batch_put(b, STORE_VALUE, buf_slice(&key), slice_of(s->value->data, s->value->len));
    }
    for (uint32_t i = 0; i < w->stored.n; i++) {
        const struct sibling *s = &w->stored.siblings[i];
        bool stays = object_find_value(&w->object, &s->value_dot) != NULL &&
                     !row_state_lacks(&w->after, &s->value_dot);
        if (s->size == 0 || stays || kept_value(w, &s->value_dot))
            continue;
        buf_clear(&key);
        row_value(&w->at, w->key, &s->value_dot, &key);
        store_batch_delete(b, STORE_VALUE, buf_slice(&key));
    }
    buf_release(&key);
    buf_release(&row);
}

static void batch_entry(struct replica_write *w, struct store_batch *b)
{
    struct buf key = BUF_EMPTY, row = BUF_EMPTY;
    row_of_id(&w->at_dir, ROW_ENTRY, w->id, &key);
    object_row_encode((struct epoch){0, 0}, &w->entry, &row);
    if (object_is_absent(&w->entry))
        store_batch_delete(b, STORE_META, buf_slice(&key));
    else
        store_batch_put(b, STORE_META, buf_slice(&key), buf_slice(&row));
    trees_change(w->e->trees, b, ROW_ENTRY, &w->at_dir, w->id, w->entry_was,
                 trees_hash(w->e->trees, ROW_ENTRY, w->id, &w->entry, NULL));
    if (replica_liveness_changed(w)) {
        uint64_t newest = w->dirstat;
        for (uint32_t i = 0; i < w->entry.n; i++)
            if (w->entry.siblings[i].time_ns > newest)
                newest = w->entry.siblings[i].time_ns;
        buf_clear(&key);
        buf_clear(&row);
        row_dirstat(&w->at_dir, w->dir, &key);
        if (object_live(&w->entry))
            w->live_here++;
        else if (w->live_here > 0)
            w->live_here--;
        buf_put_u64(&row, newest);
        buf_put_u64(&row, w->live_here);
        store_batch_put(b, STORE_META, buf_slice(&key), buf_slice(&row));
    }
    buf_release(&key);
    buf_release(&row);
}

void replica_batch_rows(struct replica_write *w, struct store_batch *b)
{
    if (w->roles & ROLE_OBJECT)
        batch_object(w, b);
    if (w->roles & ROLE_ENTRY)
        batch_entry(w, b);
}
