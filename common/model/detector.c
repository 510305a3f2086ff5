/* SPDX-License-Identifier: Apache-2.0 */
/* See detector.h. One record per peer in an array sorted by node. A peer that is down is probed at
 * intervals that double, so that a dead machine costs little and a returning one is seen soon. */
#include "model/detector.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct peer {
    uint64_t node;
    enum peer_state state;
    uint64_t rtt_us, last_ok_us, down_since_us, interval_us;
    uint64_t silent_since_us; /* outrun since then, without an answer; 0: not */
    uint64_t rtt_before_us;   /* when it last answered in time */
    struct timer timer;
    struct detector *d;
};

struct detector {
    struct detector_config cfg;
    struct time_port time;
    struct timers *timers;
    void (*probe)(void *arg, uint64_t node);
    void (*changed)(void *arg, uint64_t node, enum peer_state state);
    void *arg;
    struct peer **peers; /* sorted by node; pointers, because timers must stay put */
    size_t n, cap;
};

struct detector *detector_new(const struct detector_config *cfg, const struct time_port *time,
                              struct timers *timers, void (*probe)(void *arg, uint64_t node),
                              void (*changed)(void *arg, uint64_t node, enum peer_state state),
                              void *arg)
{
    struct detector *d = mem_new(struct detector);
    d->cfg = *cfg;
    d->time = *time;
    d->timers = timers;
    d->probe = probe;
    d->changed = changed;
    d->arg = arg;
    assert(cfg->probe_interval_us > 0 && cfg->probe_max_us >= cfg->probe_interval_us);
    return d;
}

void detector_free(struct detector *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < d->n; i++) {
        timer_cancel(d->timers, &d->peers[i]->timer);
        free(d->peers[i]);
    }
    free(d->peers);
    free(d);
}

static size_t lower_bound(const struct detector *d, uint64_t node)
{
    size_t lo = 0, hi = d->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (d->peers[mid]->node < node)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct peer *find(const struct detector *d, uint64_t node)
{
    size_t i = lower_bound(d, node);
    return i < d->n && d->peers[i]->node == node ? d->peers[i] : NULL;
}

static void on_probe(struct timer *t, void *arg)
{
    (void)t;
    struct peer *p = arg;
    struct detector *d = p->d;
    p->interval_us *= 2;
    if (p->interval_us > d->cfg.probe_max_us)
        p->interval_us = d->cfg.probe_max_us;
    timer_set(d->timers, &p->timer, d->time.mono_us(d->time.ctx) + p->interval_us);
    d->probe(d->arg, p->node);
}

static struct peer *obtain(struct detector *d, uint64_t node)
{
    size_t at = lower_bound(d, node);
    if (at < d->n && d->peers[at]->node == node)
        return d->peers[at];
    if (d->n == d->cap) {
        d->cap = d->cap == 0 ? 8 : d->cap * 2;
        d->peers = mem_reallocarray(d->peers, d->cap, sizeof(*d->peers));
    }
    struct peer *p = mem_new(struct peer);
    p->node = node;
    p->d = d;
    timer_init(&p->timer, on_probe, p);
    memmove(&d->peers[at + 1], &d->peers[at], (d->n - at) * sizeof(*d->peers));
    d->peers[at] = p;
    d->n++;
    return p;
}

void detector_ok(struct detector *d, uint64_t node, uint64_t rtt_us)
{
    struct peer *p = obtain(d, node);
    p->rtt_us = p->rtt_us == 0 ? rtt_us : p->rtt_us - p->rtt_us / 8 + rtt_us / 8;
    p->last_ok_us = d->time.mono_us(d->time.ctx);
    p->silent_since_us = 0;
    if (p->state == PEER_UP)
        return;
    if (p->rtt_before_us != 0 && p->rtt_before_us < p->rtt_us)
        p->rtt_us = p->rtt_before_us; /* how long it was away says nothing of how far it is */
    p->state = PEER_UP;
    p->down_since_us = 0;
    timer_cancel(d->timers, &p->timer);
    if (d->changed != NULL)
        d->changed(d->arg, node, PEER_UP);
}

/* What says something about the peer's health, as opposed to about one request. */
static bool is_failure(int err)
{
    return err == DYN_ERR_TIMEOUT || err == DYN_ERR_UNREACHABLE;
}

void detector_failed(struct detector *d, uint64_t node, int err)
{
    if (!is_failure(err))
        return;
    struct peer *p = obtain(d, node);
    if (p->state == PEER_DOWN)
        return; /* its probes are running already */
    uint64_t now = d->time.mono_us(d->time.ctx);
    p->state = PEER_DOWN;
    if (p->silent_since_us == 0)
        p->rtt_before_us = p->rtt_us;
    p->down_since_us = now;
    p->interval_us = d->cfg.probe_interval_us;
    timer_set(d->timers, &p->timer, now + p->interval_us);
    if (d->changed != NULL)
        d->changed(d->arg, node, PEER_DOWN);
}

void detector_outrun(struct detector *d, uint64_t node, uint64_t waited_us, uint64_t suspect_us)
{
    struct peer *p = obtain(d, node);
    uint64_t now = d->time.mono_us(d->time.ctx);
    if (p->state == PEER_DOWN || waited_us <= p->rtt_us)
        return;
    uint64_t before = p->rtt_us;
    p->rtt_us = before == 0 ? waited_us : before - before / 8 + waited_us / 8;
    if (p->silent_since_us == 0) {
        p->silent_since_us = now - waited_us;
        p->rtt_before_us = before;
    }
    if (now - p->silent_since_us >= suspect_us)
        detector_failed(d, node, DYN_ERR_TIMEOUT);
}

bool detector_up(const struct detector *d, uint64_t node)
{
    const struct peer *p = find(d, node);
    return p == NULL || p->state == PEER_UP;
}

uint64_t detector_rtt_us(const struct detector *d, uint64_t node)
{
    const struct peer *p = find(d, node);
    return p == NULL ? 0 : p->rtt_us;
}

uint64_t detector_last_ok_us(const struct detector *d, uint64_t node)
{
    const struct peer *p = find(d, node);
    return p == NULL ? 0 : p->last_ok_us;
}

uint64_t detector_down_since_us(const struct detector *d, uint64_t node)
{
    const struct peer *p = find(d, node);
    return p == NULL || p->state == PEER_UP ? 0 : p->down_since_us;
}

void detector_forget(struct detector *d, uint64_t node)
{
    size_t at = lower_bound(d, node);
    if (at == d->n || d->peers[at]->node != node)
        return;
    timer_cancel(d->timers, &d->peers[at]->timer);
    free(d->peers[at]);
    d->n--;
    memmove(&d->peers[at], &d->peers[at + 1], (d->n - at) * sizeof(*d->peers));
}
