/* SPDX-License-Identifier: Apache-2.0 */
/* See kept_trim.h.
 *
 *   LOCKED -> SCAN (the key's kept rows) -> OBJECT (read) -> rows and values deleted, the object's
 *   row counts what is left -> over
 *
 * Beyond the bound on their number every second of the versions that were simply replaced goes, but
 * for the newest few. Done again and again this leaves some of each age, close together near to now
 * and far apart behind. What was in a conflict is the last to go. */
#include "engine/kept/kept_trim.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/kept/kept.h"

#define NEWEST_STAY 8u /* of those that were simply replaced */

/* ---- choosing ---------------------------------------------------------------------------- */

static uint32_t thin(struct kept_row *rows, uint32_t n)
{
    uint32_t plain = 0, at = 0, gone = 0;
    for (uint32_t i = 0; i < n; i++)
        plain += !rows[i].goes && rows[i].plain;
    for (uint32_t i = 0; i < n; i++) {
        if (rows[i].goes || !rows[i].plain)
            continue;
        if (at % 2 == 1 && at + NEWEST_STAY < plain) {
            rows[i].goes = true;
            gone++;
        }
        at++;
    }
    return gone;
}

static uint32_t drop_oldest(struct kept_row *rows, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!rows[i].goes) {
            rows[i].goes = true;
            return 1;
        }
    return 0;
}

void kept_choose(struct kept_row *rows, uint32_t n, const struct kept_bounds *bounds)
{
    uint32_t left = n;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        rows[i].goes = rows[i].since_ms <= bounds->before_ms;
        left -= rows[i].goes;
    }
    if (left > bounds->n_max)
        while (left > bounds->n_left) {
            uint32_t gone = thin(rows, n);
            left -= gone != 0 ? gone : drop_oldest(rows, n);
        }
    for (uint32_t i = n; i-- > 0;) { /* the newest have the room */
        if (rows[i].goes)
            continue;
        bytes += rows[i].cost;
        rows[i].goes = bytes > bounds->bytes_max;
    }
}

/* ---- one key ----------------------------------------------------------------------------- */

struct trim_row {
    struct kept_row row;
    struct dot dot, value_dot;
    bool has_value;
};

struct trim {
    struct background background; /* first */
    struct engine *e;
    uint8_t *key_bytes;
    struct slice key;
    uint64_t age_ms;
    struct place at;
    struct keylock lock;
    struct buf name;
    struct store_scan scan;
    struct store_get get;
    struct trim_row *rows;
    uint32_t n, cap;
    struct object object;
    struct row_state state;
    void (*done)(void *arg);
    void *arg;
};

static void trim_free(struct trim *t)
{
    background_end(t->e, &t->background);
    keylock_release(t->e->locks, &t->lock);
    object_release(&t->object);
    row_state_release(&t->state);
    buf_release(&t->name);
    free(t->rows);
    free(t->key_bytes);
    free(t);
}

static void abandon(struct background *b)
{
    trim_free(container_of(b, struct trim, background));
}

static void end(struct trim *t)
{
    void (*done)(void *arg) = t->done;
    void *arg = t->arg;
    trim_free(t);
    if (done != NULL)
        done(arg);
}

static bool named(const struct trim *t, const struct dot *value_dot)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (!t->rows[i].row.goes && dot_equal(&t->rows[i].value_dot, value_dot))
            return true;
    return object_find_value(&t->object, value_dot) != NULL;
}

static void choose(struct trim *t)
{
    struct engine *e = t->e;
    uint64_t now = engine_wall_ms(e);
    struct kept_bounds bounds = {.before_ms = now > t->age_ms ? now - t->age_ms : 0,
                                 .n_max = KEPT_KEY_MAX,
                                 .n_left = KEPT_KEY_LEFT,
                                 .bytes_max = e->cfg.history_key_max};
    struct kept_row *rows = mem_zalloc((t->n + 1) * sizeof(*rows));
    for (uint32_t i = 0; i < t->n; i++)
        rows[i] = t->rows[i].row;
    kept_choose(rows, t->n, &bounds);
    for (uint32_t i = 0; i < t->n; i++)
        t->rows[i].row = rows[i];
    free(rows);
}

