/* SPDX-License-Identifier: Apache-2.0 */
/* Is a node ready to serve? One GET of /healthz over a plain socket: while a node starts there is
 * no ring to ask it through, and a connection that is refused is the usual answer. */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "ctl/local.h"

#define REPLY_MAX 64

/* "host:port" or "[v6]:port", numbers only: a node listens on an address. NULL when it is none. */
static struct addrinfo *resolve(const char *address)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
                    *found = NULL;
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon == address)
        return NULL;
    bool bracket = address[0] == '[' && colon[-1] == ']';
    char *host = mem_strndup(address + bracket, (size_t)(colon - address) - 2 * bracket);
    /* A name, or a wildcard such as 0.0.0.0, is asked for on this machine. */
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        hints.ai_flags = AI_NUMERICSERV;
        if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
            found = NULL;
    }
    free(host);
    return found;
}

static bool wait_for(int fd, short events, uint64_t deadline_ms)
{
    uint64_t now = local_now_ms();
    struct pollfd p = {.fd = fd, .events = events};
    return now < deadline_ms && poll(&p, 1, (int)(deadline_ms - now)) > 0;
}

static bool ask(int fd, uint64_t deadline_ms)
{
    static const char request[] =
        "GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
    static const char good[] = "HTTP/1.1 200";
    char reply[REPLY_MAX];
    size_t len = 0;
    if (!wait_for(fd, POLLOUT, deadline_ms) ||
        send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
        return false;
    while (len < sizeof(good) - 1) {
        if (!wait_for(fd, POLLIN, deadline_ms))
            return false;
        ssize_t n = recv(fd, reply + len, sizeof(reply) - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
    }
    return memcmp(reply, good, sizeof(good) - 1) == 0;
}

bool local_healthy(const struct local_node *n, int timeout_ms)
{
    uint64_t deadline = local_now_ms() + (uint64_t)timeout_ms;
    struct addrinfo *a = resolve(n->address);
    if (a == NULL)
        return false;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool healthy = fd >= 0 &&
                   (connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS) &&
                   ask(fd, deadline);
    if (fd >= 0)
        close(fd);
    freeaddrinfo(a);
    return healthy;
}
