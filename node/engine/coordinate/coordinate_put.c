/* SPDX-License-Identifier: Apache-2.0 */
/* The put coordinator (Dynamo, section 5; drops and deletes are puts too).
 *
 *   [BUILDING] the value, of one that it extends (put_value.h)
 *   [READING]  R copies are merged here, when the request names what this node has not seen (E6),
 *              or must find nothing
 *   MINTING    in the key's critical section: a repeat is recognized, covered siblings go, a new
 *              dot is made
 *   SPREADING  to N replicas of the object and of its entry, while this node's own write is on its
 *              way to disk
 *   PARENTS    a directory above that turned out dead is put first, so that what is acknowledged
 *              can be reached (E16)
 *   ANSWERED
 *
 * The operation outlives the answer until its own write is acknowledged. */
#include "engine/coordinate/coordinate.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/delivery.h"
#include "engine/coordinate/late_copy.h"
#include "engine/coordinate/put_value.h"
#include "engine/fragments/fragments.h"
#include "engine/replica/hints.h"
#include "model/key.h"

#define NEED_KEPT 2          /* from mint(): what is kept of the key is to be looked at */
#define SIBLINGS_LIMIT 1000u /* E24 */
#define MOVED_MAX 3u         /* how often the key may get other owners under way */
#define SIBLINGS_WARNING 100u

struct put_op {
    struct background background; /* first */
    struct engine *e;
    struct request *r; /* NULL once answered */
    struct quorum quorum;
    struct timer deadline;
    struct slice key;
    uint8_t *key_bytes;
    struct cover cover;
    struct put_value value;
    struct replica_write write;
    struct object gathered;
    struct clock cut;      /* by truncation (E4) */
    struct delivery merge; /* of what was gathered, into this node's own copy */
    struct gather *gather;
    struct late_copy late;
    bool merging;
    bool in_flight;  /* write is at work, minting */
    bool write_held; /* write has results to release */
    bool read_done;
    bool unchanged; /* nothing was to be written: answer as it is */
    bool repeat;    /* what was asked for is so already, here */
    bool is_standin;
    bool spreading;                /* the replication has not settled yet */
    bool parent_pending;           /* a dead directory above is being put */
    bool heads_due, heads_pending; /* of a split directory (fragments.h) */
    bool parent_dead;
    int unchanged_status;
    struct dot dot;
    struct replication *replication; /* alive until it has settled and been told of our own write */
    uint32_t acks, moved;
    uint64_t holders[8];
    uint32_t n_holders;
};

static void mint_start(struct put_op *op);
static void look_for_late_copy(struct put_op *op);

static void op_free(struct put_op *op)
{
    background_end(op->e, &op->background);
    timer_cancel(op->e->ports.timers, &op->deadline);
    if (op->gather != NULL)
        gather_forget(op->gather);
    if (op->merging)
        delivery_release(&op->merge);
    if (op->in_flight || op->write_held)
        replica_write_release(&op->write);
    late_copy_release(&op->late);
    cover_release(&op->cover);
    object_release(&op->gathered);
    clock_release(&op->cut);
    put_value_release(&op->value);
    free(op->key_bytes);
    free(op);
}

static void abandon(struct background *b)
{
    struct put_op *op = container_of(b, struct put_op, background);
    op->gather = NULL; /* ended by itself, as everything in the background */
    op_free(op);
}

static void op_free_when_idle(struct put_op *op)
{
    if (op->r == NULL && !op->merging && !op->in_flight && !op->spreading && !op->parent_pending &&
        !op->heads_pending && !op->late.reading && !op->value.building)
        op_free(op);
}

/* ---- answering --------------------------------------------------------------------------- */

static void answer(struct put_op *op, int status)
{
    timer_cancel(op->e->ports.timers, &op->deadline);
    struct engine *e = op->e;
    struct request *r = op->r;
    struct buf token = BUF_EMPTY;
    struct put_reply reply = {.status = status,
                              .answered = (uint8_t)op->acks,
                              .needed = (uint8_t)r->quorum.w,
                              .dot = op->dot,
                              .ring = *ring_epoch(e->ring)};
    if (status == DYN_OK || status == DYN_ERR_EXISTS) {
        reply.object = op->write.object;
        token_make(e->mac, ring_cluster(e->ring), op->key, &op->write.object, &token);
        reply.token = buf_slice(&token);
    }
    reply.n_replicas = (uint8_t)op->n_holders;
    memcpy(reply.replicas, op->holders, sizeof(reply.replicas));
    op->r = NULL;
    r->coordinator = NULL;
    request_reply_put(r, &reply);
    buf_release(&token);
}

