/* SPDX-License-Identifier: Apache-2.0 */
/* One event loop per thread: the only place (with the HTTP server) that knows libevent. The loop
 * works in turns: wait, handle every event that is ready, then run the hooks that were armed
 * meanwhile. Hooks are how batches form: whatever one turn produced for one peer is handed over
 * together at its end.
 *
 * Everything here belongs to the loop's thread, except loop_wake_signal. Callbacks may free what
 * they are called for. */
#ifndef DYN_ADAPTER_LOOP_H
#define DYN_ADAPTER_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock_port.h"
#include "base/list.h"
#include "base/timers.h"

struct loop;
struct event_base;

struct loop *loop_new(void);    /* NULL when the system gives no poller */
void loop_free(struct loop *l); /* after everything that watches on it; NULL is fine */

struct timers *loop_timers(struct loop *l); /* borrowed; fired by the loop */
struct time_port loop_time(struct loop *l);
struct random_port loop_random(void); /* getrandom(2) */
uint64_t loop_now_us(void);           /* what loop_time gives as mono_us */

/* Turns until loop_stop is called. */
void loop_run(struct loop *l);
/* One turn, which waits at most max_wait_us for something to happen (UINT64_MAX: for ever). */
void loop_turn(struct loop *l, uint64_t max_wait_us);
void loop_stop(struct loop *l); /* the turn ends first, with its hooks */

/* Runs at the end of the turn in which it was armed, once, however often armed. Arming a hook from
 * within a hook runs it in the same turn's end. Storage is the caller's. */
struct loop_hook {
    struct list link;
    void (*run)(void *arg);
    void *arg;
};
void loop_hook_init(struct loop_hook *h, void (*run)(void *arg), void *arg);
void loop_hook_arm(struct loop *l, struct loop_hook *h);
void loop_hook_cancel(struct loop_hook *h); /* fine when not armed */

enum loop_events { LOOP_READ = 1, LOOP_WRITE = 2 };

/* Level-triggered readiness of a descriptor that the caller owns and closes after the watch is
 * freed. Errors and hang-ups are reported as readiness. */
struct loop_watch;
struct loop_watch *loop_watch_new(struct loop *l, int fd, unsigned events,
                                  void (*ready)(void *arg, unsigned events), void *arg);
void loop_watch_set(struct loop_watch *w, unsigned events); /* 0: paused */
void loop_watch_free(struct loop_watch *w);                 /* NULL is fine */

/* Lets other threads have `woken` run in the loop's thread: once for any number of signals since
 * the last run. */
struct loop_wake;
struct loop_wake *loop_wake_new(struct loop *l, void (*woken)(void *arg), void *arg);
void loop_wake_signal(struct loop_wake *w); /* from any thread */
void loop_wake_free(struct loop_wake *w);

/* A signal, delivered in the loop's thread as an event. */
struct loop_signal;
struct loop_signal *loop_signal_new(struct loop *l, int signo, void (*caught)(void *arg, int signo),
                                    void *arg);
void loop_signal_free(struct loop_signal *s);

struct event_base *loop_base(struct loop *l); /* for libraries built on libevent */

#endif
