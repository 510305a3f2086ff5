/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the HTTP server: http_server.c, http_pieces.c and http_answers.c. */
#ifndef DYN_ADAPTER_HTTP_SERVER_PRIVATE_H
#define DYN_ADAPTER_HTTP_SERVER_PRIVATE_H

#include <time.h>

#include "adapter/http_gate.h"
#include "adapter/http_server.h"

struct evhttp;
struct evhttp_bound_socket;
struct evhttp_request;
struct evkeyvalq;
struct http_body;

struct http_conn {
    struct list link;
    struct list sent; /* in http_server.sent, or nowhere */
    struct http_server *server;
    struct http_gate gate;
    struct bufferevent *bev; /* referenced */
    struct http_request *active;
    uint64_t handled;                        /* requests handed over by evhttp */
    uint64_t linger_us;                      /* evhttp is done with it, it is freed then */
    bool ended;                              /* evhttp is done with it */
    bool plain;                              /* what is answered may go straight to the socket */
    uint64_t output;                         /* bytes of answers that wait for the reader */
    uint64_t reserved;                       /* ... that this one's answer may take */
    uint64_t taken, window_taken, window_us; /* how fast he takes them */
};

struct http_request {
    struct http_conn *conn; /* NULL: gone */
    struct evhttp_request *req;
    struct evkeyvalq *headers;
    void (*gone)(void *arg);
    void *gone_arg;
    uint64_t started_us;
    bool streaming;
    void (*written)(void *arg); /* of the last piece */
    void *written_arg;
    struct http_body *body; /* streams: while it is read */
    bool streams, body_ended;
    struct list in_room; /* of those who wait; see http_room.c */
    uint64_t wanted, waiting_us;
    void (*granted)(void *arg);
    void *granted_arg;
};

struct http_server {
    struct loop *loop;
    struct evhttp *http;
    struct evhttp_bound_socket *bound;
    struct http_server_config cfg;
    struct http_gate_config gate_cfg;
    struct http_gates gates;
    void (*handle)(void *arg, struct http_request *r);
    void *arg;
    struct list conns;
    struct http_conn **by_fd;
    size_t n_by_fd;
    struct timer round;
    struct list sent; /* connections whose answer is out, and evhttp does not know yet */
    struct loop_hook sent_hook;
    struct http_server_stats stats;
    uint16_t port;
    uint64_t output;   /* of all connections */
    uint64_t bodies;   /* that stream */
    uint64_t reserved; /* of all connections */
    struct list room;  /* requests that wait for some, in their order */
    uint32_t n_room;
    bool full;          /* not accepting: too many connections or descriptors */
    time_t date_second; /* of date */
    char date[32];
};

/* The gate refused what came, or the server does: body_max is the limit that was passed. */
void http_reply_refusal(struct http_request *r, enum http_framing_error e, uint64_t body_max);
void http_body_end(struct http_request *r); /* nobody reads it any more */
/* 503, and when to come again. */
void http_reply_overload(struct http_request *r, const char *message);
/* http_room.c */
void http_room_release(struct http_conn *c);   /* its answer has left, or nobody takes it */
void http_room_forget(struct http_request *r); /* it waits no more */
bool http_room_waited_too_long(const struct http_request *r, uint64_t now_us);
/* Whoever waits with this request is told that it is gone; the answer is up to the caller. */
void http_request_take_back(struct http_request *r);
/* A body broke a rule: whoever reads it is told that the request is gone, and the refusal is the
 * answer. */
void http_body_bad(void *request, enum http_framing_error e);

#endif
