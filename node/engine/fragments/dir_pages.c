/* SPDX-License-Identifier: Apache-2.0 */
/* See dir_pages.h.
 *
 *   ASKING --a primary can be reached again--> ASKING it
 *   ASKING --R pages of each fragment--> done, or ASKING the fragments that were not known of
 *   ASKING --a fragment has nobody left to ask--> LEARNING, if somebody knew other owners -> ASKING
 *                                             --> done (error)
 */
#include "engine/fragments/dir_pages.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/fragments.h"
#include "engine/membership/view.h"
#include "engine/replica/replica_list.h"

#define ASKS_MAX 16
#define LIST_NODES 64
#define LEARN_MAX 3u
#define RETRY_US 100000u /* between looks for who is back */
#define SLACK 16u        /* names beyond its share that a fragment is asked for */

struct part;

struct ask {
    struct part *part;
    uint64_t node;
    bool primary, covered; /* covered: silent, a stand-in is asked */
    bool away;             /* could not be reached */
    bool local;
    struct rpc_call call;
};

struct part { /* one fragment */
    struct dir_pages *d;
    uint32_t fragment, partition;
    uint64_t nodes[LIST_NODES];
    uint32_t n_nodes, next_standin;
    struct ask asks[ASKS_MAX];
    uint32_t voters;
    uint32_t n_asks, n_active, n_pages, n_primary, n_votes;
    bool last_resort; /* copies without a vote count as well (catchup.h) */
};

struct dir_pages {
    struct background background; /* first */
    struct engine *e;
    struct dir_pages_params p; /* done NULL: over */
    struct buf dir, after;
    struct part *parts[FRAGMENTS_MAX];
    uint32_t n_parts;
    struct dir_page *pages;
    uint32_t n_pages, cap_pages;
    uint64_t refused_by; /* somebody whose ring is another one; 0: nobody */
    struct view_wait learn;
    uint32_t learned, n_local;
    uint64_t asked_us;
    bool starting;
    struct timer deadline, patience, retry, first_check;
};

static void check(struct dir_pages *d);
static void ask_owners(struct dir_pages *d, uint32_t from);

/* ---- life -------------------------------------------------------------------------------- */

static void release_pages(struct dir_pages *d)
{
    for (uint32_t i = 0; i < d->n_pages; i++) {
        peer_list_reply_release(&d->pages[i].reply);
        buf_release(&d->pages[i].body);
    }
    d->n_pages = 0;
}

static void cancel_asks(struct dir_pages *d)
{
    for (uint32_t i = 0; i < d->n_parts; i++)
        for (uint32_t k = 0; k < d->parts[i]->n_asks; k++)
            rpc_cancel(d->e->rpc, &d->parts[i]->asks[k].call);
}

static void pages_free(struct dir_pages *d)
{
    struct engine *e = d->e;
    background_end(e, &d->background);
    timer_cancel(e->ports.timers, &d->deadline);
    timer_cancel(e->ports.timers, &d->patience);
    timer_cancel(e->ports.timers, &d->retry);
    timer_cancel(e->ports.timers, &d->first_check);
    view_wait_cancel(&d->learn);
    cancel_asks(d);
    release_pages(d);
    for (uint32_t i = 0; i < d->n_parts; i++)
        free(d->parts[i]);
    free(d->pages);
    buf_release(&d->dir);
    buf_release(&d->after);
    free(d);
}

static void abandon(struct background *b)
{
    pages_free(container_of(b, struct dir_pages, background));
}

/* A read of this node's own store cannot be called back. */
static void free_when_idle(struct dir_pages *d)
{
    if (d->p.done == NULL && d->n_local == 0)
        pages_free(d);
}

void dir_pages_forget(struct dir_pages *d)
{
    d->p.done = NULL;
    cancel_asks(d);
    view_wait_cancel(&d->learn);
    timer_cancel(d->e->ports.timers, &d->deadline);
    timer_cancel(d->e->ports.timers, &d->patience);
    timer_cancel(d->e->ports.timers, &d->retry);
    timer_cancel(d->e->ports.timers, &d->first_check);
    free_when_idle(d);
}

