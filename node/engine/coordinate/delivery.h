/* SPDX-License-Identifier: Apache-2.0 */
/* Bringing one object to one node: send it with the values at hand, and once more with those that
 * the receiver turns out to lack (E24), in parts when these are more than one message may hold. The
 * one way in which writes, repairs and hints reach a replica. */
#ifndef DYN_ENGINE_DELIVERY_H
#define DYN_ENGINE_DELIVERY_H

#include "engine/coordinate/value_fetch.h"
#include "engine/membership/view.h"
#include "engine/replica/extend.h"

struct delivery { /* caller-owned; must stay put until done */
    struct engine *e;
    struct slice key;            /* borrowed until done */
    uint32_t fragment;           /* in which its entry lies */
    const struct object *object; /* borrowed until done */
    uint64_t node;               /* may be this node */
    unsigned roles;
    uint64_t hint_for;
    /* A value in `object` that the node can make of one that it holds; borrowed until done; may be
     * NULL: it is no put. Not for whoever stands in: it has no reason to hold that. */
    const struct extended *extended;
    const struct clock *cut; /* see struct replica_write; borrowed until done; may be NULL */
    uint64_t born_us; /* when `object` was read, by this node's clock (E15); 0: it is new, now */
    bool sync, owe_entry;
    bool heal;         /* to this node: also fetch what its row lacks already */
    bool mend;         /* to this node: see struct replica_write */
    bool heal_thin;    /* and what is thin in it (thin.h) */
    bool without_lost; /* to this node: a value is stored thin where all holders say that they have
                          no such value, for then nobody has it any more */
    uint64_t holders[READ_QUORUM_NODES]; /* who may have values that this node lacks */
    uint32_t n_holders;
    uint64_t timeout_us;
    /* DYN_OK: it holds the object, at the durability asked for. May run inside delivery_start. */
    void (*done)(struct delivery *d, int err);
    void *arg;

    bool parent_dead, differs; /* from the receiver, valid in done */

    struct object full;  /* what is sent: all of the object, or a part of it, with fetched values */
    struct dot *lacking; /* value dots that the receiver does not hold */
    uint32_t n_lacking;
    struct dot *gone; /* value dots that nobody has; n_gone: valid in done */
    uint32_t n_gone;
    uint32_t sent;          /* siblings in the part under way */
    bool second, described; /* described: the extension is what is under way */
    struct rpc_call call;
    struct replica_write write;
    struct value_fetch fetch;
    bool fetching, writing;
    struct view_wait learn; /* the receiver's ring was another one */
    uint32_t learned;
    struct list link; /* engine.deliveries, if it is a put's */
    struct timer turn;
    bool waiting; /* for an earlier one, which brings what its value extends */
};
void delivery_start(struct delivery *d);
void delivery_release(struct delivery *d);

#endif
