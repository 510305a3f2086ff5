/* SPDX-License-Identifier: Apache-2.0 */
/* Moves beside requests. A partition moves as fast as disk and processor let it while nobody asks
 * this node for anything. While somebody does, bounded pieces of the work run one at a time, each
 * followed by a rest of three times as long as it took: moves take a quarter of the loop's time,
 * and requests find it free soon. A rest is never longer than PACE_REST_US, and shorter where very
 * many wait, who would give up else: however slow requests are, for whatever reason, moves go on
 * (HAZARDS E25), and pieces that are slow themselves then take more than a quarter.
 *
 * Not slices of admission control (admission.h): those come at a rate that falls as long as
 * requests are slow, down to one a second, and a move of thousands of pieces would never end. */
#ifndef DYN_ENGINE_PACE_H
#define DYN_ENGINE_PACE_H

#include "base/list.h"

#define PACE_REST_US 50000u

struct engine;
struct pace;
struct pace *pace_new(struct engine *e);
void pace_free(struct pace *p);

struct pace_wait {    /* caller-owned; zeroed at first */
    struct list link; /* of those that wait */
    void (*granted)(struct pace_wait *w);
    bool waiting, paced;
};
/* granted runs when the piece may be done: inside, where no requests are in the way. */
void pace_ask(struct pace *p, struct pace_wait *w, void (*granted)(struct pace_wait *w));
/* The piece is done, or will not be; fine when it was never asked for. */
void pace_done(struct pace *p, struct pace_wait *w);

#endif
