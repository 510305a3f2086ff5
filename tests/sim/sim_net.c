/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_net.h. Each request is an `ask`: who wants an answer, in which life, and whether he has
 * had one. An origin, as the receiver knows it, is an ask and which copy of it arrived. */
#include "sim_net.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"

struct ask {
    uint64_t rid;
    uint32_t from, from_life, to;
    bool answered;
};

#define SIM_SEEDS_MAX 16 /* node ids up to this are names that a client gives to addresses */

enum message_kind { MESSAGE_REQUEST, MESSAGE_REPLY, MESSAGE_FAILED };

struct message {
    struct list link;
    struct timer timer;
    struct sim_net *net;
    enum message_kind kind;
    uint32_t from, to;
    uint64_t origin; /* its ask is origin / 2 */
    uint8_t type;
    int err;
    struct buf body;
};

struct endpoint {
    struct sim_net *net;
    uint32_t index, life;
    uint64_t node;
    bool up, refuses;
    uint64_t slow_us;
    struct net_events events;
    uint32_t seeds[SIM_SEEDS_MAX]; /* a client's seeds by pseudo id - 1: endpoint + 1, or 0 */
};

struct sim_net {
    struct sim_world *world;
    struct sim_random random;
    struct sim_net_config cfg;
    struct endpoint endpoints[SIM_ENDPOINTS_MAX];
    bool cut[SIM_ENDPOINTS_MAX][SIM_ENDPOINTS_MAX];
    struct ask *asks;
    size_t n_asks, cap_asks;
    struct list flying, held;
    sim_net_judge judge;
    void *judge_arg;
    uint64_t sent[256];
    struct timer trip;
    uint32_t trip_endpoint, trip_left;
    uint8_t trip_type;
    void (*trip_ring)(void *arg);
    void *trip_arg;
};

static void trip_fire(struct timer *t, void *arg)
{
    (void)t;
    struct sim_net *n = arg;
    n->trip_ring(n->trip_arg);
}

void sim_net_tripwire(struct sim_net *n, uint32_t endpoint, uint8_t type, uint32_t countdown,
                      void (*ring)(void *arg), void *arg)
{
    timer_cancel(&n->world->timers, &n->trip);
    n->trip_endpoint = endpoint;
    n->trip_type = type;
    n->trip_left = countdown;
    n->trip_ring = ring;
    n->trip_arg = arg;
}

static void step_on_wire(struct sim_net *n, uint32_t from, uint8_t type)
{
    if (n->trip_left == 0 || from != n->trip_endpoint || type != n->trip_type || --n->trip_left > 0)
        return;
    timer_set(&n->world->timers, &n->trip, n->world->now_us + sim_random_below(&n->random, 500));
}

struct sim_net *sim_net_new(struct sim_world *w)
{
    struct sim_net *n = mem_new(struct sim_net);
    n->world = w;
    sim_random_init(&n->random, w->seed, "net", 0);
    n->cfg = (struct sim_net_config){.delay_min_us = 200, .delay_max_us = 1000};
    list_init(&n->flying);
    list_init(&n->held);
    timer_init(&n->trip, trip_fire, n);
    for (uint32_t i = 0; i < SIM_ENDPOINTS_MAX; i++) {
        n->endpoints[i].net = n;
        n->endpoints[i].index = i;
    }
    return n;
}

static void message_free(struct message *m)
{
    timer_cancel(&m->net->world->timers, &m->timer);
    list_remove(&m->link);
    buf_release(&m->body);
    free(m);
}

void sim_net_free(struct sim_net *n)
{
    if (n == NULL)
        return;
    timer_cancel(&n->world->timers, &n->trip);
    list_for_each_safe(it, tmp, &n->flying) message_free(container_of(it, struct message, link));
    list_for_each_safe(it, tmp, &n->held) message_free(container_of(it, struct message, link));
    free(n->asks);
    free(n);
}

void sim_net_configure(struct sim_net *n, const struct sim_net_config *cfg)
{
    n->cfg = *cfg;
}

void sim_net_attach(struct sim_net *n, uint32_t endpoint, uint64_t node,
                    const struct net_events *events)
{
    assert(endpoint < SIM_ENDPOINTS_MAX);
    struct endpoint *e = &n->endpoints[endpoint];
    assert(!e->up);
    e->node = node;
    e->up = true;
    e->life++;
    e->events = *events;
}

void sim_net_detach(struct sim_net *n, uint32_t endpoint, bool refused)
{
    n->endpoints[endpoint].up = false;
    n->endpoints[endpoint].refuses = refused;
    uint64_t lost_permille = sim_random_chance(&n->random, 400) ? 1000 : 500;
    list_for_each_safe(it, tmp, &n->flying)
    {
        struct message *m = container_of(it, struct message, link);
        if (m->from == endpoint && m->kind != MESSAGE_FAILED &&
            sim_random_chance(&n->random, lost_permille))
            message_free(m);
    }
}

