/* SPDX-License-Identifier: Apache-2.0 */
/* See repair.h.
 *
 *   READ own copy -> equal:        PULL (for values that went bad here) -> ENDED
 *                 -> theirs ahead: PULL (merge theirs here) -> ENDED
 *                 -> ours ahead:   PUSH (send ours there) -> ENDED
 *                 -> neither:      PULL -> READ again -> PUSH -> ENDED
 *
 * Values travel when the receiver says which it lacks, from whoever has them. The entry needs no
 * care when a side gets a state that the other had already: whoever made that state saw to its
 * entry (E17). A join that neither had owes it.
 *
 * What was written in the last moments is most likely on its way to everybody. To bring it there
 * twice would cost twice, so it is left for the next time. */
#include "engine/coordinate/repair.h"

#include <assert.h>

#include "base/err.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/entry_place.h"
#include "engine/fragments/fragments.h"
#include "engine/thin/thin.h"

#define YOUNG_MS 2000

enum { READ = 1, PULL, PUSH, ENDED };

static void end(struct repair *r, int err)
{
    r->stage = ENDED;
    r->done(r, err);
}

static bool young(const struct engine *e, const struct object *o)
{
    uint64_t now = engine_wall_ms(e);
    for (uint32_t i = 0; i < o->clock.n; i++) {
        uint64_t at = o->clock.pairs[i].time_ms;
        if (at <= now && now - at < YOUNG_MS)
            return true;
    }
    return false;
}

/* An object brings its entry along where the same node is a replica of both. */
static unsigned roles_at(const struct repair *r, uint64_t node, uint32_t fragment)
{
    if (r->kind == ROW_ENTRY)
        return ROLE_ENTRY;
    uint32_t n = ring_n(r->e->ring);
    return ROLE_OBJECT | (engine_roles(r->e, node, r->key, fragment, n) & ROLE_ENTRY);
}

static void read_own(struct repair *r);
static void push(struct repair *r);

static void on_delivered(struct delivery *d, int err)
{
    struct repair *r = d->arg;
    bool fetched = d->second;
    delivery_release(d);
    r->delivering = false;
    if (err != DYN_OK) {
        end(r, err);
        return;
    }
    r->changed = !r->equal || fetched;
    if (r->stage == PULL && r->joined)
        read_own(r);
    else
        end(r, DYN_OK);
}

/* After the peer itself, others may have what neither has. */
static void add_holders(struct repair *r)
{
    const struct engine *e = r->e;
    struct delivery *d = &r->delivery;
    uint64_t nodes[OWNERS_MAX];
    struct place at = place_of_row(e->ring, r->kind, r->key);
    uint32_t n = engine_owners(e, at.partition, ring_n(e->ring), nodes);
    for (uint32_t i = 0; i < n; i++)
        if (nodes[i] != r->node && d->n_holders < READ_QUORUM_NODES)
            d->holders[d->n_holders++] = nodes[i];
}

static void deliver(struct repair *r, int stage, uint64_t node, const struct object *o)
{
    struct engine *e = r->e;
    assert(stage > r->stage);
    r->stage = stage;
    uint32_t fragment = engine_fragment(e, r->key);
    struct slice key = r->key;
    if (r->kind == ROW_ENTRY)
        key = entry_id_split(r->key, &fragment);
    r->delivery = (struct delivery){.e = e,
                                    .key = key,
                                    .fragment = fragment,
                                    .object = o,
                                    .node = node,
                                    .roles = roles_at(r, node, fragment),
                                    .born_us = r->born_us,
                                    .owe_entry = r->joined && node == e->cfg.node,
                                    .heal = true,
                                    .n_holders = 1,
                                    .holders = {r->node},
                                    .timeout_us = e->cfg.replica_timeout_us,
                                    .done = on_delivered,
                                    .arg = r};
    add_holders(r);
    /* peers may be thin, and keepers lost */
    r->delivery.without_lost = r->kind == ROW_OBJECT && thin_possible(e, key);
    r->delivering = true;
    delivery_start(&r->delivery);
}

static void compare(struct repair *r)
{
    const struct object *own = &r->read.object, *theirs = &r->theirs;
    bool ours_ahead = clock_dominates(&own->clock, &theirs->clock);
    bool theirs_ahead = clock_dominates(&theirs->clock, &own->clock);
    r->equal = object_equal(own, theirs);
    if (r->equal && (r->kind == ROW_ENTRY || object_is_absent(own))) {
        end(r, DYN_OK);
    } else if (r->equal) {
        deliver(r, PULL, r->e->cfg.node, theirs);
    } else if (!r->young_too && (young(r->e, own) || young(r->e, theirs))) {
        r->skipped = true;
        end(r, DYN_OK);
    } else if (ours_ahead && !theirs_ahead) {
        push(r);
    } else {
        r->joined = !theirs_ahead || ours_ahead;
        deliver(r, PULL, r->e->cfg.node, theirs);
    }
}

static void push(struct repair *r)
{
    r->sending = true;
    deliver(r, PUSH, r->node, &r->read.object);
}

static void on_read(struct replica_read *read, int err)
{
    struct repair *r = read->arg;
    if (err != DYN_OK)
        end(r, err);
    else if (r->stage == READ)
        compare(r);
    else if (object_equal(&read->object, &r->theirs))
        end(r, DYN_OK);
    else
        push(r);
}

static void read_own(struct repair *r)
{
    if (r->reading)
        replica_read_release(&r->read);
    r->read = (struct replica_read){.e = r->e,
                                    .key = r->key,
                                    .load = LOAD_NONE,
                                    .entry = r->kind == ROW_ENTRY,
                                    .done = on_read,
                                    .arg = r};
    r->reading = true;
    replica_read_start(&r->read);
}

void repair_start(struct repair *r)
{
    r->stage = READ;
    r->changed = r->skipped = r->reading = r->delivering = r->joined = r->equal = r->sending =
        false;
    read_own(r);
}

void repair_release(struct repair *r)
{
    if (r->reading)
        replica_read_release(&r->read);
    if (r->delivering)
        delivery_release(&r->delivery);
    object_release(&r->theirs);
    r->reading = r->delivering = false;
}
