/* SPDX-License-Identifier: Apache-2.0 */
/* Background work goes in slices, each short enough to be lost among the requests of clients, and
 * each granted one by one (Dynamo, section 6.5): at most one in each interval of cfg.slice_us, in
 * the order in which they were asked for, and when admission control (admission.h) agrees. */
#ifndef DYN_ENGINE_SLICES_H
#define DYN_ENGINE_SLICES_H

#include "engine/admission.h"

struct engine;
struct slices;

struct slice_wait { /* caller-owned; must stay put until granted or slices_forget */
    struct list link;
    enum work kind;
    struct admission_wait admission;
    void (*granted)(struct slice_wait *w); /* never inside slices_ask */
    void *arg;
};

struct slices *slices_new(struct engine *e);
void slices_free(struct slices *s);
void slice_wait_init(struct slice_wait *w, enum work kind, void (*granted)(struct slice_wait *w),
                     void *arg);
void slices_ask(struct slices *s, struct slice_wait *w);
void slices_forget(struct slices *s, struct slice_wait *w); /* fine when not waiting */

#endif
