/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_plan.h. */
#include "sim_plan.h"

#include "sim_random.h"
#include "sim_world.h"

const char *const op_names[OP_KINDS] = {
    "get",   "put",     "blind put",  "put over current", "delete", "delete current",
    "drop",  "replace", "chmod",      "create",           "list",   "mkdir",
    "rmdir", "sync",    "forged put",
};

const char *const fault_names[FAULT_KINDS] = {
    "kill",
    "ambush",
    "power loss",
    "blackout",
    "clean stop",
    "split",
    "isolation",
    "one-way",
    "slow node",
    "slow disk",
    "bad disk",
    "lossy",
    "wall clock jump",
    [FAULT_CHANGE] = "change",
    [FAULT_FULL_DISK] = "full disk",
    [FAULT_LOST] = "loss",
    [FAULT_BAD_ROWS] = "bad rows",
    [FAULT_N] = "another N",
};

/* Mostly some, sometimes none, sometimes a lot. */
static uint32_t weight(struct sim_random *r, uint32_t usual, uint32_t absent_permille)
{
    if (sim_random_chance(r, absent_permille))
        return 0;
    return sim_random_chance(r, 150) ? usual * 4 : usual;
}

static void plan_ops(struct sim_plan *p, struct sim_random *r)
{
    p->op_weight[OP_GET] = weight(r, 30, 0);
    p->op_weight[OP_PUT] = weight(r, 24, 50);
    p->op_weight[OP_BLIND] = weight(r, 12, 200);
    p->op_weight[OP_CURRENT] = weight(r, 5, 600);
    p->op_weight[OP_DELETE] = weight(r, 8, 300);
    p->op_weight[OP_DELETE_CURRENT] = weight(r, 2, 700);
    p->op_weight[OP_DROP] = weight(r, 8, 400);
    p->op_weight[OP_REPLACE] = weight(r, 5, 400);
    p->op_weight[OP_CHMOD] = weight(r, 4, 500);
    p->op_weight[OP_CREATE] = weight(r, 5, 400);
    p->op_weight[OP_LIST] = weight(r, 8, 200);
    p->op_weight[OP_MKDIR] = weight(r, 3, 500);
    p->op_weight[OP_RMDIR] = weight(r, 3, 600);
    p->op_weight[OP_SYNC] = weight(r, 3, 500);
    p->op_weight[OP_FORGED] = weight(r, 1, 700);
    p->same_value_permille = sim_random_chance(r, 500) ? 0 : (uint32_t)sim_random_range(r, 50, 400);
    p->mount_permille = sim_random_chance(r, 500) ? 0 : (uint32_t)sim_random_range(r, 100, 800);
    p->retry_permille = (uint32_t)sim_random_range(r, 0, 800);
    p->kv_permille = (uint32_t)sim_random_range(r, 300, 1000);
    p->library_permille = sim_random_chance(r, 600) ? 0 : (uint32_t)sim_random_range(r, 50, 500);
    p->away_permille = (uint32_t)sim_random_range(r, 0, 500);
}

static void plan_faults(struct sim_plan *p, struct sim_random *r)
{
    p->fault_weight[FAULT_KILL] = weight(r, 10, 300);
    p->fault_weight[FAULT_AMBUSH] = weight(r, 12, 300);
    p->fault_weight[FAULT_POWER] = weight(r, 8, 500);
    p->fault_weight[FAULT_BLACKOUT] = weight(r, 4, 600);
    p->fault_weight[FAULT_STOP] = weight(r, 4, 500);
    p->fault_weight[FAULT_SPLIT] = weight(r, 12, 300);
    p->fault_weight[FAULT_ISOLATE] = weight(r, 10, 300);
    p->fault_weight[FAULT_ONE_WAY] = weight(r, 6, 500);
    p->fault_weight[FAULT_SLOW_NODE] = weight(r, 4, 500);
    p->fault_weight[FAULT_SLOW_DISK] = weight(r, 4, 500);
    p->fault_weight[FAULT_BAD_DISK] = weight(r, 2, 700);
    p->fault_weight[FAULT_LOSSY] = weight(r, 4, 500);
    p->fault_weight[FAULT_WALL_JUMP] = weight(r, 3, 500);
    p->fault_weight[FAULT_FULL_DISK] = weight(r, 3, 600);
    p->ends_in_kill = sim_random_chance(r, 300);
    p->fault_every_us = sim_random_range(r, 1, 8) * SIM_SECOND;
    p->fault_lasts_us = sim_random_range(r, 1, 12) * SIM_SECOND;
    if (sim_random_chance(r, 60))
        for (int i = 0; i < FAULT_KINDS; i++)
            p->fault_weight[i] = 0; /* a calm seed */
}

