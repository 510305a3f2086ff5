/* SPDX-License-Identifier: Apache-2.0 */
/* Where an entry lies (E26). All entries of a small directory lie at the position of its key. Those
 * of a large or hot one are spread over 2^d fragments by the hash of the name. Each fragment has a
 * position, so that its work falls to nodes of its own. Fragment 0 is the directory's own position:
 * a directory that is never split has no other.
 *
 *   fragment of a name at depth d = the low d bits of its hash
 *
 * So when d grows by one, fragment f splits into f and f + 2^d: half of its entries stay where they
 * are, and a name has at most d + 1 places in all.
 *
 * While a directory grows, and when a node does not know yet how far, one entry may lie in two
 * fragments. Rows of entries are therefore known by an id: the key, and in a fragment other
 * than 0, before it, NUL and the fragment (two bytes). Trees, hints, exchanges and transfers carry
 * ids and need not know what is in them.
 *
 * A fragment other than 0 also holds its head, the projection of the directory's own object: so the
 * replicas of a fragment can see a live entry under a dead directory by themselves (E16). It is the
 * entry with the empty name; its key ends in a slash, which no other key does. */
#ifndef DYN_ENGINE_ENTRY_PLACE_H
#define DYN_ENGINE_ENTRY_PLACE_H

#include "engine/replica/rows.h"
#include "model/fragment.h"

struct place place_of_fragment(const struct ring *ring, struct slice dir, uint32_t fragment);

void entry_head_id(uint32_t fragment, struct slice dir, struct buf *out);
bool entry_key_is_head(struct slice key);
/* Every rule on an id that came from elsewhere. */
bool entry_id_valid(struct slice id);
/* The same for an object's key or an entry's id, by the kind of its row; the root's is empty. */
bool row_id_valid(enum row_kind kind, struct slice id);

struct place place_of_entry(const struct ring *ring, struct slice id);
/* The place of a row of this kind, and its key in STORE_META. */
struct place place_of_row(const struct ring *ring, enum row_kind kind, struct slice id);
void row_of_id(const struct place *at, enum row_kind kind, struct slice id, struct buf *out);
/* What the keys of a fragment's entries begin with; names follow. */
void row_fragment_prefix(const struct place *at, struct slice dir, uint32_t fragment,
                         struct buf *out);

#endif
