/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong during the safety phase: one fault after another, each for a while, several at
 * once, drawn from the plan. heal() ends all of them. */
#ifndef DYN_SIM_FAULTS_H
#define DYN_SIM_FAULTS_H

#include "sim_cluster.h"
#include "sim_plan.h"

struct sim_faults;

/* users: clients live at endpoints SIM_NODES_MAX + 2 * i and + 1; a split may part them from
 * nodes too. power_lost(arg) runs before the power goes anywhere. */
struct sim_faults *sim_faults_new(struct sim_cluster *c, const struct sim_plan *plan,
                                  void (*power_lost)(void *arg), void *arg);
void sim_faults_free(struct sim_faults *f);
void sim_faults_start(struct sim_faults *f);
/* No more faults; every node runs, every link works, disks and network as good as they get. */
void sim_faults_heal(struct sim_faults *f);

#endif
