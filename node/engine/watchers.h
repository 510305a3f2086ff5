/* SPDX-License-Identifier: Apache-2.0 */
/* Who wants to be told of changes in which directories (model/watch.h). A replica tells what it
 * stores as the entries of a directory, whoever wrote it: all N replicas get each write, so one of
 * them that works is enough. Nothing here is on disk: a node that starts again knows no sessions,
 * and says so.
 *
 * Bounds. Nobody waits for a watcher: what cannot be told within the memory that a session and all
 * of them together may take is told as "look at all of the directory again", which costs a few
 * bytes however much changes; so does a directory that changes faster than its watcher asks. A node
 * without watchers does nothing at a write but look whether there are any. */
#ifndef DYN_ENGINE_WATCHERS_H
#define DYN_ENGINE_WATCHERS_H

#include "engine/replica/replica.h"

struct watchers;

struct watchers *watchers_new(struct engine *e);
void watchers_free(struct watchers *w);
/* Frames from clients. */
void watchers_interest(struct watchers *w, uint64_t origin, uint64_t rid, struct slice body);
void watchers_watch(struct watchers *w, uint64_t origin, uint64_t rid, struct slice body);
/* The batch of this write has been handed to the store. */
void watchers_written(struct watchers *w, const struct replica_write *write);
/* Somebody wants to be told of changes in this directory or fragment (its id), or of it. */
bool watchers_watch_dir(const struct watchers *w, struct slice dir);
/* The ring is another one, or a directory has been split: what others hold now is let go. */
void watchers_look(struct watchers *w);
void watchers_stop(struct watchers *w); /* everybody is to ask elsewhere */
void watchers_stats(const struct watchers *w, struct engine_stats *out);

#endif
