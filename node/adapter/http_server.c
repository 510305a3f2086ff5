/* SPDX-License-Identifier: Apache-2.0 */
/* See http_server.h. What evhttp 2.1 needs help with: it tells nobody that a connection without a
 * request has ended, so the server holds a reference of its own on each bufferevent and looks, in
 * its rounds, for those that evhttp has let go; it reads on while it writes an answer, so reading
 * is switched off until the answer is out (a client that half-closed still gets it, and nobody can
 * fill the input meanwhile); it closes at once after a refusal, so that connection stays for a
 * moment and swallows what still comes, or the reset would overtake the answer.
 *
 * Answers wait in memory for their readers. All of them together have a bound: past it requests are
 * refused, and who hardly reads loses his connection. */
#include "adapter/http_server.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "adapter/http_body.h"
#include "adapter/http_gate.h"
#include "adapter/http_listen.h"
#include "adapter/http_reason.h"
#include "adapter/http_server_private.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"

#define ROUND_US 250000u          /* between looks at deadlines */
#define LINGER_US 2000000u        /* of a refused connection */
#define STREAM_HOLDS (6ull << 20) /* what a body that streams may keep in memory: its chunks */
#define READ_WINDOW_US 1000000u   /* over which a reader's speed is looked at */
#define READ_SLOW_RATE                                                                             \
    (64u << 10)         /* who takes less, bytes a second, is cut off when memory is short */
#define PUSH_MAX 65536u /* answers up to this are written at once */
#define COPY_MAX 4096u  /* answers up to this are copied, larger ones are referenced */

void http_server_config_defaults(struct http_server_config *c)
{
    *c = (struct http_server_config){
        .connections_max = 4096,
        .head_max = 16384,
        .headers_max = 64,
        .body_max = 1u << 20,
        .batch_max = 66u << 20,
        .bodies_max = 256u << 20,
        .answers_max = 256u << 20,
        .room_timeout_ms = 10000,
        .head_timeout_ms = 10000,
        .idle_timeout_ms = 60000,
        .body_grace_ms = 10000,
        .body_rate = 1024,
        .write_timeout_ms = 30000,
    };
}

/* ---- connections ---- */

static struct evconnlistener *listener(struct http_server *s)
{
    return s->bound == NULL ? NULL : evhttp_bound_socket_get_listener(s->bound);
}

static void set_accepting(struct http_server *s, bool on)
{
    s->full = !on;
    if (listener(s) == NULL)
        return;
    if (on)
        evconnlistener_enable(listener(s));
    else
        evconnlistener_disable(listener(s));
}

static void output_changed(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    struct http_conn *c = arg;
    (void)output;
    if (c->output == 0) { /* the first bytes: from now on he is looked at */
        c->window_us = loop_now_us();
        c->window_taken = c->taken;
    }
    c->taken += info->n_deleted;
    c->output += info->n_added - info->n_deleted;
    c->server->output += info->n_added - info->n_deleted;
}

static struct bufferevent *connection_new(struct event_base *base, void *arg)
{
    struct http_server *s = arg;
    struct http_conn *c = mem_new(struct http_conn);
    const struct timeval write_timeout = {.tv_sec = s->cfg.write_timeout_ms / 1000,
                                          .tv_usec = s->cfg.write_timeout_ms % 1000 * 1000};
    c->bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    if (c->bev == NULL)
        abort(); /* as any allocation */
    c->plain = true;
    bufferevent_incref(c->bev);
    bufferevent_set_timeouts(c->bev, NULL, &write_timeout);
    c->server = s;
    evbuffer_add_cb(bufferevent_get_output(c->bev), output_changed, c);
    http_gate_init(&c->gate, &s->gates, c->bev);
    list_append(&s->conns, &c->link);
    list_init(&c->sent);
    s->stats.accepted++;
    if (++s->stats.connections >= s->cfg.connections_max)
        set_accepting(s, false);
    return c->bev;
}

