/* SPDX-License-Identifier: Apache-2.0 */
/* See net_curl.h. The one file that knows libcurl, which makes the connections: names, addresses,
 * time limits, and one day TLS. Once a connection stands, posts and their answers go over it
 * without libcurl (net_conn.h), for its way with each request (headers, timers, a look at the
 * socket before and after) costs more than all that an engine does about a batch. Nothing of the
 * owner's runs inside a libcurl callback. */
#include "adapter/net_curl.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adapter/net_conn.h"
#include "adapter/net_queue.h"
#include "base/err.h"
#include "base/mem.h"
#include "model/wire.h"

#define REPLY_MAX (2ull * FRAME_LEN_MAX)
#define IDLE_REUSE_US 45000000u /* below any server's idle limit, so a reused one is open */
#define IDLE_BUCKETS 64u

struct post;

/* Made by libcurl, which keeps it in its books for as long as `easy` lives. */
struct connection {
    struct list link; /* in net_curl.busy or .idle */
    struct net_curl *net;
    CURL *easy;
    char *address, *url;
    struct net_conn *conn; /* NULL: it does not stand yet */
    struct post *post;     /* NULL: idle */
    uint64_t idle_us;
    bool used; /* has carried a post before */
};

/* One POST: a batch on its way, or its replies. */
struct post {
    struct list link; /* in net_curl.posts, the oldest first */
    struct net_curl *net;
    struct net_peer *peer;
    struct connection *connection;
    struct net_batch batch;
    struct buf head;
    uint64_t until_us;
    bool checked; /* status and prefix of the response were good */
    bool retried;
    int err; /* ... or were not, or a frame was not: what still comes is dropped */
};

struct net_curl {
    struct loop *loop;
    CURLM *multi;
    struct net_curl_config cfg;
    struct mac *mac; /* NULL: client */
    struct net_events events;
    void (*reply)(void *ctx, uint64_t origin, uint64_t rid, uint8_t type, struct buf *body);
    void *reply_ctx;
    struct net_queue queue;
    struct loop_hook hook;
    struct timer curl_timer, linger_timer, post_timer;
    struct list posts, busy;
    struct list idle[IDLE_BUCKETS]; /* by address, the longest unused first */
    char *last_failure;             /* for people */
    struct socket_watch **watches;  /* by descriptor; of what libcurl is at work on */
    size_t n_watches;
};

void net_curl_config_defaults(struct net_curl_config *c)
{
    *c = (struct net_curl_config){
        .posts_soft = 4,
        .posts_max = 32,
        .linger_us = 1000,
        .batch_max = 1u << 20,
        .queue_max = 64u << 20,
        .connect_timeout_ms = 1000,
        .post_timeout_ms = 15000,
    };
}

/* ---- what libcurl calls ---- */

static void act(struct net_curl *n, curl_socket_t fd, int mask);

struct socket_watch {
    struct net_curl *net;
    struct loop_watch *watch;
    curl_socket_t fd;
};

static void socket_ready(void *arg, unsigned events)
{
    struct socket_watch *s = arg;
    int mask =
        (events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0);
    act(s->net, s->fd, mask); /* may free s */
}

static struct socket_watch **watch_of(struct net_curl *n, curl_socket_t fd)
{
    size_t i = (size_t)fd;
    if (i >= n->n_watches) {
        n->watches = mem_reallocarray(n->watches, i + 64, sizeof(struct socket_watch *));
        memset(n->watches + n->n_watches, 0, (i + 64 - n->n_watches) * sizeof(*n->watches));
        n->n_watches = i + 64;
    }
    return &n->watches[i];
}

static void watch_drop(struct net_curl *n, curl_socket_t fd)
{
    struct socket_watch **at = watch_of(n, fd);
    if (*at == NULL)
        return;
    loop_watch_free((*at)->watch);
    free(*at);
    *at = NULL;
}

/* In place of one that is left: a socket whose connect fails at once (no route, say) libcurl closes
 * without a word. */
