/* SPDX-License-Identifier: Apache-2.0 */
/* See direct.h. A client sees here what a coordinator would have shown it, from one replica instead
 * of R: the object, the values it asks for, and a token for just that (E3). It is answered by
 * those who vote only, and where they and the client know the same owners: anybody else would
 * count towards R without having a vote (E10, E13). What a stand-in holds is found by the
 * coordinators of nodes, to whom the client turns when primaries fail.
 *
 * A client that saw replicas differ says so to one of them. Nothing of what it says is believed:
 * the node reads the key at all N by itself and repairs whoever is behind, itself too. */
#include "engine/coordinate/direct.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/gather.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/fragments.h"

#define REPAIRS_MAX 64u /* at a time; what is not repaired now is found by the next read */

struct direct {
    struct background background; /* first */
    struct engine *e;
    uint64_t origin, rid;
    struct buf body; /* what q borrows from */
    struct direct_get q;
    struct replica_read read;
    bool reading;
};

static void direct_free(struct direct *d)
{
    background_end(d->e, &d->background);
    d->e->stats.in_flight--;
    if (d->reading)
        replica_read_release(&d->read);
    buf_release(&d->body);
    free(d);
}

static void abandon(struct background *b)
{
    direct_free(container_of(b, struct direct, background));
}

static uint64_t fence_of(const struct engine *e, struct slice key)
{
    return ring_fence(e->ring, ring_partition_of(e->ring, key));
}

static void answer(struct direct *d, int status)
{
    struct engine *e = d->e;
    struct buf token = BUF_EMPTY, body = BUF_EMPTY;
    struct direct_reply p = {
        .status = status, .ring = *ring_epoch(e->ring), .fence = fence_of(e, d->q.key)};
    if (status == DYN_OK) {
        p.implicit_dir = d->read.implicit_dir;
        p.dir_mtime_ns = d->read.dir_mtime_ns;
        p.object = d->read.object;
        if (!object_is_absent(&p.object))
            token_make(e->mac, ring_cluster(e->ring), d->q.key, &p.object, &token);
        p.token = buf_slice(&token);
    }
    direct_reply_encode(&p, &body);
    buf_release(&token);
    e->ports.net.reply(e->ports.net.ctx, d->origin, d->rid, FRAME_DIRECT_GET + FRAME_REPLY, &body);
    direct_free(d);
}

static void on_read(struct replica_read *r, int err)
{
    answer(r->arg, err);
}

/* Who fills the partition, or catches up, holds some of it and has no vote. */
static bool votes(const struct engine *e, struct slice key, uint32_t n)
{
    uint64_t nodes[N_MAX];
    uint32_t partition = ring_partition_of(e->ring, key);
    uint32_t voters = ring_voters(e->ring, partition, n);
    voters = ring_preference_list(e->ring, partition, n, nodes, voters);
    for (uint32_t i = 0; i < voters; i++)
        if (nodes[i] == e->cfg.node)
            return engine_votes(e, ROW_OBJECT, key);
    return false;
}

static int check(const struct engine *e, uint64_t fence, struct slice key, uint8_t n, uint8_t r)
{
    struct quorum quorum;
    const struct request_options opt = {.n = n, .r = r};
    if (!e->serving || e->stopping || e->failed != DYN_OK)
        return DYN_ERR_STOPPED;
    if (fence != fence_of(e, key))
        return DYN_ERR_REFUSED;
    int err = engine_quorum(e, &opt, key, &quorum);
    if (err != DYN_OK)
        return err;
    uint32_t usual = ring_r(e->ring) < quorum.n ? ring_r(e->ring) : quorum.n;
    /* Rules that the client cannot know (of R, or how versions are shown) are a coordinator's. */
    bool as_client_thinks = (r != 0 || quorum.r == usual) && quorum.reconcile <= RECONCILE_SIBLINGS;
    /* Nor does a client ask the fragments of a directory for what changed there. */
    if (!votes(e, key, quorum.n) || !as_client_thinks || fragments_listed(e, key) > 1)
        return DYN_ERR_REFUSED;
    return e->stats.in_flight > e->cfg.requests_max ? DYN_ERR_OVERLOAD : DYN_OK;
}

void direct_get_frame(struct engine *e, uint64_t origin, uint64_t rid, struct slice body)
{
    static const enum load loads[] = {[GET_META] = LOAD_NONE,
                                      [GET_NEWEST] = LOAD_NEWEST,
                                      [GET_ALL] = LOAD_ALL,
                                      [GET_DOT] = LOAD_DOTS};
    struct direct *d = mem_new(struct direct);
    d->e = e;
    d->origin = origin;
    d->rid = rid;
    buf_put_slice(&d->body, body);
    background_add(e, &d->background, abandon);
    e->stats.in_flight++;
    int err = direct_get_decode(buf_slice(&d->body), &d->q);
    if (err == DYN_OK)
        err = check(e, d->q.fence, d->q.key, d->q.n, d->q.r);
    if (err != DYN_OK) {
        answer(d, err);
        return;
    }
    e->stats.direct_gets++;
    d->read = (struct replica_read){.e = e,
                                    .key = d->q.key,
                                    .load = loads[d->q.want],
                                    .dots = &d->q.value_dot,
                                    .n_dots = d->q.want == GET_DOT,
                                    .dir_info = true,
                                    .done = on_read,
                                    .arg = d};
    d->reading = true;
    replica_read_start(&d->read);
}

static void on_gathered(void *arg, const struct gather_result *result)
{
    struct engine *e = arg;
    (void)result; /* the gather goes on to repair by itself */
    e->told_behind--;
}

void direct_behind_frame(struct engine *e, struct slice body)
{
    struct behind q;
    const struct request_options opt = {0};
    if (behind_decode(body, &q) != DYN_OK || check(e, q.fence, q.key, 0, 0) != DYN_OK ||
        e->told_behind >= REPAIRS_MAX)
        return;
    struct gather_params p = {.key = q.key, .values = VALUE_NONE, .done = on_gathered, .arg = e};
    if (engine_quorum(e, &opt, q.key, &p.quorum) != DYN_OK)
        return;
    p.quorum.r = p.quorum.n;
    p.quorum.sloppy = false;
    e->told_behind++;
    e->stats.told_behind++;
    gather_start(e, &p);
}
