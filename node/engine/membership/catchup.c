/* SPDX-License-Identifier: Apache-2.0 */
/* See catchup.h.
 *
 * A disk may be older than what its node has answered for: it was restored from a backup, emptied,
 * or lost power before it had synced. Such a node would answer "not found" for what it has
 * acknowledged, and two of three could outvote the one who knows. So its copies are merged and
 * repaired like all others, and its acknowledgements of writes count, for these are new; but its
 * answers to reads do not.
 *
 *   UNCONFIRMED --others have said how often this node has started--> CURRENT, or CATCHING_UP
 *   any         --a later start is known than the disk remembers----> CATCHING_UP (noted on disk)
 *   CATCHING_UP --level with enough others in each partition--------> CURRENT (the note goes)
 *
 * Enough: an acknowledged write is on W of the N owners, of whom this node may be one, so N - W + 1
 * of the others must have been compared with, or all of them when they are fewer. A partition votes
 * again as soon as that is so; peers that are down or gone keep it waiting, and a change of
 * membership that drops them ends that. Whoever has nobody to ask, as the only owner, votes; and
 * the only member has caught up: what it has lost nobody has. */
#include "engine/membership/catchup.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/trees/exchange.h"

#define ROW "catchup"

enum catchup_state { UNCONFIRMED, CATCHING_UP, CURRENT };

struct levelled { /* which partitions have been made level with a peer */
    uint64_t node;
    uint8_t *bits;
};

struct catchup {
    struct engine *e;
    enum catchup_state state;
    bool noted; /* the row is on disk, or on its way there */
    bool writing, wanted;
    struct levelled *peers;
    uint32_t n_peers;
    struct store_get get;
    struct store_write write;
    void (*loaded)(void *arg, int err);
    void *loaded_arg;
    bool lost_tail;
};

struct catchup *catchup_new(struct engine *e)
{
    struct catchup *c = mem_new(struct catchup);
    c->e = e;
    return c;
}

static void forget_peers(struct catchup *c)
{
    for (uint32_t i = 0; i < c->n_peers; i++)
        free(c->peers[i].bits);
    free(c->peers);
    c->peers = NULL;
    c->n_peers = 0;
}

void catchup_free(struct catchup *c)
{
    if (c == NULL)
        return;
    forget_peers(c);
    free(c);
}

/* ---- the note on disk -------------------------------------------------------------------- */

static void write_note(struct catchup *c);

static void on_written(struct store_write *req, int err)
{
    struct catchup *c = req->arg;
    void (*loaded)(void *, int) = c->loaded;
    c->writing = false;
    c->loaded = NULL;
    if (c->noted != c->wanted && err == DYN_OK)
        write_note(c);
    if (loaded != NULL)
        loaded(c->loaded_arg, err);
}

/* Synced, either way: a note that goes must not go before what was fetched is on disk, and one log
 * holds both. */
static void write_note(struct catchup *c)
{
    struct engine *e = c->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    if (c->writing)
        return;
    if (c->wanted)
        store_batch_put(&b, STORE_LOCAL, slice_str(ROW), slice_str("1"));
    else
        store_batch_delete(&b, STORE_LOCAL, slice_str(ROW));
    c->noted = c->wanted;
    c->write = (struct store_write){.done = on_written, .arg = c};
    c->writing = true;
    int err = e->ports.store.write(e->ports.store.ctx, &b, STORE_SYNCED, &c->write);
    store_batch_release(&b);
    if (err != DYN_OK)
        on_written(&c->write, err);
}

static void note(struct catchup *c, bool wanted)
{
    c->wanted = wanted;
    if (c->noted != wanted)
        write_note(c);
}

/* Without gossip, and for who is alone, nobody could confirm anything. */
static bool can_ask(const struct engine *e)
{
    return e->cfg.gossip_us != 0 && ring_member_count(e->ring) > 1;
}

static void on_loaded(struct store_get *req, int err, struct slice value)
{
    struct catchup *c = req->arg;
    void (*loaded)(void *, int) = c->loaded;
    (void)value;
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND) {
        c->loaded = NULL;
        loaded(c->loaded_arg, err);
        return;
    }
    c->noted = c->wanted = err == DYN_OK;
    if (c->noted || c->lost_tail)
        c->state = CATCHING_UP;
    else
        c->state = can_ask(c->e) ? UNCONFIRMED : CURRENT;
    if (c->noted || c->state != CATCHING_UP) {
        c->loaded = NULL;
        loaded(c->loaded_arg, DYN_OK);
    } else {
        note(c, true);
    }
}

void catchup_load(struct catchup *c, bool lost_tail, void (*done)(void *arg, int err), void *arg)
{
    struct engine *e = c->e;
    c->loaded = done;
    c->loaded_arg = arg;
    c->lost_tail = lost_tail;
    c->get = (struct store_get){
        .family = STORE_LOCAL, .key = slice_str(ROW), .done = on_loaded, .arg = c};
    e->ports.store.get(e->ports.store.ctx, &c->get);
}

