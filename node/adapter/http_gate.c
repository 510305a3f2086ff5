/* SPDX-License-Identifier: Apache-2.0 */
/* See http_gate.h. In the usual case, whole requests in one read, bytes are looked at where they
 * lie and nothing moves. A large body is read straight from the socket, because evbuffer_read of
 * libevent 2.1 takes 4 KiB at a time. */
#include "adapter/http_gate.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

#include "adapter/loop.h"

#define DIRECT_MIN 8192u       /* what is left of a body when it pays to read past libevent */
#define DIRECT_TURN (1u << 20) /* bytes of one connection in a turn */
#define RESERVE_MAX (9u << 20) /* of a body that is announced, made room for at once */
#define WINDOW_US 1000000u     /* over which a body's speed is looked at */
#define SLOW_RATE (64u << 10)  /* who is slower, bytes a second, gives way */
#define VECTORS 8

static const char refusal[] = "GET /refused HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n";
static const char proceed[] = "HTTP/1.1 100 Continue\r\n\r\n";

static bool is_batch(const struct http_framing *f)
{
    return strncmp(f->target, "/internal/", 10) == 0 || strncmp(f->target, "/v1/batch", 9) == 0;
}

void http_gates_init(struct http_gates *all, const struct http_gate_config *cfg)
{
    *all = (struct http_gates){.cfg = cfg};
    list_init(&all->open);
}

/* The body has ended, one way or the other. */
static void settle_body(struct http_gate *g)
{
    g->all->bodies -= g->body_read;
    g->body_read = 0;
    list_remove(&g->link);
}

static struct http_gate *slowest(const struct http_gate *except)
{
    struct http_gate *found = NULL;
    uint64_t now = loop_now_us();
    for (struct list *l = except->all->open.next; l != &except->all->open; l = l->next) {
        struct http_gate *g = container_of(l, struct http_gate, link);
        if (g == except || g->rate >= SLOW_RATE || now - g->body_us < 2 * WINDOW_US)
            continue;
        if (found == NULL || g->body_read > found->body_read)
            found = g;
    }
    return found;
}

static bool make_room(struct http_gate *g)
{
    while (g->all->bodies > g->all->cfg->bodies_max) {
        struct http_gate *other = slowest(g);
        if (other == NULL)
            return false;
        other->gave_way = true;
        settle_body(other);
        evbuffer_drain(other->hold, evbuffer_get_length(other->hold));
    }
    return true;
}

/* Takes all input after its first `keep` bytes, which are messages that evhttp has yet to read,
 * away to the end of `to`, or drops it. */
static void take_tail(struct evbuffer *input, size_t keep, struct evbuffer *to)
{
    struct evbuffer *front = NULL;
    if (keep > 0) {
        front = evbuffer_new();
        evbuffer_remove_buffer(input, front, keep);
    }
    if (to != NULL)
        evbuffer_add_buffer(to, input);
    else
        evbuffer_drain(input, evbuffer_get_length(input));
    if (front != NULL) {
        evbuffer_add_buffer(input, front);
        evbuffer_free(front);
    }
}

static void refuse(struct http_gate *g, enum http_framing_error e)
{
    g->refused = e;
    settle_body(g);
    evbuffer_drain(g->hold, evbuffer_get_length(g->hold));
    evbuffer_add(bufferevent_get_input(g->bev), refusal, sizeof(refusal) - 1);
}

static bool streams(const struct http_gate *g)
{
    const struct http_framing *f = &g->framing;
    return f->method_len == 3 && memcmp(f->method, "PUT", 3) == 0 &&
           strncmp(f->target, "/v1/kv/", 7) == 0 &&
           (f->has_coding || f->length > g->all->cfg->body_max);
}

/* What evhttp gets in place of the head: the same without a body. */
static void pass_head(struct http_gate *g, struct evbuffer *input, struct evbuffer *head)
{
    static const char *const left_out[] = {"content-length:", "transfer-encoding:", "expect:"};
    const char *at = (const char *)evbuffer_pullup(head, -1);
    const char *end = at + evbuffer_get_length(head);
    while (at < end) {
        const char *next = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;
        bool keep = next - at > 2;
        for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
            keep &= strncasecmp(at, left_out[i], strlen(left_out[i])) != 0;
        if (keep)
            evbuffer_add(input, at, (size_t)(next - at));
        at = next;
    }
    evbuffer_add(input, "Content-Length: 0\r\n\r\n", 21);
    g->passed++;
}

