/* SPDX-License-Identifier: Apache-2.0 */
/* Which process is it? A pid alone proves nothing, since ids are used again. So a pid file also
 * keeps when the process started, in the kernel's own ticks, and a pidfd is opened before that is
 * compared: from then on it is this process or none. */
#ifndef DYN_ADAPTER_PROCESS_ID_H
#define DYN_ADAPTER_PROCESS_ID_H

#include <stdbool.h>
#include <sys/types.h>

#define PROCESS_NOTE_MAX 32

struct process_id {
    pid_t pid;
    int pidfd; /* the caller closes it; becomes readable when the process ends */
    char note[PROCESS_NOTE_MAX];
};

/* Writes "PID START NOTE" for a process that runs; note is a word, NULL for none. DYN_ERR_IO with
 * *message (caller frees). */
int process_id_save(const char *path, pid_t pid, const char *note, char **message);
/* False: there is no such file, or the process that it names has ended. */
bool process_id_load(const char *path, struct process_id *out);
bool process_id_ended(int pidfd);

#endif
