/* SPDX-License-Identifier: Apache-2.0 */
/* How dynactl speaks: results on stdout, everything else on stderr, one line that says what failed,
 * why, and what can be done about it; and an exit status that scripts can tell apart. */
#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

const struct args_option ctl_common_options[] = {
    {"json", NULL, "print JSON", 0},
    {"help", NULL, "print this help", 'h'},
    {NULL, NULL, NULL, 0},
};

const struct args_option ctl_talk_options[] = {
    {"node", "HOST:PORT", "a node of the cluster; may be repeated, or a list with commas", 0},
    {"cluster", "DIR", "the local cluster in this folder", 0},
    {"timeout", "TIME", "give up after this time (default: 10s)", 0},
    {"coordinate", "WHO", "who asks the replicas for a read: client (default) or server", 0},
    {NULL, NULL, NULL, 0},
};

int ctl_fail(int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("dynactl: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return status;
}

int ctl_usage(const struct ctl *c, char *message)
{
    fprintf(stderr, "dynactl: %s\nSee 'dynactl %s%s--help'.\n", message,
            c->verb != NULL ? c->verb->name : "", c->verb != NULL ? " " : "");
    free(message);
    return CTL_USAGE;
}

int ctl_status_of(int err)
{
    switch (err) {
    case DYN_OK:
        return CTL_OK;
    case DYN_ERR_INVALID:
        return CTL_USAGE;
    case DYN_ERR_NOT_FOUND:
    case DYN_ERR_STALE:
        return CTL_NOT_FOUND;
    case DYN_ERR_EXISTS:
    case DYN_ERR_CONFLICT:
        return CTL_CONFLICT;
    case DYN_ERR_TIMEOUT:
    case DYN_ERR_NO_QUORUM:
    case DYN_ERR_UNREACHABLE:
    case DYN_ERR_OVERLOAD:
    case DYN_ERR_STOPPED:
    case DYN_ERR_NO_SPACE:
        return CTL_UNAVAILABLE;
    default:
        return CTL_ERROR;
    }
}

static const char *advice(int err)
{
    switch (err) {
    case DYN_ERR_TIMEOUT:
    case DYN_ERR_NO_QUORUM:
        return "'dynactl status' shows which nodes are down; --r or --w ask for fewer";
    case DYN_ERR_UNREACHABLE:
        return "are the nodes running, and is --node right?";
    case DYN_ERR_EXISTS:
        return "get it first, and put with its context";
    case DYN_ERR_CONFLICT:
        return "too many versions stand side by side: get them, and put with their context";
    case DYN_ERR_BAD_CONTEXT:
        return "a context is for the key and the cluster that it was read from: read it again";
    case DYN_ERR_OVERLOAD:
    case DYN_ERR_STOPPED:
        return "try again in a moment";
    case DYN_ERR_TOO_LARGE:
        return "values of one piece are limited to 8 MiB, files to some 500 GiB";
    default:
        return NULL;
    }
}

int ctl_failed(const char *what, struct slice key, int err, unsigned answered, unsigned needed)
{
    struct buf text = BUF_EMPTY;
    bool writes = strcmp(what, "put") == 0 || strcmp(what, "rm") == 0;
    buf_printf(&text, "%s '", what);
    buf_put_percent(&text, key, "/ ");
    buf_printf(&text, "': %s", dyn_err_message(err));
    if (needed != 0 && ctl_status_of(err) == CTL_UNAVAILABLE)
        buf_printf(&text, " (%u of %u nodes answered)", answered, needed);
    if (advice(err) != NULL)
        buf_printf(&text, ": %s", advice(err));
    /* Whoever stored it keeps it. */
    if (writes && (err == DYN_ERR_TIMEOUT || err == DYN_ERR_NO_QUORUM))
        buf_put_str(&text, "; the write may have happened all the same");
    ctl_fail(ctl_status_of(err), "%.*s", (int)text.len, (const char *)text.data);
    buf_release(&text);
    return ctl_status_of(err);
}

/* DYN_OK or DYN_ERR_IO with errno. */
static int write_all(int fd, struct slice s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.data, s.len);
        if (n < 0 && errno != EINTR)
            return DYN_ERR_IO;
        if (n > 0)
            s = slice_of(s.data + n, s.len - (size_t)n);
    }
    return DYN_OK;
}

int ctl_write_to(int fd, struct slice s)
{
    if (write_all(fd, s) != DYN_OK)
        return ctl_fail(CTL_ERROR, "cannot write the result: %s", strerror(errno));
    return CTL_OK;
}

int ctl_write(struct slice s)
{
    return ctl_write_to(STDOUT_FILENO, s);
}

int ctl_print(struct buf *b)
{
    int status = ctl_write(buf_slice(b));
    buf_release(b);
    return status;
}

void ctl_put_name(const struct ctl *c, struct slice name, struct buf *out)
{
    for (size_t i = 0; i < name.len; i++) {
        uint8_t ch = name.data[i];
        if (c->terminal && (ch < 32 || ch == 127))
            buf_printf(out, "\\%03o", ch);
        else
            buf_put_u8(out, ch);
    }
}

void ctl_put_time(uint64_t ns, struct buf *out)
{
    char text[40];
    struct tm tm;
    time_t seconds = (time_t)(ns / 1000000000u);
    if (localtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %z", &tm) == 0)
        buf_put_str(out, "?");
    else
        buf_put_str(out, text);
}

int ctl_read_file(const char *path, size_t max, struct buf *out, char **message)
{
    bool in = strcmp(path, "-") == 0;
    int fd = in ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    size_t start = out->len;
    ssize_t n = fd < 0 ? -1 : 1;
    int err = DYN_OK;

    while (n > 0 && out->len - start <= max) {
        buf_reserve(out, 65536);
        n = read(fd, out->data + out->len, 65536);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            out->len += (size_t)n;
    }
    if (n < 0) {
        err = DYN_ERR_IO;
        *message = mem_printf("%s: %s", in ? "stdin" : path, strerror(errno));
    } else if (out->len - start > max) {
        err = DYN_ERR_TOO_LARGE;
        *message = mem_printf("%s: over the limit of %zu bytes", in ? "stdin" : path, max);
    }
    if (err != DYN_OK)
        out->len = start;
    if (!in && fd >= 0)
        close(fd);
    return err;
}

int ctl_write_file(const char *path, struct slice content, unsigned mode, char **message)
{
    char *temporary = mem_printf("%s.%ld.tmp", path, (long)getpid());
    int err = DYN_ERR_IO, fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd >= 0 && fchmod(fd, mode) == 0 && write_all(fd, content) == DYN_OK && fsync(fd) == 0 &&
        rename(temporary, path) == 0)
        err = DYN_OK;
    if (err != DYN_OK) {
        *message = mem_printf("%s: %s", path, strerror(errno));
        if (fd >= 0)
            unlink(temporary);
    }
    if (fd >= 0)
        close(fd);
    free(temporary);
    return err;
}
