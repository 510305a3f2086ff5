/* SPDX-License-Identifier: Apache-2.0 */
/* See loop.h. libevent 2.1 has no watchers around its poll, so a turn is one
 * event_base_loop(EVLOOP_ONCE): it waits, handles what is ready (deferred callbacks too) and comes
 * back, and the hooks run here. Deadlines live in a heap of ours (base/timers.h), which sans-I/O
 * code shares with the simulator. One descriptor of the kernel's rings for the earliest of them:
 * libevent's own precise timers cost a system call in every turn, this one only when something is
 * due sooner than before. */
#include "adapter/loop.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

/* Rounds of hooks that arm each other within one turn; what is left then waits for the next turn,
 * which does not block. */
#define HOOK_ROUNDS 16

struct loop {
    struct event_base *base;
    int alarm_fd;
    struct event *alarm;
    uint64_t alarm_us; /* when it rings, UINT64_MAX: not set */
    struct timers timers;
    struct list hooks; /* armed */
    bool stopped;
};

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    int rc = clock_gettime(id, &ts);
    assert(rc == 0);
    (void)rc;
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t loop_now_us(void)
{
    return clock_ns(CLOCK_MONOTONIC) / 1000;
}

static uint64_t port_mono_us(void *ctx)
{
    (void)ctx;
    return loop_now_us();
}

static uint64_t port_wall_ns(void *ctx)
{
    (void)ctx;
    return clock_ns(CLOCK_REALTIME);
}

struct time_port loop_time(struct loop *l)
{
    return (struct time_port){.ctx = l, .mono_us = port_mono_us, .wall_ns = port_wall_ns};
}

static void port_random(void *ctx, void *out, size_t len)
{
    (void)ctx;
    uint8_t *p = out;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno != EINTR)
            abort(); /* dots must never repeat: nothing sensible is left to do */
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
}

struct random_port loop_random(void)
{
    return (struct random_port){.ctx = NULL, .bytes = port_random};
}

static void alarm_rang(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    uint64_t count;
    (void)what;
    if (read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        l->alarm_us = UINT64_MAX; /* due timers run after each turn anyway */
}

struct loop *loop_new(void)
{
    struct loop *l = mem_new(struct loop);
    struct event_config *cfg = event_config_new();
    /* Interest in a descriptor changes a few times per HTTP request; the change list makes one
     * epoll_ctl of them. It wants descriptors that are never dup'ed, and ours are not. */
    if (cfg != NULL) {
        event_config_set_flag(cfg, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
        event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
        l->base = event_base_new_with_config(cfg);
        event_config_free(cfg);
    }
    l->alarm_us = UINT64_MAX;
    timers_init(&l->timers);
    list_init(&l->hooks);
    l->alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->base != NULL && l->alarm_fd >= 0)
        l->alarm = event_new(l->base, l->alarm_fd, EV_READ | EV_PERSIST, alarm_rang, l);
    if (l->alarm == NULL || event_add(l->alarm, NULL) != 0) {
        loop_free(l);
        return NULL;
    }
    return l;
}

void loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    list_for_each_safe(it, tmp, &l->hooks) list_remove(it);
    timers_release(&l->timers);
    if (l->alarm != NULL)
        event_free(l->alarm);
    if (l->alarm_fd >= 0)
        close(l->alarm_fd);
    if (l->base != NULL) {
        /* What libevent has put off (the end of a bufferevent, a deferred callback) holds memory
         * that event_base_free does not give back. */
        event_base_loop(l->base, EVLOOP_NONBLOCK);
        event_base_free(l->base);
    }
    free(l);
}

struct timers *loop_timers(struct loop *l)
{
    return &l->timers;
}

struct event_base *loop_base(struct loop *l)
{
    return l->base;
}

/* Makes the alarm ring no later than `when`. A later alarm is left alone: it costs one idle turn,
 * moving it for each request that sets a deadline would cost more. */
static void alarm_arm(struct loop *l, uint64_t when)
{
    if (when >= l->alarm_us)
        return;
    uint64_t at = when > 0 ? when : 1; /* 0 would disarm it */
    const struct itimerspec ring = {
        .it_value = {.tv_sec = (time_t)(at / 1000000), .tv_nsec = (long)(at % 1000000) * 1000}};
    int rc = timerfd_settime(l->alarm_fd, TFD_TIMER_ABSTIME, &ring, NULL);
    assert(rc == 0);
    (void)rc;
    l->alarm_us = when;
}

static void run_hooks(struct loop *l)
{
    for (unsigned round = 0; round < HOOK_ROUNDS && !list_empty(&l->hooks); round++) {
        struct list batch;
        list_init(&batch);
        list_for_each_safe(it, tmp, &l->hooks)
        {
            list_remove(it);
            list_append(&batch, it);
        }
        while (!list_empty(&batch)) {
            struct loop_hook *h = container_of(list_first(&batch), struct loop_hook, link);
            list_remove(&h->link);
            h->run(h->arg);
        }
    }
}

