/* SPDX-License-Identifier: Apache-2.0 */
/* What a node says of itself and of its view of the cluster: /v1/cluster (also FRAME_STATUS),
 * /v1/ring, /metrics. */
#ifndef DYN_HTTP_STATUS_H
#define DYN_HTTP_STATUS_H

#include "adapter/batch_server.h"
#include "adapter/http_server.h"
#include "engine/engine.h"
#include "http_metrics.h"
#include "port/store.h"

struct http_status {
    struct engine *engine;
    struct store_port store;
    const struct http_server *http;
    const struct batch_server *batches;
    const struct http_metrics *metrics;
    uint64_t node, started_us;
    struct time_port time;
};

void http_status_cluster(const struct http_status *s, struct buf *out); /* see FRAME_STATUS */
/* {"epoch": .., "q": .., "n": .., "from": .., "partitions": [["16 hex", ..], ..], "more": ..}: the
 * primaries of each partition from the one given on, at most 4096 of them. */
void http_status_ring(const struct http_status *s, uint32_t from, struct buf *out);
void http_status_metrics(const struct http_status *s, struct buf *out);

#endif
