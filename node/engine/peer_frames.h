/* SPDX-License-Identifier: Apache-2.0 */
/* Frames from other nodes: each is decoded, checked against this node's ring, done on this node's
 * own copies, and answered. */
#ifndef DYN_ENGINE_PEER_FRAMES_H
#define DYN_ENGINE_PEER_FRAMES_H

#include "engine/core.h"

void peer_frame(struct engine *e, uint64_t origin, uint64_t from, uint64_t rid, uint8_t type,
                struct slice body);

#endif
