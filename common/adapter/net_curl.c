/* SPDX-License-Identifier: Apache-2.0 */
/* See net_curl.h. The one file that knows libcurl: posts are easy handles on one multi handle whose
 * sockets and timer live on the loop. Nothing of the owner's runs inside a libcurl callback: bytes
 * are collected there, and handed on when libcurl has returned, so the owner may do as it likes. */
#include "adapter/net_curl.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adapter/net_queue.h"
#include "base/err.h"
#include "base/mem.h"
#include "model/wire.h"

#define EASY_IDLE_MAX 64     /* handles kept for the next post */
#define CONNECTIONS_MAX 1024 /* kept alive, all nodes together */
#define REPLY_MAX (2ull * FRAME_LEN_MAX)
#define IDLE_REUSE_S 45 /* below any server's idle limit, so a reused one is open */

/* One POST: a batch on its way, or its replies. */
struct post {
    struct list link; /* in net_curl.posts */
    struct list readable;
    struct net_curl *net;
    struct net_peer *peer;
    CURL *easy;
    char *url; /* libcurl copies it, but a changed address must not mix with an old handle's */
    struct net_batch batch;
    struct buf in;
    bool checked; /* status and prefix of the response were good */
    int err;      /* ... or were not, or a frame was not: what still comes is dropped */
};

struct net_curl {
    struct loop *loop;
    CURLM *multi;
    struct curl_slist *headers;
    struct net_curl_config cfg;
    struct mac *mac; /* NULL: client */
    struct net_events events;
    void (*reply)(void *ctx, uint64_t origin, uint64_t rid, uint8_t type, struct buf *body);
    void *reply_ctx;
    struct net_queue queue;
    struct loop_hook hook;
    struct timer curl_timer, linger_timer;
    struct list posts;
    struct list readable; /* posts with bytes not yet handed on */
    CURL *idle[EASY_IDLE_MAX];
    uint32_t n_idle;
    char *last_failure;            /* for people */
    struct socket_watch **watches; /* by descriptor */
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

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct post *p = arg;
    if (p->err != DYN_OK)
        return size * n;
    if (p->in.len + size * n > REPLY_MAX)
        return 0; /* ends the transfer */
    buf_put(&p->in, data, size * n);
    if (list_empty(&p->readable))
        list_append(&p->net->readable, &p->readable);
    return size * n;
}

static void act(struct net_curl *n, curl_socket_t fd, int mask);

/* A connection that is kept stays with the poller between posts: taking it out and putting it back
 * would cost two system calls for each. What an idle one reports is its end, most likely, and
 * libcurl sees that for itself before it uses the connection again. */
struct socket_watch {
    struct net_curl *net;
    struct loop_watch *watch;
    curl_socket_t fd;
    bool kept; /* a connection; else libcurl's own, which it closes without a word */
    bool idle;
};

static void socket_ready(void *arg, unsigned events)
{
    struct socket_watch *s = arg;
    int mask =
        (events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0);
    if (s->idle)
        loop_watch_set(s->watch, 0);
    else
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
static struct socket_watch *watch_add(struct net_curl *n, curl_socket_t fd, bool kept)
{
    struct socket_watch *s = mem_new(struct socket_watch);
    watch_drop(n, fd);
    s->net = n;
    s->fd = fd;
    s->kept = kept;
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
    if (what == CURL_POLL_REMOVE && s != NULL && s->kept) {
        s->idle = true;
    } else if (what == CURL_POLL_REMOVE) {
        watch_drop(n, fd);
    } else {
        s = s != NULL ? s : watch_add(n, fd, false);
        s->idle = false;
        loop_watch_set(s->watch, (what & CURL_POLL_IN ? LOOP_READ : 0u) |
                                     (what & CURL_POLL_OUT ? LOOP_WRITE : 0u));
    }
    return 0;
}

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
    (void)purpose;
    int fd = socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    watch_add(arg, fd, true);
    return fd;
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

/* ---- handles ---- */

static CURL *easy_new(struct net_curl *n)
{
    CURL *e = curl_easy_init();
    if (e == NULL)
        abort(); /* as any allocation */
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, n->headers);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* and none from the environment */
    curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 65536L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)n->cfg.connect_timeout_ms);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)n->cfg.post_timeout_ms);
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)IDLE_REUSE_S);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, n);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, n);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    return e;
}

