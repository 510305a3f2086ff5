/* SPDX-License-Identifier: Apache-2.0 */
/* Directories that are large or hot are split into fragments (E26; entry_place.h says where these
 * lie). Here is what this node knows of how far each has grown, and what makes it grow.
 *
 * How far: one number for each such directory, its growth, which only grows. It is a register of
 * the table of settings (model/settings.h), so every node has it and no request asks for it.
 *
 *   growth 2d      d is the depth: new projections go to 2^d fragments, listings ask them all
 *   growth 2d + 1  announced: listings ask 2^(d+1) fragments already, projections go to 2^d
 *
 * A fragment that has more than fragment_entries, or more than fragment_rate changes a second,
 * announces. One of the directory's own replicas then
 *
 *   CONFIRMING  has all of them write the announcement to their disks
 *   AGREEING    and then say that they know of no others: who becomes one later learns it from them
 *               before it counts (transfer/confirm.h)
 *   READING     the directory's object
 *   HEADS       and puts its head into each fragment
 *   RAISING     and only then lets projections go there
 *
 * So whoever lists asks at least one who knows of all fragments in use, for each list asks R of the
 * directory's own replicas, and is told the growth with their pages. A coordinator that does not
 * know yet projects to the fragment of before: the entry is seen there, and moved by a pass
 * (fragment_pass.c). Fragments help only while there are nodes to spread over, so the number grows
 * with the cluster. */
#ifndef DYN_ENGINE_FRAGMENTS_H
#define DYN_ENGINE_FRAGMENTS_H

#include "engine/fragments/entry_place.h"
#include "engine/replica/replica.h"

struct fragments;
struct fragments *fragments_new(struct engine *e);
void fragments_free(struct fragments *f);
void fragments_start(struct fragments *f);

uint32_t fragments_depth(const struct engine *e, struct slice dir);  /* of new projections */
uint32_t fragments_listed(const struct engine *e, struct slice dir); /* how many a listing asks */
/* Where a key's entry belongs, as far as this node knows. */
uint32_t engine_fragment(const struct engine *e, struct slice key);
/* An entry in this fragment of dir belongs elsewhere by now. */
bool fragments_stray(const struct engine *e, struct slice dir, struct slice name,
                     uint32_t fragment);

/* Somebody knows that the directory has grown so far. */
void fragments_learn(struct engine *e, struct slice dir, uint8_t growth);
/* The table of settings is another one. */
void fragments_table_changed(struct engine *e);
/* Other nodes own partitions now. What this node has of one that comes back to it, from before, may
 * have been moved since: nobody else knows that it is here. */
void fragments_ring_changed(struct engine *e);
/* This node has stored an entry that lies at `at`. live_here: of a created or deleted one, how many
 * live there now; else 0. */
void fragments_note(struct engine *e, const struct place *at, struct slice dir, struct slice name,
                    uint32_t fragment, uint64_t live_here);
/* The same for one that a move has brought: nobody has changed it, so nothing is hot for it. */
void fragments_note_moved(struct engine *e, const struct place *at, struct slice dir,
                          struct slice name, uint32_t fragment, uint64_t live_here);
/* Another replica is at work on what this node has of dir and should not: it is waited for. */
void fragments_are_moved(struct engine *e, struct slice dir);
/* Directories that are about to grow, or of which this node has entries that belong elsewhere. */
uint32_t fragments_pending(const struct fragments *f);

/* ---- heads (fragment_heads.c) ------------------------------------------------------------ */

/* Spreads a directory's object, read at born_us (0: now), to the heads of its fragments; done runs
 * when each has W of them, or with what stood in the way of one. Never inside. The directory and
 * the object are copied. */
void fragment_heads_spread(struct engine *e, struct slice dir, const struct object *object,
                           uint64_t born_us, const struct quorum *quorum,
                           void (*done)(void *arg, int err), void *arg);

/* ---- passes (fragment_pass.c) ------------------------------------------------------------ */

/* Walks this node's fragments of a directory and brings entries that belong elsewhere there.
 * overdue: also those that another replica should move. done(arg, left): how many are still here;
 * never inside. */
struct fragment_pass;
struct fragment_pass *fragment_pass_start(struct engine *e, struct slice dir, bool overdue,
                                          void (*done)(void *arg, uint32_t left), void *arg);
void fragment_pass_free(struct fragment_pass *p);
/* FRAME_ENTRY_MOVED of a peer. */
void fragment_moved_serve(struct engine *e, uint64_t origin, uint64_t rid, struct slice body);

#endif
