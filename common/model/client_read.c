/* SPDX-License-Identifier: Apache-2.0 */
/* A get that the client coordinates by itself (Dynamo, section 6.4): it asks the replicas instead
 * of a node that asks them, and so saves a hop and, with R of N asked, a third of the messages. The
 * bookkeeping is the node coordinator's own (read_quorum.h), the network is ours.
 *
 *   ASKING    R primaries are asked, the nearest one for the value too. Whoever fails is replaced
 *             by the next primary
 *   HEDGING   silence, or an answer that lacks what the reader has seen (E22): all primaries are
 *             asked
 *   FETCHING  the merge's value is at another replica than was asked for it: that one is
 *   HANDED    anything else (primaries down, rings that differ, silence still): a node is asked to
 *             coordinate, with its stand-ins and hints; answers that come late still count
 *   ended     by R copies that dominate what was seen and have what was wanted, from either side
 *
 * What the reader gets as its token is the tokens of the replicas, side by side where they differ
 * (E3). Clients never send objects: where replicas differ one of them is told to look
 * (FRAME_BEHIND), and so it is every now and then, because R copies that agree say nothing of the
 * rest. */
#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/client_private.h"
#include "model/read_quorum.h"
#include "model/ring.h"

#define PRIMARIES_MAX 8
#define FETCHES_MAX 16
#define LOOK_ONE_IN 64u /* reads after which a replica compares all N */

struct ask {
    struct rpc_call call;
    struct client_read *read;
    bool valued; /* it is asked for the value too */
    int stage;   /* in which it was asked */
    struct buf token;
};

enum read_stage { ASKING, HEDGING, HANDED };

struct client_read {
    struct client_op *op;
    enum read_stage stage;
    struct get_request q; /* without its slices; the key is the operation's */
    bool present;         /* GET_PRESENT: one copy with a live version is enough */
    struct read_quorum quorum;
    uint64_t nodes[PRIMARIES_MAX]; /* in the order in which they are asked */
    struct ask asks[PRIMARIES_MAX];
    uint32_t n, n_asked, n_active;
    struct rpc_call fetch; /* of one value */
    struct dot fetching;
    uint32_t n_fetches;
    bool implicit_dir;
    int64_t dir_mtime_ns;
};

static void look(struct client_read *r);

static enum value_choice choice_of(const struct client_read *r)
{
    static const enum value_choice choices[] = {[GET_META] = VALUE_NONE,
                                                [GET_NEWEST] = VALUE_NEWEST,
                                                [GET_ALL] = VALUE_ALL,
                                                [GET_DOT] = VALUE_DOT};
    return choices[r->q.want];
}

/* ---- asking ---- */

static uint64_t fence_of(const struct client_read *r)
{
    const struct ring *ring = r->op->client->ring;
    return ring_fence(ring, ring_partition_of(ring, buf_slice(&r->op->key)));
}

static void encode(const struct client_read *r, enum get_want want, const struct dot *dot,
                   struct buf *body)
{
    struct direct_get q = {.fence = fence_of(r),
                           .n = r->op->n,
                           .r = r->present ? 1 : r->op->need,
                           .key = buf_slice(&r->op->key),
                           .want = want};
    if (want == GET_DOT)
        q.value_dot = *dot;
    direct_get_encode(&q, body);
}

static uint64_t time_left(const struct client_read *r)
{
    uint64_t now = client_now(r->op->client);
    return r->op->deadline_us > now ? r->op->deadline_us - now : 1;
}

static void on_reply(struct rpc_call *call, int err, struct slice body);

static bool value_expected(const struct client_read *r)
{
    if (r->q.want == GET_META)
        return true;
    for (uint32_t i = 0; i < r->n_asked; i++) {
        const struct ask *a = &r->asks[i];
        bool coming = rpc_active(&a->call) && a->stage == (int)r->stage;
        if (a->valued && (coming || a->token.len > 0))
            return true;
    }
    return false;
}

static bool ask_another(struct client_read *r)
{
    struct client *c = r->op->client;
    if (r->n_asked == r->n)
        return false;
    struct ask *a = &r->asks[r->n_asked];
    struct buf body = BUF_EMPTY;
    a->read = r;
    a->valued = !value_expected(r);
    a->stage = (int)r->stage;
    a->call.done = on_reply;
    a->call.arg = a;
    encode(r, a->valued ? r->q.want : GET_META, &r->q.value_dot, &body);
    rpc_start(c->rpc, &a->call, r->nodes[r->n_asked++], FRAME_DIRECT_GET, &body, time_left(r));
    r->n_active++;
    return true;
}

static void ask_rest(struct client_read *r)
{
    if (r->stage == ASKING)
        r->stage = HEDGING;
    while (ask_another(r))
        ;
}

