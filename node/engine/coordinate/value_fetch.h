/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the bytes of siblings whose values are not loaded: in this node's store first, then at
 * those said to hold them, one after the other. Whoever had some of them is asked again, for one
 * message holds frame_values_max bytes. */
#ifndef DYN_ENGINE_VALUE_FETCH_H
#define DYN_ENGINE_VALUE_FETCH_H

#include "engine/replica/replica.h"
#include "model/read_quorum.h"

struct value_fetch { /* caller-owned; must stay put until done */
    struct engine *e;
    struct slice key;    /* borrowed until done */
    struct object *into; /* siblings whose value_dot is in dots get their values */
    struct dot *dots;    /* taken */
    uint32_t n_dots;
    uint64_t holders[READ_QUORUM_NODES]; /* other nodes to ask */
    uint32_t n_holders;
    uint64_t timeout_us; /* for each node */
    /* DYN_OK: every one is loaded. DYN_ERR_NOT_FOUND: some are not, `dots` are those left; unasked:
     * so many of the holders have not said that they do not have them. May run inside
     * value_fetch_start. */
    void (*done)(struct value_fetch *f, int err);
    void *arg;

    struct replica_read read;
    struct rpc_call call;
    uint8_t *signs; /* of each dot, by who has answered: superseded.h */
    uint32_t next, unasked;
    bool reading;
};
void value_fetch_start(struct value_fetch *f);
/* In done, of a dot that is left, where all owners were asked: superseded.h. */
bool value_fetch_superseded(const struct value_fetch *f, uint32_t i);
/* Also ends one that is under way, when the engine itself ends. */
void value_fetch_release(struct value_fetch *f);

#endif
