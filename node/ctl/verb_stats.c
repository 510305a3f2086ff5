/* SPDX-License-Identifier: Apache-2.0 */
/* dynactl stats: the figures that the Dynamo paper gives of itself, of each node and of all
 * together: how many versions reads saw (section 6.3), how often copies were behind, what hinted
 * handoff still holds, and how long requests took. Counters are since a node's start; with --watch,
 * since the last look. */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "adapter/cluster_file.h"
#include "base/err.h"
#include "base/histogram.h"
#include "base/mem.h"
#include "ctl/survey.h"

static const struct args_option options[] = {
    {"watch", "TIME", "look again and again, this often, and show what came in between", 0},
    {"count", "N", "with --watch: so many times", 0},
    {NULL, NULL, NULL, 0},
};

static const char help[] =
    "Shows what the nodes count, each and all together: the share of reads that saw one version,\n"
    "two, three, four or more; reads in which a copy was behind, and copies repaired; how long\n"
    "requests took (half, 99 % and 99.9 % of them were faster); hints, by whom they are for; and\n"
    "what is left of deletes, and why.\n"
    "Counters begin when a node starts. A time is right to an eighth.\n"
    "\n"
    "Examples:\n"
    "  dynactl --node 127.0.0.1:7000 stats\n"
    "  dynactl stats --watch 2s\n"
    "  dynactl stats --json | jq '.sum.latency_us.get.p999'\n";

enum op { OP_GET, OP_PUT, OP_LIST, OPS };
static const char *const op_names[OPS] = {"get", "put", "list"};

enum counter {
    READS_1,
    READS_2,
    READS_3,
    READS_4,
    GETS,
    PUTS,
    DELETES,
    LISTS,
    STALE_READS,
    REPAIRS,
    NO_QUORUM,
    TIMEOUTS,
    HINTS_STORED,
    HINTS_DRAINED,
    HINT_REFUSED,
    REAPED,
    COUNTERS
};
static const char *const counter_names[COUNTERS] = {
    [GETS] = "gets",
    [PUTS] = "puts",
    [DELETES] = "deletes",
    [LISTS] = "lists",
    [STALE_READS] = "stale_reads",
    [REPAIRS] = "read_repairs",
    [NO_QUORUM] = "failed_no_quorum",
    [TIMEOUTS] = "failed_timeout",
    [HINTS_STORED] = "hints_stored",
    [HINTS_DRAINED] = "hints_drained",
    [HINT_REFUSED] = "hint_refused",
    [REAPED] = "reaped",
};

/* Deletes that have left a record, on how many nodes, and why some of them stay. */
enum gauge {
    DEAD,
    DEAD_YOUNG,
    DEAD_PREPARED,
    KEPT_AWAY,
    KEPT_HINTS,
    KEPT_COPIES,
    KEPT_MOVING,
    KEPT_DIFFER,
    RETIRED,
    GAUGES
};
static const char *const gauge_names[GAUGES] = {
    [DEAD] = "tombstones",
    [DEAD_YOUNG] = "tombstones_young",
    [DEAD_PREPARED] = "tombstones_prepared",
    [KEPT_AWAY] = "reap_blocked_away",
    [KEPT_HINTS] = "reap_blocked_hints",
    [KEPT_COPIES] = "reap_blocked_copies",
    [KEPT_MOVING] = "reap_blocked_moving",
    [KEPT_DIFFER] = "reap_blocked_differ",
    [RETIRED] = "retired_partitions",
};
static const char *const gauge_reasons[GAUGES] = {
    [KEPT_AWAY] = "a node is away",
    [KEPT_HINTS] = "some node keeps hints of that partition",
    [KEPT_COPIES] = "some node keeps copies of what it owns no more",
    [KEPT_MOVING] = "the partition moves",
    [KEPT_DIFFER] = "copies differ, or a directory's entry is owed",
};

struct figures {
    uint64_t counters[COUNTERS];
    struct histogram latency[OPS];
    uint64_t hints, hint_bytes; /* now */
    uint64_t gauges[GAUGES];
};

