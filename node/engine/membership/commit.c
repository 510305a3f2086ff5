/* SPDX-License-Identifier: Apache-2.0 */
/* See commit.h.
 *
 *   IDLE --propose--> PREPARING --a majority promised--> ACCEPTING --a majority accepted--> CHOSEN
 *   PREPARING, ACCEPTING --somebody promised a higher ballot--> PREPARING with a higher one, after
 *                                                               a random pause
 *   PREPARING, ACCEPTING --somebody is at another configuration--> learns or teaches; then, if this
 *                                                               node's own is another, CONFLICT
 *   PREPARING, ACCEPTING --time is up--> NO_QUORUM
 *   CHOSEN --the ring with it is in use--> IDLE
 *
 * By force (commit.h) a majority is all of those who stay, and PREPARING lasts at least
 * FORCE_LISTEN_US; an answer of one who is to go ends it.
 *
 * What a majority had accepted before it learned the outcome is found by the next proposer, who
 * must propose it instead of its own; so that nothing stays half chosen, each acceptor takes that
 * upon itself after a while. */
#include "engine/membership/commit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/membership/gossip.h"
#include "engine/membership/view.h"

#define VOTE_ROW "vote"
#define FORMAT 1
#define CHANGE_LEN_MAX (64u << 10)
#define CALL_US 1000000u
#define TOTAL_US 8000000u
#define RETRY_US 300000u
#define FORCE_LISTEN_US 4000000u
#define LEFTOVER_US 5000000u /* what was accepted so long ago and not chosen needs somebody */

enum state { IDLE, PREPARING, ACCEPTING, CHOSEN };

struct voter {
    struct commit *c;
    uint64_t node;
    bool answered;
    bool goes; /* by force: the change removes it */
    struct rpc_call call;
    struct view_wait learn;
};

struct asked { /* whose vote is on its way to disk; origin 0: this node's own proposer */
    struct list link;
    uint64_t origin, rid;
    uint8_t type;
};

struct commit {
    struct engine *e;
    /* acceptor: about one configuration, the present one, or none */
    uint8_t base[DIGEST_LEN];
    struct ballot promised, accepted;
    struct buf change;
    struct list asked; /* struct asked */
    struct store_write write;
    bool writing;
    uint64_t accepted_us;
    struct store_get get;
    void (*loaded)(void *arg, int err);
    void *loaded_arg;
    /* proposer */
    enum state state;
    uint8_t my_base[DIGEST_LEN];
    struct ballot ballot, highest; /* highest: of what promises told to be accepted */
    struct buf mine, value;        /* what was asked for; what is proposed */
    struct voter *voters;
    uint32_t n_voters, yes, go; /* go: how many do */
    bool force;
    uint64_t listen_until;
    struct timer deadline, retry, leftover;
    void (*done)(void *arg, int err);
    void *arg;
};

static void on_deadline(struct timer *t, void *arg);
static void on_retry(struct timer *t, void *arg);
static void on_leftover(struct timer *t, void *arg);
static void take_vote(struct commit *c, uint64_t node, const struct vote_reply *p);
static void vote(struct commit *c, uint8_t type, const struct vote_request *q, uint64_t origin,
                 uint64_t rid);

/* ---- bodies ------------------------------------------------------------------------------ */

static void put_ballot(const struct ballot *b, struct buf *out)
{
    buf_put_u64(out, b->round);
    buf_put_u64(out, b->node);
}

static struct ballot read_ballot(struct reader *r)
{
    struct ballot b = {.round = read_u64(r)};
    b.node = read_u64(r);
    return b;
}

static int compare(const struct ballot *a, const struct ballot *b)
{
    if (a->round != b->round)
        return a->round < b->round ? -1 : 1;
    return (a->node > b->node) - (a->node < b->node);
}

void vote_request_encode(const struct vote_request *q, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put(out, q->base, DIGEST_LEN);
    put_ballot(&q->ballot, out);
    buf_put_bytes(out, q->change);
}

int vote_request_decode(struct slice body, struct vote_request *q)
{
    struct reader r = reader_of_format(body, FORMAT);
    struct vote_request got = {.change = {NULL, 0}};
    read_copy(&r, got.base, DIGEST_LEN);
    got.ballot = read_ballot(&r);
    got.change = read_bytes(&r);
    if (!reader_ok(&r) || got.change.len > CHANGE_LEN_MAX)
        return DYN_ERR_PROTOCOL;
    *q = got;
    return DYN_OK;
}

