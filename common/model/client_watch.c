/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of being told of changes (watch.h). Each directory that is wanted is placed at
 * one replica of it that is up, best at one where there is a session already: so a mount of a small
 * cluster asks one node. One that is split (E26) has a replica for each of its fragments, and is
 * covered while all of them are watched; that of fragment 0 says how many there are, and ends it
 * when there are more.
 *
 *   fragment:   UNPLACED -> ADDING -> SENT -> WATCHED
 *                   ^---------+---------+--------+---- the session is lost, or the node refuses it
 *               DROPPED: the node is yet to hear of it
 *   session:    INTEREST (begins it) -> WATCH, again and again -> lost: no answer, a node that does
 *               not know it, a number that was left out
 *
 * What a session has not told is not known to be unchanged, so a lost one is not taken up again:
 * its directories are lost, and placed anew, elsewhere if that node is down. */
#include <assert.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/client_private.h"
#include "model/fragment.h"
#include "model/watch.h"

#define SESSIONS_MAX 32u     /* in a large cluster, directories beyond are not watched */
#define HOLD_MS 2000u        /* a node's sign of life */
#define PATIENCE_US 1000000u /* beyond that, it is lost */
#define PLACE_US 20000u      /* wants of a moment are asked for together */
#define AGAIN_US 500000u     /* between attempts to place what could not be placed */
#define REFUSED_US 5000000u  /* a node that refused a directory: not so soon again */
#define VOTERS_MAX 8u
#define PARTS_MAX 64u /* a directory of more fragments is not watched */

enum wanted_state { UNPLACED, ADDING, SENT, WATCHED, DROPPED };

struct wanted_dir {
    UT_hash_handle hh;
    struct list parts;     /* wanted.in_dir */
    uint32_t n, n_watched; /* fragments that it has, and those that are watched */
    bool covered;
    size_t len;
    uint8_t key[];
};

struct wanted {        /* one fragment of a directory */
    UT_hash_handle hh; /* not while DROPPED */
    struct list link;  /* the watch's unplaced, or a session's to_add, sent, watched or dropped */
    struct list in_dir;
    struct wanted_dir *dir; /* NULL: DROPPED */
    enum wanted_state state;
    struct watch_session *at; /* but for UNPLACED */
    bool ended; /* while SENT: the node has said so already, its answer may say otherwise */
    uint64_t not_before_us;
    uint32_t fragment;
    size_t len;
    uint8_t id[];
};

struct watch_session {
    struct list link;
    struct client_watch *owner;
    uint64_t node, id, told;
    bool begun;
    struct rpc_call interest, watch;
    struct list to_add, sent, watched, dropped;
    uint32_t n_dropping; /* of the dropped, that the interest on its way names */
};

struct client_watch {
    struct client *client;
    struct watch_events events;
    struct wanted_dir *dirs;
    struct wanted *parts;
    struct list unplaced, sessions;
    uint32_t n_sessions;
    struct timer timer;
    struct client_watch_stats stats;
};

static void place_in(struct client_watch *w, uint64_t us)
{
    uint64_t at = client_now(w->client) + us;
    if (!timer_is_set(&w->timer) || w->timer.when_us > at)
        timer_set(w->client->timers, &w->timer, at);
}

static struct slice key_of(const struct wanted_dir *d)
{
    return slice_of(d->key, d->len);
}

static struct slice id_of(const struct wanted *d)
{
    return slice_of(d->id, d->len);
}

static void move_to(struct wanted *d, struct list *to)
{
    list_remove(&d->link);
    list_append(to, &d->link);
}

static void forget_dropped(struct watch_session *s, uint32_t n)
{
    for (struct list *l; n > 0 && (l = list_first(&s->dropped)) != NULL; n--) {
        list_remove(l);
        free(container_of(l, struct wanted, link));
    }
}

/* ---- directories and their fragments ------------------------------------------------------ */

static void part_watched(struct client_watch *w, struct wanted *d)
{
    d->state = WATCHED;
    d->dir->covered = ++d->dir->n_watched == d->dir->n;
    if (d->dir->covered) {
        w->stats.dirs++;
        w->events.covered(w->events.ctx, key_of(d->dir));
    }
}

static void part_lost(struct client_watch *w, struct wanted_dir *dir)
{
    dir->n_watched--;
    if (!dir->covered)
        return;
    dir->covered = false;
    w->stats.dirs--;
    w->stats.lost++;
    w->events.lost(w->events.ctx, key_of(dir));
}

