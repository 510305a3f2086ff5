/* SPDX-License-Identifier: Apache-2.0 */
/* See slices.h.
 *
 *   asked -> first in line, an interval has passed -> admission agrees, now or later -> granted */
#include "engine/slices.h"

#include <stdlib.h>

#include "base/mem.h"
#include "engine/core.h"

struct slices {
    struct engine *e;
    struct list waiting;
    struct timer timer;
    uint64_t granted_us; /* the last one */
};

static void arm(struct slices *s)
{
    uint64_t at = s->granted_us + s->e->cfg.slice_us, now = engine_now(s->e);
    if (!timer_is_set(&s->timer) && !list_empty(&s->waiting))
        timer_set(s->e->ports.timers, &s->timer, at > now ? at : now);
}

static void admitted(void *arg)
{
    struct slice_wait *w = arg;
    w->granted(w);
}

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    struct slices *s = arg;
    struct list *first = list_first(&s->waiting);
    s->granted_us = engine_now(s->e);
    if (first != NULL) {
        struct slice_wait *w = container_of(first, struct slice_wait, link);
        list_remove(&w->link);
        if (admission_ask(s->e->admission, &w->admission, w->kind, 0, admitted, w))
            w->granted(w);
    }
    arm(s);
}

struct slices *slices_new(struct engine *e)
{
    struct slices *s = mem_new(struct slices);
    s->e = e;
    list_init(&s->waiting);
    timer_init(&s->timer, on_timer, s);
    return s;
}

void slices_free(struct slices *s)
{
    if (s == NULL)
        return;
    timer_cancel(s->e->ports.timers, &s->timer);
    free(s);
}

void slice_wait_init(struct slice_wait *w, enum work kind, void (*granted)(struct slice_wait *w),
                     void *arg)
{
    list_init(&w->link);
    w->kind = kind;
    w->admission = (struct admission_wait){0};
    w->granted = granted;
    w->arg = arg;
}

void slices_ask(struct slices *s, struct slice_wait *w)
{
    list_append(&s->waiting, &w->link);
    arm(s);
}

void slices_forget(struct slices *s, struct slice_wait *w)
{
    list_remove(&w->link);
    admission_forget(s->e->admission, &w->admission);
}