/* Deletes alone go also where a disk is full. */
static void write_deletes(struct trim *t, struct row_kept *left)
{
    struct engine *e = t->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    int64_t rows = 0, bytes = 0;
    *left = (struct row_kept){.last_ms = t->state.kept.last_ms};
    for (uint32_t i = 0; i < t->n; i++) {
        const struct trim_row *r = &t->rows[i];
        if (!r->row.goes) {
            left->n++;
            left->bytes += r->row.cost;
            continue;
        }
        buf_clear(&t->name);
        row_kept(&t->at, t->key, &r->dot, &t->name);
        store_batch_delete(&b, STORE_HINT, buf_slice(&t->name));
        if (r->has_value && !named(t, &r->value_dot)) {
            buf_clear(&t->name);
            row_value(&t->at, t->key, &r->value_dot, &t->name);
            store_batch_delete(&b, STORE_VALUE, buf_slice(&t->name));
        }
        rows++;
        bytes += (int64_t)r->row.cost;
    }
    if (rows == 0 || e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL) == DYN_OK)
        kept_keeper_note(e->kept, -rows, -bytes);
    store_batch_release(&b);
}

static void write_count(struct trim *t, const struct row_kept *left)
{
    struct engine *e = t->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    t->state.kept = *left;
    buf_clear(&t->name);
    row_object(&t->at, t->key, &t->name);
    row_encode(&t->state, &t->object, &row);
    store_batch_put(&b, STORE_META, buf_slice(&t->name), buf_slice(&row));
    (void)!e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL); /* about is enough */
    store_batch_release(&b);
    buf_release(&row);
}

static void on_object(struct store_get *req, int err, struct slice value)
{
    struct trim *t = req->arg;
    bool there = err == DYN_OK;
    struct row_kept left;
    if (there)
        err = row_decode(value, &t->state, &t->object);
    if ((err == DYN_OK || err == DYN_ERR_NOT_FOUND) && t->e->failed == DYN_OK) {
        choose(t);
        write_deletes(t, &left);
        if (there && (left.n != t->state.kept.n || left.bytes != t->state.kept.bytes))
            write_count(t, &left);
    }
    end(t);
}

static int by_age(const void *a, const void *b)
{
    const struct trim_row *x = a, *y = b;
    return x->row.since_ms != y->row.since_ms ? (x->row.since_ms < y->row.since_ms ? -1 : 1)
                                              : dot_compare(&x->dot, &y->dot);
}

static void on_scanned(struct store_scan *req, int err, bool more)
{
    struct trim *t = req->arg;
    (void)more;
    if (err != DYN_OK) {
        end(t);
        return;
    }
    if (t->n > 1)
        qsort(t->rows, t->n, sizeof(*t->rows), by_age);
    buf_clear(&t->name);
    row_object(&t->at, t->key, &t->name);
    t->get = (struct store_get){
        .family = STORE_META, .key = buf_slice(&t->name), .done = on_object, .arg = t};
    t->e->ports.store.get(t->e->ports.store.ctx, &t->get);
}

static bool on_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct trim *t = req->arg;
    struct reader r = reader_of(value);
    struct kept k = {.object = OBJECT_EMPTY};
    (void)key;
    kept_decode(&r, &k);
    if (reader_done(&r)) {
        const struct sibling *s = kept_version(&k);
        if (t->n == t->cap) {
            t->cap = t->cap == 0 ? 16 : t->cap * 2;
            t->rows = mem_reallocarray(t->rows, t->cap, sizeof(*t->rows));
        }
        t->rows[t->n++] =
            (struct trim_row){.row = {.since_ms = k.since_ms,
                                      .cost = kept_cost(s),
                                      .plain = k.why == KEPT_OVERWRITTEN || k.why == KEPT_OUTDATED},
                              .dot = s->dot,
                              .value_dot = s->value_dot,
                              .has_value = s->size > 0};
    }
    kept_release(&k);
    return true;
}

static void granted(struct keylock *lock, void *arg)
{
    struct trim *t = arg;
    (void)lock;
    row_kept_prefix(&t->at, t->key, &t->name);
    t->scan = (struct store_scan){.family = STORE_HINT,
                                  .prefix = buf_slice(&t->name),
                                  .max_rows = KEPT_LIST_MAX,
                                  .max_bytes = UINT64_MAX,
                                  .row = on_row,
                                  .done = on_scanned,
                                  .arg = t};
    t->e->ports.store.scan(t->e->ports.store.ctx, &t->scan);
}

void kept_trim_start(struct engine *e, struct slice key, uint64_t age_ms, void (*done)(void *arg),
                     void *arg)
{
    struct trim *t = mem_new(struct trim);
    t->e = e;
    t->key_bytes = mem_dup(key.data, key.len);
    t->key = slice_of(t->key_bytes, key.len);
    t->age_ms = age_ms;
    t->at = place_of(e->ring, t->key);
    t->object = OBJECT_EMPTY;
    t->state = ROW_STATE_NONE;
    t->done = done;
    t->arg = arg;
    background_add(e, &t->background, abandon);
    keylock_init(&t->lock);
    if (keylock_acquire(e->locks, &t->lock, LOCK_KEY, t->key, granted, t))
        granted(&t->lock, t);
}
