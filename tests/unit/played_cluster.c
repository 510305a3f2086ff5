/* SPDX-License-Identifier: Apache-2.0 */
/* See played_cluster.h. Frames travel one by one in order, each taking a tenth of a millisecond. */
#include "played_cluster.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/plan.h"

#define HOP_US 100
#define CLUSTER 0xc1u

struct played_frame {
    struct played_frame *next;
    uint64_t at_us, from, to, rid;
    uint32_t from_life, to_life;
    uint8_t type;
    bool reply, failure;
    struct buf body;
};

struct port { /* ctx of one node's ports */
    struct played_cluster *c;
    uint32_t index;
};

static struct port ports[PLAYED_NODES_MAX];

static void frame_free(struct played_frame *f)
{
    buf_release(&f->body);
    free(f);
}

static void enqueue(struct played_cluster *c, struct played_frame *f)
{
    if (c->nodes[f->from - 1].mute) {
        frame_free(f);
        return;
    }
    f->at_us = c->now_us + HOP_US;
    *c->last = f;
    c->last = &f->next;
}

static struct played_frame *frame_new(struct port *p, uint64_t to, uint64_t rid, uint8_t type,
                                      struct buf *body)
{
    struct played_frame *f = mem_new(struct played_frame);
    f->from = p->index + 1;
    f->to = to;
    f->rid = rid;
    f->type = type;
    f->body = buf_take(body);
    f->from_life = p->c->nodes[p->index].life;
    f->to_life = p->c->nodes[to - 1].life;
    return f;
}

static void net_request(void *ctx, uint64_t node, uint64_t rid, uint8_t type, struct buf *body)
{
    struct port *p = ctx;
    enqueue(p->c, frame_new(p, node, rid, type, body));
}

static void net_reply(void *ctx, uint64_t origin, uint64_t rid, uint8_t type, struct buf *body)
{
    struct port *p = ctx;
    if (origin == PLAYED_CLIENT) {
        buf_release(&p->c->client_reply);
        p->c->client_reply = buf_take(body);
        p->c->client_type = type;
        return;
    }
    struct played_frame *f = frame_new(p, origin, rid, type, body);
    f->reply = true;
    enqueue(p->c, f);
}

static void net_set_address(void *ctx, uint64_t node, const char *address)
{
    (void)ctx;
    (void)node;
    (void)address;
}

static uint64_t mono_us(void *ctx)
{
    return ((struct port *)ctx)->c->now_us;
}

static uint64_t wall_ns(void *ctx)
{
    struct played_cluster *c = ((struct port *)ctx)->c;
    return c->now_us * 1000 + c->wall_offset_ns;
}

static void random_bytes(void *ctx, void *out, size_t len)
{
    struct played_cluster *c = ((struct port *)ctx)->c;
    for (size_t i = 0; i < len; i++) {
        c->random = c->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)out)[i] = (uint8_t)(c->random >> 56);
    }
}

static void deliver(struct played_cluster *c, struct played_frame *f)
{
    struct played_node *to = &c->nodes[f->to - 1];
    bool there = to->up && to->engine != NULL;
    if (there && to->held) {
        f->next = NULL;
        enqueue(c, f);
        return;
    }
    if (!f->failure && c->judge != NULL &&
        !c->judge(c->judge_arg, f->from, f->to, f->type, &f->body)) {
        frame_free(f);
        return;
    }
    if (f->failure) {
        if (there && to->life == f->to_life) {
            struct net_events ev = engine_events(to->engine);
            ev.failed(ev.ctx, f->rid, DYN_ERR_UNREACHABLE);
        }
    } else if (f->reply) {
        bool sender_up = c->nodes[f->from - 1].up && !c->nodes[f->from - 1].silent;
        if (there && sender_up && to->life == f->to_life) {
            struct net_events ev = engine_events(to->engine);
            ev.receive_reply(ev.ctx, f->rid, f->type, buf_slice(&f->body));
        }
    } else if (!there) {
        struct port back = {c, (uint32_t)(f->to - 1)};
        struct buf none = BUF_EMPTY;
        struct played_frame *refusal = frame_new(&back, f->from, f->rid, f->type, &none);
        refusal->failure = true;
        refusal->to_life = f->from_life;
        enqueue(c, refusal);
    } else if (!to->silent) {
        struct net_events ev = engine_events(to->engine);
        c->frames++;
        ev.receive_request(ev.ctx, f->from, f->from, f->rid, f->type, buf_slice(&f->body));
    }
    frame_free(f);
}

