/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 for a node: evhttp on the event loop, behind a gate that lets only whole and clean
 * requests through (adapter/http_gate.h), with every limit set. A handler gets one request at a
 * time of each connection and answers it at once or later; answers leave in the order of the
 * requests. The program must ignore SIGPIPE. */
#ifndef DYN_ADAPTER_HTTP_SERVER_H
#define DYN_ADAPTER_HTTP_SERVER_H

#include "adapter/loop.h"
#include "base/buf.h"

struct http_server_config {
    const char *listen;       /* "host:port", "[::1]:port"; port 0: any; borrowed during _new */
    uint32_t connections_max; /* further ones wait in the kernel; default 4096 */
    uint32_t head_max;        /* bytes of request line and headers; default 16 KiB */
    uint32_t headers_max;     /* fields; default 64 */
    uint64_t body_max;        /* bytes; default 1 MiB */
    uint64_t batch_max;       /* bytes, for /internal/ and /v1/batch; default 66 MiB */
    uint64_t bodies_max;      /* bytes held of all bodies being received; default 256 MiB */
    /* ... of all answers that their readers have yet to take, and of those that room was asked for
     * (http_request_reserve); 256 MiB each */
    uint64_t answers_max;
    uint32_t room_timeout_ms; /* a request waits for so long for room, then: 503; default 10 s */
    uint32_t head_timeout_ms; /* default 10 s */
    uint32_t idle_timeout_ms; /* default 60 s */
    uint32_t body_grace_ms;   /* default 10 s */
    uint32_t body_rate;       /* least bytes a second in each stretch of that; default 1024 */
    uint32_t
        write_timeout_ms; /* a reader that takes nothing for so long is cut off; default 30 s */
};
void http_server_config_defaults(struct http_server_config *c);

enum http_method { HTTP_GET, HTTP_HEADERS /* HEAD */, HTTP_PUT, HTTP_POST, HTTP_DELETE };

/* One request that waits for its answer. Ends with http_reply or http_stream_end, or with its
 * connection. */
struct http_request;

struct http_server;
/* DYN_ERR_INVALID: the address does not parse; DYN_ERR_IO: it cannot be bound. *message (caller
 * frees) says why. */
int http_server_new(struct loop *l, const struct http_server_config *cfg,
                    void (*handle)(void *arg, struct http_request *r), void *arg,
                    struct http_server **out, char **message);
/* Ends all connections; pending requests get their `gone`. NULL is fine. */
void http_server_free(struct http_server *s);
uint16_t http_server_port(const struct http_server *s);
void http_server_stop_listening(struct http_server *s); /* for a drain */

struct http_server_stats {
    uint64_t connections, accepted, requests, refused, bytes_in_bodies, bytes_in_answers;
    uint64_t bytes_reserved, waiting_for_room;
};
void http_server_stats(const struct http_server *s, struct http_server_stats *out);

enum http_method http_request_method(const struct http_request *r);
struct slice http_request_path(const struct http_request *r);  /* as sent: percent-encoded */
struct slice http_request_query(const struct http_request *r); /* without '?'; may be empty */
const char *http_request_header(const struct http_request *r, const char *name); /* NULL: absent */
struct slice http_request_body(struct http_request *r); /* borrowed while the request lives */
uint64_t http_request_started_us(const struct http_request *r);

/* A PUT whose body is not held whole: http_request_body is empty, and whoever wants the body asks
 * for it. An answer before its end ends the connection. */
bool http_request_streams(const struct http_request *r);
/* bytes(arg) runs for each piece, also inside this call, with end for the last, which may be empty.
 * A body that is malformed, breaks off or stands still ends the connection, and gone runs. */
void http_request_read(struct http_request *r,
                       void (*bytes)(void *arg, struct slice piece, bool end), void *arg);
void http_request_pause(struct http_request *r, bool paused); /* no pieces until it is resumed */

/* Before so many bytes are collected for an answer. true: there is room. false: granted(arg) runs
 * when there is, unless the request goes first, or waits for too long and is answered with 503
 * (then gone runs). Asked for again, it takes the place of what was asked for before. The room is
 * given back when the answer has left, or with the connection. */
bool http_request_reserve(struct http_request *r, uint64_t bytes, void (*granted)(void *arg),
                          void *arg);

/* gone(arg) runs once if the connection ends before the answer is complete; r is not valid any more
 * then. Whoever keeps r across turns must set it. */
void http_request_on_gone(struct http_request *r, void (*gone)(void *arg), void *arg);

void http_reply_header(struct http_request *r, const char *name, const char *value);
void http_reply_close(struct http_request *r); /* the connection ends with this answer */
/* Answers and frees r. type may be NULL. For HEAD the body gives the length alone,
 * unless a Content-Length was set. */
void http_reply(struct http_request *r, int status, const char *type, struct buf *body /* taken */);
/* {"error": code, "message": sentence} */
void http_reply_error(struct http_request *r, int status, const char *code, const char *message);

/* An answer in pieces, each sent when it is given. */
void http_stream_start(struct http_request *r, int status, const char *type);
void http_stream_chunk(struct http_request *r, struct buf *bytes /* taken */);
/* written(arg) runs when the socket has taken them: so a large answer waits for a slow reader. Not
 * when the connection ends before. */
void http_stream_chunk_then(struct http_request *r, struct buf *bytes /* taken */,
                            void (*written)(void *arg), void *arg);
void http_stream_end(struct http_request *r); /* frees r */
/* The last piece and the end at once: of an answer with a length, which would be over for evhttp as
 * soon as its last byte has left. */
void http_stream_last(struct http_request *r, struct buf *bytes /* taken */);
/* The rest of the answer cannot be had: the connection ends, and gone runs, perhaps later. */
void http_stream_abort(struct http_request *r);

#endif
