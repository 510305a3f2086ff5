/* SPDX-License-Identifier: Apache-2.0 */
/* Forgetting deletes (HAZARDS E15, E18, E11). A tombstone that went too soon would let whatever it
 * covered come back: a hint kept by a node that was away, a message in a stalled socket, an old
 * owner's copy. So one goes on proof only:
 *
 *   - Prepare: all N replicas of the object say that their disks hold the same tombstone, all N of
 *     its entry the same dead entry (or nothing), and every member that was not removed says that
 *     it keeps no hint of these partitions and no copies of what it owns no more. Both partitions
 *     are settled, and all answer under the same ring. Then each replica marks its row.
 *   - Wait until nothing that was sent before is believed any more: messages say when what they
 *     bring was read, and are refused for new rows when that is too long ago (peer_time.h).
 *     Whatever touches a marked row takes the mark away.
 *   - Drop: all say again the same, all marks are old enough, nobody keeps anything. The entries
 *     go first, then the objects: an entry goes by its object's reaping, and in no other way.
 *
 * A replica that has nothing is as good as one that has the tombstone, so what was interrupted is
 * simply done again. One node that is away stops all of it, until it is back or removed (E25).
 *
 * Each replica keeps a row that reminds it of each tombstone; the first of the key's preference
 * list leads, the others when that has had its time. */
#ifndef DYN_ENGINE_REAP_H
#define DYN_ENGINE_REAP_H

#include "engine/core.h"

struct reaper *reaper_new(struct engine *e);
void reaper_free(struct reaper *r);
void reaper_start(struct reaper *r);
/* What the last whole round has found, into the gauges of the statistics. */
void reaper_stats(const struct reaper *r, struct engine_stats *out);

/* In the batch that writes an object: if that is a tombstone, the row that reminds of it. */
void reap_batch(struct store_batch *b, uint32_t partition, struct slice key,
                const struct object *o);

/* FRAME_REAP and FRAME_REAP_CLEAR from peers (reap_serve.c). */
void reap_serve(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type, struct slice body);

#endif