static void fail(struct put_op *op, int status)
{
    timer_cancel(op->e->ports.timers, &op->deadline);
    struct request *r = op->r;
    uint32_t acks = op->acks, needed = r->quorum.w;
    op->r = NULL;
    r->coordinator = NULL;
    request_fail(r, status, acks, needed);
}

/* ---- spreading --------------------------------------------------------------------------- */

static void on_parent_put(void *arg, const struct put_reply *reply)
{
    struct put_op *op = arg;
    (void)reply; /* the write is safe; a directory that could not be put now is owed by the replicas
                  */
    op->parent_pending = false;
    if (op->r != NULL)
        answer(op, DYN_OK);
    op_free_when_idle(op);
}

static void finish(struct put_op *op)
{
    if (op->r != NULL && op->parent_dead) {
        op->parent_pending = true;
        request_put_implicit_dir(op->e, key_parent(op->key), on_parent_put, op);
    } else if (op->r != NULL) {
        answer(op, DYN_OK);
    }
    op_free_when_idle(op);
}

static void on_heads(void *arg, int err)
{
    struct put_op *op = arg;
    (void)err; /* the directory is safe, and its replicas owe the heads */
    op->heads_pending = false;
    finish(op);
}

static void on_settled(void *arg, int err)
{
    struct put_op *op = arg;
    op->spreading = false;
    op->acks = replication_acks(op->replication);
    op->n_holders = replication_holders(op->replication, op->holders, 8);
    op->parent_dead = replication_parent_dead(op->replication);
    if (op->r != NULL && err != DYN_OK)
        fail(op, err);
    if (op->r != NULL && op->heads_due) {
        op->heads_pending = true;
        fragment_heads_spread(op->e, op->key, &op->write.object, 0, &op->quorum, on_heads, op);
    } else {
        finish(op);
    }
}

static void on_handed(struct replica_write *w)
{
    struct put_op *op = w->arg;
    if (op->unchanged)
        return;
    bool lists_otherwise = op->repeat || w->was_live != object_live(&w->object);
    struct replication_params p = {.key = op->key,
                                   .fragment = w->fragment,
                                   .object = &w->object,
                                   .cut = &op->cut,
                                   .quorum = op->quorum,
                                   .roles = ROLE_OBJECT,
                                   /* what was there may be owed its entry as yet: it was made by
                                      the cluster (E16), or by a put that failed */
                                   .wait_entry = lists_otherwise || !op->quorum.sloppy,
                                   .self_roles = w->roles,
                                   .self_hint_for = w->hint_for,
                                   .owe_entry = w->owe_entry,
                                   .extended = put_value_extended(&op->value, &op->dot),
                                   .settled = on_settled,
                                   .arg = op};
    if (engine_has_entry(op->key))
        p.roles |= ROLE_ENTRY;
    op->heads_due = lists_otherwise && fragments_listed(op->e, op->key) > 1;
    p.keep_debts = op->heads_due;
    op->spreading = true;
    op->replication = replication_start(op->e, &p);
}

static void read_first(struct put_op *op);

static void minted_unspread(struct put_op *op, int err)
{
    if (op->r == NULL)
        return;
    if (err == DYN_OK && op->unchanged) {
        op->acks = 1;
        answer(op, op->unchanged_status);
    } else if (err == DYN_ERR_EXISTS) {
        answer(op, err);
    } else if (err == DYN_ERR_NO_SPACE || err == DYN_ERR_STOPPED || err == DYN_ERR_IO) {
        struct request *r = op->r;
        timer_cancel(op->e->ports.timers, &op->deadline);
        op->r = NULL;
        r->coordinator = NULL;
        request_elsewhere(r, err); /* a write is not refused because one disk is full */
    } else {
        fail(op, err != DYN_OK ? err : DYN_ERR_STALE);
    }
}

static void on_minted(struct replica_write *w, int err)
{
    struct put_op *op = w->arg;
    if (err == NEED_READ || err == NEED_KEPT) {
        op->in_flight = false;
        replica_write_release(w);
        (err == NEED_READ ? read_first : look_for_late_copy)(op);
        return;
    }
    if (err == DYN_ERR_REFUSED && op->r != NULL && op->moved++ < MOVED_MAX) {
        replica_write_release(w); /* the key got other owners in the middle of it */
        mint_start(op);
        return;
    }
    op->write_held = true;
    if (op->replication != NULL) /* may settle, and answer: op stays, it is in flight */
        replication_self(op->replication, err, w->parent_dead);
    else
        minted_unspread(op, err);
    op->in_flight = false;
    op_free_when_idle(op);
}

