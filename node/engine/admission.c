/* SPDX-License-Identifier: Apache-2.0 */
/* See admission.h. The rate is learnt by additive-like increase and halving, as in congestion
 * control, for the same reason: the limit is known only from having passed it. Halving starts from
 * what was really used, not from an allowance that nobody had taken up. Two histograms take turns,
 * so that the p99 is that of the last window, give or take half of it. */
#include "engine/admission.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

#define SECOND_US 1000000u
#define ADJUST_US 250000u
#define SAMPLES_MIN 16u    /* fewer say nothing: the node is idle */
#define BURST_US 100000u   /* credit does not grow beyond so much time's worth */
#define FLOOR_SHARE_MAX 10 /* a floor is at most this part of the greatest rate */

struct admission {
    struct admission_config cfg;
    struct time_port time;
    struct timers *timers;
    struct histogram recent, before; /* of the foreground */
    uint64_t rotated_us, adjusted_us;
    uint64_t second_us, this_second, last_second; /* how many of the foreground */
    uint64_t rate, used; /* slices a second; granted since the last adjustment */
    uint64_t credit;     /* in millionths of a slice */
    uint64_t credited_us;
    struct list waiting[WORK_KINDS];
    uint64_t last_us[WORK_KINDS]; /* a slice was granted */
    uint32_t next_kind;
    struct timer timer;
    struct admission_stats stats;
};

static void on_timer(struct timer *t, void *arg);

struct admission_config admission_config_default(void)
{
    return (struct admission_config){.target_us = 50000,
                                     .window_us = 5 * SECOND_US,
                                     .rate_max = 10000,
                                     .floor_age_us = 30 * SECOND_US};
}

static uint64_t now_us(const struct admission *a)
{
    return a->time.mono_us(a->time.ctx);
}

struct admission *admission_new(const struct admission_config *cfg, const struct time_port *time,
                                struct timers *timers)
{
    struct admission *a = mem_new(struct admission);
    assert(cfg->rate_max > 0 && cfg->window_us > 0 && cfg->floor_age_us > 0);
    a->cfg = *cfg;
    a->time = *time;
    a->timers = timers;
    a->rate = cfg->rate_max;
    a->rotated_us = a->adjusted_us = a->credited_us = now_us(a);
    for (uint32_t i = 0; i < WORK_KINDS; i++)
        list_init(&a->waiting[i]);
    timer_init(&a->timer, on_timer, a);
    return a;
}

void admission_free(struct admission *a)
{
    if (a == NULL)
        return;
    for (uint32_t i = 0; i < WORK_KINDS; i++) {
        list_for_each_safe(at, next, &a->waiting[i])
        {
            container_of(at, struct admission_wait, link)->waiting = false;
            list_remove(at);
        }
    }
    timer_cancel(a->timers, &a->timer);
    free(a);
}

/* ---- what the foreground says ------------------------------------------------------------ */

static void rotate(struct admission *a, uint64_t now)
{
    if (now - a->rotated_us < a->cfg.window_us / 2)
        return;
    bool long_ago = now - a->rotated_us >= a->cfg.window_us;
    a->before = long_ago ? (struct histogram){0} : a->recent;
    a->recent = (struct histogram){0};
    a->rotated_us = now;
}

static void begin_second(struct admission *a, uint64_t now)
{
    if (now - a->second_us < SECOND_US)
        return;
    a->last_second = now - a->second_us < 2 * SECOND_US ? a->this_second : 0;
    a->this_second = 0;
    a->second_us = now;
}

void admission_foreground(struct admission *a, uint64_t took_us)
{
    if (a->cfg.target_us == 0)
        return;
    uint64_t now = now_us(a);
    rotate(a, now);
    begin_second(a, now);
    a->this_second++;
    histogram_add(&a->recent, took_us);
}

/* 0: too few requests to tell. */
static uint64_t foreground_p99(const struct admission *a)
{
    struct histogram both = a->recent;
    histogram_join(&both, &a->before);
    return both.count < SAMPLES_MIN ? 0 : histogram_quantile(&both, 9900);
}

bool admission_idle(struct admission *a)
{
    begin_second(a, now_us(a));
    return a->last_second + a->this_second < SAMPLES_MIN;
}

/* ---- the rate ---------------------------------------------------------------------------- */

static void raise_rate(struct admission *a)
{
    uint64_t rate = a->rate + a->rate / 4 + 1;
    a->rate = rate < a->cfg.rate_max ? rate : a->cfg.rate_max;
}

static void adjust(struct admission *a, uint64_t now)
{
    uint64_t passed = now - a->adjusted_us;
    if (passed < ADJUST_US)
        return;
    rotate(a, now);
    uint64_t p99 = foreground_p99(a), used = a->used * SECOND_US / passed;
    if (p99 > a->cfg.target_us) {
        uint64_t from = used < a->rate ? used : a->rate;
        a->rate = from / 2 > 0 ? from / 2 : 1;
    } else if (p99 <= a->cfg.target_us / 4 * 3) {
        for (uint64_t i = 0; i < passed / ADJUST_US && a->rate < a->cfg.rate_max; i++)
            raise_rate(a);
    }
    a->used = 0;
    a->adjusted_us = now;
}

