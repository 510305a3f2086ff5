/* SPDX-License-Identifier: Apache-2.0 */
/* See ports.h. */
#include "ctl/ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "adapter/loop.h"
#include "base/err.h"
#include "base/mem.h"

#define PORT_FIRST 16384 /* free ports are taken below the range of outgoing connections */
#define PORT_LAST 32767

static bool port_free(unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    bool is_free = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 1) == 0;
    if (fd >= 0)
        close(fd);
    return is_free;
}

/* Ports from a random place on, so that clusters made at the same time hardly meet. */
int ports_choose(char **addresses, uint64_t n)
{
    struct random_port random = loop_random();
    unsigned range = PORT_LAST - PORT_FIRST + 1, taken = 0;
    unsigned start = (unsigned)(random_u64(&random) % range);
    for (unsigned i = 0; i < range && taken < n; i++) {
        unsigned port = PORT_FIRST + (start + i) % range;
        if (port_free(port))
            addresses[taken++] = mem_printf("127.0.0.1:%u", port);
    }
    return taken == n ? DYN_OK : DYN_ERR_IO;
}