/* ---- minting ----------------------------------------------------------------------------- */

static int nothing_to_do(struct put_op *op, int status)
{
    op->unchanged = true;
    op->unchanged_status = status;
    return DYN_OK;
}

/* Here it is done, elsewhere perhaps not yet: what is here is spread, and answered after W. */
static int already_done(struct put_op *op)
{
    op->repeat = true;
    return DYN_OK;
}

static int next_dot(struct put_op *op, const struct object *o, const struct cover *cover,
                    struct epoch *mark, struct dot *out)
{
    struct engine *e = op->e;
    struct actor self = {e->cfg.node, *mark};
    bool forgot = clock_lacks_own(&o->clock, &cover->clock, &self);
    if (e->cfg.bug == BUG_NO_MARK) {
        self.epoch = (struct epoch){1, 1};
    } else if (mark->run == 0 || mark->boot != e->boot || forgot) {
        int err = engine_fresh_epoch(e, &self.epoch);
        if (err != DYN_OK)
            return err;
        *mark = self.epoch;
    }
    *out = (struct dot){self, clock_get(&o->clock, &self) + 1};
    return DYN_OK;
}

/* The order among siblings: the wall clock, but never before a version that this write replaces. */
static uint64_t order_time(const struct put_op *op, const struct object *o,
                           const struct cover *cover)
{
    const struct put_request *q = &op->r->q.put;
    const struct sibling *heir_of =
        q->flags & PUT_INHERIT_TIME ? object_find(o, &q->inherit_dot) : NULL;
    if (heir_of != NULL)
        return heir_of->time_ns;
    uint64_t time = q->time_ns != 0 ? q->time_ns : engine_wall_ns(op->e);
    for (uint32_t i = 0; i < o->n; i++)
        if (cover_has(cover, &o->siblings[i].dot) && o->siblings[i].time_ns >= time)
            time = o->siblings[i].time_ns + 1;
    return time;
}

static int fill_value(const struct put_op *op, const struct object *o, struct sibling *s)
{
    const struct put_request *q = &op->r->q.put;
    s->value_dot = s->dot;
    s->base_dot = coordinate_base(q, &op->cover, o);
    return put_value_fill(&op->value, q, o, &op->write.state, op->read_done, s);
}

/* Who is away keeps versions that only a whole clock covers when it is back. */
static bool primaries_are_up(const struct put_op *op)
{
    const struct engine *e = op->e;
    uint64_t nodes[N_MAX];
    uint32_t n = ring_preference_list(e->ring, ring_partition_of(e->ring, op->key), op->quorum.n,
                                      nodes, op->quorum.n);
    for (uint32_t i = 0; i < n; i++)
        if (nodes[i] != e->cfg.node && !detector_up(e->detector, nodes[i]))
            return false;
    return true;
}

static void truncate_clock(struct put_op *op, struct object *o, struct epoch mark)
{
    const struct engine *e = op->e;
    uint64_t now = engine_wall_ms(e), age = e->cfg.clock_age_ms;
    struct truncation t = {.keep = e->cfg.clock_pairs,
                           .before_ms = now > age ? now - age : 0,
                           .open = {e->cfg.node, mark},
                           .before = &op->write.stored};
    if (e->cfg.bug == BUG_OWN_PAIR)
        t.open.epoch = (struct epoch){0, 0};
    if (o->clock.n > t.keep && !op->is_standin && primaries_are_up(op))
        object_truncate(o, &t, &op->cut);
}

/* Versions without end are somebody's loop of careless writes: it hears of it early, and is stopped
 * before each read of the key is a burden to all (E24). */
static int check_width(const struct put_op *op, uint32_t before, uint32_t now)
{
    struct engine *e = op->e;
    const struct engine_notices *notices = &e->ports.notices;
    if (now <= before || now < SIBLINGS_WARNING)
        return DYN_OK;
    if (notices->many_siblings != NULL)
        notices->many_siblings(notices->ctx, op->key, now);
    e->stats.wide_writes++;
    if (now <= SIBLINGS_LIMIT)
        return DYN_OK;
    e->stats.refused_wide++;
    return DYN_ERR_CONFLICT;
}

