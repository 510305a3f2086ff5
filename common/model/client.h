/* SPDX-License-Identifier: Apache-2.0 */
/* The client library, sans I/O: knows the ring, sends each request straight to a healthy node of
 * its preference list, fails over to the next with the same origin (so a repeat is recognized),
 * refreshes the ring every 10 s and at once when a reply's ring epoch differs. Offers struct
 * kv_port. */
#ifndef DYN_MODEL_CLIENT_H
#define DYN_MODEL_CLIENT_H

#include "base/clock_port.h"
#include "base/timers.h"
#include "model/ring.h"
#include "port/kv.h"
#include "port/net.h"
#include "port/watch.h"

struct client_config {
    uint64_t id;              /* random, not 0: writer of origins for requests that give none */
    const char *const *seeds; /* "host:port"; copied */
    uint32_t n_seeds;
    uint64_t timeout_us;      /* whole operation, when the request gives none; 0: 10 s */
    uint64_t attempt_us;      /* one node's chance, at most, before the next is asked too; 0: 1 s */
    uint64_t ring_refresh_us; /* 0: 10 s */
    /* Gets too are coordinated by the node that is asked. Otherwise the client asks the replicas by
     * itself, and a node where that does not do. */
    bool nodes_coordinate;
    /* Whatever it is, any member is asked, as through a balancer of load that knows no ring: to
     * compare with (Dynamo, Table 2). */
    bool any_member;
    /* An operation that found nobody to talk to so many rounds over ends with
     * DYN_ERR_UNREACHABLE before its deadline; 0: never. */
    uint32_t rounds_max;
};

struct client;
struct client *client_new(const struct client_config *cfg, const struct net_port *net,
                          const struct time_port *time, const struct random_port *random,
                          struct timers *timers);
/* Outstanding callbacks do not run. Not from inside one of them. */
void client_free(struct client *c);
struct kv_port
client_kv(struct client *c); /* requests wait for the first ring until their deadline */
struct ring *client_ring(struct client *c); /* borrowed; NULL until known */
bool client_node_up(struct client *c, uint64_t node);

/* Being told of changes; once for a client. Needs the ring, so nothing is covered before. */
struct watch_port client_watch(struct client *c, const struct watch_events *events);
struct client_watch_stats {
    uint64_t sessions, dirs; /* now: nodes that tell, directories that are covered */
    uint64_t asked, events,
        lost; /* questions, changes told, directories that ceased to be covered */
};
void client_watch_stats(const struct client *c, struct client_watch_stats *out);

/* From the network adapter. */
struct net_events client_events(struct client *c);

/* A raw request to one node (FRAME_STATUS and the like), without failover. done runs once, later,
 * with DYN_OK and the reply's body (borrowed), or with what went wrong. */
void client_call(struct client *c, uint64_t node, uint8_t type, struct buf *body /* taken */,
                 uint64_t timeout_us, /* 0: the client's */
                 void (*done)(void *arg, int err, struct slice body), void *arg);

#endif
