/* SPDX-License-Identifier: Apache-2.0 */
/* Objects whose own row here cannot be read: rot. Nothing can be merged into such a row, for nobody
 * knows what it has seen; so it would stay so for ever. It is replaced by what all other replicas
 * have, joined. What goes with it:
 *
 *  - its mark, so this node mints under a fresh epoch from then on, and gives no dot twice (E1);
 *  - what it has acknowledged. A write that counted this copy is on another replica, or on a
 *    stand-in that will hand it over; but fewer than all others might not have it, and then this
 *    node would vote for its absence (E13). So all others are asked, and only when the row has
 *    been seen bad for as long as a message lives: until then a write may still be on its way to
 *    them from here. A row that cannot be read counts for nothing, so none comes after that;
 *  - what it has dropped or prepared to be reaped: the others say so, or it is not forgotten (E15).
 *
 * Where the others have nothing, the row stays: it may be the only one. */
#ifndef DYN_ENGINE_BAD_ROWS_H
#define DYN_ENGINE_BAD_ROWS_H

#include "engine/core.h"

struct bad_rows *bad_rows_new(struct engine *e);
void bad_rows_free(struct bad_rows *b);
/* The object's row could not be read. Cheap; what does not get room is noted when it is met again,
 * and so is what could not be mended. key: copied. */
void bad_rows_note(struct bad_rows *b, struct slice key);
/* A write has read the object's row. If it is the one that is being replaced just now, something
 * may have been merged into it that others were not asked for any more: then it is not. */
void bad_rows_readable(struct bad_rows *b, struct slice key);
bool bad_rows_replaces(const struct bad_rows *b);

#endif
