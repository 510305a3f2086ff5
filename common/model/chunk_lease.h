/* SPDX-License-Identifier: Apache-2.0 */
/* The lease of an upload that is being sent (E8), for whoever streams a value of unknown length:
 * dynactl, a node's HTTP front. Its reference is there before the first chunk and is said again
 * while chunks go out, so nothing is collected under way. A sender that was stopped, or waited too
 * long for its own input, may come too late all the same; then each chunk is looked for before a
 * manifest names it.
 *
 *   SURE --half the lease went by--> LAPSED --the reference is said again--> LOOKING
 *   LOOKING --all there--> SURE        LOOKING --one is gone--> DYN_ERR_CONFLICT
 */
#ifndef DYN_MODEL_CHUNK_LEASE_H
#define DYN_MODEL_CHUNK_LEASE_H

#include "model/chunk_io.h"

#define UPLOAD_CHECKS 4

struct upload_check {
    struct upload_lease *lease;
    struct chunk_get get;
};

struct upload_lease { /* caller-owned */
    struct chunk_io *io;
    struct upload_id id;
    /* What was waited for is there (DYN_OK: ask again), or cannot be had. Runs later. */
    void (*done)(struct upload_lease *l, int err);
    void *arg;
    struct buf key;
    struct upload_ref ref;
    uint32_t numbers, asked;            /* that the record allows, and will allow */
    int64_t asked_ns, said_ns, sure_ns; /* wall clock, which goes on while a machine sleeps */
    bool lapsed, waited;                /* waited: for the reference */
    uint32_t next;                      /* to look for, of the manifest's chunks */
    struct upload_check checks[UPLOAD_CHECKS];
};

/* Draws the upload's id; key: whose version will name it, copied. */
void upload_lease_init(struct upload_lease *l, struct chunk_io *io, struct slice key,
                       void (*done)(struct upload_lease *l, int err), void *arg);
void upload_lease_stop(struct upload_lease *l); /* fine when zeroed */
/* May the chunk of that number be sent? false: done comes. */
bool upload_lease_number(struct upload_lease *l, uint32_t number);
/* Says the reference again if it is time; nobody waits for that. */
void upload_lease_renew(struct upload_lease *l);
uint64_t upload_lease_renew_ms(const struct upload_lease *l); /* how often is often enough */
/* May the manifest be put, whose chunks all have W? false: done comes; with DYN_ERR_CONFLICT: the
 * lease had ended and a chunk is gone, so all is to be sent again. */
bool upload_lease_holds(struct upload_lease *l, const struct manifest *m);

#endif
