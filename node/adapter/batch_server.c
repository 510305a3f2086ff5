/* SPDX-License-Identifier: Apache-2.0 */
/* See batch_server.h. Each batch that is not fully answered has a slot; an origin is the slot's
 * number with a count of its uses, so a late reply to a batch that ended finds nobody, even when
 * the slot serves another by then. */
#include "adapter/batch_server.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/wire.h"

#define ROUND_US 1000000u
#define FRAMES_MAX                                                                                 \
    4096u /* in a batch, all of which are handled in one turn; senders stop at 1,024 */
#define BATCH_TYPE "application/octet-stream"

struct asker {
    struct list link; /* dirty, or clean */
    struct batch_server *server;
    struct http_request *request; /* NULL: the slot is free */
    uint32_t slot, uses;
    uint32_t missing; /* replies */
    bool streaming;
    uint64_t started_us;
    uint64_t sent; /* bytes of replies, sent or in out */
    struct buf out;
};

struct batch_server {
    struct loop *loop;
    struct batch_server_config cfg;
    struct mac *mac;
    struct net_events events;
    struct asker **askers;
    uint32_t n, first_free, open;
    uint32_t *next_free;
    struct list dirty; /* with something to flush */
    struct loop_hook hook;
    struct timer round;
};

#define NO_SLOT UINT32_MAX

void batch_server_config_defaults(struct batch_server_config *c)
{
    *c = (struct batch_server_config){.replies_max = 256u << 20, .deadline_us = 30000000};
}

static struct asker *asker_new(struct batch_server *b)
{
    if (b->first_free == NO_SLOT) {
        uint32_t slot = b->n++;
        b->askers = mem_reallocarray(b->askers, b->n, sizeof(struct asker *));
        b->next_free = mem_reallocarray(b->next_free, b->n, sizeof(*b->next_free));
        b->askers[slot] = mem_new(struct asker);
        b->askers[slot]->server = b;
        b->askers[slot]->slot = slot;
        b->askers[slot]->uses = 1;
        list_init(&b->askers[slot]->link);
        b->next_free[slot] = NO_SLOT;
        b->first_free = slot;
    }
    struct asker *a = b->askers[b->first_free];
    b->first_free = b->next_free[a->slot];
    b->open++;
    return a;
}

static void asker_end(struct asker *a)
{
    struct batch_server *b = a->server;
    list_remove(&a->link);
    buf_release(&a->out);
    a->request = NULL;
    a->uses++;
    b->next_free[a->slot] = b->first_free;
    b->first_free = a->slot;
    b->open--;
}

static uint64_t asker_handle(const struct asker *a)
{
    return (uint64_t)a->uses << 32 | a->slot;
}

static struct asker *asker_find(struct batch_server *b, uint64_t handle)
{
    uint32_t slot = (uint32_t)handle;
    if (slot >= b->n || b->askers[slot]->request == NULL ||
        b->askers[slot]->uses != (uint32_t)(handle >> 32))
        return NULL;
    return b->askers[slot];
}

static void asker_gone(void *arg)
{
    asker_end(arg);
}

static void asker_flush(struct asker *a, bool last)
{
    struct http_request *r = a->request;
    if (last && !a->streaming) {
        struct buf out = buf_take(&a->out);
        asker_end(a);
        http_reply(r, 200, BATCH_TYPE, &out);
        return;
    }
    if (!a->streaming)
        http_stream_start(r, 200, BATCH_TYPE);
    a->streaming = true;
    if (a->out.len > 0)
        http_stream_chunk(r, &a->out);
    if (last) {
        asker_end(a);
        http_stream_end(r);
    }
}

static void flush(void *arg)
{
    struct batch_server *b = arg;
    while (!list_empty(&b->dirty)) {
        struct asker *a = container_of(list_first(&b->dirty), struct asker, link);
        list_remove(&a->link);
        asker_flush(a, a->missing == 0);
    }
}

static void mark_dirty(struct asker *a)
{
    if (!list_empty(&a->link))
        return;
    list_append(&a->server->dirty, &a->link);
    loop_hook_arm(a->server->loop, &a->server->hook);
}

void batch_server_reply(void *ctx, uint64_t origin, uint64_t rid, uint8_t type, struct buf *body)
{
    struct batch_server *b = ctx;
    struct asker *a = asker_find(b, origin);
    if (a != NULL && rid != 0 && a->missing > 0) {
        a->missing--;
        a->sent += body->len;
        if (a->sent <= b->cfg.replies_max && body->len <= FRAME_LEN_MAX)
            frame_append(&a->out, type, rid, buf_slice(body));
        mark_dirty(a);
    }
    buf_release(body);
}

