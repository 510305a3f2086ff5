/* SPDX-License-Identifier: Apache-2.0 */
/* All chance in the simulator comes from one printed seed. Each concern (network, faults, workload,
 * each node) draws from a stream of its own, so that a change in one, say one more client, does not
 * shift what the others draw and a trace stays comparable. */
#ifndef DYN_SIM_RANDOM_H
#define DYN_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock_port.h"

/* xoshiro256** (Blackman and Vigna, 2018), seeded through splitmix64. */
struct sim_random {
    uint64_t s[4];
};

void sim_random_init(struct sim_random *r, uint64_t seed, const char *stream, uint64_t index);
uint64_t sim_random_u64(struct sim_random *r);
uint64_t sim_random_below(struct sim_random *r, uint64_t n);               /* n > 0 */
uint64_t sim_random_range(struct sim_random *r, uint64_t lo, uint64_t hi); /* both included */
bool sim_random_chance(struct sim_random *r, uint64_t permille);
struct random_port sim_random_port(struct sim_random *r); /* borrows r */

#endif
