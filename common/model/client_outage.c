/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines that do not add up (F22). A program's one call is many requests, and a command many
 * calls: where each of them waited its deadline out for a quorum that is not there, `rm` would take
 * half a minute. So after one operation has waited in vain, the nodes that it needed are known to
 * be out, and whoever needs as many of them hears so at once; in the background a probe (a read of
 * the key that failed, by as many replicas as were wanted) asks whether that is still true.
 *
 *   none    --an operation ran into its deadline without a quorum--> PROBING
 *   PROBING --a quorum answers------------------> none: whoever was held goes on
 *   PROBING --none, or silence until its end----> RESTING: whoever was held fails
 *   RESTING --pause over, or an operation comes-> PROBING
 *   any     --an operation of these nodes succeeds, or the ring changes--> none
 *
 * So that nothing which could succeed is refused for long, an operation is refused on fresh
 * evidence only: otherwise it is held until the probe has answered, for HOLD_US at most. One probe
 * is under way for a set of nodes, however many operations come. After IDLE_US without any, probing
 * rests until the next one: a mount that nobody uses is silent.
 *
 * What is kept is by set of primaries, not by partition: in a small cluster all partitions have the
 * same nodes, and files of one command lie in many partitions. Not knowing the ring is the same
 * thing for the whole cluster; there the asking of seeds is the probe. */
#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/client_private.h"
#include "model/ring.h"

#define NODES_MAX 8
#define OUTAGES_MAX 256 /* beyond that operations wait for themselves */
#define HOLD_US 200000u
#define FRESH_US 100000u
#define PAUSE_US 100000u /* between probes; doubles */
#define PAUSE_MAX_US 800000u
#define PROBE_US 2000000u
#define IDLE_US 60000000u

struct client_outage {
    struct list link;
    struct client *client;
    uint64_t nodes[NODES_MAX]; /* sorted */
    uint32_t n_nodes;
    uint8_t n, need, sloppy; /* of the request: replicas asked for, replies needed */
    struct buf key;
    /* what the last failure said, for those who are refused */
    int status;
    uint8_t answered, needed;
    uint64_t probe, probe_since_us; /* the operation that probes, 0: none */
    uint64_t seen_us;               /* when it was last found to be so */
    uint64_t wanted_us;             /* when an operation last came */
    uint64_t pause_us;
    struct timer timer;
};

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t primaries_of(const struct client_op *op, uint64_t *nodes)
{
    const struct ring *ring = op->client->ring;
    uint32_t n = op->n != 0 ? op->n : ring_n(ring);
    n = n < NODES_MAX ? n : NODES_MAX;
    n = ring_preference_list(ring, ring_partition_of(ring, buf_slice(&op->key)), n, nodes, n);
    qsort(nodes, n, sizeof(*nodes), by_number);
    return n;
}

uint8_t client_need(const struct client_op *op)
{
    const struct ring *ring = op->client->ring;
    bool write = op->type == CLIENT_PUT || op->type == CLIENT_SYNC;
    if (op->need != 0)
        return op->need;
    return (uint8_t)(write ? ring_w(ring) : ring_r(ring));
}

/* The operation needs what the outage lacks, or more: what is out for a sloppy request is out for a
 * strict one. So it would fail while the outage lasts, and if it succeeds, that is over. */
static bool concerns(const struct client_outage *o, const struct client_op *op)
{
    return o->need <= client_need(op) && (o->sloppy == op->sloppy || op->sloppy == SLOPPY_NO);
}

static struct client_outage *find(const struct client_op *op)
{
    struct client *c = op->client;
    uint64_t nodes[NODES_MAX];
    if (list_empty(&c->outages))
        return NULL;
    uint32_t n = primaries_of(op, nodes);
    list_for_each_safe(it, tmp, &c->outages)
    {
        struct client_outage *o = container_of(it, struct client_outage, link);
        if (o->n_nodes == n && memcmp(o->nodes, nodes, n * sizeof(*nodes)) == 0 && concerns(o, op))
            return o;
    }
    return NULL;
}

static void unlink_outage(struct client_outage *o)
{
    struct client *c = o->client;
    list_remove(&o->link);
    c->n_outages--;
    timer_cancel(c->timers, &o->timer);
    if (o->probe != 0)
        client_op_cancel(c, o->probe);
}

static void outage_free(struct client_outage *o)
{
    buf_release(&o->key);
    free(o);
}

/* Those that it has held go on: it is named, and so must not be freed, until they have. */
static void end(struct client_outage *o)
{
    unlink_outage(o);
    client_ops_release_held(o->client, o);
    outage_free(o);
}

