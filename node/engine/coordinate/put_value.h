/* SPDX-License-Identifier: Apache-2.0 */
/* The value of a put: the bytes that came with it; those of a version that it names, when only
 * attributes change (F16); or those of the version that it extends and then those that came (F27).
 * In that last case the coordinator reads the base from its own store first. Once that is done the
 * put is one like any other: nothing but the bytes depends on how they came. */
#ifndef DYN_ENGINE_PUT_VALUE_H
#define DYN_ENGINE_PUT_VALUE_H

#include "engine/replica/extend.h"
#include "model/wire.h"

#define NEED_READ 1 /* this node must read R first */

struct put_value {      /* caller-owned */
    struct blob *bytes; /* NULL: none, or empty */
    uint8_t hash[DIGEST_LEN];
    uint64_t len;
    struct extension base; /* none: it came whole */
    struct buf suffix;     /* the request may be gone before the base has been read */
    struct extend extend;
    bool building; /* the storage will call */
    bool lacking;  /* the base is not here: only a repeat of what has been done needs no value */
    void (*done)(struct put_value *v, int err);
    void *arg;
};

/* done: DYN_OK, also when the base is lacking, or why the store could not be read. Runs inside
 * where nothing is to be read, and may do so otherwise. key: borrowed until done. */
void put_value_start(struct put_value *v, struct engine *e, struct slice key,
                     const struct put_request *q, void (*done)(struct put_value *v, int err),
                     void *arg);
void put_value_release(struct put_value *v);
/* Fills in what a sibling says of its value. o, state: this node's own copy; read: R copies have
 * been merged into it. DYN_OK, NEED_READ, DYN_ERR_STALE: the value that is to be kept is gone,
 * DYN_ERR_NO_QUORUM: it is thin here (thin.h), and whoever keeps it is away. */
int put_value_fill(const struct put_value *v, const struct put_request *q, const struct object *o,
                   const struct row_state *state, bool read, struct sibling *s);
/* What can be said of it to replicas. */
struct extended put_value_extended(const struct put_value *v, const struct dot *dot);

#endif
