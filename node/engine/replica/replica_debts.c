/* SPDX-License-Identifier: Apache-2.0 */
/* What a write leaves to be done later, as rows in its own batch: so nothing that is stored here is
 * forgotten with whoever was about to bring it elsewhere (E16, E17, E12, E15). */
#include "engine/fragments/fragments.h"
#include "engine/reap/reap.h"
#include "engine/replica/collect.h"
#include "engine/replica/hints.h"
#include "engine/thin/thin.h"

static void batch_debt(struct replica_write *w, struct store_batch *b, enum debt_kind kind,
                       uint32_t partition, struct slice key)
{
    struct buf name = BUF_EMPTY, row = BUF_EMPTY;
    struct debt debt = {.since_ms = engine_wall_ms(w->e)};
    object_hash(&w->object, debt.state);
    debt_encode(&debt, &row);
    row_debt(kind, partition, key, &name);
    store_batch_put(b, STORE_HINT, buf_slice(&name), buf_slice(&row));
    buf_release(&name);
    buf_release(&row);
}

static void forget_dir_debt(struct store_batch *b, uint32_t partition, struct slice key)
{
    struct buf name = BUF_EMPTY;
    row_debt(DEBT_DIR, partition, key, &name);
    store_batch_delete(b, STORE_HINT, buf_slice(&name));
    buf_release(&name);
}

/* A directory that lives or dies is owed to the heads of its fragments as well, whatever its
 * coordinator knew of them. */
static bool owes_entry(const struct replica_write *w)
{
    bool heads = w->was_live != object_live(&w->object) && fragments_listed(w->e, w->key) > 1;
    return (w->roles & ROLE_OBJECT) && (w->owe_entry || (heads && w->key.len > 0)) &&
           w->e->cfg.bug != BUG_NO_ENTRY_OWED;
}

/* The directory above is owed to the entry; in a fragment other than 0 under its head's id. */
static void batch_parent_debt(struct replica_write *w, struct store_batch *b)
{
    struct buf head = BUF_EMPTY;
    if (w->fragment != 0)
        entry_head_id(w->fragment, w->dir, &head);
    batch_debt(w, b, DEBT_DIR, w->at_dir.partition, w->fragment != 0 ? buf_slice(&head) : w->dir);
    buf_release(&head);
}

void replica_batch_debts(struct replica_write *w, struct store_batch *b)
{
    if (owes_entry(w))
        batch_debt(w, b, DEBT_ENTRY, w->at.partition, w->key);
    if ((w->roles & ROLE_OBJECT) && w->changed && object_live(&w->object))
        collect_batch(w->e, b, w->at.partition, w->key);
    if ((w->roles & ROLE_OBJECT) && w->changed)
        reap_batch(b, w->at.partition, w->key, &w->object);
    if ((w->roles & ROLE_OBJECT) && w->changed)
        thin_batch(w, b);
    if (w->parent_dead)
        batch_parent_debt(w, b);
    if (w->orphans && entry_key_is_head(w->key))
        batch_debt(w, b, DEBT_DIR, w->at_dir.partition, w->id);
    else if (w->orphans)
        batch_debt(w, b, DEBT_DIR, w->at.partition, w->key);
    if ((w->roles & ROLE_OBJECT) && object_is_dir(&w->object) && !object_is_dir(&w->stored))
        forget_dir_debt(b, w->at.partition, w->key);
    if (entry_key_is_head(w->key) && object_is_dir(&w->entry))
        forget_dir_debt(b, w->at_dir.partition, w->id);
    if (w->hint_for != 0) {
        enum row_kind kind = w->roles & ROLE_OBJECT ? ROW_OBJECT : ROW_ENTRY;
        uint32_t partition = kind == ROW_OBJECT ? w->at.partition : w->at_dir.partition;
        w->hint_bytes =
            hints_batch(w->e->hints, b, w->hint_for, partition, kind,
                        kind == ROW_OBJECT ? w->key : w->id, &w->object, w->hint_since_ms);
    }
}
