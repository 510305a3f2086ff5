/* SPDX-License-Identifier: Apache-2.0 */
/* How a client learns the ring, and keeps it. It starts with addresses that may be dead, and must
 * go on when the one that answered dies. So: seeds are asked one after the other, each soon after
 * the one before, until a history comes. From then on members are asked, a random one each 10 s,
 * and at once when a reply shows that the ring has changed; seeds again only when members fail.
 * Histories are joined, so that an old one, from a node that was away, takes nothing back. */
#include "model/client_private.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/wire.h"

#define NEXT_SEED_US 200000u  /* before the next seed is asked too */
#define SEED_ROUND_US 500000u /* between rounds through all of them */
#define ASK_TIMEOUT_US 2500000u
#define RETRY_US 1000000u     /* after a refresh that failed */
#define EARLY_GAP_US 1000000u /* between refreshes that replies' epochs ask for */

static void arm(struct client *c, uint64_t in_us)
{
    timer_set(c->timers, &c->ring_timer, client_now(c) + in_us);
}

/* The network must know an address before a request can go there; those of members that left are
 * forgotten. */
static void publish_addresses(struct client *c, struct ring *old)
{
    uint32_t members = ring_member_count(c->ring);
    for (uint32_t i = 0; i < members + ring_former_count(c->ring); i++) {
        const struct ring_member *m = /* who leaves has a vote until its heirs have filled */
            i < members ? ring_member_at(c->ring, i) : ring_former_at(c->ring, i - members);
        const struct ring_member *before = old == NULL ? NULL : ring_contact(old, m->node);
        if (before == NULL || strcmp(before->address, m->address) != 0)
            c->net.set_address(c->net.ctx, m->node, m->address);
    }
    for (uint32_t i = 0; old != NULL && i < ring_member_count(old); i++) {
        uint64_t node = ring_member_at(old, i)->node;
        if (ring_contact(c->ring, node) == NULL) {
            c->net.set_address(c->net.ctx, node, NULL);
            detector_forget(c->detector, node);
        }
    }
}

static int adopt_history(struct client *c, const struct history *theirs)
{
    struct history joined = HISTORY_EMPTY;
    struct ring *ring, *old = c->ring;
    bool changed = true;
    int err = DYN_OK;

    if (old == NULL) {
        history_copy(&joined, theirs);
    } else {
        history_copy(&joined, &c->history);
        err = history_join(&joined, theirs, &changed); /* refuses another cluster's */
    }
    if (err == DYN_OK && changed)
        err = ring_build(&joined, &ring);
    if (err != DYN_OK || !changed) {
        history_release(&joined);
        return err;
    }
    history_release(&c->history);
    c->history = joined;
    c->ring = ring;
    publish_addresses(c, old);
    ring_unref(old);
    c->ringless_us = 0;
    client_outages_clear(c);
    client_ring_known(c);
    return DYN_OK;
}

/* asked: the node that was meant, or a seed's number. FRAME_RING travels without a receiver's name,
 * so it is here that somebody else at a member's address is found out. */
static int adopt_reply(struct client *c, uint64_t asked, struct slice body)
{
    struct ring_reply reply;
    int err = ring_reply_decode(body, &reply);
    if (err != DYN_OK)
        return err;
    err = asked > NODE_SEED_MAX && reply.node != asked ? DYN_ERR_REFUSED : reply.status;
    if (err == DYN_OK)
        err = adopt_history(c, &reply.history);
    ring_reply_release(&reply);
    return err;
}

static void seed_answered(struct rpc_call *call, int err, struct slice body)
{
    struct client *c = call->arg;
    if (err == DYN_OK)
        err = adopt_reply(c, call->node, body);
    if (err == DYN_OK) {
        c->seeds_failed = 0;
        arm(c, c->cfg.ring_refresh_us);
        return;
    }
    c->seeds_failed++;
    if (c->ring != NULL) {
        arm(c, RETRY_US);
    } else if (c->seeds_failed % c->n_seeds == 0) {
        arm(c, SEED_ROUND_US);
        client_seeds_in_vain(c, c->seeds_failed / c->n_seeds);
    } else {
        arm(c, 0);
    }
}

