/* SPDX-License-Identifier: Apache-2.0 */
/* See http_status.h. One table names the engine's counters, for JSON and for Prometheus alike. */
#include "http_status.h"

#include <stddef.h>
#include <stdlib.h>

#include "adapter/cluster_file.h"
#include "base/json.h"
#include "base/mem.h"

#define RING_PAGE 4096u
#define PRIMARIES_MAX 8u

static const struct stat_field {
    const char *name, *type;
    size_t at;
} fields[] = {
#define FIELD(name, type)                                                                          \
    {                                                                                              \
#name, type, offsetof(struct engine_stats, name)                                           \
    }
    FIELD(gets, "counter"),
    FIELD(puts, "counter"),
    FIELD(deletes, "counter"),
    FIELD(lists, "counter"),
    FIELD(coordinated, "counter"),
    FIELD(forwarded, "counter"),
    FIELD(failed_no_quorum, "counter"),
    FIELD(failed_timeout, "counter"),
    FIELD(read_repairs, "counter"),
    FIELD(stale_replies, "counter"),
    FIELD(hints_stored, "counter"),
    FIELD(hints_drained, "counter"),
    FIELD(hints_now, "gauge"),
    FIELD(hints_bytes, "gauge"),
    FIELD(wide_writes, "counter"),
    FIELD(refused_wide, "counter"),
    FIELD(owed_now, "gauge"),
    FIELD(owed_projected, "counter"),
    FIELD(implicit_dirs, "counter"),
    FIELD(chunks_collected, "counter"),
    FIELD(in_flight, "gauge"),
    FIELD(gossip_sent, "counter"),
    FIELD(gossip_exchanges, "counter"),
    FIELD(partitions_filled, "counter"),
    FIELD(transfer_rows, "counter"),
    FIELD(transfer_bytes, "counter"),
#undef FIELD
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static uint64_t field(const struct engine_stats *s, const struct stat_field *f)
{
    uint64_t v;
    memcpy(&v, (const char *)s + f->at, sizeof(v));
    return v;
}

static void add_node(struct json *j, const char *name, uint64_t node)
{
    char text[NODE_ID_TEXT_LEN + 1];
    node_id_format(node, text);
    json_add_str(j, name, text);
}

static void add_epoch(struct json *j, const struct ring *ring)
{
    const struct history_epoch *epoch = ring_epoch(ring);
    struct json *e = json_add_object(j, "epoch");
    json_add_u64(e, "length", epoch->length);
    json_add_hex(e, "digest", slice_of(epoch->digest, sizeof(epoch->digest)));
}

static void add_member(struct json *members, const struct ring_member *m,
                       const struct engine_peer *peers, uint32_t n_peers)
{
    static const struct engine_peer self = {.up = true};
    const struct engine_peer *p = &self;
    for (uint32_t i = 0; i < n_peers; i++)
        if (peers[i].node == m->node)
            p = &peers[i];
    struct json *j = json_add_object(members, NULL);
    add_node(j, "node", m->node);
    json_add_str(j, "address", m->address);
    if (m->zone != NULL)
        json_add_bytes(j, "zone", slice_str(m->zone));
    json_add_u64(j, "weight", m->weight);
    json_add_u64(j, "tokens", m->tokens);
    json_add_bool(j, "up", p->up);
    json_add_u64(j, "rtt_us", p->rtt_us);
    json_add_u64(j, "down_us", p->down_us);
    json_add_u64(j, "hints", p->hints);
}

static void add_members(struct json *j, const struct http_status *s, const struct ring *ring)
{
    uint32_t n = ring_member_count(ring);
    struct engine_peer *peers = mem_reallocarray(NULL, n, sizeof(*peers));
    uint32_t n_peers = engine_peers(s->engine, peers, n);
    struct json *members = json_add_array(j, "members");
    for (uint32_t i = 0; i < n; i++)
        add_member(members, ring_member_at(ring, i), peers, n_peers);
    free(peers);
}

void http_status_cluster(const struct http_status *s, struct buf *out)
{
    const struct ring *ring = engine_ring(s->engine);
    struct engine_stats stats;
    struct store_stats disk = {0};
    engine_stats(s->engine, &stats);
    s->store.stats(s->store.ctx, &disk);
    struct json *j = json_object();
    add_node(j, "node", s->node);
    add_node(j, "cluster", ring_cluster(ring));
    json_add_str(j, "version", DYNAMOUNT_VERSION);
    json_add_u64(j, "uptime_s", (s->time.mono_us(s->time.ctx) - s->started_us) / 1000000);
    json_add_u64(j, "q", ring_q(ring));
    json_add_u64(j, "n", ring_n(ring));
    json_add_u64(j, "r", ring_r(ring));
    json_add_u64(j, "w", ring_w(ring));
    add_epoch(j, ring);
    add_members(j, s, ring);
    struct json *counters = json_add_object(j, "stats");
    for (size_t i = 0; i < N_FIELDS; i++)
        json_add_u64(counters, fields[i].name, field(&stats, &fields[i]));
    struct json *reads = json_add_array(counters, "sibling_reads");
    for (size_t i = 0; i < sizeof(stats.sibling_reads) / sizeof(stats.sibling_reads[0]); i++)
        json_add_u64(reads, NULL, stats.sibling_reads[i]);
    struct engine_moves moves;
    engine_moves(s->engine, &moves);
    struct json *m = json_add_object(j, "moves");
    json_add_u64(m, "moving", moves.moving);
    json_add_u64(m, "filling_here", moves.filling_here);
    json_add_u64(m, "leaving_here", moves.leaving_here);
    struct json *d = json_add_object(j, "disk");
    json_add_u64(d, "used", disk.bytes_used);
    json_add_u64(d, "free", disk.bytes_free);
    json_print(j, false, out);
    buf_put_str(out, "\n");
    json_free(j);
}

void http_status_ring(const struct http_status *s, uint32_t from, struct buf *out)
{
    const struct ring *ring = engine_ring(s->engine);
    struct json *j = json_object();
    uint32_t q = ring_q(ring), end = q - from > RING_PAGE ? from + RING_PAGE : q;
    add_epoch(j, ring);
    json_add_u64(j, "q", q);
    json_add_u64(j, "n", ring_n(ring));
    json_add_u64(j, "from", from);
    struct json *partitions = json_add_array(j, "partitions");
    for (uint32_t p = from; p < end; p++) {
        uint64_t nodes[PRIMARIES_MAX];
        uint32_t want = ring_n(ring) < PRIMARIES_MAX ? ring_n(ring) : PRIMARIES_MAX;
        uint32_t n = ring_preference_list(ring, p, ring_n(ring), nodes, want);
        struct json *list = json_add_array(partitions, NULL);
        for (uint32_t i = 0; i < n; i++)
            add_node(list, NULL, nodes[i]);
    }
    json_add_bool(j, "more", end < q);
    json_print(j, false, out);
    buf_put_str(out, "\n");
    json_free(j);
}

static void metric(struct buf *out, const char *prefix, const char *name, const char *type,
                   uint64_t value)
{
    const char *total = strcmp(type, "counter") == 0 ? "_total" : "";
    buf_printf(out, "# TYPE dynamount_%s%s%s %s\ndynamount_%s%s%s %llu\n", prefix, name, total,
               type, prefix, name, total, (unsigned long long)value);
}

void http_status_metrics(const struct http_status *s, struct buf *out)
{
    struct engine_stats stats;
    struct store_stats disk = {0};
    struct http_server_stats http;
    engine_stats(s->engine, &stats);
    s->store.stats(s->store.ctx, &disk);
    http_server_stats(s->http, &http);
    for (size_t i = 0; i < N_FIELDS; i++)
        metric(out, "", fields[i].name, fields[i].type, field(&stats, &fields[i]));
    buf_put_str(out, "# TYPE dynamount_sibling_reads_total counter\n");
    for (unsigned i = 0; i < 4; i++)
        buf_printf(out, "dynamount_sibling_reads_total{versions=\"%u%s\"} %llu\n", i + 1,
                   i == 3 ? "+" : "", (unsigned long long)stats.sibling_reads[i]);
    struct engine_moves moves;
    engine_moves(s->engine, &moves);
    metric(out, "", "partitions_moving", "gauge", moves.moving);
    metric(out, "", "partitions_filling_here", "gauge", moves.filling_here);
    metric(out, "", "partitions_leaving_here", "gauge", moves.leaving_here);
    metric(out, "disk_", "used_bytes", "gauge", disk.bytes_used);
    metric(out, "disk_", "free_bytes", "gauge", disk.bytes_free);
    metric(out, "store_", "writes", "counter", disk.writes);
    metric(out, "store_", "syncs", "counter", disk.syncs);
    metric(out, "store_", "reads_memory", "counter", disk.reads_memory);
    metric(out, "store_", "reads_disk", "counter", disk.reads_disk);
    metric(out, "http_", "connections", "gauge", http.connections);
    metric(out, "http_", "requests", "counter", http.requests);
    metric(out, "http_", "refused", "counter", http.refused);
    metric(out, "http_", "batches_open", "gauge", batch_server_open(s->batches));
    http_metrics_print(s->metrics, out);
}
