/* SPDX-License-Identifier: Apache-2.0 */
/* What the server costs over bare evhttp: the same requests, one process serving and one asking, on
 * loopback. Not a test: prints requests a second, and what one cost the server, to be compared
 * within one run.
 *
 *   bench_http [CONNECTIONS] [SECONDS] */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapter/http_server.h"
#include "adapter/loop.h"
#include "base/mem.h"

#define BODY 1024

static void serve_ours(void *arg, struct http_request *r)
{
    struct buf out = BUF_EMPTY;
    (void)arg;
    if (http_request_body(r).len == 0)
        for (int i = 0; i < BODY / 8; i++)
            buf_put_str(&out, "12345678");
    http_reply(r, 200, "application/octet-stream", &out);
}

static void serve_bare(struct evhttp_request *req, void *arg)
{
    struct evbuffer *out = evbuffer_new();
    (void)arg;
    if (evbuffer_get_length(evhttp_request_get_input_buffer(req)) == 0)
        for (int i = 0; i < BODY / 8; i++)
            evbuffer_add(out, "12345678", 8);
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type",
                      "application/octet-stream");
    evhttp_send_reply(req, 200, "OK", out);
    evbuffer_free(out);
}

static pid_t start(bool ours, uint16_t *port)
{
    int fds[2];
    if (pipe(fds) != 0)
        exit(1);
    pid_t pid = fork();
    if (pid != 0) {
        if (read(fds[0], port, sizeof(*port)) != sizeof(*port))
            exit(1);
        close(fds[0]);
        close(fds[1]);
        return pid;
    }
    struct loop *l = loop_new();
    if (ours) {
        struct http_server_config cfg;
        struct http_server *s;
        char *message;
        http_server_config_defaults(&cfg);
        cfg.listen = "127.0.0.1:0";
        if (http_server_new(l, &cfg, serve_ours, NULL, &s, &message) != 0)
            exit(1);
        *port = http_server_port(s);
    } else {
        struct evhttp *h = evhttp_new(loop_base(l));
        struct evhttp_bound_socket *b = evhttp_bind_socket_with_handle(h, "127.0.0.1", 0);
        struct sockaddr_in a;
        socklen_t len = sizeof(a);
        int on = 1, fd = evhttp_bound_socket_get_fd(b);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        getsockname(fd, (struct sockaddr *)&a, &len);
        *port = ntohs(a.sin_port);
        evhttp_set_gencb(h, serve_bare, NULL);
    }
    if (write(fds[1], port, sizeof(*port)) != sizeof(*port))
        exit(1);
    loop_run(l);
    exit(0);
}

struct asker {
    int fd;
    size_t got, want; /* bytes of this answer; want 0: not known yet */
};

static void ask(const struct asker *a, const char *text, size_t len)
{
    if (send(a->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
        exit(1);
}

/* Answers are alike: the first one of a connection says how long they are. */
static bool answered(struct asker *a)
{
    char in[8192];
    ssize_t n = recv(a->fd, in, sizeof(in) - 1, 0);
    if (n <= 0)
        exit(1);
    in[n] = '\0';
    if (a->want == 0) {
        const char *end = strstr(in, "\r\n\r\n"), *length = strstr(in, "Content-Length: ");
        a->want = (size_t)(end + 4 - in) + strtoul(length + 16, NULL, 10);
    }
    a->got += (size_t)n;
    if (a->got < a->want)
        return false;
    a->got = 0;
    return true;
}

static double run(uint16_t port, unsigned n, double seconds, const char *text, size_t len)
{
    struct asker *askers = mem_zalloc(n * sizeof(*askers));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int ep = epoll_create1(0);
    for (unsigned i = 0; i < n; i++) {
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &askers[i]};
        askers[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(askers[i].fd, (struct sockaddr *)&to, sizeof(to)) != 0)
            exit(1);
        epoll_ctl(ep, EPOLL_CTL_ADD, askers[i].fd, &ev);
        ask(&askers[i], text, len);
    }
    uint64_t start_us = loop_now_us(), now = start_us, done = 0;
    while ((double)(now - start_us) < seconds * 1e6) {
        struct epoll_event evs[64];
        int k = epoll_wait(ep, evs, 64, 1000);
        for (int i = 0; i < k; i++)
            if (answered(evs[i].data.ptr)) {
                done++;
                ask(evs[i].data.ptr, text, len);
            }
        now = loop_now_us();
    }
    for (unsigned i = 0; i < n; i++)
        close(askers[i].fd);
    close(ep);
    free(askers);
    return (double)done / ((double)(now - start_us) / 1e6);
}

int main(int argc, char **argv)
{
    unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 32;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
    static char put[4096];
    const char *get = "GET /v1/kv/some/key HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int len = snprintf(put, sizeof(put),
                       "PUT /v1/kv/some/key HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                       "application/octet-stream\r\nContent-Length: %d\r\n\r\n%0*d",
                       BODY, BODY, 0);
    for (int kind = 0; kind < 4; kind++) {
        bool ours = kind & 1, puts = kind & 2;
        uint16_t port;
        struct rusage used;
        pid_t pid = start(ours, &port);
        double rate = puts ? run(port, n, seconds, put, (size_t)len)
                           : run(port, n, seconds, get, strlen(get));
        kill(pid, SIGTERM);
        wait4(pid, NULL, 0, &used);
        double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
                     (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
        printf("%-12s %s, %u connections: %8.0f a second, %5.1f us of the server's CPU each\n",
               ours ? "http_server" : "evhttp", puts ? "PUT" : "GET", n, rate,
               cpu / (rate * seconds));
    }
    return 0;
}
