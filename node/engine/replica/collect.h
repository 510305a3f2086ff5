/* SPDX-License-Identifier: Apache-2.0 */
/* Giving back the room of chunks that no version names any more (E8, E23). The danger is to take
 * one that somebody still needs, so nothing goes on time alone:
 *
 *   Each replica of an upload's record keeps a row that reminds it of the upload. The first of them
 *   looks at it now and then, in rounds that begin only when every member of the ring has answered
 *   that it keeps no hint: so whatever was acknowledged before lies with its primaries. It reads
 *   the record and each key that this refers to from all N, and marks the numbers that a live
 *   version names, or one that is kept for people to have back (kept.h). What is not marked goes
 *   when the marks have been the same for a grace, and all references are older than a lease: who
 *   reads an older version, or is about to publish one, has said so meanwhile (chunk_io.h), and
 *   that begins the grace again.
 *
 * One node that is down, a replica that does not answer, a value that cannot be read: nothing is
 * collected. */
#ifndef DYN_ENGINE_COLLECT_H
#define DYN_ENGINE_COLLECT_H

#include "engine/core.h"

struct collector;
struct collector *collector_new(struct engine *e);
void collector_free(struct collector *c);
void collector_start(struct collector *c);

/* In the batch that writes a key: if that is the record of an upload, its row, with nothing
 * marked. */
void collect_batch(struct engine *e, struct store_batch *b, uint32_t partition, struct slice key);

#endif
