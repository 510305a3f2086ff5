/* SPDX-License-Identifier: Apache-2.0 */
/* The frames of reaping (reap.h), as one of the nodes that are asked: a job of reap_rows.h, and its
 * outcome back. What is asked under another ring is refused whole: who does not agree about all
 * that has happened to the membership decides nothing about what is left of a delete. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/membership/catchup.h"
#include "engine/reap/reap.h"
#include "engine/reap/reap_rows.h"
#include "model/wire.h"

struct serving {                  /* one frame */
    struct background background; /* first */
    struct engine *e;
    uint64_t origin, rid;
    uint8_t type;
    struct buf body; /* what the request borrows from */
    struct reap_request step;
    struct reap_reply votes;
    struct reap_job job;
    struct clear_request clear;
    struct clear_reply kept;
    struct clear_job clearing;
};

static void serving_free(struct serving *s)
{
    background_end(s->e, &s->background);
    reap_job_release(&s->job);
    clear_job_release(&s->clearing);
    reap_request_release(&s->step);
    reap_reply_release(&s->votes);
    clear_request_release(&s->clear);
    clear_reply_release(&s->kept);
    buf_release(&s->body);
    free(s);
}

static void abandon(struct background *b)
{
    serving_free(container_of(b, struct serving, background));
}

static void reply(struct serving *s, int status)
{
    struct net_port *net = &s->e->ports.net;
    struct buf body = BUF_EMPTY;
    s->votes.status = s->kept.status = status;
    s->votes.n = status == DYN_OK ? s->step.n : 0;
    s->kept.n = status == DYN_OK ? s->clear.n : 0;
    if (s->type == FRAME_REAP)
        reap_reply_encode(&s->votes, &body);
    else
        clear_reply_encode(&s->kept, &body);
    net->reply(net->ctx, s->origin, s->rid, (uint8_t)(s->type + FRAME_REPLY), &body);
    serving_free(s);
}

static void on_voted(struct reap_job *j, int err)
{
    reply(j->arg, err);
}

static void on_cleared(struct clear_job *j, int err)
{
    reply(j->arg, err);
}

/* A node whose disk may lack what it acknowledged has no word in what may be forgotten (E2). */
static int check(const struct engine *e, const struct history_epoch *ring)
{
    if (!e->serving || e->failed != DYN_OK || catchup_under_way(e->catchup))
        return DYN_ERR_STOPPED;
    return history_epoch_equal(ring, ring_epoch(e->ring)) ? DYN_OK : DYN_ERR_REFUSED;
}

static void serve_step(struct serving *s)
{
    int err = reap_request_decode(buf_slice(&s->body), &s->step);
    if (err == DYN_OK)
        err = check(s->e, &s->step.ring);
    if (err != DYN_OK) {
        reply(s, err);
        return;
    }
    s->votes.votes = mem_zalloc((s->step.n + 1) * sizeof(*s->votes.votes));
    s->job = (struct reap_job){.e = s->e,
                               .step = s->step.step,
                               .items = s->step.items,
                               .n = s->step.n,
                               .votes = s->votes.votes,
                               .done = on_voted,
                               .arg = s};
    reap_job_start(&s->job);
}

static void serve_clear(struct serving *s)
{
    int err = clear_request_decode(buf_slice(&s->body), &s->clear);
    if (err == DYN_OK)
        err = check(s->e, &s->clear.ring);
    if (err != DYN_OK) {
        reply(s, err);
        return;
    }
    s->kept.kept = mem_zalloc(s->clear.n + 1);
    s->clearing = (struct clear_job){.e = s->e,
                                     .partitions = s->clear.partitions,
                                     .n = s->clear.n,
                                     .kept = s->kept.kept,
                                     .done = on_cleared,
                                     .arg = s};
    clear_job_start(&s->clearing);
}

void reap_serve(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type, struct slice body)
{
    struct serving *s = mem_new(struct serving);
    s->e = e;
    s->origin = origin;
    s->rid = rid;
    s->type = type;
    buf_put_slice(&s->body, body);
    background_add(e, &s->background, abandon);
    if (type == FRAME_REAP)
        serve_step(s);
    else
        serve_clear(s);
}
