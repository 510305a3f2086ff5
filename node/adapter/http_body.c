/* SPDX-License-Identifier: Apache-2.0 */
/* See http_body.h. The framing of the head goes on here, so chunks and lengths are checked by the
 * same rules as of any other body (model/http_framing.h). */
#include "adapter/http_body.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "adapter/http_gate.h"
#include "base/mem.h"

#define PIECE (64u << 10)
#define PIECES_A_TURN 16

static const char proceed[] = "HTTP/1.1 100 Continue\r\n\r\n";

struct http_body {
    struct http_gate *gate;
    struct loop_watch *watch;
    bool *ended, *freed; /* freed: of the call that is handing on, if one is */
    bool paused, broken;
    uint64_t window_us, window_read; /* since when, and how much has come */
    void (*bytes)(void *arg, struct slice piece, bool end);
    void *arg;
    void (*bad)(void *arg, enum http_framing_error e);
    void *bad_arg;
    uint8_t room[PIECE];
};

static void readable(void *arg, unsigned events);

struct http_body *http_body_new(struct loop *l, struct http_gate *g, bool *ended,
                                void (*bytes)(void *arg, struct slice piece, bool end), void *arg)
{
    struct http_body *b = mem_new(struct http_body);
    b->gate = g;
    b->ended = ended;
    b->bytes = bytes;
    b->arg = arg;
    b->window_us = loop_now_us();
    b->watch = loop_watch_new(l, bufferevent_getfd(g->bev), LOOP_READ, readable, b);
    return b;
}

void http_body_on_bad(struct http_body *b, void (*bad)(void *arg, enum http_framing_error e),
                      void *arg)
{
    b->bad = bad;
    b->bad_arg = arg;
}

void http_body_free(struct http_body *b)
{
    if (b == NULL)
        return;
    if (b->freed != NULL)
        *b->freed = true;
    loop_watch_free(b->watch);
    free(b);
}

void http_body_break(struct http_body *b)
{
    b->broken = true;
    loop_watch_set(b->watch, 0);
    shutdown(bufferevent_getfd(b->gate->bev), SHUT_RDWR);
    bufferevent_enable(b->gate->bev, EV_READ); /* so that evhttp sees it */
}

/* While it is paused, it is not the client who is slow. */
bool http_body_too_slow(struct http_body *b, uint64_t now_us, uint64_t window_us, uint64_t rate)
{
    if (b == NULL || b->broken || *b->ended || now_us - b->window_us < window_us)
        return false;
    bool slow = !b->paused && b->window_read * 1000000 / (now_us - b->window_us) < rate;
    b->window_us = now_us;
    b->window_read = 0;
    return slow;
}

void http_body_pause(struct http_body *b, bool paused)
{
    b->paused = paused;
    b->window_us = loop_now_us();
    b->window_read = 0;
    if (!b->broken && !*b->ended)
        loop_watch_set(b->watch, paused ? 0 : LOOP_READ);
}

/* false: b is gone, or takes nothing more. */
static bool hand_on(struct http_body *b, struct slice piece, bool end)
{
    bool freed = false;
    b->freed = &freed;
    if (end) {
        *b->ended = true;
        loop_watch_set(b->watch, 0);
    }
    b->bytes(b->arg, piece, end);
    if (freed)
        return false;
    b->freed = NULL;
    return !end;
}

/* The same. */
static bool feed(struct http_body *b, struct slice in)
{
    struct http_framing *f = &b->gate->framing;
    while (in.len > 0) {
        bool data = http_framing_in_data(f);
        size_t n = !data ? 1 : f->left < in.len ? (size_t)f->left : in.len, used;
        struct slice piece = slice_of(in.data, n);
        enum http_framing_event e = http_framing_feed(f, piece, &used);
        if (e == HTTP_BAD) {
            b->broken = true;
            loop_watch_set(b->watch, 0);
            b->bad(b->bad_arg, (enum http_framing_error)f->error);
            return false;
        }
        in = slice_of(in.data + n, in.len - n);
        if ((data || e == HTTP_DONE) && !hand_on(b, data ? piece : slice_of("", 0), e == HTTP_DONE))
            return false; /* after it there is nothing: the connection ends with the answer */
    }
    return true;
}

/* What evhttp had read before, or has since. false as feed(). */
static bool feed_early(struct http_body *b)
{
    struct evbuffer *early = b->gate->early;
    size_t len = evbuffer_get_length(early);
    struct buf bytes = BUF_EMPTY;
    if (len == 0)
        return true;
    buf_put(&bytes, evbuffer_pullup(early, -1), len);
    evbuffer_drain(early, len);
    bool more = feed(b, buf_slice(&bytes));
    buf_release(&bytes);
    return more;
}

static void readable(void *arg, unsigned events)
{
    struct http_body *b = arg;
    (void)events;
    if (!feed_early(b))
        return;
    for (int i = 0; i < PIECES_A_TURN && !b->paused && !b->broken; i++) {
        ssize_t n = recv(bufferevent_getfd(b->gate->bev), b->room, PIECE, MSG_DONTWAIT);
        if (n < 0)
            return; /* nothing now; a reset is seen as an end */
        if (n == 0) {
            http_body_break(b);
            return;
        }
        b->window_read += (uint64_t)n;
        if (!feed(b, slice_of(b->room, (size_t)n)))
            return;
    }
}

void http_body_begin(struct http_body *b)
{
    struct http_framing *f = &b->gate->framing;
    size_t used;
    if (f->has_expect && evbuffer_get_length(b->gate->early) == 0)
        (void)!send(bufferevent_getfd(b->gate->bev), proceed, sizeof(proceed) - 1,
                    MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)http_framing_feed(f, slice_of("", 0), &used); /* from the head to the body */
    feed_early(b);
}