static void easy_put_back(struct net_curl *n, CURL *e)
{
    if (n->n_idle < EASY_IDLE_MAX)
        n->idle[n->n_idle++] = e;
    else
        curl_easy_cleanup(e);
}

static void post_free(struct post *p)
{
    struct net_curl *n = p->net;
    curl_multi_remove_handle(n->multi, p->easy);
    easy_put_back(n, p->easy);
    list_remove(&p->link);
    list_remove(&p->readable);
    net_batch_release(&p->batch);
    buf_release(&p->in);
    free(p->url);
    free(p);
}

static void post_start(struct net_curl *n, struct net_peer *peer, bool ring)
{
    struct post *p = mem_new(struct post);
    const struct batch_header h = {
        .cluster = n->cfg.cluster,
        .from = n->cfg.self,
        .to = ring ? 0 : net_peer_node(peer),
    };
    p->net = n;
    p->peer = peer;
    list_init(&p->readable);
    list_append(&n->posts, &p->link);
    net_batch_take(&p->batch, peer, ring, &h, n->mac, n->cfg.batch_max);
    p->url = mem_printf("http://%s%s", net_peer_address(peer),
                        n->mac == NULL ? "/v1/batch" : "/internal/batch");
    p->easy = n->n_idle > 0 ? n->idle[--n->n_idle] : easy_new(n);
    curl_easy_setopt(p->easy, CURLOPT_URL, p->url);
    curl_easy_setopt(p->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)p->batch.body.len);
    curl_easy_setopt(p->easy, CURLOPT_POSTFIELDS, p->batch.body.data); /* borrowed */
    curl_easy_setopt(p->easy, CURLOPT_WRITEDATA, p);
    curl_easy_setopt(p->easy, CURLOPT_PRIVATE, p);
    curl_multi_add_handle(n->multi, p->easy);
    net_peer_posted(peer);
}

/* ---- responses ---- */

static int status_error(long status)
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
    long status = 0;
    curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &status);
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
    struct buf in = buf_take(&p->in);
    struct slice left = buf_slice(&in);
    int rc = 1;

    if (!p->checked) {
        rc = check_response(p, left);
        if (rc == 1) {
            p->checked = true;
            left = slice_of(left.data + BATCH_PREFIX_LEN, left.len - BATCH_PREFIX_LEN);
        }
    }
    while (rc == 1) {
        uint8_t type;
        uint64_t rid;
        struct slice body;
        rc = frame_take(&left, &type, &rid, &body);
        if (rc == 1 && net_batch_answered(&p->batch, rid))
            n->events.receive_reply(n->events.ctx, rid, type, body);
    }
    if (rc < 0)
        p->err = rc;
    if (rc == 0 && left.len == in.len) {
        p->in = in; /* nothing was used: no need to copy */
        return;
    }
    if (rc == 0)
        buf_put_slice(&p->in, left);
    buf_release(&in);
}

static void note_failure(struct post *p, CURLcode result, long status)
{
    struct net_curl *n = p->net;
    const char *url = NULL, *scheme = "://";
    long os_error = 0;
    curl_easy_getinfo(p->easy, CURLINFO_EFFECTIVE_URL, &url);
    curl_easy_getinfo(p->easy, CURLINFO_OS_ERRNO, &os_error);
    const char *host = url == NULL ? NULL : strstr(url, scheme);
    host = host == NULL ? "" : host + strlen(scheme);
    const char *reason = p->err == DYN_ERR_PROTOCOL || status == 404 ? "what answers is no node"
                         : p->err == DYN_ERR_REFUSED || status == 421
                             ? "another node or cluster answers"
                         : result == CURLE_OK ? "it refuses what it is asked"
                         : os_error != 0      ? strerror((int)os_error)
                                              : curl_easy_strerror(result);
    free(n->last_failure);
    n->last_failure = mem_printf("%.*s: %s", (int)strcspn(host, "/"), host, reason);
}

const char *net_curl_last_failure(const struct net_curl *n)
{
    return n->last_failure;
}

