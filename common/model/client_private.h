/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the client library: client_op.c runs the operations, client_answer.c reads replies,
 * client_ring.c learns the ring and watches the nodes, client_route.c picks whom to ask next,
 * client_outage.c knows where a quorum is missing, client_read.c coordinates gets. */
#ifndef DYN_MODEL_CLIENT_PRIVATE_H
#define DYN_MODEL_CLIENT_PRIVATE_H

#include "base/list.h"
#include "model/client.h"
#include "model/detector.h"
#include "model/history.h"
#include "model/rpc.h"

#define CLIENT_SEEDS_MAX 64
#define CLIENT_ATTEMPTS_MAX 4 /* of one operation at the same time */
#define CLIENT_TRIED_MAX 16   /* different nodes in one round of an operation */
/* A node that has been down for so long is asked as a last hope only, and not waited for: its
 * probes tell when it is back. */
#define CLIENT_LOST_US 1000000u

enum client_op_type { CLIENT_GET, CLIENT_PUT, CLIENT_LIST, CLIENT_SYNC };

struct client_op;
struct client_outage;
struct client_read;

struct client_attempt {
    struct rpc_call call;
    struct client_op *op;
    bool slow;      /* its node was given up on, but may still answer */
    bool extended;  /* a chunk's: its node answers others, so it was given more time */
    bool shortened; /* it was sent what follows the base, not the whole value */
};

/* One operation.
 *
 *   WAITING --ring known--> ASKING --a good answer, or a final one--> ended
 *      |                    |    ^  ^
 *      |        round over  v    |  | a quorum is back
 *      |                   PAUSING  |    READING (client_read.c) --answered--> ended
 *      |                            HELD --no quorum yet--> ended
 *      +------- the deadline ends each of them -------> ended
 *
 * It begins in WAITING without a ring, in HELD or REFUSED (ended in the next turn) while a quorum
 * is known to be out (client_outage.c), in READING when it is a get that the client coordinates by
 * itself, else in ASKING. READING goes over into ASKING where replicas alone do not do.
 */
enum client_op_state {
    CLIENT_OP_WAITING,
    CLIENT_OP_HELD,
    CLIENT_OP_REFUSED,
    CLIENT_OP_READING,
    CLIENT_OP_ASKING,
    CLIENT_OP_PAUSING
};

struct client_op {
    struct client *client;
    uint64_t id;
    enum client_op_type type;
    enum client_op_state state;
    struct buf key, body; /* whom it concerns; the encoded request, the same for each attempt */
    struct buf whole;     /* a put whose value extends another: until a node lacks that, body holds
                             only what follows; then this takes its place */
    uint8_t n;            /* replicas that the request asked for, 0: the cluster's */
    uint8_t need, sloppy; /* R or W as asked for, 0: the cluster's; enum sloppiness */
    bool probe;           /* looks whether an outage is over */
    bool overloaded;      /* a node said so: waiting for it is no outage */
    struct client_outage *held_by;
    struct client_read *read;
    union {
        kv_get_done get;
        kv_put_done put;
        kv_list_done list;
        kv_sync_done sync;
    } done;
    void *arg;
    uint64_t started_us, deadline_us;
    uint64_t quorumless_us; /* when a round first ended without a quorum; 0: none has */
    struct timer timer; /* patience with the newest attempt, the end of a pause, or the deadline */
    struct client_attempt attempts[CLIENT_ATTEMPTS_MAX];
    uint64_t tried[CLIENT_TRIED_MAX]; /* this round */
    uint32_t n_tried, rounds;
    /* the best of the answers that were no success, for when nothing better comes */
    int failure;
    uint8_t answered, needed;
};

struct client_seed {
    char *address;
    struct rpc_call call;
};

struct client_probe { /* one outstanding FRAME_RING to a member */
    struct rpc_call call;
    struct client *client;
    struct list link;
};

struct client_raw { /* one client_call */
    struct rpc_call call;
    struct client *client;
    struct list link;
    void (*done)(void *arg, int err, struct slice body);
    void *arg;
};

struct client {
    struct client_config cfg;
    struct net_port net;
    struct time_port time;
    struct random_port random;
    struct timers *timers;
    struct rpc *rpc;
    struct detector *detector;

    struct client_op **slots; /* by the low half of an id */
    uint32_t n_slots, n_ops, last_slot;
    uint32_t generation; /* the high half: an old id finds nobody */

