/* SPDX-License-Identifier: Apache-2.0 */
/* Anti-entropy (Dynamo, section 4.7; HAZARDS E11, E19): owners of a partition compare their trees,
 * one peer at a time, each peer within cfg.exchange_us, and soon after a start or when a peer comes
 * back. So what neither hints nor reads bring home comes home all the same. It lets no copy go. */
#ifndef DYN_ENGINE_EXCHANGE_H
#define DYN_ENGINE_EXCHANGE_H

#include "engine/core.h"

struct exchanges *exchanges_new(struct engine *e);
void exchanges_free(struct exchanges *x);
void exchanges_start(struct exchanges *x);
/* The ring is another one: whoever was alone has somebody to compare with. */
void exchanges_look(struct exchanges *x);
/* The peer may have missed something: it is next. */
void exchanges_hasten(struct exchanges *x, uint64_t node);
/* This node may have lost something: all of them are next, at once (catchup.h). */
void exchanges_hasten_all(struct exchanges *x);

#endif