void vote_reply_encode(const struct vote_reply *p, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put_u32(out, (uint32_t)p->status);
    put_ballot(&p->promised, out);
    put_ballot(&p->accepted, out);
    buf_put_bytes(out, p->change);
}

int vote_reply_decode(struct slice body, struct vote_reply *p)
{
    struct reader r = reader_of_format(body, FORMAT);
    struct vote_reply got = {0};
    got.status = (int)read_u32(&r);
    got.promised = read_ballot(&r);
    got.accepted = read_ballot(&r);
    got.change = read_bytes(&r);
    if (!reader_ok(&r) || got.status > 0 || got.change.len > CHANGE_LEN_MAX)
        return DYN_ERR_PROTOCOL;
    *p = got;
    return DYN_OK;
}

/* The event in these bytes, if it is a change on this base. */
static bool is_change(struct slice bytes, const uint8_t *base, struct member_event *out)
{
    struct reader r = reader_of(bytes);
    member_event_decode(&r, out);
    if (!reader_ok(&r))
        return false;
    if (reader_done(&r) && out->type == MEMBER_CHANGE && memcmp(out->base, base, DIGEST_LEN) == 0)
        return true;
    member_event_release(out);
    return false;
}

/* ---- life -------------------------------------------------------------------------------- */

struct commit *commit_new(struct engine *e)
{
    struct commit *c = mem_new(struct commit);
    c->e = e;
    list_init(&c->asked);
    timer_init(&c->deadline, on_deadline, c);
    timer_init(&c->retry, on_retry, c);
    timer_init(&c->leftover, on_leftover, c);
    return c;
}

static void release_voters(struct commit *c)
{
    for (uint32_t i = 0; i < c->n_voters; i++) {
        rpc_cancel(c->e->rpc, &c->voters[i].call);
        view_wait_cancel(&c->voters[i].learn);
    }
    free(c->voters);
    c->voters = NULL;
    c->n_voters = c->yes = 0;
}

static void release_asked(struct commit *c)
{
    while (!list_empty(&c->asked)) {
        struct asked *a = container_of(list_first(&c->asked), struct asked, link);
        list_remove(&a->link);
        free(a);
    }
}

void commit_free(struct commit *c)
{
    if (c == NULL)
        return;
    release_voters(c);
    release_asked(c);
    timer_cancel(c->e->ports.timers, &c->deadline);
    timer_cancel(c->e->ports.timers, &c->retry);
    timer_cancel(c->e->ports.timers, &c->leftover);
    buf_release(&c->change);
    buf_release(&c->mine);
    buf_release(&c->value);
    free(c);
}

static void on_row(struct store_get *req, int err, struct slice value)
{
    struct commit *c = req->arg;
    if (err == DYN_OK) {
        struct reader r = reader_of_format(value, FORMAT);
        read_copy(&r, c->base, DIGEST_LEN);
        c->promised = read_ballot(&r);
        c->accepted = read_ballot(&r);
        struct slice change = read_bytes(&r);
        if (reader_ok(&r))
            buf_put_slice(&c->change, change);
        err = reader_ok(&r) ? DYN_OK : DYN_ERR_CORRUPT;
    } else if (err == DYN_ERR_NOT_FOUND) {
        err = DYN_OK;
    }
    c->loaded(c->loaded_arg, err);
}

void commit_load(struct commit *c, void (*done)(void *arg, int err), void *arg)
{
    struct engine *e = c->e;
    c->loaded = done;
    c->loaded_arg = arg;
    c->get = (struct store_get){
        .family = STORE_LOCAL, .key = slice_str(VOTE_ROW), .done = on_row, .arg = c};
    e->ports.store.get(e->ports.store.ctx, &c->get);
}

static void watch_leftover(struct commit *c)
{
    struct engine *e = c->e;
    uint64_t wait = LEFTOVER_US + random_u64(&e->ports.random) % LEFTOVER_US;
    if (c->accepted.round != 0)
        timer_set(e->ports.timers, &c->leftover, engine_now(e) + wait);
}

void commit_start(struct commit *c)
{
    watch_leftover(c);
}

/* ---- the acceptor ------------------------------------------------------------------------ */

static void answer_asked(struct commit *c, struct asked *a, int status)
{
    struct engine *e = c->e;
    struct vote_reply p = {.status = status,
                           .promised = c->promised,
                           .accepted = c->accepted,
                           .change = buf_slice(&c->change)};
    if (a->origin == 0) {
        take_vote(c, e->cfg.node, &p);
        return;
    }
    struct buf body = BUF_EMPTY;
    vote_reply_encode(&p, &body);
    e->ports.net.reply(e->ports.net.ctx, a->origin, a->rid, (uint8_t)(a->type + FRAME_REPLY),
                       &body);
}

