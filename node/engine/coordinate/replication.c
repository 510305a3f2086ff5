/* SPDX-License-Identifier: Apache-2.0 */
/* See replication.h. Every node that should have the write is a target:
 *
 *   SENDING --acknowledged--> HOLDS (counted towards W of its roles)
 *   SENDING --failed, or thought down--> FAILED, and for each of its roles the next healthy node of
 *   that role's preference list becomes a target that stands in with a hint; when there is none,
 *   this node keeps the hint itself, which counts for nothing
 *   FAILED --a primary that can be reached again, before it is settled--> SENDING
 *
 * Settled when W of each role hold it, or when nobody is left who could. Then it goes on until
 * every target has ended: the write is on its way to all N, or a hint for whoever missed it is on a
 * disk. */
#include "engine/coordinate/replication.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/delivery.h"
#include "engine/fragments/entry_place.h"
#include "engine/membership/catchup.h"
#include "engine/replica/debts.h"
#include "model/key.h"

#define LIST_MAX 64
#define TARGETS_MAX 48
#define LARGE_VALUE (256u << 10)
#define RETRY_US 100000u /* between looks for who is back */

enum target_state { SENDING, HOLDS, FAILED };

struct target {
    struct replication *r;
    uint64_t node;
    unsigned roles;
    uint64_t hint_for;
    bool counts;
    bool covered; /* silent for a replica timeout: somebody stands in, the answer still counts */
    bool away;    /* FAILED, because it could not be reached */
    enum target_state state;
    struct delivery delivery;
};

struct preference {
    uint64_t nodes[LIST_MAX];
    uint32_t n, voters, next_standin;
    uint64_t other[MOVES_N_MAX]; /* while the partition moves: the row that W of must hold it too */
    uint32_t n_other;
};

struct replication {
    struct background background; /* first */
    struct engine *e;
    struct replication_params p;
    uint8_t *key;
    struct object object;
    struct clock cut;
    uint8_t state_hash[DIGEST_LEN];
    struct preference lists[2]; /* by role_index */
    struct target *targets[TARGETS_MAX];
    uint32_t n_targets, n_sending;
    uint64_t generation; /* of the ring that the lists are of */
    bool self_pending, self_holds, parent_dead, starting, settled, overdue, entries_done;
    struct timer deadline, patience, retry, first_check;
};

static void check(struct replication *r);
static void refresh(struct replication *r);

static unsigned role_index(unsigned role)
{
    return role == ROLE_OBJECT ? 0 : 1;
}

static void replication_free(struct replication *r)
{
    background_end(r->e, &r->background);
    timer_cancel(r->e->ports.timers, &r->deadline);
    timer_cancel(r->e->ports.timers, &r->patience);
    timer_cancel(r->e->ports.timers, &r->retry);
    timer_cancel(r->e->ports.timers, &r->first_check);
    for (uint32_t i = 0; i < r->n_targets; i++) {
        delivery_release(&r->targets[i]->delivery);
        free(r->targets[i]);
    }
    object_release(&r->object);
    clock_release(&r->cut);
    free(r->key);
    free(r);
}

static void abandon(struct background *b)
{
    replication_free(container_of(b, struct replication, background));
}

/* ---- who has it -------------------------------------------------------------------------- */

static bool in_row(const uint64_t *row, uint32_t n, uint64_t node)
{
    for (uint32_t i = 0; i < n; i++)
        if (row[i] == node)
            return true;
    return false;
}

static bool self_counts(const struct replication *r, unsigned role)
{
    return r->self_holds && (r->p.self_roles & r->p.roles & role) &&
           (r->p.self_hint_for == 0 || r->p.quorum.sloppy);
}

/* How many hold it who are in the row, or stand in for somebody who is. */
static uint32_t holders_for(const struct replication *r, unsigned role, const uint64_t *row,
                            uint32_t n)
{
    uint32_t held = 0;
    if (self_counts(r, role)) {
        bool stands_in = role == ROLE_OBJECT && r->p.self_hint_for != 0;
        held += in_row(row, n, stands_in ? r->p.self_hint_for : r->e->cfg.node);
    }
    for (uint32_t i = 0; i < r->n_targets; i++) {
        const struct target *t = r->targets[i];
        if (t->state == HOLDS && t->counts && (t->roles & role))
            held += in_row(row, n, t->hint_for != 0 ? t->hint_for : t->node);
    }
    return held;
}

