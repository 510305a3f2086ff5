/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one operation. What makes an always-writable store feel so is the client's
 * impatience: a node that does not answer soon costs a moment, not the operation. Each operation is
 * asked of one node after the other, all are listened to until the first good answer, and one timer
 * for each operation sees to it that something always happens next. A put says the same origin each
 * time, so whatever reached two nodes is one write. */
#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/client_private.h"
#include "model/key.h"

#define PAUSE_US 50000u /* after the first round; doubles */
#define PAUSE_MAX_US 1000000u
#define SUSPECT_US 200000u /* silence that says something about the node */
#define VAIN_US 250000u    /* an operation that failed sooner cost nobody anything */
/* For so long nodes that see no quorum are asked again: one that has just come back from a pause,
 * and one that has not noticed it yet, each believe for a moment that they are alone. */
#define VERDICT_US 1500000u

/* ---- the table of operations ---- */

/* At least half of the slots stay free, so that the walk from where the last one ended is short. */
static uint32_t free_slot(struct client *c)
{
    if (c->n_ops * 2 >= c->n_slots) {
        uint32_t n = c->n_slots == 0 ? 64 : c->n_slots * 2;
        c->slots = mem_reallocarray(c->slots, n, sizeof(*c->slots));
        memset(c->slots + c->n_slots, 0, (n - c->n_slots) * sizeof(*c->slots));
        c->n_slots = n;
    }
    do {
        c->last_slot = (c->last_slot + 1) % c->n_slots;
    } while (c->slots[c->last_slot] != NULL);
    return c->last_slot;
}

static struct client_op *find_op(struct client *c, uint64_t id)
{
    uint32_t slot = (uint32_t)id;
    struct client_op *op = slot < c->n_slots ? c->slots[slot] : NULL;
    return op != NULL && op->id == id ? op : NULL;
}

/* Not waited for any longer. */
void client_drop_call(struct client *c, struct rpc_call *call)
{
    if (!rpc_active(call))
        return;
    detector_outrun(c->detector, call->node, client_now(c) - call->started_us, SUSPECT_US);
    rpc_cancel(c->rpc, call);
}

/* Takes the operation out of the world: nothing refers to it any more. */
static void detach(struct client_op *op)
{
    struct client *c = op->client;
    for (uint32_t i = 0; i < CLIENT_ATTEMPTS_MAX; i++)
        client_drop_call(c, &op->attempts[i].call);
    client_read_stop(op);
    timer_cancel(c->timers, &op->timer);
    c->slots[(uint32_t)op->id] = NULL;
    c->n_ops--;
}

static void free_op(struct client_op *op)
{
    buf_release(&op->key);
    buf_release(&op->body);
    buf_release(&op->whole);
    client_read_free(op->read);
    free(op);
}

/* ---- how an operation ends ---- */

/* What was waited for in vain is not waited for by the next one too. */
static void note_outage(struct client_op *op, int status)
{
    struct client *c = op->client;
    if (!client_is_outage(status) || op->probe || op->overloaded || op->state == CLIENT_OP_HELD ||
        op->state == CLIENT_OP_REFUSED || client_now(c) - op->started_us < VAIN_US)
        return;
    if (c->ring != NULL)
        client_outage_begin(op, status);
    else if (c->ringless_us == 0)
        c->ringless_us = client_now(c);
}

static void end_failed(struct client_op *op, int status)
{
    note_outage(op, status);
    detach(op);
    switch (op->type) {
    case CLIENT_GET: {
        struct get_reply r = {.status = status, .answered = op->answered, .needed = op->needed};
        op->done.get(op->arg, &r);
        break;
    }
    case CLIENT_PUT: {
        struct put_reply r = {.status = status, .answered = op->answered, .needed = op->needed};
        op->done.put(op->arg, &r);
        break;
    }
    case CLIENT_LIST: {
        struct list_reply r = {.status = status, .answered = op->answered, .needed = op->needed};
        op->done.list(op->arg, &r);
        break;
    }
    case CLIENT_SYNC: {
        struct sync_reply r = {.status = status, .answered = op->answered, .needed = op->needed};
        op->done.sync(op->arg, &r);
        break;
    }
    }
    free_op(op);
}

