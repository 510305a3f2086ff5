/* SPDX-License-Identifier: Apache-2.0 */
/* What all parts of a simulation share: simulated time, the queue of the simulator's own events,
 * the trace, and the violations found.
 *
 * The trace is a hash over every event (what, when, who, which bytes). The same seed must give the
 * same hash on every run: only then does a printed seed lead back to its failure. With a log it is
 * readable too. */
#ifndef DYN_SIM_WORLD_H
#define DYN_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/clock_port.h"
#include "base/timers.h"

#define SIM_VIOLATIONS_KEPT 8
#define SIM_SECOND 1000000u /* microseconds */

struct sim_world {
    uint64_t seed, now_us;
    struct timers timers; /* of the simulator: messages, faults, clients; in simulated time */
    uint64_t trace_hash, events;
    FILE *log; /* NULL: none; borrowed */
    uint32_t violations;
    char *texts[SIM_VIOLATIONS_KEPT]; /* the first ones */
};

void sim_world_init(struct sim_world *w, uint64_t seed, FILE *log);
void sim_world_release(struct sim_world *w);
struct time_port sim_world_time(struct sim_world *w); /* for clients: exact, never jumps */

/* One event into the hash: a static name, up to three numbers, bytes. */
void sim_event(struct sim_world *w, const char *what, uint64_t a, uint64_t b, uint64_t c,
               struct slice bytes);
/* A line of the readable log, when there is one. Not hashed. */
void sim_log(struct sim_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A broken promise. The run goes on: one cause often shows in several ways. */
void sim_violation(struct sim_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
