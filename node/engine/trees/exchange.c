/* SPDX-License-Identifier: Apache-2.0 */
/* See exchange.h. At most one session is under way:
 *
 *   LOAD (own trees of the partitions shared with the peer, up to a message full)
 *     -> ASK (which roots differ there?)
 *          -> DESCEND (descent.h), one after the other
 *     -> LOAD the next of them, or end
 *
 * Whoever has waited longest is next. A peer that fails in the middle is tried again sooner. */
#include "engine/trees/exchange.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/membership/catchup.h"
#include "engine/slices.h"
#include "engine/trees/descent.h"
#include "engine/trees/exchange_wire.h"
#include "model/wire.h"

#define SOON_US 2000000   /* after a start, or a peer's return: hints go first */
#define CATCHUP_US 100000 /* between sessions while this node has no vote */
#define AWAY_US 1000000   /* ... and a peer is down; its return hastens it */
#define NEVER_US (UINT64_MAX / 4)
#define LOADS_A_SLICE 32
#define RETRY_SHARE 4 /* a session that failed is repeated that many times sooner */

struct peer_due {
    uint64_t node, due_us;
};

struct session {
    struct background background; /* first */
    struct exchanges *x;
    uint64_t node;
    uint32_t *partitions; /* shared with it */
    uint32_t n_partitions, at;
    uint32_t loaded, loading_to; /* of this message */
    struct slice_wait slice;
    struct tree_load load;
    bool inside, again;
    struct tree_roots roots;
    struct rpc_call call;
    struct tree_roots_reply differs;
    uint32_t next_differing;
    struct descent *descent;
    uint32_t descending; /* the partition that it is about */
    int err;
};

struct exchanges {
    struct engine *e;
    struct timer timer;
    struct peer_due *peers;
    uint32_t n_peers;
    struct session *session;
};

static void arm(struct exchanges *x);

/* ---- a session --------------------------------------------------------------------------- */

static void session_free(struct session *s)
{
    struct engine *e = s->x->e;
    s->x->session = NULL;
    background_end(e, &s->background);
    slices_forget(e->slices, &s->slice);
    trees_forget(&s->load);
    rpc_cancel(e->rpc, &s->call);
    tree_roots_release(&s->roots);
    tree_roots_reply_release(&s->differs);
    free(s->partitions);
    free(s);
}

/* The engine ends; a descent under way is in the same list, and ends for itself. */
static void abandon(struct background *b)
{
    session_free(container_of(b, struct session, background));
}

static struct peer_due *find_peer(const struct exchanges *x, uint64_t node)
{
    for (uint32_t i = 0; i < x->n_peers; i++)
        if (x->peers[i].node == node)
            return &x->peers[i];
    return NULL;
}

static uint64_t period_of(const struct exchanges *x)
{
    return x->e->cfg.exchange_us != 0 ? x->e->cfg.exchange_us : NEVER_US;
}

static void session_end(struct session *s)
{
    struct exchanges *x = s->x;
    struct engine *e = x->e;
    struct peer_due *peer = find_peer(x, s->node);
    uint64_t period = period_of(x);
    if (s->err == DYN_OK)
        e->stats.exchanges++;
    else
        period /= RETRY_SHARE;
    if (catchup_session_ended(e->catchup, s->node))
        period = CATCHUP_US;
    if (peer != NULL)
        peer->due_us = engine_now(e) + period - random_u64(&e->ports.random) % (period / 4 + 1);
    session_free(s);
    arm(x);
}

static void next_chunk(struct session *s);

static void next_descent(struct session *s);

/* What says that the peer, or this node, goes on with nothing now. Other errors are about the one
 * partition, and must not keep those after it from being compared (E25). */
static bool ends_the_session(int err)
{
    return err == DYN_ERR_UNREACHABLE || err == DYN_ERR_TIMEOUT || err == DYN_ERR_STOPPED ||
           err == DYN_ERR_OVERLOAD || err == DYN_ERR_REFUSED;
}

static void on_descended(void *arg, int err, const struct descent_result *result)
{
    struct session *s = arg;
    s->descent = NULL;
    if (err == DYN_OK && descent_levelled(result))
        catchup_level(s->x->e->catchup, s->node, s->descending);
    if (err != DYN_OK)
        s->err = err;
    if (ends_the_session(err))
        session_end(s);
    else
        next_descent(s);
}

static void next_descent(struct session *s)
{
    struct engine *e = s->x->e;
    uint32_t i;
    do {
        if (s->next_differing == s->differs.count) {
            s->at += s->loaded; /* also past those that could not be loaded */
            next_chunk(s);
            return;
        }
        i = s->differs.differs[s->next_differing++];
    } while (i >= s->roots.count); /* not one of those that were sent */
    s->descending = s->roots.partition[i];
    const struct descent_params p = {.node = s->node,
                                     .partition = s->descending,
                                     .young_too = catchup_under_way(e->catchup),
                                     .done = on_descended,
                                     .arg = s};
    s->descent = descent_start(e, &p);
}

