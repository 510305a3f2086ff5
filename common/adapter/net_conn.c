/* SPDX-License-Identifier: Apache-2.0 */
/* See net_conn.h.
 *
 *   IDLE --send--> BUSY --answer whole--> IDLE
 *   IDLE, BUSY --end of the stream, error, or what is no answer--> LOST
 */
#include "adapter/net_conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/mem.h"

#define PIECE 65536u        /* read at a time into a buffer for all that is small */
#define DIRECT_MIN 16384u   /* what is left of a body when it is read to where it belongs */
#define TURN_MAX (1u << 20) /* bytes of one connection in a turn */

enum state { IDLE, BUSY, LOST };

struct net_conn {
    enum state state;
    struct loop_watch *watch;
    int fd, failure;
    struct net_conn_owner owner;
    struct slice out[2]; /* what is still to be sent */
    bool watches_write, heard;
    struct http_answer answer;
    struct buf in;
    uint64_t body_max;
};

static void ready(void *arg, unsigned events);

struct net_conn *net_conn_new(struct loop *l, int fd, uint64_t body_max,
                              const struct net_conn_owner *owner)
{
    struct net_conn *c = mem_new(struct net_conn);
    c->fd = fd;
    c->owner = *owner;
    c->body_max = body_max;
    c->answer = HTTP_ANSWER_EMPTY;
    c->watch = loop_watch_new(l, fd, LOOP_READ, ready, c);
    return c;
}

void net_conn_free(struct net_conn *c)
{
    if (c == NULL)
        return;
    loop_watch_free(c->watch);
    http_answer_release(&c->answer);
    buf_release(&c->in);
    free(c);
}

/* ---- out ---- */

static void skip(struct slice *s, size_t n)
{
    *s = slice_of(n == s->len ? NULL : s->data + n, s->len - n);
}

static void sent(struct net_conn *c, size_t n)
{
    size_t first = n < c->out[0].len ? n : c->out[0].len;
    skip(&c->out[0], first);
    skip(&c->out[1], n - first);
}

static void push(struct net_conn *c)
{
    while (c->out[0].len + c->out[1].len > 0) {
        struct iovec parts[2] = {{(void *)(uintptr_t)c->out[0].data, c->out[0].len},
                                 {(void *)(uintptr_t)c->out[1].data, c->out[1].len}};
        struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            /* An error shows again when the socket is read: what the server has said before it
             * closed, a refusal perhaps, comes first. */
            c->failure = errno == EAGAIN ? 0 : errno;
            break;
        }
        sent(c, (size_t)n);
    }
    bool left = c->failure == 0 && c->out[0].len + c->out[1].len > 0;
    if (left != c->watches_write)
        loop_watch_set(c->watch, LOOP_READ | (left ? (unsigned)LOOP_WRITE : 0u));
    c->watches_write = left;
}

void net_conn_send(struct net_conn *c, struct slice head, struct slice body)
{
    assert(c->state == IDLE);
    http_answer_next(&c->answer);
    buf_clear(&c->in);
    c->state = BUSY;
    c->heard = false;
    c->failure = 0;
    c->out[0] = head;
    c->out[1] = body;
    push(c);
}

/* ---- in ---- */

static void lose(struct net_conn *c, int err)
{
    c->state = LOST;
    loop_watch_set(c->watch, 0);
    c->owner.ended(c->owner.arg, err);
}

/* Takes bytes apart; those that lie in c->in already, behind what counts, stay there. 1: the answer
 * is whole. */
static int take(struct net_conn *c, struct slice bytes)
{
    for (;;) {
        size_t used = 0;
        struct slice body;
        enum http_answer_event e = http_answer_feed(&c->answer, bytes, &used, &body);
        bytes = slice_of(bytes.data + used, bytes.len - used);
        if (e == HTTP_ANSWER_BAD || (e == HTTP_ANSWER_DONE && bytes.len > 0))
            return DYN_ERR_PROTOCOL; /* one request was sent, so one answer is all there may be */
        if (e == HTTP_ANSWER_DONE)
            return 1;
        if (e == HTTP_ANSWER_MORE)
            return 0;
        if (c->in.len + body.len > c->body_max)
            return DYN_ERR_PROTOCOL;
        if (c->in.data != NULL && body.data == c->in.data + c->in.len)
            c->in.len += body.len;
        else
            buf_put_slice(&c->in, body);
    }
}

/* One read. *more: there may be more to read. */
static int read_some(struct net_conn *c, size_t *got, bool *more)
{
    uint8_t piece[PIECE];
    void *to = piece;
    size_t room = sizeof(piece);
    uint64_t left = http_answer_left(&c->answer);
    if (left >= DIRECT_MIN) {
        room = left < TURN_MAX ? (size_t)left : TURN_MAX;
        if (c->in.len + room > c->body_max)
            return DYN_ERR_PROTOCOL;
        buf_reserve(&c->in, room);
        to = c->in.data + c->in.len;
    }
    ssize_t n = recv(c->fd, to, room, MSG_DONTWAIT);
    *more = false;
    *got = 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        c->failure = n < 0 ? errno : c->failure;
        return n == 0 && http_answer_ends(&c->answer) ? 1 : DYN_ERR_UNREACHABLE;
    }
    c->heard = true;
    *got = (size_t)n;
    *more = (size_t)n == room;
    return take(c, slice_of(to, (size_t)n));
}

static void read_on(struct net_conn *c)
{
    size_t all = 0, n;
    bool more = true;
    int rc = 0;
    while (rc == 0 && more && all < TURN_MAX) {
        rc = read_some(c, &n, &more);
        all += n;
    }
    if (c->in.len > 0 && rc != DYN_ERR_PROTOCOL) /* also what came before it was lost */
        c->owner.body(c->owner.arg);
    if (rc < 0) {
        lose(c, rc);
    } else if (rc == 1) {
        c->state = IDLE;
        c->out[0] = c->out[1] = slice_of(NULL, 0);
        c->owner.ended(c->owner.arg, DYN_OK);
    }
}

static void ready(void *arg, unsigned events)
{
    struct net_conn *c = arg;
    if (c->state == IDLE) { /* nothing was asked: it is the end */
        lose(c, DYN_ERR_UNREACHABLE);
        return;
    }
    if (events & LOOP_WRITE)
        push(c);
    if (events & LOOP_READ)
        read_on(c);
}

struct buf *net_conn_body(struct net_conn *c)
{
    return &c->in;
}

int net_conn_status(const struct net_conn *c)
{
    return c->answer.status;
}

bool net_conn_closes(const struct net_conn *c)
{
    /* An answer that came before all was sent leaves the server in the middle of a request. */
    return c->answer.closes || c->watches_write || c->failure != 0;
}

bool net_conn_heard(const struct net_conn *c)
{
    return c->heard;
}

int net_conn_errno(const struct net_conn *c)
{
    return c->failure;
}
