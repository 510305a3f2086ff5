/* SPDX-License-Identifier: Apache-2.0 */
/* See transfer.h. For each partition that this node has to fill there is a job:
 *
 *   WAITING --a place is free--> LOOKING: is anything of it here?
 *   LOOKING --next to nothing--> TAKING a piece of the source's states, in order
 *   TAKING --> MERGING it by key (piece.h)
 *   MERGING --> TAKING the next piece, or CONFIRMING when there is none (confirm.h)
 *   LOOKING --a part--> LISTING: a piece of the source's rows, with a hash of each state
 *   LISTING --> COMPARING with this node's own --> FETCHING what differs --> MERGING
 *   MERGING --something is left of the piece--> FETCHING
 *   MERGING --the piece is done--> LISTING the next, or CONFIRMING when there is none
 *   CONFIRMING --both trees are equal--> CONFIRMING with the next source
 *   CONFIRMING --enough sources are done--> SYNCING, when no value is thin here (thin.h)
 *   SYNCING --> FILLED, which becomes an event
 *   any --a source fails--> the next source; when too few are left, WAITING for a while
 *
 * One source is not enough: an acknowledged write is on W of the N old voters, perhaps not on the
 * one that is asked, so N - W + 1 of them are (E13). The first gives nearly everything; the others
 * what their trees show to be missing. Those who own the partition no more come first: what was
 * acknowledged by W, some of them stand-ins, is still on W when all that goes has been handed over.
 * After a failure of either side the next source is listed: what was merged is found equal, and is
 * not fetched again. */
#include "engine/transfer/transfer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/thin/thin.h"
#include "engine/transfer/closing.h"
#include "engine/transfer/compare.h"
#include "engine/transfer/confirm.h"
#include "engine/transfer/piece.h"
#include "engine/transfer/range.h"

#define JOBS_MAX 8u       /* so that one merges while others wait for their pieces */
#define CALL_US 10000000u /* the source may make pieces wait for its own requests */
#define AGAIN_US 1000000u
#define FEW_ROWS 256u /* that came while the partition waited: not worth a comparison */
#define LOOK_BYTES (1u << 20)
#define WHOLE_US 100000u /* between looks whether it is */
#define TELL_US 100000u  /* partitions that fill within this time are one event */

enum job_state {
    WAITING,
    LOOKING,
    TAKING,
    LISTING,
    COMPARING,
    FETCHING,
    MERGING,
    CONFIRMING,
    SYNCING,
    FILLED
};

struct job {
    struct list link;
    struct transfers *t;
    uint32_t partition;
    uint64_t fence;
    enum job_state state;
    uint64_t sources[MOVES_N_MAX];
    uint32_t n_sources, at_source, done_sources, need;
    struct buf cursor;
    bool more, takes;
    bool resumed; /* it may have been begun before: what is here is compared */
    struct store_scan scan;
    struct buf prefix;
    uint32_t own_rows;
    bool looking;
    struct compare compare;
    struct buf body; /* what `reply` borrows from */
    struct range_reply reply;
    struct piece piece;
    uint64_t asked_us; /* for the piece */
    struct rpc_call call;
    struct view_wait learn;
    struct confirm confirm;
    struct store_write sync;
    struct timer again;
    bool syncing, told;
    bool dead; /* the ring wants it no more; goes when storage has called back */
    uint64_t rows, bytes, started_us;
};

struct transfers {
    struct engine *e;
    struct list jobs;  /* struct job */
    bool looked;       /* since the start: what is new from now on was not begun before */
    struct timer tell; /* of what is filled and not told */
    struct closings *closings;
};

static void job_step(struct job *j);
static void start_waiting(struct transfers *t);
static void on_tell(struct timer *timer, void *arg);

/* ---- jobs -------------------------------------------------------------------------------- */

static void release_piece(struct job *j)
{
    piece_release(&j->piece);
    range_reply_release(&j->reply);
    buf_release(&j->body);
}

static void job_free(struct job *j)
{
    struct engine *e = j->t->e;
    rpc_cancel(e->rpc, &j->call);
    view_wait_cancel(&j->learn);
    confirm_end(&j->confirm);
    timer_cancel(e->ports.timers, &j->again);
    release_piece(j);
    compare_release(&j->compare);
    buf_release(&j->cursor);
    buf_release(&j->prefix);
    list_remove(&j->link);
    free(j);
}