static int add_sibling(struct put_op *op, struct object *o, struct epoch *mark,
                       const struct cover *cover)
{
    const struct put_request *q = &op->r->q.put;
    struct sibling s = {.type = q->type, .attrs = q->attrs, .origin = q->origin};
    struct epoch new_mark = *mark;
    int err = next_dot(op, o, cover, &new_mark, &s.dot);
    if (err == DYN_OK)
        err = fill_value(op, o, &s);
    if (err != DYN_OK)
        return err;
    *mark = new_mark;
    s.attrs.xattrs = blob_ref(q->attrs.xattrs);
    if (q->flags & PUT_KEEP_ATTRS)
        attrs_inherit(&s.attrs, object_newest_covered(o, cover, q->type),
                      !(q->flags & PUT_OWN_MODE), !(q->flags & PUT_OWN_UID),
                      !(q->flags & PUT_OWN_GID));
    s.time_ns = order_time(op, o, cover);
    uint32_t live_before = object_live_count(o);
    struct sibling written = s; /* blobs stay referenced by op and the request */
    object_write(o, cover, &s, engine_wall_ms(op->e));
    op->dot = object_survivor(o, &written);
    err = check_width(op, live_before, object_live_count(o));
    if (err != DYN_OK)
        return err; /* nothing of this is stored */
    truncate_clock(op, o, *mark);
    return DYN_OK;
}

static int drop(struct put_op *op, struct object *o, struct epoch *mark, const struct cover *cover)
{
    struct cover dots = COVER_EMPTY;
    object_cover_dots(o, cover, &dots);
    object_cover_stream(o, &op->r->q.put.origin, &dots);
    int err = DYN_OK;
    if (dots.n == 0)
        err = cover_within(cover, o) ? already_done(op) : DYN_ERR_NO_QUORUM;
    else if (object_live_outside(o, &dots) > 0)
        object_write(o, &dots, NULL, engine_wall_ms(op->e));
    else
        err = add_sibling(op, o, mark, &dots);
    cover_release(&dots);
    return err;
}

static int write_covered(struct put_op *op, struct object *o, struct epoch *mark,
                         const struct cover *cover)
{
    const struct put_request *q = &op->r->q.put;
    if (!op->read_done && !cover_within(cover, o))
        return NEED_READ;
    if (q->flags & PUT_DROP_ONLY)
        return drop(op, o, mark, cover);
    if (q->type == SIBLING_DELETE && !object_live(o)) /* perhaps only here */
        return op->read_done ? nothing_to_do(op, DYN_ERR_NOT_FOUND) : NEED_READ;
    return add_sibling(op, o, mark, cover);
}

/* Answered with the dot that it had. What it names and its first attempt did not find goes now. */
static int repeat(struct put_op *op, struct object *o, const struct dot *before)
{
    struct cover dots = COVER_EMPTY;
    op->dot = *before;
    object_cover_dots(o, &op->cover, &dots);
    if (dots.n > 0 && !cover_has(&dots, &op->dot))
        object_write(o, &dots, NULL, engine_wall_ms(op->e));
    cover_release(&dots);
    return already_done(op);
}

/* Deletes that lie there are covered by whoever writes without having read: they hold nothing that
 * could be lost. */
static void cover_deletes(const struct object *o, struct cover *cover)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (!sibling_live(&o->siblings[i]))
            cover_add_dot(cover, &o->siblings[i].dot);
}