static void end_answered(struct client_op *op, const struct client_answer *a)
{
    if (a->status == DYN_OK && !op->probe)
        client_outage_over(op);
    detach(op);
    switch (op->type) {
    case CLIENT_GET:
        op->done.get(op->arg, &a->u.get);
        break;
    case CLIENT_PUT:
        op->done.put(op->arg, &a->u.put);
        break;
    case CLIENT_LIST:
        op->done.list(op->arg, &a->u.list);
        break;
    case CLIENT_SYNC:
        op->done.sync(op->arg, &a->u.sync);
        break;
    }
    free_op(op);
}

void client_op_end_get(struct client_op *op, const struct get_reply *reply)
{
    if (reply->status == DYN_OK && !op->probe)
        client_outage_over(op);
    detach(op);
    op->done.get(op->arg, reply);
    free_op(op);
}

/* Would another node perhaps say something better? */
static bool worth_another(int status)
{
    switch (status) {
    case DYN_ERR_TIMEOUT:
    case DYN_ERR_NO_QUORUM:
    case DYN_ERR_UNREACHABLE:
    case DYN_ERR_REFUSED:
    case DYN_ERR_OVERLOAD:
    case DYN_ERR_NO_SPACE:
    case DYN_ERR_IO:
    case DYN_ERR_CORRUPT:
    case DYN_ERR_STOPPED:
    case DYN_ERR_PROTOCOL:
    case DYN_ERR_CANCELED:
        return true;
    default:
        return false;
    }
}

/* Failures that a second round would not mend, once every node was asked. */
static bool final_after_round(int status)
{
    return status == DYN_ERR_NO_QUORUM || status == DYN_ERR_NO_SPACE || status == DYN_ERR_IO ||
           status == DYN_ERR_CORRUPT;
}

/* How much a failure tells, for choosing the one to report. */
static int weight_of(int status)
{
    if (status == DYN_OK)
        return 0;
    if (status == DYN_ERR_UNREACHABLE || status == DYN_ERR_CANCELED)
        return 1;
    return final_after_round(status) ? 3 : 2;
}

static void remember_failure(struct client_op *op, int status, uint8_t answered, uint8_t needed)
{
    int now = weight_of(status), before = weight_of(op->failure);
    op->overloaded |= status == DYN_ERR_OVERLOAD;
    if (now < before || (now == before && answered < op->answered))
        return;
    op->failure = status;
    op->answered = answered;
    op->needed = needed;
}

/* ---- asking ---- */

static void ask_next(struct client_op *op);
static void ask(struct client_op *op, struct client_attempt *a, uint64_t node);

static uint32_t active_attempts(const struct client_op *op)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < CLIENT_ATTEMPTS_MAX; i++)
        n += rpc_active(&op->attempts[i].call);
    return n;
}

/* Sets the one timer, never past the deadline. */
static void wait_for(struct client_op *op, uint64_t us)
{
    uint64_t when = client_now(op->client) + us;
    timer_set(op->client->timers, &op->timer, when < op->deadline_us ? when : op->deadline_us);
}

/* Whoever answers says that there is no quorum, and those who have not answered have been down for
 * a while: nothing will come of waiting, and when they are back the detector's probes will tell. */
static bool hopeless(const struct client_op *op)
{
    struct client *c = op->client;
    if (op->failure != DYN_ERR_NO_QUORUM)
        return false;
    for (uint32_t i = 0; i < CLIENT_ATTEMPTS_MAX; i++) {
        const struct rpc_call *call = &op->attempts[i].call;
        uint64_t since = rpc_active(call) ? detector_down_since_us(c->detector, call->node) : 1;
        if (since == 0 || client_now(c) - since < CLIENT_LOST_US)
            return false;
    }
    return true;
}

