/* SPDX-License-Identifier: Apache-2.0 */
/* Time and randomness as vtables, so that engines never call the system and a simulation replays
 * from one seed. */
#ifndef DYN_BASE_CLOCK_PORT_H
#define DYN_BASE_CLOCK_PORT_H

#include <stddef.h>
#include <stdint.h>

struct time_port {
    void *ctx;
    uint64_t (*mono_us)(void *ctx); /* monotonic microseconds, arbitrary origin */
    uint64_t (*wall_ns)(void *ctx); /* nanoseconds since 1970, may jump */
};

struct random_port {
    void *ctx;
    void (*bytes)(void *ctx, void *out, size_t len); /* cryptographically random in production */
};

static inline uint64_t random_u64(const struct random_port *r)
{
    uint64_t v;
    r->bytes(r->ctx, &v, sizeof(v));
    return v;
}

#endif
