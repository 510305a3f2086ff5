/* SPDX-License-Identifier: Apache-2.0 */
/* A load generator for HTTP/1.1 keep-alive servers that costs little itself: one thread, raw
 * sockets, one request in flight for each connection, as a client that waits for its answer. It
 * says how many answers came in a second, and how long they took.
 *
 *   load_http --to HOST:PORT[,HOST:PORT...] --method PUT|GET --path /v1/kv/bench/ --clients 32
 * --seconds 5 --size 1024 --keys 10000
 *
 * prints one line of JSON. Key numbers run in a permuted order, so that GETs are spread. Any answer
 * that is not 2xx counts as an error. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

#define CLIENTS_MAX 1024
#define TARGETS_MAX 64
#define LATENCIES_MAX 20000000u

struct options {
    struct sockaddr_in targets[TARGETS_MAX];
    unsigned n_targets, clients, keys, size;
    double seconds;
    uint64_t requests; /* 0: until the time is over */
    const char *method, *path, *query;
};

struct client {
    int fd;
    struct buf out, in;
    size_t sent;
    uint64_t started_ns;
};

struct run {
    const struct options *o;
    struct client clients[CLIENTS_MAX];
    uint8_t *value;
    uint32_t *latencies_us10; /* tenths of a microsecond */
    uint32_t n_latencies;
    uint64_t answers, errors, next, begun_ns, until_ns;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "load_http: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int connect_to(const struct sockaddr_in *to)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        die("fcntl");
    return fd;
}

static void fill_request(struct run *r, struct client *c)
{
    const struct options *o = r->o;
    uint64_t key = r->next++ * 2654435761u % o->keys;
    bool put = strcmp(o->method, "PUT") == 0;
    buf_clear(&c->out);
    buf_printf(&c->out, "%s %s%llu%s HTTP/1.1\r\nHost: bench\r\n", o->method, o->path,
               (unsigned long long)key, o->query);
    if (put) {
        buf_printf(&c->out, "If-Match: *\r\nContent-Length: %u\r\n\r\n", o->size);
        memcpy(r->value, &r->next, sizeof(r->next) < o->size ? sizeof(r->next) : o->size);
        buf_put(&c->out, r->value, o->size);
    } else {
        buf_put_str(&c->out, "\r\n");
    }
    c->sent = 0;
    buf_clear(&c->in);
    c->started_ns = now_ns();
}

static void push(struct client *c)
{
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return; /* the socket's buffer takes a request whole in practice; readiness comes back
                       by epoll */
        if (n <= 0)
            die("send");
        c->sent += (size_t)n;
    }
}

/* 0: more to come. Otherwise the status. */
static int answer_of(const struct client *c)
{
    const char *text = (const char *)c->in.data;
    const char *end = c->in.len < 16 ? NULL : memmem(text, c->in.len, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - text) + 4, body = 0;
    for (const char *line = text; line < end;
         line = (const char *)memmem(line, head, "\r\n", 2) + 2)
        if (strncasecmp(line, "content-length:", 15) == 0)
            body = strtoul(line + 15, NULL, 10);
    if (c->in.len < head + body)
        return 0;
    return (int)strtol(text + 9, NULL, 10);
}

static void note(struct run *r, const struct client *c, int status)
{
    uint64_t took = (now_ns() - c->started_ns) / 100;
    if (r->n_latencies < LATENCIES_MAX)
        r->latencies_us10[r->n_latencies++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    r->answers++;
    if (status < 200 || status > 299)
        r->errors++;
}

static void on_ready(struct run *r, struct client *c)
{
    push(c);
    for (;;) {
        buf_reserve(&c->in, 16384);
        ssize_t n = recv(c->fd, c->in.data + c->in.len, c->in.cap - c->in.len - 1, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            die("the server closed a connection");
        c->in.len += (size_t)n;
        c->in.data[c->in.len] = '\0';
        int status = answer_of(c);
        if (status == 0)
            continue;
        note(r, c, status);
        fill_request(r, c);
        push(c);
        return;
    }
}

static bool over(const struct run *r)
{
    return now_ns() >= r->until_ns || (r->o->requests != 0 && r->answers >= r->o->requests);
}

static void run(struct run *r)
{
    struct epoll_event events[CLIENTS_MAX];
    int ep = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < r->o->clients; i++) {
        struct client *c = &r->clients[i];
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        c->fd = connect_to(&r->o->targets[i % r->o->n_targets]);
        if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) != 0)
            die("epoll_ctl");
    }
    r->begun_ns = now_ns();
    r->until_ns = r->begun_ns + (uint64_t)(r->o->seconds * 1e9);
    for (unsigned i = 0; i < r->o->clients; i++) {
        fill_request(r, &r->clients[i]);
        push(&r->clients[i]);
    }
    while (!over(r)) {
        int n = epoll_wait(ep, events, CLIENTS_MAX, 1000);
        for (int i = 0; i < n; i++)
            on_ready(r, events[i].data.ptr);
    }
    close(ep);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_ms(const struct run *r, double p)
{
    if (r->n_latencies == 0)
        return 0;
    uint32_t at = (uint32_t)((double)(r->n_latencies - 1) * p);
    return (double)r->latencies_us10[at] / 1e4;
}