static void on_vote_written(struct store_write *req, int err)
{
    struct commit *c = req->arg;
    struct asked *a = container_of(list_first(&c->asked), struct asked, link);
    c->writing = false;
    list_remove(&a->link);
    answer_asked(c, a, err);
    free(a);
}

static void write_vote(struct commit *c)
{
    struct engine *e = c->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    buf_put_u8(&row, FORMAT);
    buf_put(&row, c->base, DIGEST_LEN);
    put_ballot(&c->promised, &row);
    put_ballot(&c->accepted, &row);
    buf_put_bytes(&row, buf_slice(&c->change));
    store_batch_put(&b, STORE_LOCAL, slice_str(VOTE_ROW), buf_slice(&row));
    c->write = (struct store_write){.done = on_vote_written, .arg = c};
    c->writing = true;
    int err = e->ports.store.write(e->ports.store.ctx, &b, STORE_SYNCED, &c->write);
    store_batch_release(&b);
    buf_release(&row);
    if (err != DYN_OK)
        on_vote_written(&c->write, err);
}

/* A vote about a configuration that another has followed is of no use any more. */
static void renew(struct commit *c)
{
    if (memcmp(c->base, ring_config(c->e->ring), DIGEST_LEN) == 0)
        return;
    memcpy(c->base, ring_config(c->e->ring), DIGEST_LEN);
    c->promised = c->accepted = (struct ballot){0, 0};
    buf_clear(&c->change);
}

/* What is to be on disk for this request; DYN_OK: then it may be answered so. */
static int decide(struct commit *c, uint8_t type, const struct vote_request *q)
{
    struct engine *e = c->e;
    struct member_event ev;
    if (e->failed != DYN_OK || c->writing)
        return e->failed != DYN_OK ? DYN_ERR_STOPPED : DYN_ERR_OVERLOAD;
    if (memcmp(q->base, ring_config(e->ring), DIGEST_LEN) != 0)
        return DYN_ERR_REFUSED;
    if (ring_member_find(e->ring, e->cfg.node) == NULL)
        return DYN_ERR_REFUSED;
    renew(c);
    if (compare(&q->ballot, &c->promised) < (type == FRAME_PREPARE))
        return DYN_ERR_CONFLICT;
    if (type == FRAME_ACCEPT) {
        if (!is_change(q->change, q->base, &ev))
            return DYN_ERR_INVALID;
        member_event_release(&ev);
        c->accepted = q->ballot;
        buf_clear(&c->change);
        buf_put_slice(&c->change, q->change);
    }
    c->promised = q->ballot;
    return DYN_OK;
}

static void vote(struct commit *c, uint8_t type, const struct vote_request *q, uint64_t origin,
                 uint64_t rid)
{
    struct asked *a = mem_new(struct asked);
    int err = decide(c, type, q);
    *a = (struct asked){.origin = origin, .rid = rid, .type = type};
    list_init(&a->link);
    if (err != DYN_OK) {
        answer_asked(c, a, err);
        free(a);
        return;
    }
    if (type == FRAME_ACCEPT)
        watch_leftover(c);
    list_append(&c->asked, &a->link);
    write_vote(c);
}

void commit_frame(struct commit *c, uint64_t origin, uint64_t rid, uint8_t type, struct slice body)
{
    struct vote_request q;
    if (vote_request_decode(body, &q) == DYN_OK) {
        vote(c, type, &q, origin, rid);
        return;
    }
    struct asked a = {.origin = origin, .rid = rid, .type = type};
    answer_asked(c, &a, DYN_ERR_PROTOCOL);
}

/* ---- the proposer ------------------------------------------------------------------------ */

static void finish(struct commit *c, int err)
{
    void (*done)(void *, int) = c->done;
    c->state = IDLE;
    c->done = NULL;
    c->force = false;
    release_voters(c);
    timer_cancel(c->e->ports.timers, &c->deadline);
    timer_cancel(c->e->ports.timers, &c->retry);
    if (done != NULL)
        done(c->arg, err);
}

static void finish_later(struct commit *c)
{
    timer_set(c->e->ports.timers, &c->retry, engine_now(c->e));
}

static bool moved_on(const struct commit *c)
{
    return memcmp(c->my_base, ring_config(c->e->ring), DIGEST_LEN) != 0;
}

