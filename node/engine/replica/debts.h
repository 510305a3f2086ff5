/* SPDX-License-Identifier: Apache-2.0 */
/* What this node owes: entries that may not have reached their directory (E17), directories under
 * which something lives though they do not (E16), and hints (hints.h). A sweep at intervals settles
 * whatever has been owed for too long. */
#ifndef DYN_ENGINE_DEBTS_H
#define DYN_ENGINE_DEBTS_H

#include "engine/core.h"
#include "engine/replica/hints.h"

struct debt_sweeper *debts_new(struct engine *e);
void debts_free(struct debt_sweeper *s);
void debts_start(struct debt_sweeper *s);
uint64_t debts_now(const struct debt_sweeper *s); /* rows seen by the last complete sweep */

/* The entry of this state has reached W of its replicas: the debt ends at `node`, unless a newer
 * state is owed there by now. */
void debts_clear_entry_at(struct engine *e, uint64_t node, struct slice key,
                          const uint8_t state[DIGEST_LEN]);
/* The same on this node. */
void debts_clear_entry(struct engine *e, struct slice key, const uint8_t state[DIGEST_LEN]);
/* The row of a debt about a key goes, if it still states what it did. Not of DEBT_DIR. */
void debts_forget(struct engine *e, enum debt_kind kind, struct slice key,
                  const uint8_t state[DIGEST_LEN]);

#endif