static int mint(struct replica_write *w, struct object *o, struct epoch *mark)
{
    struct put_op *op = w->arg;
    if (op->r == NULL)
        return DYN_ERR_CANCELED; /* answered at its deadline: it must not take effect any more */
    const struct put_request *q = &op->r->q.put;
    const struct sibling *before = origin_find(o, &q->origin);
    if (before != NULL)
        return repeat(op, o, &before->dot);
    if ((q->flags & PUT_IF_ABSENT) && object_live(o))
        return DYN_ERR_EXISTS;
    if (!dot_is_none(&op->late.dot)) /* it has been here, and has been replaced since */
        return repeat(op, o, &op->late.dot);
    if ((q->flags & PUT_IMPLICIT) && object_is_dir(o))
        return already_done(op);
    struct cover cover = COVER_EMPTY;
    /* A delete without a context means whatever is there; one that drops named versions never. */
    bool takes_current =
        (q->flags & PUT_CURRENT) ||
        (q->type == SIBLING_DELETE && q->n_contexts == 0 && !(q->flags & PUT_DROP_ONLY));
    clock_copy(&cover.clock, takes_current ? &o->clock : &op->cover.clock);
    if (op->quorum.reconcile == RECONCILE_LWW && !(q->flags & (PUT_DROP_ONLY | PUT_IMPLICIT)))
        clock_join(&cover.clock, &o->clock); /* the newest wins, and this is the newest */
    for (uint32_t i = 0; i < op->cover.n; i++)
        cover_add_dot(&cover, &op->cover.dots[i]);
    if (q->flags & (PUT_IMPLICIT | PUT_IF_ABSENT))
        cover_deletes(o, &cover);
    /* What the rules cover beyond what the author has named does not tell a late copy from a write
     * of now; where the author says "whatever is there", nothing does. */
    bool look = !takes_current && !(q->flags & PUT_DROP_ONLY) &&
                late_copy_possible(&op->late, w, &q->origin, &op->cover);
    int err = look ? NEED_KEPT : DYN_ERR_BASE_LACKING;
    if (!look && !op->value.lacking)
        err = write_covered(op, o, mark, &cover);
    cover_release(&cover);
    return err;
}

static uint64_t first_primary(const struct request *r)
{
    return r->n_primaries > 0 ? r->primaries[0] : 0;
}

static enum store_sync local_sync(const struct request *r)
{
    bool syncs =
        r->quorum.durability == DURABILITY_QUORUM || r->quorum.durability == DURABILITY_ONE;
    return syncs ? STORE_SYNCED : STORE_BUFFERED;
}

static void mint_start(struct put_op *op)
{
    struct engine *e = op->e;
    struct request *r = op->r;
    uint32_t fragment = engine_fragment(e, op->key);
    unsigned roles = engine_roles(e, e->cfg.node, op->key, fragment, r->quorum.n);
    op->is_standin = !(roles & ROLE_OBJECT);
    op->write = (struct replica_write){
        .e = e,
        .key = op->key,
        .fragment = fragment,
        .roles = roles | ROLE_OBJECT,
        .mutate = mint,
        .cut = &op->cut,
        .hint_for = op->is_standin ? first_primary(r) : 0,
        .owe_entry = !replication_same_nodes(e, op->key, fragment, r->quorum.n),
        .sync = local_sync(r),
        .handed = on_handed,
        .done = on_minted,
        .arg = op};
    op->in_flight = true;
    replica_write_start(&op->write);
}

static void on_looked(struct late_copy *l)
{
    struct put_op *op = l->arg;
    if (op->r == NULL)
        op_free_when_idle(op);
    else
        mint_start(op);
}

static void look_for_late_copy(struct put_op *op)
{
    op->late = (struct late_copy){
        .e = op->e, .key = op->key, .origin = op->r->q.put.origin, .done = on_looked, .arg = op};
    late_copy_look(&op->late);
}

/* ---- reading first ----------------------------------------------------------------------- */

static void on_merged(struct delivery *d, int err)
{
    struct put_op *op = d->arg;
    delivery_release(d);
    op->merging = false;
    object_release(&op->gathered);
    op->gathered = OBJECT_EMPTY;
    if (op->r == NULL) {
        op_free_when_idle(op);
    } else if (err != DYN_OK && (op->r->q.put.flags & PUT_IF_ABSENT)) {
        fail(op, err); /* what was read is not here, so mint() would find nothing */
        op_free_when_idle(op);
    } else {
        mint_start(op); /* otherwise what could not be merged leaves a false conflict at worst */
    }
}

static void on_gathered(void *arg, const struct gather_result *result)
{
    struct put_op *op = arg;
    op->gather = NULL;
    op->read_done = true;
    if (result->status != DYN_OK && (op->r->q.put.flags & PUT_IF_ABSENT)) {
        op->acks = result->answered;
        fail(op, result->status); /* absence is the one thing that cannot be promised without a
                                     quorum (F14) */
        op_free_when_idle(op);
        return;
    }
    object_copy(&op->gathered, result->object);
    uint32_t fragment = engine_fragment(op->e, op->key);
    op->merge =
        (struct delivery){.e = op->e,
                          .key = op->key,
                          .fragment = fragment,
                          .object = &op->gathered,
                          .born_us = result->born_us,
                          .node = op->e->cfg.node,
                          .roles = ROLE_OBJECT | engine_roles(op->e, op->e->cfg.node, op->key,
                                                              fragment, op->r->quorum.n),
                          .hint_for = op->is_standin ? first_primary(op->r) : 0,
                          .timeout_us = op->e->cfg.replica_timeout_us,
                          .done = on_merged,
                          .arg = op};
    op->merge.n_holders =
        ring_preference_list(op->e->ring, ring_partition_of(op->e->ring, op->key),
                             ring_n(op->e->ring), op->merge.holders, READ_QUORUM_NODES);
    op->merging = true;
    delivery_start(&op->merge);
}

