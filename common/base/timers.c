/* SPDX-License-Identifier: Apache-2.0 */
/* See timers.h. A plain binary heap; each timer knows its slot, so cancel and move are O(log n). */
#include "base/timers.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

void timers_init(struct timers *ts)
{
    *ts = (struct timers){NULL, 0, 0, 1};
}

void timers_release(struct timers *ts)
{
    for (size_t i = 0; i < ts->len; i++)
        ts->heap[i]->slot = 0;
    free(ts->heap);
    timers_init(ts);
}

void timer_init(struct timer *t, void (*fire)(struct timer *t, void *arg), void *arg)
{
    *t = (struct timer){.fire = fire, .arg = arg};
}

bool timer_is_set(const struct timer *t)
{
    return t->slot != 0;
}

static bool earlier(const struct timer *a, const struct timer *b)
{
    return a->when_us != b->when_us ? a->when_us < b->when_us : a->order < b->order;
}

static void place(struct timers *ts, size_t i, struct timer *t)
{
    ts->heap[i] = t;
    t->slot = i + 1;
}

static void sift_up(struct timers *ts, size_t i)
{
    struct timer *t = ts->heap[i];
    while (i > 0 && earlier(t, ts->heap[(i - 1) / 2])) {
        place(ts, i, ts->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(ts, i, t);
}

static void sift_down(struct timers *ts, size_t i)
{
    struct timer *t = ts->heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= ts->len)
            break;
        if (child + 1 < ts->len && earlier(ts->heap[child + 1], ts->heap[child]))
            child++;
        if (!earlier(ts->heap[child], t))
            break;
        place(ts, i, ts->heap[child]);
        i = child;
    }
    place(ts, i, t);
}

void timer_cancel(struct timers *ts, struct timer *t)
{
    if (t->slot == 0)
        return;
    size_t i = t->slot - 1;
    assert(i < ts->len && ts->heap[i] == t);
    struct timer *last = ts->heap[--ts->len];
    t->slot = 0;
    if (last == t)
        return;
    place(ts, i, last);
    sift_up(ts, i);
    sift_down(ts, last->slot - 1);
}

void timer_set(struct timers *ts, struct timer *t, uint64_t when_us)
{
    timer_cancel(ts, t);
    if (ts->len == ts->cap) {
        ts->cap = ts->cap == 0 ? 16 : ts->cap * 2;
        ts->heap = mem_reallocarray(ts->heap, ts->cap, sizeof(*ts->heap));
    }
    t->when_us = when_us;
    t->order = ts->next_order++;
    ts->heap[ts->len++] = t;
    sift_up(ts, ts->len - 1);
}

uint64_t timers_next(const struct timers *ts)
{
    return ts->len == 0 ? UINT64_MAX : ts->heap[0]->when_us;
}

void timers_run(struct timers *ts, uint64_t now_us)
{
    uint64_t limit = ts->next_order;
    while (ts->len > 0 && ts->heap[0]->when_us <= now_us && ts->heap[0]->order < limit) {
        struct timer *t = ts->heap[0];
        timer_cancel(ts, t);
        t->fire(t, t->arg);
    }
}
