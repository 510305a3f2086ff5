/* SPDX-License-Identifier: Apache-2.0 */
/* See view.h.
 *
 *   IDLE --something new is taken--> WRITING --synced--> IDLE, and the ring is another one
 *                                    WRITING --more was taken meanwhile--> WRITING
 *                                    WRITING --refused, on a full disk--> REFUSED
 *   REFUSED --a second later, or something new is taken--> WRITING
 *
 * A refused write leaves things as they were. It is tried again, for others will not tell of it
 * again: by the digests of gossip this node knows what they know. */
#include "engine/membership/view.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"
#include "engine/membership/gossip.h"
#include "engine/replica/replica.h"

#define HISTORY_ROW "history"
#define LEARN_TIMEOUT_US 2000000u
#define AGAIN_US 1000000u /* a write that was refused */

struct view {
    struct engine *e;
    struct ring *next; /* of what is being written; NULL: nothing is */
    struct store_write write;
    struct store_get get;
    void (*loaded)(void *arg, int err);
    void *loaded_arg;
    struct list waits;   /* struct view_wait */
    struct list lessons; /* struct lesson */
    struct list askers;  /* struct asker */
    struct timer later, again;
};

struct asker { /* whose exchange is answered once what it told us is in use */
    struct list link;
    uint64_t origin, rid;
};

struct lesson { /* one exchange under way */
    struct list link;
    struct view *v;
    struct rpc_call call;
    bool answered; /* what came is being written */
};

static void on_later(struct timer *t, void *arg);
static void on_again(struct timer *t, void *arg);
static void write_taken(struct view *v);

struct view *view_new(struct engine *e)
{
    struct view *v = mem_new(struct view);
    v->e = e;
    history_copy(&e->rumours.history, ring_history(e->ring));
    list_init(&v->waits);
    list_init(&v->lessons);
    list_init(&v->askers);
    timer_init(&v->later, on_later, v);
    timer_init(&v->again, on_again, v);
    return v;
}

static void lesson_free(struct lesson *l)
{
    rpc_cancel(l->v->e->rpc, &l->call);
    list_remove(&l->link);
    free(l);
}

void view_free(struct view *v)
{
    if (v == NULL)
        return;
    while (!list_empty(&v->lessons))
        lesson_free(container_of(list_first(&v->lessons), struct lesson, link));
    while (!list_empty(&v->askers)) {
        struct asker *a = container_of(list_first(&v->askers), struct asker, link);
        list_remove(&a->link);
        free(a);
    }
    while (!list_empty(&v->waits))
        view_wait_cancel(container_of(list_first(&v->waits), struct view_wait, link));
    timer_cancel(v->e->ports.timers, &v->later);
    timer_cancel(v->e->ports.timers, &v->again);
    ring_unref(v->next);
    free(v);
}

/* ---- the ring in use --------------------------------------------------------------------- */

static void tell_address(struct engine *e, const struct ring_member *m)
{
    if (m->node != e->cfg.node)
        e->ports.net.set_address(e->ports.net.ctx, m->node, m->address);
}

void engine_tell_addresses(struct engine *e)
{
    for (uint32_t i = 0; i < ring_member_count(e->ring); i++)
        tell_address(e, ring_member_at(e->ring, i));
    for (uint32_t i = 0; i < ring_former_count(e->ring); i++)
        tell_address(e, ring_former_at(e->ring, i));
}

/* Takes the ring. */
static void install(struct view *v, struct ring *ring)
{
    struct engine *e = v->e;
    ring_unref(e->ring);
    e->ring = ring;
    e->generation++;
    engine_tell_addresses(e);
    if (!e->serving)
        return;
    engine_ring_changed(e);
}

static bool nothing_new(const struct view *v)
{
    return v->e->rumours.history.n == ring_history(v->e->ring)->n;
}

static void answer_askers(struct view *v)
{
    struct net_port *net = &v->e->ports.net;
    while (v->next == NULL && !list_empty(&v->askers)) {
        struct asker *a = container_of(list_first(&v->askers), struct asker, link);
        struct buf out = BUF_EMPTY;
        gossip_exchange_encode(DYN_OK, &v->e->rumours, &out);
        net->reply(net->ctx, a->origin, a->rid, FRAME_HISTORY + FRAME_REPLY, &out);
        list_remove(&a->link);
        free(a);
    }
}

