/* SPDX-License-Identifier: Apache-2.0 */
/* See node_config.h. */
#include "node_config.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "adapter/cluster_file.h"
#include "adapter/secret_file.h"
#include "base/config.h"
#include "base/err.h"
#include "base/mem.h"

#define SCRUB_MAX_MS (366 * 86400 * 1000ull)
#define REAP_AFTER_MAX_MS (3660 * 86400 * 1000ull)
#define LEASE_MAX_MS (366 * 86400 * 1000ull)
#define SEEDS_MAX 64
#define MIB (1ull << 20)

bool address_is_loopback(const char *address)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon == NULL ? strlen(address) : (size_t)(colon - address);
    char *host = mem_strndup(address, len);
    struct in_addr v4;
    bool yes = strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
               (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
    free(host);
    return yes;
}

static char *beside(const char *config_path, const char *path)
{
    const char *slash = strrchr(config_path, '/');
    if (path[0] == '/' || slash == NULL)
        return mem_strdup(path);
    return mem_printf("%.*s/%s", (int)(slash - config_path), config_path, path);
}

static int required(struct config *cfg, const char *key, const char **out, char **message)
{
    int err = config_get_str(cfg, key, out, message);
    if (err == DYN_OK && *out == NULL) {
        *message = mem_printf("'%s' is missing", key);
        err = DYN_ERR_INVALID;
    }
    return err;
}

static int ms32(struct config *cfg, const char *key, uint32_t *out, char **message)
{
    uint64_t v = *out;
    int err = config_get_ms(cfg, key, 1, 3600000, &v, message);
    *out = (uint32_t)v;
    return err;
}

static int us64(struct config *cfg, const char *key, uint64_t *out, char **message)
{
    uint64_t v = *out / 1000;
    int err = config_get_ms(cfg, key, 1, 3600000, &v, message);
    *out = v * 1000;
    return err;
}

static int us64_up_to(struct config *cfg, const char *key, uint64_t max_ms, uint64_t *out,
                      char **message)
{
    uint64_t v = *out / 1000;
    int err = config_get_ms(cfg, key, 0, max_ms, &v, message);
    *out = v * 1000;
    return err;
}

static int us64_or_0(struct config *cfg, const char *key, uint64_t *out, char **message)
{
    return us64_up_to(cfg, key, 3600000, out, message);
}

static int u32(struct config *cfg, const char *key, uint64_t min, uint64_t max, uint32_t *out,
               char **message)
{
    uint64_t v = *out;
    int err = config_get_u64(cfg, key, min, max, &v, message);
    *out = (uint32_t)v;
    return err;
}

static int durability(struct config *cfg, enum durability *out, char **message)
{
    const char *text = "quorum";
    int err = config_get_str(cfg, "durability", &text, message);
    if (err != DYN_OK)
        return err;
    if (strcmp(text, "buffered") == 0) {
        *out = DURABILITY_BUFFERED;
    } else if (strcmp(text, "one") == 0) {
        *out = DURABILITY_ONE;
    } else if (strcmp(text, "quorum") == 0) {
        *out = DURABILITY_QUORUM;
    } else {
        *message = mem_strdup("'durability' is buffered, one or quorum");
        return DYN_ERR_INVALID;
    }
    return DYN_OK;
}

static int read_log(struct config *cfg, const char *path, struct node_config *c, char **message)
{
    const char *log = NULL, *level = "info";
    int err = config_get_str(cfg, "log", &log, message);
    if (err == DYN_OK)
        err = config_get_str(cfg, "log_level", &level, message);
    if (err == DYN_OK && log_level_parse(level, &c->log_level) != DYN_OK) {
        *message = mem_strdup("'log_level' is debug, info, warn or error");
        err = DYN_ERR_INVALID;
    }
    if (err == DYN_OK && log != NULL)
        c->log = beside(path, log);
    return err;
}

/* Separated by commas or blanks. */
static int read_seeds(const char *text, struct node_config *c, char **message)
{
    c->seeds_text = mem_strdup(text);
    for (char *at = c->seeds_text; *at != '\0';) {
        size_t len = strcspn(at, ", \t");
        char *next = at + len + (at[len] != '\0');
        at[len] = '\0';
        const char *colon = strrchr(at, ':');
        if (len > 0 && (colon == NULL || colon == at || colon[1] == '\0')) {
            *message = mem_printf("'seeds': '%s' is no HOST:PORT", at);
            return DYN_ERR_INVALID;
        }
        if (len > 0 && c->n_seeds == SEEDS_MAX) {
            *message = mem_strdup("'seeds': at most 64");
            return DYN_ERR_INVALID;
        }
        if (len > 0) {
            c->seeds = mem_reallocarray(c->seeds, c->n_seeds + 1, sizeof(*c->seeds));
            c->seeds[c->n_seeds++] = at;
        }
        at = next;
    }
    return DYN_OK;
}

