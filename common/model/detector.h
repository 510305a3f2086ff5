/* SPDX-License-Identifier: Apache-2.0 */
/* Local failure detection (Dynamo, section 4.8.3): a peer is thought down when a real request to it
 * fails or times out, and up again when a probe or any reply comes back. Nothing is agreed with
 * others. Slow peers are asked later, not declared dead. */
#ifndef DYN_MODEL_DETECTOR_H
#define DYN_MODEL_DETECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock_port.h"
#include "base/timers.h"

enum peer_state { PEER_UP, PEER_DOWN };

struct detector_config {
    uint64_t probe_interval_us; /* first probe after this; doubles up to probe_max_us while a peer
                                   stays down */
    uint64_t probe_max_us;
};

struct detector;
/* probe(arg, node) must send something whose outcome comes back through detector_ok or
 * detector_failed. changed may be NULL. */
struct detector *detector_new(const struct detector_config *cfg, const struct time_port *time,
                              struct timers *timers, void (*probe)(void *arg, uint64_t node),
                              void (*changed)(void *arg, uint64_t node, enum peer_state state),
                              void *arg);
void detector_free(struct detector *d);
void detector_ok(struct detector *d, uint64_t node, uint64_t rtt_us);
void detector_failed(struct detector *d, uint64_t node, int err);
/* Another was faster, or was not waited for: its request is dropped after this wait. The node is at
 * least as slow; when nothing but that is heard of it for suspect_us, it counts as failed. */
void detector_outrun(struct detector *d, uint64_t node, uint64_t waited_us, uint64_t suspect_us);
/* When it last answered; 0: never. A request sent before then that timed out says nothing new. */
uint64_t detector_last_ok_us(const struct detector *d, uint64_t node);
bool detector_up(const struct detector *d, uint64_t node);                /* never heard of: up */
uint64_t detector_rtt_us(const struct detector *d, uint64_t node);        /* smoothed; 0: unknown */
uint64_t detector_down_since_us(const struct detector *d, uint64_t node); /* 0: up */
void detector_forget(struct detector *d, uint64_t node);

#endif