/* The end of a head: limits that depend on what is asked for. */
static enum http_framing_error head_read(struct http_gate *g, bool body_follows)
{
    const struct http_gate_config *cfg = g->all->cfg;
    struct http_framing *f = &g->framing;
    if (streams(g)) {
        f->limits.body_max = HTTP_STREAM_MAX;
        g->streaming = true;
        return f->length > HTTP_STREAM_MAX ? HTTP_BODY_TOO_LARGE : HTTP_CLEAN;
    }
    f->limits.body_max = is_batch(f) ? cfg->batch_max : cfg->body_max;
    g->body_us = g->grace_us = g->window_us = loop_now_us();
    g->grace_read = g->window_read = g->rate = 0;
    uint64_t size = f->has_coding ? f->limits.body_max : f->length;
    if (size > f->limits.body_max)
        return HTTP_BODY_TOO_LARGE;
    if (size > 0)
        list_append(&g->all->open, &g->link);
    /* Straight to the socket, and only when no answer is under way: evhttp would take a write of
     * ours for the end of its own. */
    if (size > 0 && f->has_expect && !body_follows && g->passed == g->answered)
        (void)!send(bufferevent_getfd(g->bev), proceed, sizeof(proceed) - 1,
                    MSG_DONTWAIT | MSG_NOSIGNAL);
    return HTTP_CLEAN;
}

struct scan {
    size_t at;    /* bytes looked at */
    size_t clean; /* ... of which belong to messages that are whole */
    enum http_framing_error error;
};

/* more: input goes on after these bytes. */
static void scan_bytes(struct http_gate *g, struct scan *s, struct slice in, bool more)
{
    struct http_framing *f = &g->framing;
    enum http_framing_event e = HTTP_MORE;
    do {
        size_t used;
        bool was_open = http_framing_open(f), in_body = !http_framing_in_head(f);
        e = http_framing_feed(f, in, &used);
        in = slice_of(in.data + used, in.len - used);
        s->at += used;
        if (!was_open)
            g->since_us = loop_now_us();
        if (in_body) {
            g->body_read += used;
            g->all->bodies += used;
        }
        if (e == HTTP_BAD) {
            s->error = f->error;
        } else if (e == HTTP_HEAD) {
            s->error = head_read(g, more || in.len > 0);
        } else if (e == HTTP_DONE) {
            s->clean = s->at;
            g->passed++;
            settle_body(g);
            f->limits = g->all->cfg->limits;
        } else if (in_body && !make_room(g)) {
            s->error = HTTP_BODIES_TOO_MANY;
        }
    } while (s->error == HTTP_CLEAN && !g->streaming && (in.len > 0 || e == HTTP_HEAD));
}

static void scan_input(struct http_gate *g, struct scan *s, struct evbuffer *input, size_t from)
{
    size_t left = evbuffer_get_length(input) - from;
    struct evbuffer_ptr at;
    evbuffer_ptr_set(input, &at, from, EVBUFFER_PTR_SET);
    while (left > 0 && s->error == HTTP_CLEAN && !g->streaming) {
        struct evbuffer_iovec v[VECTORS];
        int n = evbuffer_peek(input, (ev_ssize_t)left, &at, v, VECTORS);
        n = n < VECTORS ? n : VECTORS;
        for (int i = 0; i < n && left > 0 && s->error == HTTP_CLEAN && !g->streaming; i++) {
            size_t len = v[i].iov_len < left ? v[i].iov_len : left;
            left -= len;
            scan_bytes(g, s, slice_of(v[i].iov_base, len), left > 0);
            if (left > 0)
                evbuffer_ptr_set(input, &at, len, EVBUFFER_PTR_ADD);
        }
    }
}

/* Messages before it, its head, and then what is not for evhttp. */
static void sort_streaming(struct http_gate *g, const struct scan *s, struct evbuffer *input,
                           size_t old)
{
    struct evbuffer *fresh = evbuffer_new();
    take_tail(input, old, fresh);
    evbuffer_remove_buffer(fresh, g->hold, s->clean);
    if (s->clean > 0)
        evbuffer_add_buffer(input, g->hold);
    evbuffer_remove_buffer(fresh, g->hold, s->at - s->clean);
    pass_head(g, input, g->hold);
    evbuffer_drain(g->hold, evbuffer_get_length(g->hold));
    g->early = fresh;
}

/* Sorts the input after its first `old` bytes: what is clean stays, behind what was held. */
static void sort_input(struct http_gate *g, struct evbuffer *input, size_t old)
{
    struct scan s = {0};
    scan_input(g, &s, input, old);
    if (g->streaming && s.error == HTTP_CLEAN) {
        sort_streaming(g, &s, input, old);
        return;
    }
    size_t fresh = evbuffer_get_length(input) - old;
    if (s.clean == fresh && evbuffer_get_length(g->hold) == 0)
        return;
    if (s.clean == 0) {
        take_tail(input, old, g->hold);
    } else {
        struct evbuffer *tail = evbuffer_new();
        take_tail(input, old, tail);
        evbuffer_remove_buffer(tail, g->hold, s.clean);
        evbuffer_add_buffer(input, g->hold);
        evbuffer_add_buffer(g->hold, tail);
        evbuffer_free(tail);
    }
    if (s.error != HTTP_CLEAN)
        refuse(g, s.error);
}