/* ---- from what a node told ---- */

static void take_latency(struct histogram *h, const struct json *told)
{
    const struct json *buckets = told == NULL ? NULL : json_get(told, "buckets");
    for (const struct json *pair = buckets == NULL ? NULL : json_first(buckets); pair != NULL;
         pair = json_next(pair)) {
        const struct json *bound = json_first(pair);
        const struct json *count = bound == NULL ? NULL : json_next(bound);
        uint64_t b, n;
        if (count != NULL && json_u64(bound, &b) && json_u64(count, &n))
            histogram_add_bucket(h, b, n);
    }
    h->sum = survey_number(told, "sum");
}

static void take_figures(struct figures *f, const struct json *told)
{
    const struct json *stats = told == NULL ? NULL : json_get(told, "stats");
    const struct json *reads = stats == NULL ? NULL : json_get(stats, "sibling_reads");
    const struct json *latency = told == NULL ? NULL : json_get(told, "latency_us");
    *f = (struct figures){0};
    const struct json *at = reads == NULL ? NULL : json_first(reads);
    for (unsigned i = 0; i < 4 && at != NULL; i++, at = json_next(at))
        json_u64(at, &f->counters[READS_1 + i]);
    for (unsigned i = GETS; i < COUNTERS; i++)
        f->counters[i] = survey_number(stats, counter_names[i]);
    f->hints = survey_number(stats, "hints_now");
    f->hint_bytes = survey_number(stats, "hints_bytes");
    for (unsigned i = 0; i < GAUGES; i++)
        f->gauges[i] = survey_number(stats, gauge_names[i]);
    for (unsigned i = 0; i < OPS; i++)
        take_latency(&f->latency[i], latency == NULL ? NULL : json_get(latency, op_names[i]));
}

static void add_figures(struct figures *sum, const struct figures *f)
{
    for (unsigned i = 0; i < COUNTERS; i++)
        sum->counters[i] += f->counters[i];
    for (unsigned i = 0; i < OPS; i++)
        histogram_join(&sum->latency[i], &f->latency[i]);
    sum->hints += f->hints;
    sum->hint_bytes += f->hint_bytes;
    for (unsigned i = 0; i < GAUGES; i++)
        sum->gauges[i] += f->gauges[i];
}

/* What came in since `before`; a node that was started again counts from its start. */
static void since(struct figures *f, const struct figures *before)
{
    for (unsigned i = 0; i < COUNTERS; i++)
        if (f->counters[i] < before->counters[i])
            return;
    for (unsigned i = 0; i < OPS; i++)
        if (f->latency[i].count < before->latency[i].count)
            return;
    for (unsigned i = 0; i < COUNTERS; i++)
        f->counters[i] -= before->counters[i];
    for (unsigned i = 0; i < OPS; i++) {
        for (unsigned k = 0; k < HISTOGRAM_BUCKETS; k++)
            f->latency[i].counts[k] -= before->latency[i].counts[k];
        f->latency[i].count -= before->latency[i].count;
        f->latency[i].sum -= before->latency[i].sum;
    }
}

/* ---- for people ---- */

static uint64_t reads_of(const struct figures *f)
{
    return f->counters[READS_1] + f->counters[READS_2] + f->counters[READS_3] +
           f->counters[READS_4];
}

static void put_share(uint64_t part, uint64_t whole, struct buf *out)
{
    if (whole == 0)
        buf_printf(out, " %8s", "-");
    else
        buf_printf(out, " %7.3f%%", (double)part * 100 / (double)whole);
}

static void put_us(uint64_t us, bool any, struct buf *out)
{
    if (!any)
        buf_printf(out, " %8s", "-");
    else if (us < 1000)
        buf_printf(out, " %6" PRIu64 "us", us);
    else if (us < 1000000)
        buf_printf(out, " %6.1fms", (double)us / 1e3);
    else
        buf_printf(out, " %7.1fs", (double)us / 1e6);
}