static bool is_final(struct client_op *op)
{
    uint64_t now = client_now(op->client);
    if (op->failure != DYN_ERR_NO_QUORUM || op->probe)
        return final_after_round(op->failure);
    if (op->quorumless_us == 0)
        op->quorumless_us = now;
    return now - op->quorumless_us >= VERDICT_US;
}

/* Nobody is left to ask. While answers are outstanding, they are waited for. */
static void round_over(struct client_op *op)
{
    uint64_t pause = (uint64_t)PAUSE_US << (op->rounds < 5 ? op->rounds : 5);
    if (active_attempts(op) != 0 && !hopeless(op)) {
        wait_for(op, PAUSE_MAX_US);
        return;
    }
    op->rounds++;
    if (is_final(op)) {
        end_failed(op, op->failure);
        return;
    }
    if (op->client->cfg.rounds_max != 0 && op->rounds >= op->client->cfg.rounds_max) {
        end_failed(op, op->failure);
        return;
    }
    op->n_tried = 0;
    op->state = CLIENT_OP_PAUSING;
    wait_for(op, pause < PAUSE_MAX_US ? pause : PAUSE_MAX_US);
}

static void end_late(struct client_op *op)
{
    int failure = op->failure;
    bool silent = active_attempts(op) != 0 && !final_after_round(failure);
    if (op->state == CLIENT_OP_WAITING && op->client->seeds_failed != 0)
        failure = DYN_ERR_UNREACHABLE;
    end_failed(op, silent || failure == DYN_OK ? DYN_ERR_TIMEOUT : failure);
}

/* An attempt came to nothing. Unless somebody else was asked in its place already, that is done
 * now. */
static void go_on(struct client_op *op, const struct client_attempt *failed)
{
    if (client_now(op->client) >= op->deadline_us)
        end_late(op);
    else if (!failed->slow || active_attempts(op) == 0)
        ask_next(op);
}

/* The node does not hold the version that the value extends, or is too old to know what that means:
 * it is sent the whole, and so is whoever is asked after it. False: that is not what it says. */
static bool wants_whole(struct client_op *op, struct client_attempt *attempt, int status)
{
    if (!attempt->shortened || (status != DYN_ERR_BASE_LACKING && status != DYN_ERR_PROTOCOL &&
                                status != DYN_ERR_UNSUPPORTED))
        return false;
    if (op->whole.len > 0) {
        buf_release(&op->body);
        op->body = buf_take(&op->whole);
    }
    if (client_now(op->client) >= op->deadline_us)
        end_late(op);
    else
        ask(op, attempt, attempt->call.node);
    return true;
}

static void take_answer(struct client_op *op, struct client_attempt *attempt, struct slice body)
{
    struct client *c = op->client;
    struct client_answer a = {.status = DYN_OK};
    enum client_op_type type = op->type; /* op is gone once it ended */
    int err = client_answer_decode(&a, type, body);
    if (err != DYN_OK) {
        remember_failure(op, err, 0, 0);
        go_on(op, attempt);
        return;
    }
    /* Replies of failure may carry no epoch: all zeros. */
    if (a.ring != NULL && a.ring->length != 0)
        client_ring_noticed(c, attempt->call.node, a.ring);
    if (wants_whole(op, attempt, a.status)) {
        client_answer_release(&a, type);
        return;
    }
    if (worth_another(a.status)) {
        remember_failure(op, a.status, a.answered, a.needed);
        go_on(op, attempt);
    } else {
        end_answered(op, &a);
    }
    client_answer_release(&a, type);
}

void client_note_reply(struct client *c, const struct rpc_call *call, int err)
{
    uint64_t waited = client_now(c) - call->started_us;
    if (err == DYN_OK)
        detector_ok(c->detector, call->node, waited);
    else if (err == DYN_ERR_REFUSED) /* somebody else lives at that address: as good as down */
        detector_failed(c->detector, call->node, DYN_ERR_UNREACHABLE);
    else if (err != DYN_ERR_TIMEOUT || waited >= SUSPECT_US)
        detector_failed(c->detector, call->node, err);
}

