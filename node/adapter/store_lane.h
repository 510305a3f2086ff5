/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that do for a loop what would block it. A lane is a queue of jobs and the threads that
 * take from it; what is done comes back to the loop's thread. The loop's data needs no locks: a job
 * belongs to the loop until it is submitted and again once it is finished. */
#ifndef DYN_ADAPTER_STORE_LANE_H
#define DYN_ADAPTER_STORE_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct store_job {
    void (*run)(struct store_job *job);    /* on a lane's thread */
    void (*finish)(struct store_job *job); /* on the loop's thread; may free the job */
    struct list link;                      /* the lanes' */
};

struct store_lanes;

/* lanes: how many queues, each with threads[i] threads. wake: called from any thread when something
 * is done and nothing was before. */
struct store_lanes *store_lanes_new(const unsigned *threads, unsigned lanes,
                                    void (*wake)(void *ctx), void *ctx);
void store_lanes_submit(struct store_lanes *l, unsigned lane, struct store_job *job);
/* Finishes what is done, on the loop's thread. Returns how many. */
unsigned store_lanes_poll(struct store_lanes *l);
unsigned store_lanes_active(const struct store_lanes *l); /* submitted and not yet finished */
/* Blocks until every job that was submitted has run, finishes them, ends the threads. */
void store_lanes_free(struct store_lanes *l);

#endif
