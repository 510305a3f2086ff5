/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes tell each other about their cluster, and how they find out cheaply that they know the
 * same: the membership history, how often each node has started (E2), and the plan that
 * administrators are making. All three are joins, so it does not matter who tells whom first, or
 * twice. Pure: whoever carries the messages drives it. */
#ifndef DYN_MODEL_RUMOURS_H
#define DYN_MODEL_RUMOURS_H

#include "model/history.h"

#define PLAN_LEN_MAX (64u << 10)
#define BOOTS_MAX 8192u /* more ids than any cluster ever has alive; the rest is ignored */

struct boot { /* the last start of a node that anybody heard of */
    uint64_t node;
    uint64_t count;       /* of its starts */
    uint64_t incarnation; /* random, of that start */
};

struct rumours {
    struct history history;
    struct boot *boots; /* by node */
    uint32_t n_boots, cap_boots;
    uint64_t plan_stamp, plan_node; /* the later (stamp, node) wins */
    struct buf plan;
};

#define RUMOURS_EMPTY ((struct rumours){.history = HISTORY_EMPTY, .plan = BUF_EMPTY})

void rumours_release(struct rumours *r);

struct rumours_digest {
    struct history_epoch history;
    uint8_t boots[DIGEST_LEN];
    uint64_t plan_stamp, plan_node;
};
void rumours_digest(const struct rumours *r, struct rumours_digest *out);
bool rumours_digest_equal(const struct rumours_digest *a, const struct rumours_digest *b);
void rumours_digest_encode(const struct rumours_digest *d, struct buf *out);
void rumours_digest_decode(struct reader *r, struct rumours_digest *d);

void rumours_encode(const struct rumours *r, struct buf *out);
/* out: initialized, replaced; fails the reader on any broken rule. */
void rumours_decode(struct reader *reader, struct rumours *out);

/* The starts alone, for a row on disk; decode takes each that is later than what is known. */
void rumours_boots_encode(const struct rumours *r, struct buf *out);
void rumours_boots_decode(struct reader *reader, struct rumours *into);

/* The later of both; false when nothing is new. */
bool rumours_join_plan(struct rumours *into, const struct rumours *other);
/* For each start that is news: told(arg, boot), before it is taken. NULL: nobody is told. Two
 * starts of one number, of an old disk and the one it was copied from (E2), become one of the next
 * number with incarnation 0: so whoever lives hears of it, whatever way the two met. */
bool rumours_join_boots(struct rumours *into, const struct rumours *other,
                        void (*told)(void *arg, const struct boot *boot), void *arg);
void rumours_set_boot(struct rumours *r, const struct boot *boot); /* if it is the later one */
const struct boot *rumours_boot(const struct rumours *r, uint64_t node); /* NULL */

#endif