static void on_again(struct timer *timer, void *arg)
{
    (void)timer;
    struct job *j = arg;
    if (j->state == SYNCING)
        job_step(j);
    else
        start_waiting(j->t);
}

/* Too few sources answer: later again, from the start, which costs little for what is here. */
static void job_rest(struct job *j)
{
    struct engine *e = j->t->e;
    release_piece(j);
    compare_release(&j->compare);
    buf_clear(&j->cursor);
    j->state = WAITING;
    j->resumed = true;
    j->at_source = j->done_sources = 0;
    timer_set(e->ports.timers, &j->again, engine_now(e) + AGAIN_US);
    start_waiting(j->t);
}

static void next_source(struct job *j)
{
    release_piece(j);
    compare_release(&j->compare);
    buf_clear(&j->cursor);
    j->at_source++;
    if (j->done_sources >= j->need) {
        j->state = SYNCING;
    } else if (j->n_sources - j->at_source < j->need - j->done_sources) {
        job_rest(j);
        return;
    } else {
        j->takes = false;
        j->state = j->done_sources > 0 ? CONFIRMING : LISTING;
    }
    job_step(j);
}

static void on_learned(struct view_wait *w)
{
    struct job *j = w->arg;
    if (!j->dead)
        job_step(j); /* unless the ring made an end of it, in transfers_look */
}

/* What the source said no to. True: it will be asked again. */
static bool source_failed(struct job *j, int err)
{
    if (err == DYN_ERR_REFUSED && !j->learn.active) { /* it knows other owners: both learn */
        j->learn = (struct view_wait){.done = on_learned, .arg = j};
        view_learn(j->t->e->view, j->sources[j->at_source], &j->learn);
        return true;
    }
    next_source(j);
    return false;
}

static void ask(struct job *j, uint8_t type, struct range_request *q,
                void (*done)(struct rpc_call *call, int err, struct slice body))
{
    struct engine *e = j->t->e;
    struct buf body = BUF_EMPTY;
    q->ring = *ring_epoch(e->ring);
    q->fence = ring_fence(e->ring, j->partition);
    q->partition = j->partition;
    range_request_encode(q, &body);
    j->asked_us = engine_now(e);
    j->call = (struct rpc_call){.done = done, .arg = j};
    rpc_start(e->rpc, &j->call, j->sources[j->at_source], type, &body, CALL_US);
}

/* ---- looking ----------------------------------------------------------------------------- */

static bool on_own_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct job *j = req->arg;
    (void)key;
    (void)value;
    j->own_rows++;
    return true;
}

static void on_own_rows(struct store_scan *req, int err, bool more)
{
    struct job *j = req->arg;
    j->looking = false;
    if (j->dead) {
        job_free(j);
    } else if (err != DYN_OK) {
        job_rest(j);
    } else {
        j->takes = !more && j->own_rows < (j->resumed ? 1 : FEW_ROWS);
        j->state = j->takes ? TAKING : LISTING;
        job_step(j);
    }
}

static void look(struct job *j)
{
    struct store_port *store = &j->t->e->ports.store;
    buf_clear(&j->prefix);
    buf_put_u32_be(&j->prefix, j->partition);
    j->own_rows = 0;
    j->looking = true;
    j->scan = (struct store_scan){.family = STORE_META,
                                  .prefix = buf_slice(&j->prefix),
                                  .max_rows = FEW_ROWS,
                                  .max_bytes = LOOK_BYTES,
                                  .row = on_own_row,
                                  .done = on_own_rows,
                                  .arg = j};
    store->scan(store->ctx, &j->scan);
}

/* ---- comparing --------------------------------------------------------------------------- */

static void on_compared(struct compare *c)
{
    struct job *j = c->arg;
    if (j->dead) {
        job_free(j);
        return;
    }
    j->state = FETCHING;
    job_step(j);
}

static void on_list(struct rpc_call *call, int err, struct slice body)
{
    struct job *j = call->arg;
    struct range_reply p = {.n = 0};
    j->bytes += body.len;
    if (err == DYN_OK)
        err = range_reply_decode(body, &p);
    if (err == DYN_OK && (p.form != RANGE_HASHES || !range_rows_valid(p.rows, p.n)))
        err = DYN_ERR_PROTOCOL;
    if (err == DYN_OK)
        err = p.status;
    if (err != DYN_OK) {
        range_reply_release(&p);
        source_failed(j, err);
        return;
    }
    j->more = p.more && p.cursor.len > 0;
    buf_clear(&j->cursor);
    buf_put_slice(&j->cursor, p.cursor);
    j->state = COMPARING;
    j->compare.e = j->t->e;
    j->compare.done = on_compared;
    j->compare.arg = j;
    compare_start(&j->compare, &p);
    range_reply_release(&p);
}