/* ---- the answer -------------------------------------------------------------------------- */

uint32_t dir_pages_answered(const struct dir_page *pages, uint32_t n, bool votes)
{
    uint32_t count[FRAGMENTS_MAX] = {0}, fewest = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++)
        count[pages[i].fragment] += !votes || !pages[i].reply.voteless;
    for (uint32_t i = 0; i < n; i++)
        if (count[pages[i].fragment] < fewest)
            fewest = count[pages[i].fragment];
    return n == 0 ? 0 : fewest;
}

static void answer(struct dir_pages *d, int status)
{
    void (*done)(void *arg, int err, const struct dir_page *pages, uint32_t n) = d->p.done;
    void *arg = d->p.arg;
    done(arg, status, d->pages, d->n_pages);
    dir_pages_forget(d);
}

static void on_learned(struct view_wait *w)
{
    struct dir_pages *d = w->arg;
    release_pages(d);
    d->refused_by = 0;
    ask_owners(d, 0);
}

/* Nobody is left to ask, and somebody named other owners: so we may have asked the wrong ones. */
static bool learns(struct dir_pages *d)
{
    if (d->refused_by == 0 || d->n_local > 0 || d->learned++ >= LEARN_MAX)
        return false;
    cancel_asks(d);
    d->learn = (struct view_wait){.done = on_learned, .arg = d};
    view_learn(d->e->view, d->refused_by, &d->learn);
    return true;
}

/* How many fragments there are by what the pages say. */
static uint32_t fragments_told(struct dir_pages *d)
{
    uint8_t growth = 0;
    for (uint32_t i = 0; i < d->n_pages; i++)
        if (d->pages[i].reply.growth > growth)
            growth = d->pages[i].reply.growth;
    if (growth > 2 * FRAGMENT_DEPTH_MAX)
        growth = 2 * FRAGMENT_DEPTH_MAX;
    fragments_learn(d->e, buf_slice(&d->dir), growth);
    return 1u << (growth + 1) / 2;
}

/* Of R who vote, or of all there are: then the merge is final (E13). */
static bool enough(const struct part *p)
{
    uint32_t r = p->d->p.quorum.r;
    return p->n_votes >= r || (p->voters != 0 && p->n_primary >= p->voters) ||
           (p->last_resort && p->n_pages >= r);
}

static void check(struct dir_pages *d)
{
    bool complete = true, stuck = false;
    if (d->starting || timer_is_set(&d->first_check) || d->learn.active)
        return;
    if (d->p.done == NULL) {
        free_when_idle(d);
        return;
    }
    for (uint32_t i = 0; i < d->n_parts; i++) {
        struct part *p = d->parts[i];
        if (p->n_active == 0 && d->refused_by == 0)
            p->last_resort = d->p.quorum.sloppy;
        complete &= enough(p);
        stuck |= !enough(p) && p->n_active == 0;
    }
    if (complete && fragments_told(d) > d->n_parts)
        ask_owners(d, d->n_parts);
    else if (complete)
        answer(d, DYN_OK);
    else if (stuck && !learns(d))
        answer(d, DYN_ERR_NO_QUORUM);
}

static void on_first_check(struct timer *t, void *arg)
{
    (void)t;
    check(arg);
}

static void on_deadline(struct timer *t, void *arg)
{
    (void)t;
    answer(arg, DYN_ERR_NO_QUORUM);
}

/* ---- asking ------------------------------------------------------------------------------ */

static void ask(struct part *p, uint64_t node, bool primary);

