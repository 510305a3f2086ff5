/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_cluster.h. */
#include "sim_cluster.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

static uint64_t node_mono(void *ctx)
{
    const struct sim_node *node = ctx;
    return node->cluster->world->now_us + node->mono_offset_us;
}

static uint64_t node_wall(void *ctx)
{
    const struct sim_node *node = ctx;
    struct time_port world = sim_world_time(node->cluster->world);
    return world.wall_ns(world.ctx) + (uint64_t)node->wall_offset_ns;
}

static void disk_failed(void *arg, int err)
{
    struct sim_node *node = arg;
    sim_log(node->cluster->world, "node  %u disk failed: %s", node->index, dyn_err_code(err));
    if (node->engine != NULL)
        engine_store_failed(node->engine, err);
    node->exiting = true; /* the program exits; not inside the engine's own call */
}

/* The ring of members 1 to n, as a history of joins that all were born with. */
static struct ring *make_ring(const struct sim_cluster *c)
{
    struct history h = HISTORY_EMPTY;
    struct member_event ev = {.stamp = 1,
                              .type = MEMBER_CREATE,
                              .cluster = c->cfg.cluster != 0 ? c->cfg.cluster : 0xc1057e5,
                              .q = c->cfg.q,
                              .n = c->cfg.n,
                              .r = c->cfg.r,
                              .w = c->cfg.w};
    const char *rule = NULL;
    int err = history_add(&h, &ev, &rule);
    uint32_t members = c->cfg.members != 0 ? c->cfg.members : c->cfg.nodes;
    for (uint32_t i = 0; i < members && err == DYN_OK; i++) {
        char address[32];
        snprintf(address, sizeof(address), "127.0.0.1:%u", SIM_PORT + i);
        ev = (struct member_event){.stamp = 2 + i,
                                   .node = c->nodes[i].id,
                                   .type = MEMBER_JOIN,
                                   .weight = 100,
                                   .address = address};
        err = history_add(&h, &ev, &rule);
    }
    struct ring *ring = NULL;
    if (err == DYN_OK)
        err = ring_build(&h, &ring);
    if (err != DYN_OK) {
        fprintf(stderr, "no ring: %s (%s)\n", dyn_err_message(err), rule != NULL ? rule : "");
        abort();
    }
    history_release(&h);
    return ring;
}

struct sim_cluster *sim_cluster_new(struct sim_world *w, const struct sim_cluster_config *cfg)
{
    assert(cfg->nodes >= 1 && cfg->nodes <= SIM_NODES_MAX);
    struct sim_cluster *c = mem_new(struct sim_cluster);
    struct sim_random ids;
    c->world = w;
    c->cfg = *cfg;
    c->net = sim_net_new(w);
    sim_random_init(&ids, w->seed, "ids", 0);
    for (uint32_t i = 0; i < cfg->nodes; i++) {
        struct sim_node *node = &c->nodes[i];
        node->cluster = c;
        node->index = i;
        node->id = sim_random_u64(&ids) | 1u << 31; /* above the names of seeds */
        sim_random_init(&node->random, w->seed, "node", i);
        node->mono_offset_us = sim_random_below(&ids, 1000 * (uint64_t)SIM_SECOND);
        timers_init(&node->timers);
        node->disk = sim_disk_new(w, i, disk_failed, node);
        sim_disk_buffer(node->disk, cfg->object_buffer);
    }
    c->ring = make_ring(c);
    c->known = ring_ref(c->ring);
    return c;
}

void sim_cluster_free(struct sim_cluster *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->cfg.nodes; i++) {
        sim_node_crash(&c->nodes[i], CRASH_KILL);
        sim_disk_free(c->nodes[i].disk);
        timers_release(&c->nodes[i].timers);
    }
    sim_net_free(c->net);
    ring_unref(c->ring);
    ring_unref(c->known);
    free(c);
}