/* Asks the next seed that is not being asked already. False: all are. */
static bool ask_seed(struct client *c)
{
    for (uint32_t i = 0; i < c->n_seeds; i++) {
        uint32_t at = c->next_seed;
        struct client_seed *s = &c->seeds[at];
        c->next_seed = (at + 1) % c->n_seeds;
        if (!rpc_active(&s->call)) {
            struct buf body = BUF_EMPTY;
            rpc_start(c->rpc, &s->call, at + 1, FRAME_RING, &body, ASK_TIMEOUT_US);
            return true;
        }
    }
    return false;
}

static void member_answered(struct rpc_call *call, int err, struct slice body)
{
    struct client_probe *p = call->arg;
    struct client *c = p->client;
    uint64_t node = call->node, took = client_now(c) - call->started_us;
    list_remove(&p->link);
    free(p);
    if (err == DYN_OK)
        err = adopt_reply(c, node, body);
    if (err == DYN_ERR_REFUSED)
        detector_failed(c->detector, node, DYN_ERR_UNREACHABLE);
    else if (err == DYN_ERR_TIMEOUT || err == DYN_ERR_UNREACHABLE)
        detector_failed(c->detector, node, err);
    else
        detector_ok(c->detector, node, took); /* it answered, whatever it said */
    if (err == DYN_OK) {
        c->seeds_failed = 0;
        arm(c, c->cfg.ring_refresh_us);
    } else {
        c->seeds_failed++; /* makes the next turn ask a seed */
        arm(c, RETRY_US);
    }
}

static void ask_member(struct client *c, uint64_t node)
{
    struct client_probe *p = mem_new(struct client_probe);
    struct buf body = BUF_EMPTY;
    p->client = c;
    p->call.done = member_answered;
    p->call.arg = p;
    list_append(&c->probes, &p->link);
    rpc_start(c->rpc, &p->call, node, FRAME_RING, &body, ASK_TIMEOUT_US);
}

/* A random member, one that is up if there is any among a few tries. */
static uint64_t some_member(struct client *c)
{
    uint64_t node = 0;
    for (unsigned i = 0; i < 8; i++) {
        uint32_t at = (uint32_t)(random_u64(&c->random) % ring_member_count(c->ring));
        node = ring_member_at(c->ring, at)->node;
        if (detector_up(c->detector, node))
            break;
    }
    return node;
}

static void on_ring_timer(struct timer *t, void *arg)
{
    (void)t;
    struct client *c = arg;
    if (c->ring == NULL) {
        arm(c, ask_seed(c) ? NEXT_SEED_US : SEED_ROUND_US);
        return;
    }
    /* The answer sets the timer anew; this is for an answer that never comes. */
    arm(c, ASK_TIMEOUT_US + RETRY_US);
    if (c->seeds_failed % 2 == 0 || !ask_seed(c))
        ask_member(c, some_member(c));
}

void client_ring_probe(void *client, uint64_t node)
{
    struct client *c = client;
    if (c->ring != NULL && ring_member_find(c->ring, node) != NULL)
        ask_member(c, node);
}

void client_ring_noticed(struct client *c, uint64_t node, const struct history_epoch *theirs)
{
    const struct history_epoch *ours = ring_epoch(c->ring);
    uint64_t now = client_now(c);
    if (theirs->length < ours->length || history_epoch_equal(theirs, ours))
        return; /* a node that is behind learns by gossip, not from us */
    if (c->asked_early_us != 0 && now - c->asked_early_us < EARLY_GAP_US)
        return;
    if (ring_member_find(c->ring, node) == NULL)
        return;
    c->asked_early_us = now;
    ask_member(c, node);
}

void client_ring_start(struct client *c)
{
    timer_init(&c->ring_timer, on_ring_timer, c);
    for (uint32_t i = 0; i < c->n_seeds; i++) {
        c->seeds[i].call.done = seed_answered;
        c->seeds[i].call.arg = c;
        c->net.set_address(c->net.ctx, i + 1, c->seeds[i].address);
    }
    arm(c, 0);
}

void client_ring_stop(struct client *c)
{
    timer_cancel(c->timers, &c->ring_timer);
    for (uint32_t i = 0; i < c->n_seeds; i++) {
        rpc_cancel(c->rpc, &c->seeds[i].call);
        c->net.set_address(c->net.ctx, i + 1, NULL);
        free(c->seeds[i].address);
    }
    list_for_each_safe(it, tmp, &c->probes)
    {
        struct client_probe *p = container_of(it, struct client_probe, link);
        rpc_cancel(c->rpc, &p->call);
        free(p);
    }
    free(c->seeds);
    ring_unref(c->ring);
    history_release(&c->history);
}
