/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines for sans-I/O code: a binary heap of timers that somebody else's clock drives. The event
 * loop arms one real timer for timers_next(); the simulator jumps its clock there. Times are
 * monotonic microseconds. */
#ifndef DYN_BASE_TIMERS_H
#define DYN_BASE_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
    uint64_t when_us;
    uint64_t order; /* equal times fire in the order in which they were set */
    size_t slot;    /* 1 + index in the heap, 0 when not set */
    void (*fire)(struct timer *t, void *arg);
    void *arg;
};

struct timers {
    struct timer **heap;
    size_t len, cap;
    uint64_t next_order;
};

void timers_init(struct timers *ts);
void timers_release(struct timers *ts); /* timers still set are forgotten, not fired */

/* Storage belongs to the caller and must stay put while set. */
void timer_init(struct timer *t, void (*fire)(struct timer *t, void *arg), void *arg);
void timer_set(struct timers *ts, struct timer *t, uint64_t when_us); /* moves it if it was set */
void timer_cancel(struct timers *ts, struct timer *t);                /* fine if not set */
bool timer_is_set(const struct timer *t);

/* Earliest deadline, or UINT64_MAX when none is set. */
uint64_t timers_next(const struct timers *ts);

/* Fires, in order, what is due at now_us, up to the first that was set during this call: so a timer
 * that sets itself again cannot keep it here. A fired timer is no longer set. */
void timers_run(struct timers *ts, uint64_t now_us);

#endif
