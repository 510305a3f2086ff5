/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions on their way to this node, and away from it (E10, E12, E13): whatever the ring says
 * that this node is to fill, it fetches from those that held it, says so, and sees to it that the
 * old voters know before the move is closed. */
#ifndef DYN_ENGINE_TRANSFER_H
#define DYN_ENGINE_TRANSFER_H

#include "engine/core.h"

struct transfers *transfers_new(struct engine *e);
void transfers_free(struct transfers *t);
/* Looks at the ring again: after a start, and after each change of it. */
void transfers_look(struct transfers *t);

#endif
