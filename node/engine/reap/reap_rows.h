/* SPDX-License-Identifier: Apache-2.0 */
/* One node's part in reaping (reap.h): what it says of its own rows and does to them, and whether
 * it keeps anything for others. The same for the node that leads and for those that it asks. */
#ifndef DYN_ENGINE_REAP_ROWS_H
#define DYN_ENGINE_REAP_ROWS_H

#include "engine/reap/reap_wire.h"
#include "engine/replica/replica.h"

struct reap_job { /* caller-owned, zeroed at first; must stay put until done */
    struct engine *e;
    enum reap_step step;
    const struct reap_item *items; /* borrowed until done */
    uint32_t n;
    struct reap_vote *votes;                   /* room for n */
    void (*done)(struct reap_job *j, int err); /* may run inside reap_job_start */
    void *arg;

    uint32_t at;
    uint64_t generation;
    bool inside, again, over;
    int err;
    struct keylock lock, dir_lock;
    bool was_dir; /* something has lain under the key */
    bool found;
    struct place place;
    struct buf row;
    struct object object;
    struct row_state state;
    struct store_get get;
    struct store_scan scan;
    struct store_write sync;
};
void reap_job_start(struct reap_job *j);
void reap_job_release(struct reap_job *j); /* fine at any time but in the middle of a step */

struct clear_job { /* the same */
    struct engine *e;
    const uint32_t *partitions;
    uint32_t n;
    uint8_t *kept; /* enum reap_kept; room for n */
    void (*done)(struct clear_job *j, int err);
    void *arg;

    uint32_t at, target, n_targets;
    uint64_t *targets; /* for whom hints may be kept */
    bool inside, again, over, looked, found;
    int err;
    struct buf prefix;
    struct store_scan scan;
    struct store_write sync;
};
void clear_job_start(struct clear_job *j);
void clear_job_release(struct clear_job *j);

/* The replicas of a settled partition; 0 while it moves. nodes: room for N_MAX. */
uint32_t reap_replicas(const struct engine *e, uint32_t partition, uint64_t *nodes);

#endif