static void connection_free(struct http_conn *c)
{
    struct http_server *s = c->server;
    int fd = bufferevent_getfd(c->bev);
    if (fd >= 0 && (size_t)fd < s->n_by_fd && s->by_fd[fd] == c)
        s->by_fd[fd] = NULL;
    http_gate_release(&c->gate);
    evbuffer_remove_cb(bufferevent_get_output(c->bev), output_changed, c);
    s->output -= c->output;
    http_room_release(c);
    bufferevent_decref(c->bev); /* closes, once evhttp has let go too */
    list_remove(&c->link);
    list_remove(&c->sent);
    s->stats.connections--;
    free(c);
}

/* evhttp keeps no pointer of ours with a connection, so the descriptor is the way back. */
static struct http_conn *connection_of(struct http_server *s, struct bufferevent *bev)
{
    size_t fd = (size_t)bufferevent_getfd(bev);
    if (fd >= s->n_by_fd) {
        size_t n = fd + 64;
        s->by_fd = mem_reallocarray(s->by_fd, n, sizeof(*s->by_fd));
        memset(s->by_fd + s->n_by_fd, 0, (n - s->n_by_fd) * sizeof(*s->by_fd));
        s->n_by_fd = n;
    }
    if (s->by_fd[fd] == NULL || s->by_fd[fd]->bev != bev) {
        list_for_each_safe(it, tmp, &s->conns)
        {
            struct http_conn *c = container_of(it, struct http_conn, link);
            if (c->bev == bev)
                s->by_fd[fd] = c;
        }
    }
    assert(s->by_fd[fd] != NULL && s->by_fd[fd]->bev == bev);
    return s->by_fd[fd];
}

/* The connection ends under a request: evhttp has either let go of the request (when it waited for
 * us) or frees it right after this. */
static void request_lost(struct http_request *r)
{
    http_body_end(r);
    http_room_forget(r);
    r->conn = NULL;
    if (evhttp_request_get_connection(r->req) == NULL)
        evhttp_request_free(r->req);
    r->req = NULL;
    if (r->gone != NULL)
        r->gone(r->gone_arg);
    free(r);
}

static void connection_closed(struct evhttp_connection *evcon, void *arg)
{
    struct http_conn *c = arg;
    (void)evcon;
    struct http_request *r = c->active;
    c->active = NULL;
    if (r != NULL)
        request_lost(r);
    c->ended = true;
    if (c->gate.refused != HTTP_CLEAN) {
        c->linger_us = loop_now_us() + LINGER_US;
        bufferevent_enable(c->bev, EV_READ); /* the gate drops what comes */
    } else {
        connection_free(c);
    }
}

static bool connection_ended(const struct http_conn *c)
{
    bufferevent_event_cb event_cb;
    bufferevent_getcb(c->bev, NULL, NULL, &event_cb, NULL);
    return c->ended || event_cb == NULL; /* evhttp's own is set for as long as it cares */
}

/* Only when memory is short; else the write timeout is all that a reader has to keep. */
static bool reads_too_slowly(struct http_conn *c, uint64_t now)
{
    uint64_t window = now - c->window_us;
    if (c->output <= READ_SLOW_RATE || window < READ_WINDOW_US)
        return false;
    uint64_t rate = (c->taken - c->window_taken) * 1000000u / window;
    c->window_us = now;
    c->window_taken = c->taken;
    const struct http_server *s = c->server;
    return rate < READ_SLOW_RATE && (s->output > s->cfg.answers_max / 2 || s->n_room > 0);
}

