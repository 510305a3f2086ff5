/* SPDX-License-Identifier: Apache-2.0 */
/* A node whose disk may lack what it has acknowledged has no vote in reads until it has exchanged
 * with the others who hold the same (HAZARDS E2, E13). */
#ifndef DYN_ENGINE_CATCHUP_H
#define DYN_ENGINE_CATCHUP_H

#include "engine/core.h"

struct catchup *catchup_new(struct engine *e);
void catchup_free(struct catchup *c);
/* Reads whether an earlier start had not ended its catching up. lost_tail: writes that were
 * acknowledged before they were synced may be gone from this disk. done(arg, err) when that is on
 * disk; may run inside. */
void catchup_load(struct catchup *c, bool lost_tail, void (*done)(void *arg, int err), void *arg);
/* The disk turns out to be an older copy of itself (E2). */
void catchup_begin(struct catchup *c);
/* Somebody has said what he knows of this node's starts: from then on the disk is known to be
 * either current or old. */
void catchup_confirmed(struct catchup *c);
bool catchup_is_confirmed(const struct catchup *c);

/* May this node's copy of what lies in the partition count towards R? */
bool catchup_votes(const struct catchup *c, uint32_t partition);
bool catchup_under_way(const struct catchup *c);
uint32_t catchup_voteless(const struct catchup *c); /* partitions owned here without a vote */

/* What exchanges report: all of the partition that the peer has is here as well. */
void catchup_level(struct catchup *c, uint64_t peer, uint32_t partition);
/* A session with a peer is over: true when another one is needed soon. */
bool catchup_session_ended(struct catchup *c, uint64_t peer);
/* The ring is another one, or the node begins to serve: there may be nobody to exchange with. */
void catchup_look(struct catchup *c);

#endif
