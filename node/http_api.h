/* SPDX-License-Identifier: Apache-2.0 */
/* Which request goes where: the table of the node's HTTP API. */
#ifndef DYN_HTTP_API_H
#define DYN_HTTP_API_H

#include "http_kv.h"
#include "http_status.h"

struct http_api {
    struct http_kv_config kv;
    struct http_status status;
    struct batch_server *batches;
    bool ready; /* until then only /healthz is answered, with 503, as is all else */
};

void http_api_take(struct http_api *api, struct http_request *r);

#endif