static struct socket_watch *watch_add(struct net_curl *n, curl_socket_t fd)
{
    struct socket_watch *s = mem_new(struct socket_watch);
    watch_drop(n, fd);
    s->net = n;
    s->fd = fd;
    s->watch = loop_watch_new(n->loop, fd, 0, socket_ready, s);
    *watch_of(n, fd) = s;
    return s;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socketp)
{
    struct net_curl *n = arg;
    struct socket_watch *s = *watch_of(n, fd);
    (void)easy;
    (void)socketp;
    if (what == CURL_POLL_REMOVE) {
        watch_drop(n, fd);
    } else {
        s = s != NULL ? s : watch_add(n, fd);
        loop_watch_set(s->watch, (what & CURL_POLL_IN ? LOOP_READ : 0u) |
                                     (what & CURL_POLL_OUT ? LOOP_WRITE : 0u));
    }
    return 0;
}

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
    (void)arg;
    (void)purpose;
    int fd = socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int on_close(void *arg, curl_socket_t fd)
{
    watch_drop(arg, fd);
    return close(fd);
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct net_curl *n = arg;
    (void)multi;
    if (timeout_ms < 0)
        timer_cancel(loop_timers(n->loop), &n->curl_timer);
    else
        timer_set(loop_timers(n->loop), &n->curl_timer,
                  loop_now_us() + (uint64_t)timeout_ms * 1000);
    return 0;
}

static void curl_timer_fired(struct timer *t, void *arg)
{
    (void)t;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

/* ---- connections ---- */

static void post_send(struct post *p);
static void post_deliver(struct post *p);
static void post_ended(struct post *p, int err, const char *why);

static CURL *easy_new(struct net_curl *n, struct connection *c)
{
    CURL *e = curl_easy_init();
    if (e == NULL)
        abort(); /* as any allocation */
    curl_easy_setopt(e, CURLOPT_URL, c->url);
    curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* and none from the environment */
    curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)n->cfg.connect_timeout_ms);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, n);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, n);
    curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    return e;
}

static struct list *idle_of(struct net_curl *n, const char *address)
{
    uint32_t h = 2166136261u;
    for (const char *at = address; *at != 0; at++)
        h = (h ^ (uint8_t)*at) * 16777619u;
    return &n->idle[h % IDLE_BUCKETS];
}

static void connection_free(struct connection *c)
{
    struct net_curl *n = c->net;
    net_conn_free(c->conn);
    curl_multi_remove_handle(n->multi, c->easy); /* closes */
    curl_easy_cleanup(c->easy);
    list_remove(&c->link);
    free(c->address);
    free(c->url);
    free(c);
}

/* The one that was used last, so that those that a burst needed grow old and go. */
static struct connection *connection_idle(struct net_curl *n, const char *address)
{
    struct list *bucket = idle_of(n, address);
    uint64_t now = loop_now_us();
    for (struct list *l = bucket->prev, *before; l != bucket; l = before) {
        struct connection *c = container_of(l, struct connection, link);
        before = l->prev;
        if (strcmp(c->address, address) != 0)
            continue;
        if (now - c->idle_us < IDLE_REUSE_US)
            return c;
        connection_free(c);
    }
    return NULL;
}

static struct connection *connection_new(struct net_curl *n, const char *address)
{
    struct connection *c = mem_new(struct connection);
    c->net = n;
    c->address = mem_strdup(address);
    c->url = mem_printf("http://%s/", address);
    c->easy = easy_new(n, c);
    list_append(&n->busy, &c->link);
    curl_multi_add_handle(n->multi, c->easy); /* whose timer is set now, for at once */
    return c;
}

static void on_body(void *arg)
{
    struct connection *c = arg;
    post_deliver(c->post);
}

static void connection_rests(struct connection *c)
{
    c->post = NULL;
    c->used = true;
    c->idle_us = loop_now_us();
    list_remove(&c->link);
    list_append(idle_of(c->net, c->address), &c->link);
}

/* The answer is whole, or the connection lost. */
static void on_ended(void *arg, int err)
{
    struct connection *c = arg;
    struct post *p = c->post;
    char why[128] = "the connection ended";
    if (net_conn_errno(c->conn) != 0)
        snprintf(why, sizeof(why), "%s", strerror(net_conn_errno(c->conn)));
    if (p == NULL) {
        connection_free(c); /* the server did not want to keep it any longer */
    } else if (err == DYN_ERR_UNREACHABLE && c->used && !net_conn_heard(c->conn) && !p->retried) {
        /* It had ended before the post came, most likely, and we had not heard of it. */
        p->retried = true;
        p->connection = connection_new(p->net, c->address);
        p->connection->post = p;
        connection_free(c);
    } else {
        post_ended(p, err, why);
    }
}

/* libcurl counts a connection as in use from the first bytes that it sends itself. */
static int mark_as_used(struct connection *c, struct slice *head)
{
    size_t n = 0;
    CURLcode rc = curl_easy_send(c->easy, head->data, head->len, &n);
    if (rc != CURLE_OK && rc != CURLE_AGAIN)
        return DYN_ERR_UNREACHABLE;
    *head = slice_of(head->data + n, head->len - n);
    return DYN_OK;
}