static void add_part(struct client_watch *w, struct wanted_dir *dir, uint32_t fragment)
{
    struct buf id = BUF_EMPTY;
    entry_id(fragment, key_of(dir), &id);
    struct wanted *d = mem_zalloc(sizeof(*d) + id.len);
    d->dir = dir;
    d->fragment = fragment;
    d->len = id.len;
    if (id.len != 0)
        memcpy(d->id, id.data, id.len);
    buf_release(&id);
    list_append(&dir->parts, &d->in_dir);
    list_init(&d->link);
    HASH_ADD_KEYPTR(hh, w->parts, d->id, d->len, d);
    list_append(&w->unplaced, &d->link);
    place_in(w, PLACE_US);
}

/* Fragments only become more. The directory is not covered: one of them has just been answered. */
static void grow(struct client_watch *w, struct wanted_dir *dir, uint32_t n)
{
    uint32_t had = dir->n;
    if (n <= had)
        return;
    dir->n = n;
    for (uint32_t f = had; f < n && n <= PARTS_MAX; f++)
        add_part(w, dir, f);
}

/* It is in no table any more: the node is yet to hear of it, or nobody knows it. */
static void drop_part(struct client_watch *w, struct wanted *d)
{
    HASH_DELETE(hh, w->parts, d);
    list_remove(&d->in_dir);
    d->dir = NULL;
    if (d->state == WATCHED) {
        d->state = DROPPED;
        move_to(d, &d->at->dropped);
        place_in(w, PLACE_US);
    } else if (d->state == SENT) {
        d->state = DROPPED; /* once it is known whether the node has taken it */
    } else {
        list_remove(&d->link);
        free(d);
    }
}

/* ---- sessions ---------------------------------------------------------------------------- */

static void unplace(struct client_watch *w, struct wanted *d, uint64_t wait_us)
{
    bool was_watched = d->state == WATCHED;
    d->state = UNPLACED;
    d->at = NULL;
    d->not_before_us = client_now(w->client) + wait_us;
    move_to(d, &w->unplaced);
    if (was_watched)
        part_lost(w, d->dir);
}

static void unplace_all(struct client_watch *w, struct list *from)
{
    for (struct list *l; (l = list_first(from)) != NULL;) {
        struct wanted *d = container_of(l, struct wanted, link);
        if (d->state == DROPPED) {
            list_remove(l);
            free(d);
        } else {
            unplace(w, d, 0);
        }
    }
}

static void session_free(struct watch_session *s)
{
    struct client_watch *w = s->owner;
    rpc_cancel(w->client->rpc, &s->interest);
    rpc_cancel(w->client->rpc, &s->watch);
    forget_dropped(s, UINT32_MAX);
    list_remove(&s->link);
    w->n_sessions--;
    free(s);
}

static void session_lost(struct watch_session *s, int err)
{
    struct client_watch *w = s->owner;
    if (err == DYN_ERR_TIMEOUT || err == DYN_ERR_UNREACHABLE)
        detector_failed(w->client->detector, s->node, err);
    unplace_all(w, &s->to_add);
    unplace_all(w, &s->sent);
    unplace_all(w, &s->watched);
    session_free(s);
    place_in(w, AGAIN_US);
}

static bool session_is_empty(const struct watch_session *s)
{
    return list_empty(&s->to_add) && list_empty(&s->sent) && list_empty(&s->watched);
}

static struct watch_session *session_at(const struct client_watch *w, uint64_t node)
{
    for (struct list *l = w->sessions.next; l != &w->sessions; l = l->next) {
        struct watch_session *s = container_of(l, struct watch_session, link);
        if (s->node == node)
            return s;
    }
    return NULL;
}

static void on_interest(struct rpc_call *call, int err, struct slice body);
static void on_watch(struct rpc_call *call, int err, struct slice body);

static struct watch_session *session_new(struct client_watch *w, uint64_t node)
{
    struct watch_session *s = mem_new(struct watch_session);
    s->owner = w;
    s->node = node;
    s->id = random_u64(&w->client->random) | 1;
    list_init(&s->to_add);
    list_init(&s->sent);
    list_init(&s->watched);
    list_init(&s->dropped);
    list_append(&w->sessions, &s->link);
    w->n_sessions++;
    return s;
}

static void ask_on(struct watch_session *s)
{
    struct client *c = s->owner->client;
    const struct watch_request q = {.session = s->id, .hold_ms = HOLD_MS};
    struct buf body = BUF_EMPTY;
    watch_request_encode(&q, &body);
    s->watch = (struct rpc_call){.done = on_watch, .arg = s};
    s->owner->stats.asked++;
    rpc_start(c->rpc, &s->watch, s->node, FRAME_WATCH, &body, HOLD_MS * 1000ull + PATIENCE_US);
}

