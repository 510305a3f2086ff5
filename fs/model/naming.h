/* SPDX-License-Identifier: Apache-2.0 */
/* Getting the tokens for versions that an operation wants to name. What a listing showed can be
 * ahead of what the replicas asked now hold: after a split the entries may meet before the objects
 * do. An operation that went on with fewer names would drop nothing, or leave a conflict that the
 * user has just settled. So the read is repeated, from all replicas, while hints find their way.
 */
#ifndef DYN_FS_NAMING_H
#define DYN_FS_NAMING_H

#include "model/seen.h"

struct naming {
    struct task *t;
    struct seen *s;           /* borrowed */
    const struct cover *dots; /* borrowed */
    uint32_t tries;
    uint64_t until_us; /* half the deadline: the other half is for what needs the names */
    struct timer timer;
    void (*done)(struct task *t, const struct get_reply *p);
};

/* Reads the key until seen_can_name(s, dots), or until it is no use: then done sees that some dots
 * have no token. p: the last answer, already remembered (seen_got) when its status is DYN_OK.
 * t->naming is n meanwhile. */
void naming_start(struct naming *n, struct task *t, struct seen *s, const struct cover *dots,
                  void (*done)(struct task *t, const struct get_reply *p));
void naming_release(struct naming *n); /* from the task's release; fine when never started */

#endif