static void connected(struct connection *c, CURLcode result)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    const struct net_conn_owner owner = {c, on_body, on_ended};
    long os_error = 0;
    curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &os_error);
    if (result == CURLE_OK)
        curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (fd == CURL_SOCKET_BAD) {
        post_ended(c->post, DYN_ERR_UNREACHABLE,
                   os_error != 0 ? strerror((int)os_error) : curl_easy_strerror(result));
        return;
    }
    watch_drop(c->net, fd);
    c->conn = net_conn_new(c->net->loop, fd, REPLY_MAX, &owner);
    post_send(c->post);
}

/* ---- posts ---- */

static void post_free(struct post *p)
{
    list_remove(&p->link);
    net_batch_release(&p->batch);
    buf_release(&p->head);
    free(p);
}

static void post_send(struct post *p)
{
    struct connection *c = p->connection;
    struct slice head = buf_slice(&p->head);
    if (!c->used && mark_as_used(c, &head) != DYN_OK)
        post_ended(p, DYN_ERR_UNREACHABLE, "it was refused");
    else
        net_conn_send(c->conn, head, buf_slice(&p->batch.body));
}

/* True when a connection has to be made for it. */
static bool post_start(struct net_curl *n, struct net_peer *peer, bool ring)
{
    struct post *p = mem_new(struct post);
    const char *address = net_peer_address(peer);
    const struct batch_header h = {
        .cluster = n->cfg.cluster,
        .from = n->cfg.self,
        .to = ring ? 0 : net_peer_node(peer),
        .hashed = n->mac != NULL && net_peer_takes_hashed(peer),
    };
    p->net = n;
    p->peer = peer;
    p->until_us = loop_now_us() + n->cfg.post_timeout_ms * 1000ull;
    list_append(&n->posts, &p->link);
    if (!timer_is_set(&n->post_timer))
        timer_set(loop_timers(n->loop), &n->post_timer, p->until_us);
    net_batch_take(&p->batch, peer, ring, &h, n->mac, n->cfg.batch_max);
    buf_printf(&p->head,
               "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/octet-stream\r\n"
               "Content-Length: %zu\r\n\r\n",
               n->mac == NULL ? "/v1/batch" : "/internal/batch", address, p->batch.body.len);
    net_peer_posted(peer);
    struct connection *c = connection_idle(n, address);
    p->connection = c != NULL ? c : connection_new(n, address);
    p->connection->post = p;
    if (c == NULL)
        return true;
    list_remove(&c->link);
    list_append(&n->busy, &c->link);
    post_send(p);
    return false;
}

static void post_expired(struct timer *t, void *arg)
{
    struct net_curl *n = arg;
    uint64_t now = loop_now_us();
    (void)t;
    for (struct list *l; (l = list_first(&n->posts)) != NULL;) {
        struct post *p = container_of(l, struct post, link);
        if (p->until_us > now) {
            timer_set(loop_timers(n->loop), &n->post_timer, p->until_us);
            return;
        }
        post_ended(p, DYN_ERR_UNREACHABLE, "it does not answer");
    }
}

/* ---- responses ---- */

static int status_error(int status)
{
    switch (status) {
    case 400:
        return DYN_ERR_PROTOCOL;
    case 403:
        return DYN_ERR_DENIED;
    case 413:
        return DYN_ERR_TOO_LARGE;
    case 421:
        return DYN_ERR_REFUSED;
    case 503:
        return DYN_ERR_OVERLOAD;
    default:
        return DYN_ERR_UNREACHABLE;
    }
}

/* 1: good; 0: more bytes are needed; negative: not what was asked for. */
static int check_response(struct post *p, struct slice in)
{
    struct batch_header h;
    int status = net_conn_status(p->connection->conn);
    if (status == 400) /* an older version may have taken the node's place */
        net_peer_set_takes_hashed(p->peer, false);
    if (status != 200)
        return status_error(status);
    if (in.len < BATCH_PREFIX_LEN)
        return 0;
    if (response_open(slice_of(in.data, BATCH_PREFIX_LEN), &h) != DYN_OK)
        return DYN_ERR_PROTOCOL;
    if (p->batch.to != 0 && h.from != p->batch.to)
        return DYN_ERR_REFUSED;
    return 1;
}

