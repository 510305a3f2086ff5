/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_converge.h. */
#include "sim_converge.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/replica/rows.h"
#include "sim_audit.h"

#define SETTLE_US (240 * (uint64_t)SIM_SECOND)
#define ROUND_US SIM_SECOND
#define MEND_US (5 * (uint64_t)SIM_SECOND)           /* between attempts to replace who is lost */
#define LAST_MESSAGES_US (15 * (uint64_t)SIM_SECOND) /* what the faults held back has arrived */
#define TIMEOUT_MS 5000
#define ATTEMPTS 8 /* a read may meet a node that another still thinks down */
#define PAGE 3
#define ROTTEN 2    /* values on each node, at most */
#define EXCHANGES 3 /* so often has each pair of nodes compared its trees */
#define REAP_US (600 * (uint64_t)SIM_SECOND)

struct converge {
    struct sim_cluster *cluster;
    struct sim_client *client;
    struct oracle *oracle;
    uint32_t n;
    bool judging;
    /* by index of the oracle's keys, while judging */
    struct object *objects;
    uint32_t n_objects;
    /* the listing under way */
    struct list_request list;
    struct buf after;
    bool more;
    struct sim_listing *listing;
};

static void on_mended(void *arg, int err)
{
    (void)arg; /* if it failed, the next round proposes it again */
    (void)err;
}

/* An administrator who sees that a node is gone for good. */
static void mend(struct sim_cluster *c)
{
    for (uint32_t i = 0; i < c->cfg.nodes && sim_cluster_wound(c) != NULL; i++)
        if (sim_cluster_mend(c, i, on_mended, NULL))
            return;
}

bool sim_settle(struct sim_cluster *c, uint64_t limit_us)
{
    uint64_t mended_us = 0;
    uint64_t until = c->world->now_us + limit_us, hints = 0, owed = 0;
    while (c->world->now_us < until) {
        for (uint32_t i = 0; i < c->cfg.nodes; i++)
            sim_node_start(&c->nodes[i]);
        sim_cluster_run(c, ROUND_US);
        sim_cluster_debts(c, &hints, &owed);
        if (c->world->now_us - mended_us > MEND_US) {
            mended_us = c->world->now_us;
            mend(c);
        }
        bool up = sim_cluster_up(c) + sim_cluster_lost(c) == c->cfg.nodes;
        if (up && sim_cluster_wound(c) == NULL && hints == 0 && owed == 0 && sim_cluster_agrees(c))
            return true;
    }
    sim_violation(c->world,
                  "not settled: %u of %u nodes up, %llu hints, %llu owed, %u partitions move",
                  sim_cluster_up(c), c->cfg.nodes, (unsigned long long)hints,
                  (unsigned long long)owed, ring_moving(sim_cluster_ring(c)));
    return false;
}

static struct request_options all_of(const struct converge *v)
{
    return (struct request_options){.n = (uint8_t)v->n,
                                    .r = (uint8_t)v->n,
                                    .w = (uint8_t)v->n,
                                    .durability = DURABILITY_QUORUM,
                                    .sloppy = SLOPPY_NO,
                                    .timeout_ms = TIMEOUT_MS};
}

static uint32_t some_node(const struct converge *v, uint32_t i)
{
    return i % v->cluster->cfg.nodes;
}

struct reading {
    struct converge *converge;
    uint32_t key;
};

static void saw(void *arg, const struct sim_reply *r)
{
    struct reading *reading = arg;
    struct converge *v = reading->converge;
    if (r->status != DYN_OK)
        return;
    object_copy(&v->objects[reading->key], &r->get->object);
    if (!v->judging)
        return;
    oracle_final(v->oracle, reading->key, &r->get->object);
    if (!object_values_loaded(&r->get->object))
        sim_violation(v->cluster->world, "a version at the end has no bytes");
}

static void read_key(struct converge *v, uint32_t key)
{
    struct reading reading = {v, key};
    struct buf name = BUF_EMPTY;
    int err = DYN_ERR_TIMEOUT;
    buf_put_slice(&name, oracle_key_name(v->oracle, key));
    const struct sim_request q = {
        .type = FRAME_GET, .get = {.opt = all_of(v), .key = buf_slice(&name), .want = GET_ALL}};
    for (uint32_t i = 0; i < ATTEMPTS && err != DYN_OK; i++)
        err = sim_client_wait(v->client, VIA_KV, some_node(v, key + i), &q, saw, &reading);
    if (err != DYN_OK)
        sim_violation(v->cluster->world, "%.*s cannot be read at the end: %s", (int)name.len,
                      (const char *)name.data, dyn_err_code(err));
    buf_release(&name);
}

