/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a request that is too large to be held until it is whole: evhttp knows nothing of it,
 * it is read here, straight from the socket, checked and handed on as it comes, and not faster than
 * its reader wants it. */
#ifndef DYN_ADAPTER_HTTP_BODY_H
#define DYN_ADAPTER_HTTP_BODY_H

#include "adapter/loop.h"
#include "base/buf.h"
#include "model/http_framing.h"

struct http_body;
struct http_gate;

/* *ended (the caller's) becomes true before the last piece is handed on. */
struct http_body *http_body_new(struct loop *l, struct http_gate *g, bool *ended,
                                void (*bytes)(void *arg, struct slice piece, bool end), void *arg);
/* Runs when a rule of the framing is broken; b may be freed inside, and takes nothing more. */
void http_body_on_bad(struct http_body *b, void (*bad)(void *arg, enum http_framing_error e),
                      void *arg);
void http_body_begin(struct http_body *b); /* b may be freed inside */
void http_body_free(struct http_body *b);  /* NULL is fine, also from within bytes() */
void http_body_pause(struct http_body *b, bool paused);
/* From time to time: came less than `rate` bytes a second in the last window_us? NULL: no. */
bool http_body_too_slow(struct http_body *b, uint64_t now_us, uint64_t window_us, uint64_t rate);
void http_body_break(struct http_body *b); /* the connection ends */

#endif
