/* SPDX-License-Identifier: Apache-2.0 */
/* Bringing one row level between this node and one other, both of which are to have it. */
#ifndef DYN_ENGINE_REPAIR_H
#define DYN_ENGINE_REPAIR_H

#include "engine/coordinate/delivery.h"

struct repair { /* caller-owned; must stay put until done */
    struct engine *e;
    enum row_kind kind;
    struct slice key;     /* of an entry: its id; borrowed until done */
    uint64_t node;        /* the other one */
    struct object theirs; /* taken; absent when it has nothing */
    uint64_t born_us;     /* when the peer was asked for `theirs` (E15) */
    bool young_too;       /* also what was written a moment ago, and may be on its way */
    void (*done)(struct repair *r, int err); /* may run inside repair_start */
    void *arg;

    bool changed, skipped; /* valid in done */
    bool sending; /* in done, with an error: all of theirs is here, they do not take ours */

    bool reading, delivering, joined, equal;
    struct replica_read read;
    struct delivery delivery;
    int stage;
};
void repair_start(struct repair *r);
void repair_release(struct repair *r);

#endif
