/* SPDX-License-Identifier: Apache-2.0 */
/* FUSE tells that a caller was interrupted, never by which signal. A program that only got SIGALRM
 * or SIGCHLD must not see EINTR from a file (Go programs and git break, HAZARDS F23), while one
 * that is being killed must not wait for a cluster that does not answer. The kernel's own record of
 * pending signals tells the two apart: in a request's uninterruptible wait, SIGKILL stays pending
 * until the request is answered. */
#include "adapter/caller.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS_LEN_MAX 8192

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

bool caller_is_killed(uint32_t pid)
{
    if (pid == 0)
        return false;
    char path[32];
    snprintf(path, sizeof(path), "/proc/%u/status", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    char text[STATUS_LEN_MAX];
    ssize_t len = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (len <= 0)
        return false;
    text[len] = 0;
    return caller_status_kill_pending(text);
}