/* Hands whole frames on and keeps the rest. */
static void post_deliver(struct post *p)
{
    struct net_curl *n = p->net;
    struct buf *body = net_conn_body(p->connection->conn);
    struct buf in = buf_take(body);
    struct slice left = buf_slice(&in);
    int rc = p->err == DYN_OK ? 1 : p->err;

    if (rc == 1 && !p->checked) {
        rc = check_response(p, left);
        if (rc == 1) {
            p->checked = true;
            left = slice_of(left.data + BATCH_PREFIX_LEN, left.len - BATCH_PREFIX_LEN);
        }
    }
    while (rc == 1) {
        uint8_t type;
        uint64_t rid;
        struct slice frame;
        rc = frame_take(&left, &type, &rid, &frame);
        if (rc == 1 && rid == 0 && type == FRAME_TAKES_HASHED)
            net_peer_set_takes_hashed(p->peer, true);
        else if (rc == 1 && net_batch_answered(&p->batch, rid))
            n->events.receive_reply(n->events.ctx, rid, type, frame);
    }
    if (rc < 0)
        p->err = rc;
    if (rc == 0 && left.len == in.len) {
        *body = in; /* nothing was used: no need to copy */
        return;
    }
    if (rc == 0)
        buf_put_slice(body, left);
    buf_release(&in);
}

static void note_failure(struct net_curl *n, const char *address, int err, int status,
                         const char *why)
{
    const char *reason = err == DYN_ERR_PROTOCOL || status == 404 ? "what answers is no node"
                         : err == DYN_ERR_REFUSED || status == 421
                             ? "another node or cluster answers"
                         : status != 0 && status != 200 ? "it refuses what it is asked"
                                                        : why;
    free(n->last_failure);
    n->last_failure = mem_printf("%s: %s", address, reason);
}

const char *net_curl_last_failure(const struct net_curl *n)
{
    return n->last_failure;
}

/* err: DYN_OK when an answer has come, whatever it says. */
static void post_ended(struct post *p, int err, const char *why)
{
    struct net_curl *n = p->net;
    struct net_peer *peer = p->peer;
    struct connection *c = p->connection;
    struct net_batch batch = p->batch;
    int status = c->conn == NULL ? 0 : net_conn_status(c->conn);
    bool keep = err == DYN_OK && !net_conn_closes(c->conn);
    if (p->err != DYN_OK)
        err = p->err;
    else if (err == DYN_OK && status != 200)
        err = status_error(status); /* an answer without a body */
    if (err != DYN_OK)
        note_failure(n, c->address, err, status, why);
    if (err == DYN_OK)
        err = DYN_ERR_UNREACHABLE; /* for what it did not answer */
    p->batch = (struct net_batch){0};
    post_free(p);
    if (keep)
        connection_rests(c);
    else
        connection_free(c);
    for (uint32_t i = 0; i < batch.n; i++)
        if (!batch.rids[i].answered)
            n->events.failed(n->events.ctx, batch.rids[i].rid, err);
    net_batch_release(&batch);
    net_peer_ended(&n->queue, peer); /* may free it */
    if (net_queue_waiting(&n->queue))
        loop_hook_arm(n->loop, &n->hook);
}

static void act(struct net_curl *n, curl_socket_t fd, int mask)
{
    int running, left;
    CURLMsg *m;
    curl_multi_socket_action(n->multi, fd, mask, &running);
    while ((m = curl_multi_info_read(n->multi, &left)) != NULL) {
        struct connection *c = NULL;
        CURLcode result = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
        connected(c, result); /* m may be gone with its handle */
    }
}

/* ---- sending ---- */

static bool dispatch_peer(struct net_curl *n, struct net_peer *peer, uint64_t now, uint64_t *next)
{
    bool connects = false;
    while (net_peer_has_ring(peer))
        connects |= post_start(n, peer, true);
    while (net_peer_has_frames(peer)) {
        uint32_t on_their_way = net_peer_posts(peer);
        uint64_t ripe = net_peer_oldest_us(peer) + n->cfg.linger_us;
        if (on_their_way >= n->cfg.posts_max)
            break; /* the end of one of them comes back here */
        if (on_their_way >= n->cfg.posts_soft && ripe > now) {
            *next = ripe < *next ? ripe : *next;
            break;
        }
        connects |= post_start(n, peer, false);
    }
    return connects;
}

