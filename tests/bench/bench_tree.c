/* SPDX-License-Identifier: Apache-2.0 */
/* What it costs to find and repair k different rows among n, between two engines with stores in
 * memory. All rows are entries of one directory, so they lie in one partition and under one
 * position: the worst case for a tree.
 *
 *   bench_tree [n ...]     default 1000 100000 1000000
 *
 * Messages are the questions of the exchange and their answers; bytes are their bodies. What the
 * repair itself sends (each row once) is the same for any way of finding it, and stands apart. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/trees/descent.h"
#include "engine/trees/tree.h"
#include "model/wire.h"
#include "played_cluster.h"

#define DIR "large"

struct outcome {
    bool over;
    int err;
    struct descent_result result;
};

static void on_over(void *arg, int err, const struct descent_result *result)
{
    struct outcome *o = arg;
    o->over = true;
    o->err = err;
    o->result = *result;
}

static void name_of(uint32_t i, char *out, size_t cap)
{
    snprintf(out, cap, "file-%07u", i);
}

/* One version of an entry, as an engine would have stored it some time ago. */
static void make_entry(uint32_t i, uint64_t counter, struct object *o)
{
    struct dot dot = {{7, {11, 1}}, (uint64_t)i * 1000 + counter};
    struct sibling s = {.dot = dot, .value_dot = dot, .time_ns = 1, .type = SIBLING_FILE};
    s.attrs.mode = 0644;
    clock_advance(&o->clock, &dot, 1000);
    object_insert(o, &s);
}

static uint64_t *counters; /* how often each entry has been written */

static void store_entry(struct engine *e, uint32_t i)
{
    uint64_t counter = ++counters[i];
    struct place at = place_of(e->ring, slice_str(DIR));
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY, value = BUF_EMPTY, key = BUF_EMPTY;
    struct object o = OBJECT_EMPTY, before = OBJECT_EMPTY;
    char name[32];
    name_of(i, name, sizeof(name));
    key_join(slice_str(DIR), slice_str(name), &key);
    make_entry(i, counter, &o);
    if (counter > 1)
        make_entry(i, counter - 1, &before);
    row_entry(&at, slice_str(DIR), slice_str(name), &row);
    object_row_encode((struct epoch){0, 0}, &o, &value);
    store_batch_put(&b, STORE_META, buf_slice(&row), buf_slice(&value));
    trees_change(e->trees, &b, ROW_ENTRY, &at, buf_slice(&key),
                 trees_hash(e->trees, ROW_ENTRY, buf_slice(&key), &before, NULL),
                 trees_hash(e->trees, ROW_ENTRY, buf_slice(&key), &o, NULL));
    if (e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL) != DYN_OK)
        abort();
    trees_handed(e->trees, true);
    store_batch_release(&b);
    buf_release(&row);
    buf_release(&value);
    buf_release(&key);
    object_release(&o);
    object_release(&before);
}

/* Both disks are one image, so a million rows take their memory once. */
static struct played_cluster *two_equal_nodes(uint32_t n)
{
    struct played_cluster *c = played_cluster_new(2, 2, 1, 1);
    played_run(c, 1000000);
    for (uint32_t i = 0; i < n; i++) {
        store_entry(c->nodes[0].engine, i);
        if (i % 65536 == 0)
            store_memory_write_back(c->nodes[0].store);
    }
    store_memory_write_back(c->nodes[0].store);
    struct store_memory_image *image = store_memory_snapshot(c->nodes[0].store);
    c->cfg.exchange_us = c->cfg.scrub_us = 0; /* only what is asked for here */
    for (uint32_t i = 0; i < 2; i++) {
        played_crash(c, i, false);
        store_memory_restore(c->nodes[i].store, image);
        played_restart(c, i);
    }
    store_memory_image_free(image);
    played_run(c, 1000000);
    return c;
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void measure(struct played_cluster *c, uint32_t n, uint32_t k)
{
    struct engine *e = c->nodes[0].engine;
    struct outcome o = {0};
    struct place at = place_of(e->ring, slice_str(DIR));
    struct engine_stats before, after;
    for (uint32_t i = 0; i < k; i++) /* spread over all, each another one */
        store_entry(e, (uint32_t)((uint64_t)i * n / k));
    engine_stats(e, &before);
    uint64_t frames = c->frames;
    double cpu = cpu_ms();
    const struct descent_params p = {
        .node = 2, .partition = at.partition, .young_too = true, .done = on_over, .arg = &o};
    descent_start(e, &p);
    while (!o.over)
        played_run(c, 1000);
    cpu = cpu_ms() - cpu;
    engine_stats(e, &after);
    uint64_t pushes = o.result.repaired; /* each one frame to the other node */
    uint64_t asked = c->frames - frames - pushes;
    if (o.err != DYN_OK || o.result.differing != k || o.result.repaired != k)
        printf("  failed: err %d, %llu of %u found, %llu repaired\n", o.err,
               (unsigned long long)o.result.differing, k, (unsigned long long)o.result.repaired);
    uint64_t bytes = after.exchange_bytes - before.exchange_bytes;
    double per = k == 0 ? 0 : (double)bytes / k / fmax(1, log2(n));
    printf("%9u %7u %10llu %12llu %12.1f %14.2f %9.1f\n", n, k, (unsigned long long)(2 * asked),
           (unsigned long long)bytes, k == 0 ? 0 : (double)bytes / k, per, cpu);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"1000", "100000", "1000000"};
    const char *const *sizes = argc > 1 ? (const char *const *)argv + 1 : usual;
    int n_sizes = argc > 1 ? argc - 1 : 3;
    printf("%9s %7s %10s %12s %12s %14s %9s\n", "n", "k", "messages", "bytes", "bytes/k",
           "bytes/(k lb n)", "CPU ms");
    for (int i = 0; i < n_sizes; i++) {
        uint32_t n = (uint32_t)strtoul(sizes[i], NULL, 10);
        counters = mem_zalloc(n * sizeof(*counters));
        struct played_cluster *c = two_equal_nodes(n);
        measure(c, n, 0);
        for (uint32_t k = 1; k <= n / 10 && k <= 10000; k *= 10)
            measure(c, n, k);
        played_cluster_free(c);
        free(counters);
    }
    return 0;
}
