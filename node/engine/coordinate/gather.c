/* SPDX-License-Identifier: Apache-2.0 */
/* See gather.h.
 *
 *   ASKING    --R copies that dominate what the reader saw--> FETCHING, or ANSWERED where no value
 *                                                             is wanted that is not at hand
 *   ASKING    --a primary can be reached again--------------> ASKING it
 *   ASKING    --nobody left to ask, or the deadline---------> ANSWERED (error)
 *   ASKING    --nobody left, and some knew other owners------> LEARNING -> ASKING them, LEARN_MAX
 *                                                             times
 *   FETCHING  --all are here--------------------------------> ANSWERED
 *   FETCHING  --one is gone everywhere: superseded----------> ASKING for meta and values together
 *                                                             (E24), at most twice
 *   ANSWERED  --all have answered or failed-----------------> REPAIRING (who is behind)
 *   REPAIRING --done----------------------------------------> freed
 */
#include "engine/coordinate/gather.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/delivery.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/fragments.h"
#include "engine/membership/view.h"
#include "engine/peer_wire.h"
#include "engine/thin/superseded.h"
#include "engine/thin/thin.h"

#define ROUNDS_MAX 3
#define LEARN_MAX 3u
#define RETRY_US 100000u /* between looks for who is back */

enum gather_state { ASKING, LEARNING, FETCHING, ANSWERED, REPAIRING };

struct ask {
    struct gather *g;
    uint64_t node;
    bool primary, active;
    bool covered; /* silent for a replica timeout: a stand-in is asked, the answer still counts */
    bool away;    /* could not be reached */
    enum load load;
    struct rpc_call call;
    struct replica_read read;
};

struct gather {
    struct background background; /* first */
    struct engine *e;
    enum gather_state state;
    struct gather_params p;
    uint8_t *key;
    struct read_quorum quorum;
    uint64_t list[64]; /* the preference list */
    uint32_t n_list, voters, next_standin;
    uint64_t refused_by; /* somebody whose ring is another one; 0: nobody */
    struct view_wait learn;
    uint32_t learned;
    struct ask asks[READ_QUORUM_NODES];
    uint32_t n_asks, n_active;
    uint32_t round;
    uint64_t born_us; /* when the copies at hand were asked for */
    bool implicit_dir, values_asked;
    bool starting; /* no answer may be given now: the caller is not done with g */
    bool fetching;
    int64_t dir_mtime_ns;
    struct timer deadline, patience, retry, first_check;
    struct value_fetch fetch;
    struct delivery *repairs; /* one for each copy that was behind */
    uint32_t n_repairs, repairs_active;
    struct object repair_object;
};

static void check(struct gather *g);
static void repair_when_idle(struct gather *g);
static void give_up_silent(struct gather *g);
static void ask_primaries(struct gather *g);
static void ask_standin_quietly(struct gather *g);

static void gather_free(struct gather *g)
{
    background_end(g->e, &g->background);
    timer_cancel(g->e->ports.timers, &g->deadline);
    timer_cancel(g->e->ports.timers, &g->patience);
    timer_cancel(g->e->ports.timers, &g->retry);
    timer_cancel(g->e->ports.timers, &g->first_check);
    for (uint32_t i = 0; i < g->n_asks; i++) {
        rpc_cancel(g->e->rpc, &g->asks[i].call);
        if (g->asks[i].active && g->asks[i].node == g->e->cfg.node)
            replica_read_release(&g->asks[i].read);
    }
    view_wait_cancel(&g->learn);
    if (g->fetching)
        value_fetch_release(&g->fetch);
    for (uint32_t i = 0; i < g->n_repairs; i++)
        delivery_release(&g->repairs[i]);
    free(g->repairs);
    read_quorum_release(&g->quorum);
    object_release(&g->repair_object);
    free(g->key);
    free(g);
}

static void abandon(struct background *b)
{
    gather_free(container_of(b, struct gather, background));
}

/* ---- repair ------------------------------------------------------------------------------ */

static void on_repaired(struct delivery *d, int err)
{
    struct gather *g = d->arg;
    (void)err; /* whoever stayed behind is found by the next read */
    if (--g->repairs_active == 0 && !g->starting)
        gather_free(g);
}

