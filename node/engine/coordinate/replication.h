/* SPDX-License-Identifier: Apache-2.0 */
/* Spreading one object, and its entry, over the nodes that should have it: the N primaries of each,
 * stand-ins with hints for those that fail (sloppy quorum and hinted handoff; Dynamo, section 4.6),
 * done after W of each. It outlives the request: the rest is still brought home after W. */
#ifndef DYN_ENGINE_REPLICATION_H
#define DYN_ENGINE_REPLICATION_H

#include "engine/replica/extend.h"

struct replication;

struct replication_params {
    struct slice key; /* copied */
    const struct object
        *object;      /* copied; its loaded values travel at once, others when a replica asks */
    uint64_t born_us; /* when the object was read (E15); 0: it is new, now */
    const struct clock *cut; /* copied; what this put has cut (E4); may be NULL */
    struct quorum quorum;
    unsigned roles;         /* what to spread: ROLE_OBJECT, ROLE_ENTRY or both */
    uint32_t fragment;      /* in which the entry lies; see entry_place.h */
    bool wait_entry;        /* W entries too, before it is settled (see coordinate_put.c) */
    unsigned self_roles;    /* this node writes its own copy in these roles: see replication_self */
    uint64_t self_hint_for; /* not 0: as a stand-in for this primary */
    bool owe_entry;         /* replicas record the entry as owed; cleared at W entries (E17) */
    struct extended extended; /* which of its values extends one that replicas may hold */
    bool keep_debts;          /* not cleared: more is owed than this entry (fragments.h) */
    /* Runs once, when W have it or cannot be had: err is DYN_OK, DYN_ERR_NO_QUORUM or
     * DYN_ERR_TIMEOUT. Never inside replication_start. NULL: nobody waits. */
    void (*settled)(void *arg, int err);
    void *arg;
};

struct replication *replication_start(struct engine *e, const struct replication_params *p);
/* The outcome of this node's own write in self_roles. Must be called exactly once if self_roles !=
 * 0; may be what settles it. */
void replication_self(struct replication *r, int err, bool parent_dead);
void replication_forget(struct replication *r); /* settled will not run; valid only before it has */

/* Valid inside settled. */
uint32_t replication_acks(
    const struct replication *r); /* of the object, or of the entry when only that is spread */
bool replication_parent_dead(const struct replication *r);
uint32_t replication_holders(const struct replication *r, uint64_t *nodes, uint32_t cap);

/* The nodes that hold a key's entry, in this fragment, are the same as those that hold its object:
 * then nothing is ever owed between them. */
bool replication_same_nodes(const struct engine *e, struct slice key, uint32_t fragment,
                            uint32_t n);

/* Is the key in some directory's listing? Not the root, nor what the cluster keeps for itself. */
bool engine_has_entry(struct slice key);

/* All who hold a partition as one of its first n, or will: those that vote, and the other row of a
 * move. Returns how many. */
#define OWNERS_MAX (N_MAX + MOVES_N_MAX)
uint32_t engine_owners(const struct engine *e, uint32_t partition, uint32_t n,
                       uint64_t nodes[OWNERS_MAX]);
bool engine_is_owner(const struct engine *e, uint64_t node, uint32_t partition, uint32_t n);

/* The roles that a node has for a key, with its entry in this fragment, as one of the first n, also
 * while it still fills. */
unsigned engine_roles(const struct engine *e, uint64_t node, struct slice key, uint32_t fragment,
                      uint32_t n);

/* Is this node one of those, of a partition? */
bool engine_owns(const struct engine *e, uint32_t partition);

#endif
