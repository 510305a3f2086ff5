/* SPDX-License-Identifier: Apache-2.0 */
/* A mount that ends with unpublished changes has promised nothing for them, close has failed. But
 * somebody typed them, and they are in no other place. So they become ordinary files in a folder of
 * the machine, each under its key, with its mode and its time, and the log says where.
 *
 * Of a large file only what was written is in memory: that lies at its place in a sparse file, and
 * is told apart in the log. */
#include "recovery.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/fs.h"

#define NAMES_MAX 1000  /* KEY, KEY.2, ... */
#define COUNT_MAX 10000 /* files that are counted: a mount does not wait for more */
#define COUNT_DEPTH 64  /* folders in each other, each an open descriptor */

struct saving {
    const char *folder;
    char *path;
    int fd; /* -1: cannot be kept */
    uint32_t lost;
};

char *state_folder(const char *name)
{
    const char *own = getenv("DYNAMOUNT_STATE");
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (own != NULL && own[0] == '/')
        return mem_printf("%s/%s", own, name);
    if (geteuid() == 0)
        return mem_printf("/var/lib/dynamount/%s", name);
    if (state != NULL && state[0] == '/')
        return mem_printf("%s/dynamount/%s", state, name);
    return home != NULL && home[0] == '/' ? mem_printf("%s/.local/state/dynamount/%s", home, name)
                                          : NULL;
}

/* Makes the folders that a path leads through; nobody else may look into them. */
static int make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        int failed = mkdir(path, 0700) != 0 && errno != EEXIST;
        *slash = '/';
        if (failed)
            return DYN_ERR_IO;
    }
    return DYN_OK;
}

/* Creates, never opens what is there: an earlier run's leftovers, or a link that somebody laid. */
static int create_as(struct saving *s, struct slice name)
{
    for (unsigned i = 1; i < NAMES_MAX; i++) {
        free(s->path);
        s->path = mem_printf("%s/%.*s", s->folder, (int)name.len, (const char *)name.data);
        if (i > 1) {
            char *first = s->path;
            s->path = mem_printf("%s.%u", first, i);
            free(first);
        }
        int fd = -1;
        if (make_parents(s->path) == DYN_OK)
            fd = open(s->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

/* In one piece where its folders cannot be: a key may be a file here and a folder there. */
static int create(struct saving *s, struct slice key)
{
    struct buf flat = BUF_EMPTY;
    int fd = create_as(s, key);
    if (fd < 0) {
        buf_put_percent(&flat, key, "");
        fd = create_as(s, buf_slice(&flat));
    }
    buf_release(&flat);
    return fd;
}

static void begin(void *arg, const struct fs_leftover *l)
{
    struct saving *s = arg;
    s->fd = s->folder == NULL ? -1 : create(s, l->key);
}

static void piece(void *arg, uint64_t off, struct slice bytes)
{
    struct saving *s = arg;
    for (size_t done = 0; s->fd >= 0 && done < bytes.len;) {
        ssize_t n = pwrite(s->fd, bytes.data + done, bytes.len - done, (off_t)(off + done));
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            close(s->fd);
            s->fd = -1;
        }
    }
}

static bool end(void *arg, const struct fs_leftover *l)
{
    struct saving *s = arg;
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = l->mtime_ns / 1000000000, .tv_nsec = l->mtime_ns % 1000000000}};
    bool kept = s->fd >= 0 && ftruncate(s->fd, (off_t)l->size) == 0 && fsync(s->fd) == 0;
    if (kept) {
        /* Both are only for convenience; a file without them is kept all the same. */
        (void)!fchmod(s->fd, l->mode & 0700);
        (void)!futimens(s->fd, l->mtime_ns < 0 ? NULL : times);
        log_warn("recovery", "%.*s was not published%s; it is kept in %s", (int)l->key.len,
                 (const char *)l->key.data, l->whole ? "" : ", and only what was written is here",
                 s->path);
    } else {
        log_error("recovery", "%.*s was not published and could not be kept in %s: %s",
                  (int)l->key.len, (const char *)l->key.data,
                  s->folder == NULL ? "any folder" : s->folder, strerror(errno));
        s->lost++;
    }
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    return kept;
}

/* The files below the folder at fd, which it closes; up to COUNT_MAX. */
static uint32_t count_files(int fd, unsigned depth)
{
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return 0;
    }
    uint32_t n = 0;
    for (struct dirent *e = readdir(dir); e != NULL && n < COUNT_MAX; e = readdir(dir)) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISREG(st.st_mode)) {
            n++;
        } else if (S_ISDIR(st.st_mode) && depth < COUNT_DEPTH) {
            int below =
                openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            n += below < 0 ? 0 : count_files(below, depth + 1);
        }
    }
    closedir(dir);
    return n < COUNT_MAX ? n : COUNT_MAX;
}

void recovery_remind(const char *folder)
{
    int fd = folder == NULL ? -1 : open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint32_t n = fd < 0 ? 0 : count_files(fd, 0);
    if (n > 0)
        log_warn("recovery", "what earlier mounts could not publish is kept in %s: %s%u file%s",
                 folder, n == COUNT_MAX ? "at least " : "", n, n == 1 ? "" : "s");
}

uint32_t recovery_save(struct fs *fs, const char *folder)
{
    struct saving s = {.folder = folder, .fd = -1};
    const struct fs_leftovers take = {&s, begin, piece, end};
    fs_leftovers(fs, &take);
    free(s.path);
    return s.lost;
}