static void saw_page(void *arg, const struct sim_reply *r)
{
    struct converge *v = arg;
    if (r->status != DYN_OK)
        return;
    for (uint32_t i = 0; i < r->list->n; i++)
        sim_listing_add(v->listing, v->list.dir, &r->list->entries[i]);
    v->more = r->list->more;
    buf_clear(&v->after);
    buf_put_slice(&v->after, r->list->cursor);
}

static void list_directory(struct converge *v, struct slice dir)
{
    uint32_t pages = 0;
    int err;
    buf_clear(&v->after);
    do {
        err = DYN_ERR_TIMEOUT;
        v->list = (struct list_request){.opt = all_of(v),
                                        .dir = dir,
                                        .after = buf_slice(&v->after),
                                        .limit = PAGE,
                                        .dead_too = true};
        struct buf after = BUF_EMPTY; /* the request borrows what the answer replaces */
        buf_put_slice(&after, v->list.after);
        v->list.after = buf_slice(&after);
        const struct sim_request q = {.type = FRAME_LIST, .list = v->list};
        v->more = false;
        for (uint32_t i = 0; i < ATTEMPTS && err != DYN_OK; i++)
            err = sim_client_wait(v->client, VIA_KV, some_node(v, pages + i), &q, saw_page, v);
        buf_release(&after);
        v->list.after = slice_of(NULL, 0);
    } while (err == DYN_OK && v->more && ++pages < 100);
    if (err != DYN_OK || v->more)
        sim_violation(v->cluster->world, "directory '%.*s' cannot be listed at the end: %s",
                      (int)dir.len, (const char *)dir.data, dyn_err_code(err));
}

/* Every key that the oracle knows of, and all that is above them. */
static void know_parents(struct oracle *o)
{
    for (uint32_t i = 0; i < oracle_key_count(o); i++) {
        struct slice name = oracle_key_name(o, i);
        if (name.len == 0)
            continue;
        struct buf parent = BUF_EMPTY;
        buf_put_slice(&parent, key_parent(name));
        oracle_key(o, buf_slice(&parent));
        buf_release(&parent);
    }
}

/* Directories first: before any read has repaired an object, and its entry along with it. */
static void round_of_reads(struct converge *v)
{
    sim_listing_clear(v->listing);
    for (uint32_t i = 0; i < oracle_key_count(v->oracle); i++) {
        struct buf name = BUF_EMPTY;
        buf_put_slice(&name, oracle_key_name(v->oracle, i));
        if (oracle_may_be_directory(v->oracle, buf_slice(&name)))
            list_directory(v, buf_slice(&name));
        buf_release(&name);
    }
    for (uint32_t i = 0; i < oracle_key_count(v->oracle); i++)
        read_key(v, i);
    if (v->cluster->world->violations == 0)
        sim_audit_listing(v->cluster, v->listing, v->oracle, v->objects);
}

/* Here, where nothing is superseded any more: else the last good bytes of a version could go while
 * nobody knows yet that others are bad. */
struct rot {
    struct sim_cluster *cluster;
    uint32_t node;
};

/* Another of its owners has it. */
static bool may_rot(void *arg, struct slice row)
{
    const struct rot *r = arg;
    struct sim_cluster *c = r->cluster;
    uint32_t nodes[SIM_NODES_MAX];
    const uint8_t *end = row.len > 20 ? memchr(row.data + 20, 0, row.len - 20) : NULL;
    if (end == NULL)
        return false;
    struct slice key = slice_of(row.data + 20, (size_t)(end - row.data) - 20);
    uint32_t n = sim_cluster_replicas(c, key, c->cfg.n, nodes);
    for (uint32_t i = 0; i < n; i++)
        if (nodes[i] != r->node && sim_disk_holds_value(c->nodes[nodes[i]].disk, row))
            return true;
    return false;
}

static bool has_values_of(const struct sim_disk *d, const struct place *at, struct slice key,
                          const struct object *o)
{
    bool all = true;
    for (uint32_t i = 0; i < o->n; i++) {
        struct buf row = BUF_EMPTY;
        row_value(at, key, &o->siblings[i].value_dot, &row);
        all &= !sibling_live(&o->siblings[i]) || o->siblings[i].size == 0 ||
               sim_disk_holds_value(d, buf_slice(&row));
        buf_release(&row);
    }
    return all;
}

/* All its other owners have the same object, and with its bytes. */
static bool others_have(const struct rot *r, struct slice row, const struct place *at,
                        struct slice key)
{
    struct sim_cluster *c = r->cluster;
    uint32_t nodes[SIM_NODES_MAX], same = 0;
    uint32_t n = sim_cluster_replicas(c, key, c->cfg.n, nodes);
    bool own = false;
    struct object mine = OBJECT_EMPTY;
    bool good = sim_disk_object(c->nodes[r->node].disk, row, &mine) && object_live(&mine);
    for (uint32_t i = 0; i < n && good; i++) {
        struct object theirs = OBJECT_EMPTY;
        const struct sim_disk *d = c->nodes[nodes[i]].disk;
        own |= nodes[i] == r->node;
        same += nodes[i] != r->node && sim_disk_object(d, row, &theirs) &&
                object_equal(&theirs, &mine) && has_values_of(d, at, key, &theirs);
        object_release(&theirs);
    }
    object_release(&mine);
    return good && own && n > 1 && same == n - 1;
}

