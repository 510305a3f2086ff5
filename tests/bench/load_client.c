/* SPDX-License-Identifier: Apache-2.0 */
/* A load through the client library, as a mount makes it: so many operations at a time, each
 * followed by the next, with the time of each. What it measures beside rates is patience: the worst
 * of each slice of time, so that a test can see what a node that dies costs those who go on.
 *
 *   load_client --to HOST:PORT[,...] --clients 32 --seconds 5 --puts 50 --size 1024 --keys 10000
 *
 * --puts is the share of puts in percent; with --server, any node is asked to coordinate. Prints
 * "begun", and at the end one line of JSON: figures of gets and of puts, and for each slice of
 * --slice milliseconds [operations ended, errors, longest in ms]; an operation that is still under
 * way at the end counts with the age that it has then. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "adapter/loop.h"
#include "adapter/net_curl.h"
#include "base/err.h"
#include "base/mem.h"
#include "model/client.h"

#define CLIENTS_MAX 1024u
#define TARGETS_MAX 64u
#define LATENCIES_MAX 10000000u
#define SLICES_MAX 100000u

struct options {
    const char *targets[TARGETS_MAX];
    uint32_t n_targets, clients, keys, size, puts, slice_ms, timeout_ms;
    double seconds;
    uint64_t requests; /* 0: until the time is over */
    enum durability durability;
    bool server;
};

struct kind { /* gets, or puts */
    uint32_t *us;
    uint32_t n;
    uint64_t errors;
};

struct slice_of_time {
    uint32_t ended, errors;
    uint64_t longest_us;
};

struct run;

struct worker {
    struct run *run;
    uint64_t started_us; /* 0: idle */
    bool put;
    char key[32];
};

struct run {
    struct options o;
    struct loop *loop;
    struct client *client;
    struct kv_port kv;
    struct worker workers[CLIENTS_MAX];
    struct kind kinds[2]; /* gets, puts */
    struct slice_of_time *slices;
    uint64_t begun_us, until_us, next, ended;
    uint8_t *value;
    bool over;
};

static void next(struct worker *w);

static void ended(struct worker *w, int status)
{
    struct run *r = w->run;
    struct kind *k = &r->kinds[w->put];
    uint64_t now = loop_now_us(), took = now - w->started_us;
    uint64_t at = (now - r->begun_us) / 1000 / r->o.slice_ms;
    struct slice_of_time *s = &r->slices[at < SLICES_MAX ? at : SLICES_MAX - 1];
    bool error = status != DYN_OK && status != DYN_ERR_NOT_FOUND;
    if (k->n < LATENCIES_MAX)
        k->us[k->n++] = (uint32_t)took;
    k->errors += error;
    s->ended++;
    s->errors += error;
    s->longest_us = took > s->longest_us ? took : s->longest_us;
    w->started_us = 0;
    r->ended++;
    if (now >= r->until_us || (r->o.requests != 0 && r->ended >= r->o.requests))
        r->over = true;
    if (!r->over)
        next(w);
}

static void got(void *arg, const struct get_reply *p)
{
    ended(arg, p->status);
}

static void was_put(void *arg, const struct put_reply *p)
{
    ended(arg, p->status);
}

static void next(struct worker *w)
{
    struct run *r = w->run;
    uint64_t number = r->next++;
    w->started_us = loop_now_us();
    w->put = number * 61 % 100 < r->o.puts;
    snprintf(w->key, sizeof(w->key), "bench/%llu",
             (unsigned long long)(number * 2654435761u % r->o.keys));
    if (w->put) {
        struct put_request q = {.key = slice_str(w->key),
                                .flags = PUT_CURRENT,
                                .type = SIBLING_FILE,
                                .attrs = {.mode = 0644},
                                .opt = {.durability = (uint8_t)r->o.durability},
                                .value = slice_of(r->value, r->o.size)};
        memcpy(r->value, &number, sizeof(number) < r->o.size ? sizeof(number) : r->o.size);
        r->kv.put(r->kv.ctx, &q, was_put, w);
    } else {
        struct get_request q = {.key = slice_str(w->key), .want = GET_NEWEST};
        r->kv.get(r->kv.ctx, &q, got, w);
    }
}

static void load(struct run *r)
{
    uint64_t wait_until = loop_now_us() + 10000000;
    while (client_ring(r->client) == NULL && loop_now_us() < wait_until)
        loop_turn(r->loop, 100000);
    r->begun_us = loop_now_us();
    r->until_us = r->begun_us + (uint64_t)(r->o.seconds * 1e6);
    printf("begun\n"); /* for whoever wants to do something to the nodes meanwhile */
    fflush(stdout);
    for (uint32_t i = 0; i < r->o.clients; i++) {
        r->workers[i].run = r;
        next(&r->workers[i]);
    }
    while (!r->over) {
        loop_turn(r->loop, 100000);
        r->over |= loop_now_us() >= r->until_us;
    }
}