static void plan_quorums(struct sim_plan *p, struct sim_random *r)
{
    static const uint8_t choices[][3] = {{3, 2, 2}, {3, 2, 2}, {3, 2, 2}, {3, 1, 3}, {3, 3, 1},
                                         {3, 1, 1}, {3, 2, 1}, {3, 3, 3}, {3, 1, 2}, {2, 1, 2},
                                         {2, 1, 1}, {2, 2, 2}, {1, 1, 1}, {1, 1, 1}};
    p->nodes = (uint32_t)sim_random_range(r, 3, 6);
    p->q = 1u << sim_random_range(r, 2, 4);
    const uint8_t *c = choices[sim_random_below(r, sizeof(choices) / sizeof(choices[0]))];
    p->n = c[0];
    p->r = c[1];
    p->w = c[2];
    static const uint32_t strictness[] = {0, 0, 300, 700, 1000};
    p->strict_permille = strictness[sim_random_below(r, 5)];
    p->vary_permille = sim_random_chance(r, 400) ? (uint32_t)sim_random_range(r, 100, 1000) : 0;
    p->durability_weight[DURABILITY_BUFFERED] = weight(r, 3, 300);
    p->durability_weight[DURABILITY_ONE] = weight(r, 1, 500);
    p->durability_weight[DURABILITY_QUORUM] = weight(r, 4, 200) + 1;
}

static void plan_net(struct sim_plan *p, struct sim_random *r)
{
    p->net.delay_min_us = 100;
    p->net.delay_max_us = sim_random_range(r, 1, 20) * 1000;
    p->net.tail_permille = sim_random_chance(r, 500) ? 0 : (uint32_t)sim_random_range(r, 1, 60);
    p->net.tail_us = sim_random_range(r, 50, 4000) * 1000;
    p->net.loss_permille = sim_random_chance(r, 500) ? 0 : (uint32_t)sim_random_range(r, 1, 60);
    p->net.dup_permille = sim_random_chance(r, 500) ? 0 : (uint32_t)sim_random_range(r, 1, 60);
    p->net.reset_permille = sim_random_chance(r, 600) ? 0 : (uint32_t)sim_random_range(r, 1, 30);
}

/* Many files in one directory, read in short pages by quorums that must meet, while replicas miss a
 * message here and there: what a merged page leaves out shows only here (E21). */
static void plan_listing(struct sim_plan *p, struct sim_random *r)
{
    p->n = 3;
    p->r = p->w = 2;
    p->strict_permille = 1000;
    p->vary_permille = p->same_value_permille = p->mount_permille = p->retry_permille = 0;
    p->files = 60;
    p->dirs = 1;
    p->ops = 500;
    p->users = 5;
    p->page = 3;
    p->library_permille = 0;
    p->think_us = sim_random_range(r, 2, 20) * 1000;
    for (int k = 0; k < OP_KINDS; k++)
        p->op_weight[k] = 0;
    p->op_weight[OP_GET] = 20;
    p->op_weight[OP_BLIND] = 20;
    p->op_weight[OP_DELETE] = 30;
    p->op_weight[OP_LIST] = 40;
    for (int k = 0; k < FAULT_KINDS; k++)
        p->fault_weight[k] = 0;
    p->deaf_permille = (uint32_t)sim_random_range(r, 400, 900);
    p->net.loss_permille = p->net.reset_permille = p->net.tail_permille = p->net.dup_permille = 0;
    p->replica_timeout_us = 3 * SIM_SECOND;
}

