/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that do for a loop what would block it. A lane is a queue of jobs and the threads that
 * take from it; what is done comes back to the loop's thread. The loop's data needs no locks: a job
 * belongs to the loop until it is submitted and again once it is finished. */
#ifndef DYN_ADAPTER_LANES_H
#define DYN_ADAPTER_LANES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct lane_job {
    void (*run)(struct lane_job *job);    /* on a lane's thread */
    void (*finish)(struct lane_job *job); /* on the loop's thread; may free the job */
    struct list link;                     /* the lanes' */
};

struct lanes;

/* lanes: how many queues, each with threads[i] threads. wake: called from any thread when something
 * is done and nothing was before. */
struct lanes *lanes_new(const unsigned *threads, unsigned lanes, void (*wake)(void *ctx),
                        void *ctx);
void lanes_submit(struct lanes *l, unsigned lane, struct lane_job *job);
/* Finishes what is done, on the loop's thread. Returns how many. */
unsigned lanes_poll(struct lanes *l);
unsigned lanes_active(const struct lanes *l); /* submitted and not yet finished */
/* Blocks until every job that was submitted has run, finishes them, ends the threads. */
void lanes_free(struct lanes *l);

#endif
