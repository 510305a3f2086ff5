/* SPDX-License-Identifier: Apache-2.0 */
/* Admission control of background work (Dynamo, section 6.5). Hints, exchange, transfers, scrub and
 * reaping compete with requests for the same disk and network. So each asks before each slice of
 * its work, and a controller grants slices at a rate that it learns: while 99 of 100 requests are
 * answered within a target, more; else, half. But never nothing: each kind keeps a floor that rises
 * with the age of its oldest item, or a busy cluster would never heal (HAZARDS E25). */
#ifndef DYN_ENGINE_ADMISSION_H
#define DYN_ENGINE_ADMISSION_H

#include "base/clock_port.h"
#include "base/histogram.h"
#include "base/list.h"
#include "base/timers.h"

enum work { WORK_HINTS, WORK_EXCHANGE, WORK_TRANSFER, WORK_SCRUB, WORK_REAP, WORK_KINDS };

struct admission_config {
    uint64_t target_us;    /* of the foreground's p99; 0: everything is granted at once */
    uint64_t window_us;    /* over which it is taken: 5 s */
    uint64_t rate_max;     /* slices a second, where nothing is in the way */
    uint64_t floor_age_us; /* a kind's floor is a slice a second, and one more for each of these */
};
struct admission_config admission_config_default(void);

struct admission;
struct admission *admission_new(const struct admission_config *cfg, const struct time_port *time,
                                struct timers *timers);
void admission_free(struct admission *a); /* who still waits is forgotten */

/* A request of a client, or of another node for one, has been answered in this time. */
void admission_foreground(struct admission *a, uint64_t took_us);

/* Next to nothing has been asked of this node in the last second or two; always so without a
 * target. */
bool admission_idle(struct admission *a);

struct admission_wait { /* caller-owned, zeroed at first */
    struct list link;
    enum work kind;
    uint64_t asked_us, age_us;
    void (*granted)(void *arg);
    void *arg;
    bool waiting;
};
/* Asks for one slice. True: go on at once. False: granted(arg) runs when it is time. age_us: of the
 * oldest item that the work is about. */
bool admission_ask(struct admission *a, struct admission_wait *w, enum work kind, uint64_t age_us,
                   void (*granted)(void *arg), void *arg);
/* The foreground is over its target: slices should be small. */
bool admission_tight(const struct admission *a);
void admission_forget(struct admission *a, struct admission_wait *w); /* also if it does not wait */

struct admission_stats {
    uint64_t granted[WORK_KINDS], by_floor; /* slices; those that only a floor let through */
    uint64_t waiting, rate, p99_us;         /* now */
};
void admission_stats(const struct admission *a, struct admission_stats *out);

#endif