static void take_credit(struct admission *a, uint64_t now)
{
    uint64_t passed = now - a->credited_us;
    uint64_t most = a->rate * BURST_US > SECOND_US ? a->rate * BURST_US : SECOND_US;
    a->credit += (passed < SECOND_US ? passed : SECOND_US) * a->rate;
    if (a->credit > most)
        a->credit = most;
    a->credited_us = now;
}

/* ---- granting ---------------------------------------------------------------------------- */

static struct admission_wait *head(struct admission *a, uint32_t kind)
{
    struct list *l = list_first(&a->waiting[kind]);
    return l == NULL ? NULL : container_of(l, struct admission_wait, link);
}

/* When the floor of its kind lets this one through. */
static uint64_t due_us(const struct admission *a, const struct admission_wait *w, uint64_t now)
{
    uint64_t age = w->age_us + (now - w->asked_us);
    uint64_t floor = 1 + age / a->cfg.floor_age_us, most = a->cfg.rate_max / FLOOR_SHARE_MAX;
    if (floor > most)
        floor = most > 0 ? most : 1;
    return a->last_us[w->kind] + SECOND_US / floor;
}

static void note(struct admission *a, enum work kind, uint64_t now)
{
    a->last_us[kind] = now;
    a->used++;
    a->stats.granted[kind]++;
}

static void grant(struct admission *a, struct admission_wait *w, uint64_t now)
{
    list_remove(&w->link);
    w->waiting = false;
    a->stats.waiting--;
    note(a, w->kind, now);
    w->granted(w->arg); /* may ask again, or forget others */
}

static bool grant_by_floor(struct admission *a, uint64_t now)
{
    for (uint32_t k = 0; k < WORK_KINDS; k++) {
        struct admission_wait *w = head(a, k);
        if (w == NULL || due_us(a, w, now) > now)
            continue;
        a->stats.by_floor++;
        grant(a, w, now);
        return true;
    }
    return false;
}

/* Kinds take turns. */
static bool grant_by_credit(struct admission *a, uint64_t now)
{
    for (uint32_t i = 0; i < WORK_KINDS && a->credit >= SECOND_US; i++) {
        struct admission_wait *w = head(a, (a->next_kind + i) % WORK_KINDS);
        if (w == NULL)
            continue;
        a->credit -= SECOND_US;
        a->next_kind = (w->kind + 1) % WORK_KINDS;
        grant(a, w, now);
        return true;
    }
    return false;
}

static void arm(struct admission *a, uint64_t now)
{
    uint64_t when = UINT64_MAX;
    for (uint32_t k = 0; k < WORK_KINDS; k++) {
        const struct admission_wait *w = head(a, k);
        if (w == NULL)
            continue;
        uint64_t due = due_us(a, w, now);
        when = due < when ? due : when;
    }
    if (when == UINT64_MAX) {
        timer_cancel(a->timers, &a->timer);
        return;
    }
    uint64_t missing = a->credit < SECOND_US ? SECOND_US - a->credit : 0;
    uint64_t by_credit = now + missing / a->rate + 1, by_adjusting = a->adjusted_us + ADJUST_US;
    when = by_credit < when ? by_credit : when;
    when = by_adjusting < when && by_adjusting > now ? by_adjusting : when;
    timer_set(a->timers, &a->timer, when > now ? when : now + 1);
}

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    struct admission *a = arg;
    uint64_t now = now_us(a);
    adjust(a, now);
    take_credit(a, now);
    while (grant_by_credit(a, now))
        ;
    for (uint32_t i = 0; i < WORK_KINDS && grant_by_floor(a, now); i++)
        ;
    arm(a, now);
}

bool admission_ask(struct admission *a, struct admission_wait *w, enum work kind, uint64_t age_us,
                   void (*granted)(void *arg), void *arg)
{
    assert(!w->waiting && kind < WORK_KINDS);
    uint64_t now = now_us(a);
    if (a->cfg.target_us == 0) {
        note(a, kind, now);
        return true;
    }
    adjust(a, now);
    take_credit(a, now);
    if (a->stats.waiting == 0 && a->credit >= SECOND_US) {
        a->credit -= SECOND_US;
        note(a, kind, now);
        return true;
    }
    *w = (struct admission_wait){.kind = kind,
                                 .asked_us = now,
                                 .age_us = age_us,
                                 .granted = granted,
                                 .arg = arg,
                                 .waiting = true};
    list_init(&w->link);
    list_append(&a->waiting[kind], &w->link);
    a->stats.waiting++;
    arm(a, now);
    return false;
}

bool admission_tight(const struct admission *a)
{
    return a->cfg.target_us != 0 && foreground_p99(a) > a->cfg.target_us;
}

void admission_forget(struct admission *a, struct admission_wait *w)
{
    if (!w->waiting)
        return;
    list_remove(&w->link);
    w->waiting = false;
    a->stats.waiting--;
    arm(a, now_us(a));
}

void admission_stats(const struct admission *a, struct admission_stats *out)
{
    *out = a->stats;
    out->rate = a->rate;
    out->p99_us = foreground_p99(a);
}