static void attempt_done(struct rpc_call *call, int err, struct slice body)
{
    struct client_attempt *attempt = call->arg;
    struct client_op *op = attempt->op;
    client_note_reply(op->client, call, err);
    if (err == DYN_OK) {
        take_answer(op, attempt, body);
        return;
    }
    remember_failure(op, err, 0, 0);
    go_on(op, attempt);
}

static struct client_attempt *free_attempt(struct client_op *op)
{
    struct client_attempt *oldest = &op->attempts[0];
    for (uint32_t i = 0; i < CLIENT_ATTEMPTS_MAX; i++) {
        struct client_attempt *a = &op->attempts[i];
        if (!rpc_active(&a->call))
            return a;
        if (a->call.started_us < oldest->call.started_us)
            oldest = a;
    }
    client_drop_call(op->client, &oldest->call);
    return oldest;
}

static uint8_t frame_of(enum client_op_type type)
{
    static const uint8_t frames[] = {FRAME_GET, FRAME_PUT, FRAME_LIST, FRAME_SYNC};
    return frames[type];
}

static void ask(struct client_op *op, struct client_attempt *a, uint64_t node)
{
    struct client *c = op->client;
    uint64_t now = client_now(c);
    struct buf body = BUF_EMPTY;
    buf_put_slice(&body, buf_slice(&op->body));
    op->state = CLIENT_OP_ASKING;
    a->op = op;
    a->slow = a->extended = false;
    a->shortened = op->whole.len > 0;
    a->call.done = attempt_done;
    a->call.arg = a;
    wait_for(op, client_patience_us(op, node));
    rpc_start(c->rpc, &a->call, node, frame_of(op->type), &body,
              op->deadline_us > now ? op->deadline_us - now : 1);
}

static void ask_next(struct client_op *op)
{
    uint64_t node = client_route(op);
    if (node == 0) {
        round_over(op);
        return;
    }
    op->tried[op->n_tried++] = node;
    ask(op, free_attempt(op), node);
}

void client_op_ask_node(struct client_op *op)
{
    ask_next(op);
}

void client_op_wait(struct client_op *op, uint64_t us)
{
    op->state = CLIENT_OP_READING;
    wait_for(op, us);
}

/* Whoever was silent for long enough counts as down until he answers after all. */
void client_suspect(struct client *c, const struct rpc_call *call)
{
    if (rpc_active(call) && client_now(c) - call->started_us >= SUSPECT_US)
        detector_failed(c->detector, call->node, DYN_ERR_TIMEOUT);
}

static void suspect_silent(struct client_op *op)
{
    for (uint32_t i = 0; i < CLIENT_ATTEMPTS_MAX; i++) {
        struct client_attempt *a = &op->attempts[i];
        if (!rpc_active(&a->call) || a->slow)
            continue;
        a->slow = true;
        client_suspect(op->client, &a->call);
    }
}

/* A chunk on its way to a node that answers others meanwhile is waited for once more: the node is
 * busy, not stopped. */
static bool extend(struct client_op *op)
{
    struct client *c = op->client;
    if (!key_internal(buf_slice(&op->key)) || op->type != CLIENT_PUT)
        return false;
    for (uint32_t i = 0; i < CLIENT_ATTEMPTS_MAX; i++) {
        struct client_attempt *a = &op->attempts[i];
        if (!rpc_active(&a->call) || a->slow || a->extended ||
            detector_last_ok_us(c->detector, a->call.node) <= a->call.started_us)
            continue;
        a->extended = true;
        wait_for(op, c->cfg.attempt_us);
        return true;
    }
    return false;
}

/* A get that the client may coordinate by itself is decoded from its own body: it may have waited,
 * and what it was called with is gone. */