static void add_holders(const struct gather *g, struct delivery *d)
{
    for (uint32_t i = 0; i < g->quorum.n; i++)
        if (g->quorum.copies[i].node != d->node)
            d->holders[d->n_holders++] = g->quorum.copies[i].node;
}

/* A stand-in's copy is not repaired: it keeps what it holds for others, no more. */
static bool needs_repair(const struct gather *g, const struct read_copy *c)
{
    return c->primary && !object_equal(&c->object, &g->quorum.merged);
}

static void repair(struct gather *g)
{
    struct engine *e = g->e;
    g->state = REPAIRING;
    if (read_quorum_stale(&g->quorum) == 0) {
        gather_free(g);
        return;
    }
    g->repairs = mem_zalloc(g->quorum.n * sizeof(*g->repairs));
    object_copy(&g->repair_object, &g->quorum.merged);
    g->starting = true; /* deliveries to this node may end inside delivery_start */
    for (uint32_t i = 0; i < g->quorum.n; i++) {
        const struct read_copy *c = &g->quorum.copies[i];
        if (!needs_repair(g, c) || e->failed != DYN_OK)
            continue;
        struct delivery *d = &g->repairs[g->n_repairs++];
        uint32_t fragment = engine_fragment(e, g->p.key), n = g->p.quorum.n;
        *d = (struct delivery){.e = e,
                               .key = g->p.key,
                               .fragment = fragment,
                               .object = &g->repair_object,
                               .born_us = g->born_us,
                               .node = c->node,
                               .roles =
                                   ROLE_OBJECT | engine_roles(e, c->node, g->p.key, fragment, n),
                               .owe_entry = !replication_same_nodes(e, g->p.key, fragment, n),
                               .timeout_us = e->cfg.replica_timeout_us,
                               .done = on_repaired,
                               .arg = g};
        add_holders(g, d);
        e->stats.read_repairs++;
        g->repairs_active++;
        delivery_start(d);
    }
    g->starting = false;
    if (g->repairs_active == 0)
        gather_free(g);
}

/* ---- the answer -------------------------------------------------------------------------- */

static uint32_t primaries(const struct gather *g)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->quorum.n; i++)
        n += g->quorum.copies[i].primary;
    return n;
}

static void answer(struct gather *g, int status)
{
    uint64_t current[READ_QUORUM_NODES];
    struct gather_result result = {.status = status,
                                   .answered = status == DYN_OK ? g->quorum.n : g->quorum.n_votes,
                                   .needed = g->p.quorum.r,
                                   .primaries = primaries(g),
                                   .object = &g->quorum.merged,
                                   .implicit_dir =
                                       g->implicit_dir && !object_live(&g->quorum.merged),
                                   .dir_mtime_ns = g->dir_mtime_ns,
                                   .born_us = g->born_us,
                                   .current = current};
    for (uint32_t i = 0; i < g->quorum.n; i++)
        if (read_quorum_current(&g->quorum, g->quorum.copies[i].node))
            current[result.n_current++] = g->quorum.copies[i].node;
    g->e->stats.stale_replies += read_quorum_stale(&g->quorum);
    g->e->stats.stale_reads += read_quorum_stale(&g->quorum) > 0;
    g->state = ANSWERED;
    timer_cancel(g->e->ports.timers, &g->deadline);
    timer_cancel(g->e->ports.timers, &g->retry);
    if (g->p.done != NULL)
        g->p.done(g->p.arg, &result);
    give_up_silent(g);
    repair_when_idle(g);
}

static void repair_when_idle(struct gather *g)
{
    if (g->state == ANSWERED && g->n_active == 0 && !g->fetching)
        repair(g);
}

/* After the answer nobody waits for the silent: their copies would only be repaired. */
static void give_up_silent(struct gather *g)
{
    for (uint32_t i = 0; i < g->n_asks; i++) {
        struct ask *a = &g->asks[i];
        if (!a->active || !a->covered)
            continue;
        rpc_cancel(g->e->rpc, &a->call);
        a->active = false;
        g->n_active--;
    }
}

