/* SPDX-License-Identifier: Apache-2.0 */
/* See http_metrics.h. */
#include "http_metrics.h"

static const uint32_t bounds_us[HTTP_BOUNDS] = {100,    250,     500,     1000,   2500,
                                                5000,   10000,   25000,   50000,  100000,
                                                250000, 1000000, 2500000, 5000000};
static const char *const op_names[HTTP_OPS] = {"get", "put", "delete", "list"};

void http_metrics_observe(struct http_metrics *m, enum http_op op, uint64_t took_us, int status)
{
    unsigned i = 0;
    while (i < HTTP_BOUNDS && took_us > bounds_us[i])
        i++;
    m->counts[op][i]++;
    m->sum_us[op] += took_us;
    m->errors[op] += status >= 500;
}

void http_metrics_print(const struct http_metrics *m, struct buf *out)
{
    const char *name = "dynamount_http_request_seconds";
    buf_printf(out, "# HELP %s Time to answer public requests.\n# TYPE %s histogram\n", name, name);
    for (unsigned op = 0; op < HTTP_OPS; op++) {
        uint64_t total = 0;
        for (unsigned i = 0; i < HTTP_BOUNDS; i++) {
            total += m->counts[op][i];
            buf_printf(out, "%s_bucket{op=\"%s\",le=\"%g\"} %llu\n", name, op_names[op],
                       bounds_us[i] / 1e6, (unsigned long long)total);
        }
        total += m->counts[op][HTTP_BOUNDS];
        buf_printf(out, "%s_bucket{op=\"%s\",le=\"+Inf\"} %llu\n", name, op_names[op],
                   (unsigned long long)total);
        buf_printf(out, "%s_sum{op=\"%s\"} %.6f\n", name, op_names[op],
                   (double)m->sum_us[op] / 1e6);
        buf_printf(out, "%s_count{op=\"%s\"} %llu\n", name, op_names[op],
                   (unsigned long long)total);
    }
    name = "dynamount_http_errors_total";
    buf_printf(out, "# HELP %s Answers of 500 and above.\n# TYPE %s counter\n", name, name);
    for (unsigned op = 0; op < HTTP_OPS; op++)
        buf_printf(out, "%s{op=\"%s\"} %llu\n", name, op_names[op],
                   (unsigned long long)m->errors[op]);
}