static bool row_may_rot(void *arg, struct slice row)
{
    struct buf key = BUF_EMPTY;
    struct place at;
    enum row_kind kind;
    bool may = row_meta_parse(row, &at, &kind, &key) == DYN_OK && kind == ROW_OBJECT &&
               others_have(arg, row, &at, buf_slice(&key));
    buf_release(&key);
    return may;
}

static void rot(struct sim_cluster *c)
{
    for (uint32_t i = 0; i < c->cfg.nodes; i++)
        for (uint32_t k = 0; k < ROTTEN; k++)
            sim_disk_rot(c->nodes[i].disk, may_rot, &(struct rot){c, i});
    if (c->cfg.engine.scrub_us == 0)
        return; /* nobody would notice what nobody reads */
    for (uint32_t i = 0; i < c->cfg.nodes; i++)
        for (uint32_t k = 0; k < ROTTEN; k++)
            sim_disk_rot_row(c->nodes[i].disk, row_may_rot, &(struct rot){c, i});
}

/* All that hints and debts do not bring home, anti-entropy does, without any read. */
static void level(struct converge *v)
{
    struct sim_cluster *c = v->cluster;
    if (!sim_settle(c, SETTLE_US))
        return;
    sim_log(c->world, "----- all debts paid; values and rows rot; trees are compared");
    rot(c);
    sim_cluster_run(c, EXCHANGES * c->cfg.engine.exchange_us + 2 * c->cfg.engine.scrub_us +
                           2 * c->cfg.engine.message_life_us + LAST_MESSAGES_US);
    if (sim_settle(c, SETTLE_US))
        sim_audit_level(c, v->oracle, v->n);
}

/* Old owners drop what they own no more, and every trace of what was deleted goes. */
static void await_reaping(struct sim_cluster *c)
{
    uint64_t until = c->world->now_us + REAP_US, hints, owed;
    bool settled = false;
    if (c->cfg.engine.reap_us == 0)
        return;
    while (!settled && c->world->now_us < until) {
        sim_cluster_run(c, 2 * c->cfg.engine.reap_us + ROUND_US);
        sim_cluster_debts(c, &hints, &owed);
        settled = sim_cluster_tombstones(c) == 0 && hints == 0 && owed == 0;
    }
    for (uint32_t i = 0; i < c->cfg.nodes && !settled; i++) {
        struct engine_stats t;
        engine_stats(c->nodes[i].engine, &t);
        sim_log(c->world,
                "node  %u: %llu tombstones, %llu young, %llu prepared; away %llu, hints %llu, "
                "copies %llu, moving %llu, differ %llu",
                i, (unsigned long long)t.tombstones, (unsigned long long)t.tombstones_young,
                (unsigned long long)t.tombstones_prepared, (unsigned long long)t.reap_blocked_away,
                (unsigned long long)t.reap_blocked_hints, (unsigned long long)t.reap_blocked_copies,
                (unsigned long long)t.reap_blocked_moving,
                (unsigned long long)t.reap_blocked_differ);
    }
    if (!settled)
        sim_violation(c->world, "%llu tombstones are never reaped",
                      (unsigned long long)sim_cluster_tombstones(c));
}

void sim_converge(struct sim_cluster *c, struct sim_client *client, struct oracle *o, uint32_t n)
{
    struct converge v = {.cluster = c, .client = client, .oracle = o, .n = n};
    v.listing = sim_listing_new();
    know_parents(o);
    v.n_objects = oracle_key_count(o);
    v.objects = mem_zalloc((v.n_objects + 1) * sizeof(*v.objects));
    sim_cluster_run(c, LAST_MESSAGES_US);
    level(&v);
    if (c->world->violations == 0 && sim_settle(c, SETTLE_US)) {
        sim_log(c->world, "----- all debts paid; reads at R = N");
        round_of_reads(&v);
    }
    if (c->world->violations == 0 && sim_settle(c, SETTLE_US)) {
        sim_log(c->world, "----- the judgement");
        v.judging = true;
        round_of_reads(&v);
        sim_settle(c, SETTLE_US);
        sim_audit_replicas(c, o, v.objects, n);
        await_reaping(c);
    }
    for (uint32_t i = 0; i < v.n_objects; i++)
        object_release(&v.objects[i]);
    free(v.objects);
    buf_release(&v.after);
    sim_listing_free(v.listing);
}
