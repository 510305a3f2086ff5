/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_workload.h. This file has the users and what they choose; sim_user.c makes their
 * requests and judges the answers. */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sim_user.h"

/* Few directories, one inside another, so that implicit parents are common. */
static const char *const directories[] = {"d", "d/s", "e", "d/s/t"};

static void make_keys(struct sim_workload *w)
{
    for (uint32_t i = 0; i < w->plan.files; i++) {
        uint32_t at = i % (w->plan.dirs + 1);
        if (at > 0)
            buf_printf(&w->keys[w->n_keys], "%s/", directories[at - 1]);
        buf_printf(&w->keys[w->n_keys++], "f%u", i);
    }
    for (uint32_t i = 0; i < w->plan.dirs; i++)
        buf_put_str(&w->keys[w->n_keys++], directories[i]);
}

static bool is_file(const struct sim_workload *w, uint32_t key)
{
    return key < w->plan.files;
}

static bool wants_directory(enum op_kind kind)
{
    return kind == OP_MKDIR || kind == OP_RMDIR;
}

static enum op_kind draw_kind(struct user *u)
{
    const struct sim_plan *p = &u->workload->plan;
    uint32_t total = 0;
    for (uint32_t k = 0; k < OP_KINDS; k++)
        total += p->op_weight[k];
    uint64_t at = sim_random_below(&u->random, total);
    for (uint32_t k = 0; k < OP_KINDS; k++) {
        if (at < p->op_weight[k])
            return k;
        at -= p->op_weight[k];
    }
    return OP_GET;
}

static uint32_t draw_key(struct user *u, enum op_kind kind)
{
    const struct sim_plan *p = &u->workload->plan;
    if (wants_directory(kind))
        return p->files + (uint32_t)sim_random_below(&u->random, p->dirs);
    if (kind == OP_GET || kind == OP_LIST)
        return (uint32_t)sim_random_below(&u->random, u->workload->n_keys);
    return (uint32_t)sim_random_below(&u->random, p->files);
}

/* What cannot be done with what the user knows becomes a read, by which it knows more. */
static enum op_kind possible(const struct user *u, enum op_kind kind, uint32_t key)
{
    const struct memory *m = &u->memory[key];
    switch (kind) {
    case OP_PUT:
    case OP_FORGED:
        return m->known && m->token.len > 0 ? kind : OP_GET;
    case OP_DELETE:
    case OP_CHMOD:
    case OP_RMDIR:
        return m->known && m->token.len > 0 && object_live(&m->object) ? kind : OP_GET;
    case OP_DROP:
    case OP_REPLACE:
        return m->known && m->token.len > 0 && object_live_count(&m->object) > 1 ? kind : OP_GET;
    case OP_SYNC:
        return !dot_is_none(&m->written) ? kind : OP_GET;
    default:
        return kind;
    }
}

static void think(struct timer *t, void *arg)
{
    (void)t;
    struct user *u = arg;
    struct sim_workload *w = u->workload;
    if (w->ops_left == 0)
        return;
    w->ops_left--;
    w->busy++;
    enum op_kind kind = draw_kind(u);
    uint32_t key = draw_key(u, kind);
    /* An author who met a conflict settles it more often than chance would have it. */
    if (is_file(w, key) && u->memory[key].known && object_live_count(&u->memory[key].object) > 1 &&
        w->plan.op_weight[OP_DROP] > 0 && sim_random_chance(&u->random, 200))
        kind = OP_DROP;
    user_begin(u, possible(u, kind, key), key);
}

static void arm(struct user *u)
{
    struct sim_world *world = u->workload->cluster->world;
    timer_set(&world->timers, &u->think,
              world->now_us + 1 + sim_random_below(&u->random, 2 * u->workload->plan.think_us));
}

void user_idle(struct user *u)
{
    user_op_release(&u->op);
    u->workload->busy--;
    if (u->workload->ops_left > 0)
        arm(u);
}

struct sim_workload *sim_workload_new(struct sim_cluster *c, const struct sim_plan *plan,
                                      struct oracle *o)
{
    struct sim_workload *w = mem_new(struct sim_workload);
    w->cluster = c;
    w->plan = *plan;
    w->oracle = o;
    w->ops_left = plan->ops;
    assert(plan->files + plan->dirs <= USER_KEYS_MAX && plan->dirs <= 4 && plan->users <= 8);
    make_keys(w);
    w->users = mem_zalloc(plan->users * sizeof(*w->users));
    for (uint32_t i = 0; i < plan->users; i++) {
        struct user *u = &w->users[i];
        u->workload = w;
        u->index = i;
        sim_random_init(&u->random, c->world->seed, "user", i);
        sim_random_init(&u->appending, c->world->seed, "appending user", i);
        u->home = (uint32_t)sim_random_below(&u->random, c->cfg.nodes);
        sim_client_init(&u->client, c, SIM_NODES_MAX + 2 * i);
        timer_init(&u->think, think, u);
    }
    return w;
}

static void memory_release(struct memory *m)
{
    buf_release(&m->token);
    buf_release(&m->floor);
    buf_release(&m->value);
    object_release(&m->object);
    clock_release(&m->floor_clock);
}

void sim_workload_free(struct sim_workload *w)
{
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < w->plan.users; i++) {
        struct user *u = &w->users[i];
        timer_cancel(&w->cluster->world->timers, &u->think);
        sim_client_release(&u->client);
        user_op_release(&u->op);
        for (uint32_t k = 0; k < USER_KEYS_MAX; k++)
            memory_release(&u->memory[k]);
    }
    for (uint32_t k = 0; k < USER_KEYS_MAX; k++)
        buf_release(&w->keys[k]);
    free(w->users);
    free(w);
}

void sim_workload_start(struct sim_workload *w)
{
    for (uint32_t i = 0; i < w->plan.users; i++)
        arm(&w->users[i]);
}

bool sim_workload_last(const struct sim_workload *w)
{
    return w->ops_left == 0 && w->busy > 0;
}

bool sim_workload_over(const struct sim_workload *w)
{
    return w->ops_left == 0 && w->busy == 0;
}

void sim_workload_gone(struct sim_workload *w, const struct sim_node *node)
{
    for (uint32_t i = 0; i < w->plan.users; i++)
        sim_client_gone(&w->users[i].client, node);
}

uint32_t sim_workload_keys(const struct sim_workload *w)
{
    return w->n_keys;
}

struct slice sim_workload_key(const struct sim_workload *w, uint32_t i)
{
    return buf_slice(&w->keys[i]);
}

uint32_t sim_workload_acked(const struct sim_workload *w)
{
    return w->acked;
}

uint32_t sim_workload_reads(const struct sim_workload *w)
{
    return w->reads;
}
