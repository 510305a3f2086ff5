/* SPDX-License-Identifier: Apache-2.0 */
/* The sending side of the network, for nodes and clients: struct net_port over libcurl's multi
 * interface, on the event loop. Frames queued in one turn for one node leave as one POST on a
 * keep-alive connection. A few posts to a node at a time go out at once; while that many are on
 * their way further frames wait for a moment and leave together, so batches grow with the load. */
#ifndef DYN_ADAPTER_NET_CURL_H
#define DYN_ADAPTER_NET_CURL_H

#include "adapter/loop.h"
#include "base/buf.h"
#include "port/net.h"

struct net_curl_config {
    uint64_t self;       /* this node's id; 0: a client */
    uint64_t cluster;    /* 0: not known (clients) */
    struct slice secret; /* the cluster's, for peers; empty for clients; copied */
    uint32_t posts_soft; /* to one node on their way before frames start to wait; default 4 */
    uint32_t posts_max;  /* to one node at all; default 32 */
    uint32_t linger_us;  /* longest wait of a frame while below posts_max; default 1 ms */
    uint64_t batch_max;  /* bytes after which a batch takes no further frame; default 1 MiB */
    uint64_t queue_max;  /* bytes waiting for one node, then DYN_ERR_OVERLOAD; default 64 MiB */
    uint32_t connect_timeout_ms; /* default 1 s */
    uint32_t post_timeout_ms;    /* a whole post with all replies; default 15 s */
};
void net_curl_config_defaults(struct net_curl_config *c);

struct net_curl;
struct net_curl *net_curl_new(struct loop *l, const struct net_curl_config *cfg);
void net_curl_free(struct net_curl *n); /* outstanding rids are forgotten; NULL is fine */

/* Whom to tell of replies and failures; before the first request. */
void net_curl_set_events(struct net_curl *n, const struct net_events *events);

/* Where net_port.reply goes (a node's batch server); a client has none. */
void net_curl_set_replier(struct net_curl *n,
                          void (*reply)(void *ctx, uint64_t origin, uint64_t rid, uint8_t type,
                                        struct buf *body),
                          void *ctx);

/* A request with rid 0 expects no reply: nothing is reported of it. A FRAME_RING travels in a batch
 * that names no receiver, so a node may be asked whose id is not known yet: any number that an
 * address was set for will do. failed() gives DYN_ERR_UNREACHABLE, DYN_ERR_REFUSED (another node
 * or cluster lives there), DYN_ERR_DENIED, DYN_ERR_OVERLOAD, DYN_ERR_TOO_LARGE or
 * DYN_ERR_PROTOCOL. */
struct net_port net_curl_port(struct net_curl *n);

/* Sends now what was to be sent at the end of this turn; for other hooks. What fails at once is
 * told inside the call. */
void net_curl_send_now(struct net_curl *n);

/* For people: why the last post that failed did, "HOST:PORT: reason"; NULL: none has. Borrowed
 * until the next turn. */
const char *net_curl_last_failure(const struct net_curl *n);

#endif
