/* SPDX-License-Identifier: Apache-2.0 */
/* Walks through directories: one of them, or a whole tree for the keys in conflict. */
#ifndef DYN_CTL_WALK_H
#define DYN_CTL_WALK_H

#include "ctl/session.h"

/* DIR from the command line, without slashes around it. An exit status; said why. */
int walk_dir(struct ctl *c, struct slice *dir);

/* Calls row for each entry of the directory, in order; false stops (CTL_ERROR). what: for messages.
 * An exit status; said why. */
int walk_entries(struct session *s, const char *what, const struct request_options *opt,
                 struct slice dir,
                 bool (*row)(void *arg, struct slice dir, const struct list_entry *e), void *arg);

/* Calls found for each key below dir with versions in conflict. The object has no values. */
int walk_conflicts(struct session *s, const struct request_options *opt, struct slice dir,
                   bool (*found)(void *arg, struct slice key, const struct object *o), void *arg);

#endif