static void node_ready(void *arg, int err)
{
    struct sim_node *node = arg;
    sim_event(node->cluster->world, "ready", node->index, (uint64_t)-err, 0, slice_of(NULL, 0));
    sim_log(node->cluster->world, "node  %u ready: %s", node->index, dyn_err_code(err));
    if (err == DYN_OK)
        node->state = NODE_UP;
    else
        node->exiting = true;
}

void sim_node_start(struct sim_node *node)
{
    struct sim_cluster *c = node->cluster;
    if (node->state != NODE_DOWN || node->lost)
        return;
    bool clean = sim_disk_clean(node->disk);
    sim_event(c->world, "start", node->index, clean, 0, slice_of(NULL, 0));
    sim_log(c->world, "node  %u starts after a%s stop", node->index,
            clean ? " clean" : "n unclean");
    struct engine_config cfg = c->cfg.engine;
    cfg.node = node->id;
    cfg.secret = slice_str(SIM_SECRET);
    const struct engine_ports ports = {
        .store = sim_disk_port(node->disk),
        .net = sim_net_port(c->net, node->index),
        .time = {node, node_mono, node_wall},
        .random = sim_random_port(&node->random),
        .timers = &node->timers,
    };
    node->state = NODE_STARTING;
    node->life++;
    node->exiting = node->drained = false;
    node->engine = engine_new(&cfg, &ports, c->ring);
    struct net_events events = engine_events(node->engine);
    sim_net_attach(c->net, node->index, node->id, &events);
    engine_start(node->engine, sim_disk_lost_tail(node->disk), node_ready, node);
}

/* The process is gone, whatever it was doing. */
static void node_down(struct sim_node *node, bool refused)
{
    struct sim_cluster *c = node->cluster;
    node->state = NODE_DOWN;
    node->exiting = false;
    sim_net_detach(c->net, node->index, refused);
    if (c->gone != NULL)
        c->gone(c->gone_arg, node);
    struct engine_stats s;
    engine_stats(node->engine, &s);
    c->reaped += s.reaped;
    if (ring_epoch(engine_ring(node->engine))->length > ring_epoch(c->known)->length) {
        ring_unref(c->known);
        c->known = ring_ref(engine_ring(node->engine));
    }
    engine_free(node->engine);
    node->engine = NULL;
    timers_release(&node->timers);
}

void sim_node_crash(struct sim_node *node, enum sim_crash how)
{
    if (node->state == NODE_DOWN)
        return;
    sim_event(node->cluster->world, "crash", node->index, how, 0, slice_of(NULL, 0));
    sim_log(node->cluster->world, "node  %u %s", node->index,
            how == CRASH_KILL ? "killed" : "loses power");
    sim_disk_crash(node->disk, how);
    node_down(node, how == CRASH_KILL);
}

static void node_drained(void *arg)
{
    struct sim_node *node = arg;
    sim_event(node->cluster->world, "drained", node->index, 0, 0, slice_of(NULL, 0));
    node->drained = node->exiting =
        true; /* it ends at the next step, outside the engine's own call */
}

void sim_node_stop(struct sim_node *node)
{
    if (node->state != NODE_UP)
        return;
    sim_event(node->cluster->world, "stop", node->index, 0, 0, slice_of(NULL, 0));
    sim_log(node->cluster->world, "node  %u stops", node->index);
    node->state = NODE_STOPPING;
    engine_stop(node->engine, node_drained, node);
}

/* A program that exits after its engine has drained flushes its store and leaves the clean marker.
 */
static void end_exiting(struct sim_cluster *c)
{
    for (uint32_t i = 0; i < c->cfg.nodes; i++) {
        struct sim_node *node = &c->nodes[i];
        if (!node->exiting)
            continue;
        sim_log(c->world, "node  %u exits%s", i, node->drained ? ", drained" : "");
        if (node->drained)
            sim_disk_stop(node->disk);
        else
            sim_disk_crash(node->disk, CRASH_KILL);
        node_down(node, true);
    }
}

/* When a node's next timer is due, in simulated time. */
static uint64_t node_next(const struct sim_node *node)
{
    uint64_t when = timers_next(&node->timers);
    if (when == UINT64_MAX)
        return when;
    return when > node->mono_offset_us ? when - node->mono_offset_us : 0;
}

