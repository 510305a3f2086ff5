/* SPDX-License-Identifier: Apache-2.0 */
/* See entry_check.h.
 *
 *   LOOK at the other row, here or at the first of its replicas that is up -> agrees, or young: end
 *     of an object: the entry is behind -> a debt is written: done
 *     of an entry:  the object is behind -> GATHER all N -> they have seen it: done
 *                                                        -> mend the entry everywhere: done
 *
 * A ghost that a replica kept, because it was down or had another state, is brought back by an
 * exchange and found again. Should the object turn up after all (with a hint), its delivery brings
 * the entry along. */
#include "engine/trees/entry_check.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/gather.h"
#include "engine/fragments/fragments.h"
#include "engine/peer_wire.h"
#include "engine/trees/exchange_wire.h"
#include "model/wire.h"

#define YOUNG_DELAYS 2 /* of owed_delay_us: until then coordinators and sweeps settle it */

/* ---- mending ----------------------------------------------------------------------------- */

struct mend {                     /* of this node's own row */
    struct background background; /* first */
    struct engine *e;
    uint64_t origin, rid; /* 0: nobody waits */
    uint8_t *key;
    struct entry_mend m;
    struct replica_write write;
    bool writing;
};

static void mend_free(struct mend *d)
{
    background_end(d->e, &d->background);
    if (d->writing)
        replica_write_release(&d->write);
    entry_mend_release(&d->m);
    free(d->key);
    free(d);
}

static void mend_abandon(struct background *b)
{
    mend_free(container_of(b, struct mend, background));
}

static void mend_reply(struct engine *e, uint64_t origin, uint64_t rid, int status)
{
    struct buf body = BUF_EMPTY;
    if (rid == 0)
        return;
    peer_status_encode(status, &body);
    e->ports.net.reply(e->ports.net.ctx, origin, rid, FRAME_ENTRY_MEND + FRAME_REPLY, &body);
}

static void on_mended(struct replica_write *w, int err)
{
    struct mend *d = w->arg;
    if (err == DYN_OK && w->changed)
        d->e->stats.scrub_ghosts++;
    mend_reply(d->e, d->origin, d->rid, err);
    mend_free(d);
}

static void mend_own(struct engine *e, uint64_t origin, uint64_t rid, const struct entry_mend *m)
{
    struct mend *d = mem_new(struct mend);
    d->e = e;
    d->origin = origin;
    d->rid = rid;
    d->key = mem_dup(m->key.data, m->key.len);
    d->m.key = slice_of(d->key, m->key.len);
    memcpy(d->m.state, m->state, DIGEST_LEN);
    object_copy(&d->m.object, &m->object);
    background_add(e, &d->background, mend_abandon);
    uint32_t fragment;
    struct slice key = entry_id_split(d->m.key, &fragment);
    d->write = (struct replica_write){.e = e,
                                      .key = key,
                                      .fragment = fragment,
                                      .roles = ROLE_ENTRY,
                                      .incoming = &d->m.object,
                                      .only_if = d->m.state,
                                      .done = on_mended,
                                      .arg = d};
    d->writing = true;
    replica_write_start(&d->write);
}

void entry_mend_serve(struct engine *e, uint64_t origin, uint64_t rid, struct slice body)
{
    struct entry_mend m;
    int err = entry_mend_decode(body, &m);
    if (err != DYN_OK) {
        mend_reply(e, origin, rid, err);
        return;
    }
    if (!e->serving || e->failed != DYN_OK)
        mend_reply(e, origin, rid, DYN_ERR_STOPPED);
    else if (!history_epoch_equal(&m.scope.ring, ring_epoch(e->ring)))
        mend_reply(e, origin, rid, DYN_ERR_REFUSED);
    else
        mend_own(e, origin, rid, &m);
    entry_mend_release(&m);
}

