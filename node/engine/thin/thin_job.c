/* SPDX-License-Identifier: Apache-2.0 */
/* See thin_job.h.
 *
 *   READ -> [let go]  ASK each of the first n owners -> all hold them: WRITE (thin from now on)
 *        -> [fetch]   DELIVER to this node, from whoever of the owners has them
 *
 * The ring's generation is that of the question: see thin.h for why. */
#include "engine/thin/thin_job.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/replication.h"
#include "engine/peer_wire.h"
#include "engine/replica/debts.h"

static void end(struct thin_job *j, enum thin_outcome outcome)
{
    j->done(j, outcome);
}

uint32_t thin_rank(const struct engine *e, uint32_t partition)
{
    uint64_t nodes[N_MAX];
    uint32_t n = ring_n(e->ring) < N_MAX ? ring_n(e->ring) : N_MAX;
    if (ring_move(e->ring, partition) != NULL)
        return N_MAX;
    n = ring_preference_list(e->ring, partition, n, nodes, n);
    for (uint32_t i = 0; i < n; i++)
        if (nodes[i] == e->cfg.node)
            return i;
    return N_MAX;
}

static bool holds(const struct sibling *s, const struct row_state *state)
{
    return sibling_live(s) && s->size > 0 && !row_state_lacks(state, &s->value_dot);
}

bool thin_has_surplus(const struct engine *e, const struct place *at, struct slice key,
                      const struct object *o, const struct row_state *s)
{
    bool some = false;
    for (uint32_t i = 0; i < o->n && !some; i++)
        some = holds(&o->siblings[i], s);
    return some && thin_possible(e, key) && thin_rank(e, at->partition) >= thin_copies(e, key);
}

bool thin_is_to_hold(const struct engine *e, uint32_t partition, struct slice key, bool wanted)
{
    if (ring_move(e->ring, partition) != NULL)
        return wanted;
    uint32_t rank = thin_rank(e, partition);
    return rank < N_MAX && rank < thin_copies(e, key);
}

/* ---- letting go -------------------------------------------------------------------------- */

static void on_written(struct replica_write *w, int err)
{
    struct thin_job *j = w->arg;
    j->e->stats.thin_let_go += err == DYN_OK ? j->n_dots : 0;
    end(j, err == DYN_OK ? THIN_DONE : THIN_LATER);
}

static void let_go(struct thin_job *j)
{
    j->nothing = OBJECT_EMPTY;
    j->write = (struct replica_write){.e = j->e,
                                      .key = buf_slice(&j->key),
                                      .roles = ROLE_OBJECT,
                                      .incoming = &j->nothing,
                                      .thin = j->dots,
                                      .n_thin = j->n_dots,
                                      .generation = j->generation,
                                      .thin_if = j->asked,
                                      .done = on_written,
                                      .arg = j};
    j->writing = true;
    replica_write_start(&j->write);
}

static void answered(struct thin_job *j)
{
    if (--j->active > 0)
        return;
    bool agreed = j->agreed == j->n_calls || j->e->cfg.bug == BUG_UNASKED_THIN;
    if (agreed && j->generation == j->e->generation)
        let_go(j);
    else
        end(j, THIN_LATER);
}

static void on_answer(struct rpc_call *call, int err, struct slice body)
{
    struct thin_job *j = call->arg;
    int status = DYN_OK;
    if (err == DYN_OK)
        err = peer_status_decode(body, &status);
    j->agreed += err == DYN_OK && status == DYN_OK;
    answered(j);
}

static void ask(struct thin_job *j, uint64_t node)
{
    struct engine *e = j->e;
    const struct peer_holds m = {.ring = *ring_epoch(e->ring),
                                 .fence = ring_fence(e->ring, j->at.partition),
                                 .key = buf_slice(&j->key),
                                 .dots = j->dots,
                                 .n_dots = j->n_dots,
                                 .clock = j->read.object.clock};
    struct buf body = BUF_EMPTY;
    struct rpc_call *call = &j->calls[j->n_calls++];
    peer_holds_encode(&m, &body);
    *call = (struct rpc_call){.done = on_answer, .arg = j};
    j->active++;
    rpc_start(e->rpc, call, node, FRAME_HOLDS, &body, e->cfg.replica_timeout_us);
}

static void ask_keepers(struct thin_job *j, uint32_t copies)
{
    struct engine *e = j->e;
    uint64_t nodes[N_MAX];
    uint32_t n = ring_preference_list(e->ring, j->at.partition, copies, nodes, copies);
    bool up = n == copies;
    for (uint32_t i = 0; i < n; i++)
        up = up && detector_up(e->detector, nodes[i]);
    if (!up) {
        end(j, THIN_LATER);
        return;
    }
    object_hash(&j->read.object, j->asked);
    j->active = 1; /* this function */
    for (uint32_t i = 0; i < n; i++)
        ask(j, nodes[i]);
    answered(j);
}