static uint32_t at_most(uint32_t v, uint32_t max)
{
    return v < max ? v : max;
}

/* W of those who vote and, while the partition moves, W of the other row (E13). A row that is
 * shorter than W, because nodes were removed, is met when all of it is. */
static bool role_met(const struct replication *r, unsigned role)
{
    const struct preference *l = &r->lists[role_index(role)];
    uint32_t w = r->p.quorum.w;
    if (!(r->p.roles & role))
        return true;
    if (holders_for(r, role, l->nodes, l->voters) < at_most(w, l->voters))
        return false;
    return l->n_other == 0 || holders_for(r, role, l->other, l->n_other) >= at_most(w, l->n_other);
}

/* ---- entry debts ------------------------------------------------------------------------- */

static bool entries_settled(const struct replication *r)
{
    return (r->p.roles & ROLE_ENTRY) && role_met(r, ROLE_ENTRY);
}

/* A debt goes only on synced entries (E11); with weaker durability the sweep settles it. */
static bool clears_debts(const struct replication *r)
{
    return r->p.owe_entry && !r->p.keep_debts && r->p.quorum.durability == DURABILITY_QUORUM;
}

static void clear_at_holders(struct replication *r)
{
    for (uint32_t i = 0; i < r->n_targets; i++) {
        const struct target *t = r->targets[i];
        if (t->state == HOLDS && (t->roles & ROLE_OBJECT))
            debts_clear_entry_at(r->e, t->node, r->p.key, r->state_hash);
    }
    if (r->self_holds && (r->p.self_roles & ROLE_OBJECT))
        debts_clear_entry_at(r->e, r->e->cfg.node, r->p.key, r->state_hash);
}

/* ---- targets ----------------------------------------------------------------------------- */

static void target_failed(struct target *t);

/* Somebody else holds it: its state is set before. */
static void count(struct replication *r)
{
    if (r->entries_done || !clears_debts(r) || !entries_settled(r))
        return;
    r->entries_done = true;
    clear_at_holders(r);
}

static void on_delivered(struct delivery *d, int err)
{
    struct target *t = d->arg;
    struct replication *r = t->r;
    r->n_sending--;
    if (err != DYN_OK) {
        t->state = FAILED;
        t->away = err == DYN_ERR_UNREACHABLE || err == DYN_ERR_TIMEOUT;
        if (!t->covered)
            target_failed(t);
    } else {
        bool late = r->entries_done && (t->roles & ROLE_OBJECT);
        t->state = HOLDS;
        r->parent_dead |= d->parent_dead;
        count(r);
        if (late)
            debts_clear_entry_at(r->e, t->node, r->p.key, r->state_hash);
    }
    check(r);
}

/* With `one` some copy of the object is on a disk before the write counts (Dynamo, section 6.1):
 * this node's own, if it makes any, else that of the first who is asked and has not failed. */
static bool somebody_syncs(const struct replication *r)
{
    if (r->self_holds || r->self_pending)
        return true;
    for (uint32_t i = 0; i < r->n_targets; i++) {
        const struct target *t = r->targets[i];
        if (t->state != FAILED && !t->covered && t->counts && t->delivery.sync)
            return true;
    }
    return false;
}

static bool wants_sync(const struct replication *r, unsigned roles)
{
    switch (r->p.quorum.durability) {
    case DURABILITY_QUORUM:
        return true;
    case DURABILITY_ONE:
        return (roles & ROLE_OBJECT) && !somebody_syncs(r);
    default:
        return false;
    }
}

/* Who may have values that this node lacks: it may spread what it has only read. */
static void add_holders(const struct replication *r, struct delivery *d)
{
    const struct preference *l = &r->lists[role_index(ROLE_OBJECT)];
    for (uint32_t i = 0; i < l->n && d->n_holders < READ_QUORUM_NODES; i++)
        if (l->nodes[i] != d->node)
            d->holders[d->n_holders++] = l->nodes[i];
}