static void start(struct client_op *op)
{
    struct get_request q;
    bool reading = false;
    if (op->type == CLIENT_GET && !op->probe && !op->client->cfg.nodes_coordinate &&
        get_request_decode(buf_slice(&op->body), &q) == DYN_OK) {
        reading = client_read_start(op, &q);
        get_request_release(&q);
    }
    if (!reading)
        ask_next(op);
}

static void end_refused(struct client_op *op)
{
    int status = op->failure != DYN_OK ? op->failure : DYN_ERR_NO_QUORUM;
    if (op->held_by != NULL)
        status = client_outage_status(op->held_by, &op->answered, &op->needed);
    end_failed(op, status);
}

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    struct client_op *op = arg;
    switch (op->state) {
    case CLIENT_OP_HELD:
    case CLIENT_OP_REFUSED:
        end_refused(op);
        return;
    case CLIENT_OP_WAITING:
        end_late(op);
        return;
    case CLIENT_OP_ASKING:
        if (client_now(op->client) < op->deadline_us && extend(op))
            return;
        suspect_silent(op);
        break;
    case CLIENT_OP_READING:
    case CLIENT_OP_PAUSING:
        break;
    }
    if (client_now(op->client) >= op->deadline_us)
        end_late(op);
    else if (op->state == CLIENT_OP_READING)
        client_read_silent(op);
    else
        ask_next(op);
}

void client_ops_release_held(struct client *c, const struct client_outage *o)
{
    for (uint32_t i = 0; i < c->n_slots; i++) {
        struct client_op *op = c->slots[i];
        if (op == NULL || op->held_by != o)
            continue;
        op->held_by = NULL;
        if (op->state == CLIENT_OP_HELD)
            start(op);
    }
}

void client_ops_refuse_held(struct client *c, const struct client_outage *o)
{
    for (uint32_t i = 0; i < c->n_slots; i++) {
        struct client_op *op = c->slots[i];
        if (op != NULL && op->held_by == o && op->state == CLIENT_OP_HELD)
            end_refused(op);
    }
}

void client_ring_known(struct client *c)
{
    for (uint32_t i = 0; i < c->n_slots; i++) {
        struct client_op *op = c->slots[i];
        if (op != NULL && op->state == CLIENT_OP_WAITING)
            start(op);
    }
}

void client_seeds_in_vain(struct client *c, uint32_t rounds)
{
    if (c->cfg.rounds_max == 0 || rounds < c->cfg.rounds_max)
        return;
    /* A callback may start new operations: those wait for the next round. */
    uint32_t n = c->n_slots;
    uint32_t born_before = c->generation;
    for (uint32_t i = 0; i < n; i++) {
        struct client_op *op = c->slots[i];
        if (op != NULL && op->state == CLIENT_OP_WAITING && (uint32_t)(op->id >> 32) <= born_before)
            end_failed(op, DYN_ERR_UNREACHABLE);
    }
}

/* ---- struct kv_port ---- */

static struct client_op *new_op(struct client *c, enum client_op_type type, struct slice key,
                                const struct request_options *opt, struct request_options *to_node)
{
    bool write = type == CLIENT_PUT || type == CLIENT_SYNC;
    struct client_op *op = mem_new(struct client_op);
    uint32_t slot = free_slot(c);
    uint64_t timeout_us = opt->timeout_ms != 0 ? opt->timeout_ms * 1000ull : c->cfg.timeout_us;

    if (++c->generation == 0)
        c->generation = 1;
    op->client = c;
    op->id = (uint64_t)c->generation << 32 | slot;
    op->type = type;
    op->n = opt->n;
    op->need = write ? opt->w : opt->r;
    op->sloppy = opt->sloppy;
    op->started_us = client_now(c);
    op->deadline_us = op->started_us + timeout_us;
    buf_put_slice(&op->key, key);
    timer_init(&op->timer, on_timer, op);
    c->slots[slot] = op;
    c->n_ops++;
    /* A node must give up earlier, or its reason would never be heard. */
    *to_node = *opt;
    uint64_t node_ms = timeout_us * 4 / 5 / 1000;
    to_node->timeout_ms = (uint32_t)(node_ms == 0           ? 1
                                     : node_ms < UINT32_MAX ? node_ms
                                                            : UINT32_MAX);
    return op;
}

