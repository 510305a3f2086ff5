/* SPDX-License-Identifier: Apache-2.0 */
/* See thin.h. Two kinds of rows remind of what is to be done: one for each thin copy, as long as it
 * is thin, and one for each copy that may have values to let go. A look goes
 *
 *   RESTING --time--> FETCH, where a thin copy may be wrong: over all thin ones
 *                 --> WALK, where a full copy may be wrong: over all objects; reminds of those that
 *                     have values to let go
 *                 --> LET_GO: over those with values to let go --> RESTING
 *
 * in slices of admission control, some keys of a slice side by side (thin_job.h). Most looks are
 * two empty scans. */
#include "engine/thin/thin.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/dir_settings.h"
#include "engine/coordinate/replication.h"
#include "engine/slices.h"
#include "engine/thin/thin_job.h"

#define SLICE_KEYS 16u
#define WALK_ROWS 512u
#define WALK_BYTES (4u << 20)
#define MOVING_LOOKS 6u
#define AGAIN_US 200000u /* while somebody waits for a partition to be whole */
#define SOON_US 50000u   /* after a change: more may come */

enum stage { RESTING, FETCH, WALK, LET_GO };

struct wholeness { /* of a partition that moves; by fences: what it was under, 0: not */
    uint64_t asked, begun, whole;
    bool failed;
};

struct thin_keeper {
    struct engine *e;
    struct timer timer;
    struct slice_wait slice;
    enum stage stage;
    bool started, none;           /* none: no copy here is thin, for certain */
    uint64_t changes;             /* of the ring, or of what directories say */
    uint64_t fetched_for;         /* changes, when all thin copies had last been looked at */
    uint64_t walked_for;          /* the same of full ones */
    uint64_t stage_began;         /* changes, then */
    uint64_t looked_us;           /* when a walk last ended */
    bool later, waited;           /* something could not be fetched; somebody waits for it */
    uint64_t rows, thinned;       /* thin rows seen; written since the stage began */
    uint64_t owned, came;         /* of those: of partitions that are owned, and still thin */
    struct wholeness *partitions; /* Q of them; NULL: nobody has asked yet */

    struct buf prefix, cursor, from;
    struct store_scan scan;
    bool more;
    struct thin_job jobs[SLICE_KEYS];
    uint32_t n, active;
    struct store_batch reminders;
    uint64_t thin_now; /* `owned`, as the last look counted them; kept up in between. What is left
                          of partitions that are not owned any more goes with them (retire.h) */
};

static void begin(struct thin_keeper *k, enum stage stage);

uint32_t thin_copies(const struct engine *e, struct slice key)
{
    uint32_t n = ring_n(e->ring), copies = 0;
    if (!key_internal(key)) /* chunks are named from directories of any N (E23) */
        copies = settings_keeper_copies(e->settings, key);
    return copies == 0 || copies > n ? n : copies;
}

/* ---- rows that remind -------------------------------------------------------------------- */

static void remind(struct store_batch *b, enum debt_kind kind, uint32_t partition, struct slice key,
                   const struct object *o, uint64_t now_ms)
{
    struct buf name = BUF_EMPTY, row = BUF_EMPTY;
    struct debt debt = {.since_ms = now_ms};
    object_hash(o, debt.state);
    debt_encode(&debt, &row);
    row_debt(kind, partition, key, &name);
    store_batch_put(b, STORE_HINT, buf_slice(&name), buf_slice(&row));
    buf_release(&name);
    buf_release(&row);
}

static void forget(struct store_batch *b, enum debt_kind kind, uint32_t partition, struct slice key)
{
    struct buf name = BUF_EMPTY;
    row_debt(kind, partition, key, &name);
    store_batch_delete(b, STORE_HINT, buf_slice(&name));
    buf_release(&name);
}

/* A partition that moves says nothing about where this node will stand in its row. */
static bool may_have_surplus(const struct engine *e, const struct place *at, struct slice key,
                             const struct object *o, const struct row_state *s)
{
    if (!thin_possible(e, key))
        return false;
    for (uint32_t i = 0; i < o->n; i++)
        if (sibling_live(&o->siblings[i]) && o->siblings[i].size > 0 &&
            !row_state_lacks(s, &o->siblings[i].value_dot))
            return ring_move(e->ring, at->partition) != NULL || thin_has_surplus(e, at, key, o, s);
    return false;
}

