/* SPDX-License-Identifier: Apache-2.0 */
/* One key whose values are to be let go, or fetched. */
#ifndef DYN_ENGINE_THIN_JOB_H
#define DYN_ENGINE_THIN_JOB_H

#include "engine/coordinate/delivery.h"
#include "engine/thin/thin.h"

enum thin_outcome {
    THIN_DONE,  /* nothing is left to do about this row; nobody has what is still thin in it and is
                   to be here */
    THIN_LATER, /* somebody is away, or does not hold a value yet */
};

struct thin_job { /* caller-owned; must stay put until done */
    struct engine *e;
    enum debt_kind kind; /* DEBT_SURPLUS: let go; DEBT_THIN: fetch, if this node is to hold them */
    struct buf key;
    uint8_t state[DIGEST_LEN]; /* of the row that reminded of it */
    bool wanted;               /* fetch while the partition moves */
    void (*done)(struct thin_job *j, enum thin_outcome outcome); /* may run inside */
    void *arg;

    struct place at;
    uint64_t generation;
    uint8_t asked[DIGEST_LEN]; /* about which state of the object */
    struct replica_read read;
    struct dot *dots;
    uint32_t n_dots;
    struct rpc_call calls[N_MAX];
    uint32_t n_calls, active, agreed;
    struct object nothing;
    struct replica_write write;
    struct delivery delivery;
    bool reading, writing, delivering;
    bool full; /* valid in done: no value of it is thin any more */
};
void thin_job_start(struct thin_job *j);
void thin_job_release(struct thin_job *j); /* also one that is under way */

/* Where this node stands in the row of a settled partition; N_MAX: nowhere, or it moves. */
uint32_t thin_rank(const struct engine *e, uint32_t partition);
/* Is this node to hold the key's values? wanted: while the partition moves it is. */
bool thin_is_to_hold(const struct engine *e, uint32_t partition, struct slice key, bool wanted);
/* Does this node hold values of the key that are for others to keep? */
bool thin_has_surplus(const struct engine *e, const struct place *at, struct slice key,
                      const struct object *o, const struct row_state *s);

#endif