/* A node coordinates from here on; what is still asked is listened to. */
static void hand_over(struct client_read *r)
{
    if (r->stage == HANDED)
        return;
    r->stage = HANDED;
    client_op_ask_node(r->op);
}

/* ---- answering ---- */

/* The token for what is shown: that of a copy that equals it, or all side by side. */
static int make_token(const struct client_read *r, struct buf *out)
{
    struct slice tokens[PRIMARIES_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_asked; i++) {
        if (r->asks[i].token.len == 0)
            continue;
        if (read_quorum_current(&r->quorum, r->nodes[i])) {
            buf_put_slice(out, buf_slice(&r->asks[i].token));
            return DYN_OK;
        }
        tokens[n++] = buf_slice(&r->asks[i].token);
    }
    return n == 0 ? DYN_OK : token_join(tokens, n, out);
}

static void tell_to_look(const struct client_read *r)
{
    struct client *c = r->op->client;
    bool sampled = !r->present && r->quorum.n < r->n && random_u64(&c->random) % LOOK_ONE_IN == 0;
    if (read_quorum_stale(&r->quorum) == 0 && !sampled)
        return;
    uint64_t to = r->quorum.copies[0].node;
    for (uint32_t i = 0; i < r->quorum.n; i++)
        if (read_quorum_current(&r->quorum, r->quorum.copies[i].node))
            to = r->quorum.copies[i].node;
    struct behind m = {fence_of(r), buf_slice(&r->op->key)};
    struct buf body = BUF_EMPTY;
    behind_encode(&m, &body);
    c->net.request(c->net.ctx, to, 0, FRAME_BEHIND, &body);
}

static void answer(struct client_read *r, int status)
{
    struct client_op *op = r->op;
    struct buf token = BUF_EMPTY;
    struct get_reply reply = {.status = status,
                              .answered = (uint8_t)r->quorum.n,
                              .needed = (uint8_t)r->quorum.r,
                              .implicit_dir = r->implicit_dir && !object_live(&r->quorum.merged),
                              .dir_mtime_ns = r->dir_mtime_ns,
                              .object = r->quorum.merged,
                              .ring = *ring_epoch(op->client->ring)};
    if (make_token(r, &token) != DYN_OK) {
        buf_release(&token);
        hand_over(r); /* too long side by side */
        return;
    }
    reply.token = buf_slice(&token);
    for (uint32_t i = 0; i < r->quorum.n && reply.n_replicas < 8; i++)
        if (read_quorum_current(&r->quorum, r->quorum.copies[i].node))
            reply.replicas[reply.n_replicas++] = r->quorum.copies[i].node;
    tell_to_look(r);
    client_read_stop(op);
    op->read = NULL; /* it holds what the callback borrows */
    client_op_end_get(op, &reply);
    buf_release(&token);
    r->op = NULL;
    client_read_free(r);
}

/* ---- values ---- */

static bool asked_for_value(const struct client_read *r, uint64_t node)
{
    for (uint32_t i = 0; i < r->n_asked; i++)
        if (r->nodes[i] == node)
            return r->asks[i].valued;
    return false;
}

static void on_fetched(struct rpc_call *call, int err, struct slice body)
{
    struct client_read *r = call->arg;
    struct direct_reply reply;
    struct dot missing;
    if (err == DYN_OK)
        err = direct_reply_decode(body, &reply);
    client_note_reply(r->op->client, call, err);
    if (err == DYN_OK) {
        if (reply.status == DYN_OK)
            read_quorum_attach(&r->quorum, &reply.object);
        direct_reply_release(&reply);
    }
    if (read_quorum_missing(&r->quorum, VALUE_DOT, &r->fetching, &missing) == DYN_OK)
        hand_over(r); /* superseded meanwhile, or lost there: a node knows what to do */
    else
        look(r);
}

static void fetch(struct client_read *r, const struct dot *value_dot)
{
    struct client *c = r->op->client;
    uint64_t holders[READ_QUORUM_NODES], from = 0;
    uint32_t n = read_quorum_holders(&r->quorum, value_dot, holders, READ_QUORUM_NODES);
    for (uint32_t i = 0; i < n && from == 0; i++)
        if (!asked_for_value(r, holders[i]))
            from = holders[i];
    if (from == 0 || ++r->n_fetches > FETCHES_MAX) {
        hand_over(r);
        return;
    }
    struct buf body = BUF_EMPTY;
    r->fetching = *value_dot;
    r->fetch.done = on_fetched;
    r->fetch.arg = r;
    encode(r, GET_DOT, value_dot, &body);
    rpc_start(c->rpc, &r->fetch, from, FRAME_DIRECT_GET, &body, time_left(r));
}

/* ---- what next ---- */

/* What cannot come of those who are asked must come of the others, or of a node. */
static void want_more(struct client_read *r)
{
    ask_rest(r);
    if (r->n_active == 0 || r->n_active + r->quorum.n < r->quorum.r)
        hand_over(r);
}

