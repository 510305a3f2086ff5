/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_faults.h. A fault in force is one of a few slots with a timer that ends it. Cut links are
 * not counted: the first to end a cut mends the link, which only makes histories more varied. */
#include "sim_faults.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/dir_settings.h"

#define SLOTS 6
#define BAD_ROWS_PERMILLE 300

struct slot {
    struct sim_faults *faults;
    struct timer timer;
    enum sim_fault kind;
    uint32_t node, other;
    uint32_t side; /* of a split: bit e is set when endpoint e is on the far side */
};

struct sim_faults {
    struct sim_cluster *cluster;
    struct sim_plan plan;
    struct sim_random random;
    struct timer next;
    struct slot slots[SLOTS];
    void (*power_lost)(void *arg);
    void *arg;
};

static void lossy(struct sim_faults *f, bool on)
{
    struct sim_net_config net = f->plan.net;
    if (on) {
        net.loss_permille = 200;
        net.dup_permille = 100;
        net.tail_permille = 200;
    }
    sim_net_configure(f->cluster->net, &net);
}

static void split(struct sim_faults *f, uint32_t side, bool cut)
{
    for (uint32_t a = 0; a < SIM_ENDPOINTS_MAX; a++)
        for (uint32_t b = 0; b < SIM_ENDPOINTS_MAX; b++)
            if (((side >> a) & 1) != ((side >> b) & 1))
                sim_net_cut(f->cluster->net, a, b, cut);
}

static void end(struct timer *t, void *arg)
{
    (void)t;
    struct slot *s = arg;
    struct sim_faults *f = s->faults;
    struct sim_cluster *c = f->cluster;
    sim_event(c->world, "fault ends", s->kind, s->node, s->other, slice_of(NULL, 0));
    sim_log(c->world, "fault %s of %u ends", fault_names[s->kind], s->node);
    switch (s->kind) {
    case FAULT_KILL:
    case FAULT_AMBUSH:
    case FAULT_POWER:
    case FAULT_STOP:
    case FAULT_BAD_DISK:
        sim_node_start(&c->nodes[s->node]);
        break;
    case FAULT_BLACKOUT:
        for (uint32_t i = 0; i < c->cfg.nodes; i++)
            sim_node_start(&c->nodes[i]);
        break;
    case FAULT_SPLIT:
    case FAULT_ISOLATE:
        split(f, s->side, false);
        break;
    case FAULT_ONE_WAY:
        sim_net_cut(c->net, s->node, s->other, false);
        break;
    case FAULT_SLOW_NODE:
        sim_net_slow(c->net, s->node, 0);
        break;
    case FAULT_SLOW_DISK:
        sim_disk_pace(c->nodes[s->node].disk, f->plan.disk_us);
        break;
    case FAULT_LOSSY:
        lossy(f, false);
        break;
    case FAULT_FULL_DISK:
        sim_disk_fill(c->nodes[s->node].disk, false);
        break;
    case FAULT_BAD_ROWS:
        sim_disk_garble(c->nodes[s->node].disk, 0);
        break;
    case FAULT_WALL_JUMP:
    case FAULT_CHANGE:
    case FAULT_LOST:
    case FAULT_N:
    case FAULT_KINDS:
        break;
    }
}

static void on_changed(void *arg, int err)
{
    struct sim_faults *f = arg;
    sim_event(f->cluster->world, "changed", (uint64_t)-err, 0, 0, slice_of(NULL, 0));
    sim_log(f->cluster->world, "a change ends: %s", dyn_err_code(err));
}

/* Somebody joins, leaves or gets another weight, if that is safe now. */
static void change(struct sim_faults *f, const struct slot *s)
{
    struct sim_cluster *c = f->cluster;
    const struct sim_node *node = &c->nodes[s->node], *by = &c->nodes[s->other];
    char address[32];
    if (by->state != NODE_UP)
        return;
    if (sim_cluster_wound(c) != NULL) {
        sim_cluster_mend(c, s->other, on_changed, f);
        return;
    }
    const struct ring *ring = engine_ring(by->engine);
    struct member_event part = {.node = node->id, .type = MEMBER_LEAVE};
    if (ring_member_find(ring, node->id) == NULL)
        part = sim_join_of(c, s->node, 0, address);
    else if (sim_random_chance(&f->random, 400))
        part = (struct member_event){.node = node->id,
                                     .type = MEMBER_WEIGHT,
                                     .weight = (uint32_t)sim_random_range(&f->random, 20, 200)};
    sim_cluster_change(c, s->other, &part, on_changed, f);
}

