/* SPDX-License-Identifier: Apache-2.0 */
/* See scrub.h. Partition after partition, each a share of the time; within one, slices of rows:
 *
 *   SCAN (some rows, which also go into the audit of the leaves, tree_audit.h)
 *     -> for each: VALUES (read, digest) -> what is bad is noted in the row, then HEAL (fetched)
 *        -> INDEX (is it in its leaf's?) -> ENTRY (entry_check.h)
 *   SCAN ... -> AUDIT (the leaves are compared) -> the next partition
 *
 * One thing at a time, and each slice waits for its leave: the scrub is never in a hurry. */
#include "engine/trees/scrub.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/delivery.h"
#include "engine/fragments/entry_place.h"
#include "engine/reap/reap.h"
#include "engine/slices.h"
#include "engine/trees/bad_rows.h"
#include "engine/trees/entry_check.h"
#include "engine/trees/tree_audit.h"

#define SLICE_ROWS 32
#define SLICE_GAP_US 20000 /* between slices of one partition, at least */

enum stage { IDLE, SCAN, VALUES, NOTE, HEAL, INDEX, ENTRY, AUDIT };

struct scrub_row {
    enum row_kind kind;
    struct buf key;
    struct object object;
    struct row_state state;
};

struct scrub {
    struct engine *e;
    struct timer timer;
    struct slice_wait slice;
    enum stage stage;
    uint32_t partition, started; /* how many partitions of this round */
    uint64_t round_us;           /* when it began */
    struct tree_audit *audit;
    struct buf prefix, cursor, row;
    struct store_scan scan;
    bool more, inside, again;
    struct scrub_row rows[SLICE_ROWS];
    uint64_t read_us; /* when */
    uint32_t n, at;
    /* the row at hand */
    uint32_t next_sibling;
    struct store_get get;
    struct dot *bad;
    uint32_t n_bad;
    struct replica_write note;
    bool noting, healing;
    struct delivery heal;
    struct entry_check check;
    bool checking;
};

static void next(struct scrub *s);

/* ---- one thing after the other, without going ever deeper -------------------------------- */

static void go_on(struct scrub *s)
{
    if (s->inside) {
        s->again = true;
        return;
    }
    s->inside = true;
    do {
        s->again = false;
        next(s);
    } while (s->again);
    s->inside = false;
}

static void rows_release(struct scrub *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        buf_release(&s->rows[i].key);
        object_release(&s->rows[i].object);
        row_state_release(&s->rows[i].state);
    }
    s->n = s->at = 0;
}

static struct place place_at(const struct scrub *s, const struct scrub_row *row)
{
    return place_of_row(s->e->ring, row->kind, buf_slice(&row->key));
}

/* ---- values ------------------------------------------------------------------------------ */

static void on_value(struct store_get *req, int err, struct slice value)
{
    struct scrub *s = req->arg;
    const struct sibling *sib = &s->rows[s->at].object.siblings[s->next_sibling];
    uint8_t digest[DIGEST_LEN];
    bool good = err == DYN_OK && value.len == sibling_value_len(sib);
    if (good) {
        digest_sha256(value, digest);
        good = digest_equal(digest, sib->value_hash);
    }
    s->e->stats.scrub_bytes += value.len;
    if (!good && (err == DYN_OK || err == DYN_ERR_NOT_FOUND || err == DYN_ERR_CORRUPT)) {
        s->bad = mem_reallocarray(s->bad, s->n_bad + 1, sizeof(*s->bad));
        s->bad[s->n_bad++] = sib->value_dot;
    }
    s->next_sibling++;
    go_on(s);
}

static bool look_at_values(struct scrub *s)
{
    const struct scrub_row *row = &s->rows[s->at];
    for (; row->kind == ROW_OBJECT && s->next_sibling < row->object.n; s->next_sibling++) {
        const struct sibling *sib = &row->object.siblings[s->next_sibling];
        if (!sibling_live(sib) || sib->size == 0 || row_state_lacks(&row->state, &sib->value_dot))
            continue;
        struct place at = place_at(s, row);
        buf_clear(&s->row);
        row_value(&at, buf_slice(&row->key), &sib->value_dot, &s->row);
        s->get = (struct store_get){
            .family = STORE_VALUE, .key = buf_slice(&s->row), .done = on_value, .arg = s};
        s->e->ports.store.get(s->e->ports.store.ctx, &s->get);
        return true;
    }
    return false;
}

