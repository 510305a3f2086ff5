/* SPDX-License-Identifier: Apache-2.0 */
/* See fake_stage.h. */
#include "fake_stage.h"

#include <stdlib.h>

#include "base/err.h"
#include "unit.h"

struct pending {
    struct list link;
    struct timer timer;
    struct fake_stage *s;
    struct stage_put *p;
    struct fake_record r;
};

void fake_stage_init(struct fake_stage *s, struct fake_kv *k)
{
    *s = (struct fake_stage){.k = k, .delay_us = 100};
    list_init(&s->pending);
}

static void clear(struct fake_record *r)
{
    buf_release(&r->body);
    for (uint32_t i = 0; i < r->n; i++)
        buf_release(&r->chunks[i]);
    *r = (struct fake_record){.n = 0};
}

static void pending_free(struct pending *q)
{
    timer_cancel(&q->s->k->timers, &q->timer);
    list_remove(&q->link);
    clear(&q->r);
    free(q);
}

void fake_stage_release(struct fake_stage *s)
{
    for (struct list *l; (l = list_first(&s->pending)) != NULL;)
        pending_free(container_of(l, struct pending, link));
    for (unsigned i = 0; i < FAKE_STAGE_RECORDS; i++)
        clear(&s->records[i]);
}

uint32_t fake_stage_count(const struct fake_stage *s)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < FAKE_STAGE_RECORDS; i++)
        n += s->records[i].id != 0;
    return n;
}

static struct fake_record *record_of(struct fake_stage *s, uint64_t id)
{
    for (unsigned i = 0; i < FAKE_STAGE_RECORDS; i++)
        if (s->records[i].id == id)
            return &s->records[i];
    return NULL;
}

static void written(struct timer *t, void *arg)
{
    struct pending *q = arg;
    struct fake_stage *s = q->s;
    struct stage_put *p = q->p;
    (void)t;
    if (s->fail == DYN_OK) {
        struct fake_record *r = record_of(s, q->r.id);
        if (r == NULL)
            r = record_of(s, 0);
        assert_non_null(r);
        clear(r);
        *r = q->r;
        q->r = (struct fake_record){.n = 0};
    }
    pending_free(q);
    if (p != NULL) {
        p->state = NULL;
        p->done(p, s->fail);
    }
}

static void put(void *ctx, struct stage_put *p, uint64_t id, struct slice body,
                const struct stage_chunk *chunks, uint32_t n)
{
    struct fake_stage *s = ctx;
    struct fake_record *old = record_of(s, id);
    struct pending *q = mem_new(struct pending);
    s->puts++;
    q->s = s;
    q->p = p;
    p->state = q;
    q->r.id = id;
    buf_put_slice(&q->r.body, body);
    assert_true(n <= FAKE_STAGE_CHUNKS);
    for (; q->r.n < n; q->r.n++) {
        bool there = false;
        for (uint32_t i = 0; old != NULL && i < old->n; i++)
            there |= old->stamps[i] == chunks[q->r.n].stamp;
        s->chunks_put += !there;
        q->r.stamps[q->r.n] = chunks[q->r.n].stamp;
        buf_put(&q->r.chunks[q->r.n], chunks[q->r.n].bytes->data, chunks[q->r.n].len);
    }
    list_append(&s->pending, &q->link);
    timer_init(&q->timer, written, q);
    if (!s->deaf)
        timer_set(&s->k->timers, &q->timer, s->k->now_us + s->delay_us);
}

static void cancel(void *ctx, struct stage_put *p)
{
    (void)ctx;
    if (p->state != NULL)
        ((struct pending *)p->state)->p = NULL;
    p->state = NULL;
}

static void drop(void *ctx, uint64_t id)
{
    struct fake_stage *s = ctx;
    for (struct list *l = s->pending.next; l != &s->pending; l = l->next) {
        struct pending *q = container_of(l, struct pending, link);
        assert_true(q->r.id != id || q->p == NULL);
        if (q->r.id == id) { /* in the order of the calls: it is written, and then gone */
            pending_free(q);
            break;
        }
    }
    struct fake_record *r = record_of(s, id);
    if (r != NULL)
        clear(r);
}

static void set_aside(void *ctx, uint64_t id, const char *why)
{
    struct fake_stage *s = ctx;
    (void)why;
    s->set_aside++;
    drop(s, id);
}

void fake_stage_use(struct fake_stage *s, struct mount *m)
{
    struct stage_port port = {s, put, cancel, drop, set_aside};
    fs_set_stage(m->fs, &port);
}

void fake_stage_load(struct fake_stage *s, struct mount *m)
{
    fake_stage_use(s, m);
    for (unsigned i = 0; i < FAKE_STAGE_RECORDS; i++) {
        struct fake_record *r = &s->records[i];
        struct slice chunks[FAKE_STAGE_CHUNKS];
        for (uint32_t k = 0; k < r->n; k++)
            chunks[k] = buf_slice(&r->chunks[k]);
        if (r->id != 0 &&
            fs_resume_record(m->fs, r->id, buf_slice(&r->body), chunks, r->n) != DYN_OK)
            set_aside(s, r->id, "");
    }
}