static void on_patience(struct timer *timer, void *arg)
{
    struct gather *g = arg;
    struct engine *e = g->e;
    uint32_t n = g->n_asks; /* not the stand-ins that are asked here */
    for (uint32_t i = 0; i < n; i++) {
        struct ask *a = &g->asks[i];
        if (!a->active || a->covered || !rpc_active(&a->call))
            continue;
        a->covered = true;
        engine_note_silence(e, &a->call);
        if (g->state == ASKING)
            ask_standin_quietly(g);
    }
    if (g->n_asks > n)
        timer_set(e->ports.timers, timer, engine_now(e) + e->cfg.replica_timeout_us);
    if (g->state == ANSWERED)
        give_up_silent(g);
    check(g);
}

static void on_first_check(struct timer *t, void *arg)
{
    (void)t;
    check(arg);
}

static void on_deadline(struct timer *t, void *arg)
{
    (void)t;
    struct gather *g = arg;
    assert(g->state == ASKING || g->state == LEARNING || g->state == FETCHING);
    view_wait_cancel(&g->learn);
    answer(g, g->quorum.n_votes < g->p.quorum.r ? DYN_ERR_NO_QUORUM : DYN_ERR_TIMEOUT);
}

/* ---- values ------------------------------------------------------------------------------ */

/* Those that vote come first; who fills a moving partition, and its former owners, stand in. */
static void load_list(struct gather *g)
{
    struct ring *ring = g->e->ring;
    uint32_t p = ring_partition_of(ring, g->p.key);
    g->n_list =
        ring_preference_list(ring, p, g->p.quorum.n, g->list, sizeof(g->list) / sizeof(g->list[0]));
    g->next_standin = g->voters = ring_voters(ring, p, g->p.quorum.n);
    g->quorum.all = g->voters;
}

static void ask_again(struct gather *g)
{
    struct cover at_least = g->quorum.at_least;
    g->quorum.at_least = COVER_EMPTY;
    read_quorum_release(&g->quorum);
    read_quorum_init(&g->quorum, g->p.quorum.r, &at_least);
    g->round++;
    g->values_asked = false;
    g->n_asks = 0;
    g->refused_by = 0;
    load_list(g);
    ask_primaries(g);
    check(g);
}

static void on_learned(struct view_wait *w)
{
    struct gather *g = w->arg;
    g->state = ASKING;
    g->round--; /* no fault of the values' */
    ask_again(g);
}

/* Nobody is left to ask, and somebody named other owners: so we may have asked the wrong ones. */
static bool learns(struct gather *g)
{
    if (g->refused_by == 0 || g->p.done == NULL || g->learned++ >= LEARN_MAX)
        return false;
    g->state = LEARNING;
    g->learn = (struct view_wait){.done = on_learned, .arg = g};
    view_learn(g->e->view, g->refused_by, &g->learn);
    return true;
}

/* All owners were asked, and some of what nobody has is old. */
static bool drop_superseded(struct gather *g, const struct value_fetch *f)
{
    struct object *o = &g->quorum.merged;
    bool dropped = false;
    for (uint32_t i = 0; i < f->n_dots && primaries(g) == g->voters; i++) {
        bool others = false;
        for (uint32_t k = 0; k < o->n && !others; k++)
            others = !dot_equal(&o->siblings[k].value_dot, &f->dots[i]);
        if (others && value_fetch_superseded(f, i))
            dropped |= superseded_drop(o, &f->dots[i]);
    }
    return dropped;
}

static void on_fetched(struct value_fetch *f, int err)
{
    struct gather *g = f->arg;
    bool dropped = g->state == FETCHING && err == DYN_ERR_NOT_FOUND && drop_superseded(g, f);
    bool thin = thin_possible(g->e, g->p.key) || thin_rows(g->e->thin) > 0, silent = f->unasked > 0;
    value_fetch_release(f);
    g->fetching = false;
    if (g->state == ANSWERED) {
        repair_when_idle(g);
        return;
    }
    g->state = ASKING;
    if (err == DYN_OK || dropped)
        check(g);
    else if (g->n_active > 0)
        return; /* whoever is still to answer may have them */
    else if (thin && (primaries(g) < g->voters || (silent && g->round + 1 >= ROUNDS_MAX)))
        answer(g, DYN_ERR_NO_QUORUM); /* those who keep the values are away */
    else if ((g->p.values == VALUE_DOT && !(thin && silent)) || g->round + 1 >= ROUNDS_MAX)
        answer(g, DYN_ERR_STALE);
    else
        ask_again(g);
}

