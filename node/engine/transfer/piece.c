/* SPDX-License-Identifier: Apache-2.0 */
/* See piece.h.
 *
 *   WAIT for the pace --> ADOPT a slice: what this node has nothing of
 *   --> MERGE the others, each by itself --> the next slice, or done */
#include "engine/transfer/piece.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/entry_place.h"

#define SLICE_BYTES (256u << 10) /* of values; the row that passes it is still in */

static void next_slice(struct piece *p);

static void release_slice(struct piece *p)
{
    adoption_release(&p->adoption);
    for (uint32_t i = 0; p->merges != NULL && i < p->n; i++)
        if (p->merges[i].started)
            delivery_release(&p->merges[i].delivery);
    free(p->merges);
    p->merges = NULL;
}

static void slice_done(struct piece *p)
{
    int err = p->err;
    pace_done(p->e->pace, &p->pace);
    release_slice(p);
    p->at += p->n;
    p->n = 0;
    if (err == DYN_OK && p->at < p->reply->n) {
        next_slice(p);
        return;
    }
    p->busy = false;
    p->done(p, err);
}

static void settled(struct piece *p, int err)
{
    if (err != DYN_OK && p->err == DYN_OK)
        p->err = err;
    if (--p->n_active == 0)
        slice_done(p);
}

static void on_merged(struct delivery *d, int err)
{
    struct piece_merge *m = d->arg;
    settled(m->piece, err);
}

static void add_holder(const struct piece *p, struct delivery *d, uint64_t node)
{
    for (uint32_t i = 0; i < d->n_holders; i++)
        if (d->holders[i] == node)
            return;
    if (node != p->e->cfg.node && d->n_holders < READ_QUORUM_NODES)
        d->holders[d->n_holders++] = node;
}

/* A source may be thin; then another owner has the values. */
static void add_holders(const struct piece *p, struct delivery *d)
{
    uint64_t owners[OWNERS_MAX];
    uint32_t n = engine_owners(p->e, p->partition, ring_n(p->e->ring), owners);
    for (uint32_t i = 0; i < p->n_sources; i++)
        add_holder(p, d, p->sources[i]);
    for (uint32_t i = 0; i < n; i++)
        add_holder(p, d, owners[i]);
}

static void merge_one(struct piece *p, uint32_t i)
{
    struct engine *e = p->e;
    const struct range_row *row = &p->reply->rows[p->at + i];
    struct piece_merge *m = &p->merges[i];
    uint32_t fragment = 0;
    struct slice key = row->kind == ROW_ENTRY ? entry_id_split(row->key, &fragment) : row->key;
    m->piece = p;
    m->started = true;
    m->delivery = (struct delivery){
        .e = e,
        .key = key,
        .fragment = fragment,
        .object = &row->object,
        .born_us = p->born_us,
        .node = e->cfg.node,
        .roles = row->kind == ROW_ENTRY ? ROLE_ENTRY : ROLE_OBJECT,
        .owe_entry =
            false, /* the source's replicas owe it, and entries move with their partition */
        .without_lost = true,
        .timeout_us = e->cfg.replica_timeout_us,
        .done = on_merged,
        .arg = m};
    add_holders(p, &m->delivery);
    delivery_start(&m->delivery);
}

static void on_adopted(struct adoption *a, int err)
{
    struct piece *p = a->arg;
    uint32_t n = p->n;
    p->err = err;
    p->merges = mem_zalloc((n + 1) * sizeof(*p->merges));
    p->n_active = 1; /* this function: merges may end inside */
    for (uint32_t i = 0; i < n && err == DYN_OK; i++)
        if (p->rows[i].adopted) {
            p->adopted++;
        } else if (!object_is_absent(p->rows[i].object)) { /* or it has gone meanwhile */
            p->n_active++;
            merge_one(p, i);
        }
    settled(p, DYN_OK);
}

/* What came too long ago makes no new row (E15): replica_write.c says so of each. */
static bool is_too_old(const struct piece *p)
{
    return engine_now(p->e) > p->born_us + p->e->cfg.message_life_us;
}

static uint64_t values_len(const struct object *o)
{
    uint64_t len = 0;
    for (uint32_t i = 0; i < o->n; i++)
        len += o->siblings[i].value != NULL ? o->siblings[i].value->len : 0;
    return len;
}

static void on_pace(struct pace_wait *w)
{
    struct piece *p = container_of(w, struct piece, pace);
    uint64_t bytes = 0;
    for (p->n = 0; p->at + p->n < p->reply->n && p->n < ADOPT_ROWS_MAX && bytes < SLICE_BYTES;
         p->n++) {
        const struct range_row *row = &p->reply->rows[p->at + p->n];
        p->rows[p->n] = (struct adopt_row){
            .kind = (enum row_kind)row->kind, .id = row->key, .object = &row->object};
        bytes += values_len(&row->object);
    }
    p->adoption = (struct adoption){.e = p->e,
                                    .partition = p->partition,
                                    .rows = p->rows,
                                    .n = p->n,
                                    .done = on_adopted,
                                    .arg = p};
    if (is_too_old(p))
        on_adopted(&p->adoption, DYN_OK);
    else
        adoption_start(&p->adoption);
}

static void next_slice(struct piece *p)
{
    pace_ask(p->e->pace, &p->pace, on_pace);
}

void piece_start(struct piece *p)
{
    p->at = p->n = 0;
    p->err = DYN_OK;
    p->merges = NULL;
    p->busy = true;
    if (p->reply->n > 0) {
        next_slice(p);
        return;
    }
    p->busy = false;
    p->done(p, DYN_OK);
}

void piece_release(struct piece *p)
{
    if (p->busy) /* the engine is taken down */
        pace_done(p->e->pace, &p->pace);
    release_slice(p);
    p->n = 0;
}
