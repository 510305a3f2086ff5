/* SPDX-License-Identifier: Apache-2.0 */
/* What all members say of themselves, asked at once. A node that does not answer is a line of the
 * answer, not an error. */
#ifndef DYN_CTL_SURVEY_H
#define DYN_CTL_SURVEY_H

#include "base/json.h"
#include "ctl/session.h"

struct survey {
    struct ring *ring;
    uint32_t n;
    uint64_t *nodes;
    struct buf *texts;
    int *errs;
    struct json **told; /* NULL: no answer, or none that parses */
};

/* The session and the ring, or the exit status, with *s NULL, after having said why. */
int survey_open(struct ctl *c, struct session **s, struct ring **ring);
/* Members, then those that leave or have left. */
const struct ring_member *survey_member(const struct ring *ring, uint32_t i);
void survey_take(struct survey *v, struct session *s, struct ring *ring);
void survey_release(struct survey *v);

/* A number in an object; 0 when it is missing, or the object is NULL. */
uint64_t survey_number(const struct json *object, const char *name);

#endif
