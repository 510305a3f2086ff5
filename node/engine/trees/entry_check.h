/* SPDX-License-Identifier: Apache-2.0 */
/* Does an object agree with its entry? Asked by the scrub for each row, in one direction:
 *
 *   of an object's row   is the entry behind it? Then it is owed (E17): the sweep projects what a
 *                        read at R finds, never one replica's copy
 *   of an entry's row    is it ahead of its object? When all N copies of the object together have
 *                        not seen what the entry shows, it is a ghost: it becomes what they say, or
 *                        goes, on each of its replicas that has it in exactly this state (E18)
 *
 * One of the row's replicas asks, the first that is up. */
#ifndef DYN_ENGINE_ENTRY_CHECK_H
#define DYN_ENGINE_ENTRY_CHECK_H

#include "engine/replica/replica.h"

struct entry_check { /* caller-owned; must stay put until done */
    struct engine *e;
    enum row_kind kind;          /* of the row at hand */
    struct slice key;            /* of an entry: its id; borrowed until done, not the root's */
    const struct object *object; /* the row's; borrowed until done */
    void (*done)(struct entry_check *c); /* may run inside entry_check_start */
    void *arg;

    struct buf other; /* the key of the object, or the id of the entry, that is looked at */
    struct replica_read read;
    bool reading;
    struct rpc_call call;
    struct store_write write;
};
void entry_check_start(struct entry_check *c);
void entry_check_release(struct entry_check *c); /* of one under way: when the engine ends */

/* A peer has found a ghost. */
void entry_mend_serve(struct engine *e, uint64_t origin, uint64_t rid, struct slice body);

#endif