static bool has_mine(const struct commit *c)
{
    const struct history *h = ring_history(c->e->ring);
    for (uint32_t i = h->n; i > 0; i--) {
        struct buf bytes = BUF_EMPTY;
        if (h->events[i - 1].type != MEMBER_CHANGE)
            continue;
        member_event_encode(&h->events[i - 1], &bytes);
        bool same = slice_equal(buf_slice(&bytes), buf_slice(&c->mine));
        buf_release(&bytes);
        if (same)
            return true;
    }
    return false;
}

static void ask(struct voter *v);

static void on_vote(struct rpc_call *call, int err, struct slice body)
{
    struct voter *v = call->arg;
    struct vote_reply p;
    if (err == DYN_OK && v->goes) {
        finish(v->c, DYN_ERR_EXISTS);
        return;
    }
    if (err == DYN_OK && vote_reply_decode(body, &p) == DYN_OK)
        take_vote(v->c, v->node, &p);
}

static void ask(struct voter *v)
{
    struct commit *c = v->c;
    struct engine *e = c->e;
    struct vote_request q = {.ballot = c->ballot};
    uint8_t type = c->state == PREPARING ? FRAME_PREPARE : FRAME_ACCEPT;
    memcpy(q.base, c->my_base, DIGEST_LEN);
    if (c->state == ACCEPTING)
        q.change = buf_slice(&c->value);
    if (v->node == e->cfg.node) {
        vote(c, type, &q, 0, 0);
        return;
    }
    struct buf body = BUF_EMPTY;
    vote_request_encode(&q, &body);
    rpc_cancel(e->rpc, &v->call);
    v->call = (struct rpc_call){.done = on_vote, .arg = v};
    rpc_start(e->rpc, &v->call, v->node, type, &body, CALL_US);
}

static void on_learned(struct view_wait *w)
{
    struct voter *v = w->arg;
    if (moved_on(v->c))
        finish_later(v->c);
    else
        ask(v); /* it was behind, and is no more */
}

static void ask_all(struct commit *c, enum state state)
{
    c->state = state;
    c->yes = 0;
    for (uint32_t i = 0; i < c->n_voters; i++)
        c->voters[i].answered = false;
    timer_set(c->e->ports.timers, &c->retry, engine_now(c->e) + CALL_US);
    for (uint32_t i = 0; i < c->n_voters && c->state == state; i++)
        ask(&c->voters[i]);
}

static void prepare(struct commit *c)
{
    c->ballot.round =
        (c->ballot.round > c->promised.round ? c->ballot.round : c->promised.round) + 1;
    c->ballot.node = c->e->cfg.node;
    c->highest = (struct ballot){0, 0};
    buf_clear(&c->value);
    buf_put_slice(&c->value, buf_slice(&c->mine));
    ask_all(c, PREPARING);
}

static void chosen(struct commit *c)
{
    struct member_event ev;
    c->state = CHOSEN;
    if (is_change(buf_slice(&c->value), c->my_base, &ev)) {
        view_add(c->e->view, &ev, NULL);
        member_event_release(&ev);
    }
    finish_later(c);
}

static void take_promise(struct commit *c, const struct vote_reply *p)
{
    if (p->accepted.round == 0 || compare(&p->accepted, &c->highest) <= 0)
        return;
    c->highest = p->accepted;
    buf_clear(&c->value);
    buf_put_slice(&c->value, p->change);
}

static bool enough(const struct commit *c)
{
    if (!c->force)
        return c->yes > c->n_voters / 2;
    bool listened = c->state == ACCEPTING || engine_now(c->e) >= c->listen_until;
    return listened && c->yes == c->n_voters - c->go;
}

static void take_vote(struct commit *c, uint64_t node, const struct vote_reply *p)
{
    struct voter *v = NULL;
    for (uint32_t i = 0; i < c->n_voters; i++)
        if (c->voters[i].node == node)
            v = &c->voters[i];
    if (v == NULL || v->answered || (c->state != PREPARING && c->state != ACCEPTING))
        return;
    if (p->status == DYN_ERR_REFUSED && node != c->e->cfg.node && !v->learn.active) {
        v->learn = (struct view_wait){.done = on_learned, .arg = v};
        view_learn(c->e->view, node, &v->learn);
        return;
    }
    if (p->status == DYN_ERR_CONFLICT && p->promised.round > c->ballot.round)
        c->ballot.round = p->promised.round; /* the next attempt is above it */
    if (p->status != DYN_OK || compare(&p->promised, &c->ballot) != 0)
        return; /* the retry asks again */
    v->answered = true;
    if (c->state == PREPARING)
        take_promise(c, p);
    c->yes++;
    if (!enough(c))
        return;
    if (c->state == PREPARING)
        ask_all(c, ACCEPTING);
    else
        chosen(c);
}

