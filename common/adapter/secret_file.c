/* SPDX-License-Identifier: Apache-2.0 */
/* See secret_file.h. */
#include "adapter/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

#define SECRET_MIN 16
#define SECRET_MAX 4096

int secret_file_load(const char *path, struct buf *out, char **message)
{
    struct stat st;
    uint8_t bytes[SECRET_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;
    int err = DYN_ERR_IO;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        *message = mem_printf("secret_file %s: %s", path,
                              fd < 0 ? strerror(errno) : "is not a regular file");
        goto out;
    }
    if ((st.st_mode & 077) != 0) {
        *message = mem_printf("secret_file %s may be used by others than its owner (mode %04o): "
                              "chmod 600 it",
                              path, st.st_mode & 07777);
        err = DYN_ERR_DENIED;
        goto out;
    }
    n = read(fd, bytes, sizeof(bytes));
    while (n > 0 && (bytes[n - 1] == '\n' || bytes[n - 1] == '\r'))
        n--;
    if (n < SECRET_MIN || n > SECRET_MAX) {
        *message =
            mem_printf("secret_file %s must hold %d to %d bytes", path, SECRET_MIN, SECRET_MAX);
        err = DYN_ERR_INVALID;
        goto out;
    }
    buf_put(out, bytes, (size_t)n);
    err = DYN_OK;
out:
    if (fd >= 0)
        close(fd);
    return err;
}

void secret_file_release(struct buf *secret)
{
    if (secret->data != NULL)
        explicit_bzero(secret->data, secret->len);
    buf_release(secret);
}
