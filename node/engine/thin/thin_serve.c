/* SPDX-License-Identifier: Apache-2.0 */
/* FRAME_HOLDS, as one of the nodes that are asked: does this node hold these values of a key, on
 * disk, for each version that the asker has? Whoever asks lets go of its own on the strength of
 * that. So who knows another ring says no, were its owners the same; and so does one whose disk may
 * be older than what it has acknowledged, or who has not seen all that the asker has: a version
 * that it has not seen may have the same value as one that it is about to replace. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/membership/catchup.h"
#include "engine/peer_wire.h"
#include "engine/thin/thin.h"
#include "model/wire.h"

struct serving {                  /* one frame */
    struct background background; /* first */
    struct engine *e;
    uint64_t origin, rid;
    struct buf body; /* what the question borrows from */
    struct peer_holds q;
    struct replica_read read;
    struct store_write sync;
    bool reading;
};

static void serving_free(struct serving *s)
{
    background_end(s->e, &s->background);
    if (s->reading)
        replica_read_release(&s->read);
    peer_holds_release(&s->q);
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
    peer_status_encode(status, &body);
    net->reply(net->ctx, s->origin, s->rid, FRAME_HOLDS + FRAME_REPLY, &body);
    serving_free(s);
}

static void on_synced(struct store_write *req, int err)
{
    reply(req->arg, err);
}

/* It was read just now, and is what it is said to be (E19). */
static bool is_good(const struct object *o, const struct dot *value_dot)
{
    const struct sibling *s = object_find_value(o, value_dot);
    uint8_t digest[DIGEST_LEN];
    if (s == NULL || s->value == NULL)
        return false;
    digest_sha256(slice_of(s->value->data, s->value->len), digest);
    return digest_equal(digest, s->value_hash);
}

static void on_read(struct replica_read *r, int err)
{
    struct serving *s = r->arg;
    struct store_port *store = &s->e->ports.store;
    if (err == DYN_OK && !clock_dominates(&r->object.clock, &s->q.clock))
        err = DYN_ERR_STALE; /* it may let go of a value that a version of theirs still needs */
    for (uint32_t i = 0; i < s->q.n_dots && err == DYN_OK; i++)
        if (!is_good(&r->object, &s->q.dots[i]))
            err = DYN_ERR_NOT_FOUND;
    if (err != DYN_OK) {
        reply(s, err);
        return;
    }
    s->sync = (struct store_write){.done = on_synced, .arg = s};
    store->sync(store->ctx, &s->sync);
}

static int check(const struct serving *s)
{
    const struct engine *e = s->e;
    uint32_t partition = ring_partition_of(e->ring, s->q.key);
    if (!e->serving || e->stopping || e->failed != DYN_OK)
        return DYN_ERR_STOPPED;
    if (!history_epoch_equal(&s->q.ring, ring_epoch(e->ring)) ||
        s->q.fence != ring_fence(e->ring, partition) || ring_move(e->ring, partition) != NULL)
        return DYN_ERR_REFUSED;
    return catchup_votes(e->catchup, partition) ? DYN_OK : DYN_ERR_OVERLOAD;
}

void thin_serve(struct engine *e, uint64_t origin, uint64_t rid, struct slice body)
{
    struct serving *s = mem_new(struct serving);
    s->e = e;
    s->origin = origin;
    s->rid = rid;
    buf_put_slice(&s->body, body);
    background_add(e, &s->background, abandon);
    int err = peer_holds_decode(buf_slice(&s->body), &s->q);
    if (err == DYN_OK)
        err = check(s);
    if (err != DYN_OK) {
        reply(s, err);
        return;
    }
    s->read = (struct replica_read){.e = e,
                                    .key = s->q.key,
                                    .load = LOAD_DOTS,
                                    .dots = s->q.dots,
                                    .n_dots = s->q.n_dots,
                                    .done = on_read,
                                    .arg = s};
    s->reading = true;
    replica_read_start(&s->read);
}
