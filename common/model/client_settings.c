/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of directories by way of any node: asked of one member after the other until one
 * answers. A change that reached two nodes is made twice with the same outcome. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/client_private.h"

#define ATTEMPT_MAX_US 2000000u

struct settings_op {
    struct list link;
    struct client *client;
    struct rpc_call call;
    struct timer timer; /* for answers that need no request: never inside the call */
    struct buf body;
    uint32_t next; /* whom to look at for the next attempt */
    int failure;
    kv_settings_done done;
    void *arg;
};

static void free_op(struct settings_op *op)
{
    list_remove(&op->link);
    rpc_cancel(op->client->rpc, &op->call);
    timer_cancel(op->client->timers, &op->timer);
    buf_release(&op->body);
    free(op);
}

static void ask_next(struct settings_op *op);

static void end(struct settings_op *op, const struct settings_reply *reply)
{
    kv_settings_done done = op->done;
    void *arg = op->arg;
    free_op(op);
    done(arg, reply);
}

static bool another_may_do(int status)
{
    return status != DYN_OK && status != DYN_ERR_INVALID && status != DYN_ERR_TOO_LARGE;
}

static void on_reply(struct rpc_call *call, int err, struct slice body)
{
    struct settings_op *op = call->arg;
    struct client *c = op->client;
    struct settings_reply reply;
    if (err == DYN_OK)
        detector_ok(c->detector, call->node, client_now(c) - call->started_us);
    else
        detector_failed(c->detector, call->node, err);
    if (err == DYN_OK)
        err = settings_reply_decode(body, &reply);
    if (err == DYN_OK && !another_may_do(reply.status)) {
        end(op, &reply);
        settings_reply_release(&reply);
        return;
    }
    op->failure = err != DYN_OK ? err : reply.status;
    if (err == DYN_OK)
        settings_reply_release(&reply);
    ask_next(op);
}

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    ask_next(arg);
}

/* Those who are up first, then the others. */
static const struct ring_member *next_member(struct settings_op *op)
{
    const struct client *c = op->client;
    uint32_t n = c->ring == NULL ? 0 : ring_member_count(c->ring);
    while (op->next < 2 * n) {
        const struct ring_member *m = ring_member_at(c->ring, op->next % n);
        bool up = detector_up(c->detector, m->node);
        if (up == (op->next++ < n))
            return m;
    }
    return NULL;
}

static void ask_next(struct settings_op *op)
{
    struct client *c = op->client;
    const struct ring_member *m = next_member(op);
    if (m == NULL) {
        const struct settings_reply failed = {.status = op->failure};
        end(op, &failed);
        return;
    }
    struct buf body = BUF_EMPTY;
    buf_put_slice(&body, buf_slice(&op->body));
    op->call = (struct rpc_call){.done = on_reply, .arg = op};
    rpc_start(c->rpc, &op->call, m->node, FRAME_SETTINGS, &body, ATTEMPT_MAX_US);
}

void client_settings(void *ctx, const struct settings_request *req, kv_settings_done done,
                     void *arg)
{
    struct client *c = ctx;
    struct settings_op *op = mem_new(struct settings_op);
    op->client = c;
    op->failure = DYN_ERR_UNREACHABLE;
    op->done = done;
    op->arg = arg;
    list_init(&op->link);
    list_append(&c->settings, &op->link);
    settings_request_encode(req, &op->body);
    timer_init(&op->timer, on_timer, op);
    timer_set(c->timers, &op->timer, client_now(c));
}

void client_settings_free(struct client *c)
{
    list_for_each_safe(at, next, &c->settings)
    {
        free_op(container_of(at, struct settings_op, link));
    }
}
