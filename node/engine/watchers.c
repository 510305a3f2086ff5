/* SPDX-License-Identifier: Apache-2.0 */
/* See watchers.h.
 *
 *   session:  IDLE --WATCH--> HELD --something to tell, or hold_ms--> answered -> IDLE
 *             IDLE --no WATCH for SESSION_IDLE_US--> freed
 *
 * A directory that somebody is interested in has a `watched`, found by its key; an `interest` is
 * one session's in one directory, and keeps what is to be told of it: names, each with the state
 * that it had last, so that a name that changes a hundred times is told once; past NAMES_MAX of
 * them only that there was much. The first change leaves at the end of the turn, further ones not
 * before PACE_US after the last answer. */
#include "engine/watchers.h"

#include <stdlib.h>
#include <uthash.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/fragments.h"
#include "model/key.h"
#include "model/watch.h"

#define SESSIONS_MAX 4096u
#define SESSION_DIRS_MAX 2048u
#define NAMES_MAX 64u   /* of one directory that are told one by one */
#define STATE_MAX 4096u /* bytes of a state that is told; a larger one is looked up */
#define SESSION_BYTES_MAX (256u << 10) /* of what a session has not been told yet */
#define BYTES_MAX (64u << 20)          /* of all that is here */
#define PACE_US 20000u
#define SESSION_IDLE_US 15000000u

struct session;

struct watched { /* a directory, or a fragment of one: by its id */
    UT_hash_handle hh;
    struct list interests;
    uint32_t fragments; /* that the directory had when somebody asked */
    size_t len;
    uint8_t key[];
};

struct news { /* of one name */
    struct list link;
    struct blob *state; /* shared by all who are told */
    bool came_or_went;
    uint8_t len;
    uint8_t name[];
};

struct interest {
    struct list in_dir, in_session, in_pending;
    struct watched *dir;
    struct session *session;
    struct list news;
    uint32_t n_news;
    bool all;            /* instead of names */
    struct blob *itself; /* the directory's own state is new; NULL: it is not */
    bool ended;          /* nothing follows: it goes once that is told */
};

struct session {
    UT_hash_handle hh;
    struct watchers *owner;
    uint64_t id;
    struct list interests, pending;
    uint32_t n_interests;
    uint64_t bytes; /* of news */
    uint64_t told;  /* answers so far */
    bool held;
    uint64_t origin, rid, hold_until_us, answered_us;
    struct timer timer;
};

struct watchers {
    struct engine *e;
    struct watched *dirs;
    struct session *sessions;
    uint64_t bytes;
    uint64_t answers, events, wholesale, refused;
    uint32_t n_interests;
};

struct watchers *watchers_new(struct engine *e)
{
    struct watchers *w = mem_new(struct watchers);
    w->e = e;
    return w;
}

/* ---- news -------------------------------------------------------------------------------- */

static void charge(struct session *s, int64_t bytes)
{
    s->bytes += (uint64_t)bytes;
    s->owner->bytes += (uint64_t)bytes;
}

static int64_t news_bytes(const struct news *n)
{
    return (int64_t)(sizeof(*n) + n->len + n->state->len);
}

static void drop_news(struct interest *i)
{
    for (struct list *l; (l = list_first(&i->news)) != NULL;) {
        struct news *n = container_of(l, struct news, link);
        charge(i->session, -news_bytes(n));
        list_remove(&n->link);
        blob_unref(n->state);
        free(n);
    }
    i->n_news = 0;
}

static void mark(struct interest *i)
{
    struct session *s = i->session;
    struct engine *e = s->owner->e;
    if (list_empty(&i->in_pending))
        list_append(&s->pending, &i->in_pending);
    if (!s->held)
        return;
    uint64_t now = engine_now(e), pace = s->answered_us + PACE_US;
    uint64_t at = pace > now ? pace : now;
    timer_set(e->ports.timers, &s->timer, at < s->hold_until_us ? at : s->hold_until_us);
}

static void tell_all(struct interest *i)
{
    if (!i->all)
        i->session->owner->wholesale++;
    drop_news(i);
    i->all = true;
    mark(i);
}

static struct news *find_news(struct interest *i, struct slice name)
{
    for (struct list *l = i->news.next; l != &i->news; l = l->next) {
        struct news *n = container_of(l, struct news, link);
        if (slice_equal(slice_of(n->name, n->len), name))
            return n;
    }
    return NULL;
}