/* Of one of the users' directories, or of all. */
static void set_n(struct sim_faults *f, const struct sim_node *by)
{
    static const char *const dirs[] = {"", "", "d", "d/s", "e"};
    const char *dir = dirs[sim_random_below(&f->random, sizeof(dirs) / sizeof(dirs[0]))];
    uint8_t n = (uint8_t)sim_random_range(&f->random, 0, f->plan.n);
    if (by->state != NODE_UP)
        return;
    const struct settings_request q = {.dir = slice_str(dir), .changes = {{SETTING_N, n}}, .n = 1};
    sim_log(f->cluster->world, "the N of '%s' is %u now", dir, n);
    settings_change(by->engine, &q, NULL, NULL);
}

/* One at a time: of W copies one is left, and fills another. */
static void lose(struct sim_faults *f, struct sim_node *node)
{
    if (sim_cluster_may_lose(f->cluster, node))
        sim_node_lose(node);
}

/* Which endpoints are on the far side: at least one node, not all. */
static uint32_t draw_side(struct sim_faults *f)
{
    uint32_t nodes = f->cluster->cfg.nodes, all = (1u << nodes) - 1;
    uint32_t side = (uint32_t)sim_random_range(&f->random, 1, all - 1);
    for (uint32_t e = SIM_NODES_MAX; e < SIM_ENDPOINTS_MAX; e += 2)
        if (sim_random_chance(&f->random, 500))
            side |= 3u << e;
    return side;
}

static void strike_all(struct sim_faults *f)
{
    f->power_lost(f->arg);
    for (uint32_t i = 0; i < f->cluster->cfg.nodes; i++)
        sim_node_crash(&f->cluster->nodes[i], CRASH_POWER);
}

static int64_t jump(struct sim_faults *f)
{
    int64_t ns = (int64_t)sim_random_range(&f->random, 1, 3600) * 1000000000;
    return sim_random_chance(&f->random, 500) ? ns : -ns;
}

static void ambush(void *arg)
{
    sim_node_crash(arg, CRASH_KILL);
}

static void begin(struct sim_faults *f, struct slot *s)
{
    struct sim_cluster *c = f->cluster;
    struct sim_node *node = &c->nodes[s->node];
    switch (s->kind) {
    case FAULT_KILL:
        sim_node_crash(node, CRASH_KILL);
        break;
    case FAULT_AMBUSH:
        sim_net_tripwire(c->net, s->node, FRAME_REPLICA_PUT,
                         (uint32_t)sim_random_range(&f->random, 1, 4), ambush, node);
        break;
    case FAULT_POWER:
        f->power_lost(f->arg);
        sim_node_crash(node, CRASH_POWER);
        break;
    case FAULT_BLACKOUT:
        strike_all(f);
        break;
    case FAULT_STOP:
        sim_node_stop(node);
        break;
    case FAULT_SPLIT:
        s->side = draw_side(f);
        split(f, s->side, true);
        break;
    case FAULT_ISOLATE:
        s->side = 1u << s->node;
        for (uint32_t e = SIM_NODES_MAX; e < SIM_ENDPOINTS_MAX; e += 2)
            if (sim_random_chance(&f->random, 300)) /* some clients are on its side */
                s->side |= 3u << e;
        split(f, s->side, true);
        break;
    case FAULT_ONE_WAY:
        sim_net_cut(c->net, s->node, s->other, true);
        break;
    case FAULT_SLOW_NODE:
        sim_net_slow(c->net, s->node, sim_random_range(&f->random, 50, 2000) * 1000);
        break;
    case FAULT_SLOW_DISK:
        sim_disk_pace(node->disk, sim_random_range(&f->random, 20, 800) * 1000);
        break;
    case FAULT_BAD_DISK:
        if (node->state == NODE_UP)
            sim_disk_break(node->disk);
        break;
    case FAULT_LOSSY:
        lossy(f, true);
        break;
    case FAULT_WALL_JUMP:
        node->wall_offset_ns = jump(f);
        break;
    case FAULT_CHANGE:
        change(f, s);
        break;
    case FAULT_FULL_DISK:
        sim_disk_fill(node->disk, true);
        break;
    case FAULT_BAD_ROWS:
        sim_disk_garble(node->disk, BAD_ROWS_PERMILLE);
        break;
    case FAULT_LOST:
        lose(f, node);
        break;
    case FAULT_N:
        set_n(f, node);
        break;
    case FAULT_KINDS:
        break;
    }
}

static enum sim_fault draw_kind(struct sim_faults *f, uint32_t total)
{
    uint64_t at = sim_random_below(&f->random, total);
    for (uint32_t k = 0; k < FAULT_KINDS; k++) {
        if (at < f->plan.fault_weight[k])
            return k;
        at -= f->plan.fault_weight[k];
    }
    return FAULT_KILL;
}