static void count_unended(struct run *r)
{
    uint64_t now = loop_now_us();
    uint64_t at = (now - r->begun_us) / 1000 / r->o.slice_ms;
    struct slice_of_time *s = &r->slices[at < SLICES_MAX ? at : SLICES_MAX - 1];
    for (uint32_t i = 0; i < r->o.clients; i++) {
        uint64_t since = r->workers[i].started_us;
        if (since != 0 && now - since > s->longest_us)
            s->longest_us = now - since;
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_ms(const struct kind *k, double p)
{
    return k->n == 0 ? 0 : k->us[(uint32_t)((double)(k->n - 1) * p)] / 1e3;
}

static void report_kind(const char *name, struct kind *k, double seconds)
{
    double sum = 0;
    for (uint32_t i = 0; i < k->n; i++)
        sum += k->us[i];
    qsort(k->us, k->n, sizeof(*k->us), by_size);
    printf("\"%s\": {\"rate\": %.0f, \"answers\": %u, \"errors\": %llu, \"mean_ms\": %.3f, "
           "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f}, ",
           name, k->n / seconds, k->n, (unsigned long long)k->errors,
           k->n > 0 ? sum / k->n / 1e3 : 0, percentile_ms(k, 0.5), percentile_ms(k, 0.99),
           percentile_ms(k, 0.999), percentile_ms(k, 1));
}

static void report(struct run *r)
{
    struct rusage u;
    uint64_t now = loop_now_us();
    double seconds = (double)(now - r->begun_us) / 1e6;
    uint64_t n = (now - r->begun_us) / 1000 / r->o.slice_ms + 1;
    getrusage(RUSAGE_SELF, &u);
    printf("{");
    report_kind("get", &r->kinds[0], seconds);
    report_kind("put", &r->kinds[1], seconds);
    printf("\"cpu_ms\": %.1f, \"slices\": [",
           (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
               (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3);
    for (uint64_t i = 0; i < n && i < SLICES_MAX; i++)
        printf("%s[%u, %u, %.1f]", i == 0 ? "" : ", ", r->slices[i].ended, r->slices[i].errors,
               (double)r->slices[i].longest_us / 1e3);
    printf("]}\n");
}

static void parse(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"to", required_argument, NULL, 't'},       {"clients", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 's'},  {"size", required_argument, NULL, 'z'},
        {"keys", required_argument, NULL, 'k'},     {"puts", required_argument, NULL, 'p'},
        {"requests", required_argument, NULL, 'r'}, {"slice", required_argument, NULL, 'l'},
        {"timeout", required_argument, NULL, 'd'},  {"synced", no_argument, NULL, 'q'},
        {"server", no_argument, NULL, 'v'},         {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        uint32_t number = optarg != NULL ? (uint32_t)strtoul(optarg, NULL, 10) : 0;
        uint32_t *into[128] = {['c'] = &o->clients, ['z'] = &o->size,     ['k'] = &o->keys,
                               ['p'] = &o->puts,    ['l'] = &o->slice_ms, ['d'] = &o->timeout_ms};
        if (c == '?')
            exit(2);
        if (into[c] != NULL)
            *into[c] = number;
        else if (c == 's')
            o->seconds = strtod(optarg, NULL);
        else if (c == 'r')
            o->requests = number;
        else if (c == 'q')
            o->durability = DURABILITY_QUORUM;
        else if (c == 'v')
            o->server = true;
        else
            for (char *save, *t = strtok_r(optarg, ",", &save);
                 t != NULL && o->n_targets < TARGETS_MAX; t = strtok_r(NULL, ",", &save))
                o->targets[o->n_targets++] = t;
    }
    if (o->n_targets == 0 || o->clients == 0 || o->clients > CLIENTS_MAX || o->keys == 0 ||
        o->slice_ms == 0) {
        fprintf(stderr, "usage: load_client --to HOST:PORT[,...] [--clients N] [--seconds S] "
                        "[--requests N] [--puts PERCENT] [--size BYTES] [--keys N] [--synced] "
                        "[--server] [--slice MS] [--timeout MS]\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct run *r = mem_new(struct run);
    r->o = (struct options){.clients = 1,
                            .keys = 1000,
                            .size = 1024,
                            .puts = 50,
                            .slice_ms = 100,
                            .timeout_ms = 10000,
                            .seconds = 5,
                            .durability = DURABILITY_BUFFERED};
    parse(&r->o, argc, argv);
    r->value = mem_zalloc(r->o.size + 8);
    r->slices = mem_zalloc(SLICES_MAX * sizeof(*r->slices));
    for (unsigned i = 0; i < 2; i++)
        r->kinds[i].us = mem_reallocarray(NULL, LATENCIES_MAX, sizeof(uint32_t));
    struct net_curl_config net_config;
    net_curl_config_defaults(&net_config);
    r->loop = loop_new();
    struct net_curl *net = net_curl_new(r->loop, &net_config);
    struct net_port port = net_curl_port(net);
    struct time_port time = loop_time(r->loop);
    struct random_port random = loop_random();
    struct client_config config = {.id = random_u64(&random) | 1,
                                   .seeds = r->o.targets,
                                   .n_seeds = r->o.n_targets,
                                   .timeout_us = r->o.timeout_ms * 1000ull,
                                   .nodes_coordinate = r->o.server,
                                   .any_member = r->o.server};
    r->client = client_new(&config, &port, &time, &random, loop_timers(r->loop));
    struct net_events events = client_events(r->client);
    net_curl_set_events(net, &events);
    r->kv = client_kv(r->client);
    load(r);
    count_unended(r);
    report(r);
    bool failed = r->kinds[0].errors + r->kinds[1].errors > 0;
    client_free(r->client);
    net_curl_free(net);
    loop_free(r->loop);
    for (unsigned i = 0; i < 2; i++)
        free(r->kinds[i].us);
    free(r->slices);
    free(r->value);
    free(r);
    return failed ? 3 : 0;
}
