/* SPDX-License-Identifier: Apache-2.0 */
/* The liveness phase. With every node up and every link good, within a bounded simulated time
 *
 *   - all hints have drained and no node owes an entry or a directory any more;
 *   - every key can be read and every directory listed at R = N;
 *   - replicas of a key are equal, and hold the bytes of what lives;
 *   - what lives is listed, up to the root, and nothing else is;
 *
 * and then the oracle judges what is there.
 *
 * There is no anti-entropy in this version: a replica that missed a write for which no hint was
 * kept (the coordinator's own primary answered in time) catches up by read repair. So this phase
 * reads each key and lists each directory at R = N once before it judges. When anti-entropy comes,
 * that first round goes, and its absence will test the exchange. */
#ifndef DYN_SIM_CONVERGE_H
#define DYN_SIM_CONVERGE_H

#include "oracle.h"
#include "sim_client.h"
#include "sim_plan.h"

/* The faults have been healed; client: an idle one. */
void sim_converge(struct sim_cluster *c, struct sim_client *client, struct oracle *o, uint32_t n);
/* Runs until nothing is owed and all nodes are up, restarting those that are not; a violation and
 * false when that takes longer than `limit_us`. */
bool sim_settle(struct sim_cluster *c, uint64_t limit_us);

#endif
