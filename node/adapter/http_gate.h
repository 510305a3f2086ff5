/* SPDX-License-Identifier: Apache-2.0 */
/* What stands between a socket and evhttp. evhttp reads leniently, and it treats a message that is
 * cut short, slow or malformed halfway in ways of its own (HTML pages, other codes, silence). So it
 * never sees one: the gate looks at bytes as they arrive in the connection's input buffer, holds
 * them back until a message is whole and clean (model/http_framing.h), and in place of one that is
 * not puts a request of its own, for which the server sends the refusal. So a refusal keeps its
 * place behind the answers to earlier requests, and is JSON like any other error.
 *
 * An evbuffer callback rather than a filtering bufferevent: a filter in libevent 2.1 calls output
 * written when it has merely reached the socket's buffer, and evhttp then closes on it. */
#ifndef DYN_ADAPTER_HTTP_GATE_H
#define DYN_ADAPTER_HTTP_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "model/http_framing.h"

struct bufferevent;
struct evbuffer;

#define HTTP_STREAM_MAX (1ull << 51) /* bytes of a body that is not held */

struct http_gate_config {
    struct http_limits limits; /* body_max: the larger of the next two */
    uint64_t body_max;         /* bytes of a body */
    uint64_t batch_max;        /* ... of a batch */
    uint64_t bodies_max;       /* bytes held of all bodies being received at a time */
    uint64_t head_timeout_us;  /* from a request's first byte to its empty line */
    uint64_t idle_timeout_us;  /* between requests */
    uint64_t body_grace_us;    /* in each stretch of this length a body must come at body_rate */
    uint64_t body_rate;        /* bytes a second */
};

/* Shared by all gates of a server. What counts against bodies_max is what has come, not what was
 * announced, which costs a client nothing. When that is used up, the slowest gives way: to hold
 * memory for long, one has to go on sending. */
struct http_gates {
    const struct http_gate_config *cfg;
    uint64_t bodies;  /* bytes held of bodies being received */
    struct list open; /* gates that receive one */
};
void http_gates_init(struct http_gates *all, const struct http_gate_config *cfg);

struct http_gate {
    struct http_gates *all;
    struct bufferevent *bev; /* borrowed */
    struct evbuffer *hold;   /* the bytes of a message that is not whole yet */
    struct http_framing framing;
    uint64_t since_us;  /* the message's first byte; when none is open, the last answer */
    uint64_t body_us;   /* the end of its head */
    uint64_t body_read; /* bytes of its body so far: its part of all->bodies */
    struct list link;   /* in all->open while it receives a body */
    /* How fast it comes: since when, and how much had come by then. */
    uint64_t grace_us, grace_read;
    uint64_t window_us, window_read, rate; /* rate: bytes a second in the last window */
    bool gave_way;                         /* what it held is gone, the refusal is due */
    uint64_t passed;                       /* messages given to evhttp, not counting a refusal */
    uint64_t answered;                     /* ... whose answers have left; counted by the server */
    enum http_framing_error refused;       /* nothing after this is read */
    bool busy;                             /* the gate itself is changing the input */
    /* A PUT of a key whose body is too large to be held, or of unknown size: evhttp has seen its
     * head with no body, and the server reads that (http_body.c). Early bytes came with the head,
     * or while an earlier message was being answered. It is the connection's last message. */
    bool streaming;
    struct evbuffer *early;
};

void http_gate_init(struct http_gate *g, struct http_gates *all, struct bufferevent *bev);
void http_gate_release(struct http_gate *g);

enum http_gate_state { HTTP_GATE_FINE, HTTP_GATE_IDLE_TOO_LONG, HTTP_GATE_REFUSED };

/* From time to time, while evhttp waits for input: enforces deadlines. After HTTP_GATE_REFUSED the
 * refusal stands in the input and evhttp must be made to read it. */
enum http_gate_state http_gate_check(struct http_gate *g, uint64_t now_us);

#endif