static void arm(struct thin_keeper *k, uint64_t in_us);

static bool is_owned(const struct engine *e, uint32_t partition)
{
    uint64_t owners[OWNERS_MAX];
    uint32_t n = engine_owners(e, partition, ring_n(e->ring), owners);
    for (uint32_t i = 0; i < n; i++)
        if (owners[i] == e->cfg.node)
            return true;
    return false;
}

/* One that is to hold the values got the version without them: it looks for them from now on. */
static void note_thin(struct thin_keeper *k, const struct replica_write *w)
{
    k->none = false;
    k->thinned++;
    bool came = w->state.n_thin == 0 && is_owned(k->e, w->at.partition);
    k->came += came;
    k->thin_now += came;
    if (!thin_is_to_hold(k->e, w->at.partition, w->key, false))
        return;
    k->fetched_for = 0;
    k->later = true; /* were this look past it */
    arm(k, k->e->cfg.thin_us);
}

void thin_batch(const struct replica_write *w, struct store_batch *b)
{
    struct engine *e = w->e;
    uint64_t now = engine_wall_ms(e);
    if (w->after.n_thin > 0) {
        note_thin(e->thin, w);
        remind(b, DEBT_THIN, w->at.partition, w->key, &w->object, now);
    } else if (w->state.n_thin > 0) {
        e->thin->thin_now -= e->thin->thin_now > 0 && is_owned(e, w->at.partition);
        forget(b, DEBT_THIN, w->at.partition, w->key);
    }
    if (may_have_surplus(e, &w->at, w->key, &w->object, &w->after))
        remind(b, DEBT_SURPLUS, w->at.partition, w->key, &w->object, now);
    else if (w->n_thin > 0)
        forget(b, DEBT_SURPLUS, w->at.partition, w->key);
}

void thin_batch_new(const struct engine *e, struct store_batch *b, const struct place *at,
                    struct slice key, const struct object *o)
{
    const struct row_state full = ROW_STATE_NONE;
    if (may_have_surplus(e, at, key, o, &full))
        remind(b, DEBT_SURPLUS, at->partition, key, o, engine_wall_ms(e));
}

void thin_forget(struct store_batch *b, uint32_t partition, struct slice key)
{
    forget(b, DEBT_THIN, partition, key);
    forget(b, DEBT_SURPLUS, partition, key);
}

/* ---- whole partitions -------------------------------------------------------------------- */

static void arm(struct thin_keeper *k, uint64_t in_us)
{
    uint64_t when = engine_now(k->e) + in_us;
    if (!k->started || k->stage != RESTING)
        return;
    if (!timer_is_set(&k->timer) || when < k->timer.when_us)
        timer_set(k->e->ports.timers, &k->timer, when);
}

bool thin_whole(struct thin_keeper *k, uint32_t partition)
{
    uint64_t fence = ring_fence(k->e->ring, partition);
    if (k->none)
        return true;
    if (k->partitions == NULL)
        k->partitions = mem_zalloc(ring_q(k->e->ring) * sizeof(*k->partitions));
    struct wholeness *p = &k->partitions[partition];
    if (p->whole == fence)
        return true;
    p->asked = fence;
    k->waited = true;
    arm(k, SOON_US);
    return false;
}

static void wholeness_begins(struct thin_keeper *k)
{
    k->waited = false;
    for (uint32_t p = 0; k->partitions != NULL && p < ring_q(k->e->ring); p++) {
        struct wholeness *w = &k->partitions[p];
        w->begun = w->asked == ring_fence(k->e->ring, p) && w->whole != w->asked ? w->asked : 0;
        w->failed = false;
    }
}

static bool is_wanted(const struct thin_keeper *k, uint32_t partition)
{
    return k->partitions != NULL && k->partitions[partition].begun != 0;
}

static void wholeness_ends(struct thin_keeper *k)
{
    for (uint32_t p = 0; k->partitions != NULL && p < ring_q(k->e->ring); p++) {
        struct wholeness *w = &k->partitions[p];
        if (w->begun != 0 && !w->failed && w->begun == ring_fence(k->e->ring, p))
            w->whole = w->begun;
        k->waited |= w->begun != 0 && w->whole != w->begun;
        w->begun = 0;
    }
}