/* Those that the peer did not name; what it names is in ascending order. */
static void note_equal(struct session *s)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < s->roots.count; i++) {
        if (k < s->differs.count && s->differs.differs[k] == i)
            k++;
        else
            catchup_level(s->x->e->catchup, s->node, s->roots.partition[i]);
    }
}

static void on_roots_reply(struct rpc_call *call, int err, struct slice body)
{
    struct session *s = call->arg;
    descent_count_bytes(s->x->e, body.len);
    if (err == DYN_OK)
        err = tree_roots_reply_decode(body, &s->differs);
    if (err == DYN_OK)
        err = s->differs.status;
    if (err != DYN_OK) {
        s->err = err;
        session_end(s);
        return;
    }
    s->next_differing = 0;
    note_equal(s);
    next_descent(s);
}

static void ask(struct session *s)
{
    struct engine *e = s->x->e;
    struct buf body = BUF_EMPTY;
    s->roots.scope = (struct tree_scope){.ring = *ring_epoch(e->ring), .n = ring_n(e->ring)};
    tree_roots_encode(&s->roots, &body);
    descent_count_bytes(e, body.len);
    s->call = (struct rpc_call){.done = on_roots_reply, .arg = s};
    rpc_start(e->rpc, &s->call, s->node, FRAME_TREE_ROOTS, &body, e->cfg.request_timeout_us);
}

static void load_on(struct session *s);

static void on_loaded(struct tree_load *l, int err)
{
    struct session *s = l->arg;
    struct trees *t = s->x->e->trees;
    uint32_t partition = s->partitions[s->at + s->loaded++], i = s->roots.count;
    if (err == DYN_OK && trees_root(t, partition, &s->roots.root[i])) {
        s->roots.partition[i] = partition;
        s->roots.count++;
    } else if (err != DYN_OK) {
        s->err = err; /* said at the end; the others are compared all the same */
    }
    if (s->inside)
        s->again = true;
    else
        load_on(s);
}

static void load_on(struct session *s)
{
    uint32_t left = s->n_partitions - s->at, chunk = left < TREE_ROOTS_MAX ? left : TREE_ROOTS_MAX;
    s->inside = true;
    do {
        s->again = false;
        if (s->loaded == chunk) {
            s->inside = false;
            ask(s);
            return;
        }
        if (s->loaded == s->loading_to) {
            s->inside = false;
            slices_ask(s->x->e->slices, &s->slice);
            return;
        }
        s->load = (struct tree_load){.done = on_loaded, .arg = s};
        trees_load(s->x->e->trees, s->partitions[s->at + s->loaded], &s->load);
    } while (s->again);
    s->inside = false;
}

static void on_slice(struct slice_wait *w)
{
    struct session *s = w->arg;
    struct engine *e = s->x->e;
    if (e->stopping || e->failed != DYN_OK) {
        s->err = DYN_ERR_STOPPED;
        session_end(s);
        return;
    }
    s->loading_to = s->loaded + LOADS_A_SLICE;
    load_on(s);
}

static void next_chunk(struct session *s)
{
    tree_roots_release(&s->roots);
    tree_roots_reply_release(&s->differs);
    if (s->at >= s->n_partitions) {
        session_end(s);
        return;
    }
    s->roots.partition = mem_reallocarray(NULL, TREE_ROOTS_MAX, sizeof(*s->roots.partition));
    s->roots.root = mem_reallocarray(NULL, TREE_ROOTS_MAX, sizeof(*s->roots.root));
    s->loaded = 0;
    slices_ask(s->x->e->slices, &s->slice);
}

/* Partitions that both nodes own. */
static void find_shared(struct session *s)
{
    struct engine *e = s->x->e;
    uint32_t q = ring_q(e->ring), n = ring_n(e->ring);
    s->partitions = mem_reallocarray(NULL, q, sizeof(*s->partitions));
    for (uint32_t p = 0; p < q; p++) {
        uint64_t nodes[N_MAX];
        uint32_t have = ring_preference_list(e->ring, p, n, nodes, n < N_MAX ? n : N_MAX);
        bool own = false, theirs = false;
        for (uint32_t i = 0; i < have; i++) {
            own |= nodes[i] == e->cfg.node;
            theirs |= nodes[i] == s->node;
        }
        if (own && theirs)
            s->partitions[s->n_partitions++] = p;
    }
}

static void session_start(struct exchanges *x, uint64_t node)
{
    struct session *s = mem_new(struct session);
    s->x = x;
    s->node = node;
    x->session = s;
    slice_wait_init(&s->slice, WORK_EXCHANGE, on_slice, s);
    background_add(x->e, &s->background, abandon);
    find_shared(s);
    next_chunk(s);
}

