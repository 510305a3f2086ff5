/* SPDX-License-Identifier: Apache-2.0 */
/* How fast is the store by itself? Puts with a number of them in flight, as an engine under load
 * hands them over, and random gets. Usage: bench_store [folder [values of bytes]]. Numbers of one
 * run on one machine, to compare with each other. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "adapter/store_rocksdb.h"
#include "base/err.h"
#include "base/mem.h"

enum { IN_FLIGHT = 32, KEYS = 200000 };

struct bench {
    struct store_rocksdb *store;
    struct store_port port;
    int wake_fd;
    bool dirty;
    uint32_t left, waiting;
    uint64_t random;
    size_t value_len;
    enum store_sync sync;
    uint64_t failures;
};

struct put {
    struct store_write req;
    struct bench *b;
};

struct get {
    struct store_get req;
    struct bench *b;
    uint8_t key[8];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void wake(void *ctx)
{
    eventfd_write(((struct bench *)ctx)->wake_fd, 1);
}

static void dirty(void *ctx)
{
    ((struct bench *)ctx)->dirty = true;
}

static void failed(void *ctx, int err, const char *message)
{
    (void)ctx;
    fprintf(stderr, "the store failed: %s: %s\n", dyn_err_code(err), message);
    exit(1);
}

static uint32_t random_key(struct bench *b)
{
    b->random = b->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(b->random >> 33) % KEYS;
}

static void make_key(uint32_t n, uint8_t key[8])
{
    uint64_t k = (uint64_t)n * 0x9e3779b97f4a7c15ull;
    memcpy(key, &k, 8);
}

static void put_done(struct store_write *req, int err);

static void put_next(struct put *p)
{
    static uint8_t value[1 << 20];
    struct bench *b = p->b;
    struct store_batch batch = STORE_BATCH_EMPTY;
    uint8_t key[8];
    if (b->left == 0)
        return;
    b->left--;
    b->waiting++;
    make_key(random_key(b), key);
    memcpy(value, &b->random, sizeof(b->random));
    store_batch_put(&batch, STORE_META, slice_of(key, 8), slice_of(value, 120));
    store_batch_put(&batch, STORE_VALUE, slice_of(key, 8), slice_of(value, b->value_len));
    p->req = (struct store_write){.done = put_done, .arg = p};
    b->port.write(b->port.ctx, &batch, b->sync, &p->req);
}

static void put_done(struct store_write *req, int err)
{
    struct put *p = req->arg;
    p->b->waiting--;
    p->b->failures += err != DYN_OK;
    put_next(p);
}

static void get_done(struct store_get *req, int err, struct slice value)
{
    struct get *g = req->arg;
    (void)value;
    g->b->waiting--;
    g->b->failures += err != DYN_OK && err != DYN_ERR_NOT_FOUND;
}

static void turn(struct bench *b)
{
    struct pollfd p = {.fd = b->wake_fd, .events = POLLIN};
    eventfd_t n;
    if (b->dirty) {
        b->dirty = false;
        store_rocksdb_flush_turn(b->store);
        return;
    }
    if (b->waiting > 0 && poll(&p, 1, -1) == 1) {
        eventfd_read(b->wake_fd, &n);
        store_rocksdb_poll(b->store);
    }
}

static void run_puts(struct bench *b, const char *name, enum store_sync sync, uint32_t count)
{
    struct put puts[IN_FLIGHT];
    double start = now();
    b->left = count;
    b->sync = sync;
    for (int i = 0; i < IN_FLIGHT; i++) {
        puts[i].b = b;
        put_next(&puts[i]);
    }
    while (b->waiting > 0)
        turn(b);
    printf("%-34s %9.0f per second\n", name, count / (now() - start));
}

static void run_gets(struct bench *b, enum store_family family, const char *name, uint32_t count)
{
    struct get gets[IN_FLIGHT];
    double start = now();
    for (uint32_t done = 0; done < count; done += IN_FLIGHT) {
        for (int i = 0; i < IN_FLIGHT; i++) {
            struct get *g = &gets[i];
            g->b = b;
            make_key(random_key(b), g->key);
            g->req = (struct store_get){
                .family = family, .key = slice_of(g->key, 8), .done = get_done, .arg = g};
            b->waiting++;
            b->port.get(b->port.ctx, &g->req);
        }
        while (b->waiting > 0)
            turn(b);
    }
    printf("%-34s %9.0f per second\n", name, count / (now() - start));
}

static void print_memory(const char *when)
{
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0)
            printf("%-34s %s", when, line + 6);
    }
    if (f != NULL)
        fclose(f);
}

int main(int argc, char **argv)
{
    struct bench b = {.random = 1, .value_len = 1024};
    struct store_host host = {.ctx = &b, .wake = wake, .dirty = dirty, .failed = failed};
    struct store_rocksdb_config config = store_rocksdb_config_default();
    char dir[] = "/tmp/bench-store-XXXXXX", *message = NULL;
    config.path = argc > 1 ? argv[1] : mkdtemp(dir);
    if (argc > 2)
        b.value_len = (size_t)strtoul(argv[2], NULL, 10) % (1 << 20);
    b.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (config.path == NULL || store_rocksdb_open(&config, &host, &b.store, &message) != DYN_OK) {
        fprintf(stderr, "%s\n", message == NULL ? "no folder" : message);
        return 1;
    }
    printf("store in %s, values of %zu bytes, %d in flight\n", config.path, b.value_len, IN_FLIGHT);
    b.port = store_rocksdb_port(b.store);
    print_memory("memory after the start");
    run_puts(&b, "puts, buffered", STORE_BUFFERED, 200000);
    run_puts(&b, "puts, synced", STORE_SYNCED, 20000);
    run_gets(&b, STORE_META, "gets of 120 bytes, random", 400000);
    run_gets(&b, STORE_VALUE, "gets of values, random", 400000);
    print_memory("memory after that");
    struct store_stats stats;
    b.port.stats(b.port.ctx, &stats);
    printf("syncs %llu, reads in memory %llu, on disk %llu, failures %llu\n",
           (unsigned long long)stats.syncs, (unsigned long long)stats.reads_memory,
           (unsigned long long)stats.reads_disk, (unsigned long long)b.failures);
    double start = now();
    store_rocksdb_close(b.store);
    if (store_rocksdb_open(&config, &host, &b.store, &message) != DYN_OK)
        return 1;
    printf("%-34s %9.3f s\n", "clean restart", now() - start);
    print_memory("memory after the restart");
    store_rocksdb_close(b.store);
    close(b.wake_fd);
    return b.failures == 0 ? 0 : 1;
}
