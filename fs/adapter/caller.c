/* SPDX-License-Identifier: Apache-2.0 */
/* FUSE tells that a caller was interrupted, never by which signal. A program that only got SIGALRM
 * or SIGCHLD must not see EINTR from a file (Go programs and git break, HAZARDS F23), while one
 * that is being killed must not wait for a cluster that does not answer. The kernel's own record of
 * pending signals tells the two apart: in a request's uninterruptible wait, SIGKILL stays pending
 * until the request is answered. Who was not waiting takes the signal, and then closes his files:
 * for those flushes his state tells that he exits, and his exit code that it is by a signal. */
#include "adapter/caller.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS_LEN_MAX 8192
#define PF_EXITING 4u       /* of the kernel's flags of a task */
#define DESCRIPTORS_MAX 256 /* looked at in one process; a shell has few */

/* Signals pending for the thread (SigPnd) and for its whole process (ShdPnd): hex masks, bit n - 1
 * for signal n. */
static bool has_sigkill(const char *status, const char *field)
{
    const char *at = strstr(status, field);
    if (at == NULL)
        return false;
    unsigned long long mask = strtoull(at + strlen(field), NULL, 16);
    return (mask >> (SIGKILL - 1)) & 1;
}

bool caller_status_kill_pending(const char *status)
{
    return has_sigkill(status, "\nSigPnd:") || has_sigkill(status, "\nShdPnd:");
}

/* Reads a whole small file of procfs as text. False: it is not there, or empty. */
static bool read_text(int dir, const char *name, char *text, size_t room)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, text, room - 1);
    close(fd);
    if (len <= 0)
        return false;
    text[len] = 0;
    return true;
}

/* pid (name) state ppid ... : the name may hold anything, but no field after it a bracket. Flags
 * are the 9th field, the exit code is the last of 52. */
bool caller_stat_killed(const char *stat)
{
    const char *at = strrchr(stat, ')');
    unsigned long flags = 0, code = 0;
    int field = 2;
    while (at != NULL && field < 52) {
        at = strchr(at, ' ');
        field += at != NULL;
        at = at == NULL ? NULL : at + 1;
        if (at != NULL && field == 9)
            flags = strtoul(at, NULL, 10);
        if (at != NULL && field == 52)
            code = strtoul(at, NULL, 10);
    }
    return flags & PF_EXITING && (code & 0x7f) != 0;
}

static bool text_of(uint32_t pid, const char *name, char *text)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/%u/%s", pid, name);
    return read_text(AT_FDCWD, path, text, STATUS_LEN_MAX);
}

bool caller_is_killed(uint32_t pid)
{
    char text[STATUS_LEN_MAX];
    if (pid == 0)
        return false;
    return (text_of(pid, "status", text) && caller_status_kill_pending(text)) ||
           (text_of(pid, "stat", text) && caller_stat_killed(text));
}

bool caller_has_open(uint32_t pid, uint64_t ino)
{
    char path[32], text[STATUS_LEN_MAX];
    bool found = false;
    if (pid == 0)
        return false;
    snprintf(path, sizeof(path), "/proc/%u/fdinfo", pid);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return false;
    for (int n = 0; n < DESCRIPTORS_MAX && !found; n++) {
        const struct dirent *at = readdir(dir);
        if (at == NULL)
            break;
        const char *field =
            at->d_name[0] != '.' && read_text(dirfd(dir), at->d_name, text, sizeof(text))
                ? strstr(text, "\nino:")
                : NULL;
        found = field != NULL && strtoull(field + 5, NULL, 10) == ino;
    }
    closedir(dir);
    return found;
}
