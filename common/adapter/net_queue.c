/* SPDX-License-Identifier: Apache-2.0 */
/* See net_queue.h. Nodes are found by a fixed hash: a cluster has at most a few thousand. */
#include "adapter/net_queue.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

#define BUCKETS 64u
#define BATCH_FRAMES_MAX 1024u

struct frame {
    uint64_t rid, queued_us;
    uint8_t type;
    struct buf body;
};

struct frames { /* first in, first out */
    struct frame *at;
    uint32_t head, n, cap;
};

struct net_peer {
    struct list link, chain;
    uint64_t node;
    char *address; /* NULL: forgotten, posts still on their way */
    struct frames frames, ring;
    uint64_t bytes;
    uint32_t posts;
    bool takes_hashed;
};

static void frames_push(struct frames *f, const struct frame *frame)
{
    if (f->head + f->n == f->cap) {
        if (f->head > f->cap / 2) {
            memmove(f->at, f->at + f->head, f->n * sizeof(*f->at));
        } else {
            uint32_t cap = f->cap == 0 ? 16 : f->cap * 2;
            struct frame *at = mem_reallocarray(NULL, cap, sizeof(*at));
            if (f->n != 0)
                memcpy(at, f->at + f->head, f->n * sizeof(*at));
            free(f->at);
            f->at = at;
            f->cap = cap;
        }
        f->head = 0;
    }
    f->at[f->head + f->n++] = *frame;
}

static struct frame frames_pop(struct frames *f)
{
    assert(f->n > 0);
    struct frame frame = f->at[f->head];
    f->n--;
    f->head = f->n == 0 ? 0 : f->head + 1;
    return frame;
}

static struct list *bucket(struct net_queue *q, uint64_t node)
{
    return &q->buckets[(node ^ node >> 32) % BUCKETS];
}

static struct net_peer *find(struct net_queue *q, uint64_t node)
{
    list_for_each_safe(it, tmp, bucket(q, node))
    {
        struct net_peer *p = container_of(it, struct net_peer, chain);
        if (p->node == node)
            return p;
    }
    return NULL;
}

void net_queue_init(struct net_queue *q, uint64_t queue_max)
{
    *q = (struct net_queue){.queue_max = queue_max};
    list_init(&q->peers);
    q->buckets = mem_reallocarray(NULL, BUCKETS, sizeof(*q->buckets));
    for (unsigned i = 0; i < BUCKETS; i++)
        list_init(&q->buckets[i]);
}

static void fail(struct net_queue *q, uint64_t rid, int err)
{
    if (rid == 0)
        return;
    if (q->n_failures == q->cap_failures) {
        q->cap_failures = q->cap_failures == 0 ? 16 : q->cap_failures * 2;
        q->failures = mem_reallocarray(q->failures, q->cap_failures, sizeof(*q->failures));
    }
    q->failures[q->n_failures++] = (struct net_failure){.rid = rid, .err = err};
}

bool net_queue_next_failure(struct net_queue *q, uint64_t *rid, int *err)
{
    if (q->next_failure == q->n_failures) {
        q->next_failure = q->n_failures = 0;
        return false;
    }
    *rid = q->failures[q->next_failure].rid;
    *err = q->failures[q->next_failure].err;
    q->next_failure++;
    return true;
}

static void drop_frames(struct net_queue *q, struct frames *f)
{
    while (f->n > 0) {
        struct frame frame = frames_pop(f);
        fail(q, frame.rid, DYN_ERR_UNREACHABLE);
        buf_release(&frame.body);
    }
}

static void peer_free(struct net_queue *q, struct net_peer *p)
{
    drop_frames(q, &p->frames);
    drop_frames(q, &p->ring);
    free(p->frames.at);
    free(p->ring.at);
    list_remove(&p->link);
    list_remove(&p->chain);
    free(p->address);
    free(p);
}

void net_queue_release(struct net_queue *q)
{
    list_for_each_safe(it, tmp, &q->peers) peer_free(q, container_of(it, struct net_peer, link));
    free(q->buckets);
    free(q->failures);
}

void net_queue_set_address(struct net_queue *q, uint64_t node, const char *address)
{
    struct net_peer *p = find(q, node);
    if (address == NULL) {
        if (p == NULL)
            return;
        drop_frames(q, &p->frames);
        drop_frames(q, &p->ring);
        p->bytes = 0;
        free(p->address);
        p->address = NULL;
        if (p->posts == 0)
            peer_free(q, p);
        return;
    }
    if (p == NULL) {
        p = mem_new(struct net_peer);
        p->node = node;
        list_append(&q->peers, &p->link);
        list_append(bucket(q, node), &p->chain);
    }
    free(p->address);
    p->address = mem_strdup(address);
}

