/* SPDX-License-Identifier: Apache-2.0 */
/* See process_id.h. */
#include "adapter/process_id.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

#define FILE_MAX 4096

/* Files of /proc and pid files are short: what does not fit is none of them. */
static bool read_small(const char *path, char out[FILE_MAX + 1])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, out, FILE_MAX);
    if (fd >= 0)
        close(fd);
    out[got > 0 ? got : 0] = 0;
    return got > 0;
}

/* Field 22 of /proc/PID/stat: unique to the process together with its id. 0: there is none. */
static uint64_t start_time(pid_t pid)
{
    char text[FILE_MAX + 1], *path = mem_printf("/proc/%ld/stat", (long)pid);
    uint64_t time = 0;
    if (read_small(path, text)) {
        const char *at = strrchr(text, ')'); /* the name may hold anything */
        for (unsigned field = 2; at != NULL && field < 22; field++)
            at = strchr(at + 1, ' ');
        if (at != NULL)
            time = strtoull(at + 1, NULL, 10);
    }
    free(path);
    return time;
}

bool process_id_ended(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

int process_id_save(const char *path, pid_t pid, const char *note, char **message)
{
    char *temporary = mem_printf("%s.%ld.tmp", path, (long)getpid());
    char *text = mem_printf("%ld %" PRIu64 "%s%s\n", (long)pid, start_time(pid),
                            note != NULL ? " " : "", note != NULL ? note : "");
    size_t len = strlen(text);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && write(fd, text, len) == (ssize_t)len && rename(temporary, path) == 0;
    if (!ok)
        *message = mem_printf("%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (!ok && fd >= 0)
        unlink(temporary);
    free(text);
    free(temporary);
    return ok ? DYN_OK : DYN_ERR_IO;
}

/* A dead process whose parent does not care keeps its entry, so that is looked at too. */
bool process_id_load(const char *path, struct process_id *out)
{
    struct process_id got = {.pidfd = -1};
    char text[FILE_MAX + 1];
    long pid;
    uint64_t started;
    if (!read_small(path, text) ||
        sscanf(text, "%ld %" SCNu64 " %31s", &pid, &started, got.note) < 2 || pid <= 1)
        return false;
    got.pid = (pid_t)pid;
    got.pidfd = pidfd_open(got.pid, 0);
    if (got.pidfd < 0)
        return false;
    if (started == 0 || start_time(got.pid) != started || process_id_ended(got.pidfd)) {
        close(got.pidfd);
        return false;
    }
    *out = got;
    return true;
}
