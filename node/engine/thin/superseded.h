/* SPDX-License-Identifier: Apache-2.0 */
/* Thin versions that were superseded unseen. A replica is away with a thin copy of a version; its
 * keepers let a write replace that, the value goes, and truncation cuts the pair of the clock that
 * covered it (HAZARDS E4). Back again, the replica names the version, no clock says that it is old,
 * and nobody has its bytes. E4 allows for a false conflict there, but not for one that cannot be
 * read.
 *
 * It is known to be old, though, where all owners have answered, none has the value, and
 *
 *   - somebody let go of it on its keepers' word: so the first of the row held it then, on disk. A
 *     copy that is thin by hearsay, stored when nobody had the value any more, is no such proof;
 *   - and the first of the row, who never lets go, knows the key and does not name the version: so
 *     it, or whoever was first before it, has had that replaced. The first, whatever N nodes
 *     believe the directory to have. One that does not vote is not heard.
 *
 * Such a version goes: the clock that names it stays, as if it had never been cut. */
#ifndef DYN_ENGINE_SUPERSEDED_H
#define DYN_ENGINE_SUPERSEDED_H

#include "engine/replica/replica.h"

/* What was said of one value. */
enum superseded_sign { SUPERSEDED_VOUCHED = 1, SUPERSEDED_UNNAMED = 2, SUPERSEDED_BOTH = 3 };

/* The value dots of o that its keepers have told this node that they held: a new array into *dots,
 * or NULL; returns how many. */
uint32_t superseded_vouched(const struct object *o, const struct row_state *s, struct dot **dots);
/* Is that node the first of the key's row? While the partition moves, of the row that votes. */
bool superseded_is_first(const struct engine *e, struct slice key, uint64_t node);
/* Takes the versions of that value away. The clock stays. Returns whether there were any. */
bool superseded_drop(struct object *o, const struct dot *value_dot);

#endif