void catchup_begin(struct catchup *c)
{
    forget_peers(c);
    c->state = CATCHING_UP;
    note(c, true);
    exchanges_hasten_all(c->e->exchanges);
    catchup_look(c);
}

void catchup_confirmed(struct catchup *c)
{
    if (c->state == UNCONFIRMED)
        c->state = CURRENT;
}

bool catchup_is_confirmed(const struct catchup *c)
{
    return c->state != UNCONFIRMED;
}

bool catchup_under_way(const struct catchup *c)
{
    return c->state == CATCHING_UP;
}

/* ---- who is level with whom -------------------------------------------------------------- */

static struct levelled *find(const struct catchup *c, uint64_t node)
{
    for (uint32_t i = 0; i < c->n_peers; i++)
        if (c->peers[i].node == node)
            return &c->peers[i];
    return NULL;
}

void catchup_level(struct catchup *c, uint64_t peer, uint32_t partition)
{
    struct levelled *l = find(c, peer);
    assert(partition < ring_q(c->e->ring));
    if (c->state != CATCHING_UP)
        return;
    if (l == NULL) {
        c->peers = mem_reallocarray(c->peers, c->n_peers + 1, sizeof(*c->peers));
        l = &c->peers[c->n_peers++];
        *l = (struct levelled){peer, mem_zalloc(ring_q(c->e->ring) / 8 + 1)};
    }
    l->bits[partition / 8] |= (uint8_t)(1u << partition % 8);
}

static bool is_level(const struct catchup *c, uint64_t peer, uint32_t partition)
{
    const struct levelled *l = find(c, peer);
    return l != NULL && (l->bits[partition / 8] & 1u << partition % 8);
}

struct standing { /* of this node in one partition */
    bool owner, votes;
};

static struct standing standing_in(const struct catchup *c, uint32_t partition)
{
    const struct engine *e = c->e;
    uint64_t nodes[N_MAX];
    uint32_t voters = ring_voters(e->ring, partition, ring_n(e->ring)), level = 0, others = 0;
    struct standing s = {.owner = false};
    if (voters > N_MAX)
        voters = N_MAX;
    voters = ring_preference_list(e->ring, partition, ring_n(e->ring), nodes, voters);
    for (uint32_t i = 0; i < voters; i++) {
        s.owner |= nodes[i] == e->cfg.node;
        others += nodes[i] != e->cfg.node;
        level += nodes[i] != e->cfg.node && is_level(c, nodes[i], partition);
    }
    uint32_t w = ring_w(e->ring), need = w < voters ? voters - w + 1 : 1;
    if (!s.owner || others == 0 || c->state == CURRENT)
        s.votes = true; /* a stand-in's copy is taken for what it is */
    else
        s.votes = c->state == CATCHING_UP && level >= (need < others ? need : others);
    return s;
}

bool catchup_votes(const struct catchup *c, uint32_t partition)
{
    return c->state == CURRENT || standing_in(c, partition).votes;
}

uint32_t catchup_voteless(const struct catchup *c)
{
    uint32_t n = 0;
    for (uint32_t p = 0; c->state != CURRENT && p < ring_q(c->e->ring); p++) {
        struct standing s = standing_in(c, p);
        n += s.owner && !s.votes;
    }
    return n;
}

/* Is something of what is shared with the peer not level with it? */
static bool lacks(const struct catchup *c, uint64_t peer)
{
    const struct engine *e = c->e;
    for (uint32_t p = 0; p < ring_q(e->ring); p++) {
        uint64_t nodes[N_MAX];
        uint32_t n = ring_preference_list(e->ring, p, ring_n(e->ring), nodes, ring_n(e->ring));
        bool own = false, theirs = false;
        for (uint32_t i = 0; i < n; i++) {
            own |= nodes[i] == e->cfg.node;
            theirs |= nodes[i] == peer;
        }
        if (own && theirs && !is_level(c, peer, p))
            return true;
    }
    return false;
}

static void caught_up(struct catchup *c)
{
    c->state = CURRENT;
    forget_peers(c);
    note(c, false);
}

bool catchup_session_ended(struct catchup *c, uint64_t peer)
{
    if (c->state != CATCHING_UP)
        return false;
    if (catchup_voteless(c) > 0)
        return lacks(c, peer);
    caught_up(c);
    return false;
}

void catchup_look(struct catchup *c)
{
    const struct ring *ring = c->e->ring;
    bool alone = ring_member_count(ring) == 1 && ring_member_at(ring, 0)->node == c->e->cfg.node;
    if (c->state == CATCHING_UP && alone && catchup_voteless(c) == 0)
        caught_up(c);
}