static void target_send(struct target *t)
{
    struct replication *r = t->r;
    t->state = SENDING;
    t->delivery = (struct delivery){.e = r->e,
                                    .key = r->p.key,
                                    .fragment = r->p.fragment,
                                    .object = &r->object,
                                    .node = t->node,
                                    .roles = t->roles,
                                    .hint_for = t->hint_for,
                                    .extended = &r->p.extended,
                                    .cut = &r->cut,
                                    .born_us = r->p.born_us,
                                    .sync = wants_sync(r, t->roles),
                                    .owe_entry = r->p.owe_entry && (t->roles & ROLE_OBJECT),
                                    .timeout_us = r->p.quorum.timeout_us,
                                    .done = on_delivered,
                                    .arg = t};
    add_holders(r, &t->delivery);
    r->n_sending++;
    delivery_start(&t->delivery);
}

static void target_start(struct replication *r, uint64_t node, unsigned roles, uint64_t hint_for,
                         bool counts)
{
    struct engine *e = r->e;
    /* The last places are for hints that this node keeps itself. */
    uint32_t room = node == e->cfg.node ? TARGETS_MAX : TARGETS_MAX - 2 * N_MAX;
    if (r->n_targets >= room)
        return;
    struct target *t = mem_new(struct target);
    *t = (struct target){.r = r,
                         .node = node,
                         .roles = roles,
                         .hint_for = hint_for,
                         .counts = counts,
                         .state = FAILED};
    r->targets[r->n_targets++] = t;
    t->delivery = (struct delivery){.e = e, .full = OBJECT_EMPTY};
    if (node != e->cfg.node && !detector_up(e->detector, node)) {
        t->state = FAILED;
        t->away = true;
        target_failed(t);
        return;
    }
    target_send(t);
}

/* A hint that this node only keeps for lack of a stand-in is no copy: it may be a primary too. */
static bool holds_or_tries(const struct replication *r, uint64_t node, unsigned role)
{
    if (node == r->e->cfg.node && (r->p.self_roles & role))
        return true;
    for (uint32_t i = 0; i < r->n_targets; i++)
        if (r->targets[i]->counts && r->targets[i]->node == node && (r->targets[i]->roles & role))
            return true;
    return false;
}

/* The next healthy node of the role's list that does not have the write already; 0: none. */
static uint64_t next_standin(struct replication *r, unsigned role)
{
    struct preference *list = &r->lists[role_index(role)];
    while (r->p.quorum.sloppy && list->next_standin < list->n) {
        uint64_t node = list->nodes[list->next_standin++];
        bool up = node == r->e->cfg.node || detector_up(r->e->detector, node);
        if (up && !holds_or_tries(r, node, role))
            return node;
    }
    return 0;
}

static void stand_in(struct replication *r, unsigned role, uint64_t primary)
{
    uint64_t node = next_standin(r, role);
    if (node != 0)
        target_start(r, node, role, primary, true);
    else if (!hints_full(r->e->hints))
        target_start(r, r->e->cfg.node, role, primary, false);
}

static void target_failed(struct target *t)
{
    struct replication *r = t->r;
    if (t->node == r->e->cfg.node)
        return; /* this node's own disk refused: nobody keeps hints for that */
    bool was_starting = r->starting;
    r->starting = true;
    uint64_t primary = t->hint_for != 0 ? t->hint_for : t->node;
    for (unsigned role = ROLE_OBJECT; role <= ROLE_ENTRY; role <<= 1)
        if (t->roles & role)
            stand_in(r, role, primary);
    r->starting = was_starting;
}

/* ---- settling ---------------------------------------------------------------------------- */

/* With `one` some copy is synced; this node's own write always is. */
static bool durable(const struct replication *r)
{
    if (r->p.quorum.durability != DURABILITY_ONE || !(r->p.roles & ROLE_OBJECT) || r->self_holds)
        return true;
    for (uint32_t i = 0; i < r->n_targets; i++) {
        const struct target *t = r->targets[i];
        if (t->state == HOLDS && (t->roles & ROLE_OBJECT) && t->counts && t->delivery.sync)
            return true;
    }
    return false;
}

static bool met(const struct replication *r)
{
    bool entry_counts = r->p.wait_entry || !(r->p.roles & ROLE_OBJECT);
    return durable(r) && role_met(r, ROLE_OBJECT) && (!entry_counts || role_met(r, ROLE_ENTRY));
}

