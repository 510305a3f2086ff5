/* SPDX-License-Identifier: Apache-2.0 */
/* Letting go of kept versions of one key: those that are too old, and what goes beyond the bounds
 * of a key. Under the key's lock, since a value may be named by the object as well. */
#ifndef DYN_ENGINE_KEPT_TRIM_H
#define DYN_ENGINE_KEPT_TRIM_H

#include "engine/core.h"

#define KEPT_KEY_MAX 64u /* versions of one key: more are thinned */
#define KEPT_KEY_LEFT 48u
#define KEPT_KEY_HARD_MAX 1024u /* more are not kept: trimming lags behind */

/* age_ms: from which on a version is too old. done(arg) runs once, maybe inside; may be NULL. */
void kept_trim_start(struct engine *e, struct slice key, uint64_t age_ms, void (*done)(void *arg),
                     void *arg);

/* One kept version, as the choice of what goes sees it. Oldest first. */
struct kept_row {
    uint64_t since_ms, cost;
    bool plain; /* simply replaced, not in a conflict */
    bool goes;
};
struct kept_bounds {
    uint64_t before_ms; /* what was taken out at that time or earlier goes */
    uint32_t n_max, n_left;
    uint64_t bytes_max;
};
void kept_choose(struct kept_row *rows, uint32_t n, const struct kept_bounds *bounds);

#endif