void sim_net_cut(struct sim_net *n, uint32_t from, uint32_t to, bool cut)
{
    assert(from < SIM_ENDPOINTS_MAX && to < SIM_ENDPOINTS_MAX);
    n->cut[from][to] = cut && from != to;
}

void sim_net_heal(struct sim_net *n)
{
    memset(n->cut, 0, sizeof(n->cut));
}

bool sim_net_reaches(const struct sim_net *n, uint32_t from, uint32_t to)
{
    return !n->cut[from][to];
}

void sim_net_slow(struct sim_net *n, uint32_t endpoint, uint64_t extra_us)
{
    n->endpoints[endpoint].slow_us = extra_us;
}

void sim_net_set_judge(struct sim_net *n, sim_net_judge judge, void *arg)
{
    n->judge = judge;
    n->judge_arg = arg;
}

uint64_t sim_net_sent(const struct sim_net *n, uint8_t type)
{
    return n->sent[type];
}

static struct ask *ask_of(struct sim_net *n, uint64_t origin)
{
    return origin / 2 >= 1 && origin / 2 <= n->n_asks ? &n->asks[origin / 2 - 1] : NULL;
}

/* The asker, if it still lives and still waits. */
static struct endpoint *asker(struct sim_net *n, const struct ask *a)
{
    struct endpoint *e = &n->endpoints[a->from];
    return e->up && e->life == a->from_life && !a->answered ? e : NULL;
}

static uint64_t delay(struct sim_net *n, uint32_t from, uint32_t to)
{
    uint64_t d = sim_random_range(&n->random, n->cfg.delay_min_us, n->cfg.delay_max_us);
    if (sim_random_chance(&n->random, n->cfg.tail_permille))
        d += sim_random_below(&n->random, n->cfg.tail_us + 1);
    return d + n->endpoints[from].slow_us + n->endpoints[to].slow_us;
}

static void fly(struct sim_net *n, struct message *m, uint64_t after_us)
{
    list_remove(&m->link);
    list_append(&n->flying, &m->link);
    timer_set(&n->world->timers, &m->timer, n->world->now_us + after_us);
}

static void arrive(struct timer *t, void *arg);

static struct message *message_new(struct sim_net *n, enum message_kind kind, uint32_t from,
                                   uint32_t to, uint64_t origin, uint8_t type)
{
    struct message *m = mem_new(struct message);
    m->net = n;
    m->kind = kind;
    m->from = from;
    m->to = to;
    m->origin = origin;
    m->type = type;
    list_init(&m->link);
    timer_init(&m->timer, arrive, m);
    return m;
}

static void send_failed(struct sim_net *n, uint64_t origin, uint64_t after_us)
{
    const struct ask *a = ask_of(n, origin);
    struct message *m = message_new(n, MESSAGE_FAILED, a->to, a->from, origin, 0);
    m->err = DYN_ERR_UNREACHABLE;
    fly(n, m, after_us);
}

static const char *kind_names[] = {"request", "reply", "failed"};

static void log_message(const struct message *m, const char *what)
{
    if (m->net->world->log != NULL)
        sim_log(m->net->world, "net   %s %u>%u %s type %u, ask %llu.%llu, %zu bytes", what, m->from,
                m->to, kind_names[m->kind], m->type, (unsigned long long)(m->origin / 2),
                (unsigned long long)(m->origin % 2), m->body.len);
}

static void arrive_request(struct sim_net *n, struct message *m)
{
    struct endpoint *e = &n->endpoints[m->to];
    if (!e->up) {
        log_message(m, e->refuses ? "refused" : "into silence");
        if (e->refuses && m->origin % 2 == 0)
            send_failed(n, m->origin, delay(n, m->to, m->from));
        return;
    }
    log_message(m, "arrived");
    e->events.receive_request(e->events.ctx, m->origin, n->endpoints[m->from].node,
                              ask_of(n, m->origin)->rid, m->type, buf_slice(&m->body));
}

static void arrive_answer(struct sim_net *n, struct message *m)
{
    struct ask *a = ask_of(n, m->origin);
    struct endpoint *e = asker(n, a);
    log_message(m, e != NULL ? "arrived" : "nobody waits");
    if (e == NULL)
        return;
    a->answered = true;
    if (m->kind == MESSAGE_REPLY)
        e->events.receive_reply(e->events.ctx, a->rid, m->type, buf_slice(&m->body));
    else
        e->events.failed(e->events.ctx, a->rid, m->err);
}

static void arrive(struct timer *t, void *arg)
{
    (void)t;
    struct message *m = arg;
    struct sim_net *n = m->net;
    sim_event(n->world, "arrive", m->from, m->to, m->type, buf_slice(&m->body));
    /* A "failed" is what the asker's own kernel says: it needs no link. */
    if (m->kind != MESSAGE_FAILED && n->cut[m->from][m->to])
        log_message(m, "cut off");
    else if (m->kind == MESSAGE_REQUEST)
        arrive_request(n, m);
    else
        arrive_answer(n, m);
    message_free(m);
}

