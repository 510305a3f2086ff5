/* SPDX-License-Identifier: Apache-2.0 */
/* Before versions of a name get numbers, this mount must know which stored keys are called
 * NAME.conflict.N: such a key keeps its name, and the projection takes the next free number. In the
 * order of a listing they may stand far behind NAME. What is listed is remembered (seen.h), and
 * projection_number passes what is remembered. */
#ifndef DYN_FS_NUMBERING_H
#define DYN_FS_NUMBERING_H

#include "model/seen.h"

struct numbering {
    struct task *t;
    struct seen *s; /* borrowed */
    struct buf prefix, cursor;
    void (*done)(struct task *t, int err);
};

/* Lists what is stored under names that a projection of s might take. t->numbering is n meanwhile.
 * err: 0 or a positive errno. */
void numbering_start(struct numbering *n, struct task *t, struct seen *s,
                     void (*done)(struct task *t, int err));
void numbering_release(struct numbering *n); /* from the task's release; fine when never started */

/* Does a page that ends with the name `last`, and begins before `name`, hold all of them? */
bool numbering_covered(struct slice name, struct slice last);

#endif
