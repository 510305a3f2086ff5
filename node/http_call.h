/* SPDX-License-Identifier: Apache-2.0 */
/* One request for a key or a directory from its arrival to its answer, shared by http_kv.c (reads),
 * http_write.c and http_dir.c. Freed with the answer, or when the asker goes. */
#ifndef DYN_HTTP_CALL_H
#define DYN_HTTP_CALL_H

#include "http_kv.h"
#include "http_query.h"

struct http_call {
    const struct http_kv_config *cfg;
    struct http_request *r;
    enum http_op kind;
    uint64_t pending;               /* id at the kv port */
    struct http_siblings *siblings; /* a page of them is being fetched */
    unsigned misses;                /* of versions that went while a page was fetched */
    struct buf token;               /* of the read that the page is from */
    struct buf key;
    struct http_options options;
    uint64_t value_max; /* larger values are not read: room is asked for first; 0: all are */
    uint64_t room;      /* bytes that this answer may take */
    struct put_request put;
    struct http_contexts contexts;
    struct http_upload *upload; /* while the body comes in pieces */
};

struct http_call *http_call_new(const struct http_kv_config *cfg, struct http_request *r,
                                enum http_op kind);
/* Counts the request and lets go of it: answer through the result, once. */
struct http_request *http_call_end(struct http_call *o, int status);
void http_call_fail(struct http_call *o, int err, const char *message, unsigned answered,
                    unsigned needed);
/* For a request that broke a rule: message is freed. */
void http_call_refuse(struct http_call *o, int err, char *message);

void http_call_get(struct http_call *o, enum get_want want, kv_get_done done);
void http_call_token(struct http_request *r, struct slice token); /* Dynamount-Context */
void http_call_context(struct http_request *r, struct slice context);
void http_call_number(struct http_request *r, const char *name, unsigned long long value);

void http_write_take(struct http_call *o);

#endif
