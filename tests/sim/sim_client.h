/* SPDX-License-Identifier: Apache-2.0 */
/* A client of the simulated cluster. It reaches a node by its kv port, as the HTTP front does, by
 * bare frames over the network, or through the client library, as dynamount does. Every call ends,
 * whatever becomes of the node: with the node's reply, or with a failure that this client makes up
 * itself. A kv call that a living node leaves without an end is a violation. */
#ifndef DYN_SIM_CLIENT_H
#define DYN_SIM_CLIENT_H

#include "base/list.h"
#include "model/client.h"
#include "model/rpc.h"
#include "sim_cluster.h"

enum sim_via { VIA_KV, VIA_FRAME, VIA_LIBRARY /* picks its node itself */ };

struct sim_request {
    uint8_t type; /* FRAME_GET, FRAME_PUT, FRAME_LIST or FRAME_SYNC */
    union {
        struct get_request get;
        struct put_request put;
        struct list_request list;
        struct sync_request sync;
    };
};

struct sim_reply {
    uint8_t type;
    int status;    /* of the reply, or the client's own: DYN_ERR_TIMEOUT, DYN_ERR_UNREACHABLE */
    bool answered; /* the node said so itself; then one of these is there, borrowed */
    union {
        const struct get_reply *get;
        const struct put_reply *put;
        const struct list_reply *list;
        const struct sync_reply *sync;
    };
};

typedef void (*sim_done)(void *arg, const struct sim_reply *reply);

struct sim_client {
    struct sim_cluster *cluster;
    uint32_t endpoint;
    struct rpc *rpc;
    struct sim_random random;
    struct client *library; /* NULL until it is used; at the endpoint after this one */
    struct list calls;      /* struct sim_call.link */
};

/* endpoint: of the network, not a node's; the next one is taken too. */
void sim_client_init(struct sim_client *c, struct sim_cluster *cluster, uint32_t endpoint);
void sim_client_release(struct sim_client *c);

/* The request is encoded or copied inside the call; done runs exactly once, never inside it.
 * opt.timeout_ms of the request must be set. */
void sim_client_call(struct sim_client *c, enum sim_via via, uint32_t node,
                     const struct sim_request *q, sim_done done, void *arg);
/* The same, and runs the cluster until the call has ended. look may be NULL. Returns the status. */
int sim_client_wait(struct sim_client *c, enum sim_via via, uint32_t node,
                    const struct sim_request *q, sim_done look, void *arg);
/* The client library that VIA_LIBRARY goes through. */
struct client *sim_client_library(struct sim_client *c);
/* A node's memory is gone: its kv calls end here. Call from sim_cluster.gone. */
void sim_client_gone(struct sim_client *c, const struct sim_node *node);

#endif