static void connection_check(struct http_conn *c, uint64_t now)
{
    if (connection_ended(c)) {
        if (now >= c->linger_us)
            connection_free(c);
        return;
    }
    if (reads_too_slowly(c, now)) {
        bufferevent_trigger_event(c->bev, BEV_EVENT_WRITING | BEV_EVENT_TIMEOUT, 0);
        return;
    }
    if (c->active != NULL &&
        http_body_too_slow(c->active->body, now, c->server->cfg.body_grace_ms * 1000ull,
                           c->server->cfg.body_rate)) {
        http_body_bad(c->active, HTTP_BODY_TOO_SLOW);
        return;
    }
    if (c->active != NULL && http_room_waited_too_long(c->active, now)) {
        struct http_request *r = c->active;
        http_room_forget(r);
        http_request_take_back(r);
        http_reply_overload(r, "too many answers wait for their readers, try again later");
        return;
    }
    if (c->gate.passed != c->gate.answered)
        return; /* it is our turn, not the client's */
    switch (http_gate_check(&c->gate, now)) {
    case HTTP_GATE_FINE:
        break;
    case HTTP_GATE_IDLE_TOO_LONG:
        bufferevent_trigger_event(c->bev, BEV_EVENT_READING | BEV_EVENT_TIMEOUT, 0);
        break;
    case HTTP_GATE_REFUSED:
        bufferevent_trigger(c->bev, EV_READ, 0);
        break;
    }
}

static void round_fired(struct timer *t, void *arg)
{
    struct http_server *s = arg;
    uint64_t now = loop_now_us();
    list_for_each_safe(it, tmp, &s->conns)
        connection_check(container_of(it, struct http_conn, link), now);
    if (s->full && s->stats.connections < s->cfg.connections_max)
        set_accepting(s, true);
    timer_set(loop_timers(s->loop), t, now + ROUND_US);
}

/* ---- requests ---- */

static void answered(struct evhttp_request *req, void *arg)
{
    struct http_conn *c = arg;
    (void)req;
    c->gate.answered++;
    c->gate.since_us = loop_now_us();
    http_room_release(c);
}

/* Large answers have reserved their room, and may fill all of it. What is over that is held by many
 * small answers that nobody takes: who asks for more has to wait, and who writes does not, for what
 * a write is answered is next to nothing. */
static bool answers_fill_memory(const struct http_request *r)
{
    const struct http_server *s = r->conn->server;
    uint64_t large = s->reserved > s->cfg.answers_max ? s->reserved : s->cfg.answers_max;
    enum http_method method = http_request_method(r);
    return (method == HTTP_GET || method == HTTP_HEADERS) &&
           s->output > large + s->cfg.answers_max / 4;
}

static void handle_request(struct evhttp_request *req, void *arg)
{
    struct http_server *s = arg;
    struct evhttp_connection *evcon = evhttp_request_get_connection(req);
    struct http_conn *c = connection_of(s, evhttp_connection_get_bufferevent(evcon));
    struct http_request *r = mem_new(struct http_request);
    assert(c->active == NULL);
    r->conn = c;
    r->req = req;
    r->headers = evhttp_request_get_output_headers(req);
    r->started_us = loop_now_us();
    list_init(&r->in_room);
    c->active = r;
    c->handled++;
    evhttp_connection_set_closecb(evcon, connection_closed, c);
    if (c->handled > c->gate.passed) { /* the gate's own */
        assert(c->gate.refused != HTTP_CLEAN);
        s->stats.refused++;
        http_reply_close(r);
        http_reply_refusal(r, c->gate.refused, c->gate.framing.limits.body_max);
        return;
    }
    evhttp_request_set_on_complete_cb(req, answered, c);
    if (answers_fill_memory(r)) {
        s->stats.refused++;
        http_reply_overload(r, "too many answers wait for their readers, try again later");
        return;
    }
    s->stats.requests++;
    r->streams = c->gate.streaming && c->handled == c->gate.passed;
    if (r->streams)
        bufferevent_disable(c->bev, EV_READ);
    if (r->streams && (s->bodies + 1) * STREAM_HOLDS > s->cfg.bodies_max) {
        s->stats.refused++;
        http_reply_overload(r, http_framing_message(HTTP_BODIES_TOO_MANY));
        return;
    }
    s->handle(s->arg, r);
}

