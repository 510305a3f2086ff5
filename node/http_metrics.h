/* SPDX-License-Identifier: Apache-2.0 */
/* How long public requests took, as Prometheus histograms: counts by fixed bounds, so that nodes
 * can be added up. */
#ifndef DYN_HTTP_METRICS_H
#define DYN_HTTP_METRICS_H

#include <stdint.h>

#include "base/buf.h"

enum http_op { HTTP_OP_GET, HTTP_OP_PUT, HTTP_OP_DELETE, HTTP_OP_LIST, HTTP_OPS };

#define HTTP_BOUNDS 14

struct http_metrics {
    uint64_t counts[HTTP_OPS][HTTP_BOUNDS + 1]; /* by bound, not added up */
    uint64_t sum_us[HTTP_OPS];
    uint64_t errors[HTTP_OPS]; /* answers of 500 and above */
};

void http_metrics_observe(struct http_metrics *m, enum http_op op, uint64_t took_us, int status);
void http_metrics_print(const struct http_metrics *m, struct buf *out);

#endif
