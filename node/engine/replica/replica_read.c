/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a node's own copy. Meta first, then the values asked for; the key's lock is held over
 * both, so a value cannot be superseded and deleted in between. When everything is in memory all of
 * this happens inside replica_read_start. */
#include "engine/replica/replica.h"

#include <assert.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"
#include "engine/fragments/fragments.h"
#include "engine/trees/bad_rows.h"

static void next_value(struct replica_read *r);

static void finish(struct replica_read *r, int err)
{
    keylock_release(r->e->locks, &r->lock);
    r->done(r, err);
}

static void get_row(struct replica_read *r, enum store_family family,
                    void (*done)(struct store_get *req, int err, struct slice value))
{
    r->get =
        (struct store_get){.family = family, .key = buf_slice(&r->row), .done = done, .arg = r};
    r->e->ports.store.get(r->e->ports.store.ctx, &r->get);
}

static bool on_child(struct store_scan *req, struct slice key, struct slice value)
{
    struct replica_read *r = req->arg;
    struct slice name = slice_of(key.data + r->row.len, key.len - r->row.len);
    if (name.len == 0 ||
        fragments_stray(r->e, r->entry ? key_parent(r->entry_key) : r->key, name, r->fragment))
        return true; /* see replica_write.c */
    struct object child = OBJECT_EMPTY;
    struct epoch none;
    if (object_row_decode(value, &none, &child) == DYN_OK && object_live(&child))
        r->implicit_dir = true;
    object_release(&child);
    return !r->implicit_dir;
}

static void on_children(struct store_scan *req, int err, bool more)
{
    (void)more;
    finish(req->arg, err);
}

/* A dead or absent key under which something lives is a directory all the same (E16). Whoever asks
 * for orphans settles what is owed, and looks at all there is. */
static void look_for_children(struct replica_read *r)
{
    keylock_release(r->e->locks, &r->lock); /* the row and its values have been read */
    buf_clear(&r->row);
    if (r->entry)
        row_fragment_prefix(&r->at, key_parent(r->entry_key), r->fragment, &r->row);
    else
        row_entry_prefix(&r->at, r->key, &r->row);
    r->scan = (struct store_scan){.family = STORE_META,
                                  .prefix = buf_slice(&r->row),
                                  .max_rows = r->orphans ? UINT32_MAX : CHILDREN_ROWS_MAX,
                                  .max_bytes = r->orphans ? UINT64_MAX : CHILDREN_BYTES_MAX,
                                  .row = on_child,
                                  .done = on_children,
                                  .arg = r};
    r->e->ports.store.scan(r->e->ports.store.ctx, &r->scan);
}

static bool has_directory(const struct replica_read *r)
{
    return object_is_dir(&r->object) || (r->key.len == 0 && !r->entry);
}

/* Something may lie under it and has no directory to lie in. */
static bool may_be_implicit(const struct replica_read *r)
{
    return !has_directory(r) && (r->orphans || !object_live(&r->object));
}

static void on_dirstat(struct store_get *req, int err, struct slice value)
{
    struct replica_read *r = req->arg;
    if (err != DYN_OK) { /* without this row nothing ever lay under the key */
        finish(r, err == DYN_ERR_NOT_FOUND ? DYN_OK : err);
        return;
    }
    struct reader in = reader_of(value);
    r->dir_mtime_ns = (int64_t)read_u64(&in);
    if (reader_left(&in) > 0)
        read_u64(&in); /* how many live here */
    if (!reader_done(&in))
        finish(r, DYN_ERR_CORRUPT);
    else if (may_be_implicit(r))
        look_for_children(r);
    else
        finish(r, DYN_OK);
}

static void after_values(struct replica_read *r)
{
    if (r->entry && r->dir_info && entry_key_is_head(r->entry_key) && may_be_implicit(r)) {
        look_for_children(r);
        return;
    }
    if (!r->dir_info || r->entry || !(has_directory(r) || may_be_implicit(r))) {
        finish(r, DYN_OK);
        return;
    }
    buf_clear(&r->row);
    row_dirstat(&r->at, r->key, &r->row);
    get_row(r, STORE_META, on_dirstat);
}

