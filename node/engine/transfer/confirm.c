/* SPDX-License-Identifier: Apache-2.0 */
/* See confirm.h.
 *
 *   LOAD (own tree) -> ASK (the source's root) -> equal: TABLE
 *                                              -> other: DESCEND (descent.h)
 *   DESCEND -> all that differed was found, and is level: TABLE
 *           -> else a moment later LOAD again, ROUNDS times
 *   TABLE (what the source knows of settings) -> done
 *   any -> the source knows other owners -> LEARN -> LOAD again
 *
 * Writes go on meanwhile, to both nodes, and a root is of one moment. In a partition that is
 * written all the time two roots may never meet; there it is enough that a descent has found in
 * each leaf that differed a row that did, and has made it level, whatever its age. A leaf that
 * differs without such a row is one that was written between two questions, so it is asked about
 * again; or it has lost a row that its sum still counts, and this source is never done with.
 *
 * The table of settings says how far directories are split (E26), and the owners of a directory
 * tell it to whoever lists. A new owner that had missed a split would tell of fewer fragments than
 * are in use. */
#include "engine/transfer/confirm.h"

#include <assert.h>

#include "base/err.h"
#include "engine/coordinate/dir_settings.h"
#include "engine/transfer/range.h"
#include "engine/trees/descent.h"

#define CALL_US 5000000u
#define ROUNDS 32
#define AGAIN_US 10000u /* times the number of the round: five seconds in all */

static void begin_round(struct confirm *c);

static void next_round(struct confirm *c)
{
    struct engine *e = c->e;
    if (c->cancelled)
        c->done(c, DYN_ERR_CANCELED);
    else if (++c->round >= ROUNDS)
        c->done(c, DYN_ERR_TIMEOUT);
    else
        timer_set(e->ports.timers, &c->again, engine_now(e) + c->round * AGAIN_US);
}

static void on_again(struct timer *t, void *arg)
{
    (void)t;
    begin_round(arg);
}

static void on_learned(struct view_wait *w)
{
    next_round(w->arg);
}

/* True: the source knows other owners, and is asked again when both know the same. */
static bool learns(struct confirm *c, int err)
{
    if (err != DYN_ERR_REFUSED || c->cancelled)
        return false;
    c->learn = (struct view_wait){.done = on_learned, .arg = c};
    view_learn(c->e->view, c->node, &c->learn);
    return true;
}

static void on_table(struct rpc_call *call, int err, struct slice body)
{
    struct confirm *c = call->arg;
    if (err == DYN_OK)
        err = settings_confirmed(c->e, body);
    c->done(c, err);
}

static void ask_table(struct confirm *c)
{
    struct buf body = BUF_EMPTY;
    settings_ask(c->e, &body);
    c->call = (struct rpc_call){.done = on_table, .arg = c};
    rpc_start(c->e->rpc, &c->call, c->node, FRAME_SETTINGS_SYNC, &body, CALL_US);
}

static void on_descended(void *arg, int err, const struct descent_result *r)
{
    struct confirm *c = arg;
    c->descent = NULL;
    c->repaired += r->repaired;
    if (learns(c, err))
        return;
    if (err != DYN_OK && !c->cancelled)
        c->done(c, err);
    else if (err == DYN_OK && descent_levelled(r) && r->unexplained == 0 && !c->cancelled)
        ask_table(c);
    else
        next_round(c);
}

static void on_root(struct rpc_call *call, int err, struct slice body)
{
    struct confirm *c = call->arg;
    struct engine *e = c->e;
    struct archive_root theirs = {0};
    struct tree_hash own;
    if (err == DYN_OK)
        err = archive_root_decode(body, &theirs);
    if (err == DYN_OK)
        err = theirs.status;
    if (learns(c, err))
        return;
    if (err == DYN_ERR_NOT_FOUND) {
        next_round(c); /* its trees are still being built */
    } else if (err != DYN_OK) {
        c->done(c, err);
    } else if (!trees_root(e->trees, c->partition, &own)) {
        next_round(c);
    } else if (own.a == theirs.a && own.b == theirs.b) {
        ask_table(c);
    } else {
        const struct descent_params p = {.node = c->node,
                                         .partition = c->partition,
                                         .young_too = true,
                                         .done = on_descended,
                                         .arg = c};
        c->descent = descent_start(e, &p);
    }
}

static void on_loaded(struct tree_load *l, int err)
{
    struct confirm *c = l->arg;
    struct engine *e = c->e;
    struct buf body = BUF_EMPTY;
    if (err != DYN_OK) {
        next_round(c);
        return;
    }
    const struct range_request q = {.ring = *ring_epoch(e->ring),
                                    .fence = ring_fence(e->ring, c->partition),
                                    .partition = c->partition};
    range_request_encode(&q, &body);
    c->call = (struct rpc_call){.done = on_root, .arg = c};
    rpc_start(e->rpc, &c->call, c->node, FRAME_RANGE_ROOT, &body, CALL_US);
}

static void begin_round(struct confirm *c)
{
    struct engine *e = c->e;
    if (!trees_complete(e->trees)) {
        next_round(c);
        return;
    }
    c->load = (struct tree_load){.done = on_loaded, .arg = c};
    trees_load(e->trees, c->partition, &c->load);
}

void confirm_start(struct confirm *c)
{
    c->round = 0;
    c->repaired = 0;
    c->cancelled = false;
    c->descent = NULL;
    c->load = (struct tree_load){0};
    c->call = (struct rpc_call){0};
    c->learn = (struct view_wait){0};
    timer_init(&c->again, on_again, c);
    begin_round(c);
}

void confirm_cancel(struct confirm *c)
{
    if (c->e == NULL)
        return;
    c->cancelled = true;
    trees_forget(&c->load);
    rpc_cancel(c->e->rpc, &c->call);
    view_wait_cancel(&c->learn);
    timer_cancel(c->e->ports.timers, &c->again);
}

bool confirm_busy(const struct confirm *c)
{
    return c->descent != NULL;
}

void confirm_end(struct confirm *c)
{
    confirm_cancel(c);
    if (c->descent != NULL)
        descent_forget(c->descent);
    c->descent = NULL;
}
