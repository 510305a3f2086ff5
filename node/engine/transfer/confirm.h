/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a fetched partition (E10): whoever has listed what a source has, and fetched it, asks
 * the source for the root of its tree. What differs is made level; and only when nothing does is
 * the source done with. So what was lost on the way, or was not to be read at the source, is not
 * taken for moved. */
#ifndef DYN_ENGINE_CONFIRM_H
#define DYN_ENGINE_CONFIRM_H

#include "engine/core.h"
#include "engine/membership/view.h"
#include "engine/trees/tree.h"

struct descent;

struct confirm { /* caller-owned; must stay put until done, or confirm_end */
    struct engine *e;
    uint64_t node; /* the source */
    uint32_t partition;
    /* DYN_OK: all that it has is here, and what it knows of settings (HAZARDS E26).
     * DYN_ERR_TIMEOUT: the two would not become equal. After confirm_cancel: DYN_ERR_CANCELED,
     * where confirm_busy said so. Never inside confirm_start. */
    void (*done)(struct confirm *c, int err);
    void *arg;
    uint64_t repaired; /* rows that the trees have brought; valid in done */

    uint32_t round;
    bool cancelled;
    struct tree_load load;
    struct rpc_call call;
    struct view_wait learn;
    struct timer again;
    struct descent *descent;
};
void confirm_start(struct confirm *c);
/* It is not wanted any more. Where something on this node's disk is under way it goes on to its
 * end, and done runs then. */
void confirm_cancel(struct confirm *c);
bool confirm_busy(const struct confirm *c);
void confirm_end(struct confirm *c); /* the engine ends: at once; fine when it was never started */

#endif