static void on_retry(struct timer *t, void *arg)
{
    struct commit *c = arg;
    struct engine *e = c->e;
    if (c->state == IDLE)
        return;
    if (moved_on(c)) {
        bool here = has_mine(c);
        finish(c, here ? DYN_OK : DYN_ERR_CONFLICT);
    } else if (c->state == CHOSEN) {
        timer_set(e->ports.timers, t, engine_now(e) + RETRY_US); /* on its way to disk */
    } else {
        prepare(c);
        timer_set(e->ports.timers, t,
                  engine_now(e) + CALL_US + random_u64(&e->ports.random) % RETRY_US);
    }
}

static void on_deadline(struct timer *t, void *arg)
{
    (void)t;
    finish(arg, DYN_ERR_NO_QUORUM);
}

static void mark_voters(struct commit *c, struct slice change)
{
    struct member_event ev;
    c->go = 0;
    c->listen_until = engine_now(c->e) + FORCE_LISTEN_US;
    if (!c->force || !is_change(change, c->my_base, &ev))
        return;
    for (uint32_t i = 0; i < c->n_voters; i++) {
        c->voters[i].goes = member_event_takes_out(&ev, c->voters[i].node);
        c->go += c->voters[i].goes;
    }
    member_event_release(&ev);
}

static void begin(struct commit *c, struct slice change)
{
    struct engine *e = c->e;
    buf_clear(&c->mine);
    buf_put_slice(&c->mine, change);
    memcpy(c->my_base, ring_config(e->ring), DIGEST_LEN);
    renew(c);
    release_voters(c);
    c->n_voters = ring_member_count(e->ring);
    c->voters = mem_zalloc(c->n_voters * sizeof(*c->voters));
    for (uint32_t i = 0; i < c->n_voters; i++)
        c->voters[i] = (struct voter){.c = c, .node = ring_member_at(e->ring, i)->node};
    mark_voters(c, change);
    timer_set(e->ports.timers, &c->deadline, engine_now(e) + TOTAL_US);
    prepare(c);
}

/* Is this node one of those who stay, and are they no majority? */
static bool may_force(const struct commit *c, const struct member_event *change)
{
    const struct ring *ring = c->e->ring;
    uint32_t stay = 0, n = ring_member_count(ring);
    for (uint32_t i = 0; i < n; i++)
        stay += !member_event_takes_out(change, ring_member_at(ring, i)->node);
    return stay <= n / 2 && !member_event_takes_out(change, c->e->cfg.node) &&
           ring_member_find(ring, c->e->cfg.node) != NULL;
}

static void propose(struct commit *c, const struct member_event *change, bool force,
                    void (*done)(void *arg, int err), void *arg)
{
    struct buf bytes = BUF_EMPTY;
    int err = DYN_OK;
    if (force && !may_force(c, change))
        err = DYN_ERR_INVALID;
    else if (c->state != IDLE)
        err = DYN_ERR_OVERLOAD;
    else if (memcmp(change->base, ring_config(c->e->ring), DIGEST_LEN) != 0)
        err = DYN_ERR_CONFLICT;
    member_event_encode(change, &bytes);
    if (err == DYN_OK && bytes.len > CHANGE_LEN_MAX)
        err = DYN_ERR_TOO_LARGE;
    if (err == DYN_OK) {
        c->done = done;
        c->arg = arg;
        c->force = force;
        begin(c, buf_slice(&bytes));
    } else {
        done(arg, err);
    }
    buf_release(&bytes);
}

void commit_propose(struct commit *c, const struct member_event *change,
                    void (*done)(void *arg, int err), void *arg)
{
    propose(c, change, false, done, arg);
}

void commit_force(struct commit *c, const struct member_event *change,
                  void (*done)(void *arg, int err), void *arg)
{
    propose(c, change, true, done, arg);
}

static void on_leftover(struct timer *t, void *arg)
{
    (void)t;
    struct commit *c = arg;
    if (c->accepted.round == 0 || memcmp(c->base, ring_config(c->e->ring), DIGEST_LEN) != 0)
        return;
    if (c->state == IDLE && c->e->failed == DYN_OK) {
        struct buf change = BUF_EMPTY;
        buf_put_slice(&change, buf_slice(&c->change));
        begin(c, buf_slice(&change));
        buf_release(&change);
    }
    watch_leftover(c);
}
