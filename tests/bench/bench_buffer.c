/* SPDX-License-Identifier: Apache-2.0 */
/* How long does a store hold its loop, without and with an object buffer, while the disk is idle
 * and while something else keeps it busy? In each turn a few batches like those of puts are handed
 * over, buffered, and the turn is ended: what that takes, everybody on the loop waits for. Turns in
 * which the kernel took the processor away from the loop are left out, so that a machine that is
 * busy with other things does not drown what is looked for. The stores take turns by the second.
 *
 * Usage: bench_buffer [folder [rounds]]. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "adapter/store_rocksdb.h"
#include "base/err.h"
#include "base/mem.h"

enum { OBJECTS = 1000, PER_TURN = 4, VALUE = 1024, TURN_NS = 1000000, KEYS = 20000 };
#define SECOND_NS 1000000000ull

struct subject {
    const char *name;
    struct store_rocksdb *store;
    struct store_port port;
    int wake_fd;
    uint64_t random;
    uint64_t *held_ns; /* of each turn that counts */
    size_t n, cap;
    uint64_t left_out;
};

struct busy_disk {
    pthread_t thread;
    char *path;
    atomic_bool over;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static void wake(void *ctx)
{
    eventfd_write(((struct subject *)ctx)->wake_fd, 1);
}

static void failed(void *ctx, int err, const char *message)
{
    (void)ctx;
    fprintf(stderr, "the store failed: %s: %s\n", dyn_err_code(err), message);
    exit(1);
}

static void open_subject(struct subject *s, const char *folder, const char *name, uint32_t objects)
{
    struct store_rocksdb_config config = store_rocksdb_config_default();
    struct store_host host = {.ctx = s, .wake = wake, .failed = failed};
    char *path = mem_printf("%s/store-%u", folder, objects), *message = NULL;
    *s = (struct subject){.name = name, .random = 1};
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    config.path = path;
    config.buffer_objects = objects;
    if (store_rocksdb_open(&config, &host, &s->store, &message) != DYN_OK) {
        fprintf(stderr, "%s\n", message);
        exit(1);
    }
    s->port = store_rocksdb_port(s->store);
    free(path);
}

/* About what a put of 1 KiB is to one replica. */
static void hand_over(struct subject *s)
{
    static uint8_t value[VALUE];
    struct store_batch b = STORE_BATCH_EMPTY;
    uint8_t key[16] = {0}, operand[STORE_MERGE_LEN] = {1};
    s->random = s->random * 6364136223846793005ull + 1442695040888963407ull;
    uint64_t k = (s->random >> 33) % KEYS * 0x9e3779b97f4a7c15ull;
    memcpy(key, &k, sizeof(k));
    memcpy(value, &s->random, sizeof(s->random));
    store_batch_put(&b, STORE_META, slice_of(key, 16), slice_of(value, 120));
    store_batch_put(&b, STORE_META, slice_of(key, 15), slice_of(value, 120));
    store_batch_put(&b, STORE_VALUE, slice_of(key, 16), slice_of(value, VALUE));
    store_batch_merge(&b, STORE_TREE, slice_of(key, 8), operand);
    if (s->port.write(s->port.ctx, &b, STORE_BUFFERED, NULL) != DYN_OK)
        failed(s, DYN_ERR_IO, "a write was refused");
}

static void note(struct subject *s, uint64_t ns)
{
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? 4096 : s->cap * 2;
        s->held_ns = mem_reallocarray(s->held_ns, s->cap, sizeof(*s->held_ns));
    }
    s->held_ns[s->n++] = ns;
}

static void turn(struct subject *s)
{
    struct rusage before, after;
    eventfd_t n;
    if (eventfd_read(s->wake_fd, &n) == 0)
        store_rocksdb_poll(s->store);
    getrusage(RUSAGE_THREAD, &before);
    uint64_t start = now_ns();
    for (int i = 0; i < PER_TURN; i++)
        hand_over(s);
    store_rocksdb_flush_turn(s->store);
    uint64_t held = now_ns() - start;
    getrusage(RUSAGE_THREAD, &after);
    if (after.ru_nivcsw == before.ru_nivcsw)
        note(s, held);
    else
        s->left_out++;
}

/* At an even pace, which the slower of the two keeps up with: one that is late leaves turns out. */
static void run_for_a_second(struct subject *s)
{
    uint64_t start = now_ns(), next = start;
    while (next < start + SECOND_NS) {
        struct timespec at = {(time_t)(next / SECOND_NS), (long)(next % SECOND_NS)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        turn(s);
        next += TURN_NS;
        uint64_t now = now_ns();
        if (now > next)
            next = now;
    }
}

static void *keep_busy(void *arg)
{
    struct busy_disk *d = arg;
    static uint8_t block[1 << 20];
    while (!atomic_load(&d->over)) {
        int fd = open(d->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        bool good = fd >= 0;
        for (int i = 0; i < 8 && good; i++)
            good = write(fd, block, sizeof(block)) == (ssize_t)sizeof(block);
        if (!good || fsync(fd) != 0)
            failed(NULL, DYN_ERR_IO, "cannot keep the disk busy");
        close(fd);
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double at_us(const struct subject *s, double share)
{
    return s->n == 0 ? 0 : (double)s->held_ns[(size_t)((double)(s->n - 1) * share)] / 1000;
}

static void report(struct subject *s, const char *disk)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += (double)s->held_ns[i] / 1000;
    qsort(s->held_ns, s->n, sizeof(*s->held_ns), by_size);
    printf("%s, %s: mean %.1f p50 %.1f p99 %.1f p99.9 %.1f us, of %zu turns (%llu left out)\n",
           disk, s->name, s->n == 0 ? 0 : sum / (double)s->n, at_us(s, 0.5), at_us(s, 0.99),
           at_us(s, 0.999), s->n, (unsigned long long)s->left_out);
    s->n = 0;
    s->left_out = 0;
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/bench-buffer-XXXXXX";
    const char *folder = argc > 1 ? argv[1] : mkdtemp(dir);
    unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) % 1000 : 5;
    struct subject both[2];
    if (folder == NULL)
        return 1;
    open_subject(&both[0], folder, "no buffer", 0);
    open_subject(&both[1], folder, "a buffer of 1000", OBJECTS);
    for (int busy = 0; busy < 2; busy++) {
        struct busy_disk d = {.path = mem_printf("%s/busy", folder)};
        if (busy && pthread_create(&d.thread, NULL, keep_busy, &d) != 0)
            return 1;
        for (unsigned i = 0; i < rounds * 2; i++)
            run_for_a_second(&both[(i + i / 2) % 2]);
        for (int i = 0; i < 2; i++)
            report(&both[i], busy ? "disk busy" : "disk idle");
        if (busy) {
            atomic_store(&d.over, true);
            pthread_join(d.thread, NULL);
            unlink(d.path);
        }
        free(d.path);
    }
    for (int i = 0; i < 2; i++) {
        store_rocksdb_close(both[i].store);
        close(both[i].wake_fd);
        free(both[i].held_ns);
    }
    return 0;
}
