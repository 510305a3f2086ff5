/* SPDX-License-Identifier: Apache-2.0 */
/* See delivery.h.
 *
 *   SEND -> done
 *   SEND -> receiver lacks values -> FETCH -> SEND again, once -> done */
#include "engine/delivery.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/peer_wire.h"

static void send(struct delivery *d);

static void on_fetched(struct value_fetch *f, int err)
{
    struct delivery *d = f->arg;
    value_fetch_release(f);
    d->fetching = false;
    if (err != DYN_OK)
        d->done(d, err);
    else
        send(d);
}

/* Takes the dots. */
static void fetch_then_resend(struct delivery *d, struct dot *dots, uint32_t n)
{
    if (d->second) { /* asked for the same twice: the receiver is broken, or forgot in between */
        free(dots);
        d->done(d, DYN_ERR_NOT_FOUND);
        return;
    }
    d->second = true;
    object_copy(&d->full, d->object);
    d->fetch = (struct value_fetch){.e = d->e,
                                    .key = d->key,
                                    .into = &d->full,
                                    .dots = dots,
                                    .n_dots = n,
                                    .n_holders = d->n_holders,
                                    .timeout_us = d->timeout_us,
                                    .done = on_fetched,
                                    .arg = d};
    memcpy(d->fetch.holders, d->holders, sizeof(d->holders));
    d->fetching = true;
    value_fetch_start(&d->fetch);
}

static void on_reply(struct rpc_call *call, int err, struct slice body)
{
    struct delivery *d = call->arg;
    struct peer_put_reply reply = {0};
    if (err == DYN_OK)
        err = peer_put_reply_decode(body, &reply);
    if (err != DYN_OK) {
        d->done(d, err);
        return;
    }
    if (reply.status == DYN_OK && reply.n_missing > 0) {
        fetch_then_resend(d, reply.missing, reply.n_missing);
        return;
    }
    d->parent_dead = reply.parent_dead;
    d->differs = reply.differs;
    peer_put_reply_release(&reply);
    d->done(d, reply.status);
}

static void on_local(struct replica_write *w, int err)
{
    struct delivery *d = w->arg;
    struct dot *missing = w->missing;
    uint32_t n_missing = w->n_missing;
    w->missing = NULL;
    w->n_missing = 0;
    d->parent_dead = w->parent_dead;
    replica_write_release(w);
    d->writing = false;
    if (err == DYN_OK && n_missing > 0) {
        fetch_then_resend(d, missing, n_missing);
        return;
    }
    free(missing);
    d->done(d, err);
}

static void send(struct delivery *d)
{
    const struct object *object = d->second ? &d->full : d->object;
    if (!(d->roles & ROLE_OBJECT)) { /* an entry has no values */
        object_project(d->object, &d->full);
        object = &d->full;
    }
    if (d->node == d->e->cfg.node) {
        d->write = (struct replica_write){.e = d->e,
                                          .key = d->key,
                                          .roles = d->roles,
                                          .incoming = object,
                                          .hint_for = d->hint_for,
                                          .owe_entry = d->owe_entry,
                                          .cut = d->cut,
                                          .sync = d->sync ? STORE_SYNCED : STORE_BUFFERED,
                                          .done = on_local,
                                          .arg = d};
        d->writing = true;
        replica_write_start(&d->write);
        return;
    }
    struct peer_put m = {.ring = *ring_epoch(d->e->ring),
                         .roles = d->roles,
                         .hint_for = d->hint_for,
                         .sync = d->sync,
                         .owe_entry = d->owe_entry,
                         .key = d->key,
                         .object = *object};
    if (d->cut != NULL)
        m.cut = *d->cut;
    struct buf body = BUF_EMPTY;
    peer_put_encode(&m, &body);
    d->call.done = on_reply;
    d->call.arg = d;
    rpc_start(d->e->rpc, &d->call, d->node, FRAME_REPLICA_PUT, &body, d->timeout_us);
}

void delivery_start(struct delivery *d)
{
    assert(d->roles != 0);
    d->full = OBJECT_EMPTY;
    d->second = d->fetching = d->writing = d->parent_dead = d->differs = false;
    d->call = (struct rpc_call){0};
    send(d);
}

void delivery_release(struct delivery *d)
{
    if (d->fetching) {
        value_fetch_release(&d->fetch);
    }
    if (d->writing)
        replica_write_release(&d->write);
    rpc_cancel(d->e->rpc, &d->call);
    object_release(&d->full);
}
