/* SPDX-License-Identifier: Apache-2.0 */
/* The get coordinator (Dynamo, section 5): asks the N replicas, answers after R, fetches the values
 * that are wanted once, and afterwards brings whoever was behind up to the merge (read repair).
 * Used for client reads, for puts that must read first (E6), for projections (E18). */
#ifndef DYN_ENGINE_GATHER_H
#define DYN_ENGINE_GATHER_H

#include "engine/replica/replica.h"
#include "model/read_quorum.h"

struct gather_result { /* borrowed during done */
    int status;        /* DYN_OK, DYN_ERR_NO_QUORUM, DYN_ERR_TIMEOUT, DYN_ERR_STALE (GET_DOT: gone),
                   DYN_ERR_NOT_FOUND (present: nobody has any) */
    uint32_t answered, needed;
    uint32_t primaries; /* of the replicas themselves, how many have answered */
    const struct object *object;
    bool implicit_dir;
    int64_t dir_mtime_ns;
    uint64_t born_us; /* since when it was read: what is told to others is no younger (E15) */
    const uint64_t *current; /* nodes whose copy equals the merge */
    uint32_t n_current;
};

struct gather_params {
    struct slice key; /* copied */
    struct quorum quorum;
    enum value_choice values;
    struct dot value_dot;
    uint64_t value_max; /* values of more bytes are left out of the result; 0: none is */
    bool dir_info;
    bool present;           /* GET_PRESENT: a copy without a live version is no answer */
    struct cover *at_least; /* taken; NULL: nothing */
    /* Runs once; never inside gather_start. The gather lives on for repair and frees itself. */
    void (*done)(void *arg, const struct gather_result *result);
    void *arg;
};
struct gather *gather_start(struct engine *e, const struct gather_params *p);
void gather_forget(struct gather *g); /* done will not run; valid only before done has run */

#endif