static void settle(struct replication *r, int err)
{
    r->settled = true;
    timer_cancel(r->e->ports.timers, &r->deadline);
    timer_cancel(r->e->ports.timers, &r->retry);
    if (r->p.settled != NULL)
        r->p.settled(r->p.arg, err);
}

/* W have it, and somebody keeps a hint for whoever is silent: nothing more is to be waited for. */
static void give_up_silent(struct replication *r)
{
    for (uint32_t i = 0; i < r->n_targets; i++) {
        struct target *t = r->targets[i];
        bool storage_will_call = t->delivery.fetching && t->delivery.fetch.reading;
        if (t->state != SENDING || !t->covered || storage_will_call)
            continue;
        delivery_release(&t->delivery);
        t->delivery.full = OBJECT_EMPTY;
        t->delivery.fetching = false;
        t->state = FAILED;
        r->n_sending--;
    }
}

static void check(struct replication *r)
{
    if (r->starting || timer_is_set(&r->first_check))
        return;
    refresh(r);
    if (!r->settled && met(r))
        settle(r, DYN_OK);
    else if (!r->settled && r->n_sending == 0 && !r->self_pending)
        settle(r, DYN_ERR_NO_QUORUM);
    if (r->settled)
        give_up_silent(r);
    if (r->n_sending == 0 && !r->self_pending)
        replication_free(r);
}

static void on_first_check(struct timer *t, void *arg)
{
    (void)t;
    check(arg);
}

/* Whoever has been silent for a replica timeout gets a stand-in; its own answer still counts until
 * the deadline, for a disk may stall and a network may be slow. */
/* A chunk takes longer than what is small, on the wire and on a disk that others use too. */
static uint64_t patience_us(const struct replication *r)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < r->object.n; i++)
        bytes += r->object.siblings[i].value == NULL ? 0 : r->object.siblings[i].value->len;
    return r->e->cfg.replica_timeout_us * (bytes >= LARGE_VALUE ? 4 : 1);
}

static void on_patience(struct timer *timer, void *arg)
{
    struct replication *r = arg;
    struct engine *e = r->e;
    uint32_t n = r->n_targets; /* not the stand-ins that are added here */
    for (uint32_t i = 0; i < n; i++) {
        struct target *t = r->targets[i];
        if (t->state != SENDING || t->covered || t->node == e->cfg.node)
            continue;
        t->covered = true;
        if (rpc_active(&t->delivery.call))
            engine_note_silence(e, &t->delivery.call);
        target_failed(t);
    }
    if (r->n_targets > n)
        timer_set(e->ports.timers, timer, engine_now(e) + e->cfg.replica_timeout_us);
    check(r);
}

/* A primary that was away is perhaps the one that is missing: what stands in for it stays. */
static void on_retry(struct timer *timer, void *arg)
{
    struct replication *r = arg;
    struct engine *e = r->e;
    timer_set(e->ports.timers, timer, engine_now(e) + RETRY_US);
    bool was_starting = r->starting;
    r->starting = true;
    for (uint32_t i = 0, n = r->n_targets; i < n; i++) {
        struct target *t = r->targets[i];
        if (t->state != FAILED || !t->away || t->hint_for != 0 ||
            !detector_up(e->detector, t->node))
            continue;
        t->away = false;
        t->covered = true;
        delivery_release(&t->delivery);
        target_send(t);
    }
    r->starting = was_starting;
    check(r);
}

static void on_deadline(struct timer *t, void *arg)
{
    (void)t;
    struct replication *r = arg;
    if (!r->settled)
        settle(r, DYN_ERR_NO_QUORUM);
    check(r);
}

/* ---- starting ---------------------------------------------------------------------------- */

static void load_list(struct replication *r, unsigned role, uint32_t p)
{
    struct preference *list = &r->lists[role_index(role)];
    struct ring *ring = r->e->ring;
    uint32_t n = r->p.quorum.n;
    list->n = ring_preference_list(ring, p, n, list->nodes, LIST_MAX);
    list->next_standin = list->voters = ring_voters(ring, p, n);
    list->n_other = ring_other_row(ring, p, n, list->other);
}

