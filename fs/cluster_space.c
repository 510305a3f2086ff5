/* SPDX-License-Identifier: Apache-2.0 */
/* See cluster_space.h. */
#include "cluster_space.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/wire.h"

#define FRESH_US 5000000u  /* asked for again, at most so often */
#define ANSWER_US 2000000u /* a node that takes longer says nothing this time */
#define FIRST_US 10000u    /* until the ring is known, and the first has answered */
#define STATUS_DEPTH 16

struct heard {
    uint64_t node, used, unused;
    bool told, asking;
    struct cluster_space *space;
};

struct cluster_space {
    struct client *client;
    struct time_port time;
    struct timers *timers;
    struct timer first;
    struct heard **nodes;
    uint32_t n;
    uint64_t asked_us;
    bool known;
};

static struct heard *heard_of(struct cluster_space *s, uint64_t node)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->nodes[i]->node == node)
            return s->nodes[i];
    struct heard *h = mem_new(struct heard);
    *h = (struct heard){.node = node, .space = s};
    s->nodes = mem_reallocarray(s->nodes, s->n + 1, sizeof(struct heard *));
    s->nodes[s->n++] = h;
    return h;
}

static void take(struct heard *h, const struct json *status)
{
    const struct json *disk = json_get(status, "disk");
    uint64_t used, unused;
    if (disk == NULL || !json_u64(json_get(disk, "used"), &used) ||
        !json_u64(json_get(disk, "free"), &unused))
        return;
    h->used = used;
    h->unused = unused;
    h->told = true;
    h->space->known = true;
}

static void on_status(void *arg, int err, struct slice body)
{
    struct heard *h = arg;
    struct json *status;
    h->asking = false;
    if (err != DYN_OK || json_parse(body, STATUS_DEPTH, &status) != DYN_OK)
        return; /* what it said last stands */
    take(h, status);
    json_free(status);
}

static void refresh(struct cluster_space *s)
{
    const struct ring *ring = client_ring(s->client);
    uint64_t now = s->time.mono_us(s->time.ctx);
    if (ring == NULL || (s->known && now - s->asked_us < FRESH_US))
        return;
    s->asked_us = now;
    for (uint32_t i = 0; i < ring_member_count(ring); i++) {
        struct heard *h = heard_of(s, ring_member_at(ring, i)->node);
        struct buf body = BUF_EMPTY;
        if (h->asking)
            continue;
        h->asking = true;
        client_call(s->client, h->node, FRAME_STATUS, &body, ANSWER_US, on_status, h);
    }
}

static void on_first(struct timer *t, void *arg)
{
    struct cluster_space *s = arg;
    refresh(s);
    if (!s->known)
        timer_set(s->timers, t, s->time.mono_us(s->time.ctx) + FIRST_US);
}

struct cluster_space *cluster_space_new(struct client *client, const struct time_port *time,
                                        struct timers *timers)
{
    struct cluster_space *s = mem_new(struct cluster_space);
    *s = (struct cluster_space){.client = client, .time = *time, .timers = timers};
    timer_init(&s->first, on_first, s);
    timer_set(timers, &s->first, time->mono_us(time->ctx));
    return s;
}

void cluster_space_free(struct cluster_space *s)
{
    if (s == NULL)
        return;
    timer_cancel(s->timers, &s->first);
    for (uint32_t i = 0; i < s->n; i++)
        free(s->nodes[i]);
    free(s->nodes);
    free(s);
}

bool cluster_space_get(struct cluster_space *s, uint64_t *total, uint64_t *unused)
{
    const struct ring *ring = client_ring(s->client);
    uint64_t used = 0, left = 0;
    refresh(s);
    if (ring == NULL || !s->known)
        return false;
    for (uint32_t i = 0; i < s->n; i++) {
        if (!s->nodes[i]->told || ring_member_find(ring, s->nodes[i]->node) == NULL)
            continue;
        used += s->nodes[i]->used;
        left += s->nodes[i]->unused;
    }
    uint32_t copies = ring_n(ring);
    if (ring_member_count(ring) < copies)
        copies = ring_member_count(ring);
    copies = copies == 0 ? 1 : copies;
    *total = (used + left) / copies;
    *unused = left / copies;
    return true;
}
