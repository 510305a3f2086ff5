/* SPDX-License-Identifier: Apache-2.0 */
/* Room for answers. A request is small and what it asks for may be 8 MiB: two hundred readers who
 * take nothing would make a node hold more than a gigabyte. So whoever collects a large answer
 * first asks for room; what is given is taken back when the answer has left. Who finds none waits,
 * first come first served, so that a large one is not passed by for ever. */
#include "adapter/http_server_private.h"

/* One that is larger than all the room there is gets it when nobody else has any. */
static bool fits(const struct http_server *s, uint64_t bytes)
{
    return s->reserved == 0 || s->reserved + bytes <= s->cfg.answers_max;
}

static void take(struct http_conn *c, uint64_t bytes)
{
    c->reserved = bytes;
    c->server->reserved += bytes;
}

static void serve_waiting(struct http_server *s)
{
    while (!list_empty(&s->room)) {
        struct http_request *r = container_of(list_first(&s->room), struct http_request, in_room);
        if (!fits(s, r->wanted))
            return;
        http_room_forget(r);
        take(r->conn, r->wanted);
        r->granted(r->granted_arg); /* r may be gone */
    }
}

bool http_request_reserve(struct http_request *r, uint64_t bytes, void (*granted)(void *arg),
                          void *arg)
{
    struct http_server *s = r->conn->server;
    s->reserved -= r->conn->reserved;
    r->conn->reserved = 0;
    if (list_empty(&s->room) && fits(s, bytes)) {
        take(r->conn, bytes);
        return true;
    }
    r->wanted = bytes;
    r->waiting_us = loop_now_us();
    r->granted = granted;
    r->granted_arg = arg;
    list_append(&s->room, &r->in_room);
    s->n_room++;
    return false;
}

void http_room_release(struct http_conn *c)
{
    uint64_t bytes = c->reserved;
    c->reserved = 0;
    c->server->reserved -= bytes;
    if (bytes > 0)
        serve_waiting(c->server);
}

void http_room_forget(struct http_request *r)
{
    if (list_empty(&r->in_room))
        return;
    list_remove(&r->in_room);
    r->conn->server->n_room--;
}

bool http_room_waited_too_long(const struct http_request *r, uint64_t now_us)
{
    return !list_empty(&r->in_room) &&
           now_us - r->waiting_us > r->conn->server->cfg.room_timeout_ms * 1000ull;
}
