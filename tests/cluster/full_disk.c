/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that is full for the store's log alone, and at a moment of the test's choice: preloaded
 * into a node, this refuses each write to a file *.log below a folder db while the file that
 * DYNAMOUNT_FULL_DISK names is there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t write(int fd, const void *bytes, size_t len)
{
    char name[64], path[4096];
    const char *flag = getenv("DYNAMOUNT_FULL_DISK");
    if (flag != NULL && access(flag, F_OK) == 0) {
        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(name, path, sizeof(path) - 1);
        path[n > 0 ? n : 0] = '\0';
        size_t end = strlen(path);
        if (strstr(path, "/db/") != NULL && end > 4 && strcmp(path + end - 4, ".log") == 0) {
            errno = ENOSPC;
            return -1;
        }
    }
    return syscall(SYS_write, fd, bytes, len);
}