static bool wants(const struct gather *g, const struct sibling *s)
{
    if (g->p.value_max != 0 && sibling_value_len(s) > g->p.value_max)
        return false;
    switch (g->p.values) {
    case VALUE_ALL:
        return true;
    case VALUE_NEWEST:
        return s == object_newest(&g->quorum.merged);
    case VALUE_DOT:
        return dot_equal(&s->value_dot, &g->p.value_dot);
    default:
        return false;
    }
}

/* Is it one of the first n of the list? */
static bool is_among(const struct gather *g, uint32_t n, uint64_t node)
{
    for (uint32_t i = 0; i < n && i < g->n_list; i++)
        if (g->list[i] == node)
            return true;
    return false;
}

/* False when the answer holds as many bytes of values as it may: the others are to be asked for by
 * their dots. */
static bool fetch_values(struct gather *g)
{
    uint64_t bytes = 0;
    struct value_fetch *f = &g->fetch;
    *f = (struct value_fetch){.e = g->e,
                              .key = g->p.key,
                              .into = &g->quorum.merged,
                              .timeout_us = g->e->cfg.replica_timeout_us,
                              .done = on_fetched,
                              .arg = g};
    f->dots = mem_reallocarray(NULL, g->quorum.merged.n + 1, sizeof(*f->dots));
    for (uint32_t i = 0; i < g->quorum.merged.n; i++)
        if (g->quorum.merged.siblings[i].value != NULL)
            bytes += g->quorum.merged.siblings[i].value->len;
    for (uint32_t i = 0; i < g->quorum.merged.n; i++) {
        const struct sibling *s = &g->quorum.merged.siblings[i];
        if (!sibling_live(s) || s->size == 0 || s->value != NULL || !wants(g, s) ||
            (bytes > 0 && bytes + sibling_value_len(s) > g->e->cfg.answer_values_max))
            continue;
        bytes += sibling_value_len(s);
        f->dots[f->n_dots++] = s->value_dot;
    }
    if (f->n_dots == 0) {
        free(f->dots);
        f->dots = NULL;
        return false;
    }
    uint32_t keepers = thin_copies(g->e, g->p.key); /* first: the others may be thin */
    for (int keeps = 1; keeps >= 0; keeps--)
        for (uint32_t i = 0; i < g->quorum.n; i++)
            if (is_among(g, keepers, g->quorum.copies[i].node) == (keeps == 1))
                f->holders[f->n_holders++] = g->quorum.copies[i].node;
    g->state = FETCHING;
    g->fetching = true;
    value_fetch_start(f);
    return true;
}

/* ---- copies ------------------------------------------------------------------------------ */

static bool standins_left(const struct gather *g)
{
    return g->p.quorum.sloppy && g->next_standin < g->n_list && g->n_asks < READ_QUORUM_NODES;
}

static bool complete(const struct gather *g)
{
    return read_quorum_complete(&g->quorum) && (!g->p.present || object_live(&g->quorum.merged));
}

/* Nobody is left to ask. */
static int why_incomplete(const struct gather *g)
{
    if (g->p.present && primaries(g) == g->p.quorum.n)
        return DYN_ERR_NOT_FOUND;
    return g->p.present || g->quorum.n_votes < g->p.quorum.r ? DYN_ERR_NO_QUORUM : DYN_ERR_TIMEOUT;
}

