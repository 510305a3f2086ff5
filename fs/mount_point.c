/* SPDX-License-Identifier: Apache-2.0 */
/* A dynamount that was killed leaves its mount behind: every access fails with ENOTCONN, and the
 * folder cannot be mounted on until somebody unmounts it. The one who mounts there again is that
 * somebody. Only a mount without a server answers so, and nothing alive is ever taken away. */
#include "mount_point.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

/* realpath(3) would ask the dead mount about itself; so its parent's path is resolved. Caller
 * frees; NULL with errno. */
static char *absolute_of(const char *path)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    char *copy = mem_strndup(path, len);
    char *slash = strrchr(copy, '/');
    const char *name = slash != NULL ? slash + 1 : copy;
    char *result = NULL;
    if (name[0] == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        result = realpath(copy, NULL);
    } else {
        char folder[PATH_MAX];
        char *parent = slash == NULL ? mem_strdup(".") : mem_strndup(copy, (size_t)(slash - copy));
        if (realpath(parent[0] != 0 ? parent : "/", folder) != NULL)
            result = mem_printf("%s/%s", strcmp(folder, "/") == 0 ? "" : folder, name);
        free(parent);
    }
    free(copy);
    return result;
}

static int run_fusermount(const char *mountpoint)
{
    extern char **environ;
    char *argv[] = {"fusermount3", "-u", "-q", "-z", "--", (char *)mountpoint, NULL};
    pid_t pid;
    int status;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != 0; from++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 3;
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
}

/* The mounts of this namespace, the innermost last. */
struct mounts {
    FILE *file;
    char *line;
    size_t cap;
    const char *device, *point; /* of the mount read last */
    bool ours;
};

static bool mounts_next(struct mounts *m)
{
    while (m->file != NULL && getline(&m->line, &m->cap, m->file) > 0) {
        char *rest = m->line, *field[5] = {NULL};
        for (int i = 0; i < 5 && rest != NULL; i++)
            field[i] = strsep(&rest, " ");
        if (field[4] == NULL || rest == NULL)
            continue;
        unescape(field[4]);
        m->device = field[2];
        m->point = field[4];
        m->ours = strstr(rest, " - fuse.dynamount ") != NULL;
        return true;
    }
    free(m->line);
    if (m->file != NULL)
        fclose(m->file);
    return false;
}

char *mount_point_device(const char *mountpoint)
{
    struct mounts m = {.file = fopen("/proc/self/mountinfo", "re")};
    char *device = NULL;
    while (mounts_next(&m)) {
        if (strcmp(m.point, mountpoint) != 0)
            continue;
        free(device);
        device = m.ours ? mem_strdup(m.device) : NULL;
    }
    return device;
}

bool mount_point_device_mounted(const char *device)
{
    struct mounts m = {.file = fopen("/proc/self/mountinfo", "re")};
    bool found = m.file == NULL; /* cannot be known */
    while (mounts_next(&m))
        found |= strcmp(m.device, device) == 0;
    return found;
}

static bool mounted_already(const char *mountpoint)
{
    char *device = mount_point_device(mountpoint);
    free(device);
    return device != NULL;
}

/* Whether a server has gone. Attributes may still be in the kernel's cache, so of our own mounts
 * something is asked that is never cached, and that a living server answers at once. */
static bool is_dead(const char *mountpoint, struct stat *st, int *error)
{
    struct statvfs unused;
    int failed = stat(mountpoint, st);
    if (failed == 0 && mounted_already(mountpoint) && statvfs(mountpoint, &unused) != 0)
        failed = -1;
    *error = failed != 0 ? errno : 0;
    return *error == ENOTCONN || *error == ECONNABORTED || *error == ECONNREFUSED;
}

/* How often a mount is taken away: one over the other, as many as restarts left there. */
#define STALE_MAX 16

static int mend(const char *mountpoint, struct stat *st, char **message)
{
    int error;
    for (int i = 0; is_dead(mountpoint, st, &error) && i < STALE_MAX; i++) {
        if (umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) != 0 &&
            run_fusermount(mountpoint) != 0) {
            *message = mem_printf("%s is a mount whose server has died, and it cannot be unmounted",
                                  mountpoint);
            return DYN_ERR_IO;
        }
    }
    if (error != 0) {
        *message = mem_printf("%s: %s", mountpoint, strerror(error));
        return DYN_ERR_INVALID;
    }
    return DYN_OK;
}

int mount_point_prepare(const char *given, char **absolute, char **message)
{
    if (strncmp(given, "/dev/fd/", 8) == 0) {
        *absolute = mem_strdup(given);
        return DYN_OK;
    }
    char *path = absolute_of(given);
    if (path == NULL) {
        *message = mem_printf("%s: %s", given, strerror(errno));
        return DYN_ERR_INVALID;
    }
    struct stat st;
    int err = mend(path, &st, message);
    if (err == DYN_OK) {
        char *resolved = realpath(path, NULL); /* the last component may be a link */
        if (resolved != NULL) {
            free(path);
            path = resolved;
        }
        if (!S_ISDIR(st.st_mode)) {
            *message = mem_printf("%s is not a folder", path);
            err = DYN_ERR_INVALID;
        } else if (mounted_already(path)) {
            *message = mem_printf("%s is mounted already", path);
            err = DYN_ERR_INVALID;
        }
    }
    if (err == DYN_OK)
        *absolute = path;
    else
        free(path);
    return err;
}

int mount_point_absolute(const char *file, char **absolute, char **message)
{
    char *path = absolute_of(file);
    if (path == NULL) {
        *message = mem_printf("%s: %s", file, strerror(errno));
        return DYN_ERR_INVALID;
    }
    *absolute = path;
    return DYN_OK;
}

bool mount_point_contains(const char *mountpoint, const char *path)
{
    size_t len = strlen(mountpoint);
    if (strcmp(mountpoint, "/") == 0)
        return true;
    return strncmp(path, mountpoint, len) == 0 && (path[len] == 0 || path[len] == '/');
}
