/* SPDX-License-Identifier: Apache-2.0 */
/* See value_fetch.h. */
#include "engine/coordinate/value_fetch.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/peer_wire.h"
#include "engine/thin/superseded.h"

static void ask_next(struct value_fetch *f);
static void read_own(struct value_fetch *f);

/* Several siblings may share one value: after a change of attributes, for example. */
static bool loaded(const struct object *o, const struct dot *value_dot)
{
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        if (s->size > 0 && s->value == NULL && dot_equal(&s->value_dot, value_dot))
            return false;
    }
    return true;
}

static const struct sibling *find_loaded(const struct object *o, const struct sibling *like)
{
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        if (s->value != NULL && dot_equal(&s->value_dot, &like->value_dot) &&
            s->size == like->size && s->manifest_len == like->manifest_len &&
            digest_equal(s->value_hash, like->value_hash))
            return s;
    }
    return NULL;
}

static void drop_loaded(struct value_fetch *f)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->n_dots; i++)
        if (!loaded(f->into, &f->dots[i])) {
            f->signs[kept] = f->signs[i];
            f->dots[kept++] = f->dots[i];
        }
    f->n_dots = kept;
}

/* Returns whether any of the values was there. */
static bool attach(struct value_fetch *f, const struct object *from)
{
    uint32_t before = f->n_dots;
    for (uint32_t i = 0; i < f->into->n; i++) {
        struct sibling *s = &f->into->siblings[i];
        const struct sibling *other = s->value == NULL ? find_loaded(from, s) : NULL;
        if (other != NULL)
            s->value = blob_ref(other->value);
    }
    drop_loaded(f);
    return f->n_dots < before;
}

static bool among(const struct dot *dots, uint32_t n, const struct dot *d)
{
    for (uint32_t i = 0; i < n; i++)
        if (dot_equal(&dots[i], d))
            return true;
    return false;
}

static void note_signs(struct value_fetch *f, const struct peer_get_reply *by, uint64_t node)
{
    bool first =
        !by->voteless && !object_is_absent(&by->object) && superseded_is_first(f->e, f->key, node);
    for (uint32_t i = 0; i < f->n_dots; i++) {
        if (among(by->vouched, by->n_vouched, &f->dots[i]))
            f->signs[i] |= SUPERSEDED_VOUCHED;
        if (first && object_find_value(&by->object, &f->dots[i]) == NULL)
            f->signs[i] |= SUPERSEDED_UNNAMED;
    }
}

bool value_fetch_superseded(const struct value_fetch *f, uint32_t i)
{
    return f->unasked == 0 && f->signs[i] == SUPERSEDED_BOTH;
}

static void on_reply(struct rpc_call *call, int err, struct slice body)
{
    struct value_fetch *f = call->arg;
    struct peer_get_reply reply;
    bool answered = false;
    if (err == DYN_OK && peer_get_reply_decode(body, &reply) == DYN_OK) {
        answered = reply.status == DYN_OK;
        if (answered)
            note_signs(f, &reply, f->holders[f->next - 1]);
        if (answered && attach(f, &reply.object))
            f->next--; /* it may have more than one message held */
        peer_get_reply_release(&reply);
    }
    f->unasked += !answered;
    ask_next(f);
}

static void ask_next(struct value_fetch *f)
{
    for (; f->n_dots > 0 && f->next < f->n_holders; f->next++) {
        bool self = f->holders[f->next] == f->e->cfg.node;
        if (!self && detector_up(f->e->detector, f->holders[f->next]))
            break;
        f->unasked += !self;
    }
    if (f->n_dots == 0 || f->next == f->n_holders) {
        f->done(f, f->n_dots == 0 ? DYN_OK : DYN_ERR_NOT_FOUND);
        return;
    }
    struct peer_get m = {.ring = *ring_epoch(f->e->ring), /* no fence: it is no vote */
                         .load = LOAD_DOTS,
                         .key = f->key,
                         .dots = f->dots,
                         .n_dots = f->n_dots};
    struct buf body = BUF_EMPTY;
    peer_get_encode(&m, &body);
    f->call.done = on_reply;
    f->call.arg = f;
    rpc_start(f->e->rpc, &f->call, f->holders[f->next++], FRAME_REPLICA_GET, &body, f->timeout_us);
}

static void on_read(struct replica_read *r, int err)
{
    struct value_fetch *f = r->arg;
    struct peer_get_reply own = {.voteless = !engine_votes(f->e, ROW_OBJECT, f->key),
                                 .object = r->object};
    if (err == DYN_OK) {
        own.n_vouched = superseded_vouched(&r->object, &r->state, &own.vouched);
        note_signs(f, &own, f->e->cfg.node);
        free(own.vouched);
    }
    bool more = err == DYN_OK && attach(f, &r->object) && f->n_dots > 0;
    f->reading = false;
    replica_read_release(r);
    if (more)
        read_own(f);
    else
        ask_next(f);
}

static void read_own(struct value_fetch *f)
{
    f->read = (struct replica_read){.e = f->e,
                                    .key = f->key,
                                    .load = LOAD_DOTS,
                                    .dots = f->dots,
                                    .n_dots = f->n_dots,
                                    .done = on_read,
                                    .arg = f};
    f->reading = true;
    replica_read_start(&f->read);
}

void value_fetch_start(struct value_fetch *f)
{
    f->signs = mem_zalloc(f->n_dots + 1);
    attach(f, f->into);
    f->next = f->unasked = 0;
    f->call = (struct rpc_call){0};
    read_own(f);
}

void value_fetch_release(struct value_fetch *f)
{
    rpc_cancel(f->e->rpc, &f->call);
    if (f->reading)
        replica_read_release(&f->read);
    free(f->dots);
    free(f->signs);
    f->dots = NULL;
    f->signs = NULL;
    f->n_dots = 0;
}