static void check(struct gather *g)
{
    struct dot missing;
    const struct gather_params *p = &g->p;
    if (g->starting || timer_is_set(&g->first_check))
        return;
    if (g->state == ANSWERED) {
        repair_when_idle(g);
        return;
    }
    if (g->state != ASKING)
        return; /* on_fetched comes back here */
    /* R may have answered without having seen what the reader has (E22) */
    while (!complete(g) && g->n_active == 0 && g->refused_by == 0 && standins_left(g))
        ask_standin_quietly(g);
    if (!complete(g) && g->n_active == 0 && g->refused_by == 0)
        g->quorum.last_resort = g->p.quorum.sloppy;
    if (!complete(g)) {
        if (g->n_active == 0 && !learns(g))
            answer(g, why_incomplete(g));
    } else if (p->values == VALUE_DOT &&
               object_find_value(&g->quorum.merged, &p->value_dot) == NULL) {
        if (g->n_active == 0)
            answer(g, DYN_ERR_STALE);
    } else if (read_quorum_missing(&g->quorum, p->values, &p->value_dot, &missing) != DYN_OK ||
               !fetch_values(g)) {
        answer(g, DYN_OK);
    }
}

static void ask(struct gather *g, uint64_t node, bool primary);

static void ask_standin(struct gather *g)
{
    if (!g->p.quorum.sloppy)
        return;
    while (g->next_standin < g->n_list) {
        uint64_t node = g->list[g->next_standin++];
        if (node == g->e->cfg.node || detector_up(g->e->detector, node)) {
            ask(g, node, false);
            return;
        }
    }
}

/* Also when the stand-in answers inside: whoever calls looks at the outcome. */
static void ask_standin_quietly(struct gather *g)
{
    bool was_starting = g->starting;
    g->starting = true;
    ask_standin(g);
    g->starting = was_starting;
}

static void ask_ended(struct ask *a, int err)
{
    struct gather *g = a->g;
    a->active = false;
    a->away = err == DYN_ERR_UNREACHABLE || err == DYN_ERR_TIMEOUT;
    g->n_active--;
    if (err == DYN_ERR_REFUSED)
        g->refused_by = a->node;
    else if (err != DYN_OK && g->state == ASKING && !a->covered)
        ask_standin_quietly(g);
    check(g);
}

static void take_copy(struct ask *a, struct object *object, bool votes, bool implicit_dir,
                      int64_t mtime)
{
    struct gather *g = a->g;
    if (implicit_dir)
        g->implicit_dir = true;
    if (mtime > g->dir_mtime_ns)
        g->dir_mtime_ns = mtime;
    read_quorum_add(&g->quorum, a->node, a->primary, votes, object);
}

static void on_reply(struct rpc_call *call, int err, struct slice body)
{
    struct ask *a = call->arg;
    struct peer_get_reply reply;
    if (err == DYN_OK)
        err = peer_get_reply_decode(body, &reply);
    if (err == DYN_OK) {
        err = reply.status;
        if (err == DYN_OK)
            take_copy(a, &reply.object, !reply.voteless, reply.implicit_dir, reply.dir_mtime_ns);
        peer_get_reply_release(&reply);
    }
    ask_ended(a, err);
}

static void on_read(struct replica_read *r, int err)
{
    struct ask *a = r->arg;
    if (err == DYN_OK)
        take_copy(a, &r->object, engine_votes(a->g->e, ROW_OBJECT, a->g->p.key), r->implicit_dir,
                  r->dir_mtime_ns);
    replica_read_release(r);
    ask_ended(a, err);
}

static enum load load_for(const struct gather *g, bool first)
{
    if (!first && g->round == 0)
        return LOAD_NONE;
    switch (g->p.values) {
    case VALUE_NONE:
        return LOAD_NONE;
    case VALUE_NEWEST:
        return LOAD_NEWEST;
    case VALUE_ALL:
        return LOAD_ALL;
    case VALUE_DOT:
        return LOAD_DOTS;
    }
    return LOAD_NONE;
}

static bool self_is_primary(const struct gather *g)
{
    for (uint32_t i = 0; i < g->voters; i++)
        if (g->list[i] == g->e->cfg.node)
            return true;
    return false;
}