    struct list probes, raws, settings;
    struct client_seed *seeds;
    uint32_t n_seeds, next_seed, seeds_failed; /* failed since the last answer from anyone */
    struct history history;
    struct ring *ring;
    struct timer ring_timer;
    uint64_t asked_early_us; /* when a reply's epoch last made us ask before the time */

    struct client_watch *watch; /* NULL: nobody wants to be told */
    struct list outages;
    uint32_t n_outages;
    uint64_t ringless_us; /* since when operations fail for want of a ring; 0: none has */
};

/* client_answer.c */
struct client_answer { /* a decoded reply, whichever it is */
    union {
        struct get_reply get;
        struct put_reply put;
        struct list_reply list;
        struct sync_reply sync;
    } u;
    int status;
    uint8_t answered, needed;
    const struct history_epoch *ring; /* NULL: it carries none */
};
int client_answer_decode(struct client_answer *a, enum client_op_type type, struct slice body);
void client_answer_release(struct client_answer *a, enum client_op_type type);

/* client.c */
uint64_t client_now(const struct client *c);

/* client_op.c */
void client_ops_free(struct client *c);   /* without callbacks */
void client_ring_known(struct client *c); /* starts what waits */
/* All seeds were asked in vain, `rounds` times over: for those who have no patience. */
void client_seeds_in_vain(struct client *c, uint32_t rounds);

/* Feeds the detector: what a call came to, that it is silent, that nobody waits for it any more. */
void client_note_reply(struct client *c, const struct rpc_call *call, int err);
void client_suspect(struct client *c, const struct rpc_call *call);
void client_drop_call(struct client *c, struct rpc_call *call);

/* For client_read.c. */
void client_op_wait(struct client_op *op, uint64_t us); /* then client_read_silent */
void client_op_ask_node(struct client_op *op);          /* a node is to coordinate */
void client_op_end_get(struct client_op *op, const struct get_reply *reply);

/* client_read.c: gets that the client coordinates by itself. */
bool client_read_start(struct client_op *op, const struct get_request *q); /* false: a node must */
void client_read_silent(struct client_op *op);
void client_read_stop(struct client_op *op); /* asks nobody any more */
void client_read_free(struct client_read *r);

/* For client_outage.c: a get that is never held itself. */
uint64_t client_op_probe(struct client *c, const struct get_request *q, kv_get_done done,
                         void *arg);
void client_op_cancel(struct client *c, uint64_t id);
void client_ops_release_held(struct client *c, const struct client_outage *o); /* they go on */
void client_ops_refuse_held(struct client *c, const struct client_outage *o);  /* they fail */

/* client_outage.c */
enum client_gate { CLIENT_GATE_OPEN, CLIENT_GATE_HOLD, CLIENT_GATE_SHUT };
/* May this operation be sent? HOLD: not before it is released, nor after *until_us; *which is NULL
 * where the ring is what is missing. */
enum client_gate client_outage_gate(const struct client_op *op, struct client_outage **which,
                                    uint64_t *until_us);
bool client_is_outage(int status);                                /* of a kind that may add up */
void client_outage_begin(const struct client_op *op, int status); /* it has waited in vain */
void client_outage_over(const struct client_op *op);              /* it has succeeded */
uint8_t client_need(const struct client_op *op); /* R or W; the ring must be known */
int client_outage_status(const struct client_outage *o, uint8_t *answered, uint8_t *needed);
void client_outages_clear(struct client *c); /* with another ring all is open */
void client_outages_free(struct client *c);

/* client_settings.c */
void client_settings(void *ctx, const struct settings_request *req, kv_settings_done done,
                     void *arg);
void client_settings_free(struct client *c); /* without callbacks */

/* client_watch.c */
void client_watch_free(struct client *c);

/* client_ring.c */
void client_ring_start(struct client *c);
void client_ring_stop(struct client *c);
/* A reply of this node says that its ring is another one. */
void client_ring_noticed(struct client *c, uint64_t node, const struct history_epoch *theirs);
void client_ring_probe(void *client, uint64_t node); /* the detector's probe */

/* client_route.c */
/* Whom to ask next: a node not tried in this round; 0: all were. */
uint64_t client_route(struct client_op *op);
/* The key's primaries in the order in which a read should ask them: those that are up (*n_up) and
 * near first. */
uint32_t client_route_reads(struct client_op *op, uint64_t *nodes, uint32_t cap, uint32_t *n_up);
/* How long to wait for this node before another is asked as well. */
uint64_t client_patience_us(const struct client_op *op, uint64_t node);

#endif
