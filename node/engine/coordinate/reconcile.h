/* SPDX-License-Identifier: Apache-2.0 */
/* Conflicts that a directory's rule settles (Dynamo, section 4.4: the shopping cart). `lww` needs
 * no write: the newest version is shown, and the next put covers the rest. `union` makes a new
 * version of the lines of all, as a client would: read at R, put with the context of what was read.
 * So a version that came in between stays, and is settled next. One node settles a key: the first
 * of its primaries that is up, which others ask. A second union of the same versions, made by
 * another node at the same time, would be concurrent with what a reader of the first writes next:
 * what he took out would be back. Where two settle all the same (a split), they write the same
 * bytes, which collapse into one. */
#ifndef DYN_ENGINE_RECONCILE_H
#define DYN_ENGINE_RECONCILE_H

#include "engine/core.h"
#include "model/settings.h"

/* What the rules of its directories say of a key. */
enum reconcile reconcile_rule(const struct engine *e, struct slice key);

/* Somebody who waits for a key to be settled; caller-owned. */
struct reconcile_wait {
    struct list link;
    void (*done)(void *arg); /* settled, or not to be settled: read again and see */
    void *arg;
};

/* Has a key under `union` settled; asked: by this node, as another has asked for that. wait may be
 * NULL; done never runs inside. False: too much of this is under way already, done will not run. */
bool reconcile_start(struct engine *e, struct slice key, bool asked, struct reconcile_wait *wait);
void reconcile_forget(struct reconcile_wait *wait);

/* This node has stored an object: settles it when the rule wants that, and this node is the first
 * of the key's primaries that is up, so that one node does it, not N. */
void reconcile_stored(struct engine *e, struct slice key, const struct object *o);

/* Is there something that `union` settles? */
bool reconcile_wanted(const struct object *o);

#endif
