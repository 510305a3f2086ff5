/* SPDX-License-Identifier: Apache-2.0 */
/* What administrators ask of a cluster, as JSON: by FRAME_ADMIN from dynactl, and by HTTP below
 * /v1/cluster. One request is an object with "op":
 *
 *   stage    type: join, leave, remove, weight, zone or address; node: 16 hex (of a join found out
 *            by asking at its address, unless given), address, weight, zone, replaces
 *   unstage  node
 *   abort    all that is staged
 *   plan     what is staged, and what it would do
 *   commit   digest: of the plan that was looked at; without it, whatever is staged
 *   transfers  partitions on their way to this node, and how many move in all
 *
 * The answer is an object; with "error" and "message" when it did not go well. */
#ifndef DYN_HTTP_CLUSTER_H
#define DYN_HTTP_CLUSTER_H

#include "adapter/http_server.h"
#include "http_status.h"

/* done(arg, status, body) runs once, perhaps inside; status is HTTP's, body is borrowed. */
void http_cluster_run(const struct http_status *s, struct slice request,
                      void (*done)(void *arg, int status, struct slice body), void *arg);
/* GET, POST and DELETE of /v1/cluster/plan, POST /v1/cluster/commit, GET /v1/cluster/transfers.
 * rest: what follows "/v1/cluster/". */
void http_cluster_take(const struct http_status *s, struct http_request *r, struct slice rest);

#endif