/* ---- keys -------------------------------------------------------------------------------- */

static void release_jobs(struct thin_keeper *k)
{
    for (uint32_t i = 0; i < k->n; i++)
        thin_job_release(&k->jobs[i]);
    k->n = 0;
}

static void rest(struct thin_keeper *k)
{
    k->stage = RESTING;
    if (k->waited)
        arm(k, AGAIN_US);
    else if (!k->none || settings_keeper_has_copies(k->e->settings))
        arm(k, k->e->cfg.thin_us);
}

static void stage_ends(struct thin_keeper *k)
{
    switch (k->stage) {
    case FETCH:
        wholeness_ends(k);
        k->thin_now = k->owned + k->came;
        k->none = k->rows == 0 && k->thinned == 0;
        if (!k->later)
            k->fetched_for = k->stage_began;
        begin(k, WALK);
        return;
    case WALK:
        k->walked_for = k->stage_began;
        k->looked_us = engine_now(k->e);
        begin(k, LET_GO);
        return;
    default:
        rest(k);
    }
}

static void slice_ends(struct thin_keeper *k)
{
    release_jobs(k);
    if (k->more)
        slices_ask(k->e->slices, &k->slice);
    else
        stage_ends(k);
}

static void on_job(struct thin_job *j, enum thin_outcome outcome)
{
    struct thin_keeper *k = j->arg;
    if (outcome == THIN_LATER && j->kind == DEBT_THIN) {
        k->later = true;
        if (k->partitions != NULL)
            k->partitions[j->at.partition].failed = true;
    }
    if (j->kind == DEBT_THIN && j->full && is_owned(k->e, j->at.partition))
        k->owned -= k->owned > 0;
    if (--k->active == 0)
        slice_ends(k);
}

static void start_jobs(struct thin_keeper *k)
{
    k->active = 1; /* this function: some end inside */
    for (uint32_t i = 0; i < k->n; i++) {
        k->active++;
        thin_job_start(&k->jobs[i]);
    }
    if (--k->active == 0)
        slice_ends(k);
}

static bool on_reminder(struct store_scan *req, struct slice row, struct slice value)
{
    struct thin_keeper *k = req->arg;
    struct slice key;
    struct debt debt;
    buf_clear(&k->cursor);
    buf_put_slice(&k->cursor, row);
    buf_put_u8(&k->cursor, 0);
    if (row_debt_parse(row, &key) != DYN_OK)
        return true;
    if (debt_decode(value, &debt) != DYN_OK) /* it names the key all the same */
        debt = (struct debt){0};
    uint32_t partition = ring_partition_of(k->e->ring, key);
    k->rows++;
    k->owned += is_owned(k->e, partition);
    bool fetches = k->stage == FETCH, wanted = is_wanted(k, partition);
    if (fetches && !thin_is_to_hold(k->e, partition, key, wanted))
        return true;
    struct thin_job *j = &k->jobs[k->n++];
    *j = (struct thin_job){.e = k->e,
                           .kind = fetches ? DEBT_THIN : DEBT_SURPLUS,
                           .wanted = wanted,
                           .done = on_job,
                           .arg = k};
    buf_put_slice(&j->key, key);
    memcpy(j->state, debt.state, DIGEST_LEN);
    return k->n < SLICE_KEYS;
}

static bool on_row(struct store_scan *req, struct slice row, struct slice value)
{
    struct thin_keeper *k = req->arg;
    struct object o = OBJECT_EMPTY;
    struct row_state state = ROW_STATE_NONE;
    struct buf key = BUF_EMPTY;
    struct place at;
    enum row_kind kind;
    buf_clear(&k->cursor);
    buf_put_slice(&k->cursor, row);
    buf_put_u8(&k->cursor, 0);
    if (row_meta_parse(row, &at, &kind, &key) == DYN_OK && kind == ROW_OBJECT &&
        row_decode(value, &state, &o) == DYN_OK &&
        may_have_surplus(k->e, &at, buf_slice(&key), &o, &state))
        remind(&k->reminders, DEBT_SURPLUS, at.partition, buf_slice(&key), &o,
               engine_wall_ms(k->e));
    buf_release(&key);
    object_release(&o);
    row_state_release(&state);
    return true;
}

