/* SPDX-License-Identifier: Apache-2.0 */
/* What a public request says besides its body: the key in its path, the options in its query, the
 * attributes and contexts in its headers. Each rule that is broken gives a sentence for the caller;
 * nothing unknown is ignored, or a misspelt `durabilty=quorum` would lose somebody's data. */
#ifndef DYN_HTTP_QUERY_H
#define DYN_HTTP_QUERY_H

#include "adapter/http_server.h"
#include "model/clock.h"
#include "model/object.h"
#include "model/wire.h"

struct http_options {
    struct request_options opt;
    bool has_sibling;
    struct dot sibling;
    struct buf after; /* where a page begins: of a listing, or of versions */
    uint32_t limit;   /* 0: not given */
};

enum http_options_kind { HTTP_OPTIONS_READ, HTTP_OPTIONS_WRITE, HTTP_OPTIONS_LIST };

/* n: the cluster's, which r and w may not pass. DYN_ERR_INVALID and *message (caller frees). */
int http_options_parse(struct slice query, enum http_options_kind kind, uint32_t n,
                       struct http_options *out, char **message);
void http_options_release(struct http_options *o);

/* Percent-decodes and checks a key. empty_ok: the root. */
int http_key_parse(struct slice text, bool empty_ok, struct buf *key, char **message);

/* Dynamount-Mode (octal), -Uid, -Gid, -Mtime (ns); what is missing stays as it is in *attrs. */
int http_attrs_parse(const struct http_request *r, struct attrs *attrs, char **message);

/* The contexts of Dynamount-Context, several separated by commas; text may be NULL. */
struct http_contexts {
    struct buf bytes[CONTEXTS_MAX];
    struct slice slices[CONTEXTS_MAX];
    uint32_t n;
};
int http_contexts_parse(const char *text, struct http_contexts *out, char **message);
void http_contexts_release(struct http_contexts *c);

/* HTTP's status for an outcome of the engine. */
int http_status_of(int err);

#endif