bool sim_cluster_step(struct sim_cluster *c, uint64_t until_us)
{
    uint64_t next = timers_next(&c->world->timers);
    struct sim_node *of = NULL;
    for (uint32_t i = 0; i < c->cfg.nodes; i++) {
        uint64_t when = node_next(&c->nodes[i]);
        if (when < next) {
            next = when;
            of = &c->nodes[i];
        }
    }
    if (next > until_us) {
        if (c->world->now_us < until_us)
            c->world->now_us = until_us;
        return false;
    }
    if (next > c->world->now_us)
        c->world->now_us = next;
    if (of == NULL) {
        timers_run(&c->world->timers, c->world->now_us);
    } else {
        sim_event(c->world, "timer", of->index, 0, 0, slice_of(NULL, 0));
        timers_run(&of->timers, c->world->now_us + of->mono_offset_us);
    }
    end_exiting(c);
    return true;
}

void sim_cluster_run(struct sim_cluster *c, uint64_t for_us)
{
    uint64_t until = c->world->now_us + for_us;
    while (sim_cluster_step(c, until))
        ;
}

uint32_t sim_cluster_up(const struct sim_cluster *c)
{
    uint32_t up = 0;
    for (uint32_t i = 0; i < c->cfg.nodes; i++)
        up += c->nodes[i].state == NODE_UP;
    return up;
}

uint64_t sim_cluster_reaped(const struct sim_cluster *c)
{
    uint64_t n = c->reaped;
    for (uint32_t i = 0; i < c->cfg.nodes; i++) {
        struct engine_stats s;
        if (c->nodes[i].engine == NULL)
            continue;
        engine_stats(c->nodes[i].engine, &s);
        n += s.reaped;
    }
    return n;
}

uint64_t sim_cluster_tombstones(const struct sim_cluster *c)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < c->cfg.nodes; i++) {
        struct engine_stats s;
        if (c->nodes[i].state != NODE_UP)
            continue;
        engine_stats(c->nodes[i].engine, &s);
        n += s.tombstones;
    }
    return n;
}

struct ring *sim_cluster_ring(const struct sim_cluster *c)
{
    struct ring *best = c->ring;
    for (uint32_t i = 0; i < c->cfg.nodes; i++) {
        if (c->nodes[i].engine == NULL)
            continue;
        struct ring *r = engine_ring(c->nodes[i].engine);
        if (ring_epoch(r)->length > ring_epoch(best)->length)
            best = r;
    }
    return best;
}

bool sim_cluster_agrees(const struct sim_cluster *c)
{
    const struct ring *best = sim_cluster_ring(c);
    for (uint32_t i = 0; i < c->cfg.nodes; i++) {
        const struct sim_node *n = &c->nodes[i];
        if (n->state == NODE_UP &&
            !history_epoch_equal(ring_epoch(engine_ring(n->engine)), ring_epoch(best)))
            return false;
    }
    return ring_moving(best) == 0;
}

struct member_event sim_join_of(const struct sim_cluster *c, uint32_t index, uint64_t replaces,
                                char address[32])
{
    snprintf(address, 32, "127.0.0.1:%u", SIM_PORT + index);
    return (struct member_event){.type = MEMBER_JOIN,
                                 .node = c->nodes[index].id,
                                 .weight = 100,
                                 .address = address,
                                 .replaces = replaces};
}

bool sim_cluster_change(struct sim_cluster *c, uint32_t node, const struct member_event *part,
                        void (*done)(void *arg, int err), void *arg)
{
    struct sim_node *n = &c->nodes[node];
    struct plan plan = PLAN_EMPTY;
    struct plan_outcome outcome;
    const char *rule = NULL;
    bool taken = false;
    if (n->state != NODE_UP)
        return false;
    struct ring *ring = engine_ring(n->engine);
    if (plan_stage(&plan, ring, part, &rule) == DYN_OK &&
        plan_outcome(&plan, ring, n->id, &outcome) == DYN_OK) {
        taken = outcome.refused == NULL;
        sim_log(c->world, "node  %u proposes a change of type %d: %s", node, (int)part->type,
                taken ? "planned" : outcome.refused);
        if (taken)
            engine_propose(n->engine, &outcome.change, done, arg);
        plan_outcome_release(&outcome);
    }
    plan_release(&plan);
    return taken;
}