static void look(struct client_read *r)
{
    struct dot missing;
    if (rpc_active(&r->fetch))
        return;
    if (!read_quorum_complete(&r->quorum)) {
        if (r->n_active + r->quorum.n < r->quorum.r || r->quorum.n >= r->quorum.r)
            want_more(r);
        return;
    }
    if (r->present && !object_live(&r->quorum.merged)) {
        hand_over(r); /* that it is nowhere takes more than replicas to say */
        return;
    }
    bool gone =
        r->q.want == GET_DOT && object_find_value(&r->quorum.merged, &r->q.value_dot) == NULL;
    if (gone && r->quorum.n == r->n)
        answer(r, DYN_ERR_STALE);
    else if (gone)
        want_more(r);
    else if (read_quorum_missing(&r->quorum, choice_of(r), &r->q.value_dot, &missing) == DYN_OK)
        fetch(r, &missing);
    else
        answer(r, DYN_OK);
}

static void take_reply(struct client_read *r, struct ask *a, struct direct_reply *reply)
{
    r->implicit_dir |= reply->implicit_dir;
    if (reply->dir_mtime_ns > r->dir_mtime_ns)
        r->dir_mtime_ns = reply->dir_mtime_ns;
    buf_clear(&a->token);
    buf_put_slice(&a->token, reply->token);
    read_quorum_add(&r->quorum, a->call.node, true, true, &reply->object);
}

static void on_reply(struct rpc_call *call, int err, struct slice body)
{
    struct ask *a = call->arg;
    struct client_read *r = a->read;
    struct client *c = r->op->client;
    struct direct_reply reply;
    r->n_active--;
    if (err == DYN_OK)
        err = direct_reply_decode(body, &reply);
    client_note_reply(c, call, err);
    if (err == DYN_OK) {
        err = reply.status;
        client_ring_noticed(c, call->node, &reply.ring);
        if (reply.fence != fence_of(r))
            err = DYN_ERR_REFUSED; /* it knows other owners, or we do since: no vote (E10, E13) */
        if (err == DYN_OK)
            take_reply(r, a, &reply);
        direct_reply_release(&reply);
    }
    if (err == DYN_ERR_REFUSED || err == DYN_ERR_INVALID)
        hand_over(r);
    else if (err != DYN_OK)
        ask_another(r);
    look(r);
}

void client_read_silent(struct client_op *op)
{
    struct client_read *r = op->read;
    struct client *c = op->client;
    for (uint32_t i = 0; i < r->n_asked; i++)
        client_suspect(c, &r->asks[i].call);
    client_suspect(c, &r->fetch);
    if (r->stage == ASKING && r->n_asked < r->n) {
        ask_rest(r);
        client_op_wait(op, client_patience_us(op, r->nodes[r->n - 1]));
    } else {
        hand_over(r);
    }
}

/* ---- beginning and end ---- */

static int take_floor(const struct get_request *q, struct cover *floor)
{
    int err = DYN_OK;
    for (uint32_t i = 0; i < q->n_at_least && err == DYN_OK; i++)
        err = context_believe(q->at_least[i], floor);
    return err;
}

bool client_read_start(struct client_op *op, const struct get_request *q)
{
    struct cover floor = COVER_EMPTY;
    uint64_t nodes[PRIMARIES_MAX];
    uint32_t n_up = 0, n = client_route_reads(op, nodes, PRIMARIES_MAX, &n_up);
    bool present = q->want == GET_PRESENT;
    uint32_t need = present ? 1 : client_need(op);
    if (n_up < need || need == 0 || take_floor(q, &floor) != DYN_OK) {
        cover_release(&floor);
        return false;
    }
    struct client_read *r = mem_new(struct client_read);
    r->op = op;
    r->present = present;
    r->q = (struct get_request){.want = present ? GET_NEWEST : q->want, .value_dot = q->value_dot};
    r->n = n;
    memcpy(r->nodes, nodes, sizeof(nodes));
    read_quorum_init(&r->quorum, need, &floor);
    op->read = r;
    client_op_wait(op, client_patience_us(op, nodes[0]));
    for (uint32_t i = 0; i < need; i++)
        ask_another(r);
    return true;
}

void client_read_free(struct client_read *r)
{
    if (r == NULL)
        return;
    for (uint32_t i = 0; i < r->n_asked; i++)
        buf_release(&r->asks[i].token);
    read_quorum_release(&r->quorum);
    free(r);
}

void client_read_stop(struct client_op *op)
{
    struct client_read *r = op->read;
    for (uint32_t i = 0; r != NULL && i < r->n_asked; i++)
        client_drop_call(op->client, &r->asks[i].call);
    if (r != NULL)
        client_drop_call(op->client, &r->fetch);
}
