/* SPDX-License-Identifier: Apache-2.0 */
/* See gossip.h. A round is one small frame each way while nothing changes. Where digests differ,
 * whoever asked starts an exchange (view_learn), after which both know what either knew.
 *
 * A start is counted on disk before anything is served. Whoever is shown a higher count of its own
 * id than it has itself is an older copy of its disk, or one of two processes with one id (E2). It
 * counts itself above what it was shown, and holds its copies for old. Peers may know of several
 * later starts, one each; but a start that counts on is of a process that is alive: then it says so
 * a last time and stops; and so does the other. */
#include "engine/membership/gossip.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/membership/catchup.h"
#include "engine/membership/view.h"
#include "engine/peer_wire.h"

#define STARTS_ROW "starts"
#define PLAN_ROW "plan"
#define BOOTS_ROW "boots"
#define GOSSIP_TIMEOUT_US 2000000u
#define CALLS_MAX 4u
#define SEED_ROUNDS 10u      /* one round in so many goes to a seed */
#define UNCONFIRMED_SHARE 8u /* rounds are that many times quicker after a start */
#define FORMAT 1
#define SHOWN_MAX 8u /* later starts than this one: were there more, something else is wrong */

struct chat {
    struct gossip *g;
    struct rpc_call call;
};

struct gossip {
    struct engine *e;
    struct timer tick;
    struct chat chats[CALLS_MAX];
    struct rumours_digest digest;
    bool digest_known, raised, doubled, twin;
    struct boot shown[SHOWN_MAX]; /* starts of this id that others have told of */
    uint32_t n_shown;
    uint32_t rounds, seeds;
    struct store_get get;
    struct store_write starts_write, plan_write;
    bool starts_writing;
    void (*loaded)(void *arg, int err);
    void *loaded_arg;
    void (*plan_done)(void *arg, int err);
    void *plan_arg;
};

static void on_tick(struct timer *t, void *arg);

struct gossip *gossip_new(struct engine *e)
{
    struct gossip *g = mem_new(struct gossip);
    g->e = e;
    timer_init(&g->tick, on_tick, g);
    for (uint32_t i = 0; i < CALLS_MAX; i++)
        g->chats[i].g = g;
    return g;
}

void gossip_free(struct gossip *g)
{
    if (g == NULL)
        return;
    timer_cancel(g->e->ports.timers, &g->tick);
    for (uint32_t i = 0; i < CALLS_MAX; i++)
        rpc_cancel(g->e->rpc, &g->chats[i].call);
    free(g);
}

/* ---- bodies ------------------------------------------------------------------------------ */

void gossip_digest_encode(int status, const struct rumours_digest *d, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put_u32(out, (uint32_t)status);
    rumours_digest_encode(d, out);
}

int gossip_digest_decode(struct slice body, int *status, struct rumours_digest *d)
{
    struct reader r = reader_of_format(body, FORMAT);
    struct rumours_digest got = {0};
    int s = (int)read_u32(&r);
    rumours_digest_decode(&r, &got);
    if (!reader_ok(&r) || s > 0)
        return DYN_ERR_PROTOCOL;
    *status = s;
    *d = got;
    return DYN_OK;
}

void gossip_exchange_encode(int status, const struct rumours *r, struct buf *out)
{
    buf_put_u8(out, FORMAT);
    buf_put_u32(out, (uint32_t)status);
    if (status == DYN_OK)
        rumours_encode(r, out);
}

int gossip_exchange_decode(struct slice body, int *status, struct rumours *out)
{
    struct reader r = reader_of_format(body, FORMAT);
    int s = (int)read_u32(&r);
    if (reader_ok(&r) && s == DYN_OK)
        rumours_decode(&r, out);
    if (!reader_ok(&r) || s > 0)
        return DYN_ERR_PROTOCOL;
    *status = s;
    return DYN_OK;
}

/* ---- this node's starts ------------------------------------------------------------------ */

static void write_starts(struct gossip *g);

static void on_starts_written(struct store_write *req, int err)
{
    struct gossip *g = req->arg;
    void (*loaded)(void *, int) = g->loaded;
    g->starts_writing = false;
    g->loaded = NULL;
    if (loaded != NULL)
        loaded(g->loaded_arg, err);
}

