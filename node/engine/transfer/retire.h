/* SPDX-License-Identifier: Apache-2.0 */
/* Dropping what a node owns no more (HAZARDS E10). When a partition has moved away, its old owner
 * keeps what it has for a day, read-only: for whoever is still fetching a value, and in case that
 * the move was a mistake. Then it goes, row by row, with what the trees know of it. As long as it
 * is there no delete of that partition is reaped, for the copies could come back (E15).
 *
 * What a node keeps for others stays: a row that a hint or a debt is about is left alone until it
 * has been handed over. */
#ifndef DYN_ENGINE_RETIRE_H
#define DYN_ENGINE_RETIRE_H

#include "engine/core.h"

struct retirement *retirement_new(struct engine *e);
void retirement_free(struct retirement *t);
void retirement_start(struct retirement *t);
uint32_t retirement_partitions(const struct retirement *t); /* kept now, as of the last look */

#endif
