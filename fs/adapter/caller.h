/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel tells about the process behind a request. */
#ifndef DYN_FS_CALLER_H
#define DYN_FS_CALLER_H

#include <stdbool.h>
#include <stdint.h>

/* Whether SIGKILL waits for this thread, or a signal has ended it already. pid is the thread id
 * that FUSE gives; 0 (another pid namespace) or a process that cannot be looked at: false. Reads
 * two files of procfs, which never blocks. */
bool caller_is_killed(uint32_t pid);

/* The same question to the text of a /proc/PID/status file. */
bool caller_status_kill_pending(const char *status);

/* Whether the thread is on its way out because of a signal, by the text of its /proc/PID/stat. It
 * has taken the signal by then, and closes its files. */
bool caller_stat_killed(const char *stat);

/* Whether a process has a file of that inode number open. A descriptor that is being closed does
 * not count any more. False when it cannot be told. */
bool caller_has_open(uint32_t pid, uint64_t ino);

#endif