static void put_bytes(uint64_t bytes, struct buf *out)
{
    static const char *const units[] = {"B", "K", "M", "G", "T"};
    double v = (double)bytes;
    unsigned u = 0;
    for (; v >= 1024 && u < 4; u++)
        v /= 1024;
    buf_printf(out, u == 0 ? " %8.0f%s" : " %8.1f%s", v, units[u]);
}

static void put_reads(const char *name, const struct figures *f, struct buf *out)
{
    uint64_t reads = reads_of(f);
    buf_printf(out, "%-16s %10" PRIu64, name, reads);
    for (unsigned i = 0; i < 4; i++)
        put_share(f->counters[READS_1 + i], reads, out);
    buf_printf(out, " %9" PRIu64 " %9" PRIu64 " %7" PRIu64 "\n", f->counters[STALE_READS],
               f->counters[REPAIRS], f->counters[NO_QUORUM] + f->counters[TIMEOUTS]);
}

static void put_latency(const char *name, const struct figures *f, struct buf *out)
{
    buf_printf(out, "%-16s", name);
    for (unsigned i = 0; i < OPS; i++) {
        const struct histogram *h = &f->latency[i];
        buf_printf(out, " %9" PRIu64, h->count);
        put_us(histogram_quantile(h, 5000), h->count > 0, out);
        put_us(histogram_quantile(h, 9900), h->count > 0, out);
        put_us(histogram_quantile(h, 9990), h->count > 0, out);
    }
    buf_put_u8(out, '\n');
}

struct held { /* hints for one target, wherever they are */
    const char *target;
    uint64_t count, bytes, oldest_ms;
    unsigned holders;
};

/* Sums the hints of all nodes by target. Returns how many; *out is the caller's. */
static unsigned sum_hints(const struct survey *v, struct held **out)
{
    struct held *all = NULL;
    unsigned n = 0;
    for (uint32_t i = 0; i < v->n; i++) {
        const struct json *hints = v->told[i] == NULL ? NULL : json_get(v->told[i], "hints");
        for (const struct json *h = hints == NULL ? NULL : json_first(hints); h != NULL;
             h = json_next(h)) {
            const struct json *target = json_get(h, "target");
            const char *name = target == NULL ? NULL : json_str(target);
            unsigned k = 0;
            if (name == NULL)
                continue;
            while (k < n && strcmp(all[k].target, name) != 0)
                k++;
            if (k == n) {
                all = mem_reallocarray(all, n + 1, sizeof(*all));
                all[n++] = (struct held){.target = name};
            }
            all[k].count += survey_number(h, "count");
            all[k].bytes += survey_number(h, "bytes");
            all[k].holders++;
            if (survey_number(h, "oldest_ms") > all[k].oldest_ms)
                all[k].oldest_ms = survey_number(h, "oldest_ms");
        }
    }
    *out = all;
    return n;
}

static void put_hints(const struct survey *v, const struct figures *sum, struct buf *out)
{
    struct held *all;
    unsigned n = sum_hints(v, &all);
    buf_printf(out,
               "\nhints: %" PRIu64 " held, %" PRIu64 " taken, %" PRIu64 " handed over, %" PRIu64
               " writes refused for want of room\n",
               sum->hints, sum->counters[HINTS_STORED], sum->counters[HINTS_DRAINED],
               sum->counters[HINT_REFUSED]);
    if (n > 0)
        buf_printf(out, "\n%-16s %10s %9s %8s %8s\n", "HINTS FOR", "COUNT", "BYTES", "OLDEST",
                   "HELD BY");
    for (unsigned i = 0; i < n; i++) {
        buf_printf(out, "%-16s %10" PRIu64, all[i].target, all[i].count);
        put_bytes(all[i].bytes, out);
        buf_printf(out, " %7.1fs %8u\n", (double)all[i].oldest_ms / 1e3, all[i].holders);
    }
    free(all);
}