static void tell_name(struct interest *i, struct slice name, struct blob *state, bool came_or_went)
{
    struct session *s = i->session;
    if (i->all || i->ended)
        return;
    struct news *n = find_news(i, name);
    if (n == NULL) {
        bool room = i->n_news < NAMES_MAX && s->bytes < SESSION_BYTES_MAX &&
                    s->owner->bytes < BYTES_MAX && state->len <= STATE_MAX;
        if (!room) {
            tell_all(i);
            return;
        }
        n = mem_zalloc(sizeof(*n) + name.len);
        n->len = (uint8_t)name.len;
        memcpy(n->name, name.data, name.len);
        list_append(&i->news, &n->link);
        i->n_news++;
    } else {
        charge(s, -news_bytes(n));
        blob_unref(n->state);
    }
    n->state = blob_ref(state);
    n->came_or_went |= came_or_went;
    charge(s, news_bytes(n));
    mark(i);
}

/* ---- interests and sessions -------------------------------------------------------------- */

static struct watched *watched_find(const struct watchers *w, struct slice dir)
{
    struct watched *d;
    const void *key = dir.len != 0 ? (const void *)dir.data : "";
    HASH_FIND(hh, w->dirs, key, dir.len, d);
    return d;
}

static int64_t interest_bytes(const struct interest *i)
{
    return (int64_t)(sizeof(*i) + sizeof(*i->dir) + i->dir->len);
}

static void interest_free(struct interest *i)
{
    struct session *s = i->session;
    struct watchers *w = s->owner;
    struct watched *d = i->dir;
    drop_news(i);
    w->bytes -= (uint64_t)interest_bytes(i);
    w->n_interests--;
    s->n_interests--;
    blob_unref(i->itself);
    list_remove(&i->in_dir);
    list_remove(&i->in_session);
    list_remove(&i->in_pending);
    free(i);
    if (list_empty(&d->interests)) {
        HASH_DELETE(hh, w->dirs, d);
        free(d);
    }
}

static struct interest *interest_find(struct session *s, struct slice dir)
{
    struct watched *d = watched_find(s->owner, dir);
    if (d == NULL)
        return NULL;
    for (struct list *l = d->interests.next; l != &d->interests; l = l->next) {
        struct interest *i = container_of(l, struct interest, in_dir);
        if (i->session == s)
            return i;
    }
    return NULL;
}

static bool votes_on(const struct engine *e, uint32_t partition)
{
    uint64_t nodes[N_MAX];
    uint32_t n = ring_n(e->ring) < N_MAX ? ring_n(e->ring) : N_MAX;
    n = ring_preference_list(e->ring, partition, n, nodes, ring_voters(e->ring, partition, n));
    for (uint32_t i = 0; i < n; i++)
        if (nodes[i] == e->cfg.node)
            return true;
    return false;
}

/* How many fragments the directory has; 0: this one is not for this node to tell of. Only who votes
 * on it gets all that is written to it. */
static uint32_t fragments_if_held(const struct engine *e, struct slice id)
{
    uint32_t fragment, n;
    struct slice dir = entry_id_split(id, &fragment);
    n = fragments_listed(e, dir);
    return fragment < n && votes_on(e, fragment_partition(e->ring, dir, fragment)) ? n : 0;
}

/* What `taken` says. */
static uint8_t interest_add(struct session *s, struct slice dir)
{
    struct watchers *w = s->owner;
    struct interest *i = interest_find(s, dir);
    if (i != NULL && !i->ended)
        return interest_taken(i->dir->fragments);
    if (i != NULL)
        interest_free(i);
    uint32_t fragments = fragments_if_held(w->e, dir);
    if (fragments == 0 || s->n_interests >= SESSION_DIRS_MAX || w->bytes >= BYTES_MAX / 2) {
        w->refused++;
        return 0;
    }
    struct watched *d = watched_find(w, dir);
    if (d == NULL) {
        d = mem_zalloc(sizeof(*d) + dir.len);
        d->len = dir.len;
        if (dir.len != 0)
            memcpy(d->key, dir.data, dir.len);
        list_init(&d->interests);
        HASH_ADD_KEYPTR(hh, w->dirs, d->key, d->len, d);
    }
    d->fragments = fragments; /* who asked when it had fewer has been told that it ended */
    i = mem_new(struct interest);
    i->dir = d;
    i->session = s;
    list_init(&i->news);
    list_init(&i->in_pending);
    list_append(&d->interests, &i->in_dir);
    list_append(&s->interests, &i->in_session);
    s->n_interests++;
    w->n_interests++;
    w->bytes += (uint64_t)interest_bytes(i);
    return interest_taken(fragments);
}

static void session_free(struct session *s)
{
    struct watchers *w = s->owner;
    for (struct list *l; (l = list_first(&s->interests)) != NULL;)
        interest_free(container_of(l, struct interest, in_session));
    timer_cancel(w->e->ports.timers, &s->timer);
    HASH_DELETE(hh, w->sessions, s);
    w->bytes -= sizeof(*s);
    free(s);
}

static struct session *session_find(struct watchers *w, uint64_t id)
{
    struct session *s;
    HASH_FIND(hh, w->sessions, &id, sizeof(id), s);
    return s;
}