/* Whoever waits for something that has been answered and is in use by now. */
static void wake(struct view *v)
{
    answer_askers(v);
    list_for_each_safe(at, next, &v->lessons)
    {
        struct lesson *l = container_of(at, struct lesson, link);
        if (l->answered && v->next == NULL) {
            list_for_each_safe(w_at, w_next, &v->waits)
            {
                struct view_wait *w = container_of(w_at, struct view_wait, link);
                if (w->node == l->call.node)
                    w->node = 0; /* due */
            }
            lesson_free(l);
        }
    }
    if (!list_empty(&v->waits))
        timer_set(v->e->ports.timers, &v->later, engine_now(v->e));
}

static void on_later(struct timer *t, void *arg)
{
    struct view *v = arg;
    (void)t;
    list_for_each_safe(at, next, &v->waits)
    {
        struct view_wait *w = container_of(at, struct view_wait, link);
        if (w->node != 0)
            continue;
        view_wait_cancel(w);
        timer_set(v->e->ports.timers, &v->later, engine_now(v->e));
        w->done(w); /* may do anything to the list: the rest in the next turn */
        return;
    }
}

static void loaded(struct view *v, int err)
{
    void (*done)(void *, int) = v->loaded;
    v->loaded = NULL;
    if (done == NULL)
        return;
    if (err == DYN_OK && ring_banned(v->e->ring, v->e->cfg.node))
        err = DYN_ERR_DENIED;
    done(v->loaded_arg, err);
}

static void on_written(struct store_write *req, int err)
{
    struct view *v = req->arg;
    struct ring *ring = v->next;
    v->next = NULL;
    if (err != DYN_OK) {
        ring_unref(ring);
        if (v->loaded == NULL) /* else the start fails */
            timer_set(v->e->ports.timers, &v->again, engine_now(v->e) + AGAIN_US);
        loaded(v, err);
        wake(v);
        return;
    }
    install(v, ring);
    if (!nothing_new(v))
        write_taken(v);
    loaded(v, DYN_OK);
    wake(v);
}

static void write_taken(struct view *v)
{
    struct engine *e = v->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    if (v->next != NULL || ring_build(&v->e->rumours.history, &v->next) != DYN_OK)
        return; /* what is on its way goes first; without members there is no ring to use */
    history_encode(&v->e->rumours.history, &row);
    store_batch_put(&b, STORE_LOCAL, slice_str(HISTORY_ROW), buf_slice(&row));
    v->write = (struct store_write){.done = on_written, .arg = v};
    int err = e->ports.store.write(e->ports.store.ctx, &b, STORE_SYNCED, &v->write);
    store_batch_release(&b);
    buf_release(&row);
    if (err != DYN_OK)
        on_written(&v->write, err);
}

static void on_again(struct timer *t, void *arg)
{
    struct view *v = arg;
    (void)t;
    if (!v->e->stopping && v->e->failed == DYN_OK && !nothing_new(v))
        write_taken(v);
}

int view_grow(struct view *v, const struct history *other)
{
    bool changed = false;
    int err = history_join(&v->e->rumours.history, other, &changed);
    if (err == DYN_OK && !nothing_new(v))
        write_taken(v);
    return err;
}

int view_add(struct view *v, const struct member_event *ev, const char **rule)
{
    int err = history_add(&v->e->rumours.history, ev, rule);
    if (err == DYN_OK && !nothing_new(v))
        write_taken(v);
    return err;
}

/* ---- start ------------------------------------------------------------------------------- */

static void on_row(struct store_get *req, int err, struct slice value)
{
    struct view *v = req->arg;
    struct history stored = HISTORY_EMPTY;
    bool changed = false, seeded = err == DYN_ERR_NOT_FOUND;
    if (err == DYN_OK) {
        struct reader r = reader_of(value);
        history_decode(&r, &stored);
        err = reader_done(&r) ? history_join(&v->e->rumours.history, &stored, &changed)
                              : DYN_ERR_CORRUPT;
    }
    bool told = v->e->rumours.history.n != stored.n; /* the caller knew more than the disk */
    history_release(&stored);
    if (seeded || (err == DYN_OK && told)) {
        write_taken(v);
        return;
    }
    struct ring *ring = NULL;
    if (err == DYN_OK && !nothing_new(v))
        err = ring_build(&v->e->rumours.history, &ring);
    if (ring != NULL)
        install(v, ring);
    loaded(v, err);
}