static uint32_t total_weight(const struct sim_faults *f)
{
    uint32_t total = 0;
    for (uint32_t k = 0; k < FAULT_KINDS; k++)
        total += f->plan.fault_weight[k];
    return total;
}

static void arm_next(struct sim_faults *f)
{
    uint64_t every = f->plan.fault_every_us;
    timer_set(&f->cluster->world->timers, &f->next,
              f->cluster->world->now_us + sim_random_range(&f->random, every / 8, every * 2));
}

static void strike(struct timer *t, void *arg)
{
    (void)t;
    struct sim_faults *f = arg;
    struct sim_world *w = f->cluster->world;
    struct slot *s = NULL;
    arm_next(f);
    for (uint32_t i = 0; i < SLOTS && s == NULL; i++)
        if (!timer_is_set(&f->slots[i].timer))
            s = &f->slots[i];
    if (s == NULL)
        return;
    s->kind = draw_kind(f, total_weight(f));
    s->node = (uint32_t)sim_random_below(&f->random, f->cluster->cfg.nodes);
    s->other = (uint32_t)sim_random_below(&f->random, f->cluster->cfg.nodes);
    sim_event(w, "fault", s->kind, s->node, s->other, slice_of(NULL, 0));
    sim_log(w, "fault %s of %u begins", fault_names[s->kind], s->node);
    uint64_t lasts = f->plan.fault_lasts_us;
    timer_set(&w->timers, &s->timer,
              w->now_us + sim_random_range(&f->random, lasts / 20, lasts * 2));
    begin(f, s);
}

struct sim_faults *sim_faults_new(struct sim_cluster *c, const struct sim_plan *plan,
                                  void (*power_lost)(void *arg), void *arg)
{
    struct sim_faults *f = mem_new(struct sim_faults);
    f->cluster = c;
    f->plan = *plan;
    f->power_lost = power_lost;
    f->arg = arg;
    sim_random_init(&f->random, c->world->seed, "faults", 0);
    timer_init(&f->next, strike, f);
    for (uint32_t i = 0; i < SLOTS; i++) {
        f->slots[i].faults = f;
        timer_init(&f->slots[i].timer, end, &f->slots[i]);
    }
    return f;
}

static void disarm(struct sim_faults *f)
{
    timer_cancel(&f->cluster->world->timers, &f->next);
    for (uint32_t i = 0; i < SLOTS; i++)
        timer_cancel(&f->cluster->world->timers, &f->slots[i].timer);
}

void sim_faults_free(struct sim_faults *f)
{
    if (f == NULL)
        return;
    disarm(f);
    free(f);
}

/* Writes to one node are lost and its reads go on: it falls behind, and nobody takes it for down
 * before a replica timeout. The node is another one every few seconds. */
static enum sim_fate deafen(void *arg, uint32_t from, uint32_t to, uint8_t type, struct slice body)
{
    struct sim_faults *f = arg;
    uint64_t turn = f->cluster->world->now_us / (3 * (uint64_t)SIM_SECOND);
    (void)from;
    (void)body;
    if (type != FRAME_REPLICA_PUT || to != turn % f->plan.nodes)
        return FATE_CHANCE;
    return sim_random_chance(&f->random, f->plan.deaf_permille) ? FATE_DROP : FATE_CHANCE;
}

void sim_faults_start(struct sim_faults *f)
{
    if (f->plan.deaf_permille > 0)
        sim_net_set_judge(f->cluster->net, deafen, f);
    if (total_weight(f) > 0)
        arm_next(f);
}

void sim_faults_heal(struct sim_faults *f)
{
    struct sim_cluster *c = f->cluster;
    struct sim_net_config good = {.delay_min_us = 100, .delay_max_us = 2000};
    disarm(f);
    sim_net_tripwire(c->net, 0, 0, 0, NULL, NULL);
    sim_net_set_judge(c->net, NULL, NULL);
    sim_net_heal(c->net);
    sim_net_configure(c->net, &good);
    for (uint32_t i = 0; i < c->cfg.nodes; i++) {
        sim_net_slow(c->net, i, 0);
        sim_disk_fill(c->nodes[i].disk, false);
        sim_disk_garble(c->nodes[i].disk, 0);
        if (sim_disk_broken(c->nodes[i].disk)) /* a new disk cable, and a new start */
            sim_node_crash(&c->nodes[i], CRASH_KILL);
        sim_disk_pace(c->nodes[i].disk, f->plan.disk_us < 1000 ? f->plan.disk_us : 1000);
        sim_node_start(&c->nodes[i]); /* one that still drains is started by the liveness phase */
    }
}
