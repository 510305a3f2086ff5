/* SPDX-License-Identifier: Apache-2.0 */
/* What administrators do to the membership: stage a plan, which gossip carries to every node, look
 * at what it would do, and have it committed (E14). */
#ifndef DYN_ENGINE_MEMBERSHIP_H
#define DYN_ENGINE_MEMBERSHIP_H

#include "engine/engine.h"
#include "model/plan.h"

typedef void (*membership_done)(void *arg, int err, const char *why /* NULL: see err; borrowed */);

/* A copy of the plan as this node knows it. */
void membership_plan(struct engine *e, struct plan *out /* initialized, replaced */);
/* Stage one part, or drop what is staged about a node (0: everything). done may run inside. */
void membership_stage(struct engine *e, const struct member_event *part, membership_done done,
                      void *arg);
void membership_unstage(struct engine *e, uint64_t node, membership_done done, void *arg);
/* Commits the plan. digest: of the outcome that was looked at, so that nothing else is committed;
 * NULL: whatever is staged. force: as in commit.h; also what is refused because copies or members
 * are lost, as long as one copy of each partition is left. done may run inside. */
void membership_commit(struct engine *e, const uint8_t *digest, bool force, membership_done done,
                       void *arg);

/* Asks whoever is at an address for its id. done(arg, err, node) runs once, later.
 * DYN_ERR_OVERLOAD: another one is being asked. */
int membership_whois(struct engine *e, const char *address,
                     void (*done)(void *arg, int err, uint64_t node), void *arg);

#endif
