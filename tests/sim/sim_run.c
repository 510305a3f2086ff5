/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_run.h. */
#include "sim_run.h"

#include "sim_converge.h"
#include "sim_faults.h"
#include "sim_workload.h"

#define SAFETY_US (600 * (uint64_t)SIM_SECOND) /* users are done long before */
#define EVENTS_MAX 5000000u                    /* more is a loop that makes no headway */

struct run {
    struct sim_world world;
    struct sim_plan plan;
    struct sim_cluster *cluster;
    struct sim_workload *workload;
    struct sim_faults *faults;
    struct oracle *oracle;
    struct sim_client judge;
};

static void gone(void *arg, struct sim_node *node)
{
    struct run *run = arg;
    /* Its disk failed: what was on its way there is lost. Or what it had in its memory is. */
    if (!node->drained && (node->exiting || run->plan.object_buffer))
        oracle_power_lost(run->oracle);
    sim_workload_gone(run->workload, node);
    sim_client_gone(&run->judge, node);
}

static void power_lost(void *arg)
{
    oracle_power_lost(((struct run *)arg)->oracle);
}

static void log_plan(struct run *run)
{
    const struct sim_plan *p = &run->plan;
    if (p->reap_us != 0)
        sim_log(&run->world,
                "deletes are reaped each %llu ms, after %llu ms; messages live %llu ms",
                (unsigned long long)p->reap_us / 1000, (unsigned long long)p->reap_after_ms,
                (unsigned long long)p->message_life_us / 1000);
    sim_log(&run->world, "seed %llu: %u nodes, q %u, N,R,W = %u,%u,%u, strict %u, vary %u",
            (unsigned long long)run->world.seed, p->nodes, p->q, p->n, p->r, p->w,
            p->strict_permille, p->vary_permille);
    sim_log(&run->world, "durability weights %u %u %u, %u users, %u ops, %u files, %u dirs",
            p->durability_weight[1], p->durability_weight[2], p->durability_weight[3], p->users,
            p->ops, p->files, p->dirs);
    if (p->thin_us != 0)
        sim_log(&run->world, "directories have an N of their own, looked at each %llu ms",
                (unsigned long long)p->thin_us / 1000);
    if (p->object_buffer)
        sim_log(&run->world, "nodes acknowledge from an object buffer");
    if (p->clock_pairs != 0)
        sim_log(&run->world, "clocks over %u are cut after %llu ms", p->clock_pairs,
                (unsigned long long)p->clock_age_ms);
}

static enum sim_leaning leaning_for(enum engine_bug bug)
{
    switch (bug) {
    case BUG_NONE:
        return LEANING_ANY;
    case BUG_OWN_PAIR:
        return LEANING_TRUNCATION;
    case BUG_PAGE_CUT:
        return LEANING_LISTING;
    case BUG_EARLY_FILL:
        return LEANING_CHANGES;
    case BUG_UNFENCED_MOVE:
        return LEANING_FENCES;
    case BUG_UNCONFIRMED_MOVE:
        return LEANING_SOURCES;
    case BUG_UNASKED_THIN:
        return LEANING_THIN;
    case BUG_EARLY_REAP:
    case BUG_UNSYNCED_VOTE:
        return LEANING_REAP;
    default:
        return LEANING_NONE;
    }
}

