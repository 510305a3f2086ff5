/* SPDX-License-Identifier: Apache-2.0 */
/* The last step of a move (model/moves.h): when a partition is filled everywhere, its owners
 * ask the old voters whether they know. N - R + 1 of them must, so that nobody can still gather R
 * by the old view; then the move is closed. */
#ifndef DYN_ENGINE_CLOSING_H
#define DYN_ENGINE_CLOSING_H

#include "engine/core.h"

struct closings *closings_new(struct engine *e);
void closings_free(struct closings *t);
/* Is the partition filled and not closed, and is this node one of those whom it goes to? */
bool closings_owns(const struct engine *e, uint32_t p);
/* There is such a partition. */
void closings_look(struct closings *t);

/* An event of this node about partitions, which are sorted; none for none. */
void moves_tell(struct engine *e, enum member_event_type type, uint32_t *partitions, uint32_t n);

#endif
