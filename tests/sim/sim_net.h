/* SPDX-License-Identifier: Apache-2.0 */
/* A network that misbehaves on command: struct net_port for each endpoint (a node's process, or a
 * client's), with delay, reordering, loss, duplication, resets after the request arrived, links cut
 * in one or both directions, and refused connections where no process runs.
 *
 * It keeps the port's contract to the letter: nothing is delivered inside a call, and the asker
 * gets at most one reply or failure for each request, and none that its former life asked for. */
#ifndef DYN_SIM_NET_H
#define DYN_SIM_NET_H

#include "port/net.h"
#include "sim_random.h"
#include "sim_world.h"

#define SIM_ENDPOINTS_MAX 32
#define SIM_PORT 7000 /* endpoint e has the address "127.0.0.1:(SIM_PORT + e)" */

struct sim_net_config {
    uint64_t delay_min_us, delay_max_us; /* most messages */
    uint32_t tail_permille;              /* how many take up to tail_us: reordering */
    uint64_t tail_us;
    uint32_t loss_permille, dup_permille; /* per message */
    uint32_t reset_permille;              /* the request arrives, the asker hears "failed" */
};

struct sim_net;

struct sim_net *sim_net_new(struct sim_world *w);
void sim_net_free(struct sim_net *n);
void sim_net_configure(struct sim_net *n, const struct sim_net_config *cfg); /* from now on */

/* A process appears at an endpoint (0 to SIM_ENDPOINTS_MAX - 1). node: its id, 0 for a client. */
void sim_net_attach(struct sim_net *n, uint32_t endpoint, uint64_t node,
                    const struct net_events *events);
/* It is gone, and with it half or all of what it was sending. refused: its machine still answers
 * connections with a reset; else silence. */
void sim_net_detach(struct sim_net *n, uint32_t endpoint, bool refused);
struct net_port sim_net_port(struct sim_net *n, uint32_t endpoint);

void sim_net_cut(struct sim_net *n, uint32_t from, uint32_t to, bool cut); /* one direction */
void sim_net_heal(struct sim_net *n);                                      /* all links */
bool sim_net_reaches(const struct sim_net *n, uint32_t from, uint32_t to);
/* Extra delay of everything from and to an endpoint, us. */
void sim_net_slow(struct sim_net *n, uint32_t endpoint, uint64_t extra_us);

/* For scenarios that place each message by hand: called for each request (reply: false) and reply
 * before it is sent on its way; returns what becomes of it. NULL: chance alone decides. */
enum sim_fate { FATE_CHANCE, FATE_DROP, FATE_DELIVER, FATE_HOLD };
typedef enum sim_fate (*sim_net_judge)(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                       struct slice body);
void sim_net_set_judge(struct sim_net *n, sim_net_judge judge, void *arg);
/* Rings once, soon after the endpoint has sent its `countdown`-th request of this type from now on:
 * for killing a node in the middle of something. 0 disarms. */
void sim_net_tripwire(struct sim_net *n, uint32_t endpoint, uint8_t type, uint32_t countdown,
                      void (*ring)(void *arg), void *arg);
/* Sends on what was held, in the order in which it was held; returns how many. */
uint32_t sim_net_release_held(struct sim_net *n);
uint64_t sim_net_sent(const struct sim_net *n, uint8_t type); /* messages of this type so far */

#endif
