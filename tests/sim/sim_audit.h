/* SPDX-License-Identifier: Apache-2.0 */
/* The last looks at a converged cluster: listings against objects, and replicas against each other
 * on their disks. */
#ifndef DYN_SIM_AUDIT_H
#define DYN_SIM_AUDIT_H

#include "oracle.h"
#include "sim_cluster.h"

/* What the listings of all directories showed. */
struct sim_listing;
struct sim_listing *sim_listing_new(void);
void sim_listing_free(struct sim_listing *l);
void sim_listing_clear(struct sim_listing *l);
void sim_listing_add(struct sim_listing *l, struct slice dir, const struct list_entry *entry);

/* objects: by index of the oracle's keys. Every live object but the root's is listed with exactly
 * its live versions and stands under a live directory; nothing else is listed. */
void sim_audit_listing(struct sim_cluster *c, const struct sim_listing *l, const struct oracle *o,
                       const struct object *objects);
/* Before anything was read: the first n nodes of each key's object, and of its entry, store the
 * same, with the bytes of all live versions. */
void sim_audit_level(struct sim_cluster *c, const struct oracle *o, uint32_t n);
/* Each of a key's first n nodes stores that object, and the bytes of its live versions. Reads the
 * rows as the engine lays them. */
void sim_audit_replicas(struct sim_cluster *c, const struct oracle *o, const struct object *objects,
                        uint32_t n);

#endif
