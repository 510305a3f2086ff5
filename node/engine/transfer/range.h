/* SPDX-License-Identifier: Apache-2.0 */
/* A partition as it is given to its new owner (E10). To one who has nothing of it: the states, in
 * the store's order. To one who has: first what there is, row by row with a hash of each state,
 * then the states that the receiver lacks. So a piece can be asked for again, by the same node
 * after a crash or of another source, and costs little where both sides agree; and all that arrives
 * is merged by key like any other write.
 *
 * The side that serves FRAME_RANGE_LIST, FRAME_RANGE_FETCH, FRAME_RANGE_ROOT, FRAME_FENCED, and
 * FRAME_ARCHIVE, whose pieces are the same but for the seals. Their bodies are in
 * model/range_wire.h. */
#ifndef DYN_ENGINE_RANGE_H
#define DYN_ENGINE_RANGE_H

#include "engine/replica/replica.h"
#include "model/range_wire.h"

/* Every rule on keys, and on ids of entries, that came from elsewhere. */
bool range_rows_valid(const struct range_row *rows, uint32_t n);

/* Frames from peers. */
void range_frame(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type, struct slice body);

/* FRAME_ARCHIVE, from a client that makes a backup. */
void range_archive_frame(struct engine *e, uint64_t origin, uint64_t rid, struct slice body);

#endif
