/* SPDX-License-Identifier: Apache-2.0 */
/* See scenario.h. */
#include "scenario.h"

#include <stdlib.h>

#include "base/digest.h"
#include "base/mem.h"

static void gone(void *arg, struct sim_node *node)
{
    sim_client_gone(arg, node);
}

void scenario_begin(struct scenario *s, uint32_t nodes, uint32_t n, uint32_t r, uint32_t w)
{
    struct engine_config engine;
    engine_config_defaults(&engine);
    scenario_begin_with(s, nodes, n, r, w, &engine);
}

void scenario_begin_with(struct scenario *s, uint32_t nodes, uint32_t n, uint32_t r, uint32_t w,
                         const struct engine_config *engine)
{
    scenario_begin_members(s, nodes, 0, n, r, w, engine);
}

static void on_change(void *arg, int err)
{
    *(int *)arg = err;
}

void scenario_change(struct scenario *s, uint32_t node, const struct member_event *part)
{
    int err = 1;
    assert_true(sim_cluster_change(s->cluster, node, part, on_change, &err));
    for (uint32_t i = 0; i < 600 && err == 1; i++)
        sim_cluster_run(s->cluster, SIM_SECOND / 10);
    assert_int_equal(err, DYN_OK);
    for (uint32_t i = 0; i < 600 && !sim_cluster_agrees(s->cluster); i++)
        sim_cluster_run(s->cluster, SIM_SECOND / 10);
    assert_true(sim_cluster_agrees(s->cluster));
}

static void begin(struct scenario *s, uint64_t seed, uint32_t nodes, uint32_t members, uint32_t n,
                  uint32_t r, uint32_t w, const struct engine_config *engine)
{
    struct sim_cluster_config cfg = {.nodes = nodes,
                                     .members = members,
                                     .q = 16,
                                     .n = n,
                                     .r = r,
                                     .w = w,
                                     .cluster = 1000 + seed,
                                     .engine = *engine};
    *s = (struct scenario){0};
    sim_world_init(&s->world, seed, NULL);
    s->cluster = sim_cluster_new(&s->world, &cfg);
    sim_client_init(&s->client, s->cluster, SIM_NODES_MAX);
    s->cluster->gone = gone;
    s->cluster->gone_arg = &s->client;
    s->opt = (struct request_options){.n = (uint8_t)n,
                                      .r = (uint8_t)r,
                                      .w = (uint8_t)w,
                                      .durability = DURABILITY_BUFFERED,
                                      .sloppy = SLOPPY_NO,
                                      .timeout_ms = 3000};
    for (uint32_t i = 0; i < nodes; i++)
        sim_node_start(&s->cluster->nodes[i]);
    sim_cluster_run(s->cluster, SIM_SECOND);
    assert_int_equal(sim_cluster_up(s->cluster), nodes);
}

void scenario_begin_members(struct scenario *s, uint32_t nodes, uint32_t members, uint32_t n,
                            uint32_t r, uint32_t w, const struct engine_config *engine)
{
    begin(s, 42, nodes, members, n, r, w, engine);
}

void scenario_begin_seed(struct scenario *s, uint64_t seed, uint32_t nodes, uint32_t n, uint32_t r,
                         uint32_t w, const struct engine_config *engine)
{
    begin(s, seed, nodes, 0, n, r, w, engine);
}

void scenario_begin_other(struct scenario *s, uint32_t nodes, uint32_t n, uint32_t r, uint32_t w)
{
    struct engine_config engine;
    engine_config_defaults(&engine);
    begin(s, 43, nodes, 0, n, r, w, &engine);
}

void scenario_end(struct scenario *s)
{
    uint32_t violations = s->world.violations;
    for (uint32_t i = 0; i < violations && i < SIM_VIOLATIONS_KEPT; i++)
        print_message("%s\n", s->world.texts[i]);
    s->cluster->gone = NULL;
    sim_client_release(&s->client);
    sim_cluster_free(s->cluster);
    sim_world_release(&s->world);
    assert_int_equal(violations, 0);
}

static bool same_nodes(const uint32_t *a, const uint32_t *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        bool found = false;
        for (uint32_t j = 0; j < n; j++)
            found |= a[i] == b[j];
        if (!found)
            return false;
    }
    return true;
}

void scenario_key(struct scenario *s, const uint32_t *primaries, uint32_t n, const char *dir,
                  char *out)
{
    uint32_t nodes[SIM_NODES_MAX];
    for (uint32_t i = 0; i < 10000; i++) {
        snprintf(out, 32, "%s%sf%u", dir, dir[0] != '\0' ? "/" : "", i);
        if (sim_cluster_replicas(s->cluster, slice_str(out), n, nodes) == n &&
            same_nodes(primaries, nodes, n))
            return;
    }
    fail_msg("no key with these primaries");
}

static void take_list(struct answer *a, const struct list_reply *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (!object_live(&r->entries[i].object))
            continue;
        buf_put_slice(&a->listing, r->entries[i].name);
        buf_put_u8(&a->listing, ' ');
    }
    buf_clear(&a->token); /* the cursor, for scenario_list */
    buf_put_slice(&a->token, r->cursor);
    a->implicit_dir = r->more;
}