static void write_starts(struct gossip *g)
{
    struct engine *e = g->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    if (g->starts_writing)
        return;
    buf_put_u64(&row, rumours_boot(&e->rumours, e->cfg.node)->count);
    store_batch_put(&b, STORE_LOCAL, slice_str(STARTS_ROW), buf_slice(&row));
    g->starts_write = (struct store_write){.done = on_starts_written, .arg = g};
    g->starts_writing = true;
    int err = e->ports.store.write(e->ports.store.ctx, &b, STORE_SYNCED, &g->starts_write);
    store_batch_release(&b);
    buf_release(&row);
    if (err != DYN_OK)
        on_starts_written(&g->starts_write, err);
}

static void count_start(struct gossip *g, uint64_t count)
{
    struct engine *e = g->e;
    struct boot own = {.node = e->cfg.node, .count = count, .incarnation = e->boot};
    rumours_set_boot(&e->rumours, &own);
    g->digest_known = false;
    write_starts(g);
}

static void on_starts(struct store_get *req, int err, struct slice value)
{
    struct gossip *g = req->arg;
    uint64_t before = 0;
    if (err == DYN_OK) {
        struct reader r = reader_of(value);
        before = read_u64(&r);
        err = reader_done(&r) ? DYN_OK : DYN_ERR_CORRUPT;
    }
    if (err == DYN_OK || err == DYN_ERR_NOT_FOUND)
        count_start(g, before + 1);
    else
        g->loaded(g->loaded_arg, err);
}

/* The starts of others that this node has heard of: it may be the only one that knows. */
static void on_boots(struct store_get *req, int err, struct slice value)
{
    struct gossip *g = req->arg;
    struct engine *e = g->e;
    if (err == DYN_OK) {
        struct reader r = reader_of(value);
        rumours_boots_decode(&r, &e->rumours);
        err = reader_done(&r) ? DYN_OK : DYN_ERR_CORRUPT;
    }
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND) {
        g->loaded(g->loaded_arg, err);
        return;
    }
    g->get = (struct store_get){
        .family = STORE_LOCAL, .key = slice_str(STARTS_ROW), .done = on_starts, .arg = g};
    e->ports.store.get(e->ports.store.ctx, &g->get);
}

static void write_boots(struct gossip *g)
{
    struct store_port *store = &g->e->ports.store;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    rumours_boots_encode(&g->e->rumours, &row);
    store_batch_put(&b, STORE_LOCAL, slice_str(BOOTS_ROW), buf_slice(&row));
    (void)store->write(store->ctx, &b, STORE_BUFFERED, NULL); /* others most likely know as well */
    store_batch_release(&b);
    buf_release(&row);
}

static void on_plan(struct store_get *req, int err, struct slice value)
{
    struct gossip *g = req->arg;
    struct engine *e = g->e;
    if (err == DYN_OK) {
        struct reader r = reader_of(value);
        struct rumours stored = RUMOURS_EMPTY;
        stored.plan_stamp = read_u64(&r);
        stored.plan_node = read_u64(&r);
        buf_put_slice(&stored.plan, read_raw(&r, reader_left(&r)));
        if (reader_ok(&r))
            rumours_join_plan(&e->rumours, &stored);
        rumours_release(&stored);
    } else if (err != DYN_ERR_NOT_FOUND) {
        g->loaded(g->loaded_arg, err);
        return;
    }
    g->get = (struct store_get){
        .family = STORE_LOCAL, .key = slice_str(BOOTS_ROW), .done = on_boots, .arg = g};
    e->ports.store.get(e->ports.store.ctx, &g->get);
}

void gossip_load(struct gossip *g, void (*done)(void *arg, int err), void *arg)
{
    struct engine *e = g->e;
    g->loaded = done;
    g->loaded_arg = arg;
    g->get = (struct store_get){
        .family = STORE_LOCAL, .key = slice_str(PLAN_ROW), .done = on_plan, .arg = g};
    e->ports.store.get(e->ports.store.ctx, &g->get);
}

/* Has it counted since it was first heard of? Two that met at one count have no incarnation. */
static bool counts_on(struct gossip *g, const struct boot *boot)
{
    for (uint32_t i = 0; i < g->n_shown; i++)
        if (boot->incarnation != 0 && g->shown[i].incarnation == boot->incarnation)
            return boot->count > g->shown[i].count;
    if (g->n_shown == SHOWN_MAX)
        return true;
    g->shown[g->n_shown++] = *boot;
    return false;
}

