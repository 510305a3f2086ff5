/* SPDX-License-Identifier: Apache-2.0 */
/* A large directory's entries are spread over 2^d fragments by the hash of their names (E26). Nodes
 * keep them (engine/fragments/entry_place.h); a client that wants to be told of changes asks for
 * each fragment where that lies. Fragment 0 lies where the directory itself does.
 *
 * An entry's id: its key, and in a fragment other than 0, before it, NUL and the fragment (two
 * bytes). The id of a directory's fragment: the same with the directory's key. */
#ifndef DYN_MODEL_FRAGMENT_H
#define DYN_MODEL_FRAGMENT_H

#include "model/ring.h"

#define FRAGMENT_DEPTH_MAX 8u
#define FRAGMENTS_MAX (1u << FRAGMENT_DEPTH_MAX)
#define ENTRY_ID_MAX (KEY_LEN_MAX + 4u)

uint32_t fragment_of_name(struct slice name, uint32_t depth);
/* Whose hash is the fragment's position: a key for fragment 0, no key for another. */
void fragment_position_name(struct slice dir, uint32_t fragment, struct buf *out);
uint32_t fragment_partition(const struct ring *ring, struct slice dir, uint32_t fragment);

void entry_id(uint32_t fragment, struct slice key, struct buf *out);
struct slice entry_id_split(struct slice id, uint32_t *fragment); /* the key; borrowed */
/* The same of one that came from elsewhere: is its tag as entry_id writes it? No rule on the key */
bool entry_id_parse(struct slice id, struct slice *key, uint32_t *fragment);
struct slice entry_id_dir(struct slice id); /* of an entry: its fragment's id; borrowed */
/* Of a directory's fragment, the root's too: every rule on one that came from elsewhere. */
bool fragment_id_valid(struct slice id);

#endif
