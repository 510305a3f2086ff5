/* SPDX-License-Identifier: Apache-2.0 */
/* Dots and version vectors. A dot names one write for ever; a clock says which dots its holder has
 * seen. The actor is not just the node but (node, epoch), so that a node which forgot or was
 * restored never gives a dot twice (HAZARDS E1, E2). */
#ifndef DYN_MODEL_CLOCK_H
#define DYN_MODEL_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define CLOCK_PAIRS_MAX 4096 /* decode limit */

/* Which life of a node minted: 64 random bits drawn at each start, and a running number leased from
 * disk. */
struct epoch {
    uint64_t boot;
    uint32_t run; /* 0: no epoch */
};

struct actor {
    uint64_t node;
    struct epoch epoch;
};

struct dot {
    struct actor actor;
    uint64_t counter; /* from 1; 0: no dot */
};

struct clock_pair {
    struct actor actor;
    uint64_t counter;
    uint64_t time_ms; /* wall clock when this counter's dot was made; fixed with the dot (E4) */
};

struct clock {
    struct clock_pair *pairs; /* sorted by actor */
    uint32_t n, cap;
};

enum clock_order { CLOCK_EQUAL, CLOCK_BEFORE, CLOCK_AFTER, CLOCK_CONCURRENT };

#define CLOCK_EMPTY ((struct clock){NULL, 0, 0})

int epoch_compare(struct epoch a, struct epoch b);
int actor_compare(const struct actor *a, const struct actor *b);
int dot_compare(const struct dot *a,
                const struct dot *b); /* a total order without meaning in time */
bool dot_equal(const struct dot *a, const struct dot *b);
bool dot_is_none(const struct dot *d);

void clock_release(struct clock *c);
void clock_copy(struct clock *to, const struct clock *from);      /* to: initialized; replaced */
uint64_t clock_get(const struct clock *c, const struct actor *a); /* 0 when absent */
/* Where a's pair is in c->pairs; false, and *index untouched, when absent. */
bool clock_index(const struct clock *c, const struct actor *a, uint32_t *index);
bool clock_covers(const struct clock *c, const struct dot *d);
bool clock_dominates(const struct clock *a, const struct clock *b); /* a covers all that b covers */
enum clock_order clock_compare(const struct clock *a, const struct clock *b);
void clock_advance(struct clock *c, const struct dot *d, uint64_t time_ms); /* pair := max */
void clock_join(struct clock *into,
                const struct clock *other); /* pairwise max; time goes with its counter */

void clock_remove(struct clock *c, uint32_t index); /* for truncation alone: see object_truncate */
/* Drops the pairs that were made at before_ms or earlier. What a reader asks to see again may name
 * pairs that truncation has cut since. */
void clock_forget(struct clock *c, uint64_t before_ms);

/* Does b know a counter of this node's actor `a` that c does not? Then c forgot own dots: the mark
 * must close (E1). */
bool clock_lacks_own(const struct clock *c, const struct clock *other, const struct actor *a);

void dot_encode(const struct dot *d, struct buf *out);
void dot_decode(struct reader *r, struct dot *d);
void clock_encode(const struct clock *c,
                  struct buf *out); /* canonical: equal clocks, equal bytes */
void clock_decode(
    struct reader *r,
    struct clock *c); /* c initialized; the reader fails on disorder, zero counters, too many */

#define DOT_TEXT_MAX 72
/* "node.boot.run.counter" in hexadecimal, e.g. for xattrs; needs DOT_TEXT_MAX bytes. */
void dot_format(const struct dot *d, char *out);
int dot_parse(struct slice text, struct dot *out); /* DYN_ERR_INVALID */

#endif
