/* SPDX-License-Identifier: Apache-2.0 */
/* See membership.h. The plan is checked when it is staged, when it is shown and when it is
 * committed: in between the ring may have become another one. */
#include "engine/membership/membership.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/core.h"
#include "engine/membership/commit.h"
#include "engine/membership/gossip.h"

#define WHOIS_US 2000000u

struct errand { /* outlives its caller's stack */
    struct engine *e;
    membership_done done;
    void *arg;
};

void membership_plan(struct engine *e, struct plan *out)
{
    plan_release(out);
    plan_decode(buf_slice(&e->rumours.plan), out); /* one that does not decode is none */
}

static void on_plan_set(void *arg, int err)
{
    struct errand *w = arg;
    w->done(w->arg, err, NULL);
    free(w);
}

static void set_plan(struct engine *e, const struct plan *p, membership_done done, void *arg)
{
    struct buf bytes = BUF_EMPTY;
    struct errand *w = mem_new(struct errand);
    *w = (struct errand){.e = e, .done = done, .arg = arg};
    if (p->n > 0)
        plan_encode(p, &bytes);
    gossip_set_plan(e->gossip, buf_slice(&bytes), on_plan_set, w);
    buf_release(&bytes);
}

void membership_stage(struct engine *e, const struct member_event *part, membership_done done,
                      void *arg)
{
    struct plan p = PLAN_EMPTY;
    const char *rule = NULL;
    membership_plan(e, &p);
    if (plan_stage(&p, e->ring, part, &rule) == DYN_OK)
        set_plan(e, &p, done, arg);
    else
        done(arg, DYN_ERR_INVALID, rule);
    plan_release(&p);
}

void membership_unstage(struct engine *e, uint64_t node, membership_done done, void *arg)
{
    struct plan p = PLAN_EMPTY;
    membership_plan(e, &p);
    bool any = node == 0 ? p.n > 0 : plan_unstage(&p, node);
    if (node == 0)
        plan_release(&p);
    if (any)
        set_plan(e, &p, done, arg);
    else
        done(arg, DYN_ERR_NOT_FOUND, "nothing is staged");
    plan_release(&p);
}

/* ---- committing -------------------------------------------------------------------------- */

static void on_committed(void *arg, int err)
{
    struct errand *w = arg;
    if (err == DYN_OK) {
        struct plan none = PLAN_EMPTY;
        set_plan(w->e, &none, w->done, w->arg);
    } else if (err == DYN_ERR_CONFLICT) {
        w->done(w->arg, err, "the membership has been changed meanwhile: look at the plan again");
    } else if (err == DYN_ERR_EXISTS) {
        w->done(w->arg, DYN_ERR_REFUSED,
                "a node that the change takes out answers: by force there could be two clusters");
    } else if (err == DYN_ERR_INVALID) {
        w->done(w->arg, DYN_ERR_REFUSED,
                "the change leaves a majority of the members: commit it without force");
    } else if (err == DYN_ERR_NO_QUORUM) {
        w->done(w->arg, err,
                "too few members answered: a majority must agree to a change; it may "
                "still take effect when they are back");
    } else {
        w->done(w->arg, err, NULL);
    }
    free(w);
}

void membership_commit(struct engine *e, const uint8_t *digest, bool force, membership_done done,
                       void *arg)
{
    struct plan p = PLAN_EMPTY;
    struct plan_outcome o;
    membership_plan(e, &p);
    int err = plan_outcome(&p, e->ring, e->cfg.node, &o);
    if (err != DYN_OK) {
        done(arg, DYN_ERR_INVALID,
             p.n == 0 ? "nothing is staged" : "what is staged does not fit the members of now");
        plan_release(&p);
        return;
    }
    if (digest != NULL && memcmp(digest, o.digest, DIGEST_LEN) != 0) {
        done(arg, DYN_ERR_CONFLICT,
             "the plan, or what it was planned on, has changed since: look at it again");
    } else if (o.refused != NULL && (!force || o.impossible)) {
        done(arg, DYN_ERR_REFUSED, o.refused);
    } else if (force && member_event_takes_out(&o.change, e->cfg.node)) {
        done(arg, DYN_ERR_REFUSED,
             "the change takes this node out: force it at a node that stays (--node)");
    } else {
        struct errand *w = mem_new(struct errand);
        *w = (struct errand){.e = e, .done = done, .arg = arg};
        (force ? commit_force : commit_propose)(e->commit, &o.change, on_committed, w);
    }
    plan_outcome_release(&o);
    plan_release(&p);
}

/* ---- who is there ------------------------------------------------------------------------ */

struct whois {
    struct background background; /* first */
    struct engine *e;
    struct rpc_call call;
    void (*done)(void *arg, int err, uint64_t node);
    void *arg;
};

static void whois_free(struct whois *w)
{
    w->e->whois_asks = false;
    background_end(w->e, &w->background);
    rpc_cancel(w->e->rpc, &w->call);
    free(w);
}

static void whois_abandon(struct background *b)
{
    whois_free(container_of(b, struct whois, background));
}

static void on_whois(struct rpc_call *call, int err, struct slice body)
{
    struct whois *w = call->arg;
    struct ring_reply reply = {.history = HISTORY_EMPTY};
    uint64_t node = 0;
    if (err == DYN_OK)
        err = ring_reply_decode(body, &reply);
    if (err == DYN_OK) {
        node = reply.node;
        if (reply.history.n > 0 && reply.history.events[0].cluster != ring_cluster(w->e->ring))
            err = DYN_ERR_REFUSED;
        ring_reply_release(&reply);
    }
    w->done(w->arg, err, node);
    whois_free(w);
}

int membership_whois(struct engine *e, const char *address,
                     void (*done)(void *arg, int err, uint64_t node), void *arg)
{
    struct buf body = BUF_EMPTY;
    if (e->whois_asks)
        return DYN_ERR_OVERLOAD;
    struct whois *w = mem_new(struct whois);
    e->whois_asks = true;
    w->e = e;
    w->done = done;
    w->arg = arg;
    w->call = (struct rpc_call){.done = on_whois, .arg = w};
    background_add(e, &w->background, whois_abandon);
    e->ports.net.set_address(e->ports.net.ctx, NODE_SEED_MAX, address);
    rpc_start(e->rpc, &w->call, NODE_SEED_MAX, FRAME_RING, &body, WHOIS_US);
    return DYN_OK;
}
