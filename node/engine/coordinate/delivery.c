/* SPDX-License-Identifier: Apache-2.0 */
/* See delivery.h.
 *
 *   SEND -> done
 *   SEND -> receiver knows other owners -> LEARN -> SEND again, LEARN_MAX times
 *   [TURN] -> SEND, of a value that extends another only what follows -> receiver lacks the value,
 *   as it cannot make it -> as any other
 *   SEND -> receiver lacks values -> PART: FETCH -> SEND -> done, or the next PART
 *   FETCH -> nobody has them any more -> SEND without, to this node alone; and without the versions
 *   that were superseded (superseded.h)
 *
 * A replica stores no sibling without its value (E19), so a part is an older state of the object:
 * one more of its siblings after the other, until what travels is the whole (object_prefix). */
#include "engine/coordinate/delivery.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/peer_wire.h"
#include "engine/thin/superseded.h"

#define LEARN_MAX 3

static void send(struct delivery *d);

/* ---- turns ------------------------------------------------------------------------------- */

/* What follows a value is of use to a node that has the value. Were it to overtake it, on another
 * connection, the whole would have to travel as well, and take so long that the next one overtakes
 * that. So it waits for an earlier delivery to the same node that brings the value; never for a
 * later one, so nobody waits in a circle. */
static bool waits_for_base(struct delivery *d)
{
    if (d->extended == NULL || extension_is_none(&d->extended->base) || d->link.next == NULL)
        return false;
    for (struct list *l = d->e->deliveries.next; l != &d->link && l != &d->e->deliveries;
         l = l->next) {
        const struct delivery *other = container_of(l, struct delivery, link);
        if (other->node == d->node && slice_equal(other->key, d->key) &&
            object_find_value(other->object, &d->extended->base.base) != NULL)
            return true;
    }
    return false;
}

static void on_turn(struct timer *t, void *arg)
{
    (void)t;
    struct delivery *d = arg;
    d->waiting = false;
    d->e->deliveries_waiting--;
    send(d);
}

static void enter(struct delivery *d)
{
    list_init(&d->link);
    timer_init(&d->turn, on_turn, d);
    d->waiting = false;
    if (d->extended != NULL && d->node != d->e->cfg.node)
        list_append(&d->e->deliveries, &d->link);
}

static void leave(struct delivery *d)
{
    struct engine *e = d->e;
    if (d->link.next == NULL) /* it never began */
        return;
    e->deliveries_waiting -= d->waiting;
    d->waiting = false;
    timer_cancel(e->ports.timers, &d->turn);
    if (list_empty(&d->link))
        return;
    list_remove(&d->link);
    for (struct list *l = e->deliveries.next; e->deliveries_waiting > 0 && l != &e->deliveries;
         l = l->next) {
        struct delivery *other = container_of(l, struct delivery, link);
        if (other->waiting && other->node == d->node && slice_equal(other->key, d->key))
            timer_set(e->ports.timers, &other->turn, engine_now(e));
    }
}

static void end(struct delivery *d, int err)
{
    leave(d);
    d->done(d, err);
}

/* ---- values ------------------------------------------------------------------------------ */

/* May the version go, of which nobody has the value? Never the last one that this node would know
 * of: the first of the row knows others. */
static bool may_drop(const struct delivery *d, const struct dot *value_dot)
{
    const struct engine *e = d->e;
    bool others = superseded_is_first(e, d->key, e->cfg.node);
    for (uint32_t i = 0; i < d->full.n && !others; i++)
        others = !dot_equal(&d->full.siblings[i].value_dot, value_dot);
    return others;
}

static void take_gone(struct delivery *d, const struct value_fetch *f)
{
    d->gone = mem_reallocarray(d->gone, d->n_gone + f->n_dots, sizeof(*d->gone));
    for (uint32_t i = 0; i < f->n_dots; i++) {
        if (value_fetch_superseded(f, i) && may_drop(d, &f->dots[i]) &&
            superseded_drop(&d->full, &f->dots[i]))
            d->owe_entry = true; /* a state that nobody had */
        else
            d->gone[d->n_gone++] = f->dots[i];
    }
}

