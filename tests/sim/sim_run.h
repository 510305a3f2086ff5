/* SPDX-License-Identifier: Apache-2.0 */
/* One seed from start to judgement: a safety phase, in which clients work while things go wrong,
 * and a liveness phase, in which everything is mended and must converge. */
#ifndef DYN_SIM_RUN_H
#define DYN_SIM_RUN_H

#include <stdio.h>

#include "engine/engine.h"

struct sim_result {
    uint64_t seed, trace_hash, events, simulated_us;
    uint32_t violations;
    uint32_t acked, reads; /* writes acknowledged; reads and listings answered */
    uint64_t reaped;       /* tombstones, on all nodes */
    char text[512];        /* the first violation */
};

/* bug: planted in every engine. log: readable trace; NULL: none. */
void sim_run(uint64_t seed, enum engine_bug bug, FILE *log, struct sim_result *out);

#endif
