/* SPDX-License-Identifier: Apache-2.0 */
/* Making one partition equal on two nodes: down their trees to the leaves that differ, and then row
 * by row. */
#ifndef DYN_ENGINE_DESCENT_H
#define DYN_ENGINE_DESCENT_H

#include "engine/core.h"

struct descent_result {
    uint64_t differing, repaired, failed; /* rows */
    uint64_t unsent;  /* which the peer lacks, and did not take: its disk may be full */
    uint64_t skipped; /* too young to be missed */
    uint64_t
        unexplained; /* leaves that differed, none of whose rows did, or not all were readable */
    bool cut;        /* an answer was full: more may differ than was seen */
};

struct descent_params {
    uint64_t node;
    uint32_t partition;
    bool young_too; /* leave nothing out: what is closed for good */
    /* Runs once, never inside descent_start. err: the peer or the store gave up on the way. DYN_OK
     * does not say that all is equal now: rows may have been skipped, or written meanwhile. */
    void (*done)(void *arg, int err, const struct descent_result *result);
    void *arg;
};

/* Is all that the peer has here as well, of what was found to differ? */
static inline bool descent_levelled(const struct descent_result *r)
{
    return r->failed == 0 && r->skipped == 0 && !r->cut;
}

struct descent;
struct descent *descent_start(struct engine *e, const struct descent_params *p);
void descent_forget(struct descent *d); /* it ends; done will not run */

/* What both partners count as traffic of the exchange. */
void descent_count_bytes(struct engine *e, size_t bytes);

#endif
