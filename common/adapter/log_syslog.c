/* SPDX-License-Identifier: Apache-2.0 */
/* libc's syslog(3) waits for as long as the listener does not read. For a process that serves a
 * mount this can be for ever: the listener may be writing its own files there. So the datagrams are
 * put together here, in the same form, and sent with a limit to the wait. Each is sent to the path,
 * not to whom a connect has found: the listener may begin late, and may be restarted. */
#include "adapter/log_syslog.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#define WAIT_US 100000 /* of one message for the listener */

struct log_syslog {
    struct log_sink sink;
    int fd;
    int facility;
    char ident[33];
    struct sockaddr_un to;
    atomic_bool stuck; /* the listener has let a message wait in vain */
};

static const int priorities[] = {LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR};

/* The form that all listeners take: RFC 3164, section 4.1, with local time. */
static size_t head(const struct log_syslog *s, enum log_level level, char *out, size_t room)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    int n = snprintf(out, room,
                     "<%d>%.3s %2d %02d:%02d:%02d %s[%ld]: ", s->facility | priorities[level],
                     months + (size_t)tm.tm_mon * 3, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                     s->ident, (long)getpid());
    return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

static void send_message(struct log_syslog *s, const char *message, size_t len)
{
    int flags = MSG_NOSIGNAL | (atomic_load(&s->stuck) ? MSG_DONTWAIT : 0);
    ssize_t sent;
    do
        sent = sendto(s->fd, message, len, flags, (const struct sockaddr *)&s->to, sizeof(s->to));
    while (sent < 0 && errno == EINTR);
    /* A log that cannot be written has nowhere to say so. */
    atomic_store(&s->stuck, sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

/* How much of text fits into room, without cutting a UTF-8 character in two. */
static size_t fitting(const char *text, size_t len, size_t room)
{
    if (len <= room)
        return len;
    size_t n = room;
    while (n > room - 4 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static void say(void *arg, enum log_level level, const char *text, size_t len)
{
    struct log_syslog *s = arg;
    char message[LOG_SYSLOG_MESSAGE_MAX];
    size_t start = head(s, level, message, 128);
    for (bool first = true; len > 0; first = false) {
        size_t n = start;
        if (!first) {
            memcpy(message + n, "... ", 4);
            n += 4;
        }
        size_t part = fitting(text, len, sizeof(message) - n);
        memcpy(message + n, text, part);
        send_message(s, message, n + part);
        text += part;
        len -= part;
    }
}

struct log_syslog *log_syslog_new(const char *path, const char *ident)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof(to.sun_path))
        return NULL;
    memcpy(to.sun_path, path, len + 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return NULL;
    const struct timeval wait = {.tv_usec = WAIT_US};
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) != 0) {
        close(fd);
        return NULL;
    }
    struct log_syslog *s = mem_new(struct log_syslog);
    s->sink = (struct log_sink){.arg = s, .say = say};
    s->fd = fd;
    s->facility = geteuid() == 0 ? LOG_DAEMON : LOG_USER;
    s->to = to;
    snprintf(s->ident, sizeof(s->ident), "%s", ident);
    return s;
}

void log_syslog_free(struct log_syslog *s)
{
    if (s == NULL)
        return;
    close(s->fd);
    free(s);
}

const struct log_sink *log_syslog_sink(const struct log_syslog *s)
{
    return &s->sink;
}