void sim_node_lose(struct sim_node *node)
{
    sim_node_crash(node, CRASH_KILL);
    sim_event(node->cluster->world, "lost", node->index, 0, 0, slice_of(NULL, 0));
    sim_log(node->cluster->world, "node  %u is lost, with its disk", node->index);
    sim_disk_restore(node->disk, NULL);
    node->lost = true;
}

uint32_t sim_cluster_lost(const struct sim_cluster *c)
{
    uint32_t lost = 0;
    for (uint32_t i = 0; i < c->cfg.nodes; i++)
        lost += c->nodes[i].lost;
    return lost;
}

static const struct sim_node *wound_in(const struct sim_cluster *c, const struct ring *ring)
{
    for (uint32_t i = 0; i < c->cfg.nodes; i++)
        if (c->nodes[i].lost && ring_contact(ring, c->nodes[i].id) != NULL)
            return &c->nodes[i];
    return NULL;
}

const struct sim_node *sim_cluster_wound(const struct sim_cluster *c)
{
    return wound_in(c, sim_cluster_ring(c));
}

bool sim_cluster_may_lose(const struct sim_cluster *c, const struct sim_node *node)
{
    const struct ring *ring = sim_cluster_ring(c);
    if (ring_epoch(c->known)->length > ring_epoch(ring)->length)
        ring = c->known;
    return wound_in(c, ring) == NULL && ring_moving(ring) == 0 && sim_cluster_agrees(c) &&
           ring_member_find(ring, node->id) != NULL && ring_member_count(ring) > ring_n(ring);
}

bool sim_cluster_mend(struct sim_cluster *c, uint32_t node, void (*done)(void *arg, int err),
                      void *arg)
{
    const struct sim_node *wound = sim_cluster_wound(c);
    const struct ring *ring = sim_cluster_ring(c);
    struct member_event part = {.type = MEMBER_REMOVE};
    char address[32];
    if (wound == NULL)
        return false;
    part.node = wound->id;
    for (uint32_t i = 0; i < c->cfg.nodes; i++)
        if (c->nodes[i].state == NODE_UP && ring_member_find(ring, c->nodes[i].id) == NULL &&
            !ring_banned(ring, c->nodes[i].id) && ring_member_find(ring, wound->id) != NULL)
            part = sim_join_of(c, i, wound->id, address);
    return sim_cluster_change(c, node, &part, done, arg);
}

void sim_cluster_debts(const struct sim_cluster *c, uint64_t *hints, uint64_t *owed)
{
    *hints = *owed = 0;
    for (uint32_t i = 0; i < c->cfg.nodes; i++) {
        if (c->nodes[i].state != NODE_UP)
            continue;
        struct engine_stats s;
        engine_stats(c->nodes[i].engine, &s);
        *hints += s.hints_now;
        *owed += s.owed_now + s.fragments_pending;
    }
}

uint32_t sim_cluster_replicas(const struct sim_cluster *c, struct slice key, uint32_t n,
                              uint32_t *nodes)
{
    return sim_cluster_owners(c, ring_partition_of(sim_cluster_ring(c), key), n, nodes);
}

uint32_t sim_cluster_owners(const struct sim_cluster *c, uint32_t p, uint32_t n, uint32_t *nodes)
{
    uint64_t ids[SIM_NODES_MAX];
    struct ring *ring = sim_cluster_ring(c);
    uint32_t got = ring_preference_list(ring, p, n, ids, SIM_NODES_MAX);
    if (got > ring_voters(ring, p, n))
        got = ring_voters(ring, p, n);
    for (uint32_t k = 0; k < got; k++)
        for (uint32_t i = 0; i < c->cfg.nodes; i++)
            if (c->nodes[i].id == ids[k])
                nodes[k] = i;
    return got;
}