static void hear_of_start(void *arg, const struct boot *boot)
{
    struct gossip *g = arg;
    if (boot->node != g->e->cfg.node || boot->incarnation == g->e->boot)
        return;
    g->doubled = true;
    g->twin |= counts_on(g, boot);
}

/* Somebody knows of a later start of this node than this one. */
static void outlive(struct gossip *g)
{
    struct engine *e = g->e;
    g->doubled = false;
    if (!g->raised) /* noted before the count is: a crash must not leave the count alone */
        catchup_begin(e->catchup);
    count_start(g, rumours_boot(&e->rumours, e->cfg.node)->count + 1);
    if (g->twin) {
        gossip_hurry(g);
        engine_halt(e, DYN_ERR_REFUSED,
                    "another process runs under this node's id: stop both, and give one of them "
                    "a disk and an id of its own");
        return;
    }
    g->raised = true;
    e->disk_is_old = true;
}

/* ---- the plan ---------------------------------------------------------------------------- */

static void on_plan_written(struct store_write *req, int err)
{
    struct gossip *g = req->arg;
    void (*done)(void *, int) = g->plan_done;
    g->plan_done = NULL;
    if (done != NULL)
        done(g->plan_arg, err);
}

static void write_plan(struct gossip *g, struct store_write *req)
{
    struct engine *e = g->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    buf_put_u64(&row, e->rumours.plan_stamp);
    buf_put_u64(&row, e->rumours.plan_node);
    buf_put_slice(&row, buf_slice(&e->rumours.plan));
    store_batch_put(&b, STORE_LOCAL, slice_str(PLAN_ROW), buf_slice(&row));
    int err = e->ports.store.write(e->ports.store.ctx, &b,
                                   req != NULL ? STORE_SYNCED : STORE_BUFFERED, req);
    store_batch_release(&b);
    buf_release(&row);
    if (err != DYN_OK && req != NULL)
        req->done(req, err);
}

void gossip_set_plan(struct gossip *g, struct slice plan, void (*done)(void *arg, int err),
                     void *arg)
{
    struct rumours *r = &g->e->rumours;
    if (g->plan_done != NULL || plan.len > PLAN_LEN_MAX) {
        done(arg, g->plan_done != NULL ? DYN_ERR_OVERLOAD : DYN_ERR_TOO_LARGE);
        return;
    }
    r->plan_stamp++;
    r->plan_node = g->e->cfg.node;
    struct buf copy = BUF_EMPTY; /* plan may lie in what it replaces */
    buf_put_slice(&copy, plan);
    buf_release(&r->plan);
    r->plan = copy;
    g->digest_known = false;
    g->plan_done = done;
    g->plan_arg = arg;
    g->plan_write = (struct store_write){.done = on_plan_written, .arg = g};
    write_plan(g, &g->plan_write);
    gossip_hurry(g);
}

void gossip_take(struct gossip *g, const struct rumours *theirs)
{
    struct engine *e = g->e;
    g->digest_known = false;
    if (rumours_join_boots(&e->rumours, theirs, hear_of_start, g))
        write_boots(g);
    if (rumours_join_plan(&e->rumours, theirs))
        write_plan(g, NULL); /* others have it too: it need not be synced */
    if (g->doubled)
        outlive(g);
    else
        catchup_confirmed(e->catchup);
}

/* ---- rounds ------------------------------------------------------------------------------ */

static const struct rumours_digest *digest(struct gossip *g)
{
    if (!g->digest_known || g->digest.history.length != g->e->rumours.history.n)
        rumours_digest(&g->e->rumours, &g->digest);
    g->digest_known = true;
    return &g->digest;
}

static void on_reply(struct rpc_call *call, int err, struct slice body)
{
    struct chat *c = call->arg;
    struct gossip *g = c->g;
    struct rumours_digest theirs;
    int status = DYN_OK;
    if (err != DYN_OK || gossip_digest_decode(body, &status, &theirs) != DYN_OK || status != DYN_OK)
        return;
    /* Also where an exchange has told them of this start, and what they said was lost. */
    if (memcmp(theirs.boots, digest(g)->boots, DIGEST_LEN) == 0 && !g->doubled)
        catchup_confirmed(g->e->catchup);
    if (!rumours_digest_equal(&theirs, digest(g)))
        view_learn(g->e->view, call->node, NULL);
}

