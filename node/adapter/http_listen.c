/* SPDX-License-Identifier: Apache-2.0 */
/* See http_listen.h. */
#include "adapter/http_listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

#define BACKLOG 1024
#define PORT_MAX 65535

/* getaddrinfo takes any number, and 80000 for 14464. */
static bool port_valid(const char *port)
{
    size_t digits = strspn(port, "0123456789");
    return digits > 0 && digits <= 5 && port[digits] == 0 && strtoul(port, NULL, 10) <= PORT_MAX;
}

int http_listen(const char *address, int *out, uint16_t *port, char **message)
{
    const char *colon = strrchr(address, ':');
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    if (colon == NULL || colon == address) {
        *message = mem_printf("'%s' is not host:port", address);
        return DYN_ERR_INVALID;
    }
    if (!port_valid(colon + 1)) {
        *message = mem_printf("'%s': a port is a number, 0 to %d", address, PORT_MAX);
        return DYN_ERR_INVALID;
    }
    bool bracket = address[0] == '[' && colon[-1] == ']';
    char *host = mem_strndup(address + bracket, (size_t)(colon - address) - 2u * bracket);
    int rc = getaddrinfo(host, colon + 1, &hints, &found);
    free(host);
    if (rc != 0) {
        *message = mem_printf("'%s': %s", address, gai_strerror(rc));
        return DYN_ERR_INVALID;
    }
    const int on = 1;
    struct sockaddr_storage got;
    socklen_t len = sizeof(got);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
              /* accepted sockets inherit it; without it small answers wait for the peer's ACK */
              setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
              bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0 &&
              getsockname(fd, (struct sockaddr *)&got, &len) == 0;
    freeaddrinfo(found);
    if (!ok) {
        *message = mem_printf("cannot listen on %s: %s", address, strerror(errno));
        if (fd >= 0)
            close(fd);
        return DYN_ERR_IO;
    }
    *port = ntohs(got.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&got)->sin6_port
                                            : ((struct sockaddr_in *)&got)->sin_port);
    *out = fd;
    return DYN_OK;
}