static int read_identity(struct config *cfg, const char *path, struct node_config *c,
                         char **message)
{
    const char *node = NULL, *listen = NULL, *data = NULL, *cluster = NULL, *secret = NULL,
               *seeds = NULL;
    int err;
    if ((err = required(cfg, "node", &node, message)) != DYN_OK ||
        (err = required(cfg, "listen", &listen, message)) != DYN_OK ||
        (err = required(cfg, "data", &data, message)) != DYN_OK ||
        (err = config_get_str(cfg, "cluster_file", &cluster, message)) != DYN_OK ||
        (err = config_get_str(cfg, "seeds", &seeds, message)) != DYN_OK ||
        (err = required(cfg, "secret_file", &secret, message)) != DYN_OK ||
        (err = config_get_bool(cfg, "insecure", &c->insecure, message)) != DYN_OK)
        return err;
    if (node_id_parse(slice_str(node), &c->node) != DYN_OK) {
        *message = mem_strdup("'node' is 16 hexadecimal digits, not all 0");
        return DYN_ERR_INVALID;
    }
    if (!address_is_loopback(listen) && !c->insecure) {
        *message = mem_printf("'listen = %s' is reachable from other machines, and this version "
                              "speaks no TLS: listen on loopback, or say 'insecure = yes' in a "
                              "network that you trust",
                              listen);
        return DYN_ERR_DENIED;
    }
    c->listen = mem_strdup(listen);
    c->data = beside(path, data);
    c->cluster_file = cluster == NULL ? NULL : beside(path, cluster);
    if (seeds != NULL && (err = read_seeds(seeds, c, message)) != DYN_OK)
        return err;
    if (cluster == NULL && seeds == NULL) {
        *message = mem_strdup("'cluster_file' or 'seeds' is missing: what cluster is it of?");
        return DYN_ERR_INVALID;
    }
    char *secret_path = beside(path, secret);
    err = secret_file_load(secret_path, &c->secret, message);
    free(secret_path);
    return err;
}

/* Rounds of collection follow each other soon enough for it. */
static int upload_lease(struct config *cfg, struct engine_config *e, char **message)
{
    int err = config_get_ms(cfg, "upload_lease", 1000, LEASE_MAX_MS, &e->collect_lease_ms, message);
    e->collect_grace_ms = e->collect_lease_ms;
    if (e->collect_us > e->collect_lease_ms * 1000 / 4)
        e->collect_us = e->collect_lease_ms * 1000 / 4;
    return err;
}