static void report(struct run *r)
{
    double seconds = (double)(now_ns() - r->begun_ns) / 1e9, sum = 0;
    for (uint32_t i = 0; i < r->n_latencies; i++)
        sum += r->latencies_us10[i];
    qsort(r->latencies_us10, r->n_latencies, sizeof(uint32_t), by_size);
    printf("{\"rate\": %.0f, \"answers\": %llu, \"errors\": %llu, \"seconds\": %.2f, \"mean_ms\": "
           "%.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f}\n",
           (double)r->answers / seconds, (unsigned long long)r->answers,
           (unsigned long long)r->errors, seconds,
           r->n_latencies > 0 ? sum / r->n_latencies / 1e4 : 0, percentile_ms(r, 0.5),
           percentile_ms(r, 0.99), percentile_ms(r, 0.999));
}

static void parse_targets(struct options *o, char *list)
{
    for (char *save = NULL, *t = strtok_r(list, ",", &save);
         t != NULL && o->n_targets < TARGETS_MAX; t = strtok_r(NULL, ",", &save)) {
        char *colon = strrchr(t, ':');
        struct sockaddr_in *a = &o->targets[o->n_targets];
        a->sin_family = AF_INET;
        if (colon != NULL)
            *colon = '\0';
        if (colon == NULL || inet_pton(AF_INET, t, &a->sin_addr) != 1) {
            fprintf(stderr, "load_http: --to takes IPv4 addresses with ports: 127.0.0.1:8080\n");
            exit(2);
        }
        a->sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
        o->n_targets++;
    }
}

static void parse(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"to", required_argument, NULL, 't'},       {"method", required_argument, NULL, 'm'},
        {"path", required_argument, NULL, 'p'},     {"query", required_argument, NULL, 'q'},
        {"clients", required_argument, NULL, 'c'},  {"seconds", required_argument, NULL, 's'},
        {"size", required_argument, NULL, 'z'},     {"keys", required_argument, NULL, 'k'},
        {"requests", required_argument, NULL, 'r'}, {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        unsigned long number = optarg != NULL ? strtoul(optarg, NULL, 10) : 0;
        switch (c) {
        case 't':
            parse_targets(o, optarg);
            break;
        case 'm':
            o->method = optarg;
            break;
        case 'p':
            o->path = optarg;
            break;
        case 'q':
            o->query = optarg;
            break;
        case 'c':
            o->clients = (unsigned)number;
            break;
        case 's':
            o->seconds = strtod(optarg, NULL);
            break;
        case 'z':
            o->size = (unsigned)number;
            break;
        case 'k':
            o->keys = (unsigned)number;
            break;
        case 'r':
            o->requests = number;
            break;
        default:
            exit(2);
        }
    }
    if (o->n_targets == 0 || o->clients == 0 || o->clients > CLIENTS_MAX || o->keys == 0) {
        fprintf(stderr, "usage: load_http --to HOST:PORT[,...] --method PUT|GET [--path PREFIX] "
                        "[--query ?...] [--clients N] [--seconds S] [--requests N] [--size BYTES] "
                        "[--keys N]\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct options o = {.method = "GET",
                        .path = "/v1/kv/bench/",
                        .query = "",
                        .clients = 1,
                        .keys = 1000,
                        .size = 1024,
                        .seconds = 5};
    parse(&o, argc, argv);
    struct run *r = mem_new(struct run);
    r->o = &o;
    r->value = mem_zalloc(o.size + 8);
    r->latencies_us10 = mem_reallocarray(NULL, LATENCIES_MAX, sizeof(uint32_t));
    run(r);
    report(r);
    bool failed = r->errors > 0;
    for (unsigned i = 0; i < o.clients; i++) {
        close(r->clients[i].fd);
        buf_release(&r->clients[i].in);
        buf_release(&r->clients[i].out);
    }
    free(r->value);
    free(r->latencies_us10);
    free(r);
    return failed ? 3 : 0;
}
