/* SPDX-License-Identifier: Apache-2.0 */
/* What users do: some users, each with one request at a time, on few keys in few directories, so
 * that they keep meeting each other. Each remembers what it read, and writes under that context, as
 * a program or a mount would. Everything goes through the oracle. */
#ifndef DYN_SIM_WORKLOAD_H
#define DYN_SIM_WORKLOAD_H

#include "oracle.h"
#include "sim_client.h"
#include "sim_plan.h"

struct sim_workload;

struct sim_workload *sim_workload_new(struct sim_cluster *c, const struct sim_plan *plan,
                                      struct oracle *o);
void sim_workload_free(struct sim_workload *w);
void sim_workload_start(struct sim_workload *w);
bool sim_workload_last(const struct sim_workload *w); /* all requests made, some still out */
bool sim_workload_over(const struct sim_workload *w); /* all requests made and ended */
void sim_workload_gone(struct sim_workload *w, const struct sim_node *node);

uint32_t sim_workload_keys(const struct sim_workload *w); /* files, then directories */
struct slice sim_workload_key(const struct sim_workload *w, uint32_t i);
uint32_t sim_workload_acked(const struct sim_workload *w); /* writes */
uint32_t sim_workload_reads(const struct sim_workload *w); /* reads and listings answered */

#endif