void view_load(struct view *v, void (*done)(void *arg, int err), void *arg)
{
    v->loaded = done;
    v->loaded_arg = arg;
    v->get = (struct store_get){
        .family = STORE_LOCAL, .key = slice_str(HISTORY_ROW), .done = on_row, .arg = v};
    v->e->ports.store.get(v->e->ports.store.ctx, &v->get);
}

/* ---- learning ---------------------------------------------------------------------------- */

static void on_taught(struct rpc_call *call, int err, struct slice body)
{
    struct lesson *l = call->arg;
    struct view *v = l->v;
    struct rumours theirs = RUMOURS_EMPTY;
    int status = DYN_OK;
    if (err == DYN_OK && gossip_exchange_decode(body, &status, &theirs) == DYN_OK &&
        status == DYN_OK && view_grow(v, &theirs.history) == DYN_OK)
        gossip_take(v->e->gossip, &theirs);
    rumours_release(&theirs);
    l->answered = true;
    wake(v);
}

void view_learn(struct view *v, uint64_t node, struct view_wait *w)
{
    struct engine *e = v->e;
    assert(node != 0 && node != e->cfg.node);
    if (w != NULL) {
        assert(!w->active);
        w->node = node;
        w->active = true;
        list_init(&w->link);
        list_append(&v->waits, &w->link);
    }
    list_for_each_safe(at, next, &v->lessons)
    {
        struct lesson *l = container_of(at, struct lesson, link);
        if (l->call.node == node && !l->answered)
            return;
    }
    struct lesson *l = mem_new(struct lesson);
    struct buf body = BUF_EMPTY;
    l->v = v;
    l->call = (struct rpc_call){.done = on_taught, .arg = l};
    list_init(&l->link);
    list_append(&v->lessons, &l->link);
    gossip_exchange_encode(DYN_OK, &e->rumours, &body);
    e->stats.gossip_exchanges++;
    rpc_start(e->rpc, &l->call, node, FRAME_HISTORY, &body, LEARN_TIMEOUT_US);
}

void view_wait_cancel(struct view_wait *w)
{
    if (!w->active)
        return;
    w->active = false;
    list_remove(&w->link);
}

void view_frame(struct view *v, uint64_t origin, uint64_t rid, struct slice body)
{
    struct engine *e = v->e;
    struct rumours theirs = RUMOURS_EMPTY;
    struct buf out = BUF_EMPTY;
    int status = DYN_OK, err = gossip_exchange_decode(body, &status, &theirs);
    if (err == DYN_OK)
        err = view_grow(v, &theirs.history);
    if (err == DYN_OK)
        gossip_take(e->gossip, &theirs);
    rumours_release(&theirs);
    if (err == DYN_OK && v->next != NULL) {
        struct asker *a = mem_new(struct asker);
        *a = (struct asker){.origin = origin, .rid = rid};
        list_init(&a->link);
        list_append(&v->askers, &a->link);
        return;
    }
    gossip_exchange_encode(err, &e->rumours, &out);
    e->ports.net.reply(e->ports.net.ctx, origin, rid, FRAME_HISTORY + FRAME_REPLY, &out);
}

/* ---- fences ------------------------------------------------------------------------------ */

uint64_t engine_fence_at(const struct engine *e, uint32_t object, uint32_t entry, unsigned roles)
{
    uint64_t fence = 0;
    if (roles & ROLE_OBJECT)
        fence = ring_fence(e->ring, object);
    if (roles & ROLE_ENTRY)
        fence = fence * 31 + ring_fence(e->ring, entry);
    return fence;
}

uint64_t engine_fence(const struct engine *e, struct slice key, uint32_t fragment, unsigned roles)
{
    uint32_t object = ring_partition_of(e->ring, key), entry = object;
    if (roles & ROLE_ENTRY)
        entry = place_of_fragment(e->ring, key_parent(key), fragment).partition;
    return engine_fence_at(e, object, entry, roles);
}
