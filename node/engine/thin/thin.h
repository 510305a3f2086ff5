/* SPDX-License-Identifier: Apache-2.0 */
/* N by directory (model/settings.h): how many nodes keep the values of what lies below, while
 * clocks, versions and entries stay with the cluster's N. A put brings its values to all N, W of
 * which acknowledge it, whatever the directory says; then each owner beyond the first n lets go of
 * the values that those n hold. Its copy is thin from then on: it names versions without their
 * bytes, in its tree (HAZARDS E19) and in every quorum it counts as before, and who wants the bytes
 * asks the others. So a change of n changes no quorum, and nodes that do not agree about it hide
 * and lose nothing.
 *
 * What keeps values from getting lost:
 *
 *   - A node lets go of a value when each of the first n owners of a settled partition, all of
 *     them before it in the row, says that it holds it and has seen all that this node has of the
 *     key, after a sync (E11), under the same ring; and it does so under the ring, and from the
 *     state of the object, that it asked about, or not at all (E10). So nobody relies on one who
 *     knows another order of the row, and the first of a row never lets go.
 *   - A version that is new to a node comes with its value, also where the value itself, as that of
 *     a version before it, is thin there: its keepers may have replaced that one meanwhile. And who
 *     mints a version of a value that is thin there, a chmod, fetches the value first.
 *   - A new owner takes every value, wherever it will stand in the row, or has not filled. Who
 *     asks for a move to be closed stays an owner, and has all values first, synced, whatever it
 *     had let go of; so who retires then is needed for nothing.
 *   - A node that is to hold values, for n has grown or the row is another one, fetches them. */
#ifndef DYN_ENGINE_THIN_H
#define DYN_ENGINE_THIN_H

#include "engine/replica/replica.h"

struct thin_keeper *thin_new(struct engine *e);
void thin_free(struct thin_keeper *k);
void thin_start(struct thin_keeper *k);
/* The ring, or what directories say, is another one: thin copies, or full ones, may be wrong. */
void thin_look(struct thin_keeper *k);

/* How many nodes keep the key's values: 1 to the cluster's N. */
uint32_t thin_copies(const struct engine *e, struct slice key);
/* May values of the key be at other owners only? */
static inline bool thin_possible(const struct engine *e, struct slice key)
{
    return thin_copies(e, key) < ring_n(e->ring);
}
/* While the partition moves: are all values of its rows here, but for those that nobody has any
 * more? If not, or if that is not known, they are fetched from now on: ask again. */
bool thin_whole(struct thin_keeper *k, uint32_t partition);

/* In the batch of a write that changes the object: the rows that remind of it. */
void thin_batch(const struct replica_write *w, struct store_batch *b);
/* The same for a row that is new, with all its values. */
void thin_batch_new(const struct engine *e, struct store_batch *b, const struct place *at,
                    struct slice key, const struct object *o);
/* In the batch that takes the object's row away. */
void thin_forget(struct store_batch *b, uint32_t partition, struct slice key);

void thin_serve(struct engine *e, uint64_t origin, uint64_t rid, struct slice body);
/* Rows that are thin, about. */
uint64_t thin_rows(const struct thin_keeper *k);

#endif