static void on_fetched(struct value_fetch *f, int err)
{
    struct delivery *d = f->arg;
    bool lost = err == DYN_ERR_NOT_FOUND && f->unasked == 0;
    if (lost && d->without_lost && d->node == d->e->cfg.node) {
        take_gone(d, f);
        err = DYN_OK;
    }
    value_fetch_release(f);
    d->fetching = false;
    if (err != DYN_OK)
        end(d, err);
    else
        send(d);
}

static bool lacks(const struct delivery *d, const struct sibling *s)
{
    for (uint32_t i = 0; i < d->n_lacking && s->size > 0; i++)
        if (dot_equal(&d->lacking[i], &s->value_dot))
            return true;
    return false;
}

/* The end of a part that begins at sibling `from`: at least one value more. */
static uint32_t part_end(const struct delivery *d, uint32_t from)
{
    uint64_t bytes = 0;
    uint32_t end = from;
    for (; end < d->object->n; end++) {
        const struct sibling *s = &d->object->siblings[end];
        if (!lacks(d, s))
            continue;
        if (bytes > 0 && bytes + sibling_value_len(s) > d->e->cfg.frame_values_max)
            break;
        bytes += sibling_value_len(s);
    }
    return end;
}

static void drop_values(struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++) {
        blob_unref(o->siblings[i].value);
        o->siblings[i].value = NULL;
    }
}

/* Values at hand are no older than the part, so they need not be fetched. */
static void take_values(const struct delivery *d, uint32_t from, struct object *part)
{
    for (uint32_t i = from; i < part->n; i++) {
        const struct sibling *s = object_find(d->object, &part->siblings[i].dot);
        if (lacks(d, &part->siblings[i]) && s->value != NULL)
            part->siblings[i].value = blob_ref(s->value);
    }
}