static void on_timer(struct timer *t, void *arg);

static struct session *session_new(struct watchers *w, uint64_t id)
{
    struct session *s = mem_new(struct session);
    s->owner = w;
    s->id = id;
    list_init(&s->interests);
    list_init(&s->pending);
    timer_init(&s->timer, on_timer, s);
    timer_set(w->e->ports.timers, &s->timer, engine_now(w->e) + SESSION_IDLE_US);
    HASH_ADD(hh, w->sessions, id, sizeof(s->id), s);
    w->bytes += sizeof(*s);
    return s;
}

/* ---- answers ----------------------------------------------------------------------------- */

static struct slice blob_slice(const struct blob *b)
{
    return slice_of(b->data, b->len);
}

static uint32_t put_news(struct interest *i, struct buf *out, uint32_t n)
{
    struct slice dir = slice_of(i->dir->key, i->dir->len), none = slice_of(NULL, 0);
    if (i->ended) {
        watch_reply_event(WATCH_ENDED, dir, none, false, none, out);
        return n + 1;
    }
    if (i->itself != NULL) {
        watch_reply_event(WATCH_SELF, dir, none, false, blob_slice(i->itself), out);
        blob_unref(i->itself);
        i->itself = NULL;
        n++;
    }
    if (i->all) {
        watch_reply_event(WATCH_ALL, dir, none, false, none, out);
        i->all = false;
        n++;
    }
    for (struct list *l = i->news.next; l != &i->news; l = l->next) {
        struct news *at = container_of(l, struct news, link);
        watch_reply_event(WATCH_NAME, dir, slice_of(at->name, at->len), at->came_or_went,
                          blob_slice(at->state), out);
        n++;
    }
    drop_news(i);
    return n;
}

/* All that there is, or as much as one answer holds: the rest waits for the next question. */
static void answer(struct session *s, int status)
{
    struct watchers *w = s->owner;
    struct buf events = BUF_EMPTY, body = BUF_EMPTY;
    uint32_t n = 0;
    while (status == DYN_OK && !list_empty(&s->pending) && events.len < WATCH_REPLY_BYTES &&
           n + NAMES_MAX + 2 <= WATCH_EVENTS_MAX) {
        struct interest *i = container_of(list_first(&s->pending), struct interest, in_pending);
        list_remove(&i->in_pending);
        n = put_news(i, &events, n);
        if (i->ended)
            interest_free(i);
    }
    s->told++;
    s->held = false;
    s->answered_us = engine_now(w->e);
    w->answers++;
    w->events += n;
    watch_reply_begin(status, s->told, n, &body);
    buf_put_slice(&body, buf_slice(&events));
    buf_release(&events);
    timer_set(w->e->ports.timers, &s->timer, s->answered_us + SESSION_IDLE_US);
    w->e->ports.net.reply(w->e->ports.net.ctx, s->origin, s->rid, FRAME_WATCH + FRAME_REPLY, &body);
}

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    struct session *s = arg;
    if (s->held)
        answer(s, DYN_OK);
    else
        session_free(s);
}

/* ---- frames ------------------------------------------------------------------------------ */

static bool serves(const struct engine *e)
{
    return e->serving && !e->stopping && e->failed == DYN_OK;
}

static int begin_session(struct watchers *w, const struct interest_request *q, struct session **s)
{
    *s = session_find(w, q->session);
    if (*s != NULL)
        return q->begin ? DYN_ERR_INVALID : DYN_OK;
    if (!q->begin)
        return DYN_ERR_STALE;
    if (HASH_COUNT(w->sessions) >= SESSIONS_MAX || w->bytes >= BYTES_MAX / 2) {
        w->refused++;
        return DYN_ERR_OVERLOAD;
    }
    *s = session_new(w, q->session);
    return DYN_OK;
}

void watchers_interest(struct watchers *w, uint64_t origin, uint64_t rid, struct slice body)
{
    struct interest_request q;
    struct interest_reply p = {.n = 0};
    struct session *s;
    struct buf out = BUF_EMPTY;
    p.status = interest_request_decode(body, &q);
    bool decoded = p.status == DYN_OK;
    if (decoded && !serves(w->e))
        p.status = DYN_ERR_STOPPED;
    if (p.status == DYN_OK)
        p.status = begin_session(w, &q, &s);
    for (uint32_t i = 0; p.status == DYN_OK && i < q.n_drop; i++) {
        struct interest *old = interest_find(s, q.drop[i]);
        if (old != NULL)
            interest_free(old);
    }
    for (uint32_t i = 0; p.status == DYN_OK && i < q.n_add; i++)
        p.taken[p.n++] = interest_add(s, q.add[i]);
    if (decoded)
        interest_request_release(&q);
    interest_reply_encode(&p, &out);
    w->e->ports.net.reply(w->e->ports.net.ctx, origin, rid, FRAME_INTEREST + FRAME_REPLY, &out);
}