static void put_deletes(const struct figures *sum, struct buf *out)
{
    buf_printf(out,
               "\ndeletes: %" PRIu64 " records on all nodes, of which %" PRIu64
               " are too young to be reaped; %" PRIu64 " keys prepared, %" PRIu64
               " records reaped\n",
               sum->gauges[DEAD], sum->gauges[DEAD_YOUNG], sum->gauges[DEAD_PREPARED],
               sum->counters[REAPED]);
    for (unsigned i = 0; i < GAUGES; i++)
        if (gauge_reasons[i] != NULL && sum->gauges[i] > 0)
            buf_printf(out, "  %" PRIu64 " stay: %s\n", sum->gauges[i], gauge_reasons[i]);
    if (sum->gauges[RETIRED] > 0)
        buf_printf(out, "copies of %" PRIu64 " partitions that have moved away are still kept\n",
                   sum->gauges[RETIRED]);
}

static void stats_text(const struct survey *v, const struct figures *each,
                       const struct figures *sum, struct buf *out)
{
    char id[NODE_ID_TEXT_LEN + 1];
    buf_printf(out, "%-16s %10s %8s %8s %8s %8s %9s %9s %7s\n", "NODE", "READS", "SAW 1", "SAW 2",
               "SAW 3", "SAW 4+", "STALE", "REPAIRED", "FAILED");
    for (uint32_t i = 0; i < v->n; i++) {
        node_id_format(v->nodes[i], id);
        if (v->errs[i] == DYN_OK)
            put_reads(id, &each[i], out);
        else
            buf_printf(out, "%-16s down: %s\n", id, dyn_err_message(v->errs[i]));
    }
    put_reads("all", sum, out);
    buf_printf(out, "\n%-16s", "NODE");
    for (unsigned i = 0; i < OPS; i++)
        buf_printf(out, " %8ss %8s %8s %8s", op_names[i], "p50", "p99", "p99.9");
    buf_put_u8(out, '\n');
    for (uint32_t i = 0; i < v->n; i++) {
        node_id_format(v->nodes[i], id);
        if (v->errs[i] == DYN_OK)
            put_latency(id, &each[i], out);
    }
    put_latency("all", sum, out);
    put_hints(v, sum, out);
    put_deletes(sum, out);
}

/* ---- for programs ---- */

static void add_figures_json(struct json *j, const struct figures *f)
{
    uint64_t reads = reads_of(f);
    struct json *counts = json_add_array(j, "sibling_reads");
    for (unsigned i = 0; i < 4; i++)
        json_add_u64(counts, NULL, f->counters[READS_1 + i]);
    json_add_u64(j, "reads", reads);
    for (unsigned i = GETS; i < COUNTERS; i++)
        json_add_u64(j, counter_names[i], f->counters[i]);
    json_add_u64(j, "hints_now", f->hints);
    json_add_u64(j, "hints_bytes", f->hint_bytes);
    for (unsigned i = 0; i < GAUGES; i++)
        json_add_u64(j, gauge_names[i], f->gauges[i]);
    struct json *latency = json_add_object(j, "latency_us");
    for (unsigned i = 0; i < OPS; i++) {
        const struct histogram *h = &f->latency[i];
        struct json *one = json_add_object(latency, op_names[i]);
        json_add_u64(one, "count", h->count);
        json_add_u64(one, "mean", h->count == 0 ? 0 : h->sum / h->count);
        json_add_u64(one, "p50", histogram_quantile(h, 5000));
        json_add_u64(one, "p99", histogram_quantile(h, 9900));
        json_add_u64(one, "p999", histogram_quantile(h, 9990));
    }
}

static void stats_json(const struct survey *v, const struct figures *each,
                       const struct figures *sum, bool line, struct buf *out)
{
    struct json *root = json_object(), *nodes = json_add_array(root, "nodes");
    for (uint32_t i = 0; i < v->n; i++) {
        struct json *j = json_add_object(nodes, NULL);
        char id[NODE_ID_TEXT_LEN + 1];
        node_id_format(v->nodes[i], id);
        json_add_str(j, "node", id);
        if (v->errs[i] == DYN_OK)
            add_figures_json(j, &each[i]);
        else
            json_add_str(j, "error", dyn_err_code(v->errs[i]));
    }
    add_figures_json(json_add_object(root, "sum"), sum);
    struct held *all;
    unsigned n = sum_hints(v, &all);
    struct json *hints = json_add_array(root, "hints");
    for (unsigned i = 0; i < n; i++) {
        struct json *j = json_add_object(hints, NULL);
        json_add_str(j, "target", all[i].target);
        json_add_u64(j, "count", all[i].count);
        json_add_u64(j, "bytes", all[i].bytes);
        json_add_u64(j, "oldest_ms", all[i].oldest_ms);
    }
    free(all);
    json_print(root, !line, out);
    buf_put_u8(out, '\n');
    json_free(root);
}