static void mend_everywhere(struct entry_check *c, const struct object *object)
{
    struct engine *e = c->e;
    struct entry_mend m = {.scope = {.ring = *ring_epoch(e->ring), .n = ring_n(e->ring)},
                           .key = c->key,
                           .object = OBJECT_EMPTY};
    uint64_t nodes[N_MAX];
    struct place at = place_of_entry(e->ring, c->key);
    uint32_t n = ring_preference_list(e->ring, at.partition, ring_n(e->ring), nodes, N_MAX);
    object_hash(c->object, m.state);
    object_project(object, &m.object);
    for (uint32_t i = 0; i < n && i < ring_n(e->ring); i++) {
        struct buf body = BUF_EMPTY;
        if (nodes[i] == e->cfg.node) {
            mend_own(e, 0, 0, &m);
            continue;
        }
        entry_mend_encode(&m, &body);
        engine_tell(e, nodes[i], FRAME_ENTRY_MEND, &body);
    }
    entry_mend_release(&m);
}

/* ---- the check --------------------------------------------------------------------------- */

static void end(struct entry_check *c)
{
    c->done(c);
}

static bool young(const struct engine *e, const struct object *o)
{
    uint64_t now = engine_wall_ms(e), age = YOUNG_DELAYS * e->cfg.owed_delay_us / 1000;
    for (uint32_t i = 0; i < o->clock.n; i++) {
        uint64_t at = o->clock.pairs[i].time_ms;
        if (at <= now && now - at < age)
            return true;
    }
    return false;
}

static bool shows_the_same(const struct object *entry, const struct object *object)
{
    if (object_live_count(entry) != object_live_count(object))
        return false;
    for (uint32_t i = 0; i < entry->n; i++)
        if (sibling_live(&entry->siblings[i]) &&
            object_find(object, &entry->siblings[i].dot) == NULL)
            return false;
    return true;
}

static void on_owed(struct store_write *req, int err)
{
    (void)err; /* then the next walk finds it */
    end(req->arg);
}

/* Its time is long ago, so that the next sweep settles it. */
static void owe(struct entry_check *c)
{
    struct engine *e = c->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf name = BUF_EMPTY, row = BUF_EMPTY;
    struct debt debt = {0};
    object_hash(c->object, debt.state);
    debt_encode(&debt, &row);
    row_debt(DEBT_ENTRY, ring_partition_of(e->ring, c->key), c->key, &name);
    store_batch_put(&b, STORE_HINT, buf_slice(&name), buf_slice(&row));
    c->write = (struct store_write){.done = on_owed, .arg = c};
    e->stats.scrub_owed++;
    int err = e->failed != DYN_OK
                  ? e->failed
                  : e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, &c->write);
    store_batch_release(&b);
    buf_release(&name);
    buf_release(&row);
    if (err != DYN_OK)
        end(c);
}

/* The entry has seen what all copies of its object together have not, or it has dropped what they
 * still hold (the loss of a drop, which mints no dot): no projection brings the two together. */
static bool is_ghost(const struct object *entry, const struct object *object)
{
    struct object joined = OBJECT_EMPTY, projection = OBJECT_EMPTY;
    object_copy(&joined, entry);
    object_project(object, &projection);
    entry_join(&joined, &projection);
    bool ghost =
        !clock_dominates(&object->clock, &entry->clock) || !shows_the_same(&joined, object);
    object_release(&joined);
    object_release(&projection);
    return ghost;
}

static void on_gathered(void *arg, const struct gather_result *result)
{
    struct entry_check *c = arg;
    if (result->status == DYN_OK && result->answered == ring_n(c->e->ring) &&
        is_ghost(c->object, result->object) && c->e->failed == DYN_OK)
        mend_everywhere(c, result->object);
    end(c);
}

static void gather_all(struct entry_check *c)
{
    const struct request_options options = {.r = (uint8_t)ring_n(c->e->ring), .sloppy = SLOPPY_NO};
    struct slice key = buf_slice(&c->other);
    struct gather_params p = {.key = key, .values = VALUE_NONE, .done = on_gathered, .arg = c};
    if (engine_quorum(c->e, &options, key, &p.quorum) != DYN_OK)
        end(c);
    else
        gather_start(c->e, &p);
}

