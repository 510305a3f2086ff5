/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of directories over HTTP: GET /v1/settings has all that is set, GET /v1/settings/DIR
 * what holds there, PUT /v1/settings/DIR?NAME=VALUE sets. */
#ifndef DYN_HTTP_SETTINGS_H
#define DYN_HTTP_SETTINGS_H

#include "http_kv.h"

/* rest: DIR, percent-encoded; all: none was given. */
void http_settings_take(const struct http_kv_config *cfg, struct http_request *r, struct slice rest,
                        bool all);

#endif
