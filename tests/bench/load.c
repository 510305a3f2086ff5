/* SPDX-License-Identifier: Apache-2.0 */
/* A load generator that costs little itself: one thread, raw sockets, one request in flight for
 * each connection, as a client that waits for its answer; with --rate, as many a second, which wait
 * for a free connection. It says how many answers came in a
 * second, how long they took, and how many came in each tenth of a second.
 *
 *   load --to HOST:PORT[,HOST:PORT...] --protocol http|etcd|redis --method PUT|GET
 *        --path /v1/kv/bench/ --clients 32 --seconds 5 --size 1024 --keys 10000
 *
 * prints one line of JSON. Key numbers run in a permuted order, so that GETs are spread. Any answer
 * that is not good counts as an error. A request whose connection ends is sent again on a new one,
 * to the next target that takes it; its time goes on meanwhile. */
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
#include "load.h"

#define CLIENTS_MAX 1024
#define LATENCIES_MAX 20000000u
#define WINDOW_NS 100000000u /* of the series */
#define WINDOWS_MAX 1200u

struct run {
    const struct load_options *o;
    const struct load_protocol *protocol;
    struct load_client clients[CLIENTS_MAX];
    uint8_t *value;
    uint32_t *latencies_us10; /* tenths of a microsecond */
    uint32_t n_latencies;
    uint64_t answers, errors, reconnects, next, begun_ns, until_ns;
    uint32_t windows[WINDOWS_MAX]; /* answers in each tenth of a second */
    unsigned next_target;
    int ep;
    struct load_client *idle[CLIENTS_MAX]; /* with a rate: who waits until a request is due */
    unsigned n_idle;
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

static int try_connect(const struct sockaddr_in *to)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        die("fcntl");
    return fd;
}

static void connect_client(struct run *r, struct load_client *c)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    c->fd = -1;
    for (unsigned i = 0; c->fd < 0 && i < r->o->n_targets; i++)
        c->fd = try_connect(&r->o->targets[r->next_target++ % r->o->n_targets]);
    if (c->fd < 0)
        die("connect");
    if (epoll_ctl(r->ep, EPOLL_CTL_ADD, c->fd, &ev) != 0)
        die("epoll_ctl");
    if (r->protocol->open != NULL)
        r->protocol->open(c);
}

static void disconnect(struct run *r, struct load_client *c)
{
    close(c->fd);
    if (r->protocol->close != NULL)
        r->protocol->close(c);
    c->session = NULL;
    buf_clear(&c->in);
    buf_clear(&c->out);
    c->sent = 0;
}

static void fill_request(struct run *r, struct load_client *c, uint64_t number)
{
    const struct load_options *o = r->o;
    if (c->sent == c->out.len) {
        buf_clear(&c->out);
        c->sent = 0;
    }
    buf_clear(&c->in);
    c->number = number;
    memcpy(r->value, &number, sizeof(number) < o->size ? sizeof(number) : o->size);
    r->protocol->request(c, o, number * 2654435761u % o->keys, r->value);
}

/* False: the connection has ended. A socket's buffer takes a request whole in practice; when it
 * does not, readiness comes back by epoll. */
static bool push(struct load_client *c)
{
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        c->sent += (size_t)n;
    }
    return true;
}

static void send_from(struct run *r, struct load_client *c, uint64_t started_ns)
{
    fill_request(r, c, r->next++);
    c->started_ns = started_ns;
    push(c); /* an end is seen by the next recv */
}

static void send_next(struct run *r, struct load_client *c)
{
    if (r->o->rate > 0)
        r->idle[r->n_idle++] = c;
    else
        send_from(r, c, now_ns());
}

/* A request is as old as the moment that it was due: who waits for a free client waits as well. */
static uint64_t due_ns(const struct run *r)
{
    return r->begun_ns + (uint64_t)((double)r->next * 1e9 / r->o->rate);
}

static void send_due(struct run *r)
{
    while (r->n_idle > 0 && due_ns(r) <= now_ns())
        send_from(r, r->idle[--r->n_idle], due_ns(r));
}

static void send_again(struct run *r, struct load_client *c)
{
    disconnect(r, c);
    connect_client(r, c);
    fill_request(r, c, c->number);
    r->reconnects++;
    push(c);
}

