/* SPDX-License-Identifier: Apache-2.0 */
/* The read coordinator's bookkeeping, pure: collects replicas' copies of one key, says when R have
 * answered, what the merge is, who was behind (Dynamo, sections 4.5 and 5: read repair), and which
 * values are still to be fetched and from whom. Whoever moves the messages (a node, or a client
 * that coordinates by itself) drives it. */
#ifndef DYN_MODEL_READ_QUORUM_H
#define DYN_MODEL_READ_QUORUM_H

#include "model/object.h"

#define READ_QUORUM_NODES 16 /* primaries and stand-ins of one read */

struct read_copy {
    uint64_t node;
    bool primary;
    bool votes; /* else it is merged and repaired, and does not count (E13) */
    struct object object;
};

struct read_quorum {
    uint32_t r;
    struct read_copy copies[READ_QUORUM_NODES];
    uint32_t n, n_votes;
    uint32_t all; /* this many primaries are all there are: their merge is final; 0: not known */
    bool last_resort; /* a sloppy read has asked everybody: copies without a vote count as well */
    struct object merged;  /* with whatever values came along */
    struct cover at_least; /* what an answer must have seen (E22); taken by read_quorum_init */
};

void read_quorum_init(struct read_quorum *q, uint32_t r,
                      struct cover *at_least /* taken; NULL: nothing */);
void read_quorum_release(struct read_quorum *q);
/* One node's copy (taken). Ignored when that node has answered before. */
void read_quorum_add(struct read_quorum *q, uint64_t node, bool primary, bool votes,
                     struct object *object);
bool read_quorum_answered(const struct read_quorum *q, uint64_t node);
/* R who vote have answered, or all there are; and together they have seen what the reader has. */
bool read_quorum_complete(const struct read_quorum *q);
/* Did this node's copy equal the merge? (It held all that is known.) */
bool read_quorum_current(const struct read_quorum *q, uint64_t node);
/* Number of copies that differ from the merge. */
uint32_t read_quorum_stale(const struct read_quorum *q);

/* The first live sibling of the merge whose value is wanted and not loaded: DYN_OK and its value
 * dot; DYN_ERR_NOT_FOUND when there is none. */
enum value_choice { VALUE_NONE, VALUE_NEWEST, VALUE_ALL, VALUE_DOT };
int read_quorum_missing(const struct read_quorum *q, enum value_choice choice,
                        const struct dot *dot, struct dot *value_dot);
/* Whose copy lists that value: at most cap nodes; returns how many. */
uint32_t read_quorum_holders(const struct read_quorum *q, const struct dot *value_dot,
                             uint64_t *nodes, uint32_t cap);
/* Attaches values loaded in `from` (a later reply of some node) to the merge. */
void read_quorum_attach(struct read_quorum *q, const struct object *from);

#endif