/* A write is never refused because what it names cannot be found: the search has its bounds, and
 * the rest of the time is for writing. */
static uint64_t search_time(const struct put_op *op)
{
    uint64_t all = op->r->quorum.timeout_us, patience = 2 * op->e->cfg.replica_timeout_us;
    if (op->r->q.put.flags & PUT_IF_ABSENT)
        return all;
    return all / 2 < patience ? all / 2 : patience;
}

/* What the client was shown lies on some replica: a read that stopped at R others would let the
 * write drop less than it names (E6). */
static void read_first(struct put_op *op)
{
    struct cover at_least = COVER_EMPTY;
    clock_copy(&at_least.clock, &op->cover.clock);
    for (uint32_t i = 0; i < op->cover.n; i++)
        cover_add_dot(&at_least, &op->cover.dots[i]);
    struct gather_params p = {.key = op->key,
                              .quorum = op->r->quorum,
                              .values = VALUE_ALL,
                              .done = on_gathered,
                              .arg = op};
    if (!(op->r->q.put.flags & PUT_IF_ABSENT))
        p.at_least = &at_least;
    p.quorum.timeout_us = search_time(op);
    op->gather = gather_start(op->e, &p);
    cover_release(&at_least);
}

/* A slow disk, or a long queue for the key, must not keep the client waiting. What has been minted
 * by now goes on its way. */
static void on_deadline(struct timer *t, void *arg)
{
    (void)t;
    struct put_op *op = arg;
    if (op->parent_pending || op->heads_pending) { /* W have it already */
        answer(op, DYN_OK);
    } else if (op->spreading) {
        op->acks = replication_acks(op->replication);
        fail(op, DYN_ERR_NO_QUORUM);
    } else {
        fail(op, DYN_ERR_TIMEOUT);
    }
    op_free_when_idle(op);
}

static void op_detach(void *coordinator)
{
    struct put_op *op = coordinator;
    op->r = NULL;
}

static void on_value(struct put_value *v, int err)
{
    struct put_op *op = v->arg;
    if (op->r == NULL) {
        op_free_when_idle(op);
    } else if (err != DYN_OK) {
        fail(op, err);
        op_free_when_idle(op);
    } else if (op->r->q.put.flags & PUT_IF_ABSENT) {
        read_first(op);
    } else {
        mint_start(op);
    }
}

void coordinate_put(struct request *r)
{
    struct engine *e = r->e;
    const struct put_request *q = &r->q.put;
    struct cover cover = COVER_EMPTY;
    int err = coordinate_cover(e, q->key, q->contexts, q->n_contexts, &cover);
    if (err == DYN_OK && e->failed != DYN_OK)
        err = DYN_ERR_STOPPED;
    bool primary = engine_is_owner(e, e->cfg.node, ring_partition_of(e->ring, q->key), r->quorum.n);
    if (err == DYN_OK && !primary && !r->quorum.sloppy)
        err = DYN_ERR_NO_QUORUM;
    if (err == DYN_OK && !primary && hints_full(e->hints)) {
        err = DYN_ERR_OVERLOAD; /* a full hint store refuses sloppy writes (E25) */
        e->stats.hint_refused++;
    }
    if (err != DYN_OK) {
        cover_release(&cover);
        request_fail(r, err, 0, r->quorum.w);
        return;
    }
    struct put_op *op = mem_new(struct put_op);
    op->e = e;
    op->r = r;
    op->quorum = r->quorum;
    timer_init(&op->deadline, on_deadline, op);
    timer_set(e->ports.timers, &op->deadline, r->deadline_us);
    op->key_bytes = mem_dup(q->key.data, q->key.len);
    op->key = slice_of(op->key_bytes, q->key.len);
    op->cover = cover;
    op->gathered = OBJECT_EMPTY;
    op->is_standin = !primary;
    r->coordinator = op;
    r->coordinator_free = op_detach;
    e->stats.coordinated++;
    background_add(e, &op->background, abandon);
    put_value_start(&op->value, e, op->key, q, on_value, op);
}
