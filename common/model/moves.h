/* SPDX-License-Identifier: Apache-2.0 */
/* Who votes while partitions change hands. When a change of membership gives partition p to new
 * nodes, those hold nothing of it yet: an answer of theirs may not count (E13), nor may the old
 * ones be forgotten before everybody knows (E10). So each partition has two rows of nodes, voters
 * and targets, which are the same except while it moves:
 *
 *   SETTLED --a change gives p to others--> FILLING   reads at the old row, writes to both
 *   FILLING --all new ones have filled----> FILLED    reads at the new row, writes to both
 *   FILLED  --old voters know-------------> SETTLED   the new row only
 *
 * The step in the middle is what makes any two neighbouring views safe together: whoever still
 * reads at the old row is written to by whoever reads at the new one. Only when N - R + 1 of the
 * old voters refuse the oldest view is nobody left who could read by it. */
#ifndef DYN_MODEL_MOVES_H
#define DYN_MODEL_MOVES_H

#include <stdbool.h>
#include <stdint.h>

#define MOVES_N_MAX 16u

enum move_phase { MOVE_SETTLED, MOVE_FILLING, MOVE_FILLED };

struct move {
    uint32_t partition;
    uint64_t voters[MOVES_N_MAX], targets[MOVES_N_MAX];
    uint8_t n_voters, n_targets;
    enum move_phase phase;
    uint32_t since;  /* the configuration that gave it its targets */
    uint16_t filled; /* bit i: targets[i] has got all of it */
};

struct moves { /* of the partitions that are not settled */
    struct move *list;
    uint32_t *index; /* by partition: 1 + its place in the list, 0: settled */
    uint32_t q, moving, cap;
};

void moves_init(struct moves *m, uint32_t q);
void moves_release(struct moves *m);
const struct move *moves_find(const struct moves *m, uint32_t p); /* NULL: it is settled */
/* The configuration numbered `config` (ascending) gives partition p to another row. */
void moves_assign(struct moves *m, uint32_t config, uint32_t p, const uint64_t *old, uint32_t n_old,
                  const uint64_t *row, uint32_t n);
/* `node` has filled p, as it knew configuration `config`. Ignored when it owns p no more, or by a
 * later configuration. */
void moves_filled(struct moves *m, uint32_t config, uint64_t node, uint32_t p);
void moves_closed(struct moves *m, uint32_t config, uint32_t p);
/* The node was removed: it votes no more, and nobody waits for it. */
void moves_forget(struct moves *m, uint64_t node);
/* A target that is no voter of the old row. */
bool move_is_new(const struct move *mv, uint64_t node);
/* It still has to fill. */
bool move_is_filling(const struct move *mv, uint64_t node);
/* What a request must know of a partition to be served: equal for equal rows and phase. */
uint64_t move_fence(const struct move *mv);

#endif