static void judge(struct entry_check *c, const struct object *other)
{
    const struct object *entry = c->kind == ROW_ENTRY ? c->object : other;
    const struct object *object = c->kind == ROW_ENTRY ? other : c->object;
    bool behind = !clock_dominates(&entry->clock, &object->clock);
    bool ahead = !clock_dominates(&object->clock, &entry->clock);
    bool differs = !behind && !ahead && !shows_the_same(entry, object);
    if (young(c->e, entry) || young(c->e, object))
        end(c);
    else if (c->kind == ROW_OBJECT && (behind || differs))
        owe(c);
    else if (c->kind == ROW_ENTRY && (ahead || differs))
        gather_all(c);
    else
        end(c);
}

static void on_read(struct replica_read *r, int err)
{
    struct entry_check *c = r->arg;
    struct object other = r->object;
    r->object = OBJECT_EMPTY;
    c->reading = false;
    replica_read_release(r);
    if (err == DYN_OK)
        judge(c, &other);
    else
        end(c);
    object_release(&other);
}

static void on_reply(struct rpc_call *call, int err, struct slice body)
{
    struct entry_check *c = call->arg;
    struct peer_get_reply reply;
    if (err == DYN_OK)
        err = peer_get_reply_decode(body, &reply);
    if (err != DYN_OK) {
        end(c);
        return;
    }
    struct object other = reply.object;
    reply.object = OBJECT_EMPTY;
    err = reply.status;
    peer_get_reply_release(&reply);
    if (err == DYN_OK)
        judge(c, &other);
    else
        end(c);
    object_release(&other);
}

/* The first of a partition's replicas that is up; `own` is preferred, 0: none is. */
static uint64_t first_up(const struct engine *e, uint32_t partition, bool prefer_own)
{
    uint64_t nodes[N_MAX], first = 0;
    uint32_t n = ring_preference_list(e->ring, partition, ring_n(e->ring), nodes, N_MAX);
    for (uint32_t i = 0; i < n && i < ring_n(e->ring); i++) {
        bool own = nodes[i] == e->cfg.node;
        if (own && prefer_own)
            return nodes[i];
        if (first == 0 && (own || detector_up(e->detector, nodes[i])))
            first = nodes[i];
    }
    return first;
}

/* False where there is nothing to compare: a head is no entry of an object's own, and an entry that
 * is on its way to another fragment is looked at there. */
static bool find_other(struct entry_check *c)
{
    uint32_t fragment;
    if (c->kind == ROW_OBJECT) {
        entry_id(engine_fragment(c->e, c->key), c->key, &c->other);
        return true;
    }
    struct slice key = entry_id_split(c->key, &fragment);
    if (entry_key_is_head(key) || engine_fragment(c->e, key) != fragment)
        return false;
    buf_put_slice(&c->other, key);
    return true;
}

void entry_check_start(struct entry_check *c)
{
    struct engine *e = c->e;
    bool entry = c->kind == ROW_OBJECT; /* what is looked at */
    c->reading = false;
    c->call = (struct rpc_call){0};
    c->other = BUF_EMPTY;
    if (!find_other(c)) {
        end(c);
        return;
    }
    struct slice other = buf_slice(&c->other);
    struct place own = place_of_row(e->ring, c->kind, c->key);
    struct place theirs = place_of_row(e->ring, entry ? ROW_ENTRY : ROW_OBJECT, other);
    uint64_t at = first_up(e, theirs.partition, true);
    if (at == 0 || first_up(e, own.partition, false) != e->cfg.node) {
        end(c);
    } else if (at == e->cfg.node) {
        c->read = (struct replica_read){
            .e = e, .key = other, .load = LOAD_NONE, .entry = entry, .done = on_read, .arg = c};
        c->reading = true;
        replica_read_start(&c->read);
    } else {
        const struct peer_get m = {
            .ring = *ring_epoch(e->ring), .load = LOAD_NONE, .entry = entry, .key = other};
        struct buf body = BUF_EMPTY;
        peer_get_encode(&m, &body);
        c->call = (struct rpc_call){.done = on_reply, .arg = c};
        rpc_start(e->rpc, &c->call, at, FRAME_REPLICA_GET, &body, e->cfg.replica_timeout_us);
    }
}

void entry_check_release(struct entry_check *c)
{
    if (c->reading)
        replica_read_release(&c->read);
    rpc_cancel(c->e->rpc, &c->call);
    buf_release(&c->other);
    c->reading = false;
}