static void on_noted(struct replica_write *w, int err)
{
    struct scrub *s = w->arg;
    if (err == DYN_OK && w->after.n_lacks > w->state.n_lacks)
        s->e->stats.scrub_bad_values += w->after.n_lacks - w->state.n_lacks;
    replica_write_release(w);
    s->noting = false;
    s->stage = HEAL;
    go_on(s);
}

/* A merge of the row with itself, which only adds what has been lost. */
static void note_bad(struct scrub *s)
{
    const struct scrub_row *row = &s->rows[s->at];
    s->note = (struct replica_write){.e = s->e,
                                     .key = buf_slice(&row->key),
                                     .roles = ROLE_OBJECT,
                                     .incoming = &row->object,
                                     .born_us = s->read_us,
                                     .lost = s->bad,
                                     .n_lost = s->n_bad,
                                     .done = on_noted,
                                     .arg = s};
    s->noting = true;
    replica_write_start(&s->note);
}

static void on_healed(struct delivery *d, int err)
{
    struct scrub *s = d->arg;
    s->e->stats.scrub_healed += err == DYN_OK && d->second;
    delivery_release(d);
    s->healing = false;
    s->stage = INDEX;
    go_on(s);
}

static void heal(struct scrub *s)
{
    struct engine *e = s->e;
    const struct scrub_row *row = &s->rows[s->at];
    struct slice key = buf_slice(&row->key);
    s->heal = (struct delivery){.e = e,
                                .key = key,
                                .object = &row->object,
                                .born_us = s->read_us,
                                .node = e->cfg.node,
                                .roles = ROLE_OBJECT,
                                .heal = true,
                                .timeout_us = e->cfg.replica_timeout_us,
                                .done = on_healed,
                                .arg = s};
    s->heal.n_holders = ring_preference_list(e->ring, ring_partition_of(e->ring, key),
                                             ring_n(e->ring), s->heal.holders, READ_QUORUM_NODES);
    s->healing = true;
    delivery_start(&s->heal);
}

/* ---- the index --------------------------------------------------------------------------- */

static void on_index(struct store_get *req, int err, struct slice value)
{
    struct scrub *s = req->arg;
    struct engine *e = s->e;
    (void)value;
    bool counts =
        s->rows[s->at].state.prepared.boot == 0 && /* or is in no tree, about to be reaped, ... */
        !tree_audit_touched(s->audit); /* ... perhaps since it was read: the next round tells */
    if (err == DYN_ERR_NOT_FOUND && counts && e->failed == DYN_OK) {
        struct store_batch b = STORE_BATCH_EMPTY;
        store_batch_put(&b, STORE_TREE, buf_slice(&s->row), slice_of("", 0));
        e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL);
        store_batch_release(&b);
        e->stats.scrub_bad_leaves++;
    }
    s->stage = ENTRY;
    go_on(s);
}

/* A tombstone that nothing reminds of, of an earlier release perhaps. If it is none any more, the
 * reaper finds that out. */
static void remind(struct scrub *s, const struct scrub_row *row)
{
    struct engine *e = s->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    if (row->kind == ROW_OBJECT)
        reap_batch(&b, s->partition, buf_slice(&row->key), &row->object);
    if (b.count > 0 && e->failed == DYN_OK)
        (void)!e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL); /* next round */
    store_batch_release(&b);
}

static void look_at_index(struct scrub *s)
{
    const struct scrub_row *row = &s->rows[s->at];
    remind(s, row);
    buf_clear(&s->row);
    trees_key_row(s->e->trees, s->partition, row->kind, buf_slice(&row->key), &s->row);
    s->get = (struct store_get){
        .family = STORE_TREE, .key = buf_slice(&s->row), .done = on_index, .arg = s};
    s->e->ports.store.get(s->e->ports.store.ctx, &s->get);
}

