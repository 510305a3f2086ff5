/* SPDX-License-Identifier: Apache-2.0 */
/* See peer_time.h. For each peer:
 *
 *   UNKNOWN --asked--> ASKING --answered--> KNOWN --it is a minute old, and needed--> ASKING
 *                      ASKING --failed----> as it was before
 *
 * While it is asked again what was known goes on counting. */
#include "engine/membership/peer_time.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/peer_wire.h"

#define AGAIN_US (60ull * 1000000) /* quartz drifts by some 10 ms in that time, at the worst */

struct peer_time {
    struct peer_times *t;
    uint64_t node;
    struct moment theirs; /* not before `ours_us`, by this node's clock; boot 0: not known */
    uint64_t ours_us;
    bool asking;
    struct rpc_call call;
    struct list waits; /* struct peer_time_wait */
};

struct peer_times {
    struct engine *e;
    struct peer_time **peers; /* by node */
    uint32_t n, cap;
};

struct peer_times *peer_times_new(struct engine *e)
{
    struct peer_times *t = mem_new(struct peer_times);
    t->e = e;
    return t;
}

void peer_times_free(struct peer_times *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->n; i++) {
        rpc_cancel(t->e->rpc, &t->peers[i]->call);
        while (!list_empty(&t->peers[i]->waits))
            peer_times_forget(
                container_of(list_first(&t->peers[i]->waits), struct peer_time_wait, link));
        free(t->peers[i]);
    }
    free(t->peers);
    free(t);
}

/* Where the node is, or belongs. */
static uint32_t find(const struct peer_times *t, uint64_t node)
{
    uint32_t low = 0, high = t->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (t->peers[mid]->node < node)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct peer_time *obtain(struct peer_times *t, uint64_t node)
{
    uint32_t at = find(t, node);
    if (at < t->n && t->peers[at]->node == node)
        return t->peers[at];
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 8 : t->cap * 2;
        t->peers = mem_reallocarray(t->peers, t->cap, sizeof(struct peer_time *));
    }
    memmove(t->peers + at + 1, t->peers + at, (t->n - at) * sizeof(struct peer_time *));
    struct peer_time *p = mem_new(struct peer_time);
    p->t = t;
    p->node = node;
    list_init(&p->waits);
    t->peers[at] = p;
    t->n++;
    return p;
}

/* ---- asking ------------------------------------------------------------------------------ */

static void on_pong(struct rpc_call *call, int err, struct slice body)
{
    struct peer_time *p = call->arg;
    struct peer_pong pong = {0};
    struct list waiting;
    if (err == DYN_OK)
        err = peer_pong_decode(body, &pong);
    if (err == DYN_OK && pong.now.boot == 0)
        err = DYN_ERR_STOPPED; /* it is starting */
    if (err == DYN_OK) {
        p->theirs = pong.now;
        p->ours_us = call->started_us;
    }
    p->asking = false;
    list_init(&waiting);
    while (!list_empty(&p->waits)) {
        struct list *l = list_first(&p->waits);
        list_remove(l);
        list_append(&waiting, l);
    }
    while (!list_empty(&waiting)) {
        struct peer_time_wait *w = container_of(list_first(&waiting), struct peer_time_wait, link);
        peer_times_forget(w);
        w->done(w, err);
    }
}

static void ask(struct peer_time *p)
{
    struct engine *e = p->t->e;
    struct buf body = BUF_EMPTY;
    if (p->asking)
        return;
    p->asking = true;
    p->call = (struct rpc_call){.done = on_pong, .arg = p};
    rpc_start(e->rpc, &p->call, p->node, FRAME_PING, &body, e->cfg.replica_timeout_us);
}

void peer_times_ask(struct peer_times *t, uint64_t node, struct peer_time_wait *w)
{
    struct peer_time *p = obtain(t, node);
    list_init(&w->link);
    list_append(&p->waits, &w->link);
    w->waiting = true;
    ask(p);
}

void peer_times_forget(struct peer_time_wait *w)
{
    if (!w->waiting)
        return;
    w->waiting = false;
    list_remove(&w->link);
}

bool peer_times_at(struct peer_times *t, uint64_t node, const struct moment *m, uint64_t *own_us)
{
    uint32_t at = find(t, node);
    struct peer_time *p = at < t->n && t->peers[at]->node == node ? t->peers[at] : NULL;
    if (p == NULL || p->theirs.boot == 0 || p->theirs.boot != m->boot)
        return false;
    if (engine_now(t->e) > p->ours_us + AGAIN_US)
        ask(p);
    if (m->us >= p->theirs.us) {
        *own_us = p->ours_us + (m->us - p->theirs.us);
    } else {
        uint64_t before = p->theirs.us - m->us;
        *own_us = p->ours_us > before ? p->ours_us - before : 1; /* from before our own start */
    }
    return true;
}
