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
#define HINT_TARGETS 64u /* more are counted, not named */

static const struct stat_field {
    const char *name, *type, *help;
    size_t at;
} fields[] = {
#define FIELD(name, type, help)                                                                    \
    {                                                                                              \
#name, type, help, offsetof(struct engine_stats, name)                                     \
    }
    FIELD(gets, "counter", "Reads of keys that clients asked this node for."),
    FIELD(puts, "counter", "Writes that clients asked this node for."),
    FIELD(deletes, "counter", "Deletes that clients asked this node for."),
    FIELD(lists, "counter", "Pages of directories that clients asked this node for."),
    FIELD(coordinated, "counter", "Writes that this node coordinated."),
    FIELD(forwarded, "counter", "Writes passed on to a primary."),
    FIELD(values_extended, "counter",
          "Values made of the bytes that were here and those that were appended."),
    FIELD(bases_lacking, "counter",
          "Values that could not be made so, and were sent whole instead."),
    FIELD(failed_no_quorum, "counter", "Requests that too few nodes answered."),
    FIELD(failed_timeout, "counter", "Requests that were not done by their deadline."),
    FIELD(read_repairs, "counter", "Copies found behind by a read and written again."),
    FIELD(stale_replies, "counter", "Copies that were behind when a read was answered."),
    FIELD(stale_reads, "counter", "Reads in which some copy was behind."),
    FIELD(direct_gets, "counter",
          "Copies shown to clients that coordinate their reads themselves."),
    FIELD(told_behind, "counter", "Keys compared at all replicas because a client said so."),
    FIELD(exchanges, "counter", "Comparisons of trees with a peer that ended well."),
    FIELD(exchange_differing, "counter", "Rows found different from a peer's."),
    FIELD(exchange_repaired, "counter", "Rows brought level with a peer's."),
    FIELD(exchange_bytes, "counter", "Bytes of questions and answers about trees."),
    FIELD(scrub_rounds, "counter", "Times that the scrub has been through all rows."),
    FIELD(scrub_rows, "counter", "Rows that the scrub has looked at."),
    FIELD(scrub_bytes, "counter", "Bytes of values that the scrub has read."),
    FIELD(scrub_bad_leaves, "counter", "Leaves of trees that were not what their rows make them."),
    FIELD(scrub_bad_values, "counter", "Values found missing or rotten on this node."),
    FIELD(scrub_healed, "counter", "Values that the scrub has fetched again."),
    FIELD(bad_rows, "counter", "Rows of objects on this node that could not be read."),
    FIELD(bad_rows_mended, "counter", "Of these, replaced by what all other replicas have."),
    FIELD(scrub_owed, "counter", "Entries that the scrub found behind their objects."),
    FIELD(scrub_ghosts, "counter", "Entries replaced because no copy had what they showed."),
    FIELD(hints_stored, "counter", "Hints taken: writes kept for another node."),
    FIELD(hints_drained, "counter", "Hints handed over."),
    FIELD(hint_refused, "counter", "Writes refused because the hint store is full."),
    FIELD(hints_now, "gauge", "Hints held now."),
    FIELD(hints_bytes, "gauge", "Bytes that the hints held now stand for."),
    FIELD(kept_now, "gauge", "Versions that were replaced or deleted, and are kept for a while."),
    FIELD(kept_bytes, "gauge", "Bytes of these."),
    FIELD(reconciled, "counter", "Conflicts settled by the rule of their directory."),
    FIELD(late_copies, "counter", "Puts that came again after what they wrote had gone."),
    FIELD(wide_writes, "counter", "Writes that left 100 versions or more side by side."),
    FIELD(refused_wide, "counter", "Writes refused because 1,000 versions stand side by side."),
    FIELD(owed_now, "gauge", "Entries and directories still owed."),
    FIELD(owed_projected, "counter", "Entries projected because nobody had done it in time."),
    FIELD(implicit_dirs, "counter", "Directories made for what lies under them."),
    FIELD(chunks_collected, "counter", "Chunks that nothing named any more, removed."),
    FIELD(tombstones, "gauge", "Deletes that have left a record here."),
    FIELD(tombstones_young, "gauge", "Of them, those that are not to be reaped yet."),
    FIELD(tombstones_prepared, "gauge", "Of those that this node leads, prepared ones."),
    FIELD(reap_blocked_away, "gauge", "Not reaped: a node is away or does not answer."),
    FIELD(reap_blocked_hints, "gauge", "Not reaped: some node keeps hints of the partition."),
    FIELD(reap_blocked_copies, "gauge", "Not reaped: some node keeps copies it owns no more."),
    FIELD(reap_blocked_moving, "gauge", "Not reaped: the partition moves."),
    FIELD(reap_blocked_differ, "gauge", "Not reaped: replicas differ, or an entry is owed."),
    FIELD(reap_prepared, "counter", "Rows of deletes prepared to be reaped."),
    FIELD(reap_cancelled, "counter", "Prepared ones that something came to."),
    FIELD(reaped, "counter", "Deletes of which this node keeps nothing any more."),
    FIELD(reaped_entries, "counter", "Their entries in directories that are gone as well."),
    FIELD(reap_too_old, "counter", "Messages that came too late to be believed."),
    FIELD(fragment_moves, "counter", "Entries moved between fragments of their directories."),
    FIELD(fragments_pending, "gauge",
          "Directories about to be split, or with entries here that are still to be moved."),
    FIELD(retired_partitions, "gauge", "Partitions kept here that others own now."),
    FIELD(retired_rows, "counter", "Rows of such partitions dropped."),
    FIELD(thin_now, "gauge", "Copies here whose values others keep, by the N of their directory."),
    FIELD(thin_let_go, "counter", "Values let go of because of it."),
    FIELD(thin_fetched, "counter", "Copies whose values were fetched back."),
    FIELD(in_flight, "gauge", "Client requests being worked on."),
    FIELD(gossip_sent, "counter", "Messages of gossip sent."),
    FIELD(gossip_exchanges, "counter", "Exchanges of histories, where digests differed."),
    FIELD(partitions_filled, "counter", "Partitions brought to this node."),
    FIELD(transfer_rows, "counter", "Rows brought to this node with partitions."),
    FIELD(transfer_bytes, "counter", "Bytes of the messages that brought them."),
    FIELD(watch_sessions, "gauge", "Clients that this node tells of changes."),
    FIELD(watch_dirs, "gauge", "Directories that they want to be told of, each client's counted."),
    FIELD(watch_bytes, "gauge", "Memory that this takes."),
    FIELD(watch_answers, "counter", "Answers to clients that wait for changes, empty ones too."),
    FIELD(watch_events, "counter", "Changes told to them."),
    FIELD(watch_wholesale, "counter", "Times that there were too many to tell them one by one."),
    FIELD(watch_refused, "counter", "Directories and clients refused because there are too many."),
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
    json_add_u64(j, "hint_bytes", p->hint_bytes);
    json_add_u64(j, "hint_age_ms", p->hint_age_ms);
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

static const char *const latency_names[LATENCIES] = {"get", "put", "list"};

/* Buckets as pairs of bound and count, the empty ones left out: so that nodes can be added up. */
static void add_latencies(struct json *j, const struct engine *e)
{
    struct json *all = json_add_object(j, "latency_us");
    for (unsigned i = 0; i < LATENCIES; i++) {
        const struct histogram *h = engine_latency(e, i);
        struct json *one = json_add_object(all, latency_names[i]);
        json_add_u64(one, "count", h->count);
        json_add_u64(one, "sum", h->sum);
        json_add_u64(one, "p50", histogram_quantile(h, 5000));
        json_add_u64(one, "p99", histogram_quantile(h, 9900));
        json_add_u64(one, "p999", histogram_quantile(h, 9990));
        struct json *buckets = json_add_array(one, "buckets");
        for (uint32_t k = 0; k < HISTOGRAM_BUCKETS; k++) {
            if (h->counts[k] == 0)
                continue;
            struct json *pair = json_add_array(buckets, NULL);
            json_add_u64(pair, NULL, histogram_bound(k));
            json_add_u64(pair, NULL, h->counts[k]);
        }
    }
}

static void add_hints(struct json *j, const struct engine *e)
{
    struct engine_hints targets[HINT_TARGETS];
    uint32_t n = engine_hints(e, targets, HINT_TARGETS);
    struct json *all = json_add_array(j, "hints");
    for (uint32_t i = 0; i < n && i < HINT_TARGETS; i++) {
        struct json *one = json_add_object(all, NULL);
        add_node(one, "target", targets[i].target);
        json_add_u64(one, "count", targets[i].count);
        json_add_u64(one, "bytes", targets[i].bytes);
        json_add_u64(one, "oldest_ms", targets[i].oldest_ms);
    }
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
    json_add_u64(m, "voteless", moves.voteless);
    add_latencies(j, s->engine);
    add_hints(j, s->engine);
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

static void describe(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP dynamount_%s %s\n# TYPE dynamount_%s %s\n", name, help, name, type);
}

static void metric(struct buf *out, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    char *full = mem_printf("%s%s", name, strcmp(type, "counter") == 0 ? "_total" : "");
    describe(out, full, type, help);
    buf_printf(out, "dynamount_%s %llu\n", full, (unsigned long long)value);
    free(full);
}

static void metrics_reads(const struct engine_stats *stats, struct buf *out)
{
    describe(out, "sibling_reads_total", "counter", "Reads by how many versions they found.");
    for (unsigned i = 0; i < 4; i++)
        buf_printf(out, "dynamount_sibling_reads_total{versions=\"%u%s\"} %llu\n", i + 1,
                   i == 3 ? "+" : "", (unsigned long long)stats->sibling_reads[i]);
}

static void metrics_latency(const struct engine *e, struct buf *out)
{
    static const struct {
        const char *label;
        uint32_t of_10000;
    } quantiles[] = {{"0.5", 5000}, {"0.99", 9900}, {"0.999", 9990}};
    const char *name = "dynamount_request_seconds";
    describe(out, "request_seconds", "summary",
             "Time from a client request's arrival to its answer, since the node started.");
    for (unsigned i = 0; i < LATENCIES; i++) {
        const struct histogram *h = engine_latency(e, i);
        for (unsigned q = 0; q < 3; q++)
            buf_printf(out, "%s{op=\"%s\",quantile=\"%s\"} %.6f\n", name, latency_names[i],
                       quantiles[q].label,
                       (double)histogram_quantile(h, quantiles[q].of_10000) / 1e6);
        buf_printf(out, "%s_sum{op=\"%s\"} %.6f\n", name, latency_names[i], (double)h->sum / 1e6);
        buf_printf(out, "%s_count{op=\"%s\"} %llu\n", name, latency_names[i],
                   (unsigned long long)h->count);
    }
}

static void metrics_background(const struct engine *e, struct buf *out)
{
    static const char *const kinds[WORK_KINDS] = {"hints", "exchange", "transfer", "scrub", "reap"};
    struct admission_stats s;
    engine_background(e, &s);
    describe(out, "background_slices_total", "counter", "Slices granted to background work.");
    for (unsigned i = 0; i < WORK_KINDS; i++)
        buf_printf(out, "dynamount_background_slices_total{work=\"%s\"} %llu\n", kinds[i],
                   (unsigned long long)s.granted[i]);
    metric(out, "background_floor_slices", "counter", "Slices that only a floor let through.",
           s.by_floor);
    metric(out, "background_waiting", "gauge", "Background work that waits for a slice.",
           s.waiting);
    metric(out, "background_rate", "gauge", "Slices a second that are granted now.", s.rate);
    metric(out, "foreground_p99_microseconds", "gauge",
           "99 of 100 recent requests took no longer; 0: too few to tell.", s.p99_us);
}

static void metrics_hints(const struct engine *e, struct buf *out)
{
    struct engine_hints targets[HINT_TARGETS];
    uint32_t n = engine_hints(e, targets, HINT_TARGETS);
    char id[NODE_ID_TEXT_LEN + 1];
    if (n > HINT_TARGETS)
        n = HINT_TARGETS;
    describe(out, "hints_held", "gauge", "Hints by the node that they are for.");
    for (uint32_t i = 0; i < n; i++) {
        node_id_format(targets[i].target, id);
        buf_printf(out, "dynamount_hints_held{target=\"%s\"} %llu\n", id,
                   (unsigned long long)targets[i].count);
    }
    describe(out, "hints_held_bytes", "gauge", "Bytes of the hints by target.");
    for (uint32_t i = 0; i < n; i++) {
        node_id_format(targets[i].target, id);
        buf_printf(out, "dynamount_hints_held_bytes{target=\"%s\"} %llu\n", id,
                   (unsigned long long)targets[i].bytes);
    }
    describe(out, "hints_oldest_seconds", "gauge", "Age of the oldest hint by target.");
    for (uint32_t i = 0; i < n; i++) {
        node_id_format(targets[i].target, id);
        buf_printf(out, "dynamount_hints_oldest_seconds{target=\"%s\"} %.3f\n", id,
                   (double)targets[i].oldest_ms / 1e3);
    }
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
        metric(out, fields[i].name, fields[i].type, fields[i].help, field(&stats, &fields[i]));
    metrics_reads(&stats, out);
    metrics_latency(s->engine, out);
    metrics_hints(s->engine, out);
    struct engine_moves moves;
    engine_moves(s->engine, &moves);
    metric(out, "partitions_moving", "gauge", "Partitions not settled in the cluster.",
           moves.moving);
    metric(out, "partitions_filling_here", "gauge", "Partitions on their way to this node.",
           moves.filling_here);
    metric(out, "partitions_leaving_here", "gauge", "Partitions that leave this node.",
           moves.leaving_here);
    metric(
        out, "partitions_voteless", "gauge",
        "Partitions whose copies here count in no read yet: the disk was older than what this node "
        "has acknowledged.",
        moves.voteless);
    metrics_background(s->engine, out);
    metric(out, "disk_used_bytes", "gauge", "Bytes of the store's files.", disk.bytes_used);
    metric(out, "disk_free_bytes", "gauge", "Free bytes of the store's disk.", disk.bytes_free);
    metric(out, "store_writes", "counter", "Batches written.", disk.writes);
    metric(out, "store_syncs", "counter", "Syncs of the log.", disk.syncs);
    metric(out, "store_buffered", "gauge",
           "Batches in the object buffer, which the kernel has yet to get.", disk.buffered);
    metric(out, "store_buffer_full", "counter",
           "Batches that found the object buffer full and waited to be written.", disk.buffer_full);
    metric(out, "store_reads_memory", "counter", "Reads met in memory.", disk.reads_memory);
    metric(out, "store_reads_disk", "counter", "Reads that went to disk.", disk.reads_disk);
    metric(out, "http_connections", "gauge", "Open connections.", http.connections);
    metric(out, "http_requests", "counter", "Requests that were clean HTTP.", http.requests);
    metric(out, "http_refused", "counter", "Requests refused as unclean.", http.refused);
    metric(out, "http_batches_open", "gauge", "Batches of frames being answered.",
           batch_server_open(s->batches));
    http_metrics_print(s->metrics, out);
}