/* ---- the entry --------------------------------------------------------------------------- */

static void end_of_row(struct scrub *s)
{
    s->e->stats.scrub_rows++;
    s->n_bad = 0;
    s->next_sibling = 0;
    s->at++;
    s->stage = VALUES;
    go_on(s);
}

static void on_checked(struct entry_check *c)
{
    struct scrub *s = c->arg;
    entry_check_release(c);
    s->checking = false;
    end_of_row(s);
}

static void look_at_entry(struct scrub *s)
{
    const struct scrub_row *row = &s->rows[s->at];
    if (row->key.len == 0) { /* the root is in no directory */
        end_of_row(s);
        return;
    }
    s->check = (struct entry_check){.e = s->e,
                                    .kind = row->kind,
                                    .key = buf_slice(&row->key),
                                    .object = &row->object,
                                    .done = on_checked,
                                    .arg = s};
    s->checking = true;
    entry_check_start(&s->check);
}

/* ---- slices ------------------------------------------------------------------------------ */

static bool on_row(struct store_scan *req, struct slice row, struct slice value)
{
    struct scrub *s = req->arg;
    struct scrub_row *r = &s->rows[s->n];
    struct place at;
    *r = (struct scrub_row){.key = BUF_EMPTY, .object = OBJECT_EMPTY, .state = ROW_STATE_NONE};
    buf_clear(&s->cursor);
    buf_put_slice(&s->cursor, row);
    buf_put_u8(&s->cursor, 0);
    if (row_meta_parse(row, &at, &r->kind, &r->key) != DYN_OK || r->kind == ROW_DIRSTAT) {
        buf_release(&r->key);
        return true;
    }
    struct slice key = buf_slice(&r->key);
    bool good = row_decode(value, &r->state, &r->object) == DYN_OK;
    if (good) {
        tree_audit_row(s->audit, row, r->kind, key,
                       trees_hash(s->e->trees, r->kind, key, &r->object, &r->state));
        s->n++;
    } else {
        tree_audit_unreadable(s->audit, row, r->kind, key);
        if (r->kind == ROW_OBJECT)
            bad_rows_note(s->e->bad_rows, key);
        buf_release(&r->key);
        object_release(&r->object);
    }
    return s->n < SLICE_ROWS;
}

static void on_scanned(struct store_scan *req, int err, bool more)
{
    struct scrub *s = req->arg;
    s->more = more || s->n == SLICE_ROWS;
    if (err != DYN_OK) { /* this partition another time */
        rows_release(s);
        tree_audit_free(s->audit);
        s->audit = NULL;
        s->stage = IDLE;
    } else if (!tree_audit_slice_end(s->audit, s->more)) {
        rows_release(s);
        s->stage = SCAN;
    } else {
        s->stage = VALUES;
    }
    go_on(s);
}

static void scan(struct scrub *s)
{
    struct engine *e = s->e;
    tree_audit_slice(s->audit);
    s->read_us = engine_now(e);
    buf_clear(&s->cursor);
    buf_put_slice(&s->cursor, tree_audit_cursor(s->audit));
    buf_clear(&s->row);
    buf_put_slice(&s->row, buf_slice(&s->cursor)); /* `cursor` moves with the rows */
    s->scan = (struct store_scan){.family = STORE_META,
                                  .prefix = buf_slice(&s->prefix),
                                  .from = buf_slice(&s->row),
                                  .max_rows = 4 * SLICE_ROWS,
                                  .max_bytes = 4u << 20,
                                  .row = on_row,
                                  .done = on_scanned,
                                  .arg = s};
    e->ports.store.scan(e->ports.store.ctx, &s->scan);
}

static void on_audited(void *arg, int err, uint32_t wrong)
{
    struct scrub *s = arg;
    (void)err;
    s->audit = NULL;
    s->e->stats.scrub_bad_leaves += wrong;
    s->stage = IDLE;
    go_on(s);
}

