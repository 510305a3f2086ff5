/* SPDX-License-Identifier: Apache-2.0 */
/* See session.h. Each call starts one request and turns the loop until its callback has run; the
 * library's deadlines see to it that it does. */
#include "ctl/session.h"

#include <stdlib.h>
#include <unistd.h>

#include "adapter/cluster_file.h"
#include "adapter/loop.h"
#include "adapter/net_curl.h"
#include "base/err.h"
#include "base/mem.h"

#define SEEDS_MAX 64
#define TIMEOUT_MS 10000
#define STATUS_US 2000000u /* a node that takes longer to say how it is is not well */

struct session {
    struct loop *loop;
    struct net_curl *net;
    struct client *client;
    struct kv_port kv;
    char *seeds[SEEDS_MAX];
    uint32_t n_seeds;
    struct buf seed_text; /* with its NUL */
    struct chunk_io chunks;
    uint64_t timeout_ms;
    bool nodes_coordinate;
    uint32_t waiting; /* callbacks to come */
};

static void add_seed(struct session *s, struct slice address)
{
    if (address.len == 0 || s->n_seeds == SEEDS_MAX)
        return;
    s->seeds[s->n_seeds++] = mem_strndup((const char *)address.data, address.len);
}

/* Separated by commas or blanks. */
static void add_seeds(struct session *s, const char *list)
{
    while (*list != '\0') {
        size_t len = strcspn(list, ", \t\n");
        add_seed(s, slice_of(list, len));
        list += len + (list[len] != '\0');
    }
}

static int add_cluster(struct session *s, const char *dir)
{
    struct history h = HISTORY_EMPTY;
    char *path = mem_printf("%s/cluster", dir), *message = NULL;
    int err = cluster_file_load(path, &h, &message);
    if (err != DYN_OK)
        ctl_fail(CTL_USAGE, "no local cluster: %s", message);
    for (uint32_t i = 0; i < h.n; i++) {
        if (h.events[i].type == MEMBER_JOIN)
            add_seed(s, slice_str(h.events[i].address));
    }
    history_release(&h);
    free(message);
    free(path);
    return err;
}

static int collect_seeds(struct ctl *c, struct session *s)
{
    for (unsigned i = 0; i < c->args.n_given; i++) {
        if (strcmp(c->args.given[i].option->name, "node") == 0)
            add_seeds(s, c->args.given[i].value);
    }
    const char *dir = args_value(&c->args, "cluster"), *nodes = getenv("DYNAMOUNT_NODES");
    if (dir != NULL && add_cluster(s, dir) != DYN_OK)
        return DYN_ERR_INVALID;
    if (s->n_seeds == 0 && dir == NULL && nodes != NULL)
        add_seeds(s, nodes);
    if (s->n_seeds == 0) {
        ctl_fail(CTL_USAGE, "which cluster? Give --node HOST:PORT or --cluster DIR, or set "
                            "DYNAMOUNT_NODES");
        return DYN_ERR_INVALID;
    }
    for (uint32_t i = 0; i < s->n_seeds; i++) {
        const char *colon = strrchr(s->seeds[i], ':');
        if (colon == NULL || colon == s->seeds[i] || colon[1] == '\0') {
            ctl_fail(CTL_USAGE, "'%s' is no HOST:PORT", s->seeds[i]);
            return DYN_ERR_INVALID;
        }
        buf_printf(&s->seed_text, "%s%s", i == 0 ? "" : ", ", s->seeds[i]);
    }
    buf_put_u8(&s->seed_text, 0);
    return DYN_OK;
}

static int start(struct session *s)
{
    struct net_curl_config net_config;
    struct client_config config = {.seeds = (const char *const *)s->seeds,
                                   .n_seeds = s->n_seeds,
                                   .timeout_us = s->timeout_ms * 1000,
                                   .rounds_max = 2,
                                   .nodes_coordinate = s->nodes_coordinate};
    struct random_port random = loop_random();
    s->loop = loop_new();
    if (s->loop == NULL)
        return DYN_ERR_IO;
    net_curl_config_defaults(&net_config);
    net_config.connect_timeout_ms = 1000;
    s->net = net_curl_new(s->loop, &net_config);
    struct net_port port = net_curl_port(s->net);
    struct time_port time = loop_time(s->loop);
    config.id = random_u64(&random) | 1;
    s->client = client_new(&config, &port, &time, &random, loop_timers(s->loop));
    struct net_events events = client_events(s->client);
    net_curl_set_events(s->net, &events);
    s->kv = client_kv(s->client);
    s->chunks = (struct chunk_io){.kv = s->kv, .time = time, .random = random, .writer = config.id};
    return DYN_OK;
}