static void post_finished(struct post *p, CURLcode result)
{
    struct net_curl *n = p->net;
    struct net_peer *peer = p->peer;
    struct net_batch batch = p->batch;
    int err = p->err != DYN_OK ? p->err : DYN_ERR_UNREACHABLE;
    long status = 0;
    curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &status);
    if (result == CURLE_OK && status != 200)
        err = status_error(status); /* an answer without a body */
    if (result != CURLE_OK || status != 200 || p->err != DYN_OK)
        note_failure(p, result, status);
    p->batch = (struct net_batch){0};
    post_free(p);
    for (uint32_t i = 0; i < batch.n; i++)
        if (!batch.rids[i].answered)
            n->events.failed(n->events.ctx, batch.rids[i].rid, err);
    net_batch_release(&batch);
    net_peer_ended(&n->queue, peer); /* may free it */
    if (net_queue_waiting(&n->queue))
        loop_hook_arm(n->loop, &n->hook);
}

static void collect(struct net_curl *n)
{
    while (!list_empty(&n->readable)) {
        struct post *p = container_of(list_first(&n->readable), struct post, readable);
        list_remove(&p->readable);
        post_deliver(p);
    }
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(n->multi, &left)) != NULL) {
        struct post *p = NULL;
        CURLcode result = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&p);
        post_finished(p, result); /* m is gone with its handle */
    }
}

static void act(struct net_curl *n, curl_socket_t fd, int mask)
{
    int running;
    curl_multi_socket_action(n->multi, fd, mask, &running);
    collect(n);
}

/* ---- sending ---- */

static bool dispatch_peer(struct net_curl *n, struct net_peer *peer, uint64_t now, uint64_t *next)
{
    bool started = false;
    while (net_peer_has_ring(peer)) {
        post_start(n, peer, true);
        started = true;
    }
    while (net_peer_has_frames(peer)) {
        uint32_t on_their_way = net_peer_posts(peer);
        uint64_t ripe = net_peer_oldest_us(peer) + n->cfg.linger_us;
        if (on_their_way >= n->cfg.posts_max)
            break; /* the end of one of them comes back here */
        if (on_their_way >= n->cfg.posts_soft && ripe > now) {
            *next = ripe < *next ? ripe : *next;
            break;
        }
        post_start(n, peer, false);
        started = true;
    }
    return started;
}

static void flush(void *arg)
{
    struct net_curl *n = arg;
    uint64_t rid, next = UINT64_MAX, now = loop_now_us();
    int err;
    while (net_queue_next_failure(&n->queue, &rid, &err))
        n->events.failed(n->events.ctx, rid, err);
    bool started = false;
    for (struct net_peer *p = net_queue_first(&n->queue), *after; p != NULL; p = after) {
        after = net_queue_after(&n->queue, p);
        started |= dispatch_peer(n, p, now, &next);
    }
    if (next != UINT64_MAX)
        timer_set(loop_timers(n->loop), &n->linger_timer, next);
    if (started)
        act(n, CURL_SOCKET_TIMEOUT, 0); /* sends at once, on connections that stand */
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
    n->headers = curl_slist_append(n->headers, "Expect:"); /* 1 s of waiting for big batches */
    n->headers = curl_slist_append(n->headers, "Accept:");
    n->headers = curl_slist_append(n->headers, "Content-Type: application/octet-stream");
    curl_multi_setopt(n->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(n->multi, CURLMOPT_SOCKETDATA, n);
    curl_multi_setopt(n->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(n->multi, CURLMOPT_TIMERDATA, n);
    curl_multi_setopt(n->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_MAX);
    curl_multi_setopt(n->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    net_queue_init(&n->queue, cfg->queue_max);
    loop_hook_init(&n->hook, flush, n);
    timer_init(&n->curl_timer, curl_timer_fired, n);
    timer_init(&n->linger_timer, linger_fired, n);
    list_init(&n->posts);
    list_init(&n->readable);
    return n;
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
    while (n->n_idle > 0)
        curl_easy_cleanup(n->idle[--n->n_idle]);
    curl_multi_cleanup(n->multi); /* closes the kept connections, through on_close */
    for (size_t i = 0; i < n->n_watches; i++)
        watch_drop(n, (curl_socket_t)i);
    free(n->watches);
    curl_slist_free_all(n->headers);
    timer_cancel(loop_timers(n->loop), &n->curl_timer);
    timer_cancel(loop_timers(n->loop), &n->linger_timer);
    loop_hook_cancel(&n->hook);
    net_queue_release(&n->queue);
    mac_free(n->mac);
    free(n->last_failure);
    free(n);
}
