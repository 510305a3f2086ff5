/* SPDX-License-Identifier: Apache-2.0 */
/* Being told of changes in directories, as the client library offers it and the filesystem uses it.
 *
 * Contract. want and drop take effect later; a directory that is wanted is, in turns, covered (a
 * replica of it tells of every change that it stores) and lost (changes may have been missed since
 * it was covered). Events of a directory come between the two. None of the functions of
 * watch_events may call the port. */
#ifndef DYN_PORT_WATCH_H
#define DYN_PORT_WATCH_H

#include "model/watch.h"

struct watch_port {
    void *ctx;
    void (*want)(void *ctx, struct slice dir); /* copied; again is fine */
    void (*drop)(void *ctx, struct slice dir); /* no event of it comes any more */
};

struct watch_events {
    void *ctx;
    void (*covered)(void *ctx, struct slice dir);
    void (*lost)(void *ctx, struct slice dir);
    /* Never WATCH_ENDED. Borrowed. */
    void (*changed)(void *ctx, const struct watch_event *event);
};

#endif
