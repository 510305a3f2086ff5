/* SPDX-License-Identifier: Apache-2.0 */
/* See restore.h. Of each row:
 *
 *   WAITING for a slice -> refused (no seal of this cluster)                        -> DONE
 *   WAITING -> SPREADING to all who should have it, entry and all, W synced (E11)   -> DONE
 *   SPREADING -> its directory is dead there -> PARENT is put first (E16)           -> DONE
 *
 * The answer goes when all rows are done, each with its own status; what failed is sent again. */
#include "engine/transfer/restore.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/replication.h"
#include "engine/fragments/fragments.h"
#include "engine/request.h"
#include "engine/slices.h"
#include "model/range_wire.h"

struct restoring;

struct restored { /* one row */
    struct restoring *all;
    struct replication *spreading;
};

struct restoring {                /* one frame */
    struct background background; /* first */
    struct engine *e;
    uint64_t origin, rid;
    struct buf body; /* what q borrows from */
    struct restore_request q;
    struct restore_reply reply;
    struct restored *rows;
    struct slice_wait slice;
    uint32_t waiting; /* rows that are not done; and one while they start */
};

static void restoring_free(struct restoring *all)
{
    restore_request_release(&all->q);
    restore_reply_release(&all->reply);
    buf_release(&all->body);
    free(all->rows);
    free(all);
}

/* Only when the engine goes, and with it whatever would call back. */
static void abandon(struct background *b)
{
    struct restoring *all = container_of(b, struct restoring, background);
    background_end(all->e, b);
    slices_forget(all->e->slices, &all->slice);
    restoring_free(all);
}

static void finish(struct restoring *all, int status)
{
    struct engine *e = all->e;
    struct buf body = BUF_EMPTY;
    all->reply.status = status;
    restore_reply_encode(&all->reply, &body);
    e->ports.net.reply(e->ports.net.ctx, all->origin, all->rid, FRAME_RESTORE + FRAME_REPLY, &body);
    background_end(e, &all->background);
    slices_forget(e->slices, &all->slice);
    restoring_free(all);
}

static void row_done(struct restored *row, int err)
{
    struct restoring *all = row->all;
    all->reply.rows[row - all->rows] = err;
    if (--all->waiting == 0)
        finish(all, DYN_OK);
}

static void on_parent(void *arg, const struct put_reply *reply)
{
    row_done(arg, reply->status);
}

static void on_spread(void *arg, int err)
{
    struct restored *row = arg;
    struct restoring *all = row->all;
    const struct range_row *r = &all->q.rows[row - all->rows];
    bool orphan = err == DYN_OK && replication_parent_dead(row->spreading);
    row->spreading = NULL;
    if (orphan)
        request_put_implicit_dir(all->e, key_parent(r->key), on_parent, row);
    else
        row_done(row, err);
}

static int check_seal(struct engine *e, const struct range_row *r)
{
    uint8_t seal[DIGEST_LEN];
    range_seal(e->mac, ring_cluster(e->ring), r->kind, r->key, r->encoded, seal);
    return digest_equal(seal, r->seal) ? DYN_OK : DYN_ERR_DENIED;
}

static void spread(struct restored *row, const struct range_row *r)
{
    struct engine *e = row->all->e;
    const struct request_options opt = {.durability = DURABILITY_QUORUM};
    struct replication_params p = {
        .key = r->key, .roles = ROLE_OBJECT, .settled = on_spread, .arg = row};
    struct object part = OBJECT_EMPTY;
    int err = check_seal(e, r);
    if (err == DYN_OK)
        err = engine_quorum(e, &opt, r->key, &p.quorum);
    if (err != DYN_OK) {
        row_done(row, err);
        return;
    }
    if (r->prefix == 0)
        object_copy(&part, &r->object);
    else
        object_prefix(&r->object, r->prefix, &part);
    p.object = &part;
    if (engine_has_entry(r->key)) {
        p.fragment = engine_fragment(e, r->key);
        p.roles |= ROLE_ENTRY;
        p.wait_entry = true;
        p.owe_entry = !replication_same_nodes(e, r->key, p.fragment, p.quorum.n);
    }
    if (fragments_listed(e, r->key) > 1) /* a split directory: heads are owed too (E26) */
        p.owe_entry = p.keep_debts = true;
    row->spreading = replication_start(e, &p);
    object_release(&part);
}

static void on_slice(struct slice_wait *w)
{
    struct restoring *all = w->arg;
    uint32_t n = all->q.n; /* the last of them may free it all */
    all->waiting = n + 1;
    for (uint32_t i = 0; i < n; i++) {
        all->rows[i].all = all;
        spread(&all->rows[i], &all->q.rows[i]);
    }
    if (--all->waiting == 0)
        finish(all, DYN_OK);
}

void restore_frame(struct engine *e, uint64_t origin, uint64_t rid, struct slice body)
{
    struct restoring *all = mem_new(struct restoring);
    all->e = e;
    all->origin = origin;
    all->rid = rid;
    buf_put_slice(&all->body, body);
    slice_wait_init(&all->slice, WORK_TRANSFER, on_slice, all);
    background_add(e, &all->background, abandon);
    int err = restore_request_decode(buf_slice(&all->body), &all->q);
    if (err == DYN_OK && (!e->serving || e->stopping || e->failed != DYN_OK))
        err = DYN_ERR_STOPPED;
    if (err != DYN_OK) {
        finish(all, err);
        return;
    }
    all->rows = mem_zalloc((all->q.n + 1) * sizeof(*all->rows));
    all->reply.rows = mem_zalloc((all->q.n + 1) * sizeof(*all->reply.rows));
    all->reply.n = all->q.n;
    slices_ask(e->slices, &all->slice); /* behind the requests of users */
}