/* In a stream of its own, so that other seeds stay as they are. */
static void plan_changes(struct sim_plan *p, uint64_t seed, bool always)
{
    struct sim_random r;
    sim_random_init(&r, seed, "changes", 0);
    if (always && p->nodes < 4)
        p->nodes = 4;
    p->members = p->nodes;
    if (!sim_random_chance(&r, 250) && !always)
        return;
    if (p->nodes > 3 && p->nodes > p->n && sim_random_chance(&r, 700))
        p->members--;
    p->fault_weight[FAULT_CHANGE] = (uint32_t)sim_random_range(&r, 5, 40);
    bool intense = sim_random_chance(&r, 400);
    if (p->nodes > 3 && (intense || always)) { /* one change after the other, among quorums
                                                         that must meet */
        p->n = 3;
        p->r = p->w = 2;
        p->members = p->nodes - (p->nodes > 4);
        p->strict_permille = 1000;
        p->vary_permille = 0;
        p->fault_weight[FAULT_CHANGE] = 200;
        p->fault_every_us = SIM_SECOND;
        if (p->nodes > 4 && sim_random_chance(&r, 500)) {
            /* What W synced outlives one disk; what was weaker need not. */
            p->fault_weight[FAULT_LOST] = 50;
            p->durability_weight[DURABILITY_BUFFERED] = p->durability_weight[DURABILITY_ONE] = 0;
            p->durability_weight[DURABILITY_QUORUM] = 1;
        }
    }
    if (p->fault_every_us == 0)
        p->fault_every_us = 2 * SIM_SECOND;
}

/* One change after the other, while who should give cannot read all that it has. All N have each
 * write and one copy answers a read, so what a new owner was not given shows at once (E10). There
 * are no other faults, for each would keep W = N from being met. */
static void plan_sources(struct sim_plan *p, uint64_t seed)
{
    struct sim_random r;
    sim_random_init(&r, seed, "sources", 0);
    p->nodes = (uint32_t)sim_random_range(&r, 5, 6);
    p->members = p->nodes - 1;
    p->n = p->w = 3;
    p->r = 1;
    p->strict_permille = 1000;
    p->vary_permille = 0;
    p->files = (uint32_t)sim_random_range(&r, 20, 60);
    p->ops = 300;
    p->think_us = sim_random_range(&r, 50, 300) * 1000;
    p->exchange_us = sim_random_range(&r, 30, 60) * SIM_SECOND; /* which brings all of it home */
    for (int k = 0; k < OP_KINDS; k++)
        p->op_weight[k] = 0;
    p->op_weight[OP_GET] = 60;
    p->op_weight[OP_BLIND] = 20;
    p->op_weight[OP_PUT] = 20;
    for (int k = 0; k < FAULT_KINDS; k++)
        p->fault_weight[k] = 0;
    p->fault_weight[FAULT_CHANGE] = 20;
    p->fault_weight[FAULT_BAD_ROWS] = 20;
    p->fault_every_us = SIM_SECOND;
    p->fault_lasts_us = sim_random_range(&r, 4, 15) * SIM_SECOND;
    p->net.loss_permille = p->net.tail_permille = p->net.reset_permille = 0;
}

/* One change after the other, under many writes, while one owner misses them and another is slow:
 * what is stored by owners of before is missed by those who read the owners of now (E10). */
static void plan_fences(struct sim_plan *p, uint64_t seed)
{
    struct sim_random r;
    sim_random_init(&r, seed, "fences", 0);
    p->files = (uint32_t)sim_random_range(&r, 20, 60);
    p->ops = 400;
    p->users = 5;
    p->think_us = sim_random_range(&r, 5, 60) * 1000;
    p->exchange_us = 60 * SIM_SECOND;
    for (int k = 0; k < OP_KINDS; k++)
        p->op_weight[k] = 0;
    p->op_weight[OP_GET] = 50;
    p->op_weight[OP_BLIND] = 25;
    p->op_weight[OP_PUT] = 25;
    for (int k = 0; k < FAULT_KINDS; k++)
        p->fault_weight[k] = 0;
    p->fault_weight[FAULT_CHANGE] = 40;
    p->fault_weight[FAULT_SLOW_NODE] = 40;
    p->deaf_permille = (uint32_t)sim_random_range(&r, 300, 800);
    p->replica_timeout_us = 3 * SIM_SECOND;
    p->net.loss_permille = p->net.reset_permille = 0;
    p->fault_every_us = SIM_SECOND / 2;
    p->fault_lasts_us = sim_random_range(&r, 1, 6) * SIM_SECOND;
}

