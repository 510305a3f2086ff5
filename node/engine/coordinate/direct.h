/* SPDX-License-Identifier: Apache-2.0 */
/* What clients that coordinate their reads by themselves ask of this node as one replica of many
 * (DESIGN: client-driven coordination): its own copy, and that it look whether it is behind. */
#ifndef DYN_ENGINE_DIRECT_H
#define DYN_ENGINE_DIRECT_H

#include "engine/core.h"

void direct_get_frame(struct engine *e, uint64_t origin, uint64_t rid, struct slice body);
void direct_behind_frame(struct engine *e, struct slice body); /* has no answer */

#endif
