/* SPDX-License-Identifier: Apache-2.0 */
/* States that come back out of an archive (FRAME_RESTORE, model/range_wire.h). They are joined with
 * what is there, like a late message: what has been written or deleted since covers them, so a
 * restore undoes no more than deletes that have been reaped, and doing it twice is doing it once.
 * Each must have the seal of this cluster, for a clock that anybody could make up could cover what
 * is yet to be written (E3).
 *
 * A node that is brought dots of its own that it does not know closes the key's mark, as in any
 * merge (E1), so nothing is minted twice. */
#ifndef DYN_ENGINE_RESTORE_H
#define DYN_ENGINE_RESTORE_H

#include "engine/core.h"

void restore_frame(struct engine *e, uint64_t origin, uint64_t rid, struct slice body);

#endif
