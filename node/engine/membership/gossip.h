/* SPDX-License-Identifier: Apache-2.0 */
/* Each second this node and one random peer compare digests of what they know of the cluster
 * (model/rumours.h), and exchange it only where they differ (Dynamo, section 4.8.1). */
#ifndef DYN_ENGINE_GOSSIP_H
#define DYN_ENGINE_GOSSIP_H

#include "engine/core.h"

struct gossip *gossip_new(struct engine *e);
void gossip_free(struct gossip *g);
/* Reads what was known of this node's starts and the plan, and counts this start; done(arg, err)
 * may run inside. */
void gossip_load(struct gossip *g, void (*done)(void *arg, int err), void *arg);
void gossip_start(struct gossip *g);
/* There is news: two peers are told at once, not within a second. */
void gossip_hurry(struct gossip *g);
/* FRAME_GOSSIP, and the starts and the plan in what came with an exchange (view.h). */
void gossip_frame(struct gossip *g, uint64_t origin, uint64_t rid, struct slice body);
void gossip_take(struct gossip *g, const struct rumours *theirs);

/* Replaces the plan, here and soon everywhere; done(arg, err) when it is on disk, may run inside.
 * One at a time: DYN_ERR_OVERLOAD while another is on its way. */
void gossip_set_plan(struct gossip *g, struct slice plan, void (*done)(void *arg, int err),
                     void *arg);

/* Bodies of FRAME_GOSSIP and FRAME_HISTORY and their replies. */
void gossip_digest_encode(int status, const struct rumours_digest *d, struct buf *out);
int gossip_digest_decode(struct slice body, int *status, struct rumours_digest *d);
void gossip_exchange_encode(int status, const struct rumours *r, struct buf *out);
int gossip_exchange_decode(struct slice body, int *status, struct rumours *out /* initialized */);

#endif