static uint32_t next_disk(const struct played_cluster *c)
{
    uint32_t best = c->n;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->nodes[i].store_due != 0 &&
            (best == c->n || c->nodes[i].store_due < c->nodes[best].store_due))
            best = i;
    return best;
}

/* Requests to a slow disk complete in any order that the store allows. */
static uint64_t draw_random(struct played_cluster *c)
{
    c->random = c->random * 6364136223846793005u + 1442695040888963407u;
    return c->random >> 40;
}

static void disk_step(struct played_cluster *c, struct played_node *n)
{
    n->store_due = 0;
    store_memory_step(n->store, draw_random(c));
    if (store_memory_pending(n->store) > 0)
        n->store_due = c->now_us + n->store_delay_us;
}

static void disk_wake(void *ctx)
{
    struct port *p = ctx;
    struct played_node *n = &p->c->nodes[p->index];
    if (n->store_due == 0)
        n->store_due = p->c->now_us + n->store_delay_us;
}

void played_slow_disk(struct played_cluster *c, uint32_t node_index, uint64_t delay_us)
{
    c->nodes[node_index].store_delay_us = delay_us;
    store_memory_set_deferred(c->nodes[node_index].store, delay_us != 0);
}

/* One event: the next frame or timer. False when nothing is due before `until_us`. */
static bool step(struct played_cluster *c, uint64_t until_us)
{
    uint64_t timer_at = timers_next(&c->timers);
    uint64_t frame_at = c->first != NULL ? c->first->at_us : UINT64_MAX;
    uint64_t at = timer_at < frame_at ? timer_at : frame_at;
    uint32_t disk = next_disk(c);
    uint64_t disk_at = disk < c->n ? c->nodes[disk].store_due : UINT64_MAX;
    if (disk_at < at)
        at = disk_at;
    if (at > until_us || at == UINT64_MAX)
        return false;
    if (at > c->now_us)
        c->now_us = at;
    if (disk_at <= at) {
        disk_step(c, &c->nodes[disk]);
        return true;
    }
    if (frame_at <= timer_at) {
        struct played_frame *f = c->first;
        c->first = f->next;
        if (c->first == NULL)
            c->last = &c->first;
        deliver(c, f);
    } else {
        timers_run(&c->timers, c->now_us);
    }
    return true;
}

void played_run(struct played_cluster *c, uint64_t for_us)
{
    uint64_t until = c->now_us + for_us;
    while (step(c, until))
        ;
    c->now_us = until;
}

static void on_ready(void *arg, int err)
{
    *(int *)arg = err;
}

void played_restart(struct played_cluster *c, uint32_t index)
{
    struct played_node *n = &c->nodes[index];
    int ready = 1;
    ports[index] = (struct port){c, index};
    struct engine_ports p = {
        .store = store_memory_port(n->store),
        .net = {&ports[index], net_request, net_reply, net_set_address},
        .time = {&ports[index], mono_us, wall_ns},
        .random = {&ports[index], random_bytes},
        .timers = &c->timers,
    };
    c->cfg.node = index + 1;
    n->engine = engine_new(&c->cfg, &p, c->ring);
    n->up = true;
    n->life++;
    engine_start(n->engine, store_memory_lost_tail(n->store), on_ready, &ready);
    while (ready == 1 && step(c, c->now_us + 1000000))
        ;
    assert(ready == DYN_OK);
}

void played_crash(struct played_cluster *c, uint32_t index, bool lose_unsynced)
{
    struct played_node *n = &c->nodes[index];
    engine_free(n->engine);
    n->engine = NULL;
    n->up = false;
    n->store_due = 0;
    store_memory_crash(n->store, lose_unsynced ? 0 : store_memory_unsynced(n->store));
}

void played_replace_disk(struct played_cluster *c, uint32_t index)
{
    struct store_host host = {.ctx = &ports[index], .wake = disk_wake};
    played_crash(c, index, true);
    store_memory_free(c->nodes[index].store);
    c->nodes[index].store = store_memory_new(&host);
}

/* All have heard how often they have started (engine/membership/catchup.h). */
static bool all_vote(const struct played_cluster *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct engine_moves m;
        engine_moves(c->nodes[i].engine, &m);
        if (m.voteless > 0)
            return false;
    }
    return true;
}

