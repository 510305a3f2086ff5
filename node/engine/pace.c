/* SPDX-License-Identifier: Apache-2.0 */
/* See pace.h.
 *
 *   asked -> the node is idle: granted at once
 *   asked -> waiting -> first in line, nothing runs, the rest is over -> granted -> done -> rest */
#include "engine/pace.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "engine/core.h"

#define REST_TIMES 3
#define ROUND_US 4000000u /* all that wait are served in it: a peer that asks gives up else */

struct pace {
    struct engine *e;
    struct list waiting; /* struct pace_wait.link */
    uint32_t n_waiting;
    struct pace_wait *runs;   /* the one that is paced; NULL: none */
    uint64_t began_us, until; /* the rest */
    struct timer timer;
};

static void next(struct pace *p);

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    next(arg);
}

struct pace *pace_new(struct engine *e)
{
    struct pace *p = mem_new(struct pace);
    p->e = e;
    list_init(&p->waiting);
    timer_init(&p->timer, on_timer, p);
    return p;
}

void pace_free(struct pace *p)
{
    if (p == NULL)
        return;
    timer_cancel(p->e->ports.timers, &p->timer);
    free(p);
}

static void arm(struct pace *p, uint64_t at)
{
    if (!timer_is_set(&p->timer))
        timer_set(p->e->ports.timers, &p->timer, at);
}

static void leave_line(struct pace *p, struct pace_wait *w)
{
    list_remove(&w->link);
    w->waiting = false;
    p->n_waiting--;
}

static void next(struct pace *p)
{
    uint64_t now = engine_now(p->e);
    struct list *first = list_first(&p->waiting);
    if (first == NULL || p->runs != NULL)
        return;
    bool idle = admission_idle(p->e->admission);
    if (!idle && now < p->until) {
        arm(p, p->until);
        return;
    }
    struct pace_wait *w = container_of(first, struct pace_wait, link);
    leave_line(p, w);
    w->paced = true;
    p->runs = w;
    p->began_us = now;
    w->granted(w); /* which may be done with it inside */
}

void pace_ask(struct pace *p, struct pace_wait *w, void (*granted)(struct pace_wait *w))
{
    assert(!w->waiting && !w->paced);
    w->granted = granted;
    if (list_empty(&p->waiting) && admission_idle(p->e->admission)) {
        granted(w);
        return;
    }
    w->waiting = true;
    list_init(&w->link);
    list_append(&p->waiting, &w->link);
    p->n_waiting++;
    arm(p, engine_now(p->e)); /* not inside: whoever asks may have just been done */
}

static uint64_t rest_us(const struct pace *p, uint64_t took_us)
{
    uint64_t rest = took_us * REST_TIMES, most = ROUND_US / (p->n_waiting + 1);
    if (admission_idle(p->e->admission))
        return 0;
    most = most < PACE_REST_US ? most : PACE_REST_US;
    return rest < most ? rest : most;
}

void pace_done(struct pace *p, struct pace_wait *w)
{
    if (w->waiting)
        leave_line(p, w);
    if (!w->paced)
        return;
    assert(p->runs == w);
    uint64_t now = engine_now(p->e);
    w->paced = false;
    p->runs = NULL;
    p->until = now + rest_us(p, now - p->began_us);
    if (!list_empty(&p->waiting))
        arm(p, p->until);
}
