/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a PUT on its way into chunks, as it arrives: one chunk is filled while a few are on
 * their way, and the client is read no faster than those leave. */
#ifndef DYN_HTTP_UPLOAD_H
#define DYN_HTTP_UPLOAD_H

#include "http_kv.h"

struct http_upload;
/* done(arg) runs once, unless the upload is freed before: with the value to put, which is the
 * body itself or, with manifest, names its chunks. Borrowed until the upload is freed. May run
 * inside. */
struct http_upload *
http_upload_new(const struct http_kv_config *cfg, struct http_request *r, struct slice key,
                enum durability durability,
                void (*done)(void *arg, int err, struct slice value, bool manifest), void *arg);
void http_upload_begin(struct http_upload *u);
void http_upload_free(struct http_upload *u); /* NULL is fine */

#endif