/* In a stream of its own as well: directories of a few files are split already (E26). */
static void plan_fragments(struct sim_plan *p, uint64_t seed)
{
    struct sim_random r;
    sim_random_init(&r, seed, "fragments", 0);
    if (!sim_random_chance(&r, 250))
        return;
    p->fragment_entries = (uint32_t)sim_random_range(&r, 1, 4);
    if (p->nodes <= p->n)
        p->nodes = p->n + 1;
    if (p->members <= p->n)
        p->members = p->nodes;
    if (p->files < 12)
        p->files = (uint32_t)sim_random_range(&r, 6, 16);
    p->dirs = 1;
    p->op_weight[OP_RMDIR] *= 3;
}

/* In a stream of its own, too. Waits are short, so that most deletes are reaped while the users are
 * still at it. */
static void plan_reaping(struct sim_plan *p, uint64_t seed, bool always)
{
    struct sim_random r;
    sim_random_init(&r, seed, "reaping", 0);
    if (!sim_random_chance(&r, 700) && !always)
        return;
    p->reap_us = sim_random_range(&r, 100, 2000) * 1000;
    p->reap_after_ms = sim_random_chance(&r, 500) ? 0 : sim_random_range(&r, 1, 3000);
    p->message_life_us = sim_random_range(&r, 1000, 6000) * 1000;
    p->retired_us = sim_random_range(&r, 1000, 20000) * 1000;
}

/* So little else is written that what a node has in its page cache stays there, unsynced, until its
 * delete has been reaped and the power goes (E11). */
static void plan_quiet_deletes(struct sim_plan *p, struct sim_random *r)
{
    p->users = 2;
    p->ops = 120;
    p->think_us = sim_random_range(r, 2000, 5000) * 1000;
    p->away_permille = p->strict_permille = 1000;
    p->retry_permille = p->library_permille = 0;
    p->durability_weight[DURABILITY_BUFFERED] = p->durability_weight[DURABILITY_QUORUM] = 0;
    p->net.tail_permille = p->net.loss_permille = p->net.reset_permille = 0;
    p->fault_weight[FAULT_ISOLATE] = 0;
    p->fault_every_us = sim_random_range(r, 2, 4) * SIM_SECOND;
    p->fault_lasts_us = SIM_SECOND / 2;
    p->reap_us = 200000;
    p->reap_after_ms = 0;
    p->message_life_us = sim_random_range(r, 500, 1000) * 1000;
}

/* A few files that are made and deleted again and again, while messages are late, nodes lose power,
 * and what was acknowledged is on one disk only. */
static void plan_deletes(struct sim_plan *p, struct sim_random *r)
{
    p->n = 3;
    p->r = p->w = 2;
    p->files = (uint32_t)sim_random_range(r, 2, 6);
    p->dirs = 1;
    p->ops = 240;
    p->think_us = sim_random_range(r, 300, 2500) * 1000;
    p->strict_permille = sim_random_chance(r, 500) ? 1000 : 300;
    p->vary_permille = p->same_value_permille = p->mount_permille = 0;
    for (int k = 0; k < OP_KINDS; k++)
        p->op_weight[k] = 0;
    p->op_weight[OP_GET] = 20;
    p->op_weight[OP_CREATE] = 30;
    p->op_weight[OP_PUT] = 10;
    p->op_weight[OP_DELETE] = 30;
    p->op_weight[OP_MKDIR] = 5;
    p->op_weight[OP_RMDIR] = 5;
    p->durability_weight[DURABILITY_BUFFERED] = 1;
    p->durability_weight[DURABILITY_ONE] = 6;
    p->durability_weight[DURABILITY_QUORUM] = 1;
    p->net.tail_permille = (uint32_t)sim_random_range(r, 20, 120);
    p->net.tail_us = sim_random_range(r, 500, 6000) * 1000;
    p->net.dup_permille = (uint32_t)sim_random_range(r, 20, 120);
    for (int k = 0; k < FAULT_KINDS; k++)
        p->fault_weight[k] = 0;
    p->fault_weight[FAULT_POWER] = 20;
    p->fault_weight[FAULT_ISOLATE] = 10;
    p->fault_every_us = sim_random_range(r, 3, 12) * SIM_SECOND;
    p->fault_lasts_us = sim_random_range(r, 1, 5) * SIM_SECOND;
    if (sim_random_chance(r, 500))
        plan_quiet_deletes(p, r);
}

