/* SPDX-License-Identifier: Apache-2.0 */
/* One node's page of a directory's entries, dead ones included: they are part of the merge. */
#ifndef DYN_ENGINE_REPLICA_LIST_H
#define DYN_ENGINE_REPLICA_LIST_H

#include "engine/peer_wire.h"

/* Reads at most q->limit entries of a fragment with names after q->after. done(arg, body) gets the
 * encoded page (a peer_list_reply; taken), also on errors. It may run inside the call. */
void replica_list(struct engine *e, const struct peer_list *q,
                  void (*done)(void *arg, struct buf *body), void *arg);

#endif
