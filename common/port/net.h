/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine or a client asks of a network: request frames to a node, reply frames to whoever
 * asked. Frames queued within one turn of the loop for one peer travel as one binary POST; replies
 * stream back in that POST's response. Delivery is unreliable: callers have deadlines. */
#ifndef DYN_PORT_NET_H
#define DYN_PORT_NET_H

#include <stdint.h>

#include "base/buf.h"

struct net_port {
    void *ctx;
    /* Queues one request frame. Later, never inside this call, at most one of the owner's
     * receive_reply(rid) or failed(rid, err) is called: failed for what is known to be
     * undeliverable (refused, reset, no address, bad reply). */
    void (*request)(void *ctx, uint64_t node, uint64_t rid, uint8_t type,
                    struct buf *body /* taken */);
    /* Answers a request that came in with this origin and rid. Unknown origins (the asker went
     * away) are dropped silently. */
    void (*reply)(void *ctx, uint64_t origin, uint64_t rid, uint8_t type,
                  struct buf *body /* taken */);
    /* Where a node is, "host:port"; replaces what was known. NULL forgets it. */
    void (*set_address)(void *ctx, uint64_t node, const char *address);
};

/* What the adapter tells its owner. */
struct net_events {
    void *ctx;
    /* A request frame. `from` is the sending node's id, authenticated, or 0 for a client. Reply
     * through net_port.reply with the same origin and rid. */
    void (*receive_request)(void *ctx, uint64_t origin, uint64_t from, uint64_t rid, uint8_t type,
                            struct slice body);
    void (*receive_reply)(void *ctx, uint64_t rid, uint8_t type, struct slice body);
    void (*failed)(void *ctx, uint64_t rid, int err);
};

#endif