static void flush(void *arg)
{
    struct net_curl *n = arg;
    uint64_t rid, next = UINT64_MAX, now = loop_now_us();
    int err;
    while (net_queue_next_failure(&n->queue, &rid, &err))
        n->events.failed(n->events.ctx, rid, err);
    bool connects = false;
    for (struct net_peer *p = net_queue_first(&n->queue), *after; p != NULL; p = after) {
        after = net_queue_after(&n->queue, p);
        connects |= dispatch_peer(n, p, now, &next);
    }
    if (next != UINT64_MAX)
        timer_set(loop_timers(n->loop), &n->linger_timer, next);
    if (connects)
        act(n, CURL_SOCKET_TIMEOUT, 0);
}

void net_curl_send_now(struct net_curl *n)
{
    if (list_empty(&n->hook.link))
        return;
    loop_hook_cancel(&n->hook);
    flush(n);
}

static void linger_fired(struct timer *t, void *arg)
{
    struct net_curl *n = arg;
    (void)t;
    loop_hook_arm(n->loop, &n->hook);
}

static void port_request(void *ctx, uint64_t node, uint64_t rid, uint8_t type, struct buf *body)
{
    struct net_curl *n = ctx;
    net_queue_put(&n->queue, node, rid, type, body, loop_now_us());
    loop_hook_arm(n->loop, &n->hook);
}

static void port_reply(void *ctx, uint64_t origin, uint64_t rid, uint8_t type, struct buf *body)
{
    struct net_curl *n = ctx;
    if (n->reply != NULL)
        n->reply(n->reply_ctx, origin, rid, type, body);
    else
        buf_release(body);
}

static void port_set_address(void *ctx, uint64_t node, const char *address)
{
    struct net_curl *n = ctx;
    net_queue_set_address(&n->queue, node, address);
    loop_hook_arm(n->loop, &n->hook); /* frames for a forgotten node have failed */
}

struct net_port net_curl_port(struct net_curl *n)
{
    return (struct net_port){
        .ctx = n,
        .request = port_request,
        .reply = port_reply,
        .set_address = port_set_address,
    };
}

void net_curl_set_events(struct net_curl *n, const struct net_events *events)
{
    n->events = *events;
}

void net_curl_set_replier(struct net_curl *n,
                          void (*reply)(void *ctx, uint64_t origin, uint64_t rid, uint8_t type,
                                        struct buf *body),
                          void *ctx)
{
    n->reply = reply;
    n->reply_ctx = ctx;
}

struct net_curl *net_curl_new(struct loop *l, const struct net_curl_config *cfg)
{
    struct net_curl *n = mem_new(struct net_curl);
    n->loop = l;
    n->cfg = *cfg;
    n->cfg.secret = slice_of(NULL, 0); /* the mac holds it */
    n->mac = cfg->self == 0 ? NULL : mac_new(cfg->secret);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (n->multi = curl_multi_init()) == NULL)
        abort();
    curl_multi_setopt(n->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(n->multi, CURLMOPT_SOCKETDATA, n);
    curl_multi_setopt(n->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(n->multi, CURLMOPT_TIMERDATA, n);
    curl_multi_setopt(n->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    net_queue_init(&n->queue, cfg->queue_max);
    loop_hook_init(&n->hook, flush, n);
    timer_init(&n->curl_timer, curl_timer_fired, n);
    timer_init(&n->linger_timer, linger_fired, n);
    timer_init(&n->post_timer, post_expired, n);
    list_init(&n->posts);
    list_init(&n->busy);
    for (unsigned i = 0; i < IDLE_BUCKETS; i++)
        list_init(&n->idle[i]);
    return n;
}

static void free_connections(struct list *all)
{
    list_for_each_safe(it, tmp, all) connection_free(container_of(it, struct connection, link));
}

void net_curl_free(struct net_curl *n)
{
    if (n == NULL)
        return;
    while (!list_empty(&n->posts)) {
        struct post *p = container_of(list_first(&n->posts), struct post, link);
        struct net_peer *peer = p->peer;
        post_free(p);
        net_peer_ended(&n->queue, peer);
    }
    free_connections(&n->busy);
    for (unsigned i = 0; i < IDLE_BUCKETS; i++)
        free_connections(&n->idle[i]);
    curl_multi_cleanup(n->multi);
    for (size_t i = 0; i < n->n_watches; i++)
        watch_drop(n, (curl_socket_t)i);
    free(n->watches);
    timer_cancel(loop_timers(n->loop), &n->curl_timer);
    timer_cancel(loop_timers(n->loop), &n->linger_timer);
    timer_cancel(loop_timers(n->loop), &n->post_timer);
    loop_hook_cancel(&n->hook);
    net_queue_release(&n->queue);
    mac_free(n->mac);
    free(n->last_failure);
    free(n);
}
