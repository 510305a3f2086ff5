/* SPDX-License-Identifier: Apache-2.0 */
/* See closing.h. All old voters are asked at once, each about everything that could be closed; what
 * N - R + 1 of its old voters agree to is one event. Who does not know yet learns it by being
 * asked (view_learn). Those who are new in a partition ask; while none of them is up, the other
 * owners do: who has filled may be lost before it has asked. */
#include "engine/transfer/closing.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/membership/view.h"
#include "engine/peer_wire.h"
#include "engine/thin/thin.h"
#include "engine/transfer/fence_list.h"

#define CALL_US 5000000u
#define AGAIN_US 1000000u
#define SOON_US 25000u /* partitions that have filled by then are asked about together */

struct closing { /* asks one old voter about all that could be closed */
    struct closings *t;
    uint64_t node;
    bool agreed;
    struct rpc_call call;
    struct view_wait learn;
};

struct closings {
    struct engine *e;
    struct timer close;
    struct closing *list;
    uint32_t n, active;
    uint64_t generation; /* of the ring that they are asked about */
};

static void on_close(struct timer *timer, void *arg);

struct closings *closings_new(struct engine *e)
{
    struct closings *t = mem_new(struct closings);
    t->e = e;
    timer_init(&t->close, on_close, t);
    return t;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* An event of this node about partitions; takes none that are moved by another change meanwhile. */
void moves_tell(struct engine *e, enum member_event_type type, uint32_t *partitions, uint32_t n)
{
    if (n == 0)
        return;
    qsort(partitions, n, sizeof(*partitions), by_number);
    struct member_event ev = {.stamp = history_next_stamp(&e->rumours.history),
                              .node = e->cfg.node,
                              .type = type,
                              .partitions = partitions,
                              .n_partitions = n};
    memcpy(ev.base, ring_config(e->ring), DIGEST_LEN);
    view_add(e->view, &ev, NULL);
}

/* ---- asking ----------------------------------------------------------------------------- */

static void release_asked(struct closings *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        rpc_cancel(t->e->rpc, &t->list[i].call);
        view_wait_cancel(&t->list[i].learn);
    }
    free(t->list);
    t->list = NULL;
    t->n = t->active = 0;
}

static bool agreed(const struct closings *t, uint64_t node)
{
    if (node == t->e->cfg.node)
        return true;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->list[i].node == node)
            return t->list[i].agreed;
    return false;
}

/* R of the old row cannot be gathered by the old view any more. */
static bool can_close(const struct closings *t, const struct move *mv)
{
    uint32_t know = 0, r = ring_r(t->e->ring);
    for (uint32_t i = 0; i < mv->n_voters; i++)
        know += agreed(t, mv->voters[i]);
    return know + r > mv->n_voters;
}

bool closings_owns(const struct engine *e, uint32_t p)
{
    const struct move *mv = ring_move(e->ring, p);
    for (uint32_t i = 0; mv != NULL && mv->phase == MOVE_FILLED && i < mv->n_targets; i++)
        if (mv->targets[i] == e->cfg.node)
            return true;
    return false;
}

static bool closes_here(const struct closings *t, uint32_t p)
{
    const struct engine *e = t->e;
    const struct move *mv = ring_move(e->ring, p);
    if (!closings_owns(e, p) || !thin_whole(e->thin, p))
        return false; /* who retires may have values that all who stay have let go of */
    for (uint32_t i = 0; i < mv->n_targets && !move_is_new(mv, e->cfg.node); i++)
        if (move_is_new(mv, mv->targets[i]) && detector_up(e->detector, mv->targets[i]))
            return false; /* it does */
    return true;
}

static void closings_done(struct closings *t)
{
    struct engine *e = t->e;
    uint32_t q = ring_q(e->ring), n = 0;
    bool left = false;
    if (t->generation != e->generation) {
        release_asked(t); /* they agreed to another ring */
        timer_set(e->ports.timers, &t->close, engine_now(e) + SOON_US);
        return;
    }
    uint32_t *closed = mem_reallocarray(NULL, q, sizeof(*closed));
    for (uint32_t p = 0; p < q; p++) {
        if (closes_here(t, p) && can_close(t, ring_move(e->ring, p)))
            closed[n++] = p;
        else
            left |= closings_owns(e, p);
    }
    moves_tell(e, MEMBER_CLOSED, closed, n);
    free(closed);
    release_asked(t);
    if (left)
        timer_set(e->ports.timers, &t->close, engine_now(e) + AGAIN_US);
}

static void closing_ended(struct closing *c)
{
    if (--c->t->active == 0)
        closings_done(c->t);
}

static void ask_closing(struct closing *c);

static void on_closing_learned(struct view_wait *w)
{
    struct closing *c = w->arg;
    if (c->t->generation == c->t->e->generation)
        ask_closing(c);
    else
        closing_ended(c);
}

static void on_closing(struct rpc_call *call, int err, struct slice body)
{
    struct closing *c = call->arg;
    int status = DYN_OK;
    if (err == DYN_OK)
        err = peer_status_decode(body, &status);
    if (err == DYN_OK)
        err = status;
    c->agreed = err == DYN_OK;
    if (err == DYN_ERR_REFUSED && c->learn.done == NULL) { /* once: then it knows */
        c->learn = (struct view_wait){.done = on_closing_learned, .arg = c};
        view_learn(c->t->e->view, c->node, &c->learn);
        return;
    }
    closing_ended(c);
}

static void ask_closing(struct closing *c)
{
    struct engine *e = c->t->e;
    struct fence_list l = {.n = 0};
    struct buf body = BUF_EMPTY;
    uint32_t q = ring_q(e->ring);
    l.partitions = mem_reallocarray(NULL, q, sizeof(*l.partitions));
    l.fences = mem_reallocarray(NULL, q, sizeof(*l.fences));
    for (uint32_t p = 0; p < q; p++) {
        if (!closes_here(c->t, p))
            continue;
        l.partitions[l.n] = p;
        l.fences[l.n++] = ring_fence(e->ring, p);
    }
    fence_list_encode(&l, &body);
    fence_list_release(&l);
    c->call = (struct rpc_call){.done = on_closing, .arg = c};
    rpc_start(e->rpc, &c->call, c->node, FRAME_FENCED, &body, CALL_US);
}

static void add_closing(struct closings *t, uint64_t node)
{
    if (node == t->e->cfg.node)
        return;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->list[i].node == node)
            return;
    t->list = mem_reallocarray(t->list, t->n + 1, sizeof(*t->list));
    t->list[t->n++] = (struct closing){.t = t, .node = node};
}

static void on_close(struct timer *timer, void *arg)
{
    (void)timer;
    struct closings *t = arg;
    struct engine *e = t->e;
    if (t->active > 0 || e->failed != DYN_OK || e->stopping)
        return;
    release_asked(t);
    for (uint32_t p = 0; p < ring_q(e->ring); p++) {
        const struct move *mv = ring_move(e->ring, p);
        for (uint32_t i = 0; closes_here(t, p) && i < mv->n_voters; i++)
            add_closing(t, mv->voters[i]);
    }
    t->generation = e->generation;
    t->active = t->n;
    for (uint32_t i = 0; i < t->n; i++)
        ask_closing(&t->list[i]);
    if (t->n == 0)
        closings_done(t);
}

void closings_look(struct closings *t)
{
    if (!timer_is_set(&t->close))
        timer_set(t->e->ports.timers, &t->close, engine_now(t->e) + SOON_US);
}

void closings_free(struct closings *t)
{
    if (t == NULL)
        return;
    timer_cancel(t->e->ports.timers, &t->close);
    release_asked(t);
    free(t);
}