/* ---- fetching and merging ---------------------------------------------------------------- */

static void on_merged(struct piece *p, int err)
{
    struct job *j = p->arg;
    if (j->dead) {
        job_free(j);
        return;
    }
    release_piece(j);
    if (err == DYN_ERR_STOPPED || err == DYN_ERR_NO_SPACE || err == DYN_ERR_IO) {
        job_rest(j); /* this node's own disk */
    } else if (err != DYN_OK) {
        next_source(j);
    } else {
        if (!j->takes)
            j->state = FETCHING;
        else
            j->state = j->more ? TAKING : CONFIRMING;
        job_step(j);
    }
}

static void merge(struct job *j)
{
    j->state = MERGING;
    j->rows += j->reply.n;
    j->piece = (struct piece){.e = j->t->e,
                              .partition = j->partition,
                              .reply = &j->reply,
                              .born_us = j->asked_us,
                              .n_sources = j->n_sources,
                              .done = on_merged,
                              .arg = j};
    memcpy(j->piece.sources, j->sources, sizeof(j->sources));
    piece_start(&j->piece);
}

/* Pieces in order: each must end beyond the one before. */
static bool get_on(struct job *j)
{
    if (!j->takes)
        return true;
    j->more = j->reply.more;
    if (j->more && slice_compare(j->reply.cursor, buf_slice(&j->cursor)) <= 0)
        return false;
    buf_clear(&j->cursor);
    buf_put_slice(&j->cursor, j->reply.cursor);
    return true;
}

static void on_piece(struct rpc_call *call, int err, struct slice body)
{
    struct job *j = call->arg;
    j->bytes += body.len;
    if (err == DYN_OK) {
        buf_clear(&j->body);
        buf_put_slice(&j->body, body);
        err = range_reply_decode(buf_slice(&j->body), &j->reply);
    }
    if (err == DYN_OK)
        err = j->reply.status;
    if (err == DYN_OK && (j->reply.form != RANGE_STATES || (j->reply.n == 0 && !j->takes) ||
                          !range_rows_valid(j->reply.rows, j->reply.n) || !get_on(j)))
        err = DYN_ERR_PROTOCOL;
    if (err != DYN_OK) {
        release_piece(j);
        source_failed(j, err);
        return;
    }
    if (!j->takes) /* in the order in which they were asked for */
        compare_fetched(&j->compare, j->reply.n);
    merge(j);
}

static void fetch(struct job *j)
{
    struct range_row *rows = mem_reallocarray(NULL, RANGE_ROWS_MAX, sizeof(*rows));
    struct range_request q = {.rows = rows, .n = compare_wanted(&j->compare, rows)};
    if (q.n > 0)
        ask(j, FRAME_RANGE_FETCH, &q, on_piece);
    free(rows);
    if (q.n > 0)
        return;
    j->state = j->more ? LISTING : CONFIRMING;
    job_step(j);
}

/* ---- the end of a job -------------------------------------------------------------------- */

static void on_confirmed(struct confirm *c, int err)
{
    struct job *j = c->arg;
    if (j->dead) {
        job_free(j);
        return;
    }
    j->rows += c->repaired;
    j->done_sources += err == DYN_OK;
    next_source(j);
}

static void confirm(struct job *j)
{
    struct engine *e = j->t->e;
    if (e->cfg.bug == BUG_UNCONFIRMED_MOVE) {
        j->done_sources++;
        next_source(j);
        return;
    }
    j->confirm = (struct confirm){.e = e,
                                  .node = j->sources[j->at_source],
                                  .partition = j->partition,
                                  .done = on_confirmed,
                                  .arg = j};
    confirm_start(&j->confirm);
}