static void ask_self(struct gather *g, struct ask *a)
{
    a->read = (struct replica_read){.e = g->e,
                                    .key = g->p.key,
                                    .load = load_for(g, true),
                                    .dots = &g->p.value_dot,
                                    .n_dots = g->p.values == VALUE_DOT,
                                    .value_max = g->p.value_max,
                                    .dir_info = g->p.dir_info,
                                    .done = on_read,
                                    .arg = a};
    replica_read_start(&a->read);
}

static void ask_peer(struct gather *g, struct ask *a)
{
    struct engine *e = g->e;
    struct peer_get m = {.ring = *ring_epoch(e->ring),
                         .fence = engine_fence(e, g->p.key, 0, ROLE_OBJECT),
                         .load = a->load,
                         .dir_info = g->p.dir_info,
                         .key = g->p.key,
                         .dots = &g->p.value_dot,
                         .n_dots = g->p.values == VALUE_DOT,
                         .value_max = g->p.value_max};
    struct buf body = BUF_EMPTY;
    peer_get_encode(&m, &body);
    a->call.done = on_reply;
    a->call.arg = a;
    rpc_start(e->rpc, &a->call, a->node, FRAME_REPLICA_GET, &body, g->p.quorum.timeout_us);
}

static void ask(struct gather *g, uint64_t node, bool primary)
{
    struct engine *e = g->e;
    if (g->n_asks == READ_QUORUM_NODES)
        return;
    bool up = node == e->cfg.node || detector_up(e->detector, node);
    bool first = up && !g->values_asked && !self_is_primary(g);
    g->values_asked |= first;
    struct ask *a = &g->asks[g->n_asks++];
    *a = (struct ask){
        .g = g, .node = node, .primary = primary, .active = true, .load = load_for(g, first)};
    g->n_active++;
    if (node == e->cfg.node)
        ask_self(g, a);
    else if (!up)
        ask_ended(a, DYN_ERR_UNREACHABLE);
    else
        ask_peer(g, a);
}

/* A primary that was away is perhaps the one that is missing. */
static void on_retry(struct timer *timer, void *arg)
{
    struct gather *g = arg;
    struct engine *e = g->e;
    timer_set(e->ports.timers, timer, engine_now(e) + RETRY_US);
    for (uint32_t i = 0; g->state == ASKING && i < g->n_asks; i++) {
        struct ask *a = &g->asks[i];
        if (a->active || !a->away || !a->primary || !detector_up(e->detector, a->node))
            continue;
        a->away = false;
        a->active = a->covered = true; /* a stand-in has been asked */
        g->n_active++;
        ask_peer(g, a);
    }
}

static void ask_primaries(struct gather *g)
{
    struct engine *e = g->e;
    timer_set(e->ports.timers, &g->patience, engine_now(e) + e->cfg.replica_timeout_us);
    g->born_us = engine_now(e);
    timer_set(e->ports.timers, &g->retry, engine_now(e) + RETRY_US);
    g->starting = true;
    for (uint32_t i = 0; i < g->voters; i++)
        ask(g, g->list[i], true);
    g->starting = false;
}

struct gather *gather_start(struct engine *e, const struct gather_params *p)
{
    struct gather *g = mem_new(struct gather);
    g->e = e;
    g->p = *p;
    g->key = mem_dup(p->key.data, p->key.len);
    g->p.key = slice_of(g->key, p->key.len);
    g->repair_object = OBJECT_EMPTY;
    read_quorum_init(&g->quorum, p->quorum.r, p->at_least);
    timer_init(&g->deadline, on_deadline, g);
    timer_init(&g->first_check, on_first_check, g);
    timer_init(&g->patience, on_patience, g);
    timer_init(&g->retry, on_retry, g);
    timer_set(e->ports.timers, &g->deadline, engine_now(e) + p->quorum.timeout_us);
    load_list(g);
    background_add(e, &g->background, abandon);
    ask_primaries(g);
    if (complete(g) || g->n_active == 0)
        timer_set(e->ports.timers, &g->first_check, engine_now(e));
    return g;
}

void gather_forget(struct gather *g)
{
    assert(g->state == ASKING || g->state == LEARNING || g->state == FETCHING);
    g->p.done = NULL;
}
