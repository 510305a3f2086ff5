/* SPDX-License-Identifier: Apache-2.0 */
/* A three-way merge by somebody else's program: files for it in a folder of their own, the command
 * run by the shell, its result read. Two conventions are in use: diff3 and git merge-file print
 * the result, tools with windows write it to a file. Both work, as the command is written. */
#ifndef DYN_CTL_MERGE_H
#define DYN_CTL_MERGE_H

#include "ctl/session.h"

enum merge_file { MERGE_BASE, MERGE_OURS, MERGE_THEIRS, MERGE_RESULT, MERGE_FILES };

struct merge {
    char *folder;
    char *paths[MERGE_FILES];
    const char *command; /* borrowed */
};

/* Makes the folder and the files' names, which end as the key does. DYN_ERR_IO with *message. */
int merge_open(struct merge *m, const char *command, struct slice key, char **message);
void merge_close(struct merge *m); /* with all files */

/* Empties or makes one of the files; a descriptor for its bytes, or DYN_ERR_IO with *message. */
int merge_write(const struct merge *m, enum merge_file which, char **message);

/* Runs the command. DYN_OK: MERGE_RESULT is the result. DYN_ERR_CONFLICT with *message: it said by
 * its exit status that it is not resolved. DYN_ERR_IO with *message. */
int merge_run(const struct merge *m, struct slice key, char **message);

/* The command with %base, %ours, %theirs and %merged replaced by what the shell expands to their
 * paths. */
void merge_expand(const char *command, struct buf *out);

#endif