int session_open(struct ctl *c, struct session **out, int *status)
{
    struct session *s = mem_new(struct session);
    char *message = NULL;
    s->timeout_ms = TIMEOUT_MS;
    if (args_ms(&c->args, "timeout", 1, 3600000, &s->timeout_ms, &message) != DYN_OK) {
        *status = ctl_usage(c, message);
        goto fail;
    }
    const char *who = args_value(&c->args, "coordinate");
    s->nodes_coordinate = who != NULL && strcmp(who, "server") == 0;
    if (who != NULL && !s->nodes_coordinate && strcmp(who, "client") != 0) {
        *status = ctl_usage(c, mem_strdup("--coordinate takes client or server"));
        goto fail;
    }
    if (collect_seeds(c, s) != DYN_OK) {
        *status = CTL_USAGE;
        goto fail;
    }
    if (start(s) != DYN_OK) {
        *status = ctl_fail(CTL_ERROR, "the system gives no event loop");
        goto fail;
    }
    *out = s;
    return DYN_OK;
fail:
    session_close(s);
    return DYN_ERR_INVALID;
}

void session_close(struct session *s)
{
    if (s == NULL)
        return;
    client_free(s->client);
    net_curl_free(s->net);
    loop_free(s->loop);
    for (uint32_t i = 0; i < s->n_seeds; i++)
        free(s->seeds[i]);
    buf_release(&s->seed_text);
    free(s);
}

struct chunk_io *session_chunks(struct session *s)
{
    return &s->chunks;
}

void session_turn(struct session *s)
{
    loop_turn(s->loop, UINT64_MAX);
}

struct client *session_client(struct session *s)
{
    return s->client;
}

struct loop *session_loop(struct session *s)
{
    return s->loop;
}

static void wait_all(struct session *s)
{
    while (s->waiting > 0)
        loop_turn(s->loop, UINT64_MAX);
}

/* ---- one request at a time ---- */

struct wait_get {
    struct session *session;
    struct session_get *out;
};

static void got(void *arg, const struct get_reply *reply)
{
    struct wait_get *w = arg;
    w->out->status = reply->status;
    w->out->answered = reply->answered;
    w->out->needed = reply->needed;
    object_copy(&w->out->object, &reply->object);
    buf_put_slice(&w->out->token, reply->token);
    memcpy(w->out->replicas, reply->replicas, sizeof(w->out->replicas));
    w->out->n_replicas = reply->n_replicas;
    w->session->waiting--;
}

void session_get(struct session *s, const struct get_request *q, struct session_get *out)
{
    struct wait_get w = {s, out};
    *out = (struct session_get){.object = OBJECT_EMPTY};
    s->waiting++;
    s->kv.get(s->kv.ctx, q, got, &w);
    wait_all(s);
}

void session_get_release(struct session_get *g)
{
    object_release(&g->object);
    buf_release(&g->token);
}

struct wait_put {
    struct session *session;
    struct session_put *out;
};

static void was_put(void *arg, const struct put_reply *reply)
{
    struct wait_put *w = arg;
    w->out->status = reply->status;
    w->out->answered = reply->answered;
    w->out->needed = reply->needed;
    w->out->dot = reply->dot;
    object_copy(&w->out->object, &reply->object);
    buf_put_slice(&w->out->token, reply->token);
    w->session->waiting--;
}

void session_put(struct session *s, const struct put_request *q, struct session_put *out)
{
    struct wait_put w = {s, out};
    *out = (struct session_put){.object = OBJECT_EMPTY};
    s->waiting++;
    s->kv.put(s->kv.ctx, q, was_put, &w);
    wait_all(s);
}

void session_put_release(struct session_put *p)
{
    object_release(&p->object);
    buf_release(&p->token);
}

struct wait_list {
    struct session *session;
    struct session_list *out;
};

static void listed(void *arg, const struct list_reply *reply)
{
    struct wait_list *w = arg;
    struct session_list *out = w->out;
    out->status = reply->status;
    out->answered = reply->answered;
    out->needed = reply->needed;
    out->more = reply->more;
    buf_put_slice(&out->cursor, reply->cursor);
    out->entries = mem_zalloc((reply->n == 0 ? 1 : reply->n) * sizeof(*out->entries));
    for (; out->n < reply->n; out->n++) {
        const struct list_entry *from = &reply->entries[out->n];
        out->entries[out->n].name =
            slice_of(mem_dup(from->name.data, from->name.len), from->name.len);
        object_copy(&out->entries[out->n].object, &from->object);
    }
    w->session->waiting--;
}

void session_list(struct session *s, const struct list_request *q, struct session_list *out)
{
    struct wait_list w = {s, out};
    *out = (struct session_list){.n = 0};
    s->waiting++;
    s->kv.list(s->kv.ctx, q, listed, &w);
    wait_all(s);
}