struct played_cluster *played_cluster_new(uint32_t n_nodes, uint32_t n, uint32_t r, uint32_t w)
{
    struct played_cluster *c = mem_new(struct played_cluster);
    struct history h = HISTORY_EMPTY;
    assert(n_nodes <= PLAYED_NODES_MAX);
    c->n = n_nodes;
    c->last = &c->first;
    c->now_us = 1000000;
    c->wall_offset_ns = 1700000000000000000u;
    c->random = 42;
    timers_init(&c->timers);
    struct member_event create = {
        .stamp = 1, .type = MEMBER_CREATE, .cluster = CLUSTER, .q = 64, .n = n, .r = r, .w = w};
    int err = history_add(&h, &create, NULL);
    for (uint32_t i = 0; i < n_nodes && err == DYN_OK; i++) {
        char address[32];
        snprintf(address, sizeof(address), "127.0.0.1:%u", 7000 + i);
        struct member_event join = {
            .stamp = 2 + i, .node = i + 1, .type = MEMBER_JOIN, .weight = 100, .address = address};
        err = history_add(&h, &join, NULL);
    }
    if (err == DYN_OK)
        err = ring_build(&h, &c->ring);
    assert(err == DYN_OK);
    history_release(&h);
    engine_config_defaults(&c->cfg);
    c->cfg.secret = slice_str("a secret of the played cluster");
    for (uint32_t i = 0; i < n_nodes; i++) {
        struct store_host host = {.ctx = &ports[i], .wake = disk_wake};
        ports[i] = (struct port){c, i};
        c->nodes[i].store = store_memory_new(&host);
        played_restart(c, i);
    }
    while (!all_vote(c))
        played_run(c, 10000);
    return c;
}

void played_cluster_free(struct played_cluster *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        engine_free(c->nodes[i].engine);
        store_memory_free(c->nodes[i].store);
    }
    while (c->first != NULL) {
        struct played_frame *f = c->first;
        c->first = f->next;
        frame_free(f);
    }
    timers_release(&c->timers);
    ring_unref(c->ring);
    buf_release(&c->client_reply);
    free(c);
}

/* ---- membership -------------------------------------------------------------------------- */

static void on_changed(void *arg, int err)
{
    *(int *)arg = err;
}

void played_change(struct played_cluster *c, uint32_t at, const struct member_event *part)
{
    struct plan plan = PLAN_EMPTY;
    struct plan_outcome outcome;
    const char *rule = NULL;
    int err = 1;
    struct engine *e = c->nodes[at].engine;
    bool good = plan_stage(&plan, engine_ring(e), part, &rule) == DYN_OK &&
                plan_outcome(&plan, engine_ring(e), at + 1, &outcome) == DYN_OK &&
                outcome.refused == NULL;
    assert(good);
    engine_propose(e, &outcome.change, on_changed, &err);
    while (err == 1 && step(c, c->now_us + 1000000))
        ;
    assert(good && err == DYN_OK);
    plan_outcome_release(&outcome);
    plan_release(&plan);
}

/* ---- requests ---------------------------------------------------------------------------- */

static const uint64_t patience_us = 20000000;

