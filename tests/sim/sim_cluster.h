/* SPDX-License-Identifier: Apache-2.0 */
/* A whole cluster in one thread: engines on simulated network, disks and clocks.
 *
 * The next event is always the earliest. At equal times the simulator's own come first (messages,
 * disks, faults, clients, in the order in which they were set), then the engines' timers by node
 * index. Nothing else makes anything happen, so a seed has exactly one history. */
#ifndef DYN_SIM_CLUSTER_H
#define DYN_SIM_CLUSTER_H

#include "engine/engine.h"
#include "model/plan.h"
#include "sim_disk.h"
#include "sim_net.h"

#define SIM_NODES_MAX 12

enum sim_node_state { NODE_DOWN, NODE_STARTING, NODE_UP, NODE_STOPPING };

struct sim_cluster;

struct sim_node {
    struct sim_cluster *cluster;
    uint32_t index; /* also its endpoint in the network */
    uint64_t id;
    enum sim_node_state state;
    uint32_t life; /* counts starts */
    bool exiting;  /* its disk failed, or it has drained: it is down after this step */
    bool drained;
    bool lost; /* with its disk, for good: it never starts again */
    struct engine *engine;
    struct timers timers;
    struct sim_disk *disk;
    struct sim_random random;
    uint64_t mono_offset_us; /* each process has its own origin */
    int64_t wall_offset_ns;  /* jumps at will */
};

struct sim_cluster_config {
    uint32_t nodes;              /* 1 to SIM_NODES_MAX */
    uint32_t members;            /* of them; the others wait to be joined. 0: all */
    uint32_t q;                  /* partitions */
    uint32_t n, r, w;            /* the cluster's defaults */
    bool object_buffer;          /* nodes have one */
    uint64_t cluster;            /* its id; 0: the usual one */
    struct engine_config engine; /* node, secret: filled in */
};

struct sim_cluster {
    struct sim_world *world;
    struct sim_net *net;
    struct sim_cluster_config cfg;
    struct ring *ring;  /* at first */
    struct ring *known; /* by whoever is down or was, and knew most */
    struct sim_node nodes[SIM_NODES_MAX];
    /* Told before a node's memory goes, so that callers stop waiting for it. */
    void (*gone)(void *arg, struct sim_node *node);
    void *gone_arg;
    uint64_t reaped; /* by nodes that are down or were, see sim_cluster_reaped */
};

#define SIM_SECRET "the secret of the simulated cluster"

struct sim_cluster *sim_cluster_new(struct sim_world *w, const struct sim_cluster_config *cfg);
void sim_cluster_free(struct sim_cluster *c);

void sim_node_start(struct sim_node *node);                     /* does nothing unless it is down */
void sim_node_crash(struct sim_node *node, enum sim_crash how); /* does nothing when it is down */
void sim_node_stop(struct sim_node *node); /* cleanly; it is down when it has drained */

/* Runs the next event, if there is one at or before until_us; else moves time there and says false.
 */
bool sim_cluster_step(struct sim_cluster *c, uint64_t until_us);
void sim_cluster_run(struct sim_cluster *c, uint64_t for_us);
uint32_t sim_cluster_up(const struct sim_cluster *c); /* nodes that serve */
/* Sums over the nodes that serve. */
void sim_cluster_debts(const struct sim_cluster *c, uint64_t *hints, uint64_t *owed);
/* Tombstones reaped, on all nodes, in all their lives; and those that are left, as far as the nodes
 * that are up have looked. */
uint64_t sim_cluster_reaped(const struct sim_cluster *c);
uint64_t sim_cluster_tombstones(const struct sim_cluster *c);
/* The ring of the node that knows most; borrowed. */
struct ring *sim_cluster_ring(const struct sim_cluster *c);
/* All nodes that are up know the same, and nothing moves. */
bool sim_cluster_agrees(const struct sim_cluster *c);
/* Has a node that is up propose a change of one part (E14); done as in commit.h. False: the change
 * would not be safe now, or there is nothing to propose. */
bool sim_cluster_change(struct sim_cluster *c, uint32_t node, const struct member_event *part,
                        void (*done)(void *arg, int err), void *arg);
/* The node and its disk are gone for good. */
void sim_node_lose(struct sim_node *node);
uint32_t sim_cluster_lost(const struct sim_cluster *c); /* how many are */
/* A lost node that is a member still, as far as anybody knows; NULL: there is none. */
const struct sim_node *sim_cluster_wound(const struct sim_cluster *c);
/* May one more member be lost, so that the cluster bears it? Not while another is to be replaced,
 * or partitions move, as far as anybody knows who is up or down. */
bool sim_cluster_may_lose(const struct sim_cluster *c, const struct sim_node *node);
/* Has this node propose that somebody takes the place of the wound, or that it is removed. */
bool sim_cluster_mend(struct sim_cluster *c, uint32_t node, void (*done)(void *arg, int err),
                      void *arg);
/* The part of a change by which node `index` joins, in the place of `replaces` if not 0. */
struct member_event sim_join_of(const struct sim_cluster *c, uint32_t index, uint64_t replaces,
                                char address[32]);
/* The first n of a key's preference list, as indexes. */
uint32_t sim_cluster_replicas(const struct sim_cluster *c, struct slice key, uint32_t n,
                              uint32_t *nodes);
/* The same of a partition. */
uint32_t sim_cluster_owners(const struct sim_cluster *c, uint32_t p, uint32_t n, uint32_t *nodes);

#endif