/* In a stream of its own. A kill is then what a loss of power is, and there are more kills. */
static void plan_buffer(struct sim_plan *p, uint64_t seed)
{
    struct sim_random r;
    sim_random_init(&r, seed, "buffer", 0);
    p->object_buffer = sim_random_chance(&r, 250);
}

static void plan_truncation(struct sim_plan *p, struct sim_random *r)
{
    p->clock_pairs = (uint32_t)sim_random_range(r, 1, 4);
    p->clock_age_ms = sim_random_chance(r, 300) ? 0 : sim_random_range(r, 1, 8000);
}

/* In one seed of four. */
static void plan_appends(struct sim_plan *p, uint64_t seed)
{
    struct sim_random r;
    sim_random_init(&r, seed, "plan of appends", 0);
    if (sim_random_chance(&r, 250))
        p->append_permille = (uint32_t)sim_random_range(&r, 200, 900);
}

/* In a stream of its own: directories get another N again and again, while all else goes on. Not
 * where disks are lost or not read, for that is what a smaller N does not outlive. */
static void plan_thin(struct sim_plan *p, uint64_t seed, bool always)
{
    struct sim_random r;
    sim_random_init(&r, seed, "thin", 0);
    if ((!sim_random_chance(&r, 250) && !always) || p->n < 2 || p->fault_weight[FAULT_LOST] > 0 ||
        p->fault_weight[FAULT_BAD_ROWS] > 0 || p->fault_every_us == 0)
        return;
    uint32_t others = 0;
    for (int k = 0; k < FAULT_KINDS; k++)
        others += p->fault_weight[k];
    p->fault_weight[FAULT_N] = others / 4 + 10;
    p->thin_us = sim_random_range(&r, 100, 3000) * 1000;
}

void sim_plan_make(struct sim_plan *p, uint64_t seed, enum sim_leaning leaning)
{
    struct sim_random r;
    bool any = leaning == LEANING_ANY;
    *p = (struct sim_plan){0};
    sim_random_init(&r, seed, "plan", 0);
    plan_quorums(p, &r);
    plan_ops(p, &r);
    plan_faults(p, &r);
    plan_net(p, &r);
    p->users = (uint32_t)sim_random_range(&r, 2, 5);
    p->ops = (uint32_t)sim_random_range(&r, 60, 180);
    p->files = (uint32_t)sim_random_range(&r, 1, 6);
    p->dirs = (uint32_t)sim_random_range(&r, 1, 4);
    p->page = 6;
    p->think_us = sim_random_range(&r, 50, 1500) * 1000;
    p->disk_us = sim_random_chance(&r, 300) ? 0 : sim_random_range(&r, 10, 5000);
    p->owed_delay_us = sim_random_range(&r, 1, 10) * SIM_SECOND;
    p->exchange_us = sim_random_range(&r, 3, 60) * SIM_SECOND;
    p->scrub_us = sim_random_range(&r, 10, 60) * SIM_SECOND;
    p->replica_timeout_us = sim_random_range(&r, 100, 700) * 1000;
    uint64_t draw = sim_random_below(&r, 1000);
    if (leaning == LEANING_ANY)
        leaning = draw < 200   ? LEANING_TRUNCATION
                  : draw < 280 ? LEANING_LISTING
                  : draw < 380 ? LEANING_REAP
                  : draw < 420 ? LEANING_SOURCES
                               : LEANING_NONE;
    if (leaning == LEANING_TRUNCATION)
        plan_truncation(p, &r);
    else if (leaning == LEANING_LISTING)
        plan_listing(p, &r);
    if (any || leaning == LEANING_REAP) /* else what is to be seen would be forgotten at times */
        plan_reaping(p, seed, leaning == LEANING_REAP);
    if (leaning == LEANING_REAP)
        plan_deletes(p, &r);
    plan_changes(p, seed, leaning == LEANING_CHANGES || leaning == LEANING_FENCES);
    if (leaning == LEANING_SOURCES)
        plan_sources(p, seed);
    if (leaning == LEANING_FENCES)
        plan_fences(p, seed);
    plan_fragments(p, seed);
    if (any) {
        plan_buffer(p, seed);
        plan_appends(p, seed);
    }
    if (any || leaning == LEANING_THIN)
        plan_thin(p, seed, leaning == LEANING_THIN);
}