void net_queue_put(struct net_queue *q, uint64_t node, uint64_t rid, uint8_t type, struct buf *body,
                   uint64_t now_us)
{
    struct net_peer *p = find(q, node);
    struct frame frame = {.rid = rid, .queued_us = now_us, .type = type};
    size_t size = body->len + FRAME_HEADER_LEN;
    int err = DYN_OK;
    if (p == NULL || p->address == NULL)
        err = DYN_ERR_UNREACHABLE;
    else if (body->len > FRAME_LEN_MAX)
        err = DYN_ERR_TOO_LARGE;
    else if (p->bytes != 0 && p->bytes + size > q->queue_max)
        err = DYN_ERR_OVERLOAD;
    if (err != DYN_OK) {
        fail(q, rid, err);
        buf_release(body);
        return;
    }
    frame.body = buf_take(body);
    p->bytes += size;
    frames_push(type == FRAME_RING ? &p->ring : &p->frames, &frame);
}

bool net_queue_waiting(const struct net_queue *q)
{
    if (q->next_failure != q->n_failures)
        return true;
    for (const struct list *it = q->peers.next; it != &q->peers; it = it->next) {
        const struct net_peer *p = container_of(it, struct net_peer, link);
        if (p->frames.n + p->ring.n != 0)
            return true;
    }
    return false;
}

struct net_peer *net_queue_first(struct net_queue *q)
{
    struct list *l = list_first(&q->peers);
    return l == NULL ? NULL : container_of(l, struct net_peer, link);
}

struct net_peer *net_queue_after(struct net_queue *q, struct net_peer *p)
{
    return p->link.next == &q->peers ? NULL : container_of(p->link.next, struct net_peer, link);
}

uint64_t net_peer_node(const struct net_peer *p)
{
    return p->node;
}

const char *net_peer_address(const struct net_peer *p)
{
    return p->address;
}

bool net_peer_has_frames(const struct net_peer *p)
{
    return p->frames.n != 0;
}

bool net_peer_has_ring(const struct net_peer *p)
{
    return p->ring.n != 0;
}

uint64_t net_peer_oldest_us(const struct net_peer *p)
{
    assert(p->frames.n != 0);
    return p->frames.at[p->frames.head].queued_us;
}

uint32_t net_peer_posts(const struct net_peer *p)
{
    return p->posts;
}

bool net_peer_takes_hashed(const struct net_peer *p)
{
    return p->takes_hashed;
}

void net_peer_set_takes_hashed(struct net_peer *p, bool takes)
{
    p->takes_hashed = takes;
}

void net_peer_posted(struct net_peer *p)
{
    p->posts++;
}

void net_peer_ended(struct net_queue *q, struct net_peer *p)
{
    assert(p->posts > 0);
    if (--p->posts == 0 && p->address == NULL)
        peer_free(q, p);
}

void net_batch_take(struct net_batch *b, struct net_peer *p, bool ring,
                    const struct batch_header *h, struct mac *mac, uint64_t max_bytes)
{
    struct frames *f = ring ? &p->ring : &p->frames;
    uint32_t most = f->n < BATCH_FRAMES_MAX ? f->n : BATCH_FRAMES_MAX;
    *b = (struct net_batch){.to = h->to};
    b->rids = mem_reallocarray(NULL, most, sizeof(*b->rids));
    batch_begin(h, &b->body);
    do {
        struct frame frame = frames_pop(f);
        frame_append(&b->body, frame.type, frame.rid, buf_slice(&frame.body));
        p->bytes -= frame.body.len + FRAME_HEADER_LEN;
        if (frame.rid != 0)
            b->rids[b->n++] = (struct net_rid){.rid = frame.rid};
        buf_release(&frame.body);
    } while (--most > 0 && b->body.len + f->at[f->head].body.len <= max_bytes);
    batch_seal(mac, &b->body);
}

bool net_batch_answered(struct net_batch *b, uint64_t rid)
{
    for (uint32_t i = 0; i < b->n; i++) { /* replies mostly come in order: one step */
        uint32_t at = (b->hint + i) % b->n;
        if (b->rids[at].rid != rid)
            continue;
        if (b->rids[at].answered)
            return false;
        b->rids[at].answered = true;
        b->hint = (at + 1) % b->n;
        return true;
    }
    return false;
}

void net_batch_release(struct net_batch *b)
{
    buf_release(&b->body);
    free(b->rids);
    *b = (struct net_batch){0};
}