static void ask_standin(struct part *p)
{
    struct dir_pages *d = p->d;
    bool was_starting = d->starting;
    d->starting = true;
    while (d->p.done != NULL && d->p.quorum.sloppy && p->next_standin < p->n_nodes) {
        uint64_t node = p->nodes[p->next_standin++];
        if (node == d->e->cfg.node || detector_up(d->e->detector, node)) {
            ask(p, node, false);
            break;
        }
    }
    d->starting = was_starting;
}

static int keep_page(struct ask *a, struct slice body)
{
    struct dir_pages *d = a->part->d;
    struct part *p = a->part;
    struct dir_page page = {.node = a->node,
                            .fragment = p->fragment,
                            .asked_us = d->asked_us,
                            .primary = a->primary,
                            .body = BUF_EMPTY};
    buf_put_slice(&page.body, body);
    int err = peer_list_reply_decode(buf_slice(&page.body), &page.reply);
    if (err == DYN_OK && page.reply.status != DYN_OK) {
        err = page.reply.status;
        peer_list_reply_release(&page.reply);
    }
    if (err != DYN_OK) {
        buf_release(&page.body);
        return err;
    }
    if (d->n_pages == d->cap_pages) {
        d->cap_pages = d->cap_pages == 0 ? 8 : d->cap_pages * 2;
        d->pages = mem_reallocarray(d->pages, d->cap_pages, sizeof(*d->pages));
    }
    d->pages[d->n_pages++] = page;
    p->n_pages++;
    p->n_primary += page.primary;
    p->n_votes += !page.reply.voteless;
    return DYN_OK;
}

static void take_page(struct ask *a, int err, struct slice body)
{
    struct part *p = a->part;
    struct dir_pages *d = p->d;
    p->n_active--;
    if (d->p.done == NULL) {
        free_when_idle(d);
        return;
    }
    if (err == DYN_OK)
        err = keep_page(a, body);
    a->away = err == DYN_ERR_UNREACHABLE || err == DYN_ERR_TIMEOUT;
    if (err == DYN_ERR_REFUSED)
        d->refused_by = a->node;
    else if (err != DYN_OK && !a->covered)
        ask_standin(p);
    check(d);
}

static void on_reply(struct rpc_call *call, int err, struct slice body)
{
    take_page(call->arg, err, body);
}

static void on_local_page(void *arg, struct buf *body)
{
    struct ask *a = arg;
    a->part->d->n_local--;
    take_page(a, DYN_OK, buf_slice(body));
}

/* Names are spread evenly, so of many fragments each is asked for its share and some more. */
static uint32_t share(const struct dir_pages *d)
{
    uint32_t limit = d->p.limit;
    uint64_t some = (uint64_t)limit * 3 / 2 / d->n_parts + SLACK;
    return d->n_parts == 1 || limit == 0 || some > limit ? limit : (uint32_t)some;
}

static void send(struct ask *a)
{
    struct part *p = a->part;
    struct dir_pages *d = p->d;
    struct engine *e = d->e;
    struct peer_list m = {.ring = *ring_epoch(e->ring),
                          .fence = ring_fence(e->ring, p->partition),
                          .dir = buf_slice(&d->dir),
                          .after = buf_slice(&d->after),
                          .limit = share(d),
                          .fragment = p->fragment};
    p->n_active++;
    if (a->node == e->cfg.node) {
        d->n_local++;
        replica_list(e, &m, on_local_page, a);
    } else if (!detector_up(e->detector, a->node)) {
        take_page(a, DYN_ERR_UNREACHABLE, slice_of(NULL, 0));
    } else {
        struct buf body = BUF_EMPTY;
        peer_list_encode(&m, &body);
        rpc_start(e->rpc, &a->call, a->node, FRAME_REPLICA_LIST, &body, d->p.quorum.timeout_us);
    }
}

static void ask(struct part *p, uint64_t node, bool primary)
{
    if (p->n_asks == ASKS_MAX)
        return;
    struct ask *a = &p->asks[p->n_asks++];
    *a = (struct ask){
        .part = p, .node = node, .primary = primary, .call = {.done = on_reply, .arg = a}};
    send(a);
}

