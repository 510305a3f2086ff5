/* SPDX-License-Identifier: Apache-2.0 */
/* What a source has listed of a partition, with a hash of each state, beside what this node has:
 * only what differs is fetched. */
#ifndef DYN_ENGINE_COMPARE_H
#define DYN_ENGINE_COMPARE_H

#include "engine/replica/replica.h"
#include "model/range_wire.h"

struct compare_row;

struct compare { /* caller-owned; zeroed at first; must stay put until done */
    /* set by the caller */
    struct engine *e;
    void (*done)(struct compare *c); /* may run inside compare_start */
    void *arg;

    struct compare_row *rows;
    uint32_t n, n_active;
};
/* Rows of RANGE_HASHES; copied. */
void compare_start(struct compare *c, const struct range_reply *list);
bool compare_busy(const struct compare *c);
/* Rows that differ and were not fetched yet, in the order of the list. out: room for
 * RANGE_ROWS_MAX; keys borrowed. */
uint32_t compare_wanted(const struct compare *c, struct range_row *out);
void compare_fetched(struct compare *c, uint32_t n); /* the first n of them were */
void compare_release(struct compare *c);

#endif