static uint64_t direct_left(const struct http_gate *g)
{
    const struct http_framing *f = &g->framing;
    return g->refused == HTTP_CLEAN && !g->gave_way && !http_framing_in_head(f) && !f->has_coding
               ? f->left
               : 0;
}

static void read_direct(struct http_gate *g, struct evbuffer *input)
{
    size_t turn = DIRECT_TURN;
    while (turn > 0 && direct_left(g) >= DIRECT_MIN) {
        struct evbuffer_iovec v;
        struct scan s = {0};
        uint64_t room = direct_left(g) < RESERVE_MAX ? direct_left(g) : DIRECT_TURN;
        if (evbuffer_reserve_space(g->hold, (ev_ssize_t)room, &v, 1) != 1)
            abort(); /* as any allocation */
        v.iov_len = v.iov_len < direct_left(g) ? v.iov_len : (size_t)direct_left(g);
        ssize_t n = recv(bufferevent_getfd(g->bev), v.iov_base, v.iov_len, MSG_DONTWAIT);
        v.iov_len = n > 0 ? (size_t)n : 0;
        if (n > 0)
            scan_bytes(g, &s, slice_of(v.iov_base, v.iov_len), false);
        evbuffer_commit_space(g->hold, &v, 1);
        if (n <= 0)
            break; /* nothing now, or an end that libevent will see too */
        turn -= (size_t)n < turn ? (size_t)n : turn;
        if (s.error != HTTP_CLEAN) {
            refuse(g, s.error);
            break;
        }
        if (s.clean > 0)
            evbuffer_add_buffer(input, g->hold);
    }
}

static void input_changed(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct http_gate *g = arg;
    if (info->n_added == 0 || g->busy)
        return;
    g->busy = true;
    if (g->refused != HTTP_CLEAN || g->gave_way || g->streaming) {
        bool drops = g->refused != HTTP_CLEAN || g->early == NULL;
        take_tail(input, info->orig_size, drops ? NULL : g->early);
    } else {
        sort_input(g, input, info->orig_size);
        read_direct(g, input);
    }
    g->busy = false;
}

void http_gate_init(struct http_gate *g, struct http_gates *all, struct bufferevent *bev)
{
    *g = (struct http_gate){.all = all, .bev = bev, .since_us = loop_now_us()};
    g->hold = evbuffer_new();
    list_init(&g->link);
    http_framing_init(&g->framing, &all->cfg->limits);
    evbuffer_add_cb(bufferevent_get_input(bev), input_changed, g);
}

void http_gate_release(struct http_gate *g)
{
    evbuffer_remove_cb(bufferevent_get_input(g->bev), input_changed, g);
    settle_body(g);
    evbuffer_free(g->hold);
    g->hold = NULL;
    if (g->early != NULL)
        evbuffer_free(g->early);
    g->early = NULL;
}

static void refuse_late(struct http_gate *g, enum http_framing_error e)
{
    struct evbuffer *input = bufferevent_get_input(g->bev);
    g->busy = true;
    evbuffer_unfreeze(input, 0); /* outside of a read, only the socket may add to it */
    refuse(g, e);
    evbuffer_freeze(input, 0);
    g->busy = false;
}

/* Stretch by stretch, not since its begin: what came fast once must not stand still for hours. */
static bool body_too_slow(struct http_gate *g, uint64_t now_us)
{
    const struct http_gate_config *cfg = g->all->cfg;
    uint64_t window = now_us - g->window_us, grace = now_us - g->grace_us;
    if (window >= WINDOW_US) {
        g->rate = (g->body_read - g->window_read) * 1000000u / window;
        g->window_us = now_us;
        g->window_read = g->body_read;
    }
    if (grace <= cfg->body_grace_us)
        return false;
    if ((g->body_read - g->grace_read) * 1000000u / grace < cfg->body_rate) {
        refuse_late(g, HTTP_BODY_TOO_SLOW);
        return true;
    }
    g->grace_us = now_us;
    g->grace_read = g->body_read;
    return false;
}

enum http_gate_state http_gate_check(struct http_gate *g, uint64_t now_us)
{
    const struct http_gate_config *cfg = g->all->cfg;
    if (g->refused != HTTP_CLEAN)
        return HTTP_GATE_FINE;
    if (g->gave_way) {
        refuse_late(g, HTTP_BODIES_TOO_MANY);
        return HTTP_GATE_REFUSED;
    }
    if (!http_framing_open(&g->framing))
        return now_us - g->since_us > cfg->idle_timeout_us ? HTTP_GATE_IDLE_TOO_LONG
                                                           : HTTP_GATE_FINE;
    if (http_framing_in_head(&g->framing)) {
        if (now_us - g->since_us <= cfg->head_timeout_us)
            return HTTP_GATE_FINE;
        refuse_late(g, HTTP_HEAD_TOO_SLOW);
        return HTTP_GATE_REFUSED;
    }
    return body_too_slow(g, now_us) ? HTTP_GATE_REFUSED : HTTP_GATE_FINE;
}
