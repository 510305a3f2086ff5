/* SPDX-License-Identifier: Apache-2.0 */
/* A whole cluster of engines in one process on a network without faults, for tests of the engine's
 * claims one at a time. Time moves only when nothing else can happen. Faults from a seed are the
 * simulator's business. */
#ifndef DYN_TESTS_PLAYED_CLUSTER_H
#define DYN_TESTS_PLAYED_CLUSTER_H

#include "adapter/store_memory.h"
#include "engine/engine.h"
#include "model/wire.h"

#define PLAYED_NODES_MAX 8
#define PLAYED_CLIENT 999u /* answers to this origin are kept as client_reply */

struct played_node {
    struct engine *engine;
    struct store_memory *store;
    bool up;                            /* reachable */
    bool silent;                        /* reachable, but answers nothing */
    bool held;                          /* what is sent to it waits: a stopped process */
    bool mute;                          /* what it sends is lost */
    uint64_t store_delay_us, store_due; /* not 0: how long its disk takes for a request */
    uint32_t life;                      /* counts starts */
};

/* Sees each frame between nodes before it arrives, and may change its body; false: it is lost. */
typedef bool (*played_judge)(void *arg, uint64_t from, uint64_t to, uint8_t type, struct buf *body);

struct played_cluster {
    played_judge judge; /* NULL: all arrive. Of a reply the type has FRAME_REPLY added */
    void *judge_arg;
    struct played_node nodes[PLAYED_NODES_MAX]; /* node i has id i + 1 */
    uint32_t n;
    struct ring *ring;
    struct timers timers;
    uint64_t now_us, wall_offset_ns, random;
    struct played_frame *first, **last;
    struct engine_config cfg;
    uint64_t frames;         /* delivered so far, between different nodes */
    struct buf client_reply; /* the last one to played_ask */
    uint8_t client_type;
};

/* n_nodes engines; n, r, w of the cluster. All are started and serving on return. */
struct played_cluster *played_cluster_new(uint32_t n_nodes, uint32_t n, uint32_t r, uint32_t w);
void played_cluster_free(struct played_cluster *c);
/* Has node `at` propose a change of one part, and lets it be chosen (E14); the moves go on. */
void played_change(struct played_cluster *c, uint32_t at, const struct member_event *part);
void played_run(struct played_cluster *c, uint64_t for_us); /* lets time pass */
void played_crash(struct played_cluster *c, uint32_t node_index, bool lose_unsynced);
/* A crash after which the disk is another one, with nothing on it. */
void played_replace_disk(struct played_cluster *c, uint32_t node_index);
void played_restart(struct played_cluster *c, uint32_t node_index);

/* From now on each request to the node's disk takes that long, one after the other. */
void played_slow_disk(struct played_cluster *c, uint32_t node_index, uint64_t delay_us);

/* Requests through one node's kv port, run to their end. Replies are the caller's to release. */
struct put_reply played_put(struct played_cluster *c, uint32_t at, const struct put_request *q);
struct get_reply played_get(struct played_cluster *c, uint32_t at, const struct get_request *q);
struct list_reply played_list(struct played_cluster *c, uint32_t at, const struct list_request *q);
struct sync_reply played_sync(struct played_cluster *c, uint32_t at, const struct sync_request *q);

/* One frame as a client sends it, and its reply into client_reply; body is taken. */
void played_ask(struct played_cluster *c, uint32_t at, uint8_t type, struct buf *body);
/* The same without waiting: for frames without a reply. */
void played_tell(struct played_cluster *c, uint32_t at, uint8_t type, struct buf *body);

/* Short forms. Each asserts nothing; status is the reply's. */
int played_write(struct played_cluster *c, uint32_t at, const char *key, const char *value,
                 uint32_t flags, struct slice context);
int played_delete(struct played_cluster *c, uint32_t at, const char *key);
/* The live values in order of age, joined by '|'; "-" when nothing lives. Caller frees. */
char *played_values(struct played_cluster *c, uint32_t at, const char *key);
/* The live names, joined by ' '. Caller frees. */
char *played_names(struct played_cluster *c, uint32_t at, const char *dir);
/* The context of what a read at `at` finds, the whole clock. */
void played_context(struct played_cluster *c, uint32_t at, const char *key, struct buf *context);
uint64_t played_hints(struct played_cluster *c);

#endif
