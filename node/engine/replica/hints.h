/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger of hints: what this node keeps for others (Dynamo, section 4.6). A hint is a small row
 * naming target and key; the object itself lies where this node's own copies lie, so hints merge by
 * themselves and reads see them. Drained when the target answers again; dropped only when the
 * target has acknowledged a sync (E11) of exactly the state that is still here. */
#ifndef DYN_ENGINE_HINTS_H
#define DYN_ENGINE_HINTS_H

#include "engine/core.h"

struct hint_ledger *hints_new(struct engine *e);
void hints_free(struct hint_ledger *h); /* drains under way are abandoned */
/* Counts what is on disk; done(arg, err) may run inside. */
void hints_load(struct hint_ledger *h, void (*done)(void *arg, int err), void *arg);
/* Adds the hint's row to a batch that also stores the object; returns the bytes it stands for.
 * since_ms: of the hint that it replaces, 0 when there was none. */
uint64_t hints_batch(struct hint_ledger *h, struct store_batch *b, uint64_t target,
                     uint32_t partition, enum row_kind kind, struct slice key,
                     const struct object *o, uint64_t since_ms);
/* That batch has been taken. was: the bytes of the hint that it replaces, 0 when there was none. */
void hints_note(struct hint_ledger *h, uint64_t target, uint64_t was, uint64_t bytes);
bool hints_full(const struct hint_ledger *h);
uint64_t hints_count(const struct hint_ledger *h, uint64_t target);
uint64_t hints_total(const struct hint_ledger *h);
/* What is kept for whom, for every target that something is kept for, also when it is no member any
 * more. Returns how many there are, of which at most cap are written. */
uint32_t hints_targets(const struct hint_ledger *h, struct engine_hints *out, uint32_t cap);
/* For whom anything is kept, or ever was in this start: whoever must be sure looks at the rows. */
uint32_t hints_nodes(const struct hint_ledger *h, uint64_t *out, uint32_t cap);
uint64_t hints_bytes(const struct hint_ledger *h);
/* Starts draining to every target that is up and has hints. Cheap when there is nothing to do. */
void hints_drain(struct hint_ledger *h);

#endif
