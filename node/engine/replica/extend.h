/* SPDX-License-Identifier: Apache-2.0 */
/* Values that begin with one that this node holds (model/extension.h): making the whole of such a
 * one from this node's own store, and describing one that is here to another replica. A node that
 * does not hold the base, or only bad bytes of it, says so; then the whole travels (F27). So does
 * one that holds many of them already: a small message asks for much memory. */
#ifndef DYN_ENGINE_EXTEND_H
#define DYN_ENGINE_EXTEND_H

#include "engine/peer_wire.h"

struct extend { /* caller-owned, zeroed but for the first part; must stay put until done */
    struct engine *e;
    struct slice key, suffix; /* borrowed until done */
    struct extension base;
    /* DYN_OK, DYN_ERR_BASE_LACKING, or why the store could not be read. May run inside
     * extend_start. */
    void (*done)(struct extend *x, int err);
    void *arg;

    struct blob *whole; /* valid from done on, until extend_release */
    uint8_t hash[DIGEST_LEN];
    struct replica_read read;
    uint64_t held; /* bytes, counted by the engine */
    bool reading;
};
void extend_start(struct extend *x);
void extend_release(struct extend *x); /* also when it was never started */

/* What a coordinator knows of the value that it spreads. */
struct extended {
    struct dot value_dot;  /* of the whole */
    struct extension base; /* none: nothing is known */
};

/* Encodes m without the value that is known to extend another, and what that is instead. False,
 * with nothing encoded: there is no such value in m. */
bool extend_describe(const struct extended *x, const struct peer_put *m, struct buf *body);

/* The receiver's side: a value that was made goes to where the object names it. One that is not
 * what the object says is left out, and so asked for. */
void extend_attach(const struct extend *x, const struct dot *value_dot, struct object *o);

#endif
