/* SPDX-License-Identifier: Apache-2.0 */
/* What scenarios about the reaping of deletes share: a cluster that reaps within seconds, and what
 * is on its disks. */
#ifndef DYN_SIM_REAP_PLAYED_H
#define DYN_SIM_REAP_PLAYED_H

#include "engine/reap/reap_wire.h"
#include "engine/replica/rows.h"
#include "scenario.h"

#define LIFE_US (2 * (uint64_t)SIM_SECOND)
#define REAPED_US (12 * (uint64_t)SIM_SECOND) /* by then, where nothing is in the way */

static inline struct engine_config quick(enum engine_bug bug)
{
    struct engine_config c;
    engine_config_defaults(&c);
    c.reap_us = SIM_SECOND / 5;
    c.reap_after_ms = 0;
    c.message_life_us = LIFE_US;
    c.exchange_us = 3 * SIM_SECOND;
    c.scrub_us = 0;
    c.bug = bug;
    return c;
}

static inline void begin(struct scenario *s, uint32_t nodes, enum engine_bug bug)
{
    const struct engine_config engine = quick(bug);
    scenario_begin_with(s, nodes, 3, 2, 2, &engine);
}

static inline void got_row(struct store_get *get, int err, struct slice value)
{
    (void)value;
    *(int *)get->arg = err;
}

/* What a node has on its disk of a key: the object's row, or the entry's. */
static inline bool has_row(struct scenario *s, uint32_t node, const char *key, bool entry)
{
    struct ring *ring = sim_cluster_ring(s->cluster);
    struct store_port store = sim_disk_port(s->cluster->nodes[node].disk);
    struct slice k = slice_str(key);
    struct place at = place_of(ring, entry ? key_parent(k) : k);
    struct buf row = BUF_EMPTY;
    int err = 1;
    if (entry)
        row_entry(&at, key_parent(k), key_name(k), &row);
    else
        row_object(&at, k, &row);
    struct store_get get = {
        .family = STORE_META, .key = buf_slice(&row), .done = got_row, .arg = &err};
    store.get(store.ctx, &get);
    assert_int_not_equal(err, 1);
    buf_release(&row);
    return err == DYN_OK;
}

/* On how many nodes something is left of it. */
static inline uint32_t holders(struct scenario *s, const char *key)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++)
        n += has_row(s, i, key, false) || has_row(s, i, key, true);
    return n;
}

static inline bool await_holders(struct scenario *s, const char *key, uint32_t n, uint64_t for_us)
{
    for (uint64_t t = 0; t < for_us && holders(s, key) != n; t += SIM_SECOND / 20)
        sim_cluster_run(s->cluster, SIM_SECOND / 20);
    for (uint32_t i = 0; holders(s, key) != n && i < s->cluster->cfg.nodes; i++) {
        struct engine_stats t;
        engine_stats(s->cluster->nodes[i].engine, &t);
        print_message(
            "node %u: object %d entry %d; %llu tombstones, %llu prepared; kept back: away "
            "%llu, hints %llu, copies %llu, differ %llu; has %llu hints\n",
            i, has_row(s, i, key, false), has_row(s, i, key, true),
            (unsigned long long)t.tombstones, (unsigned long long)t.tombstones_prepared,
            (unsigned long long)t.reap_blocked_away, (unsigned long long)t.reap_blocked_hints,
            (unsigned long long)t.reap_blocked_copies, (unsigned long long)t.reap_blocked_differ,
            (unsigned long long)t.hints_now);
    }
    return holders(s, key) == n;
}

static inline struct engine_stats stats_of(const struct scenario *s, uint32_t node)
{
    struct engine_stats stats;
    engine_stats(s->cluster->nodes[node].engine, &stats);
    return stats;
}

static inline void put(struct scenario *s, uint32_t node, const char *key, const char *value)
{
    struct answer a = {0};
    scenario_put(s, node, key, value, NULL, PUT_CURRENT, &a);
    assert_int_equal(a.status, DYN_OK);
    answer_release(&a);
}

/* Acknowledged by all N. */
static inline void delete_at_all(struct scenario *s, uint32_t node, const char *key)
{
    struct request_options opt = s->opt;
    s->opt.w = opt.n;
    put(s, node, key, NULL);
    s->opt = opt;
}

static inline bool lives(struct scenario *s, uint32_t node, const char *key)
{
    struct answer a = {0};
    struct request_options opt = s->opt;
    s->opt.r = opt.n;
    scenario_get(s, node, key, &a);
    assert_int_equal(a.status, DYN_OK);
    bool live = answer_live(&a) > 0;
    answer_release(&a);
    s->opt = opt;
    return live;
}

/* Holds, or drops, the messages of one type to one node. */
struct gate {
    uint32_t to;
    uint8_t type;
    enum sim_fate fate;
    uint32_t met;
};

static inline enum sim_fate guard(void *arg, uint32_t from, uint32_t to, uint8_t type,
                                  struct slice body)
{
    struct gate *g = arg;
    (void)from;
    (void)body;
    if (to != g->to || type != g->type)
        return FATE_CHANCE;
    g->met++;
    return g->fate;
}

#endif