static enum sim_fate judge(struct sim_net *n, const struct message *m)
{
    enum sim_fate fate = FATE_CHANCE;
    if (n->judge != NULL)
        fate = n->judge(n->judge_arg, m->from, m->to, m->type, buf_slice(&m->body));
    if (fate == FATE_CHANCE)
        fate = m->from != m->to && sim_random_chance(&n->random, n->cfg.loss_permille)
                   ? FATE_DROP
                   : FATE_DELIVER;
    return n->cut[m->from][m->to] ? FATE_DROP : fate;
}

static void send(struct sim_net *n, struct message *m)
{
    uint64_t d = delay(n, m->from, m->to);
    n->sent[m->type]++;
    step_on_wire(n, m->from, m->type);
    switch (judge(n, m)) {
    case FATE_DROP:
        log_message(m, "lost");
        message_free(m);
        return;
    case FATE_HOLD:
        log_message(m, "held");
        list_append(&n->held, &m->link);
        return;
    case FATE_CHANCE:
    case FATE_DELIVER:
        break;
    }
    if (m->kind == MESSAGE_REQUEST && m->from != m->to) {
        if (sim_random_chance(&n->random, n->cfg.reset_permille))
            send_failed(n, m->origin, delay(n, m->to, m->from));
        if (sim_random_chance(&n->random, n->cfg.dup_permille)) {
            struct message *copy = message_new(n, m->kind, m->from, m->to, m->origin + 1, m->type);
            buf_put_slice(&copy->body, buf_slice(&m->body));
            fly(n, copy, delay(n, m->from, m->to));
        }
    }
    fly(n, m, d);
}

uint32_t sim_net_release_held(struct sim_net *n)
{
    uint32_t count = 0;
    list_for_each_safe(it, tmp, &n->held)
    {
        struct message *m = container_of(it, struct message, link);
        fly(n, m, delay(n, m->from, m->to));
        count++;
    }
    return count;
}

static struct endpoint *find_node(struct endpoint *from, uint64_t node)
{
    struct sim_net *n = from->net;
    if (node == 0)
        return NULL;
    if (node <= SIM_SEEDS_MAX)
        return from->seeds[node - 1] != 0 ? &n->endpoints[from->seeds[node - 1] - 1] : NULL;
    for (uint32_t i = 0; i < SIM_ENDPOINTS_MAX; i++)
        if (n->endpoints[i].node == node)
            return &n->endpoints[i];
    return NULL;
}

static void port_request(void *ctx, uint64_t node, uint64_t rid, uint8_t type, struct buf *body)
{
    struct endpoint *from = ctx;
    struct sim_net *n = from->net;
    struct endpoint *to = find_node(from, node);
    if (n->n_asks == n->cap_asks) {
        n->cap_asks = n->cap_asks == 0 ? 256 : n->cap_asks * 2;
        n->asks = mem_reallocarray(n->asks, n->cap_asks, sizeof(*n->asks));
    }
    n->asks[n->n_asks++] =
        (struct ask){rid, from->index, from->life, to != NULL ? to->index : from->index, false};
    uint64_t origin = n->n_asks * 2;
    if (to == NULL) {
        buf_release(body);
        send_failed(n, origin, n->cfg.delay_min_us);
        return;
    }
    struct message *m = message_new(n, MESSAGE_REQUEST, from->index, to->index, origin, type);
    m->body = buf_take(body);
    send(n, m);
}

static void port_reply(void *ctx, uint64_t origin, uint64_t rid, uint8_t type, struct buf *body)
{
    struct endpoint *from = ctx;
    struct sim_net *n = from->net;
    struct ask *a = ask_of(n, origin);
    if (a == NULL || a->rid != rid || a->to != from->index) {
        sim_violation(n->world, "endpoint %u replied to request %llu of origin %llu, not its own",
                      from->index, (unsigned long long)rid, (unsigned long long)origin);
        buf_release(body);
        return;
    }
    struct message *m = message_new(n, MESSAGE_REPLY, from->index, a->from, origin, type);
    m->body = buf_take(body);
    send(n, m);
}

static void port_set_address(void *ctx, uint64_t node, const char *address)
{
    struct endpoint *from = ctx;
    const char *colon = address != NULL ? strrchr(address, ':') : NULL;
    if (node == 0 || node > SIM_SEEDS_MAX)
        return; /* real nodes are found by their id */
    unsigned long port = colon != NULL ? strtoul(colon + 1, NULL, 10) : 0;
    from->seeds[node - 1] = port >= SIM_PORT && port < SIM_PORT + SIM_ENDPOINTS_MAX
                                ? (uint32_t)(port - SIM_PORT) + 1
                                : 0;
}

struct net_port sim_net_port(struct sim_net *n, uint32_t endpoint)
{
    return (struct net_port){&n->endpoints[endpoint], port_request, port_reply, port_set_address};
}