static uint64_t begin(struct client_op *op)
{
    struct client *c = op->client;
    uint64_t id = op->id, until = op->deadline_us;
    enum client_gate gate =
        op->probe ? CLIENT_GATE_OPEN : client_outage_gate(op, &op->held_by, &until);
    until = until < op->deadline_us ? until : op->deadline_us;
    if (gate == CLIENT_GATE_SHUT) {
        op->state = CLIENT_OP_REFUSED;
        until = client_now(c); /* in the next turn: never inside the call */
    } else if (c->ring == NULL) {
        op->state = CLIENT_OP_WAITING;
    } else if (gate == CLIENT_GATE_HOLD) {
        op->state = CLIENT_OP_HELD;
    } else {
        start(op);
        return id;
    }
    timer_set(c->timers, &op->timer, until);
    return id;
}

static uint64_t kv_get(void *ctx, const struct get_request *req, kv_get_done done, void *arg)
{
    struct get_request q = *req;
    struct client_op *op = new_op(ctx, CLIENT_GET, req->key, &req->opt, &q.opt);
    op->done.get = done;
    op->arg = arg;
    get_request_encode(&q, &op->body);
    return begin(op);
}

uint64_t client_op_probe(struct client *c, const struct get_request *req, kv_get_done done,
                         void *arg)
{
    struct get_request q = *req;
    struct client_op *op = new_op(c, CLIENT_GET, req->key, &req->opt, &q.opt);
    op->probe = true;
    op->done.get = done;
    op->arg = arg;
    get_request_encode(&q, &op->body);
    return begin(op);
}

static uint64_t kv_put(void *ctx, const struct put_request *req, kv_put_done done, void *arg)
{
    struct client *c = ctx;
    struct put_request q = *req;
    struct client_op *op = new_op(c, CLIENT_PUT, req->key, &req->opt, &q.opt);
    op->done.put = done;
    op->arg = arg;
    if (q.origin.writer == 0)
        q.origin = (struct origin){c->cfg.id, random_u64(&c->random), 1};
    if (extension_is_none(&q.extends)) {
        put_request_encode(&q, &op->body);
    } else {
        put_request_encode(&q, &op->whole);
        put_request_encode_extending(&q, &op->body);
    }
    return begin(op);
}

static uint64_t kv_list(void *ctx, const struct list_request *req, kv_list_done done, void *arg)
{
    struct list_request q = *req;
    struct client_op *op = new_op(ctx, CLIENT_LIST, req->dir, &req->opt, &q.opt);
    op->done.list = done;
    op->arg = arg;
    list_request_encode(&q, &op->body);
    return begin(op);
}

static uint64_t kv_sync(void *ctx, const struct sync_request *req, kv_sync_done done, void *arg)
{
    struct sync_request q = *req;
    struct client_op *op = new_op(ctx, CLIENT_SYNC, req->key, &req->opt, &q.opt);
    op->done.sync = done;
    op->arg = arg;
    sync_request_encode(&q, &op->body);
    return begin(op);
}

void client_op_cancel(struct client *c, uint64_t id)
{
    struct client_op *op = find_op(c, id);
    if (op != NULL) {
        detach(op);
        free_op(op);
    }
}

static void kv_cancel(void *ctx, uint64_t id)
{
    client_op_cancel(ctx, id);
}

void client_ops_free(struct client *c)
{
    for (uint32_t i = 0; i < c->n_slots; i++) {
        struct client_op *op = c->slots[i];
        if (op != NULL) {
            detach(op);
            free_op(op);
        }
    }
    free(c->slots);
}

struct kv_port client_kv(struct client *c)
{
    return (struct kv_port){c, kv_get, kv_put, kv_list, kv_sync, kv_cancel, client_settings};
}