static void end_of_slice(struct scrub *s)
{
    rows_release(s);
    if (!s->more) {
        s->stage = AUDIT;
        tree_audit_finish(s->audit, on_audited, s);
        return;
    }
    s->stage = SCAN;
    timer_set(s->e->ports.timers, &s->timer, engine_now(s->e) + SLICE_GAP_US);
}

/* The n-th partition of a round begins when n shares of it have passed, or as soon as it can. */
static void wait_for_partition(struct scrub *s)
{
    struct engine *e = s->e;
    uint32_t q = ring_q(e->ring);
    uint64_t now = engine_now(e);
    if (s->started == q) {
        s->started = 0;
        e->stats.scrub_rounds++;
        uint64_t end = s->round_us + e->cfg.scrub_us;
        s->round_us = end > now ? end : now;
    }
    uint64_t at = s->round_us + e->cfg.scrub_us / q * s->started;
    timer_set(e->ports.timers, &s->timer, at > now ? at : now + SLICE_GAP_US);
}

static void next(struct scrub *s)
{
    if (s->e->stopping || s->e->failed != DYN_OK)
        return;
    switch (s->stage) {
    case IDLE:
        wait_for_partition(s);
        return;
    case SCAN:
        scan(s);
        return;
    case VALUES:
        if (s->at == s->n)
            end_of_slice(s);
        else if (!look_at_values(s)) {
            s->stage = s->n_bad > 0 ? NOTE : HEAL;
            s->again = true;
        }
        return;
    case NOTE:
        note_bad(s);
        return;
    case HEAL:
        if (s->n_bad > 0 || s->rows[s->at].state.n_lacks > 0) {
            heal(s);
        } else {
            s->stage = INDEX;
            s->again = true;
        }
        return;
    case INDEX:
        look_at_index(s);
        return;
    case ENTRY:
        look_at_entry(s);
        return;
    case AUDIT:
        return;
    }
}

static void on_slice(struct slice_wait *w)
{
    struct scrub *s = w->arg;
    go_on(s);
}

static void begin_partition(struct scrub *s)
{
    struct trees *t = s->e->trees;
    s->partition = (s->partition + 1) % ring_q(s->e->ring);
    s->started++;
    s->audit = tree_audit_new(t, s->partition);
    buf_clear(&s->prefix);
    buf_put_u32_be(&s->prefix, s->partition);
    s->stage = SCAN;
}

static void on_timer(struct timer *timer, void *arg)
{
    struct scrub *s = arg;
    struct engine *e = s->e;
    if (e->stopping || e->failed != DYN_OK)
        return;
    if (!trees_complete(e->trees)) {
        timer_set(e->ports.timers, timer, engine_now(e) + e->cfg.owed_delay_us);
        return;
    }
    if (s->stage == IDLE)
        begin_partition(s);
    slices_ask(e->slices, &s->slice);
}

/* ---- life -------------------------------------------------------------------------------- */

struct scrub *scrub_new(struct engine *e)
{
    struct scrub *s = mem_new(struct scrub);
    s->e = e;
    timer_init(&s->timer, on_timer, s);
    slice_wait_init(&s->slice, WORK_SCRUB, on_slice, s);
    return s;
}

void scrub_free(struct scrub *s)
{
    if (s == NULL)
        return;
    timer_cancel(s->e->ports.timers, &s->timer);
    slices_forget(s->e->slices, &s->slice);
    if (s->noting)
        replica_write_release(&s->note);
    if (s->healing)
        delivery_release(&s->heal);
    if (s->checking)
        entry_check_release(&s->check);
    tree_audit_free(s->audit);
    rows_release(s);
    buf_release(&s->prefix);
    buf_release(&s->cursor);
    buf_release(&s->row);
    free(s->bad);
    free(s);
}

/* Rounds of different nodes, and of a node that is restarted often, begin anywhere. */
void scrub_start(struct scrub *s)
{
    struct engine *e = s->e;
    uint32_t q = ring_q(e->ring);
    if (e->cfg.scrub_us == 0)
        return;
    s->partition = (uint32_t)(random_u64(&e->ports.random) % q);
    s->round_us = engine_now(e);
    wait_for_partition(s);
}
