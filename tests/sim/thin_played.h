/* SPDX-License-Identifier: Apache-2.0 */
/* What scenarios on N by directory share. */
#ifndef DYN_TESTS_THIN_PLAYED_H
#define DYN_TESTS_THIN_PLAYED_H

#include "engine/coordinate/dir_settings.h"
#include "engine/thin/thin.h"
#include "reap_played.h"

#define LONG_US (120 * (uint64_t)SIM_SECOND)

static inline struct engine_config thin_config(void)
{
    struct engine_config c = quick(BUG_NONE);
    c.reap_us = 0;
    c.history_ms = 0; /* what is overwritten goes at once */
    c.thin_us = 2 * SIM_SECOND;
    return c;
}

static inline void told(void *arg, const struct settings_reply *reply)
{
    *(int *)arg = reply->status;
}

static inline void set_n(struct scenario *s, uint32_t node, const char *dir, uint8_t n)
{
    int status = 1;
    const struct settings_request q = {.dir = slice_str(dir), .changes = {{SETTING_N, n}}, .n = 1};
    settings_change(s->cluster->nodes[node].engine, &q, told, &status);
    for (int i = 0; i < 100 && status == 1; i++)
        sim_cluster_run(s->cluster, SIM_SECOND / 10);
    assert_int_equal(status, DYN_OK);
}

static inline bool count_row(struct store_scan *scan, struct slice row, struct slice value)
{
    (void)row;
    (void)value;
    ++*(uint32_t *)scan->arg;
    return true;
}

static inline void scanned(struct store_scan *scan, int err, bool more)
{
    (void)scan;
    (void)more;
    assert_int_equal(err, DYN_OK);
}

/* Rows of a family that begin with this. */
static inline uint32_t rows(struct scenario *s, uint32_t node, enum store_family family,
                            struct slice prefix)
{
    struct store_port store = sim_disk_port(s->cluster->nodes[node].disk);
    uint32_t found = 0;
    struct store_scan scan = {.family = family,
                              .prefix = prefix,
                              .max_rows = UINT32_MAX,
                              .max_bytes = UINT64_MAX,
                              .row = count_row,
                              .done = scanned,
                              .arg = &found};
    store.scan(store.ctx, &scan);
    return found;
}

/* Values of this key that the node has. */
static inline uint32_t values(struct scenario *s, uint32_t node, const char *key)
{
    struct place at = place_of(sim_cluster_ring(s->cluster), slice_str(key));
    struct buf row = BUF_EMPTY;
    row_kept_prefix(&at, slice_str(key), &row); /* which begins with its kind */
    uint32_t n = rows(s, node, STORE_VALUE, slice_of(row.data + 1, row.len - 1));
    buf_release(&row);
    return n;
}

/* On exactly the first of the row. */
static inline bool await_values(struct scenario *s, const char *key, uint32_t first,
                                uint32_t others)
{
    uint32_t nodes[SIM_NODES_MAX];
    for (uint64_t t = 0; t < LONG_US; t += SIM_SECOND) {
        uint32_t n = sim_cluster_replicas(s->cluster, slice_str(key), s->opt.n, nodes);
        bool right = values(s, nodes[0], key) == first;
        for (uint32_t i = 1; i < n; i++)
            right &= values(s, nodes[i], key) == others;
        if (right)
            return true;
        sim_cluster_run(s->cluster, SIM_SECOND);
    }
    return false;
}

#endif
