/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator of sync (F13): a version that was written with less is to be on W disks, as if
 * its put had asked for that. So it is spread again, synced, without values: whoever has it only
 * syncs, whoever has missed it takes it and then does (what comes back from a pause has), and for
 * whoever is away another stands in with a hint, where the request is sloppy. What counts is what
 * counts for a put.
 *
 *   READING   (this node's copy) --it has seen the version------------> SPREADING
 *   READING   --it has not, or there is none--------------------------> GATHERING
 *   GATHERING (R copies) --together they have seen it-----------------> SPREADING
 *   GATHERING --all N answered, and none has; or no quorum------------> ended
 *   (no dot is asked for: one live copy is enough, as for the read of a chunk)
 *   SPREADING (replication.h) --W have synced it, or cannot be had----> ended
 *   any       --the deadline, or nobody waits any more----------------> ended
 */
#include "engine/coordinate/coordinate.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/fragments.h"

enum sync_state { READING, GATHERING, SPREADING, ENDED };

/* Outlives its request while this node's own disk reads for it. */
struct sync_op {
    struct background background; /* first */
    struct engine *e;
    struct request *r; /* NULL once nobody waits */
    struct slice key;  /* owned */
    struct dot dot;
    struct quorum quorum;
    enum sync_state state;
    uint64_t born_us; /* since when what is spread was read (E15) */
    struct replica_read read;
    struct gather *gather;
    struct replication *replication;
    struct timer deadline;
};

static void move(struct sync_op *op, enum sync_state to)
{
    assert(to > op->state);
    op->state = to;
}

static void sync_free(struct sync_op *op)
{
    background_end(op->e, &op->background);
    timer_cancel(op->e->ports.timers, &op->deadline);
    if (op->state == READING)
        replica_read_release(&op->read);
    free((void *)(uintptr_t)op->key.data);
    free(op);
}

/* The gather and the replication are in the background as well, and end by themselves. */
static void sync_abandon(struct background *b)
{
    sync_free(container_of(b, struct sync_op, background));
}

/* Nobody waits any more. What is on its way to the replicas goes on. */
static void sync_end(struct sync_op *op)
{
    op->r = NULL;
    if (op->state == READING)
        return; /* storage will call back */
    if (op->state == GATHERING)
        gather_forget(op->gather);
    else if (op->state == SPREADING)
        replication_forget(op->replication);
    op->state = ENDED;
    sync_free(op);
}

static void sync_detach(void *coordinator)
{
    sync_end(coordinator);
}

static void answer(struct sync_op *op, int status, uint32_t answered)
{
    struct request *r = op->r;
    struct sync_reply reply = {
        .status = status, .answered = (uint8_t)answered, .needed = (uint8_t)op->quorum.w};
    sync_end(op);
    r->coordinator = NULL;
    request_reply_sync(r, &reply);
}

static void on_settled(void *arg, int err)
{
    struct sync_op *op = arg;
    uint32_t acks = replication_acks(op->replication);
    move(op, ENDED);
    answer(op, err, acks);
}

static uint64_t time_left(const struct sync_op *op)
{
    uint64_t now = engine_now(op->e);
    return op->r->deadline_us > now ? op->r->deadline_us - now : 1;
}

static void spread(struct sync_op *op, const struct object *object)
{
    struct engine *e = op->e;
    uint32_t fragment = engine_fragment(e, op->key);
    bool same_nodes = replication_same_nodes(e, op->key, fragment, op->quorum.n);
    struct replication_params p = {.key = op->key,
                                   .fragment = fragment,
                                   .object = object,
                                   .born_us = op->born_us,
                                   .quorum = op->quorum,
                                   .roles = ROLE_OBJECT,
                                   .owe_entry = !same_nodes, /* whoever takes it does (E17) */
                                   .settled = on_settled,
                                   .arg = op};
    if (same_nodes && engine_has_entry(op->key))
        p.roles |= ROLE_ENTRY;
    p.quorum.durability = DURABILITY_QUORUM;
    p.quorum.timeout_us = time_left(op);
    move(op, SPREADING);
    op->replication = replication_start(e, &p);
}

/* That all N have answered, and none has seen the version, is no matter of waiting: it was deleted
 * and that was forgotten since, or it is lost. Stand-ins cannot say so for a replica. */
static void on_gathered(void *arg, const struct gather_result *result)
{
    struct sync_op *op = arg;
    uint32_t voters =
        ring_voters(op->e->ring, ring_partition_of(op->e->ring, op->key), op->quorum.n);
    if (result->status == DYN_OK) {
        op->born_us = result->born_us;
        spread(op, result->object);
        return;
    }
    move(op, ENDED);
    if (result->status == DYN_ERR_TIMEOUT && !dot_is_none(&op->dot) && result->primaries >= voters)
        answer(op, DYN_ERR_STALE, 0);
    else
        answer(op, result->status, 0);
}

static void gather(struct sync_op *op)
{
    struct cover at_least = COVER_EMPTY;
    struct gather_params p = {.key = op->key,
                              .quorum = op->quorum,
                              .values = VALUE_NONE,
                              .present = dot_is_none(&op->dot),
                              .at_least = &at_least,
                              .done = on_gathered,
                              .arg = op};
    if (p.present) {
        p.quorum.r = 1;
        p.quorum.sloppy = true;
    } else {
        cover_add_dot(&at_least, &op->dot);
    }
    p.quorum.timeout_us = time_left(op);
    move(op, GATHERING);
    op->gather = gather_start(op->e, &p);
}

static void on_read(struct replica_read *read, int err)
{
    struct sync_op *op = read->arg;
    struct object object = OBJECT_EMPTY;
    bool seen =
        err == DYN_OK && (dot_is_none(&op->dot) ? object_live(&read->object)
                                                : clock_covers(&read->object.clock, &op->dot));
    if (seen)
        object_copy(&object, &read->object);
    replica_read_release(read);
    if (op->r == NULL) {
        op->state = ENDED;
        sync_free(op);
    } else if (seen) {
        spread(op, &object);
    } else {
        gather(op);
    }
    object_release(&object);
}

static void on_deadline(struct timer *t, void *arg)
{
    (void)t;
    struct sync_op *op = arg;
    if (op->state == SPREADING)
        answer(op, DYN_ERR_NO_QUORUM, replication_acks(op->replication));
    else
        answer(op, DYN_ERR_TIMEOUT, 0);
}

void coordinate_sync(struct request *r)
{
    struct engine *e = r->e;
    const struct sync_request *q = &r->q.sync;
    if (ring_member_find(e->ring, e->cfg.node) == NULL) {
        request_fail(r, DYN_ERR_REFUSED, 0, r->quorum.w); /* replicas take nothing from it */
        return;
    }
    struct sync_op *op = mem_new(struct sync_op);
    op->e = e;
    op->r = r;
    op->key = slice_of(mem_dup(q->key.data, q->key.len), q->key.len);
    op->dot = q->dot;
    op->quorum = r->quorum;
    op->born_us = engine_now(e);
    r->coordinator = op;
    r->coordinator_free = sync_detach;
    background_add(e, &op->background, sync_abandon);
    timer_init(&op->deadline, on_deadline, op);
    timer_set(e->ports.timers, &op->deadline, r->deadline_us);
    op->read = (struct replica_read){
        .e = e, .key = op->key, .load = LOAD_NONE, .done = on_read, .arg = op};
    replica_read_start(&op->read);
}