static void note(struct run *r, const struct load_client *c, int status)
{
    uint64_t now = now_ns(), took = (now - c->started_ns) / 100;
    uint64_t window = (now - r->begun_ns) / WINDOW_NS;
    if (r->n_latencies < LATENCIES_MAX)
        r->latencies_us10[r->n_latencies++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    r->answers++;
    if (window < WINDOWS_MAX)
        r->windows[window]++;
    if (status < 200 || status > 299)
        r->errors++;
}

static void on_ready(struct run *r, struct load_client *c)
{
    push(c);
    for (;;) {
        buf_reserve(&c->in, 16384);
        ssize_t n = recv(c->fd, c->in.data + c->in.len, c->in.cap - c->in.len - 1, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            send_again(r, c);
            return;
        }
        c->in.len += (size_t)n;
        c->in.data[c->in.len] = '\0';
        int status = r->protocol->answer(c);
        if (status != 0) {
            note(r, c, status);
            send_next(r, c);
            return;
        }
        push(c);
    }
}

static bool over(const struct run *r)
{
    return now_ns() >= r->until_ns || (r->o->requests != 0 && r->answers >= r->o->requests);
}

static struct timespec wait_of(const struct run *r)
{
    uint64_t now = now_ns(), wait = 1000000000u;
    if (r->o->rate > 0 && r->n_idle > 0) {
        uint64_t due = due_ns(r);
        wait = due <= now ? 0 : due - now < wait ? due - now : wait;
    }
    return (struct timespec){.tv_sec = (time_t)(wait / 1000000000u),
                             .tv_nsec = (long)(wait % 1000000000u)};
}

static void run(struct run *r)
{
    struct epoll_event events[CLIENTS_MAX];
    r->ep = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < r->o->clients; i++)
        connect_client(r, &r->clients[i]);
    struct epoll_event input = {.events = EPOLLIN | EPOLLHUP, .data.ptr = NULL};
    if (r->o->until_input_ends && epoll_ctl(r->ep, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
        die("epoll_ctl");
    r->begun_ns = now_ns();
    r->until_ns = r->begun_ns + (uint64_t)(r->o->seconds * 1e9);
    for (unsigned i = 0; i < r->o->clients; i++)
        send_next(r, &r->clients[i]);
    while (!over(r)) {
        const struct timespec most = wait_of(r);
        int n = epoll_pwait2(r->ep, events, CLIENTS_MAX, &most, NULL);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                r->until_ns = now_ns(); /* standard input has ended */
            else
                on_ready(r, events[i].data.ptr);
        }
        if (r->o->rate > 0)
            send_due(r);
    }
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

/* The longest that anybody has waited, those included who still do. */
static double longest_ms(const struct run *r, uint64_t now)
{
    double longest = percentile_ms(r, 1);
    for (unsigned i = 0; i < r->o->clients; i++) {
        double waited = (double)(now - r->clients[i].started_ns) / 1e6;
        longest = waited > longest ? waited : longest;
    }
    return longest;
}

static void report(struct run *r)
{
    uint64_t now = now_ns();
    double seconds = (double)(now - r->begun_ns) / 1e9, sum = 0;
    for (uint32_t i = 0; i < r->n_latencies; i++)
        sum += r->latencies_us10[i];
    qsort(r->latencies_us10, r->n_latencies, sizeof(uint32_t), by_size);
    printf("{\"rate\": %.0f, \"answers\": %llu, \"errors\": %llu, \"reconnects\": %llu, "
           "\"seconds\": %.2f, \"mean_ms\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"p999_ms\": %.3f, \"longest_ms\": %.3f, \"per_100_ms\": [",
           (double)r->answers / seconds, (unsigned long long)r->answers,
           (unsigned long long)r->errors, (unsigned long long)r->reconnects, seconds,
           r->n_latencies > 0 ? sum / r->n_latencies / 1e4 : 0, percentile_ms(r, 0.5),
           percentile_ms(r, 0.99), percentile_ms(r, 0.999), longest_ms(r, now));
    uint64_t windows = (now - r->begun_ns) / WINDOW_NS;
    for (unsigned i = 0; i < windows && i < WINDOWS_MAX; i++)
        printf("%s%u", i == 0 ? "" : ", ", r->windows[i]);
    printf("]}\n");
}

static void parse_targets(struct load_options *o, char *list)
{
    for (char *save = NULL, *t = strtok_r(list, ",", &save);
         t != NULL && o->n_targets < TARGETS_MAX; t = strtok_r(NULL, ",", &save)) {
        char *colon = strrchr(t, ':');
        struct sockaddr_in *a = &o->targets[o->n_targets];
        a->sin_family = AF_INET;
        if (colon != NULL)
            *colon = '\0';
        if (colon == NULL || inet_pton(AF_INET, t, &a->sin_addr) != 1) {
            fprintf(stderr, "load: --to takes IPv4 addresses with ports: 127.0.0.1:8080\n");
            exit(2);
        }
        a->sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
        o->n_targets++;
    }
}

static const struct load_protocol *protocol_named(const char *name)
{
    static const struct load_protocol *const all[] = {&load_http, &load_etcd, &load_redis};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}

static int usage(void)
{
    fprintf(stderr, "usage: load --to HOST:PORT[,...] [--protocol http|etcd|redis] "
                    "[--method PUT|GET] [--path PREFIX] [--query ?...] [--clients N] "
                    "[--seconds S] [--requests N] [--size BYTES] [--keys N] "
                    "[--rate PER_SECOND] [--random] [--until-input-ends]\n");
    return 2;
}

static int parse(struct load_options *o, const struct load_protocol **protocol, int argc,
                 char **argv)
{
    static const struct option names[] = {
        {"to", required_argument, NULL, 't'},         {"method", required_argument, NULL, 'm'},
        {"path", required_argument, NULL, 'p'},       {"query", required_argument, NULL, 'q'},
        {"clients", required_argument, NULL, 'c'},    {"seconds", required_argument, NULL, 's'},
        {"size", required_argument, NULL, 'z'},       {"keys", required_argument, NULL, 'k'},
        {"requests", required_argument, NULL, 'r'},   {"protocol", required_argument, NULL, 'P'},
        {"rate", required_argument, NULL, 'a'},       {"random", no_argument, NULL, 'x'},
        {"until-input-ends", no_argument, NULL, 'u'}, {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        unsigned long number = optarg != NULL ? strtoul(optarg, NULL, 10) : 0;
        if (c == 't')
            parse_targets(o, optarg);
        else if (c == 'm')
            o->put = strcmp(optarg, "PUT") == 0;
        else if (c == 'p')
            o->path = optarg;
        else if (c == 'q')
            o->query = optarg;
        else if (c == 'c')
            o->clients = (unsigned)number;
        else if (c == 's')
            o->seconds = strtod(optarg, NULL);
        else if (c == 'z')
            o->size = (unsigned)number;
        else if (c == 'k')
            o->keys = (unsigned)number;
        else if (c == 'r')
            o->requests = number;
        else if (c == 'a')
            o->rate = strtod(optarg, NULL);
        else if (c == 'x')
            o->random = true;
        else if (c == 'u')
            o->until_input_ends = true;
        else if (c == 'P')
            *protocol = protocol_named(optarg);
        else
            return usage();
    }
    if (o->n_targets == 0 || o->clients == 0 || o->clients > CLIENTS_MAX || o->keys == 0 ||
        *protocol == NULL)
        return usage();
    return 0;
}

/* Bytes that no compression makes smaller. */
static void fill_value(struct run *r)
{
    uint64_t x = 0x9e3779b97f4a7c15u;
    for (unsigned i = 0; r->o->random && i + 8 <= r->o->size; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(r->value + i, &x, sizeof(x));
    }
}

int main(int argc, char **argv)
{
    struct load_options o = {.path = "/v1/kv/bench/",
                             .query = "",
                             .clients = 1,
                             .keys = 1000,
                             .size = 1024,
                             .seconds = 5};
    struct run *r = mem_new(struct run);
    r->o = &o;
    r->protocol = &load_http;
    if (parse(&o, &r->protocol, argc, argv) != 0) {
        free(r);
        return 2;
    }
    r->value = mem_zalloc(o.size + 8);
    fill_value(r);
    r->latencies_us10 = mem_reallocarray(NULL, LATENCIES_MAX, sizeof(uint32_t));
    run(r);
    report(r);
    bool failed = r->errors > 0;
    for (unsigned i = 0; i < o.clients; i++) {
        disconnect(r, &r->clients[i]);
        buf_release(&r->clients[i].in);
        buf_release(&r->clients[i].out);
    }
    close(r->ep);
    free(r->value);
    free(r->latencies_us10);
    free(r);
    return failed ? 3 : 0;
}