static void on_synced(struct store_write *req, int err)
{
    struct job *j = req->arg;
    struct transfers *t = j->t;
    struct engine *e = t->e;
    j->syncing = false;
    if (j->dead) {
        job_free(j);
        return;
    }
    if (err != DYN_OK) {
        job_rest(j);
        return;
    }
    j->state = FILLED;
    e->stats.partitions_filled++;
    e->stats.transfer_rows += j->rows;
    e->stats.transfer_bytes += j->bytes;
    if (!timer_is_set(&t->tell))
        timer_set(e->ports.timers, &t->tell, engine_now(e) + TELL_US);
    start_waiting(t);
}

static void job_step(struct job *j)
{
    struct transfers *t = j->t;
    struct engine *e = t->e;
    struct range_request q = {.after = buf_slice(&j->cursor)};
    if (e->failed != DYN_OK || e->stopping)
        return;
    switch (j->state) {
    case LOOKING:
        look(j);
        return;
    case TAKING:
        ask(j, FRAME_RANGE_FETCH, &q, on_piece); /* of no row by name: in order */
        return;
    case LISTING:
        ask(j, FRAME_RANGE_LIST, &q, on_list);
        return;
    case FETCHING:
        fetch(j);
        return;
    case CONFIRMING:
        confirm(j);
        return;
    case SYNCING:
        if (e->cfg.bug != BUG_EARLY_FILL && !thin_whole(e->thin, j->partition)) {
            timer_set(e->ports.timers, &j->again, engine_now(e) + WHOLE_US);
            start_waiting(t);
            return;
        }
        j->sync = (struct store_write){.done = on_synced, .arg = j};
        j->syncing = true;
        e->ports.store.sync(e->ports.store.ctx, &j->sync);
        start_waiting(t);
        return;
    default:
        assert(false && "no step from here");
    }
}

static bool runs(const struct job *j)
{
    return !j->dead && j->state != WAITING && j->state != FILLED;
}

/* A sync takes the disk its time and nobody else's: it keeps no other partition from beginning. */
static bool takes_a_place(const struct job *j)
{
    return runs(j) && j->state != SYNCING;
}

static void start_waiting(struct transfers *t)
{
    uint32_t running = 0;
    list_for_each_safe(at, next, &t->jobs)
    {
        running += takes_a_place(container_of(at, struct job, link));
    }
    list_for_each_safe(at2, next2, &t->jobs)
    {
        struct job *j = container_of(at2, struct job, link);
        if (running >= JOBS_MAX)
            return;
        if (j->dead || j->state != WAITING || timer_is_set(&j->again))
            continue;
        running++;
        j->state = LOOKING;
        j->started_us = engine_now(t->e);
        job_step(j);
    }
}

/* ---- what the ring wants ----------------------------------------------------------------- */

static struct job *find_job(const struct transfers *t, uint32_t partition)
{
    for (const struct list *at = t->jobs.next; at != &t->jobs; at = at->next) {
        struct job *j = container_of(at, struct job, link);
        if (j->partition == partition && !j->dead)
            return j;
    }
    return NULL;
}

static bool busy(const struct job *j)
{
    return j->syncing || j->looking || compare_busy(&j->compare) || j->piece.busy ||
           confirm_busy(&j->confirm);
}

static void job_end(struct job *j)
{
    struct engine *e = j->t->e;
    rpc_cancel(e->rpc, &j->call);
    view_wait_cancel(&j->learn);
    confirm_cancel(&j->confirm);
    timer_cancel(e->ports.timers, &j->again);
    j->dead = true;
    if (!busy(j))
        job_free(j);
}

static bool is_target(const struct move *mv, uint64_t node)
{
    for (uint32_t i = 0; i < mv->n_targets; i++)
        if (mv->targets[i] == node)
            return true;
    return false;
}

/* Old voters, those first who go; among equals not all jobs begin with the same one. */
static void find_sources(struct job *j, const struct move *mv)
{
    struct engine *e = j->t->e;
    uint32_t turn = (uint32_t)(random_u64(&e->ports.random) % mv->n_voters);
    for (uint32_t stays = 0; stays < 2; stays++)
        for (uint32_t i = 0; i < mv->n_voters; i++) {
            uint64_t node = mv->voters[(i + turn) % mv->n_voters];
            if (node != e->cfg.node && is_target(mv, node) == (stays == 1))
                j->sources[j->n_sources++] = node;
        }
}