/* A primary that was away is perhaps the one that is missing. */
static void on_retry(struct timer *timer, void *arg)
{
    struct dir_pages *d = arg;
    struct engine *e = d->e;
    timer_set(e->ports.timers, timer, engine_now(e) + RETRY_US);
    for (uint32_t k = 0; k < d->n_parts && !d->learn.active; k++) {
        struct part *p = d->parts[k];
        for (uint32_t i = 0; i < p->n_asks; i++) {
            struct ask *a = &p->asks[i];
            if (!a->away || !a->primary || !detector_up(e->detector, a->node))
                continue;
            a->away = false;
            a->covered = true; /* a stand-in has been asked */
            send(a);
        }
    }
}

static void on_patience(struct timer *timer, void *arg)
{
    struct dir_pages *d = arg;
    struct engine *e = d->e;
    bool more = false;
    for (uint32_t k = 0; k < d->n_parts; k++) {
        struct part *p = d->parts[k];
        uint32_t n = p->n_asks; /* not the stand-ins that are asked here */
        for (uint32_t i = 0; i < n; i++) {
            struct ask *a = &p->asks[i];
            if (a->covered || !rpc_active(&a->call))
                continue;
            a->covered = true;
            engine_note_silence(e, &a->call);
            ask_standin(p);
        }
        more |= p->n_asks > n;
    }
    if (more)
        timer_set(e->ports.timers, timer, engine_now(e) + e->cfg.replica_timeout_us);
    check(d);
}

static void part_owners(struct part *p)
{
    struct engine *e = p->d->e;
    const struct quorum *q = &p->d->p.quorum;
    p->partition = place_of_fragment(e->ring, buf_slice(&p->d->dir), p->fragment).partition;
    p->n_nodes = ring_preference_list(e->ring, p->partition, q->n, p->nodes, LIST_NODES);
    p->voters = p->next_standin = ring_voters(e->ring, p->partition, q->n);
    p->n_asks = p->n_active = p->n_pages = p->n_primary = p->n_votes = 0;
    p->last_resort = false;
    for (uint32_t i = 0; i < p->voters; i++)
        ask(p, p->nodes[i], true);
}

static uint32_t at_least(uint32_t v, uint32_t min)
{
    return v > min ? v : min;
}

/* From this fragment on; the others have answered. */
static void ask_owners(struct dir_pages *d, uint32_t from)
{
    struct engine *e = d->e;
    uint32_t listed = at_least(fragments_listed(e, buf_slice(&d->dir)), fragments_told(d));
    for (; d->n_parts < listed; d->n_parts++) {
        struct part *p = d->parts[d->n_parts] = mem_new(struct part);
        p->d = d;
        p->fragment = d->n_parts;
    }
    d->starting = true;
    for (uint32_t i = from; i < d->n_parts; i++)
        part_owners(d->parts[i]);
    d->starting = false;
    timer_set(e->ports.timers, &d->patience, engine_now(e) + e->cfg.replica_timeout_us);
    timer_set(e->ports.timers, &d->first_check, engine_now(e)); /* some may have ended inside */
}

struct dir_pages *dir_pages_start(struct engine *e, const struct dir_pages_params *p)
{
    struct dir_pages *d = mem_new(struct dir_pages);
    d->e = e;
    d->p = *p;
    d->asked_us = engine_now(e);
    buf_put_slice(&d->dir, p->dir);
    buf_put_slice(&d->after, p->after);
    background_add(e, &d->background, abandon);
    timer_init(&d->first_check, on_first_check, d);
    timer_init(&d->deadline, on_deadline, d);
    timer_init(&d->patience, on_patience, d);
    timer_init(&d->retry, on_retry, d);
    timer_set(e->ports.timers, &d->retry, engine_now(e) + RETRY_US);
    timer_set(e->ports.timers, &d->deadline, engine_now(e) + p->quorum.timeout_us);
    ask_owners(d, 0);
    return d;
}