enum http_method http_request_method(const struct http_request *r)
{
    switch (evhttp_request_get_command(r->req)) {
    case EVHTTP_REQ_HEAD:
        return HTTP_HEADERS;
    case EVHTTP_REQ_PUT:
        return HTTP_PUT;
    case EVHTTP_REQ_POST:
        return HTTP_POST;
    case EVHTTP_REQ_DELETE:
        return HTTP_DELETE;
    default: /* the gate lets no others through */
        return HTTP_GET;
    }
}

struct slice http_request_path(const struct http_request *r)
{
    const char *uri = evhttp_request_get_uri(r->req);
    return slice_of(uri, strcspn(uri, "?"));
}

struct slice http_request_query(const struct http_request *r)
{
    const char *mark = strchr(evhttp_request_get_uri(r->req), '?');
    return mark == NULL ? slice_of(NULL, 0) : slice_str(mark + 1);
}

const char *http_request_header(const struct http_request *r, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(r->req), name);
}

struct slice http_request_body(struct http_request *r)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(r->req);
    size_t len = evbuffer_get_length(in);
    return slice_of(len == 0 ? NULL : evbuffer_pullup(in, -1), len);
}

uint64_t http_request_started_us(const struct http_request *r)
{
    return r->started_us;
}

void http_request_on_gone(struct http_request *r, void (*gone)(void *arg), void *arg)
{
    r->gone = gone;
    r->gone_arg = arg;
}

/* ---- answers ---- */

static void free_bytes(const void *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    free(arg);
}

static struct evbuffer *to_evbuffer(struct buf *bytes)
{
    struct evbuffer *out = evbuffer_new();
    if (bytes->len > COPY_MAX) {
        evbuffer_add_reference(out, bytes->data, bytes->len, free_bytes, bytes->data);
        (void)buf_take(bytes);
    } else if (bytes->len > 0) {
        evbuffer_add(out, bytes->data, bytes->len);
    }
    buf_release(bytes);
    return out;
}

/* evhttp reads on to see a close; see the top of this file. */
static void stop_reading(struct http_conn *c)
{
    bufferevent_disable(c->bev, EV_READ);
}

/* Sends what has been answered at once, where evhttp would wait for the poller to call the socket
 * writable: that costs two changes of what is polled and a turn of the loop for each answer. When
 * all is out, evhttp is told so at the end of this turn (a deferred callback would cost another
 * one); what does not fit goes the usual way. */
static void push(struct http_conn *c)
{
    struct evbuffer *output = bufferevent_get_output(c->bev);
    int n = 0;
    if (c->plain && evbuffer_get_length(output) <= PUSH_MAX) {
        evbuffer_unfreeze(output, 1);
        n = evbuffer_write(output, bufferevent_getfd(c->bev));
        evbuffer_freeze(output, 1);
    }
    if (n <= 0 || evbuffer_get_length(output) > 0) {
        stop_reading(c);
        return;
    }
    bufferevent_disable(c->bev, EV_WRITE);
    list_remove(&c->sent);
    list_append(&c->server->sent, &c->sent);
    loop_hook_arm(c->server->loop, &c->server->sent_hook);
}

static void tell_sent(void *arg)
{
    struct http_server *s = arg;
    for (struct list *l; (l = list_first(&s->sent)) != NULL;) {
        struct http_conn *c = container_of(l, struct http_conn, sent);
        list_remove(l);
        bufferevent_trigger(c->bev, EV_WRITE, 0); /* may free c */
    }
}

static void request_done(struct http_request *r)
{
    r->conn->active = NULL;
    http_body_end(r);
    free(r);
}

void http_reply_header(struct http_request *r, const char *name, const char *value)
{
    evhttp_add_header(r->headers, name, value);
}