static void on_seed(struct rpc_call *call, int err, struct slice body)
{
    struct chat *c = call->arg;
    struct ring_reply reply = {.history = HISTORY_EMPTY};
    if (err != DYN_OK || ring_reply_decode(body, &reply) != DYN_OK)
        return;
    /* another cluster's is refused; an old one takes nothing back */
    if (reply.status == DYN_OK)
        view_grow(c->g->e->view, &reply.history);
    ring_reply_release(&reply);
}

static struct chat *free_chat(struct gossip *g)
{
    for (uint32_t i = 0; i < CALLS_MAX; i++)
        if (!rpc_active(&g->chats[i].call))
            return &g->chats[i];
    return NULL;
}

static void tell(struct gossip *g, uint64_t node)
{
    struct engine *e = g->e;
    struct buf body = BUF_EMPTY;
    struct chat *c = free_chat(g);
    if (c == NULL)
        return;
    c->call = (struct rpc_call){.done = on_reply, .arg = c};
    gossip_digest_encode(DYN_OK, digest(g), &body);
    e->stats.gossip_sent++;
    rpc_start(e->rpc, &c->call, node, FRAME_GOSSIP, &body, GOSSIP_TIMEOUT_US);
}

static void ask_seed(struct gossip *g)
{
    struct engine *e = g->e;
    struct buf body = BUF_EMPTY;
    struct chat *c = free_chat(g);
    if (c == NULL || e->cfg.n_seeds == 0)
        return;
    c->call = (struct rpc_call){.done = on_seed, .arg = c};
    rpc_start(e->rpc, &c->call, 1 + g->seeds++ % e->cfg.n_seeds, FRAME_RING, &body,
              GOSSIP_TIMEOUT_US);
}

/* Any other member, up or not: a link that heals is found by whoever tries it. */
static uint64_t random_peer(struct gossip *g)
{
    struct engine *e = g->e;
    uint32_t members = ring_member_count(e->ring);
    bool inside = ring_member_find(e->ring, e->cfg.node) != NULL;
    if (members == 0 || (inside && members == 1))
        return 0;
    uint32_t pick = (uint32_t)(random_u64(&e->ports.random) % (members - inside));
    for (uint32_t i = 0; i < members; i++) {
        uint64_t node = ring_member_at(e->ring, i)->node;
        if (node != e->cfg.node && pick-- == 0)
            return node;
    }
    return 0;
}

void gossip_hurry(struct gossip *g)
{
    for (int i = 0; i < 2 && g->e->serving; i++) {
        uint64_t peer = random_peer(g);
        if (peer != 0)
            tell(g, peer);
    }
}

static void on_tick(struct timer *t, void *arg)
{
    struct gossip *g = arg;
    struct engine *e = g->e;
    uint64_t every = e->cfg.gossip_us, peer = random_peer(g);
    if (!catchup_is_confirmed(e->catchup))
        every /= UNCONFIRMED_SHARE;
    timer_set(e->ports.timers, t,
              engine_now(e) + every - every / 8 + random_u64(&e->ports.random) % (every / 4 + 1));
    if (g->rounds++ % SEED_ROUNDS == 0 || peer == 0)
        ask_seed(g);
    if (peer != 0)
        tell(g, peer);
}

void gossip_start(struct gossip *g)
{
    struct engine *e = g->e;
    for (uint32_t i = 0; i < e->cfg.n_seeds; i++)
        e->ports.net.set_address(e->ports.net.ctx, 1 + i, e->cfg.seeds[i]);
    if (e->cfg.gossip_us != 0) {
        uint64_t first = random_u64(&e->ports.random) % (e->cfg.gossip_us + 1);
        timer_set(e->ports.timers, &g->tick, engine_now(e) + first / UNCONFIRMED_SHARE);
        gossip_hurry(g); /* until others have said how often it has started it has no vote */
    }
}

void gossip_frame(struct gossip *g, uint64_t origin, uint64_t rid, struct slice body)
{
    struct engine *e = g->e;
    struct rumours_digest theirs;
    struct buf out = BUF_EMPTY;
    int status = DYN_OK, err = gossip_digest_decode(body, &status, &theirs);
    gossip_digest_encode(err, digest(g), &out);
    e->ports.net.reply(e->ports.net.ctx, origin, rid, FRAME_GOSSIP + FRAME_REPLY, &out);
}