/* As many values as a keeper reads for one question; the next look is about the others. */
static void choose_dots(struct thin_job *j)
{
    const struct object *o = &j->read.object;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        const struct sibling *s = &o->siblings[i];
        if (!holds(s, &j->read.state))
            continue;
        if (bytes > 0 && bytes + sibling_value_len(s) > j->e->cfg.frame_values_max)
            break;
        bytes += sibling_value_len(s);
        j->dots[j->n_dots++] = s->value_dot;
    }
}

static void look_at_surplus(struct thin_job *j)
{
    struct engine *e = j->e;
    const struct object *o = &j->read.object;
    uint32_t copies = thin_copies(e, buf_slice(&j->key)), rank = thin_rank(e, j->at.partition);
    bool moves = ring_move(e->ring, j->at.partition) != NULL;
    j->dots = mem_reallocarray(NULL, o->n + 1, sizeof(*j->dots));
    if (rank < N_MAX && rank >= copies)
        choose_dots(j);
    if (j->n_dots > 0) {
        ask_keepers(j, copies);
    } else if (moves) {
        end(j, THIN_LATER);
    } else {
        debts_forget(e, DEBT_SURPLUS, buf_slice(&j->key), j->state);
        end(j, THIN_DONE);
    }
}

/* ---- fetching ---------------------------------------------------------------------------- */

static void on_delivered(struct delivery *d, int err)
{
    struct thin_job *j = d->arg;
    j->full = err == DYN_OK && d->n_gone == 0;
    j->e->stats.thin_fetched += j->full;
    end(j, err == DYN_OK ? THIN_DONE : THIN_LATER);
}

static void fetch(struct thin_job *j)
{
    struct engine *e = j->e;
    uint64_t owners[OWNERS_MAX];
    uint32_t n = engine_owners(e, j->at.partition, ring_n(e->ring), owners);
    j->delivery = (struct delivery){.e = e,
                                    .key = buf_slice(&j->key),
                                    .object = &j->read.object,
                                    .node = e->cfg.node,
                                    .roles = ROLE_OBJECT,
                                    .sync = true, /* others may go on the strength of it (E11) */
                                    .heal = true,
                                    .heal_thin = true,
                                    .without_lost = true, /* and the others are fetched */
                                    .timeout_us = e->cfg.replica_timeout_us,
                                    .done = on_delivered,
                                    .arg = j};
    for (uint32_t i = 0; i < n && j->delivery.n_holders < READ_QUORUM_NODES; i++)
        if (owners[i] != e->cfg.node)
            j->delivery.holders[j->delivery.n_holders++] = owners[i];
    j->delivering = true;
    delivery_start(&j->delivery);
}

static void look_at_thin(struct thin_job *j)
{
    if (j->read.state.n_thin == 0) { /* now, or its row was replaced */
        j->full = true;
        end(j, THIN_DONE);
    } else if (thin_is_to_hold(j->e, j->at.partition, buf_slice(&j->key), j->wanted)) {
        fetch(j);
    } else {
        end(j, THIN_DONE);
    }
}

/* ---- the row ----------------------------------------------------------------------------- */

static void on_read(struct replica_read *r, int err)
{
    struct thin_job *j = r->arg;
    if (err != DYN_OK)
        end(j, THIN_LATER);
    else if (j->kind == DEBT_SURPLUS)
        look_at_surplus(j);
    else
        look_at_thin(j);
}

void thin_job_start(struct thin_job *j)
{
    struct engine *e = j->e;
    j->at = place_of(e->ring, buf_slice(&j->key));
    j->generation = e->generation;
    j->dots = NULL;
    j->n_dots = j->n_calls = j->active = j->agreed = 0;
    j->writing = j->delivering = j->full = false;
    j->read = (struct replica_read){
        .e = e, .key = buf_slice(&j->key), .load = LOAD_NONE, .done = on_read, .arg = j};
    j->reading = true;
    replica_read_start(&j->read);
}

void thin_job_release(struct thin_job *j)
{
    for (uint32_t i = 0; i < j->n_calls; i++)
        rpc_cancel(j->e->rpc, &j->calls[i]);
    j->n_calls = 0;
    if (j->reading)
        replica_read_release(&j->read);
    if (j->writing)
        replica_write_release(&j->write);
    if (j->delivering)
        delivery_release(&j->delivery);
    j->reading = j->writing = j->delivering = false;
    free(j->dots);
    j->dots = NULL;
    buf_release(&j->key);
}
