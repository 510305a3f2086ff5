/* SPDX-License-Identifier: Apache-2.0 */
/* The versions of a key that conflict, a page at a time. A loop of careless PUTs makes hundreds of
 * them, and each may be large (HAZARDS E24): all in one answer would be a body without bound. So a
 * page is a few versions, newest first, whose bytes are fetched one version after the other. */
#ifndef DYN_HTTP_SIBLINGS_H
#define DYN_HTTP_SIBLINGS_H

#include "http_kv.h"

#define SIBLINGS_PAGE 100u              /* versions of a page, if the request names no limit */
#define SIBLINGS_PAGE_BYTES (16u << 20) /* and no more bytes than this, but one version always */

struct http_siblings;

/* What a page came to; valid inside done. */
struct http_siblings_page {
    int status; /* DYN_ERR_STALE: a version has gone meanwhile: read again */
    const struct object *object;
    const struct sibling **siblings; /* of the page, newest first, with their values */
    uint32_t n, live;                /* live: of all pages */
    bool more;
};

/* reply: a read that shows all versions, with the values that it happens to have (copied). after:
 * the last page's cursor or empty. meta: values are not wanted. done runs once, perhaps inside;
 * NULL is returned then. DYN_ERR_INVALID in done: no cursor of this server. */
struct http_siblings *
http_siblings_start(const struct http_kv_config *cfg, struct slice key,
                    const struct request_options *opt, const struct get_reply *reply,
                    struct slice after, uint32_t limit, bool meta,
                    void (*done)(void *arg, const struct http_siblings_page *page), void *arg);
void http_siblings_cancel(struct http_siblings *s); /* done will not run */

/* Where the page after this sibling begins: its time and its dot, so that it holds even when the
 * sibling has gone. */
void http_siblings_cursor(const struct sibling *s, struct buf *out);

#endif