static bool wanted(const struct replica_read *r, const struct sibling *s)
{
    if (!sibling_live(s) || s->size == 0 || s->value != NULL ||
        row_state_lacks(&r->state, &s->value_dot))
        return false;
    if (r->value_max != 0 && sibling_value_len(s) > r->value_max)
        return false;
    if (r->loaded > 0 && r->loaded + sibling_value_len(s) > r->e->cfg.frame_values_max)
        return false;
    if (r->load == LOAD_ALL)
        return true;
    if (r->load == LOAD_NEWEST)
        return s == object_newest(&r->object);
    for (uint32_t i = 0; r->load == LOAD_DOTS && i < r->n_dots; i++)
        if (dot_equal(&r->dots[i], &s->value_dot))
            return true;
    return false;
}

static void on_value(struct store_get *req, int err, struct slice value)
{
    struct replica_read *r = req->arg;
    struct sibling *s = &r->object.siblings[r->next_sibling];
    if (err == DYN_OK && value.len == sibling_value_len(s)) {
        s->value = blob_new(value.data, value.len);
        r->loaded += value.len;
    } else if (err == DYN_OK || err == DYN_ERR_NOT_FOUND || err == DYN_ERR_CORRUPT) {
        /* It should be here and is not, or is bad: it stays unloaded, and the coordinator asks
         * another replica. */
        replica_lost(r->e, r->key, &s->value_dot);
    } else {
        finish(r, err);
        return;
    }
    r->next_sibling++;
    next_value(r);
}

static void next_value(struct replica_read *r)
{
    while (r->next_sibling < r->object.n && !wanted(r, &r->object.siblings[r->next_sibling]))
        r->next_sibling++;
    if (r->next_sibling >= r->object.n) {
        after_values(r);
        return;
    }
    buf_clear(&r->row);
    row_value(&r->at, r->key, &r->object.siblings[r->next_sibling].value_dot, &r->row);
    get_row(r, STORE_VALUE, on_value);
}

static void on_object(struct store_get *req, int err, struct slice value)
{
    struct replica_read *r = req->arg;
    if (err == DYN_OK)
        err = row_decode(value, &r->state, &r->object);
    else if (err == DYN_ERR_NOT_FOUND)
        err = DYN_OK;
    if (err == DYN_ERR_CORRUPT && !r->entry)
        bad_rows_note(r->e->bad_rows, r->key);
    if (err != DYN_OK)
        finish(r, err);
    else if (r->load == LOAD_NONE || r->entry)
        after_values(r);
    else
        next_value(r);
}

static void read_object(struct replica_read *r)
{
    row_of_id(&r->at, r->entry ? ROW_ENTRY : ROW_OBJECT, r->key, &r->row);
    get_row(r, STORE_META, on_object);
}

static void granted(struct keylock *lock, void *arg)
{
    (void)lock;
    read_object(arg);
}

void replica_read_start(struct replica_read *r)
{
    r->object = OBJECT_EMPTY;
    r->state = ROW_STATE_NONE;
    r->implicit_dir = false;
    r->dir_mtime_ns = 0;
    r->row = BUF_EMPTY;
    r->next_sibling = 0;
    r->loaded = 0;
    r->at = place_of_row(r->e->ring, r->entry ? ROW_ENTRY : ROW_OBJECT, r->key);
    r->fragment = 0;
    r->entry_key = r->entry ? entry_id_split(r->key, &r->fragment) : r->key;
    keylock_init(&r->lock);
    assert(!r->entry || r->key.len > 0);
    if (keylock_acquire(r->e->locks, &r->lock, LOCK_KEY, r->entry_key, granted, r))
        read_object(r);
}

void replica_read_release(struct replica_read *r)
{
    keylock_release(r->e->locks, &r->lock); /* held only when the engine is taken down */
    object_release(&r->object);
    row_state_release(&r->state);
    buf_release(&r->row);
}
