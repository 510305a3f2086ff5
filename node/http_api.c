/* SPDX-License-Identifier: Apache-2.0 */
/* See http_api.h. */
#include "http_api.h"

#include "base/err.h"
#include "http_cluster.h"
#include "http_conflicts.h"
#include "http_history.h"
#include "http_query.h"
#include "http_settings.h"

static void reply_json(struct http_request *r, struct buf *body)
{
    http_reply(r, 200, "application/json", body);
}

static void take_cluster(struct http_api *api, struct http_request *r)
{
    struct buf body = BUF_EMPTY;
    http_status_cluster(&api->status, &body);
    reply_json(r, &body);
}

/* ?from=N: the first partition of the page. */
static void take_ring(struct http_api *api, struct http_request *r)
{
    struct slice query = http_request_query(r);
    struct slice prefix = slice_str("from=");
    uint32_t q = ring_q(engine_ring(api->status.engine)), from = 0;
    bool ok = query.len == 0 || (slice_has_prefix(query, prefix) && query.len > prefix.len);
    for (size_t i = prefix.len; ok && i < query.len; i++) {
        ok = query.data[i] >= '0' && query.data[i] <= '9' && from < q;
        from = from * 10 + (ok ? query.data[i] - (uint32_t)'0' : 0);
    }
    if (!ok || from >= q) {
        http_reply_failure(r, DYN_ERR_INVALID, "from is a partition's number", 0, 0);
        return;
    }
    struct buf body = BUF_EMPTY;
    http_status_ring(&api->status, from, &body);
    reply_json(r, &body);
}

static void take_metrics(struct http_api *api, struct http_request *r)
{
    struct buf body = BUF_EMPTY;
    http_status_metrics(&api->status, &body);
    http_reply(r, 200, "text/plain; version=0.0.4", &body);
}

static void take_health(struct http_api *api, struct http_request *r)
{
    (void)api;
    struct buf body = BUF_EMPTY;
    buf_put_str(&body, "{\"status\":\"ready\"}\n");
    reply_json(r, &body);
}

static void take_conflicts(struct http_api *api, struct http_request *r)
{
    http_conflicts_take(&api->kv, r);
}

static void take_batch(struct http_api *api, struct http_request *r)
{
    batch_server_take(api->batches, r, false);
}

static void take_peer_batch(struct http_api *api, struct http_request *r)
{
    batch_server_take(api->batches, r, true);
}

static const struct route {
    const char *path;
    bool posts; /* POST, else GET and HEAD */
    void (*take)(struct http_api *api, struct http_request *r);
} routes[] = {
    {"/internal/batch", true, take_peer_batch}, {"/v1/batch", true, take_batch},
    {"/healthz", false, take_health},           {"/metrics", false, take_metrics},
    {"/v1/cluster", false, take_cluster},       {"/v1/ring", false, take_ring},
    {"/v1/conflicts", false, take_conflicts},
};

static bool below(struct slice path, const char *root, struct slice *rest)
{
    struct slice prefix = slice_str(root);
    if (!slice_has_prefix(path, prefix))
        return false;
    *rest = slice_of(path.data + prefix.len, path.len - prefix.len);
    return true;
}

static bool method_fits(struct http_request *r, bool posts)
{
    enum http_method m = http_request_method(r);
    if (posts ? m == HTTP_POST : m == HTTP_GET || m == HTTP_HEADERS)
        return true;
    http_reply_header(r, "Allow", posts ? "POST" : "GET, HEAD");
    http_reply_error(r, 405, "method", posts ? "only POST goes here" : "only GET goes here");
    return false;
}

void http_api_take(struct http_api *api, struct http_request *r)
{
    struct slice path = http_request_path(r), rest;
    if (!api->ready) {
        http_reply_error(r, 503, "starting", "the node is not ready yet");
        return;
    }
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
        if (slice_equal(path, slice_str(routes[i].path))) {
            if (method_fits(r, routes[i].posts))
                routes[i].take(api, r);
            return;
        }
    bool all_settings = slice_equal(path, slice_str("/v1/settings"));
    if (below(path, "/v1/cluster/", &rest)) {
        http_cluster_take(&api->status, r, rest);
    } else if (all_settings || below(path, "/v1/settings/", &rest)) {
        if (all_settings)
            rest = slice_of(NULL, 0);
        http_settings_take(&api->kv, r, rest, all_settings);
    } else if (below(path, "/v1/kv/", &rest)) {
        http_kv_take(&api->kv, r, rest);
    } else if (below(path, "/v1/history/", &rest)) {
        if (method_fits(r, false))
            http_history_take(&api->kv, api->status.engine, r, rest);
    } else if (below(path, "/v1/dir/", &rest) || slice_equal(path, slice_str("/v1/dir"))) {
        if (slice_equal(path, slice_str("/v1/dir")))
            rest = slice_of(NULL, 0);
        if (method_fits(r, false))
            http_dir_take(&api->kv, r, rest);
    } else {
        http_reply_error(
            r, 404, "no_such_page",
            "there is /v1/kv/KEY, /v1/dir/DIR, /v1/history/KEY, /v1/settings/DIR, /v1/cluster, "
            "/v1/ring, /v1/conflicts, /healthz and /metrics");
    }
}