static void refuse(struct watchers *w, uint64_t origin, uint64_t rid, int status)
{
    struct buf out = BUF_EMPTY;
    watch_reply_begin(status, 0, 0, &out);
    w->e->ports.net.reply(w->e->ports.net.ctx, origin, rid, FRAME_WATCH + FRAME_REPLY, &out);
}

void watchers_watch(struct watchers *w, uint64_t origin, uint64_t rid, struct slice body)
{
    struct watch_request q;
    int err = watch_request_decode(body, &q);
    if (err == DYN_OK && !serves(w->e))
        err = DYN_ERR_STOPPED;
    struct session *s = err == DYN_OK ? session_find(w, q.session) : NULL;
    if (err == DYN_OK && s == NULL)
        err = DYN_ERR_STALE;
    if (err != DYN_OK) {
        refuse(w, origin, rid, err);
        return;
    }
    if (s->held)
        answer(s, DYN_OK); /* it was asked again: the first question's asker has given up */
    uint64_t now = engine_now(w->e);
    uint32_t hold_ms = q.hold_ms < WATCH_HOLD_MAX_MS ? q.hold_ms : WATCH_HOLD_MAX_MS;
    s->held = true;
    s->origin = origin;
    s->rid = rid;
    s->hold_until_us = now + hold_ms * 1000ull;
    uint64_t pace = s->answered_us + PACE_US, at = pace > now ? pace : now;
    bool some = !list_empty(&s->pending);
    timer_set(w->e->ports.timers, &s->timer, some && at < s->hold_until_us ? at : s->hold_until_us);
}

/* ---- events ------------------------------------------------------------------------------ */

static struct blob *encoded(const struct object *o)
{
    struct buf bytes = BUF_EMPTY;
    object_encode(o, &bytes);
    struct blob *b = blob_new(bytes.data, bytes.len);
    buf_release(&bytes);
    return b;
}

static void entry_written(struct watched *d, const struct replica_write *write)
{
    struct blob *state = encoded(&write->entry);
    list_for_each_safe(l, tmp, &d->interests) tell_name(
        container_of(l, struct interest, in_dir), write->name, state, write->entry_live_changed);
    blob_unref(state);
}

static void directory_written(struct watched *d, const struct replica_write *write)
{
    struct object projection = OBJECT_EMPTY;
    object_project(&write->object, &projection);
    struct blob *state = encoded(&projection);
    object_release(&projection);
    list_for_each_safe(l, tmp, &d->interests)
    {
        struct interest *i = container_of(l, struct interest, in_dir);
        if (state->len > STATE_MAX) {
            tell_all(i);
            continue;
        }
        blob_unref(i->itself);
        i->itself = blob_ref(state);
        mark(i);
    }
    blob_unref(state);
}

void watchers_written(struct watchers *w, const struct replica_write *write)
{
    struct watched *d;
    if (w->dirs == NULL)
        return;
    bool entry = (write->roles & ROLE_ENTRY) && write->name.len != 0; /* no fragment's head */
    if (entry && (d = watched_find(w, entry_id_dir(write->id))) != NULL)
        entry_written(d, write);
    if ((write->roles & ROLE_OBJECT) && (d = watched_find(w, write->key)) != NULL)
        directory_written(d, write);
}

bool watchers_watch_dir(const struct watchers *w, struct slice dir)
{
    return w->dirs != NULL && watched_find(w, dir) != NULL;
}

void watchers_look(struct watchers *w)
{
    struct watched *d, *next;
    HASH_ITER(hh, w->dirs, d, next)
    {
        if (fragments_if_held(w->e, slice_of(d->key, d->len)) == d->fragments)
            continue;
        list_for_each_safe(l, tmp, &d->interests)
        {
            struct interest *i = container_of(l, struct interest, in_dir);
            drop_news(i);
            i->ended = true;
            mark(i);
        }
    }
}

/* ---- life -------------------------------------------------------------------------------- */

void watchers_stop(struct watchers *w)
{
    struct session *s, *next;
    HASH_ITER(hh, w->sessions, s, next)
    {
        if (s->held)
            answer(s, DYN_ERR_STOPPED);
        session_free(s);
    }
}

void watchers_free(struct watchers *w)
{
    struct session *s, *next;
    HASH_ITER(hh, w->sessions, s, next)
    session_free(s);
    free(w);
}

void watchers_stats(const struct watchers *w, struct engine_stats *out)
{
    out->watch_sessions = HASH_COUNT(w->sessions);
    out->watch_dirs = w->n_interests;
    out->watch_bytes = w->bytes;
    out->watch_answers = w->answers;
    out->watch_events = w->events;
    out->watch_wholesale = w->wholesale;
    out->watch_refused = w->refused;
}