/* ---- who is next ------------------------------------------------------------------------- */

/* Known ones keep their turn, new ones are due soon. */
static void add_peer(const struct exchanges *x, struct peer_due *peers, uint32_t *n, uint64_t node)
{
    struct engine *e = x->e;
    const struct peer_due *known = find_peer(x, node);
    if (node == e->cfg.node)
        return;
    for (uint32_t i = 0; i < *n; i++)
        if (peers[i].node == node)
            return;
    if (known != NULL)
        peers[(*n)++] = *known;
    else
        peers[(*n)++] = (struct peer_due){node, engine_now(e) + SOON_US +
                                                    random_u64(&e->ports.random) % SOON_US};
}

/* The ring may have changed: those that left are forgotten, once they vote nowhere any more. */
static void review_peers(struct exchanges *x)
{
    struct engine *e = x->e;
    uint32_t members = ring_member_count(e->ring), q = ring_q(e->ring), n = 0;
    size_t cap = members + (ring_moving(e->ring) > 0 ? (size_t)q * MOVES_N_MAX : 0);
    struct peer_due *peers = mem_reallocarray(NULL, cap + 1, sizeof(*peers));
    for (uint32_t i = 0; i < members; i++)
        add_peer(x, peers, &n, ring_member_at(e->ring, i)->node);
    for (uint32_t p = 0; ring_moving(e->ring) > 0 && p < q; p++) {
        const struct move *mv = ring_move(e->ring, p);
        for (uint32_t i = 0; mv != NULL && i < mv->n_voters; i++)
            if (!ring_banned(e->ring, mv->voters[i]))
                add_peer(x, peers, &n, mv->voters[i]);
    }
    free(x->peers);
    x->peers = peers;
    x->n_peers = n;
}

static struct peer_due *first_due(const struct exchanges *x)
{
    struct peer_due *first = NULL;
    for (uint32_t i = 0; i < x->n_peers; i++)
        if (first == NULL || x->peers[i].due_us < first->due_us)
            first = &x->peers[i];
    return first;
}

static void arm(struct exchanges *x)
{
    const struct peer_due *first = first_due(x);
    uint64_t now = engine_now(x->e);
    if (first != NULL && x->session == NULL && !x->e->stopping)
        timer_set(x->e->ports.timers, &x->timer, first->due_us > now ? first->due_us : now);
}

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    struct exchanges *x = arg;
    struct engine *e = x->e;
    review_peers(x);
    struct peer_due *first = first_due(x);
    if (first == NULL || x->session != NULL || e->stopping || e->failed != DYN_OK)
        return;
    if (first->due_us <= engine_now(e)) {
        if (trees_complete(e->trees) && detector_up(e->detector, first->node)) {
            session_start(x, first->node);
            return;
        }
        bool waits = catchup_under_way(e->catchup);
        first->due_us = engine_now(e) + (waits ? AWAY_US : period_of(x) / RETRY_SHARE);
    }
    arm(x);
}

void exchanges_hasten(struct exchanges *x, uint64_t node)
{
    struct peer_due *peer = find_peer(x, node);
    struct engine *e = x->e;
    uint64_t soon = engine_now(e) + SOON_US + random_u64(&e->ports.random) % SOON_US;
    bool wanted = e->cfg.exchange_us != 0 || catchup_under_way(e->catchup);
    if (peer == NULL || peer->due_us <= soon || !wanted)
        return;
    peer->due_us = soon;
    arm(x);
}

void exchanges_look(struct exchanges *x)
{
    const struct engine *e = x->e;
    bool wanted = e->cfg.exchange_us != 0 || catchup_under_way(e->catchup);
    if (x->n_peers > 0 || !wanted) /* their turns come, and with them a look at who else there is */
        return;
    review_peers(x);
    arm(x);
}

void exchanges_hasten_all(struct exchanges *x)
{
    review_peers(x);
    for (uint32_t i = 0; i < x->n_peers; i++)
        x->peers[i].due_us = engine_now(x->e);
    if (x->e->serving)
        arm(x);
}

/* ---- life -------------------------------------------------------------------------------- */

struct exchanges *exchanges_new(struct engine *e)
{
    struct exchanges *x = mem_new(struct exchanges);
    x->e = e;
    timer_init(&x->timer, on_timer, x);
    return x;
}

void exchanges_free(struct exchanges *x)
{
    if (x == NULL)
        return;
    timer_cancel(x->e->ports.timers, &x->timer);
    free(x->peers);
    free(x);
}

void exchanges_start(struct exchanges *x)
{
    if (catchup_under_way(x->e->catchup)) {
        exchanges_hasten_all(x);
    } else if (x->e->cfg.exchange_us != 0) {
        review_peers(x);
        arm(x);
    }
}
