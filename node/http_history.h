/* SPDX-License-Identifier: Apache-2.0 */
/* Former versions over HTTP: GET /v1/history/KEY lists what is kept of a key, as JSON, and with
 * ?dot=DOT gives the bytes of one of them. To have it back, PUT them. */
#ifndef DYN_HTTP_HISTORY_H
#define DYN_HTTP_HISTORY_H

#include "engine/engine.h"
#include "http_kv.h"

/* rest: KEY, percent-encoded. cfg and e: borrowed while requests last. */
void http_history_take(const struct http_kv_config *cfg, struct engine *e, struct http_request *r,
                       struct slice rest);

#endif
