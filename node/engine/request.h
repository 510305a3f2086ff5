/* SPDX-License-Identifier: Apache-2.0 */
/* A client's request on its way through this node: decoded once, checked, forwarded where another
 * must coordinate, answered exactly once, whether it came as a frame or through engine_kv.
 * Coordinators (coordinate.h) do the work in between. */
#ifndef DYN_ENGINE_REQUEST_H
#define DYN_ENGINE_REQUEST_H

#include "engine/coordinate/gather.h"
#include "engine/coordinate/reconcile.h"
#include "engine/coordinate/replication.h"
#include "engine/core.h"

struct request {
    struct list link;
    struct engine *e;
    uint64_t id;
    uint8_t type;    /* FRAME_GET, FRAME_PUT, FRAME_LIST or FRAME_SYNC */
    struct buf body; /* what the decoded request borrows from */
    struct quorum quorum;
    union {
        struct get_request get;
        struct put_request put;
        struct list_request list;
        struct sync_request sync;
    } q;
    bool decoded;

    /* who waits: a frame's sender (done NULL), or a caller of engine_kv */
    uint64_t origin, from, rid;
    union {
        kv_get_done get;
        kv_put_done put;
        kv_list_done list;
        kv_sync_done sync;
    } done;
    bool local, canceled;
    void *arg;
    struct timer start_timer; /* local requests start in the next turn */

    /* forwarding (puts, to a primary) */
    struct rpc_call forward;
    uint64_t primaries[N_MAX];
    uint32_t n_primaries, next_primary;
    int refused_here; /* why this node cannot coordinate it; DYN_OK: it can */
    uint64_t started_us, deadline_us;

    bool settled;      /* a conflict that a rule settles has been tried */
    bool mtimes_asked; /* of a split directory's fragments */
    int64_t dir_mtime_ns;
    struct reconcile_wait settling;

    void *coordinator; /* its state while one is at work */
    void (*coordinator_free)(void *coordinator);
};

/* A frame from a client or a peer. */
void request_frame(struct engine *e, uint64_t origin, uint64_t from, uint64_t rid, uint8_t type,
                   struct slice body);
void request_free(struct request *r);

/* Answers and frees r. The reply's ring and, for a status other than DYN_OK, nothing else need be
 * set by the caller. */
void request_reply_get(struct request *r, struct get_reply *reply);
void request_reply_put(struct request *r, struct put_reply *reply);
void request_reply_list(struct request *r, struct list_reply *reply);
void request_reply_sync(struct request *r, struct sync_reply *reply);
/* This node cannot coordinate the put (err says why): the other primaries are tried, then the
 * request fails with err. */
void request_elsewhere(struct request *r, int err);
void request_fail(struct request *r, int status, uint32_t answered, uint32_t needed);

/* Puts a directory that is owed to what lies under it (E16), wherever its primaries are. */
void request_put_implicit_dir(struct engine *e, struct slice dir, kv_put_done done, void *arg);

struct kv_port request_kv(struct engine *e);

#endif