static void load_lists(struct replication *r)
{
    r->generation = r->e->generation;
    struct ring *ring = r->e->ring;
    load_list(r, ROLE_OBJECT, ring_partition_of(ring, r->p.key));
    load_list(r, ROLE_ENTRY,
              place_of_fragment(ring, key_parent(r->p.key), r->p.fragment).partition);
}

static bool is_primary(const struct replication *r, unsigned role, uint64_t node)
{
    const struct preference *list = &r->lists[role_index(role)];
    return (r->p.roles & role) &&
           (in_row(list->nodes, list->voters, node) || in_row(list->other, list->n_other, node));
}

static void start_primary(struct replication *r, uint64_t node)
{
    unsigned roles = 0;
    for (unsigned role = ROLE_OBJECT; role <= ROLE_ENTRY; role <<= 1)
        if (is_primary(r, role, node) && !holds_or_tries(r, node, role))
            roles |= role;
    if (node == r->p.self_hint_for)
        roles &= ~(unsigned)ROLE_OBJECT; /* this node stands in for it */
    if (roles != 0)
        target_start(r, node, roles, 0, true);
}

static void start_primaries(struct replication *r)
{
    for (unsigned i = 0; i < 2; i++) {
        for (uint32_t k = 0; k < r->lists[i].voters; k++)
            start_primary(r, r->lists[i].nodes[k]);
        for (uint32_t k = 0; k < r->lists[i].n_other; k++)
            start_primary(r, r->lists[i].other[k]);
    }
}

/* The ring has changed under way: whoever is an owner now must have the write too. */
static void refresh(struct replication *r)
{
    if (r->generation == r->e->generation || r->starting)
        return;
    load_lists(r);
    r->starting = true;
    start_primaries(r);
    r->starting = false;
}

struct replication *replication_start(struct engine *e, const struct replication_params *p)
{
    struct replication *r = mem_new(struct replication);
    r->e = e;
    r->p = *p;
    r->key = mem_dup(p->key.data, p->key.len);
    r->p.key = slice_of(r->key, p->key.len);
    if (p->born_us == 0)
        r->p.born_us = engine_now(e);
    r->object = OBJECT_EMPTY;
    object_copy(&r->object, p->object);
    if (p->owe_entry)
        object_hash(&r->object, r->state_hash);
    if (p->cut != NULL) { /* receivers join all that was covered, and then cut along */
        clock_copy(&r->cut, p->cut);
        clock_join(&r->object.clock, p->cut);
    }
    r->self_pending = p->self_roles != 0;
    if (r->p.key.len == 0)
        r->p.roles &= ~(unsigned)ROLE_ENTRY;
    load_lists(r);
    timer_init(&r->deadline, on_deadline, r);
    timer_init(&r->first_check, on_first_check, r);
    timer_init(&r->patience, on_patience, r);
    timer_init(&r->retry, on_retry, r);
    timer_set(e->ports.timers, &r->patience, engine_now(e) + patience_us(r));
    timer_set(e->ports.timers, &r->retry, engine_now(e) + RETRY_US);
    timer_set(e->ports.timers, &r->deadline, engine_now(e) + p->quorum.timeout_us);
    background_add(e, &r->background, abandon);
    r->starting = true;
    start_primaries(r);
    r->starting = false;
    if (met(r) || (r->n_sending == 0 && !r->self_pending))
        timer_set(e->ports.timers, &r->first_check, engine_now(e));
    return r;
}

/* This node's own disk refused: others must have what it was to hold, with a hint for it. */
static void replace_self(struct replication *r)
{
    unsigned roles = r->p.self_roles & r->p.roles;
    uint64_t primary = r->p.self_hint_for;
    r->p.self_roles = 0;
    r->p.self_hint_for = 0;
    r->starting = true;
    if (primary != 0) { /* it was thought down; nobody has tried it for this write */
        target_start(r, primary, ROLE_OBJECT, 0, true);
        roles &= ~(unsigned)ROLE_OBJECT;
    }
    for (unsigned role = ROLE_OBJECT; role <= ROLE_ENTRY; role <<= 1) {
        uint64_t node = roles & role ? next_standin(r, role) : 0;
        if (node != 0 && node != r->e->cfg.node)
            target_start(r, node, role, r->e->cfg.node, true);
    }
    r->starting = false;
}