static void on_probed(void *arg, const struct get_reply *reply)
{
    struct client_outage *o = arg;
    struct client *c = o->client;
    uint64_t now = client_now(c);
    o->probe = 0;
    if (client_is_outage(reply->status)) {
        o->status = reply->status;
        o->answered = reply->answered;
        o->needed = reply->needed;
        o->seen_us = now;
        o->pause_us = o->pause_us * 2 < PAUSE_MAX_US ? o->pause_us * 2 : PAUSE_MAX_US;
        if (now - o->wanted_us < IDLE_US)
            timer_set(c->timers, &o->timer, now + o->pause_us);
        client_ops_refuse_held(c, o);
        return;
    }
    end(o);
}

static void probe(struct client_outage *o)
{
    struct client *c = o->client;
    assert(o->probe == 0);
    timer_cancel(c->timers, &o->timer);
    struct get_request q = {.key = buf_slice(&o->key), .want = GET_META};
    q.opt.n = o->n;
    q.opt.r = o->need;
    q.opt.sloppy = o->sloppy;
    q.opt.timeout_ms = PROBE_US / 1000;
    o->probe_since_us = client_now(c);
    o->probe = client_op_probe(c, &q, on_probed, o);
}

static void on_timer(struct timer *t, void *arg)
{
    (void)t;
    probe(arg);
}

bool client_is_outage(int status)
{
    return status == DYN_ERR_TIMEOUT || status == DYN_ERR_NO_QUORUM ||
           status == DYN_ERR_UNREACHABLE;
}

void client_outage_begin(const struct client_op *op, int status)
{
    struct client *c = op->client;
    if (find(op) != NULL || c->n_outages == OUTAGES_MAX)
        return;
    struct client_outage *o = mem_new(struct client_outage);
    o->client = c;
    o->n_nodes = primaries_of(op, o->nodes);
    o->n = op->n;
    o->need = client_need(op);
    o->sloppy = op->sloppy;
    buf_put_slice(&o->key, buf_slice(&op->key));
    o->status = status;
    o->answered = op->answered;
    o->needed = op->needed;
    o->seen_us = o->wanted_us = client_now(c);
    o->pause_us = PAUSE_US / 2;
    timer_init(&o->timer, on_timer, o);
    list_append(&c->outages, &o->link);
    c->n_outages++;
    probe(o);
}

void client_outage_over(const struct client_op *op)
{
    struct client *c = op->client;
    uint64_t nodes[NODES_MAX];
    if (list_empty(&c->outages))
        return;
    uint32_t n = primaries_of(op, nodes);
    list_for_each_safe(it, tmp, &c->outages)
    {
        struct client_outage *o = container_of(it, struct client_outage, link);
        if (o->n_nodes == n && memcmp(o->nodes, nodes, n * sizeof(*nodes)) == 0 &&
            concerns(o, op)) {
            end(o);
        }
    }
}

/* Without a ring there are no nodes to name: the whole cluster is out. */
static enum client_gate gate_without_ring(struct client *c, uint64_t *until_us)
{
    if (c->ringless_us == 0)
        return CLIENT_GATE_OPEN;
    *until_us = client_now(c) + HOLD_US;
    return CLIENT_GATE_HOLD;
}

enum client_gate client_outage_gate(const struct client_op *op, struct client_outage **which,
                                    uint64_t *until_us)
{
    struct client *c = op->client;
    *which = NULL;
    if (c->ring == NULL)
        return gate_without_ring(c, until_us);
    struct client_outage *o = find(op);
    if (o == NULL)
        return CLIENT_GATE_OPEN;
    uint64_t now = client_now(c);
    *which = o;
    o->wanted_us = now;
    if (o->probe == 0) {
        if (now - o->seen_us < FRESH_US) {
            if (!timer_is_set(&o->timer))
                timer_set(c->timers, &o->timer, now + o->pause_us);
            return CLIENT_GATE_SHUT;
        }
        probe(o);
    }
    *until_us = o->probe_since_us + HOLD_US;
    return now < *until_us ? CLIENT_GATE_HOLD : CLIENT_GATE_SHUT;
}

int client_outage_status(const struct client_outage *o, uint8_t *answered, uint8_t *needed)
{
    *answered = o->answered;
    *needed = o->needed;
    return o->status;
}

void client_outages_clear(struct client *c)
{
    list_for_each_safe(it, tmp, &c->outages)
    {
        struct client_outage *o = container_of(it, struct client_outage, link);
        end(o);
    }
}

void client_outages_free(struct client *c)
{
    list_for_each_safe(it, tmp, &c->outages)
    {
        struct client_outage *o = container_of(it, struct client_outage, link);
        unlink_outage(o);
        outage_free(o);
    }
}
