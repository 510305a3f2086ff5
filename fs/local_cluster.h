/* SPDX-License-Identifier: Apache-2.0 */
/* The cluster of `dynamount --local DIR`: one node of one's own, in a folder that `dynactl cluster`
 * knows too. It runs for as long as the mount does. */
#ifndef DYN_FS_LOCAL_CLUSTER_H
#define DYN_FS_LOCAL_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct local_cluster;

/* Takes the folder for this mount alone, makes a cluster of one node there if it is new or empty,
 * and starts each of its nodes that does not run. mountpoint is absolute, and is told to whoever
 * comes second. DYN_ERR_INVALID or DYN_ERR_IO with *message (caller frees). */
int local_cluster_open(const char *dir, const char *mountpoint, struct local_cluster **out,
                       char **message);
/* HOST:PORT of each node; borrowed. */
const char *const *local_cluster_addresses(const struct local_cluster *c, uint32_t *n);

/* From now on nodes that end are started again, and the log hears of it. */
void local_cluster_watch(struct local_cluster *c, struct loop *l);
/* A node that this process started has ended before the first `watch`: *message has its last words
 * (caller frees). */
bool local_cluster_failed(struct local_cluster *c, char **message);

/* The mount is going: whoever waits for the folder may go on waiting, it will not be long. */
void local_cluster_ending(struct local_cluster *c);
/* Stops what it started, waits for it, and frees. NULL is fine. */
void local_cluster_close(struct local_cluster *c);

#endif