static int read_limits(struct config *cfg, struct node_config *c, char **message)
{
    struct engine_config *e = &c->engine;
    struct http_server_config *h = &c->http;
    struct store_rocksdb_config *s = &c->store;
    int err;
    if ((err = durability(cfg, &e->durability, message)) != DYN_OK ||
        (err = config_get_bool(cfg, "sloppy", &e->sloppy, message)) != DYN_OK ||
        (err = us64(cfg, "request_timeout", &e->request_timeout_us, message)) != DYN_OK ||
        (err = us64(cfg, "replica_timeout", &e->replica_timeout_us, message)) != DYN_OK ||
        (err = config_get_size(cfg, "value_max", MIB, 32 * MIB, &e->value_max, message)) !=
            DYN_OK ||
        (err = config_get_size(cfg, "hints_max", 0, UINT64_MAX / 2, &e->hints_max_bytes,
                               message)) != DYN_OK ||
        (err = config_get_ms(cfg, "history", 0, SCRUB_MAX_MS, &e->history_ms, message)) != DYN_OK ||
        (err = config_get_size(cfg, "history_max", 0, UINT64_MAX / 4, &e->history_max, message)) !=
            DYN_OK ||
        (err = config_get_size(cfg, "history_key_max", 0, UINT64_MAX / 4, &e->history_key_max,
                               message)) != DYN_OK ||
        (err = us64_or_0(cfg, "background_target", &e->background_target_us, message)) != DYN_OK ||
        (err = us64_or_0(cfg, "exchange", &e->exchange_us, message)) != DYN_OK ||
        (err = us64_up_to(cfg, "scrub", SCRUB_MAX_MS, &e->scrub_us, message)) != DYN_OK ||
        (err = us64_or_0(cfg, "reap", &e->reap_us, message)) != DYN_OK ||
        (err = config_get_ms(cfg, "reap_after", 0, REAP_AFTER_MAX_MS, &e->reap_after_ms,
                             message)) != DYN_OK ||
        (err = us64_up_to(cfg, "retired_keep", REAP_AFTER_MAX_MS, &e->retired_us, message)) !=
            DYN_OK ||
        (err = upload_lease(cfg, e, message)) != DYN_OK ||
        (err = us64(cfg, "message_life", &e->message_life_us, message)) != DYN_OK ||
        (err = u32(cfg, "fragment_entries", 0, UINT32_MAX, &e->fragment_entries, message)) !=
            DYN_OK ||
        (err = u32(cfg, "fragment_rate", 0, UINT32_MAX, &e->fragment_rate, message)) != DYN_OK ||
        (err = u32(cfg, "clock_pairs", 1, 1000, &e->clock_pairs, message)) != DYN_OK ||
        (err = config_get_ms(cfg, "clock_age", 0, UINT64_MAX / 2, &e->clock_age_ms, message)) !=
            DYN_OK ||
        (err = u32(cfg, "requests_max", 1, 1000000, &e->requests_max, message)) != DYN_OK ||
        (err = u32(cfg, "connections_max", 8, 100000, &h->connections_max, message)) != DYN_OK ||
        (err = ms32(cfg, "head_timeout", &h->head_timeout_ms, message)) != DYN_OK ||
        (err = ms32(cfg, "idle_timeout", &h->idle_timeout_ms, message)) != DYN_OK ||
        (err = ms32(cfg, "write_timeout", &h->write_timeout_ms, message)) != DYN_OK ||
        (err = u32(cfg, "body_rate", 0, 1u << 30, &h->body_rate, message)) != DYN_OK ||
        (err = config_get_size(cfg, "bodies_max", 80 * MIB, UINT64_MAX / 2, &h->bodies_max,
                               message)) != DYN_OK ||
        (err = config_get_size(cfg, "answers_max", 32 * MIB, UINT64_MAX / 2, &h->answers_max,
                               message)) != DYN_OK ||
        (err = config_get_size(cfg, "cache_size", MIB, UINT64_MAX / 2, &s->cache_bytes, message)) !=
            DYN_OK ||
        (err = config_get_size(cfg, "write_buffer", MIB, UINT64_MAX / 2, &s->write_buffer_bytes,
                               message)) != DYN_OK ||
        (err = config_get_size(cfg, "file_bytes", 0, UINT64_MAX / 2, &s->file_bytes, message)) !=
            DYN_OK ||
        (err = u32(cfg, "object_buffer", 0, 1000000, &s->buffer_objects, message)) != DYN_OK ||
        (err = config_get_size(cfg, "ballast", 0, UINT64_MAX / 2, &s->ballast_bytes, message)) !=
            DYN_OK ||
        (err = config_get_size(cfg, "reserve", 0, UINT64_MAX / 2, &s->reserve_bytes, message)) !=
            DYN_OK)
        return err;
    h->body_max = e->value_max;
    return DYN_OK;
}

int node_config_load(const char *path, struct node_config *out, char **message)
{
    struct config *cfg = NULL;
    struct node_config c = {.log_level = LOG_LEVEL_INFO};
    int err = config_load(path, &cfg, message);
    if (err != DYN_OK)
        return err;
    engine_config_defaults(&c.engine);
    http_server_config_defaults(&c.http);
    c.http.head_max = 128u << 10; /* a context of many siblings is long */
    c.store = store_rocksdb_config_default();
    if ((err = read_log(cfg, path, &c, message)) == DYN_OK &&
        (err = read_limits(cfg, &c, message)) == DYN_OK)
        err = read_identity(cfg, path, &c, message);
    if (err == DYN_OK && config_unknown(cfg) != NULL) {
        *message = mem_printf("unknown key '%s'", config_unknown(cfg));
        err = DYN_ERR_INVALID;
    }
    config_free(cfg);
    if (err != DYN_OK) {
        char *with_path = mem_printf("%s: %s", path, *message);
        free(*message);
        *message = with_path;
        node_config_release(&c);
        return err;
    }
    c.engine.node = c.node;
    c.engine.secret = buf_slice(&c.secret);
    c.engine.seeds = (const char *const *)c.seeds;
    c.engine.n_seeds = c.n_seeds;
    c.http.listen = c.listen;
    c.store.path = c.data;
    c.store.node = c.node;
    *out = c;
    return DYN_OK;
}

void node_config_release(struct node_config *c)
{
    free(c->listen);
    free(c->data);
    free(c->cluster_file);
    free(c->seeds);
    free(c->seeds_text);
    free(c->log);
    secret_file_release(&c->secret);
}
