/* SPDX-License-Identifier: Apache-2.0 */
/* See reconcile.h.
 *
 *   ASKING (the node that is to settle it, by a read) -> settled -> over
 *   ASKING -> no answer -> READING
 *   READING (all values, at R) -> nothing to settle, or not possible -> over
 *   READING -> PUTTING (the union, with the context of what was read) -> over */
#include "engine/coordinate/reconcile.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/dir_settings.h"
#include "engine/coordinate/gather.h"
#include "engine/request.h"

#define ASK_EXTRA_US 100000u /* beyond one replica timeout: who is asked has its own to wait for */
#define AT_A_TIME 64         /* keys; what is over is settled by who reads it */

struct settling {
    struct background background; /* first */
    struct list link;             /* in engine->settling */
    struct engine *e;
    struct buf key;
    struct rpc_call asking;
    struct gather *gather;
    uint64_t put; /* id at the kv port */
    struct list waiting;
};

enum reconcile reconcile_rule(const struct engine *e, struct slice key)
{
    struct rules rules;
    settings_keeper_rules(e->settings, key, &rules);
    uint8_t rule = rules.value[SETTING_RECONCILE];
    return rule != 0 ? (enum reconcile)rule : RECONCILE_SIBLINGS;
}

bool reconcile_wanted(const struct object *o)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        if (!sibling_live(&o->siblings[i]))
            continue;
        if (o->siblings[i].type != SIBLING_FILE)
            return false;
        live++;
    }
    return live > 1;
}

static void free_settling(struct settling *s)
{
    struct engine *e = s->e;
    background_end(e, &s->background);
    list_remove(&s->link);
    e->n_settling--;
    rpc_cancel(e->rpc, &s->asking);
    if (s->gather != NULL)
        gather_forget(s->gather);
    if (s->put != 0) {
        struct kv_port kv = engine_kv(e);
        kv.cancel(kv.ctx, s->put);
    }
    list_for_each_safe(at, next, &s->waiting)
    {
        list_remove(at);
    }
    buf_release(&s->key);
    free(s);
}

static void abandon(struct background *b)
{
    struct settling *s = container_of(b, struct settling, background);
    s->gather = NULL; /* ended by itself, as everything in the background */
    s->put = 0;
    free_settling(s);
}

static void over(struct settling *s)
{
    struct list waiting;
    list_init(&waiting);
    list_for_each_safe(at, next, &s->waiting)
    {
        list_remove(at);
        list_append(&waiting, at);
    }
    free_settling(s);
    for (struct list *l; (l = list_first(&waiting)) != NULL;) {
        struct reconcile_wait *w = container_of(l, struct reconcile_wait, link);
        list_remove(l);
        w->done(w->arg);
    }
}

static void on_put(void *arg, const struct put_reply *reply)
{
    struct settling *s = arg;
    s->put = 0;
    if (reply->status == DYN_OK)
        s->e->stats.reconciled++;
    over(s);
}

static void put_union(struct settling *s, const struct object *o, struct buf *value)
{
    struct engine *e = s->e;
    const struct sibling *newest = object_newest(o);
    struct buf token = BUF_EMPTY, context = BUF_EMPTY;
    token_make(e->mac, ring_cluster(e->ring), buf_slice(&s->key), o, &token);
    context_all(buf_slice(&token), &context);
    struct slice contexts[] = {buf_slice(&context)};
    const struct put_request q = {.key = buf_slice(&s->key),
                                  .type = SIBLING_FILE,
                                  .attrs = newest->attrs,
                                  .value = buf_slice(value),
                                  .contexts = contexts,
                                  .n_contexts = 1};
    struct kv_port kv = engine_kv(e);
    s->put = kv.put(kv.ctx, &q, on_put, s);
    buf_release(&token);
    buf_release(&context);
}

static void on_gathered(void *arg, const struct gather_result *result)
{
    struct settling *s = arg;
    struct buf value = BUF_EMPTY;
    s->gather = NULL;
    bool possible = result->status == DYN_OK && reconcile_wanted(result->object) &&
                    object_union_lines(result->object, s->e->cfg.value_max, &value);
    if (possible)
        put_union(s, result->object, &value);
    else
        over(s);
    buf_release(&value);
}

static void settle_here(struct settling *s)
{
    struct engine *e = s->e;
    const struct request_options defaults = {0};
    struct gather_params p = {
        .key = buf_slice(&s->key), .values = VALUE_ALL, .done = on_gathered, .arg = s};
    engine_quorum(e, &defaults, p.key, &p.quorum);
    s->gather = gather_start(e, &p);
}

static void on_asked(struct rpc_call *call, int err, struct slice body)
{
    struct settling *s = call->arg;
    struct get_reply reply;
    if (err == DYN_OK)
        err = get_reply_decode(body, &reply);
    if (err == DYN_OK) {
        err = reply.status;
        get_reply_release(&reply);
    }
    if (err == DYN_OK)
        over(s);
    else
        settle_here(s);
}

static void ask(struct settling *s, uint64_t node)
{
    const struct get_request q = {.key = buf_slice(&s->key), .opt = {.forwarded = 1}};
    struct buf body = BUF_EMPTY;
    get_request_encode(&q, &body);
    s->asking.done = on_asked;
    s->asking.arg = s;
    rpc_start(s->e->rpc, &s->asking, node, FRAME_GET, &body,
              s->e->cfg.replica_timeout_us + ASK_EXTRA_US);
}

/* The first primary that is up; 0: none is. */
static uint64_t settler_of(const struct engine *e, struct slice key)
{
    uint64_t nodes[N_MAX];
    uint32_t want = ring_n(e->ring) < N_MAX ? ring_n(e->ring) : N_MAX;
    uint32_t n = ring_preference_list(e->ring, ring_partition_of(e->ring, key), want, nodes, want);
    for (uint32_t i = 0; i < n; i++) {
        if (nodes[i] == e->cfg.node || detector_up(e->detector, nodes[i]))
            return nodes[i];
    }
    return 0;
}

static struct settling *find(struct engine *e, struct slice key)
{
    list_for_each_safe(at, next, &e->settling)
    {
        struct settling *s = container_of(at, struct settling, link);
        if (slice_equal(buf_slice(&s->key), key))
            return s;
    }
    return NULL;
}

bool reconcile_start(struct engine *e, struct slice key, bool asked, struct reconcile_wait *wait)
{
    struct settling *s = find(e, key);
    if (s == NULL && (e->n_settling == AT_A_TIME || e->stopping || e->failed != DYN_OK))
        return false;
    if (s == NULL) {
        uint64_t settler = asked ? e->cfg.node : settler_of(e, key);
        s = mem_new(struct settling);
        s->e = e;
        list_init(&s->link);
        list_init(&s->waiting);
        buf_put_slice(&s->key, key);
        list_append(&e->settling, &s->link);
        e->n_settling++;
        background_add(e, &s->background, abandon);
        if (settler == 0 || settler == e->cfg.node)
            settle_here(s);
        else
            ask(s, settler);
    }
    if (wait != NULL) {
        list_init(&wait->link);
        list_append(&s->waiting, &wait->link);
    }
    return true;
}

void reconcile_forget(struct reconcile_wait *wait)
{
    list_remove(&wait->link);
}

void reconcile_stored(struct engine *e, struct slice key, const struct object *o)
{
    if (object_live_count(o) > 1 && reconcile_wanted(o) &&
        reconcile_rule(e, key) == RECONCILE_UNION && settler_of(e, key) == e->cfg.node)
        reconcile_start(e, key, true, NULL);
}
