/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that wait for their node, and the batches made of them: the part of sending that has
 * nothing to do with sockets. Memory is bounded by node: over the limit a frame fails instead of
 * waiting. */
#ifndef DYN_ADAPTER_NET_QUEUE_H
#define DYN_ADAPTER_NET_QUEUE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/list.h"
#include "model/wire.h"

struct net_peer;

struct net_failure {
    uint64_t rid;
    int err;
};

struct net_queue {
    struct list peers;
    struct list *buckets; /* by node */
    uint64_t queue_max;   /* bytes for one node */
    struct net_failure *failures;
    uint32_t n_failures, cap_failures, next_failure;
};

void net_queue_init(struct net_queue *q, uint64_t queue_max);
void net_queue_release(struct net_queue *q); /* no posts may be on their way */

/* NULL forgets the node: what waits for it fails. */
void net_queue_set_address(struct net_queue *q, uint64_t node, const char *address);
/* Queues the frame (body taken), or its failure. */
void net_queue_put(struct net_queue *q, uint64_t node, uint64_t rid, uint8_t type, struct buf *body,
                   uint64_t now_us);
bool net_queue_next_failure(struct net_queue *q, uint64_t *rid, int *err);
bool net_queue_waiting(const struct net_queue *q); /* a frame or a failure waits */
struct net_peer *net_queue_first(struct net_queue *q);
struct net_peer *net_queue_after(struct net_queue *q, struct net_peer *p);

uint64_t net_peer_node(const struct net_peer *p);
const char *net_peer_address(const struct net_peer *p);
bool net_peer_has_frames(const struct net_peer *p);
bool net_peer_has_ring(const struct net_peer *p); /* frames that name no receiver */
uint64_t net_peer_oldest_us(const struct net_peer *p);
uint32_t net_peer_posts(const struct net_peer *p); /* on their way */
/* Does it take requests with a mac over a hash (batch_header.hashed)? Not until it has said so. */
bool net_peer_takes_hashed(const struct net_peer *p);
void net_peer_set_takes_hashed(struct net_peer *p, bool takes);
void net_peer_posted(struct net_peer *p);
void net_peer_ended(struct net_queue *q, struct net_peer *p); /* frees a forgotten node */

/* A batch on its way, and which of its requests were answered. */
struct net_batch {
    struct buf body;
    uint64_t to;
    struct net_rid {
        uint64_t rid;
        bool answered;
    } * rids;
    uint32_t n, hint;
};
/* Moves frames from the peer's queue into b, at least one, until max_bytes are passed. */
void net_batch_take(struct net_batch *b, struct net_peer *p, bool ring,
                    const struct batch_header *h, struct mac *mac, uint64_t max_bytes);
/* Marks it; false when it is not of this batch or was answered before. */
bool net_batch_answered(struct net_batch *b, uint64_t rid);
void net_batch_release(struct net_batch *b);

#endif