void replication_self(struct replication *r, int err, bool parent_dead)
{
    assert(r->self_pending);
    r->self_pending = false;
    if (err == DYN_OK) {
        bool late = r->entries_done;
        r->self_holds = true;
        r->parent_dead |= parent_dead;
        count(r);
        if (late)
            debts_clear_entry_at(r->e, r->e->cfg.node, r->p.key, r->state_hash);
    } else {
        replace_self(r);
    }
    check(r);
}

void replication_forget(struct replication *r)
{
    assert(!r->settled);
    r->p.settled = NULL;
}

uint32_t replication_acks(const struct replication *r)
{
    unsigned role = r->p.roles & ROLE_OBJECT ? ROLE_OBJECT : ROLE_ENTRY;
    const struct preference *l = &r->lists[role_index(role)];
    return holders_for(r, role, l->nodes, l->voters);
}

bool replication_parent_dead(const struct replication *r)
{
    return r->parent_dead;
}

uint32_t replication_holders(const struct replication *r, uint64_t *nodes, uint32_t cap)
{
    uint32_t n = 0;
    if (r->self_holds && n < cap)
        nodes[n++] = r->e->cfg.node;
    for (uint32_t i = 0; i < r->n_targets && n < cap; i++)
        if (r->targets[i]->state == HOLDS && (r->targets[i]->roles & ROLE_OBJECT))
            nodes[n++] = r->targets[i]->node;
    return n;
}

bool engine_has_entry(struct slice key)
{
    return key.len != 0 && !key_internal(key);
}

bool engine_is_owner(const struct engine *e, uint64_t node, uint32_t partition, uint32_t n)
{
    uint64_t nodes[N_MAX], other[MOVES_N_MAX];
    uint32_t voters = ring_voters(e->ring, partition, n);
    ring_preference_list(e->ring, partition, n, nodes, n);
    return in_row(nodes, voters, node) ||
           in_row(other, ring_other_row(e->ring, partition, n, other), node);
}

bool engine_votes(const struct engine *e, enum row_kind kind, struct slice id)
{
    return catchup_votes(e->catchup, place_of_row(e->ring, kind, id).partition);
}

bool engine_owns(const struct engine *e, uint32_t partition)
{
    return engine_is_owner(e, e->cfg.node, partition, ring_n(e->ring));
}

static uint32_t entry_partition(const struct engine *e, struct slice key, uint32_t fragment)
{
    return place_of_fragment(e->ring, key_parent(key), fragment).partition;
}

unsigned engine_roles(const struct engine *e, uint64_t node, struct slice key, uint32_t fragment,
                      uint32_t n)
{
    unsigned roles = 0;
    if (engine_is_owner(e, node, ring_partition_of(e->ring, key), n))
        roles |= ROLE_OBJECT;
    if (engine_has_entry(key) && engine_is_owner(e, node, entry_partition(e, key, fragment), n))
        roles |= ROLE_ENTRY;
    return roles;
}

uint32_t engine_owners(const struct engine *e, uint32_t partition, uint32_t n,
                       uint64_t nodes[OWNERS_MAX])
{
    uint64_t other[MOVES_N_MAX];
    struct ring *ring = e->ring;
    ring_preference_list(ring, partition, n, nodes, n);
    uint32_t have = ring_voters(ring, partition, n);
    uint32_t n_other = ring_other_row(ring, partition, n, other);
    for (uint32_t i = 0; i < n_other; i++)
        if (!in_row(nodes, have, other[i]))
            nodes[have++] = other[i];
    return have;
}

bool replication_same_nodes(const struct engine *e, struct slice key, uint32_t fragment, uint32_t n)
{
    uint64_t object[OWNERS_MAX], entry[OWNERS_MAX];
    if (!engine_has_entry(key))
        return true;
    uint32_t a = engine_owners(e, ring_partition_of(e->ring, key), n, object);
    uint32_t b = engine_owners(e, entry_partition(e, key, fragment), n, entry);
    uint32_t common = 0;
    for (uint32_t i = 0; i < a; i++)
        common += in_row(entry, b, object[i]);
    return a == b && common == a;
}
