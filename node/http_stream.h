/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a large file as the body of an answer: a few chunks are asked for ahead of the one
 * that is being sent, and no more, however large the file and slow the reader. */
#ifndef DYN_HTTP_STREAM_H
#define DYN_HTTP_STREAM_H

#include "http_kv.h"

/* What it keeps in memory. */
#define HTTP_STREAM_ROOM (5ull << 20)

/* Answers with bytes from..to-1 of what the manifest names; headers were set. What cannot be had
 * ends the connection, for the status has left by then. manifest is borrowed during the call;
 * DYN_ERR_CORRUPT: it is none, and nothing was answered. */
int http_stream_file(const struct http_kv_config *cfg, struct http_request *r, int status,
                     struct slice manifest, uint64_t from, uint64_t to);

#endif