static void begin(struct run *run, uint64_t seed, enum engine_bug bug, FILE *log)
{
    sim_world_init(&run->world, seed, log);
    sim_plan_make(&run->plan, seed, leaning_for(bug));
    log_plan(run);
    struct sim_cluster_config cfg = {.nodes = run->plan.nodes,
                                     .members = run->plan.members,
                                     .q = run->plan.q,
                                     .n = run->plan.n,
                                     .r = run->plan.r,
                                     .w = run->plan.w,
                                     .object_buffer = run->plan.object_buffer};
    engine_config_defaults(&cfg.engine);
    cfg.engine.owed_delay_us = run->plan.owed_delay_us;
    cfg.engine.exchange_us = run->plan.exchange_us;
    cfg.engine.fragment_entries = run->plan.fragment_entries;
    cfg.engine.fragment_rate = 0; /* virtual time is quick */
    /* a scrub would make that bug good */
    cfg.engine.scrub_us = bug == BUG_NO_ENTRY_OWED ? 0 : run->plan.scrub_us;
    cfg.engine.replica_timeout_us = run->plan.replica_timeout_us;
    cfg.engine.reap_us = run->plan.reap_us;
    if (run->plan.thin_us != 0)
        cfg.engine.thin_us = run->plan.thin_us;
    if (run->plan.reap_us != 0) {
        cfg.engine.reap_after_ms = run->plan.reap_after_ms;
        cfg.engine.message_life_us = run->plan.message_life_us;
        cfg.engine.retired_us = run->plan.retired_us;
    }
    if (run->plan.clock_pairs != 0) {
        cfg.engine.clock_pairs = run->plan.clock_pairs;
        cfg.engine.clock_age_ms = run->plan.clock_age_ms;
    }
    cfg.engine.bug = bug;
    run->cluster = sim_cluster_new(&run->world, &cfg);
    run->oracle = oracle_new(&run->world);
    if (run->plan.clock_pairs != 0)
        oracle_allow_false_conflicts(run->oracle);
    if (run->plan.reap_us != 0)
        oracle_expect_reaping(run->oracle);
    run->workload = sim_workload_new(run->cluster, &run->plan, run->oracle);
    run->faults = sim_faults_new(run->cluster, &run->plan, power_lost, run);
    sim_client_init(&run->judge, run->cluster, SIM_ENDPOINTS_MAX - 2);
    run->cluster->gone = gone;
    run->cluster->gone_arg = run;
    for (uint32_t i = 0; i < run->plan.nodes; i++)
        sim_node_start(&run->cluster->nodes[i]);
    sim_cluster_run(run->cluster, SIM_SECOND / 10);
    sim_net_configure(run->cluster->net, &run->plan.net);
    for (uint32_t i = 0; i < run->plan.nodes; i++)
        sim_disk_pace(run->cluster->nodes[i].disk, run->plan.disk_us);
}

static void end(struct run *run)
{
    run->cluster->gone = NULL;
    sim_faults_free(run->faults);
    sim_workload_free(run->workload);
    sim_client_release(&run->judge);
    sim_cluster_free(run->cluster);
    oracle_free(run->oracle);
    sim_world_release(&run->world);
}

static void safety(struct run *run)
{
    struct sim_world *w = &run->world;
    uint64_t until = w->now_us + SAFETY_US;
    sim_workload_start(run->workload);
    sim_faults_start(run->faults);
    bool kill = run->plan.ends_in_kill;
    while (!sim_workload_over(run->workload) && w->events < EVENTS_MAX &&
           sim_cluster_step(run->cluster, until)) {
        for (uint32_t i = 0; kill && sim_workload_last(run->workload) && i < run->plan.nodes; i++)
            sim_node_crash(&run->cluster->nodes[i], CRASH_KILL);
        kill &= !sim_workload_last(run->workload);
    }
    if (!sim_workload_over(run->workload))
        sim_violation(w, "clients still wait after %llu events", (unsigned long long)w->events);
}

void sim_run(uint64_t seed, enum engine_bug bug, FILE *log, struct sim_result *out)
{
    struct run run = {0};
    begin(&run, seed, bug, log);
    safety(&run);
    sim_log(&run.world, "----- faults end");
    sim_faults_heal(run.faults);
    if (run.world.violations == 0)
        sim_converge(run.cluster, &run.judge, run.oracle, run.plan.n);
    *out = (struct sim_result){.seed = seed,
                               .trace_hash = run.world.trace_hash,
                               .events = run.world.events,
                               .simulated_us = run.world.now_us,
                               .violations = run.world.violations,
                               .acked = sim_workload_acked(run.workload),
                               .reads = sim_workload_reads(run.workload),
                               .reaped = sim_cluster_reaped(run.cluster)};
    for (uint32_t i = 0; i < run.world.violations && i < SIM_VIOLATIONS_KEPT; i++) {
        sim_log(&run.world, "violation: %s", run.world.texts[i]);
        if (i == 0)
            snprintf(out->text, sizeof(out->text), "%s", run.world.texts[i]);
    }
    end(&run);
}
