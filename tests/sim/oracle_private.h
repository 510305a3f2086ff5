/* SPDX-License-Identifier: Apache-2.0 */
/* What the oracle's files share: the record by key, and the questions asked of it. */
#ifndef DYN_SIM_ORACLE_PRIVATE_H
#define DYN_SIM_ORACLE_PRIVATE_H

#include "oracle.h"

/* A version as some reply showed it. */
struct oracle_seen {
    struct dot dot, value_dot;
    enum sibling_type type;
    uint32_t mode;
    uint64_t size;
    uint8_t hash[DIGEST_LEN];
    struct origin origin;
};

struct oracle_key {
    struct buf name;
    struct oracle_write **writes;
    uint32_t n;
    struct oracle_seen *seen;
    uint32_t n_seen;
};

struct oracle {
    struct sim_world *world;
    struct oracle_key *keys;
    uint32_t n, last_id;
    bool false_conflicts, reaping;
};

void oracle_text(const struct oracle *o, const struct oracle_write *w, char *out, size_t len);
void oracle_learn(struct oracle *o, struct oracle_write *w, const struct dot *dot);
bool oracle_same_origin(const struct oracle_write *a, const struct oracle_write *b);
bool oracle_same_content(const struct oracle_write *a, const struct oracle_write *b);
/* Of these two, if they meet, `stays` remains: the same content, or later in one stream. */
bool oracle_stays_for(const struct oracle_write *stays, const struct oracle_write *w);
/* Acknowledged, and nothing that happened since can excuse its loss. */
bool oracle_lasts(const struct oracle_write *w);
bool oracle_covers(const struct oracle_write *by, const struct dot *dot);
bool oracle_may_remove(const struct oracle_write *by, const struct dot *dot);
bool oracle_may_be_covered(const struct oracle *o, const struct oracle_write *w);
/* Covered, or gone with a version that stood in for it. */
bool oracle_may_be_gone(const struct oracle *o, const struct oracle_write *w);
/* The write that made a sibling; NULL when there is none. */
struct oracle_write *oracle_author(struct oracle *o, uint32_t key, const struct sibling *s);
/* Checks that hold for every object that any reply shows. entry: a projection. */
void oracle_saw_object(struct oracle *o, uint32_t key, const struct object *object, bool entry);

#endif