static void take(void *arg, const struct sim_reply *r)
{
    struct answer *a = arg;
    a->status = r->status;
    if (r->status != DYN_OK)
        return;
    if (r->type == FRAME_GET) {
        object_copy(&a->object, &r->get->object);
        buf_put_slice(&a->token, r->get->token);
        a->implicit_dir = r->get->implicit_dir;
    } else if (r->type == FRAME_PUT) {
        object_copy(&a->object, &r->put->object);
        buf_put_slice(&a->token, r->put->token);
        a->dot = r->put->dot;
    } else if (r->type == FRAME_LIST) {
        take_list(a, r->list);
    }
}

void answer_release(struct answer *a)
{
    object_release(&a->object);
    buf_release(&a->token);
    buf_release(&a->listing);
    *a = (struct answer){0};
}

void scenario_send(struct scenario *s, enum sim_via via, uint32_t node, const struct sim_request *q,
                   struct answer *a)
{
    answer_release(a);
    sim_client_wait(&s->client, via, node, q, take, a);
}

void scenario_get(struct scenario *s, uint32_t node, const char *key, struct answer *a)
{
    const struct sim_request q = {.type = FRAME_GET,
                                  .get = {.opt = s->opt, .key = slice_str(key), .want = GET_ALL}};
    scenario_send(s, VIA_KV, node, &q, a);
}

struct put_request scenario_put_request(struct scenario *s, const char *key, const char *value)
{
    struct put_request q = {.opt = s->opt,
                            .key = slice_str(key),
                            .type = value != NULL ? SIBLING_FILE : SIBLING_DELETE,
                            .attrs = {.mode = 0644},
                            .origin = {7, ++s->requests, 1}};
    if (value != NULL)
        q.value = slice_str(value);
    return q;
}

void scenario_put(struct scenario *s, uint32_t node, const char *key, const char *value,
                  const struct buf *context, uint32_t flags, struct answer *a)
{
    struct slice contexts[1];
    struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(s, key, value)};
    q.put.flags = flags;
    if (context != NULL) {
        contexts[0] = buf_slice(context);
        q.put.contexts = contexts;
        q.put.n_contexts = 1;
    }
    scenario_send(s, VIA_KV, node, &q, a);
}

void scenario_mkdir(struct scenario *s, uint32_t node, const char *key, struct answer *a)
{
    struct sim_request q = {.type = FRAME_PUT, .put = scenario_put_request(s, key, NULL)};
    q.put.type = SIBLING_DIR;
    q.put.attrs.mode = 0755;
    scenario_send(s, VIA_KV, node, &q, a);
}

void scenario_list(struct scenario *s, uint32_t node, const char *dir, uint32_t limit,
                   struct answer *a)
{
    struct buf all = BUF_EMPTY, after = BUF_EMPTY;
    uint32_t pages = 0;
    bool more;
    do {
        const struct sim_request q = {
            .type = FRAME_LIST,
            .list = {
                .opt = s->opt, .dir = slice_str(dir), .after = buf_slice(&after), .limit = limit}};
        scenario_send(s, VIA_KV, node, &q, a);
        buf_put_slice(&all, buf_slice(&a->listing));
        buf_clear(&after);
        buf_put_slice(&after, buf_slice(&a->token));
        more = a->status == DYN_OK && a->implicit_dir;
        assert_true(++pages < 1000);
    } while (more);
    buf_put_u8(&all, 0);
    buf_release(&a->listing);
    a->listing = all;
    a->pages = pages;
    buf_release(&after);
}

struct buf context_whole(const struct answer *a)
{
    struct buf context = BUF_EMPTY;
    context_all(buf_slice(&a->token), &context);
    return context;
}

static const struct sibling *find_value(const struct answer *a, const char *value)
{
    uint8_t hash[DIGEST_LEN];
    digest_sha256(slice_str(value), hash);
    for (uint32_t i = 0; i < a->object.n; i++)
        if (sibling_live(&a->object.siblings[i]) &&
            memcmp(a->object.siblings[i].value_hash, hash, DIGEST_LEN) == 0)
            return &a->object.siblings[i];
    return NULL;
}

struct buf context_of_value(const struct answer *a, const char *value)
{
    struct buf context = BUF_EMPTY;
    const struct sibling *s = find_value(a, value);
    assert_non_null(s);
    assert_int_equal(context_dots(buf_slice(&a->token), &s->dot, 1, &context), DYN_OK);
    return context;
}

bool answer_has(const struct answer *a, const char *value)
{
    return find_value(a, value) != NULL;
}

uint32_t answer_live(const struct answer *a)
{
    return object_live_count(&a->object);
}

void scenario_cut(struct scenario *s, uint32_t a, uint32_t b, bool cut)
{
    sim_net_cut(s->cluster->net, a, b, cut);
    sim_net_cut(s->cluster->net, b, a, cut);
}

void scenario_isolate(struct scenario *s, uint32_t node, bool cut)
{
    for (uint32_t i = 0; i < s->cluster->cfg.nodes; i++)
        scenario_cut(s, node, i, cut);
}

void scenario_settle(struct scenario *s)
{
    sim_settle(s->cluster, 120 * (uint64_t)SIM_SECOND);
}