void loop_turn(struct loop *l, uint64_t max_wait_us)
{
    int flags = EVLOOP_ONCE;
    uint64_t next = timers_next(&l->timers);
    if (max_wait_us != UINT64_MAX && max_wait_us != 0) {
        uint64_t limit = loop_now_us() + max_wait_us;
        next = next < limit ? next : limit;
    }
    if (!list_empty(&l->hooks) || max_wait_us == 0 || l->stopped)
        flags |= EVLOOP_NONBLOCK;
    else if (next != UINT64_MAX)
        alarm_arm(l, next);
    event_base_loop(l->base, flags | EVLOOP_NO_EXIT_ON_EMPTY);
    if (timers_next(&l->timers) != UINT64_MAX)
        timers_run(&l->timers, loop_now_us());
    run_hooks(l);
}

void loop_run(struct loop *l)
{
    while (!l->stopped)
        loop_turn(l, UINT64_MAX);
    l->stopped = false;
}

void loop_stop(struct loop *l)
{
    l->stopped = true;
}

void loop_hook_init(struct loop_hook *h, void (*run)(void *arg), void *arg)
{
    list_init(&h->link);
    h->run = run;
    h->arg = arg;
}

void loop_hook_arm(struct loop *l, struct loop_hook *h)
{
    if (list_empty(&h->link))
        list_append(&l->hooks, &h->link);
}

void loop_hook_cancel(struct loop_hook *h)
{
    list_remove(&h->link);
}

struct loop_watch {
    struct event *event;
    unsigned events;
    void (*ready)(void *arg, unsigned events);
    void *arg;
};

static void watch_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct loop_watch *w = arg;
    unsigned events = (what & EV_READ ? LOOP_READ : 0u) | (what & EV_WRITE ? LOOP_WRITE : 0u);
    w->ready(w->arg, events);
}

static short watch_flags(unsigned events)
{
    return (short)(EV_PERSIST | (events & LOOP_READ ? EV_READ : 0) |
                   (events & LOOP_WRITE ? EV_WRITE : 0));
}

struct loop_watch *loop_watch_new(struct loop *l, int fd, unsigned events,
                                  void (*ready)(void *arg, unsigned events), void *arg)
{
    struct loop_watch *w = mem_new(struct loop_watch);
    w->ready = ready;
    w->arg = arg;
    w->event = event_new(l->base, fd, watch_flags(0), watch_ready, w);
    if (w->event == NULL)
        abort(); /* as any allocation */
    loop_watch_set(w, events);
    return w;
}

void loop_watch_set(struct loop_watch *w, unsigned events)
{
    if (events == w->events)
        return;
    struct event_base *base = event_get_base(w->event);
    int fd = event_get_fd(w->event);
    event_del(w->event);
    event_assign(w->event, base, fd, watch_flags(events), watch_ready, w);
    if (events != 0)
        event_add(w->event, NULL);
    w->events = events;
}

void loop_watch_free(struct loop_watch *w)
{
    if (w == NULL)
        return;
    event_free(w->event);
    free(w);
}

struct loop_wake {
    int fd;
    struct loop_watch *watch;
    void (*woken)(void *arg);
    void *arg;
};

static void wake_ready(void *arg, unsigned events)
{
    (void)events;
    struct loop_wake *w = arg;
    uint64_t count;
    if (read(w->fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        w->woken(w->arg);
}

struct loop_wake *loop_wake_new(struct loop *l, void (*woken)(void *arg), void *arg)
{
    struct loop_wake *w = mem_new(struct loop_wake);
    w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->fd < 0)
        abort();
    w->woken = woken;
    w->arg = arg;
    w->watch = loop_watch_new(l, w->fd, LOOP_READ, wake_ready, w);
    return w;
}

void loop_wake_signal(struct loop_wake *w)
{
    uint64_t one = 1;
    ssize_t n = write(w->fd, &one, sizeof(one));
    (void)n; /* a full counter wakes too */
}

void loop_wake_free(struct loop_wake *w)
{
    if (w == NULL)
        return;
    loop_watch_free(w->watch);
    close(w->fd);
    free(w);
}

struct loop_signal {
    struct event *event;
    void (*caught)(void *arg, int signo);
    void *arg;
};

static void signal_caught(evutil_socket_t signo, short what, void *arg)
{
    (void)what;
    struct loop_signal *s = arg;
    s->caught(s->arg, (int)signo);
}

struct loop_signal *loop_signal_new(struct loop *l, int signo, void (*caught)(void *arg, int signo),
                                    void *arg)
{
    struct loop_signal *s = mem_new(struct loop_signal);
    s->caught = caught;
    s->arg = arg;
    s->event = evsignal_new(l->base, signo, signal_caught, s);
    if (s->event == NULL || event_add(s->event, NULL) != 0)
        abort();
    return s;
}

void loop_signal_free(struct loop_signal *s)
{
    if (s == NULL)
        return;
    event_free(s->event);
    free(s);
}