void http_reply_close(struct http_request *r)
{
    evhttp_add_header(r->headers, "Connection", "close");
}

/* evhttp formats the date anew for each answer, unless there is one. */
static void add_date(struct http_request *r)
{
    struct http_server *s = r->conn->server;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != s->date_second) {
        struct tm tm;
        gmtime_r(&now.tv_sec, &tm);
        evutil_date_rfc1123(s->date, sizeof(s->date), &tm);
        s->date_second = now.tv_sec;
    }
    evhttp_add_header(r->headers, "Date", s->date);
}

/* After a body that evhttp has not seen there is no next message; what of it still comes is read,
 * or the reset would overtake the answer. */
static void end_with_answer(struct http_request *r)
{
    if (!r->streams)
        return;
    evhttp_remove_header(r->headers, "Connection");
    http_reply_close(r);
    if (!r->body_ended)
        r->conn->gate.refused = HTTP_BODY_TOO_LARGE;
}

void http_reply(struct http_request *r, int status, const char *type, struct buf *body)
{
    assert(!r->streaming);
    add_date(r);
    end_with_answer(r);
    if (type != NULL)
        evhttp_add_header(r->headers, "Content-Type", type);
    if (http_request_method(r) == HTTP_HEADERS) {
        char length[24];
        snprintf(length, sizeof(length), "%zu", body->len);
        if (evhttp_find_header(r->headers, "Content-Length") == NULL)
            evhttp_add_header(r->headers, "Content-Length", length);
        buf_release(body);
    }
    struct evbuffer *out = to_evbuffer(body);
    evhttp_send_reply(r->req, status, http_reason(status), out);
    evbuffer_free(out);
    push(r->conn);
    request_done(r);
}

void http_reply_error(struct http_request *r, int status, const char *code, const char *message)
{
    struct json *j = json_object();
    struct buf body = BUF_EMPTY;
    json_add_str(j, "error", code);
    json_add_str(j, "message", message);
    json_print(j, false, &body);
    buf_put_str(&body, "\n");
    json_free(j);
    http_reply(r, status, "application/json", &body);
}

void http_stream_start(struct http_request *r, int status, const char *type)
{
    assert(!r->streaming);
    r->streaming = true;
    add_date(r);
    evhttp_add_header(r->headers, "Content-Type", type);
    evhttp_send_reply_start(r->req, status, http_reason(status));
    stop_reading(r->conn);
}

void http_stream_chunk(struct http_request *r, struct buf *bytes)
{
    assert(r->streaming);
    struct evbuffer *out = to_evbuffer(bytes);
    evhttp_send_reply_chunk(r->req, out);
    evbuffer_free(out);
    stop_reading(r->conn); /* and no push: see http_stream_end() */
}

static void piece_written(struct evhttp_connection *evcon, void *arg)
{
    struct http_request *r = arg;
    void (*written)(void *a) = r->written;
    (void)evcon;
    r->written = NULL;
    if (written != NULL)
        written(r->written_arg);
}

void http_stream_chunk_then(struct http_request *r, struct buf *bytes, void (*written)(void *arg),
                            void *arg)
{
    assert(r->streaming && r->written == NULL && bytes->len > 0);
    struct evbuffer *out = to_evbuffer(bytes);
    r->written = written;
    r->written_arg = arg;
    evhttp_send_reply_chunk_with_cb(r->req, out, piece_written, r);
    evbuffer_free(out);
    stop_reading(r->conn);
}

void http_stream_abort(struct http_request *r)
{
    assert(r->streaming);
    shutdown(bufferevent_getfd(r->conn->bev), SHUT_RDWR);
    bufferevent_enable(r->conn->bev, EV_READ); /* so that evhttp sees it */
}

void http_stream_last(struct http_request *r, struct buf *bytes)
{
    struct evbuffer *out = to_evbuffer(bytes);
    evhttp_send_reply_chunk(r->req, out);
    evbuffer_free(out);
    http_stream_end(r);
}

