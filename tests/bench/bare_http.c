/* SPDX-License-Identifier: Apache-2.0 */
/* The least that an HTTP server can do on this machine with the library that the nodes use: evhttp
 * answering every PUT with 204 and every GET with 1 KiB. The limit that the benchmark holds the
 * nodes against. Prints its port, then serves until its standard input closes. */
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(struct evhttp_request *req, void *arg)
{
    (void)arg;
    struct evbuffer *out = evhttp_request_get_output_buffer(req);
    static const char kibibyte[1024];
    if (evhttp_request_get_command(req) == EVHTTP_REQ_GET)
        evbuffer_add(out, kibibyte, sizeof(kibibyte));
    evhttp_send_reply(req, HTTP_OK, "OK", NULL);
}

static void on_stdin(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    char byte;
    if (read(fd, &byte, 1) <= 0)
        event_base_loopbreak(arg);
}

int main(void)
{
    struct event_base *base = event_base_new();
    struct evhttp *http = evhttp_new(base);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
    if (bound == NULL)
        return 1;
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &len);
    unsigned port = ntohs(((struct sockaddr_in *)(void *)&address)->sin_port);
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_PUT);
    evhttp_set_gencb(http, serve, NULL);
    printf("%u\n", port);
    fflush(stdout);
    struct event *end = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_stdin, base);
    event_add(end, NULL);
    event_base_dispatch(base);
    event_free(end);
    evhttp_free(http);
    event_base_free(base);
    return 0;
}
