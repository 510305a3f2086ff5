/* SPDX-License-Identifier: Apache-2.0 */
/* Outstanding requests: matches replies to callers by request id and gives each a deadline. Shared
 * by the engine (to its peers) and the client library (to nodes); what happened to each peer is fed
 * to the failure detector in one place. */
#ifndef DYN_MODEL_RPC_H
#define DYN_MODEL_RPC_H

#include "base/clock_port.h"
#include "base/timers.h"
#include "port/net.h"

struct detector;

struct rpc_call { /* caller-owned, must stay put until done or rpc_cancel */
    uint64_t rid, node, started_us;
    uint8_t type;
    struct timer timer;
    struct rpc *rpc;
    struct rpc_call *next; /* hash chain */
    /* Runs exactly once, never inside rpc_start. err: DYN_OK with the reply's body (borrowed),
     * DYN_ERR_TIMEOUT, DYN_ERR_UNREACHABLE, or what the transport said. */
    void (*done)(struct rpc_call *call, int err, struct slice body);
    void *arg;
};

struct rpc;
struct rpc *rpc_new(const struct net_port *net, const struct time_port *time, struct timers *timers,
                    struct detector *detector /* may be NULL */);
void rpc_free(struct rpc *r); /* outstanding calls are forgotten, their done does not run */
void rpc_start(struct rpc *r, struct rpc_call *call, uint64_t node, uint8_t type,
               struct buf *body /* taken */, uint64_t timeout_us);
void rpc_cancel(struct rpc *r, struct rpc_call *call); /* done will not run; fine when not active */
bool rpc_active(const struct rpc_call *call);
uint64_t rpc_outstanding(const struct rpc *r);
/* From the network adapter. Unknown rids (late replies) are ignored. */
void rpc_receive(struct rpc *r, uint64_t rid, uint8_t type, struct slice body);
void rpc_failed(struct rpc *r, uint64_t rid, int err);

#endif
