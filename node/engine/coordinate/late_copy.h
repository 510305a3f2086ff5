/* SPDX-License-Identifier: Apache-2.0 */
/* A put that its client has sent to a second node as well, since the first was slow to answer, and
 * that reaches this one later: after a split, say, when TCP delivers what it has kept. As long as
 * the version lives it is known by its origin (F9). When somebody has replaced or removed that
 * since, the copy would come to stand beside what took its place: a delete undone, a conflict that
 * was resolved. But what goes is kept for a day (kept.h), with its origin: there it is found.
 *
 * It is looked for only where something is here that the put's author has not named, be it a
 * delete, and something is kept; so a put that conflicts with nothing costs nothing, and any other
 * one scan of this node's own rows. What is found is answered as any repeat is, once W have what
 * has taken its place.
 *
 * A node that has not held the first copy cannot tell, and mints the second. When that comes to
 * one that keeps the first, and would stand beside what took its place, this one drops it.
 *
 * It cannot be told either when the first is kept no more (after a day, or among very many), nor
 * of directories, which are not kept. Then a write of now is what it is taken for: it stands beside
 * what is there, and takes nothing away. */
#ifndef DYN_ENGINE_LATE_COPY_H
#define DYN_ENGINE_LATE_COPY_H

#include "engine/kept/kept.h"
#include "engine/replica/replica.h"

/* The sibling that the same put, or a later one of its stream, has made; NULL. */
const struct sibling *origin_find(const struct object *o, const struct origin *origin);

struct late_copy { /* caller-owned, zeroed; must stay put until done */
    struct engine *e;
    struct slice key; /* borrowed until done */
    struct origin origin;
    void (*done)(struct late_copy *l); /* may run inside late_copy_look */
    void *arg;

    bool looked;
    struct dot dot; /* of the first copy, or none: it has not been here */

    bool reading;
    struct kept_read read;
};
/* Called in the middle of a write: is something there that the put's author has not named, and has
 * nobody looked yet? */
bool late_copy_possible(const struct late_copy *l, const struct replica_write *w,
                        const struct origin *origin, const struct cover *named);
void late_copy_look(struct late_copy *l);
void late_copy_release(struct late_copy *l);

/* Something that others have written was merged here: a late copy that came to stand beside other
 * versions is dropped, in the background. */
void late_copy_merged(const struct replica_write *w);

#endif