static void next_part(struct delivery *d)
{
    uint32_t from = d->sent, n = 0;
    d->sent = part_end(d, from);
    if (d->sent == d->object->n)
        object_copy(&d->full, d->object);
    else
        object_prefix(d->object, d->sent, &d->full);
    drop_values(&d->full);
    take_values(d, from, &d->full);
    struct dot *dots = mem_reallocarray(NULL, d->sent - from + 1, sizeof(*dots));
    for (uint32_t i = from; i < d->sent; i++)
        if (lacks(d, &d->full.siblings[i]))
            dots[n++] = d->full.siblings[i].value_dot;
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

/* Takes the dots. */
static void fetch_then_resend(struct delivery *d, struct dot *dots, uint32_t n)
{
    if (d->second) { /* asked for the same twice: the receiver is broken, or forgot in between */
        free(dots);
        end(d, DYN_ERR_NOT_FOUND);
        return;
    }
    d->second = true;
    d->lacking = mem_reallocarray(dots, n + d->object->n, sizeof(*dots));
    d->n_lacking = n;
    for (uint32_t i = 0; i < d->object->n; i++) /* came along, and were not stored either */
        if (d->object->siblings[i].value != NULL)
            d->lacking[d->n_lacking++] = d->object->siblings[i].value_dot;
    next_part(d);
}

static void sent(struct delivery *d, int err)
{
    if (err == DYN_OK && d->second && d->sent < d->object->n)
        next_part(d);
    else
        end(d, err);
}

static void on_learned(struct view_wait *w)
{
    send(w->arg);
}

/* The receiver knows other owners than we do: now we know what it knows, and it what we do. */
static bool learns(struct delivery *d, int status)
{
    if (status != DYN_ERR_REFUSED || d->learned++ >= LEARN_MAX)
        return false;
    d->learn = (struct view_wait){.done = on_learned, .arg = d};
    view_learn(d->e->view, d->node, &d->learn);
    return true;
}

static void on_reply(struct rpc_call *call, int err, struct slice body)
{
    struct delivery *d = call->arg;
    struct peer_put_reply reply = {0};
    if (err == DYN_OK)
        err = peer_put_reply_decode(body, &reply);
    if (d->described && (err == DYN_ERR_PROTOCOL || reply.status == DYN_ERR_PROTOCOL)) {
        peer_put_reply_release(&reply);
        d->extended = NULL; /* an older version, which does not know that */
        send(d);
        return;
    }
    if (err != DYN_OK) {
        end(d, err);
        return;
    }
    if (reply.status == DYN_OK && reply.n_missing > 0) {
        fetch_then_resend(d, reply.missing, reply.n_missing);
        return;
    }
    d->parent_dead = reply.parent_dead;
    d->differs = reply.differs;
    peer_put_reply_release(&reply);
    if (!learns(d, reply.status))
        sent(d, reply.status);
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
    if (err == DYN_ERR_REFUSED && d->learned++ < LEARN_MAX)
        send(d); /* the ring changed in the middle of it */
    else
        sent(d, err);
}

static bool fits_a_frame(const struct delivery *d)
{
    uint64_t bytes = 0;
    uint32_t values = 0;
    for (uint32_t i = 0; i < d->object->n; i++) {
        const struct sibling *s = &d->object->siblings[i];
        values += s->value != NULL;
        bytes += s->value != NULL ? s->value->len : 0;
    }
    return values <= 1 || bytes <= d->e->cfg.frame_values_max;
}

static void send(struct delivery *d)
{
    const struct object *object = d->second ? &d->full : d->object;
    if (!(d->roles & ROLE_OBJECT)) { /* an entry has no values */
        object_project(d->object, &d->full);
        object = &d->full;
    } else if (!d->second && !fits_a_frame(d)) {
        object_copy(&d->full, d->object);
        drop_values(&d->full); /* the receiver says which it lacks */
        object = &d->full;
    }
    if (d->node == d->e->cfg.node) {
        bool whole = !d->second || d->sent == d->object->n; /* a part does not bring all */
        d->write = (struct replica_write){.e = d->e,
                                          .key = d->key,
                                          .fragment = d->fragment,
                                          .roles = d->roles,
                                          .incoming = object,
                                          .hint_for = d->hint_for,
                                          .owe_entry = d->owe_entry,
                                          .cut = d->cut,
                                          .born_us = d->born_us,
                                          .heal = d->heal && whole,
                                          .heal_thin = d->heal_thin && whole,
                                          .mend = d->mend,
                                          .thin = d->gone,
                                          .n_thin = d->n_gone,
                                          .generation = d->e->generation,
                                          .sync = d->sync ? STORE_SYNCED : STORE_BUFFERED,
                                          .done = on_local,
                                          .arg = d};
        d->writing = true;
        replica_write_start(&d->write);
        return;
    }
    if (!d->second && waits_for_base(d)) {
        d->waiting = true;
        d->e->deliveries_waiting++;
        return;
    }
    struct peer_put m = {.ring = *ring_epoch(d->e->ring),
                         .fence = engine_fence(d->e, d->key, d->fragment, d->roles),
                         .roles = d->roles,
                         .fragment = d->roles & ROLE_ENTRY ? d->fragment : 0,
                         .hint_for = d->hint_for,
                         .sync = d->sync,
                         .owe_entry = d->owe_entry,
                         .born = {d->e->boot, d->born_us},
                         .key = d->key,
                         .object = *object};
    if (d->cut != NULL)
        m.cut = *d->cut;
    struct buf body = BUF_EMPTY;
    d->described = !d->second && d->extended != NULL && d->hint_for == 0 &&
                   extend_describe(d->extended, &m, &body);
    if (!d->described)
        peer_put_encode(&m, &body);
    d->call.done = on_reply;
    d->call.arg = d;
    rpc_start(d->e->rpc, &d->call, d->node, d->described ? FRAME_REPLICA_EXTEND : FRAME_REPLICA_PUT,
              &body, d->timeout_us);
}

void delivery_start(struct delivery *d)
{
    assert(d->roles != 0);
    if (d->born_us == 0)
        d->born_us = engine_now(d->e);
    d->full = OBJECT_EMPTY;
    d->lacking = d->gone = NULL;
    d->n_lacking = d->sent = d->n_gone = 0;
    d->second = d->described = d->fetching = d->writing = false;
    d->parent_dead = d->differs = false;
    d->call = (struct rpc_call){0};
    d->learn = (struct view_wait){0};
    d->learned = 0;
    enter(d);
    send(d);
}

void delivery_release(struct delivery *d)
{
    leave(d);
    if (d->fetching) {
        value_fetch_release(&d->fetch);
    }
    if (d->writing)
        replica_write_release(&d->write);
    view_wait_cancel(&d->learn);
    rpc_cancel(d->e->rpc, &d->call);
    object_release(&d->full);
    free(d->lacking);
    free(d->gone);
    d->lacking = d->gone = NULL;
}
