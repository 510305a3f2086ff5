/* SPDX-License-Identifier: Apache-2.0 */
/* What df shows: the disks of all nodes together, over N, since each byte is kept N times. A statfs
 * must not wait for the slowest node, and comes often (file managers, installers), so it is
 * answered with what was last heard; asking for it makes the nodes be asked again, in the
 * background. A node that is silent keeps what it said last. */
#ifndef DYN_FS_CLUSTER_SPACE_H
#define DYN_FS_CLUSTER_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock_port.h"
#include "model/client.h"

struct cluster_space;

/* All borrowed. */
struct cluster_space *cluster_space_new(struct client *client, const struct time_port *time,
                                        struct timers *timers);
void cluster_space_free(struct cluster_space *s); /* before the client; NULL is fine */
/* False: nothing has been heard yet. */
bool cluster_space_get(struct cluster_space *s, uint64_t *total, uint64_t *unused);

#endif
