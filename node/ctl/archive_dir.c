/* SPDX-License-Identifier: Apache-2.0 */
/* See archive_dir.h. */
#include "ctl/archive_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

#define LOCK "lock"
#define TEMPORARY ".part" /* what a run that was killed leaves; the next one writes over it */

struct archive_dir {
    int fd, lock;
    int error;
};

struct archive_file {
    int fd;
    char *name, *temporary; /* of a file being written */
};

static int failed(struct archive_dir *d)
{
    int error = errno;
    if (error == ENOENT)
        return DYN_ERR_NOT_FOUND;
    d->error = error;
    return error == ENOSPC || error == EDQUOT ? DYN_ERR_NO_SPACE : DYN_ERR_IO;
}

static void file_free(struct archive_file *f)
{
    close(f->fd);
    free(f->name);
    free(f->temporary);
    free(f);
}

static int create(void *ctx, const char *name, struct archive_file **out)
{
    struct archive_dir *d = ctx;
    char *temporary = mem_printf("%s%s", name, TEMPORARY);
    int fd = openat(d->fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        free(temporary);
        return failed(d);
    }
    struct archive_file *f = mem_new(struct archive_file);
    *f = (struct archive_file){fd, mem_strdup(name), temporary};
    *out = f;
    return DYN_OK;
}

static int append(void *ctx, struct archive_file *f, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t n = write(f->fd, bytes.data, bytes.len);
        if (n < 0 && errno != EINTR)
            return failed(ctx);
        if (n > 0)
            bytes = slice_of(bytes.data + n, bytes.len - (size_t)n);
    }
    return DYN_OK;
}

static void discard(void *ctx, struct archive_file *f)
{
    struct archive_dir *d = ctx;
    if (f == NULL)
        return;
    unlinkat(d->fd, f->temporary, 0);
    file_free(f);
}

static int commit(void *ctx, struct archive_file *f)
{
    struct archive_dir *d = ctx;
    if (renameat(d->fd, f->temporary, d->fd, f->name) != 0) {
        int err = failed(d);
        discard(d, f);
        return err;
    }
    file_free(f);
    return DYN_OK;
}

/* Once for some hundred files, not for each. */
static int sync_all(void *ctx)
{
    struct archive_dir *d = ctx;
    return syncfs(d->fd) == 0 ? DYN_OK : failed(d);
}

static int open_file(void *ctx, const char *name, struct archive_file **out, uint64_t *size)
{
    struct archive_dir *d = ctx;
    struct stat st;
    int fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return failed(d);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return DYN_ERR_CORRUPT;
    }
    struct archive_file *f = mem_new(struct archive_file);
    f->fd = fd;
    *out = f;
    *size = (uint64_t)st.st_size;
    return DYN_OK;
}

static int read_file(void *ctx, struct archive_file *f, uint64_t at, size_t len, struct buf *out)
{
    size_t done = 0;
    buf_reserve(out, len);
    while (done < len) {
        ssize_t n = pread(f->fd, out->data + out->len + done, len - done, (off_t)(at + done));
        if (n < 0 && errno != EINTR)
            return failed(ctx);
        if (n == 0)
            return DYN_ERR_CORRUPT;
        done += n > 0 ? (size_t)n : 0;
    }
    out->len += len;
    return DYN_OK;
}

static void close_file(void *ctx, struct archive_file *f)
{
    (void)ctx;
    if (f != NULL)
        file_free(f);
}

static int remove_file(void *ctx, const char *name)
{
    struct archive_dir *d = ctx;
    return unlinkat(d->fd, name, 0) == 0 ? DYN_OK : failed(d);
}

static int list(void *ctx, void (*name)(void *arg, const char *name), void *arg)
{
    struct archive_dir *d = ctx;
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int err = failed(d);
        if (fd >= 0)
            close(fd);
        return err;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        name(arg, e->d_name);
    closedir(dir);
    return DYN_OK;
}

struct archive_port archive_dir_port(struct archive_dir *d)
{
    return (struct archive_port){d,         create,    append,     commit,      sync_all, discard,
                                 open_file, read_file, close_file, remove_file, list};
}

int archive_dir_errno(const struct archive_dir *d)
{
    return d->error;
}

int archive_dir_open(const char *path, bool make, struct archive_dir **out, char **message)
{
    struct archive_dir *d = mem_new(struct archive_dir);
    d->lock = -1;
    if (make && mkdir(path, 0700) != 0 && errno != EEXIST) {
        *message = mem_printf("%s: %s", path, strerror(errno));
        free(d);
        return DYN_ERR_IO;
    }
    d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd < 0) {
        int err = errno == ENOENT ? DYN_ERR_NOT_FOUND : DYN_ERR_IO;
        *message = mem_printf("%s: %s", path, strerror(errno));
        free(d);
        return err;
    }
    if (make) {
        d->lock = openat(d->fd, LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (d->lock < 0 || flock(d->lock, LOCK_EX | LOCK_NB) != 0) {
            int err = d->lock >= 0 && errno == EWOULDBLOCK ? DYN_ERR_EXISTS : DYN_ERR_IO;
            *message = mem_printf("%s: %s", path,
                                  err == DYN_ERR_EXISTS ? "another backup is writing to it"
                                                        : strerror(errno));
            archive_dir_close(d);
            return err;
        }
    }
    *out = d;
    return DYN_OK;
}

void archive_dir_close(struct archive_dir *d)
{
    if (d == NULL)
        return;
    if (d->lock >= 0)
        close(d->lock);
    close(d->fd);
    free(d);
}