static void job_new(struct transfers *t, const struct move *mv)
{
    struct engine *e = t->e;
    struct job *j = mem_new(struct job);
    j->t = t;
    j->partition = mv->partition;
    j->fence = mv->since;
    j->resumed = !t->looked;
    timer_init(&j->again, on_again, j);
    list_init(&j->link);
    find_sources(j, mv);
    uint32_t n = ring_n(e->ring), w = ring_w(e->ring);
    j->need = n - w + 1 < j->n_sources ? n - w + 1 : j->n_sources;
    if (j->n_sources == 0 || e->cfg.bug == BUG_EARLY_FILL) {
        j->state = SYNCING;
        list_append(&t->jobs, &j->link);
        job_step(j);
        return;
    }
    list_append(&t->jobs, &j->link);
}

void transfers_look(struct transfers *t)
{
    struct engine *e = t->e;
    bool closes = false;
    list_for_each_safe(at, next, &t->jobs)
    {
        struct job *j = container_of(at, struct job, link);
        const struct move *mv = ring_move(e->ring, j->partition);
        if (j->dead)
            continue;
        if (mv == NULL || mv->since != j->fence || !move_is_filling(mv, e->cfg.node))
            job_end(j);
    }
    if (e->failed != DYN_OK || e->stopping)
        return;
    for (uint32_t p = 0; ring_moving(e->ring) > 0 && p < ring_q(e->ring); p++) {
        const struct move *mv = ring_move(e->ring, p);
        if (mv == NULL)
            continue;
        if (move_is_filling(mv, e->cfg.node) && find_job(t, p) == NULL)
            job_new(t, mv);
        closes |= closings_owns(e, p);
    }
    t->looked = true;
    start_waiting(t);
    if (closes)
        closings_look(t->closings);
}

static void on_tell(struct timer *timer, void *arg)
{
    (void)timer;
    struct transfers *t = arg;
    struct engine *e = t->e;
    uint32_t *filled = mem_reallocarray(NULL, ring_q(e->ring), sizeof(*filled)), n = 0;
    for (const struct list *at = t->jobs.next; at != &t->jobs; at = at->next) {
        struct job *j = container_of(at, struct job, link);
        const struct move *mv = ring_move(e->ring, j->partition);
        if (j->dead || j->state != FILLED || j->told || mv == NULL ||
            !move_is_filling(mv, e->cfg.node))
            continue;
        j->told = true;
        filled[n++] = j->partition;
    }
    moves_tell(e, MEMBER_FILLED, filled, n);
    free(filled);
}

/* ---- life -------------------------------------------------------------------------------- */

struct transfers *transfers_new(struct engine *e)
{
    struct transfers *t = mem_new(struct transfers);
    t->e = e;
    list_init(&t->jobs);
    timer_init(&t->tell, on_tell, t);
    t->closings = closings_new(e);
    return t;
}

void transfers_free(struct transfers *t)
{
    if (t == NULL)
        return;
    timer_cancel(t->e->ports.timers, &t->tell);
    closings_free(t->closings);
    while (!list_empty(&t->jobs))
        job_free(container_of(list_first(&t->jobs), struct job, link));
    free(t);
}

/* How far a job is with its present source: positions are spread evenly over a partition. */
static uint32_t permille_of(const struct job *j)
{
    struct reader r = reader_of(buf_slice(&j->cursor));
    uint32_t q = ring_q(j->t->e->ring);
    if (j->state == FILLED)
        return 1000;
    read_u32_be(&r);
    uint64_t position = read_u64_be(&r);
    if (j->state >= CONFIRMING)
        return 950;
    if (!reader_ok(&r))
        return 0;
    uint64_t within = q == 1 ? position : position * q; /* what is left of it below the partition */
    return (uint32_t)(within / (UINT64_MAX / 950 + 1));
}

uint32_t engine_transfers(const struct engine *e, struct engine_transfer *out, uint32_t cap)
{
    uint32_t n = 0;
    for (const struct list *at = e->transfers->jobs.next; at != &e->transfers->jobs && n < cap;
         at = at->next) {
        const struct job *j = container_of(at, struct job, link);
        if (j->dead)
            continue;
        out[n++] = (struct engine_transfer){
            .partition = j->partition,
            .source = j->at_source < j->n_sources ? j->sources[j->at_source] : 0,
            .runs = runs(j),
            .filled = j->state == FILLED,
            .permille = permille_of(j),
            .rows = j->rows,
            .bytes = j->bytes,
        };
    }
    return n;
}