static void refuse(struct http_request *r, int err, const char *message)
{
    int status = err == DYN_ERR_DENIED ? 403 : err == DYN_ERR_REFUSED ? 421 : 400;
    http_reply_error(r, status, dyn_err_code(err), message);
}

/* What the frames ask: how many replies, and whether they may leave the receiver open. */
static uint32_t count_frames(struct slice frames, uint32_t *n, bool *only_ring)
{
    uint32_t expected = 0;
    uint8_t type;
    uint64_t rid;
    struct slice body;
    *only_ring = true;
    *n = 0;
    while (frame_take(&frames, &type, &rid, &body) == 1) {
        ++*n;
        expected += rid != 0;
        *only_ring = *only_ring && type == FRAME_RING;
    }
    return expected;
}

static bool meant_for_us(const struct batch_server *b, const struct batch_header *h, bool only_ring)
{
    if (only_ring && h->to == 0)
        return h->cluster == 0 || h->cluster == b->cfg.cluster;
    /* a client may not know the cluster's id, but then it knows the node's */
    return h->to == b->cfg.self && (h->cluster == b->cfg.cluster || (h->cluster == 0 && !h->from));
}

static void hand_over(struct batch_server *b, uint64_t origin, uint64_t from, struct slice frames)
{
    uint8_t type;
    uint64_t rid;
    struct slice body;
    while (frame_take(&frames, &type, &rid, &body) == 1)
        b->events.receive_request(b->events.ctx, origin, from, rid, type, body);
}

void batch_server_take(struct batch_server *b, struct http_request *r, bool peer)
{
    struct batch_header h;
    struct slice frames;
    bool only_ring;
    int err = batch_open(b->mac, http_request_body(r), &h, &frames);
    if (err == DYN_OK && peer != (h.from != 0))
        err = DYN_ERR_DENIED;
    if (err == DYN_OK && frames.len == 0)
        err = DYN_ERR_PROTOCOL;
    if (err != DYN_OK) {
        refuse(r, err,
               err == DYN_ERR_DENIED ? "the sender may not send this batch here"
                                     : "the body is not a batch of frames");
        return;
    }
    uint32_t n, missing = count_frames(frames, &n, &only_ring);
    if (n > FRAMES_MAX) {
        refuse(r, DYN_ERR_PROTOCOL, "the batch holds more than 4096 frames");
        return;
    }
    if (!meant_for_us(b, &h, only_ring)) {
        refuse(r, DYN_ERR_REFUSED, "the batch is meant for another node or cluster");
        return;
    }
    const struct batch_header answer = {
        .cluster = b->cfg.cluster, .from = b->cfg.self, .to = h.from};
    struct asker *a = asker_new(b);
    a->request = r;
    a->missing = missing;
    a->streaming = false;
    a->sent = 0;
    a->started_us = loop_now_us();
    http_request_on_gone(r, asker_gone, a);
    response_begin(&answer, &a->out);
    if (peer && !h.hashed)
        frame_append(&a->out, FRAME_TAKES_HASHED, 0, slice_of(NULL, 0));
    hand_over(b, asker_handle(a), h.from, frames); /* may answer at once */
    if (a->missing == 0)
        mark_dirty(a);
}

static void round_fired(struct timer *t, void *arg)
{
    struct batch_server *b = arg;
    uint64_t now = loop_now_us();
    for (uint32_t i = 0; i < b->n; i++) {
        struct asker *a = b->askers[i];
        if (a->request != NULL && now - a->started_us > b->cfg.deadline_us) {
            list_remove(&a->link);
            asker_flush(a, true);
        }
    }
    timer_set(loop_timers(b->loop), t, now + ROUND_US);
}

struct batch_server *batch_server_new(struct loop *l, const struct batch_server_config *cfg,
                                      const struct net_events *events)
{
    struct batch_server *b = mem_new(struct batch_server);
    b->loop = l;
    b->cfg = *cfg;
    b->mac = mac_new(cfg->secret);
    b->cfg.secret = slice_of(NULL, 0);
    b->events = *events;
    b->first_free = NO_SLOT;
    list_init(&b->dirty);
    loop_hook_init(&b->hook, flush, b);
    timer_init(&b->round, round_fired, b);
    timer_set(loop_timers(l), &b->round, loop_now_us() + ROUND_US);
    return b;
}

void batch_server_free(struct batch_server *b)
{
    if (b == NULL)
        return;
    timer_cancel(loop_timers(b->loop), &b->round);
    loop_hook_cancel(&b->hook);
    for (uint32_t i = 0; i < b->n; i++) {
        buf_release(&b->askers[i]->out);
        free(b->askers[i]);
    }
    free(b->askers);
    free(b->next_free);
    mac_free(b->mac);
    free(b);
}

uint64_t batch_server_open(const struct batch_server *b)
{
    return b->open;
}
