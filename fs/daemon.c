/* SPDX-License-Identifier: Apache-2.0 */
/* A mount command must not return before the mount works, nor say 0 if it does not; but the process
 * that serves the mount must be a child, for its parent is what the shell waits for. So the parent
 * waits at a pipe: a byte means success, its end without one means that the child has failed, and
 * the child's exit status is passed on. */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"

static _Noreturn void wait_for_report(int from, pid_t child)
{
    char byte;
    ssize_t got;
    do
        got = read(from, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got == 1)
        _exit(0);
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            _exit(1);
    _exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
}

int daemon_begin(int *report)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return DYN_ERR_IO;
    pid_t child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return DYN_ERR_IO;
    }
    if (child > 0) {
        close(ends[1]);
        wait_for_report(ends[0], child);
    }
    close(ends[0]);
    setsid(); /* cannot fail: a fresh child leads no group */
    *report = ends[1];
    return DYN_OK;
}

void daemon_report(int report)
{
    /* The mount must not hold the caller's folder; a failure only means that it does. */
    (void)!chdir("/");
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        for (int fd = 0; fd <= 2; fd++)
            dup2(null, fd);
        if (null > 2)
            close(null);
    }
    (void)!write(report, "", 1); /* fails when the caller was killed: nobody asks then */
    close(report);
}