void session_list_release(struct session_list *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        free((void *)(uintptr_t)l->entries[i].name.data);
        object_release(&l->entries[i].object);
    }
    free(l->entries);
    buf_release(&l->cursor);
}

struct wait_settings {
    struct session *session;
    struct settings_reply *out;
};

static void settings_told(void *arg, const struct settings_reply *reply)
{
    struct wait_settings *w = arg;
    w->out->status = reply->status;
    w->out->known = reply->known;
    w->out->members = reply->members;
    settings_join(&w->out->table, &reply->table);
    w->session->waiting--;
}

void session_settings(struct session *s, const struct settings_request *q,
                      struct settings_reply *out)
{
    struct wait_settings w = {s, out};
    *out = (struct settings_reply){.table = SETTINGS_EMPTY};
    s->waiting++;
    s->kv.settings(s->kv.ctx, q, settings_told, &w);
    wait_all(s);
}

/* ---- the ring and the nodes' own words ---- */

int session_ring(struct session *s, struct ring **out)
{
    /* A get of the root waits for the ring like any other, and ends when nobody can be reached. */
    if (client_ring(s->client) == NULL) {
        struct get_request q = {.want = GET_META};
        struct session_get g;
        session_get(s, &q, &g);
        int status = g.status;
        session_get_release(&g);
        if (client_ring(s->client) == NULL)
            return status == DYN_OK ? DYN_ERR_UNREACHABLE : status;
    }
    *out = client_ring(s->client);
    return DYN_OK;
}

bool session_node_up(struct session *s, uint64_t node)
{
    return client_node_up(s->client, node);
}

const char *session_seeds(const struct session *s)
{
    return (const char *)s->seed_text.data;
}

bool session_names(const struct session *s, const char *address)
{
    for (uint32_t i = 0; i < s->n_seeds; i++)
        if (strcmp(s->seeds[i], address) == 0)
            return true;
    return false;
}

struct wait_status {
    struct session *session;
    struct buf *out;
    int *err;
};

static void told(void *arg, int err, struct slice body)
{
    struct wait_status *w = arg;
    *w->err = err;
    if (err == DYN_OK)
        buf_put_slice(w->out, body);
    w->session->waiting--;
}

void session_statuses(struct session *s, const uint64_t *nodes, uint32_t n, struct buf *out,
                      int *errs)
{
    uint64_t timeout_us = s->timeout_ms * 1000;
    timeout_us = timeout_us < STATUS_US ? timeout_us : STATUS_US;
    struct wait_status *waits = mem_zalloc((n == 0 ? 1 : n) * sizeof(*waits));
    for (uint32_t i = 0; i < n; i++) {
        struct buf body = BUF_EMPTY;
        waits[i] = (struct wait_status){s, &out[i], &errs[i]};
        s->waiting++;
        client_call(s->client, nodes[i], FRAME_STATUS, &body, timeout_us, told, &waits[i]);
    }
    wait_all(s);
    free(waits);
}

int session_call(struct session *s, uint64_t node, uint8_t type, struct slice body,
                 uint64_t timeout_us, struct buf *out)
{
    int err = DYN_OK;
    struct buf copy = BUF_EMPTY;
    struct wait_status wait = {s, out, &err};
    buf_put_slice(&copy, body);
    s->waiting++;
    client_call(s->client, node, type, &copy, timeout_us, told, &wait);
    wait_all(s);
    return err;
}

/* ---- options of requests ---- */

static int choose(const struct ctl *c, const char *name, const char *const *choices, uint8_t *out,
                  char **message)
{
    const char *value = args_value(&c->args, name);
    if (value == NULL)
        return DYN_OK;
    for (uint8_t i = 1; choices[i] != NULL; i++) {
        if (strcmp(value, choices[i]) == 0) {
            *out = i;
            return DYN_OK;
        }
    }
    *message = mem_printf("--%s %s: there is no such choice", name, value);
    return DYN_ERR_INVALID;
}

int session_options(const struct ctl *c, struct request_options *out, char **message)
{
    static const char *const durabilities[] = {"", "buffered", "one", "quorum", NULL};
    static const char *const sloppy[] = {"", "yes", "no", NULL};
    struct request_options o = {0};
    uint64_t n = 0, r = 0, w = 0;
    if (args_u64(&c->args, "n", 1, 8, &n, message) != DYN_OK ||
        args_u64(&c->args, "r", 1, 8, &r, message) != DYN_OK ||
        args_u64(&c->args, "w", 1, 8, &w, message) != DYN_OK ||
        choose(c, "durability", durabilities, &o.durability, message) != DYN_OK ||
        choose(c, "sloppy", sloppy, &o.sloppy, message) != DYN_OK)
        return DYN_ERR_INVALID;
    o.n = (uint8_t)n;
    o.r = (uint8_t)r;
    o.w = (uint8_t)w;
    *out = o;
    return DYN_OK;
}
