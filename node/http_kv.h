/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and directories over HTTP (DESIGN.md 6): GET, HEAD, PUT, DELETE /v1/kv/KEY and GET
 * /v1/dir/DIR, on struct kv_port. */
#ifndef DYN_HTTP_KV_H
#define DYN_HTTP_KV_H

#include "adapter/http_server.h"
#include "http_metrics.h"
#include "port/kv.h"

/* What a node's uploads share: each sends a few chunks at a time, all together not too many. */
struct http_uploads {
    uint32_t sending;    /* chunks on their way */
    struct list waiting; /* struct http_upload.waiting: with a full chunk and no place for it */
};
void http_uploads_init(struct http_uploads *all); /* http_upload.c */

struct http_kv_config {
    struct kv_port kv;
    struct time_port time;
    struct random_port random;
    uint32_t n;                   /* the cluster's */
    uint64_t upload_lease_ms;     /* of what is not published yet */
    struct http_metrics *metrics; /* borrowed */
    struct http_uploads *uploads; /* borrowed */
};

/* cfg: borrowed while requests last. rest: the path after /v1/kv/ or /v1/dir/, percent-encoded. */
void http_kv_take(const struct http_kv_config *cfg, struct http_request *r, struct slice rest);
void http_dir_take(const struct http_kv_config *cfg, struct http_request *r, struct slice rest);

/* An error as JSON, with the counts of a quorum that was missed. */
void http_reply_failure(struct http_request *r, int err, const char *message /* NULL: the usual */,
                        unsigned answered, unsigned needed);

/* Headers that say what a version is: its dot, type, times, mode and owner. */
void http_reply_sibling(struct http_request *r, const struct sibling *s);
/* Its bytes, whose value is loaded: as they are, or chunk by chunk. */
struct http_range;
void http_reply_bytes(const struct http_kv_config *cfg, struct http_request *r,
                      const struct sibling *s, const struct http_range *range);

const char *http_type_name(enum sibling_type t);

#endif
