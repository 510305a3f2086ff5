/* SPDX-License-Identifier: Apache-2.0 */
/* The ring that a node starts with: of its store, if it has been in a cluster before; of the
 * cluster file, for those that a cluster begins with; or what its seeds know, for one that is to be
 * joined. Whatever it is, the engine goes on from there by itself. */
#ifndef DYN_FIRST_RING_H
#define DYN_FIRST_RING_H

#include "adapter/loop.h"
#include "model/ring.h"
#include "port/store.h"

struct first_ring;
/* found(arg, ring) runs once, later: the ring is the receiver's. cluster_file: its history, empty
 * when there is none. seeds are asked until one answers. All borrowed until then. */
struct first_ring *first_ring_new(struct loop *l, const struct store_port *store,
                                  const struct history *cluster_file, const char *const *seeds,
                                  uint32_t n_seeds, void (*found)(void *arg, struct ring *ring),
                                  void *arg);
/* DYN_ERR_CORRUPT: the store's history does not decode; DYN_ERR_INVALID: it is of another cluster
 * than the file, or there is none, and no seeds. Told by failed. */
void first_ring_on_failure(struct first_ring *f, void (*failed)(void *arg, int err));
void first_ring_free(struct first_ring *f); /* NULL is fine */

#endif