/* Whose answer takes as long as the node likes, so it says nothing of how far it is. */
static int take_events(struct watch_session *s, const struct watch_reply *p)
{
    struct client_watch *w = s->owner;
    if (p->status != DYN_OK)
        return p->status;
    if (p->number != s->told + 1)
        return DYN_ERR_STALE; /* an answer has been lost, and what was in it */
    s->told = p->number;
    for (uint32_t i = 0; i < p->n; i++) {
        const struct watch_event *e = &p->events[i];
        const void *id = e->dir.len != 0 ? (const void *)e->dir.data : "";
        struct wanted *d;
        HASH_FIND(hh, w->parts, id, e->dir.len, d);
        if (d == NULL || d->at != s)
            continue; /* dropped meanwhile, or elsewhere by now */
        if (e->kind == WATCH_ENDED && d->state == SENT) {
            d->ended = true; /* it stays in its place: answers come in the order of the names */
        } else if (e->kind == WATCH_ENDED) {
            unplace(w, d, AGAIN_US);
            place_in(w, AGAIN_US);
        } else if (d->state == WATCHED && d->dir->covered) {
            struct watch_event told = *e;
            told.dir = key_of(d->dir);
            w->stats.events++;
            w->events.changed(w->events.ctx, &told);
        }
    }
    return DYN_OK;
}

static void on_watch(struct rpc_call *call, int err, struct slice body)
{
    struct watch_session *s = call->arg;
    struct watch_reply p;
    if (err == DYN_OK)
        err = watch_reply_decode(body, &p);
    if (err == DYN_OK) {
        err = take_events(s, &p);
        watch_reply_release(&p);
    }
    if (err != DYN_OK)
        session_lost(s, err);
    else if (session_is_empty(s))
        session_free(s); /* the node forgets it by itself */
    else
        ask_on(s);
}

/* False: there are more. */
static bool name_dropped(struct watch_session *s, struct slice *out, uint32_t *n)
{
    struct list *l = s->dropped.next;
    for (*n = 0; l != &s->dropped && *n < INTEREST_DIRS_MAX; l = l->next)
        out[(*n)++] = id_of(container_of(l, struct wanted, link));
    return l == &s->dropped;
}

static void name_added(struct watch_session *s, struct slice *out, uint32_t *n)
{
    struct list *l;
    while (*n < INTEREST_DIRS_MAX && (l = list_first(&s->to_add)) != NULL) {
        struct wanted *d = container_of(l, struct wanted, link);
        out[(*n)++] = id_of(d);
        d->state = SENT;
        d->ended = false;
        move_to(d, &s->sent);
    }
}

static void send_interest(struct watch_session *s)
{
    struct slice add[INTEREST_DIRS_MAX], drop[INTEREST_DIRS_MAX];
    if (rpc_active(&s->interest) || (list_empty(&s->to_add) && list_empty(&s->dropped)))
        return;
    assert(list_empty(&s->sent));
    struct interest_request q = {.session = s->id, .begin = !s->begun, .add = add, .drop = drop};
    if (name_dropped(s, drop, &q.n_drop)) /* first: it may be one that is wanted again */
        name_added(s, add, &q.n_add);
    s->n_dropping = q.n_drop;
    struct buf body = BUF_EMPTY;
    interest_request_encode(&q, &body);
    s->interest = (struct rpc_call){.done = on_interest, .arg = s};
    rpc_start(s->owner->client->rpc, &s->interest, s->node, FRAME_INTEREST, &body, PATIENCE_US);
}

/* In the order in which they were named. */
static void take_answers(struct watch_session *s, const struct interest_reply *p)
{
    struct client_watch *w = s->owner;
    struct list *l;
    for (uint32_t i = 0; (l = list_first(&s->sent)) != NULL; i++) {
        struct wanted *d = container_of(l, struct wanted, link);
        bool taken = i < p->n && p->taken[i] && !d->ended;
        if (d->state == DROPPED && taken) {
            move_to(d, &s->dropped);
        } else if (d->state == DROPPED) {
            list_remove(l);
            free(d);
        } else if (taken) {
            move_to(d, &s->watched);
            grow(w, d->dir, interest_fragments(p->taken[i]));
            part_watched(w, d);
        } else {
            unplace(w, d, REFUSED_US);
            place_in(w, REFUSED_US);
        }
    }
}

static void on_interest(struct rpc_call *call, int err, struct slice body)
{
    struct watch_session *s = call->arg;
    struct interest_reply p;
    if (err == DYN_OK)
        err = interest_reply_decode(body, &p);
    if (err == DYN_OK)
        err = p.status;
    if (err != DYN_OK) {
        session_lost(s, err);
        return;
    }
    s->begun = true;
    forget_dropped(s, s->n_dropping);
    s->n_dropping = 0;
    take_answers(s, &p);
    send_interest(s);
    if (!rpc_active(&s->watch))
        ask_on(s);
}

