/* SPDX-License-Identifier: Apache-2.0 */
/* What this node knows of the membership: the history, on disk before it is used, and the ring that
 * follows from it. It only grows: by gossip, by what a peer that refused us knows better, by
 * changes that were committed here. Whoever waits for something that a peer knows asks
 * view_learn(). */
#ifndef DYN_ENGINE_VIEW_H
#define DYN_ENGINE_VIEW_H

#include "engine/core.h"

struct view *view_new(struct engine *e);
void view_free(struct view *v);
/* Reads the history on disk and joins it with the one that the engine was made with; done(arg, err)
 * may run inside. DYN_ERR_DENIED: this node was removed from the cluster. */
void view_load(struct view *v, void (*done)(void *arg, int err), void *arg);

/* Takes what somebody else knows. It is used once it is on disk. DYN_ERR_INVALID: of another
 * cluster; other errors as store_port.write. */
int view_grow(struct view *v, const struct history *other);
/* The same with one event. *rule as history_add; may be NULL. */
int view_add(struct view *v, const struct member_event *ev, const char **rule);
/* (All that has been taken, also what is not on disk yet, is e->rumours.history.) */

struct view_wait { /* caller-owned; zero it first */
    struct list link;
    uint64_t node;
    void (*done)(struct view_wait *w); /* never inside view_learn */
    void *arg;
    bool active;
};
/* Both sides learn what the other knows; done runs when that is in use here, or could not be had.
 * w NULL: nobody waits. */
void view_learn(struct view *v, uint64_t node, struct view_wait *w);
void view_wait_cancel(struct view_wait *w);

/* What a request must say for whoever holds the key, in these roles, to serve it (E10). */
uint64_t engine_fence(const struct engine *e, struct slice key, uint32_t fragment, unsigned roles);
/* The same for a key in one partition whose entry is in another. */
uint64_t engine_fence_at(const struct engine *e, uint32_t object, uint32_t entry, unsigned roles);

/* FRAME_HISTORY from a peer. */
void view_frame(struct view *v, uint64_t origin, uint64_t rid, struct slice body);

#endif