/* ---- looking ---- */

struct watch {
    uint64_t every_ms, times; /* every_ms 0: once */
    uint64_t *nodes;          /* of whom there are figures */
    struct figures *before;
    uint32_t n;
};

static const struct figures *before_of(const struct watch *w, uint64_t node)
{
    for (uint32_t i = 0; i < w->n; i++)
        if (w->nodes[i] == node)
            return &w->before[i];
    return NULL;
}

/* Keeps what each node counts now, and makes *each what came in since the last look. */
static void keep(struct watch *w, const struct survey *v, struct figures *each)
{
    struct figures *now = mem_reallocarray(NULL, v->n, sizeof(*now));
    uint64_t *nodes = mem_reallocarray(NULL, v->n, sizeof(*nodes));
    for (uint32_t i = 0; i < v->n; i++) {
        const struct figures *before = before_of(w, v->nodes[i]);
        nodes[i] = v->nodes[i];
        now[i] = v->errs[i] != DYN_OK && before != NULL ? *before : each[i];
        if (before != NULL && v->errs[i] == DYN_OK)
            since(&each[i], before);
    }
    free(w->before);
    free(w->nodes);
    w->before = now;
    w->nodes = nodes;
    w->n = v->n;
}

static int look(struct ctl *c, struct session *s, struct ring *ring, struct watch *w)
{
    struct survey v = {.n = 0};
    struct figures *sum = mem_new(struct figures);
    struct buf text = BUF_EMPTY;
    survey_take(&v, s, ring);
    struct figures *each = mem_reallocarray(NULL, v.n, sizeof(*each));
    for (uint32_t i = 0; i < v.n; i++)
        take_figures(&each[i], v.told[i]);
    if (w->every_ms != 0)
        keep(w, &v, each);
    for (uint32_t i = 0; i < v.n; i++)
        add_figures(sum, &each[i]);
    if (c->json)
        stats_json(&v, each, sum, w->every_ms != 0, &text);
    else
        stats_text(&v, each, sum, &text);
    free(each);
    free(sum);
    survey_release(&v);
    return ctl_print(&text);
}

static int run(struct ctl *c)
{
    struct session *s = NULL;
    struct ring *ring;
    struct watch w = {.times = UINT64_MAX};
    char *message = NULL;
    if (args_ms(&c->args, "watch", 100, 3600000, &w.every_ms, &message) != DYN_OK ||
        args_u64(&c->args, "count", 1, 1000000, &w.times, &message) != DYN_OK)
        return ctl_usage(c, message);
    if (w.every_ms == 0 && args_has(&c->args, "count"))
        return ctl_usage(c, mem_strdup("--count is for --watch"));
    int status = survey_open(c, &s, &ring);
    if (s == NULL)
        return status;
    status = look(c, s, ring, &w);
    for (uint64_t i = 1; w.every_ms != 0 && i < w.times && status == CTL_OK; i++) {
        struct timespec t = {(time_t)(w.every_ms / 1000), (long)(w.every_ms % 1000) * 1000000};
        nanosleep(&t, NULL);
        if (!c->json)
            status = ctl_write(slice_str("\n"));
        if (status == CTL_OK)
            status = look(c, s, ring, &w);
    }
    free(w.before);
    free(w.nodes);
    session_close(s);
    return status;
}

const struct ctl_verb ctl_verb_stats = {
    "stats", "",  "show what the nodes count, and how long requests take", help, options, 0, 0,
    true,    run,
};
