/* SPDX-License-Identifier: Apache-2.0 */
/* How old is a message? What has been under way for too long must not be believed when the delete
 * that covered it may have been reaped meanwhile (HAZARDS E15). Wall clocks jump, and those of two
 * nodes differ; so messages name a moment of their sender's monotonic clock, and the receiver asks
 * the sender what that clock says now. A moment that the answer names cannot have been before the
 * question was sent: so a message is held for older than it is by one round trip at most, and never
 * for younger.
 *
 * One question is enough for each start of a peer, and then one now and then, for clocks drift. */
#ifndef DYN_ENGINE_PEER_TIME_H
#define DYN_ENGINE_PEER_TIME_H

#include "engine/core.h"

struct peer_times;
struct peer_times *peer_times_new(struct engine *e);
void peer_times_free(struct peer_times *t);

/* When that was by this node's clock, at the earliest. False: the peer has not been asked since
 * that start of it, or this is a moment of an earlier start. */
bool peer_times_at(struct peer_times *t, uint64_t node, const struct moment *m, uint64_t *own_us);

struct peer_time_wait { /* caller-owned, zeroed at first; must stay put until done or forgotten */
    struct list link;
    void (*done)(struct peer_time_wait *w, int err); /* never inside peer_times_ask */
    void *arg;
    bool waiting;
};
/* Asks the peer. Those who ask meanwhile share the answer. */
void peer_times_ask(struct peer_times *t, uint64_t node, struct peer_time_wait *w);
void peer_times_forget(struct peer_time_wait *w); /* fine when it does not wait */

#endif