/* A reply is copied by sending it over the wire: the callback's is borrowed. */
#define DEFINE_CALL(name)                                                                          \
    struct name##_waiter {                                                                         \
        bool done;                                                                                 \
        struct buf body;                                                                           \
    };                                                                                             \
    static void on_##name(void *arg, const struct name##_reply *reply)                             \
    {                                                                                              \
        struct name##_waiter *w = arg;                                                             \
        name##_reply_encode(reply, &w->body);                                                      \
        w->done = true;                                                                            \
    }                                                                                              \
    struct name##_reply played_##name(struct played_cluster *c, uint32_t at,                       \
                                      const struct name##_request *q)                              \
    {                                                                                              \
        struct name##_waiter w = {false, BUF_EMPTY};                                               \
        struct name##_reply reply = {.status = DYN_ERR_CANCELED};                                  \
        struct kv_port kv = engine_kv(c->nodes[at].engine);                                        \
        kv.name(kv.ctx, q, on_##name, &w);                                                         \
        while (!w.done && step(c, c->now_us + patience_us))                                        \
            ;                                                                                      \
        int err = w.done ? name##_reply_decode(buf_slice(&w.body), &reply) : DYN_ERR_TIMEOUT;      \
        assert(err == DYN_OK);                                                                     \
        kept_add(&w.body);                                                                         \
        return reply;                                                                              \
    }

/* What replies borrow from: kept for the rest of the test program, which is short. */
static struct buf kept[4096];
static size_t n_kept;

static void kept_add(struct buf *b)
{
    size_t at = n_kept++ % (sizeof(kept) / sizeof(kept[0]));
    buf_release(&kept[at]);
    kept[at] = buf_take(b);
}

void played_tell(struct played_cluster *c, uint32_t at, uint8_t type, struct buf *body)
{
    struct net_events ev = engine_events(c->nodes[at].engine);
    ev.receive_request(ev.ctx, PLAYED_CLIENT, 0, 1, type, buf_slice(body));
    buf_release(body);
}

void played_ask(struct played_cluster *c, uint32_t at, uint8_t type, struct buf *body)
{
    c->client_type = 0;
    played_tell(c, at, type, body);
    while (c->client_type == 0 && step(c, c->now_us + 20000000))
        ;
}

DEFINE_CALL(put)
DEFINE_CALL(get)
DEFINE_CALL(list)
DEFINE_CALL(sync)

int played_write(struct played_cluster *c, uint32_t at, const char *key, const char *value,
                 uint32_t flags, struct slice context)
{
    struct put_request q = {.key = slice_str(key),
                            .flags = flags,
                            .type = SIBLING_FILE,
                            .attrs = {.mode = 0644},
                            .value = slice_str(value),
                            .contexts = &context,
                            .n_contexts = context.len > 0};
    struct put_reply reply = played_put(c, at, &q);
    int status = reply.status;
    put_reply_release(&reply);
    return status;
}

int played_delete(struct played_cluster *c, uint32_t at, const char *key)
{
    struct put_request q = {.key = slice_str(key), .flags = PUT_CURRENT, .type = SIBLING_DELETE};
    struct put_reply reply = played_put(c, at, &q);
    int status = reply.status;
    put_reply_release(&reply);
    return status;
}

static int by_age(const void *a, const void *b)
{
    return sibling_order(*(const struct sibling *const *)a, *(const struct sibling *const *)b);
}

static char *text_of(struct buf *b)
{
    buf_put_u8(b, 0);
    char *text = mem_strdup((const char *)b->data);
    buf_release(b);
    return text;
}

char *played_values(struct played_cluster *c, uint32_t at, const char *key)
{
    struct get_request q = {.key = slice_str(key), .want = GET_ALL};
    struct get_reply reply = played_get(c, at, &q);
    struct buf out = BUF_EMPTY;
    const struct sibling *live[64];
    size_t n = 0;
    if (reply.status != DYN_OK)
        buf_printf(&out, "error %s", dyn_err_code(reply.status));
    for (uint32_t i = 0; i < reply.object.n && n < 64; i++)
        if (sibling_live(&reply.object.siblings[i]))
            live[n++] = &reply.object.siblings[i];
    qsort(live, n, sizeof(live[0]), by_age);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_put_u8(&out, '|');
        if (live[i]->type == SIBLING_DIR)
            buf_put_str(&out, "<dir>");
        else if (live[i]->value != NULL)
            buf_put(&out, live[i]->value->data, live[i]->value->len);
        else if (live[i]->size > 0)
            buf_put_str(&out, "<not loaded>");
    }
    if (n == 0 && reply.status == DYN_OK)
        buf_put_str(&out, reply.implicit_dir ? "<implicit dir>" : "-");
    get_reply_release(&reply);
    return text_of(&out);
}

char *played_names(struct played_cluster *c, uint32_t at, const char *dir)
{
    struct list_request q = {.dir = slice_str(dir)};
    struct list_reply reply = played_list(c, at, &q);
    struct buf out = BUF_EMPTY;
    if (reply.status != DYN_OK)
        buf_printf(&out, "error %s", dyn_err_code(reply.status));
    for (uint32_t i = 0; i < reply.n; i++) {
        if (i > 0)
            buf_put_u8(&out, ' ');
        buf_put_slice(&out, reply.entries[i].name);
    }
    list_reply_release(&reply);
    return text_of(&out);
}

void played_context(struct played_cluster *c, uint32_t at, const char *key, struct buf *context)
{
    struct get_request q = {.key = slice_str(key), .want = GET_META};
    struct get_reply reply = played_get(c, at, &q);
    context_all(reply.token, context);
    get_reply_release(&reply);
}

uint64_t played_hints(struct played_cluster *c)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        struct engine_stats s = {0};
        if (c->nodes[i].engine != NULL)
            engine_stats(c->nodes[i].engine, &s);
        total += s.hints_now;
    }
    return total;
}