static void on_scanned(struct store_scan *req, int err, bool more)
{
    struct thin_keeper *k = req->arg;
    struct engine *e = k->e;
    if (k->reminders.count > 0 && err == DYN_OK)
        err = e->ports.store.write(e->ports.store.ctx, &k->reminders, STORE_BUFFERED, NULL);
    store_batch_release(&k->reminders);
    if (err != DYN_OK) { /* another time, from the start */
        release_jobs(k);
        wholeness_ends(k);
        rest(k);
        return;
    }
    k->more = more || k->n == SLICE_KEYS;
    start_jobs(k);
}

static void on_slice(struct slice_wait *w)
{
    struct thin_keeper *k = w->arg;
    struct engine *e = k->e;
    if (e->stopping || e->failed != DYN_OK)
        return;
    bool walks = k->stage == WALK;
    buf_clear(&k->from); /* `cursor` moves with the rows */
    buf_put_slice(&k->from, buf_slice(&k->cursor));
    k->scan = (struct store_scan){.family = walks ? STORE_META : STORE_HINT,
                                  .prefix = buf_slice(&k->prefix),
                                  .from = buf_slice(&k->from),
                                  .max_rows = WALK_ROWS,
                                  .max_bytes = WALK_BYTES,
                                  .row = walks ? on_row : on_reminder,
                                  .done = on_scanned,
                                  .arg = k};
    e->ports.store.scan(e->ports.store.ctx, &k->scan);
}

/* ---- looks ------------------------------------------------------------------------------- */

/* While partitions move, what this node is to hold changes all the time. */
static bool is_calm(const struct thin_keeper *k)
{
    const struct engine *e = k->e;
    return ring_moving(e->ring) == 0 ||
           engine_now(e) - k->looked_us >= MOVING_LOOKS * e->cfg.thin_us;
}

/* Is there anything for the stage to do? */
static bool is_due(const struct thin_keeper *k, enum stage stage)
{
    switch (stage) {
    case FETCH:
        return !k->none && (k->waited || (k->fetched_for != k->changes && is_calm(k)));
    case WALK:
        return k->walked_for != k->changes && is_calm(k) &&
               settings_keeper_has_copies(k->e->settings);
    default:
        return settings_keeper_has_copies(k->e->settings);
    }
}

static void begin(struct thin_keeper *k, enum stage stage)
{
    while (stage <= LET_GO && !is_due(k, stage))
        stage++;
    if (stage > LET_GO) {
        rest(k);
        return;
    }
    k->stage = stage;
    k->stage_began = k->changes;
    k->later = false;
    k->rows = k->owned = k->came = k->thinned = 0;
    buf_clear(&k->cursor);
    buf_clear(&k->prefix);
    if (stage == FETCH)
        wholeness_begins(k);
    if (stage != WALK)
        buf_put_u8(&k->prefix, stage == FETCH ? DEBT_THIN : DEBT_SURPLUS);
    slices_ask(k->e->slices, &k->slice);
}

static void on_timer(struct timer *t, void *arg)
{
    struct thin_keeper *k = arg;
    (void)t;
    if (!k->e->stopping && k->e->failed == DYN_OK)
        begin(k, FETCH);
}

void thin_look(struct thin_keeper *k)
{
    k->changes++;
    arm(k, SOON_US);
}

uint64_t thin_rows(const struct thin_keeper *k)
{
    return k->thin_now;
}

/* ---- life -------------------------------------------------------------------------------- */

struct thin_keeper *thin_new(struct engine *e)
{
    struct thin_keeper *k = mem_new(struct thin_keeper);
    k->e = e;
    k->changes = 1; /* nothing has been looked at yet */
    timer_init(&k->timer, on_timer, k);
    slice_wait_init(&k->slice, WORK_SCRUB, on_slice, k);
    return k;
}

void thin_start(struct thin_keeper *k)
{
    k->started = true;
    arm(k, SOON_US);
}

void thin_free(struct thin_keeper *k)
{
    if (k == NULL)
        return;
    timer_cancel(k->e->ports.timers, &k->timer);
    slices_forget(k->e->slices, &k->slice);
    release_jobs(k);
    store_batch_release(&k->reminders);
    buf_release(&k->prefix);
    buf_release(&k->cursor);
    buf_release(&k->from);
    free(k->partitions);
    free(k);
}
