/* SPDX-License-Identifier: Apache-2.0 */
/* What this mount is told of, instead of asking. For each directory in which names or attributes
 * are in use it asks the cluster to be told of changes (port/watch.h). As long as that holds, what
 * the cluster has said of a file since then is believed for longer than the usual second, and costs
 * no request; a change that is told takes effect at once. When it ceases to hold, everything is as
 * without it: a second.
 *
 * A replica can miss a write for a while (hints bring it later), so nothing is believed for longer
 * than push_us after the cluster was last asked. Opening a file asks always. */
#ifndef DYN_FS_TOLD_H
#define DYN_FS_TOLD_H

#include "model/seen.h"

/* Something in the directory is in use: it is to be told of. */
void told_touch(struct seen *dir);
/* What is remembered of the key can be believed as if it had just been asked for. */
bool told_of(const struct seen *s);
/* How long the kernel, or an answer of this mount, may keep what was learnt of the key: `wanted`,
 * which is an option; but not for longer than a second unless a node tells of changes. */
uint64_t told_time(const struct seen *s, uint64_t wanted_us);
void told_release(struct fs *fs);

#endif
