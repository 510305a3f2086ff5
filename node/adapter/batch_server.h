/* SPDX-License-Identifier: Apache-2.0 */
/* The receiving side of the network: opens the batches that peers and clients POST, hands their
 * frames to the engine, and streams the replies back in the same response. What is answered within
 * a turn of the loop leaves together. */
#ifndef DYN_ADAPTER_BATCH_SERVER_H
#define DYN_ADAPTER_BATCH_SERVER_H

#include "adapter/http_server.h"
#include "adapter/loop.h"
#include "port/net.h"

struct batch_server_config {
    uint64_t self; /* this node's id */
    uint64_t cluster;
    struct slice secret;  /* the cluster's; copied */
    uint64_t replies_max; /* bytes in answer to one batch; what is over is not sent */
    uint64_t deadline_us; /* then the response ends, whatever is missing; default 30 s */
};
void batch_server_config_defaults(struct batch_server_config *c);

struct batch_server;
/* events: receive_request is called for each frame. */
struct batch_server *batch_server_new(struct loop *l, const struct batch_server_config *cfg,
                                      const struct net_events *events);
void batch_server_free(struct batch_server *b); /* after the HTTP server; NULL is fine */

/* Takes a POST to /internal/batch (peer) or /v1/batch (not peer): sender 0 may use the latter only,
 * and nobody else may. 400: not a batch; 403: no valid authenticator, or frames that a client may
 * not send; 421: meant for another node or cluster. */
void batch_server_take(struct batch_server *b, struct http_request *r, bool peer);

/* For net_port.reply. Unknown origins are dropped. */
void batch_server_reply(void *ctx, uint64_t origin, uint64_t rid, uint8_t type,
                        struct buf *body /* taken */);

uint64_t batch_server_open(const struct batch_server *b); /* batches not fully answered */

#endif
