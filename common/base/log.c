/* SPDX-License-Identifier: Apache-2.0 */
/* See log.h. A line is put together on the stack and leaves in one write(2) to a descriptor opened
 * for appending, so threads need no lock and lines never mix. A new file is put in the place of the
 * old descriptor by dup3, so a thread that is just writing hits either file, never a closed one. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"

#define TEXT_MAX 2048 /* bytes of a message; what is over is cut and marked */
#define LINE_MAX_BYTES (TEXT_MAX * 4 + 256)

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* The project's only global state. */
static atomic_int sink_fd = STDERR_FILENO;
static atomic_int sink_level = LOG_LEVEL_INFO;
static char sink_path[4096];
static _Atomic(const struct log_sink *) sink_instead; /* NULL: sink_fd */

int log_level_parse(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return DYN_OK;
        }
    }
    return DYN_ERR_INVALID;
}

void log_set_level(enum log_level level)
{
    atomic_store(&sink_level, (int)level);
}

static int sink_to(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return DYN_ERR_IO;
    int old = atomic_load(&sink_fd);
    if (old == STDERR_FILENO) {
        atomic_store(&sink_fd, fd);
        return DYN_OK;
    }
    int moved = dup3(fd, old, O_CLOEXEC);
    close(fd);
    return moved < 0 ? DYN_ERR_IO : DYN_OK;
}

int log_open(const char *path)
{
    size_t len = strlen(path);
    if (len >= sizeof(sink_path))
        return DYN_ERR_IO;
    int err = sink_to(path);
    if (err == DYN_OK)
        memmove(sink_path, path, len + 1);
    return err;
}

int log_reopen(void)
{
    return sink_path[0] == '\0' ? DYN_OK : sink_to(sink_path);
}

void log_to(const struct log_sink *sink)
{
    atomic_store(&sink_instead, sink);
}

/* How many bytes at s are a control character: C0, DEL, and in UTF-8 the C1 controls, which
 * terminals obey too. */
static size_t control_len(const unsigned char *s, size_t len)
{
    if (s[0] < 0x20 || s[0] == 0x7f)
        return 1;
    return s[0] == 0xc2 && len > 1 && s[1] >= 0x80 && s[1] <= 0x9f ? 2 : 0;
}

static size_t escape(const char *text, size_t len, char *out)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = 0, escaped = 0; /* escaped: up to this offset */
    for (size_t i = 0; i < len; i++) {
        size_t control = control_len(s + i, len - i);
        if (control != 0)
            escaped = i + control;
        if (i < escaped) {
            out[n++] = '\\';
            out[n++] = 'x';
            out[n++] = "0123456789abcdef"[s[i] >> 4];
            out[n++] = "0123456789abcdef"[s[i] & 15];
        } else {
            out[n++] = text[i];
        }
    }
    return n;
}

static size_t stamp(char *out, size_t room)
{
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    int n = snprintf(out, room, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ ", tm.tm_year + 1900,
                     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                     now.tv_nsec / 1000000);
    return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

void log_line(enum log_level level, const char *module, const char *fmt, ...)
{
    if ((int)level < atomic_load(&sink_level))
        return;
    char text[TEXT_MAX], line[LINE_MAX_BYTES];
    int saved = errno;
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    size_t used = len < 0 ? 0 : (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;
    size_t start = stamp(line, 128);
    int named = snprintf(line + start, 128, "%s %.64s: ", level_names[level], module);
    size_t n = start + (named < 0 ? 0 : (size_t)named);
    n += escape(text, used, line + n);
    if (len >= (int)sizeof(text)) {
        memcpy(line + n, "...", 3);
        n += 3;
    }
    const struct log_sink *instead = atomic_load(&sink_instead);
    if (instead != NULL) {
        instead->say(instead->arg, level, line + start, n - start);
        errno = saved;
        return;
    }
    line[n++] = '\n';
    /* A log that cannot be written has nowhere to say so. */
    ssize_t written = write(atomic_load(&sink_fd), line, n);
    (void)written;
    errno = saved;
}
