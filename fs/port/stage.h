/* SPDX-License-Identifier: Apache-2.0 */
/* A place on this machine for what the cluster has not taken yet (F8): records, each under a number
 * of its own, replaced as a whole, so that after a kill -9 there is the old one or the new one.
 * Bytes that come in chunks lie beside their record, and one that has not changed since the record
 * was last written is not written again.
 *
 * Contract. Everything happens in the order of the calls, and none of them waits for a disk. Bodies
 * are copied inside the call, chunks are referenced and must not change from then on. done runs
 * once, later. */
#ifndef DYN_FS_PORT_STAGE_H
#define DYN_FS_PORT_STAGE_H

#include "base/buf.h"
#include "base/mem.h"

struct stage_chunk {
    uint64_t stamp;     /* these bytes of this record, and no others */
    struct blob *bytes; /* of which len count */
    uint32_t len;
};

struct stage_put { /* caller-owned until done or cancelled */
    void (*done)(struct stage_put *p, int err);
    void *arg;
    void *state; /* the port's: NULL when none is on its way */
};

struct stage_port {
    void *ctx;
    void (*put)(void *ctx, struct stage_put *p, uint64_t id, struct slice body,
                const struct stage_chunk *chunks, uint32_t n);
    void (*cancel)(void *ctx, struct stage_put *p); /* done will not run; it is written or not */
    void (*drop)(void *ctx, uint64_t id);
    /* Keeps the record for people, where nothing takes it for one again, and says so. */
    void (*set_aside)(void *ctx, uint64_t id, const char *why);
};

#endif