/* ---- placing ----------------------------------------------------------------------------- */

/* One that has a session, else any that is up. */
static uint64_t choose(struct client_watch *w, const struct wanted *d)
{
    struct client *c = w->client;
    uint64_t nodes[VOTERS_MAX], up[VOTERS_MAX];
    uint32_t partition = fragment_partition(c->ring, key_of(d->dir), d->fragment), n_up = 0;
    uint32_t n = ring_n(c->ring) < VOTERS_MAX ? ring_n(c->ring) : VOTERS_MAX;
    n = ring_preference_list(c->ring, partition, n, nodes, ring_voters(c->ring, partition, n));
    for (uint32_t i = 0; i < n; i++) {
        if (!detector_up(c->detector, nodes[i]))
            continue;
        if (session_at(w, nodes[i]) != NULL)
            return nodes[i];
        up[n_up++] = nodes[i];
    }
    if (n_up == 0 || w->n_sessions >= SESSIONS_MAX)
        return 0;
    return up[random_u64(&c->random) % n_up];
}

static void place(struct client_watch *w, struct wanted *d)
{
    uint64_t now = client_now(w->client);
    uint64_t node = d->not_before_us <= now ? choose(w, d) : 0;
    if (node == 0)
        return;
    struct watch_session *s = session_at(w, node);
    if (s == NULL)
        s = session_new(w, node);
    d->state = ADDING;
    d->at = s;
    move_to(d, &s->to_add);
}

static void on_timer(struct timer *t, void *arg)
{
    struct client_watch *w = arg;
    (void)t;
    if (w->client->ring != NULL) {
        list_for_each_safe(l, tmp, &w->unplaced) place(w, container_of(l, struct wanted, link));
    }
    list_for_each_safe(l, tmp, &w->sessions)
        send_interest(container_of(l, struct watch_session, link));
    if (!list_empty(&w->unplaced))
        place_in(w, AGAIN_US);
}

static struct wanted_dir *wanted_find(const struct client_watch *w, struct slice dir)
{
    struct wanted_dir *d;
    const void *key = dir.len != 0 ? (const void *)dir.data : "";
    HASH_FIND(hh, w->dirs, key, dir.len, d);
    return d;
}

static void want(void *ctx, struct slice dir)
{
    struct client_watch *w = ctx;
    if (wanted_find(w, dir) != NULL)
        return;
    struct wanted_dir *d = mem_zalloc(sizeof(*d) + dir.len);
    list_init(&d->parts);
    d->len = dir.len;
    if (dir.len != 0)
        memcpy(d->key, dir.data, dir.len);
    HASH_ADD_KEYPTR(hh, w->dirs, d->key, d->len, d);
    grow(w, d, 1);
}

static void drop_dir(struct client_watch *w, struct wanted_dir *d)
{
    if (d->covered)
        w->stats.dirs--;
    for (struct list *l; (l = list_first(&d->parts)) != NULL;)
        drop_part(w, container_of(l, struct wanted, in_dir));
    HASH_DELETE(hh, w->dirs, d);
    free(d);
}

static void drop(void *ctx, struct slice dir)
{
    struct client_watch *w = ctx;
    struct wanted_dir *d = wanted_find(w, dir);
    if (d != NULL)
        drop_dir(w, d);
}

/* ---- life -------------------------------------------------------------------------------- */

struct watch_port client_watch(struct client *c, const struct watch_events *events)
{
    assert(c->watch == NULL);
    struct client_watch *w = c->watch = mem_new(struct client_watch);
    w->client = c;
    w->events = *events;
    list_init(&w->unplaced);
    list_init(&w->sessions);
    timer_init(&w->timer, on_timer, w);
    return (struct watch_port){w, want, drop};
}

void client_watch_stats(const struct client *c, struct client_watch_stats *out)
{
    *out = c->watch == NULL ? (struct client_watch_stats){0} : c->watch->stats;
    out->sessions = c->watch == NULL ? 0 : c->watch->n_sessions;
}

void client_watch_free(struct client *c)
{
    struct client_watch *w = c->watch;
    struct wanted_dir *d, *next;
    if (w == NULL)
        return;
    HASH_ITER(hh, w->dirs, d, next)
    drop_dir(w, d);
    for (struct list *l; (l = list_first(&w->sessions)) != NULL;) {
        struct watch_session *s = container_of(l, struct watch_session, link);
        unplace_all(w, &s->sent); /* which are dropped, and known to nobody else */
        session_free(s);
    }
    timer_cancel(c->timers, &w->timer);
    free(w);
    c->watch = NULL;
}