void http_stream_end(struct http_request *r)
{
    assert(r->streaming);
    evhttp_send_reply_end(r->req); /* the last chunk has yet to be written, so nothing ends here */
    push(r->conn);
    request_done(r);
}

/* ---- the server ---- */

/* Out of descriptors, most likely: accepting on would spin. The next round tries again. */
static void accept_failed(struct evconnlistener *l, void *arg)
{
    (void)l;
    set_accepting(arg, false);
}

static void gate_config(struct http_server *s)
{
    const struct http_server_config *c = &s->cfg;
    s->gate_cfg = (struct http_gate_config){
        .limits = {.head_max = c->head_max,
                   .headers_max = c->headers_max,
                   /* the gate knows only at the end of a head which limit holds */
                   .body_max = HTTP_STREAM_MAX},
        .body_max = c->body_max,
        .batch_max = c->batch_max,
        .bodies_max = c->bodies_max,
        .head_timeout_us = c->head_timeout_ms * 1000ull,
        .idle_timeout_us = c->idle_timeout_ms * 1000ull,
        .body_grace_us = c->body_grace_ms * 1000ull,
        .body_rate = c->body_rate,
    };
    http_gates_init(&s->gates, &s->gate_cfg);
}

int http_server_new(struct loop *l, const struct http_server_config *cfg,
                    void (*handle)(void *arg, struct http_request *r), void *arg,
                    struct http_server **out, char **message)
{
    int fd;
    uint16_t port;
    int err = http_listen(cfg->listen, &fd, &port, message);
    if (err != DYN_OK)
        return err;
    struct http_server *s = mem_new(struct http_server);
    s->loop = l;
    s->cfg = *cfg;
    s->cfg.listen = NULL;
    s->port = port;
    s->handle = handle;
    s->arg = arg;
    list_init(&s->conns);
    list_init(&s->room);
    gate_config(s);
    s->http = evhttp_new(loop_base(l));
    struct evconnlistener *ear =
        s->http == NULL ? NULL
                        : evconnlistener_new(loop_base(l), NULL, NULL,
                                             LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    s->bound = ear == NULL ? NULL : evhttp_bind_listener(s->http, ear);
    if (s->bound == NULL)
        abort();
    evconnlistener_set_error_cb(ear, accept_failed);
    evhttp_set_bevcb(s->http, connection_new, s);
    evhttp_set_gencb(s->http, handle_request, s);
    evhttp_set_default_content_type(s->http, NULL);
    list_init(&s->sent);
    loop_hook_init(&s->sent_hook, tell_sent, s);
    timer_init(&s->round, round_fired, s);
    timer_set(loop_timers(l), &s->round, loop_now_us() + ROUND_US);
    *out = s;
    return DYN_OK;
}

void http_server_stop_listening(struct http_server *s)
{
    if (s->bound != NULL)
        evhttp_del_accept_socket(s->http, s->bound);
    s->bound = NULL;
}

void http_server_free(struct http_server *s)
{
    if (s == NULL)
        return;
    timer_cancel(loop_timers(s->loop), &s->round);
    loop_hook_cancel(&s->sent_hook);
    s->bound = NULL;
    while (!list_empty(&s->room)) /* what becomes free now is for nobody */
        http_room_forget(container_of(list_first(&s->room), struct http_request, in_room));
    evhttp_free(s->http); /* its connections tell us that they close */
    while (!list_empty(&s->conns))
        connection_free(container_of(list_first(&s->conns), struct http_conn, link));
    free(s->by_fd);
    free(s);
}

uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

void http_server_stats(const struct http_server *s, struct http_server_stats *out)
{
    *out = s->stats;
    out->bytes_in_bodies = s->gates.bodies;
    out->bytes_in_answers = s->output;
    out->bytes_reserved = s->reserved;
    out->waiting_for_room = s->n_room;
}
