/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/conflicts?under=DIR&limit=N: the keys with more than one live version, found by walking
 * the directories' listings, which carry sibling counts. */
#ifndef DYN_HTTP_CONFLICTS_H
#define DYN_HTTP_CONFLICTS_H

#include "http_kv.h"

/* {"conflicts": [{"key": .., "siblings": n}, ..], "directories": walked, "more": bool}. more:
 * limit, time or the bound on directories ended the walk. */
void http_conflicts_take(const struct http_kv_config *cfg, struct http_request *r);

#endif
