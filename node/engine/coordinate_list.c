/* SPDX-License-Identifier: Apache-2.0 */
/* The list coordinator: R replicas of a directory each give a page of its entries, dead ones
 * included, merged name by name.
 *
 * A merged page ends at the smallest last name among the replicas that have more (E21): beyond it,
 * somebody's tombstones or entries are unseen. Entries in which the replicas differ are written
 * back to those that were behind. */
#include "engine/coordinate.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/delivery.h"
#include "engine/replica_list.h"
#include "engine/view.h"

#define LIMIT_DEFAULT 1000u
#define LIMIT_MAX 10000u
#define PAGES_MAX 16
#define REPAIRS_MAX 64
#define SETTLED_MAX 16 /* conflicts that a page has settled */
#define LIST_NODES 64
#define LEARN_MAX 3u

struct page {
    uint64_t node;
    bool primary;
    struct buf body; /* what the reply's names borrow from */
    struct peer_list_reply reply;
};

struct list_op;

struct list_ask {
    struct list_op *op;
    uint64_t node;
    bool primary, covered; /* covered: silent, a stand-in is asked */
    struct rpc_call call;
};

struct list_op {
    struct background background; /* first */
    struct engine *e;
    struct request *r; /* NULL once answered */
    uint32_t limit;
    uint64_t nodes[LIST_NODES];
    uint32_t n_nodes, next_standin;
    struct list_ask asks[PAGES_MAX];
    uint32_t n_asks, n_active;
    struct page pages[PAGES_MAX];
    uint32_t n_pages, n_votes, voters;
    bool last_resort;    /* copies without a vote count as well (catchup.h) */
    uint64_t refused_by; /* somebody whose ring is another one; 0: nobody */
    struct view_wait learn;
    uint32_t learned;
    uint64_t born_us; /* when the first was asked */
    bool starting, local_busy;
    struct timer deadline, patience, first_check;
};

/* An entry to be written back to a replica that was behind: lives by itself. */
struct entry_repair {
    struct background background; /* first */
    struct engine *e;
    struct buf key;
    struct object object;
    struct delivery delivery;
};

static void check(struct list_op *op);

/* ---- repair ------------------------------------------------------------------------------ */

static void repair_free(struct entry_repair *p)
{
    background_end(p->e, &p->background);
    delivery_release(&p->delivery);
    object_release(&p->object);
    buf_release(&p->key);
    free(p);
}

static void repair_abandon(struct background *b)
{
    repair_free(container_of(b, struct entry_repair, background));
}

static void on_repaired(struct delivery *d, int err)
{
    (void)err; /* whoever stayed behind is found by the next listing */
    repair_free(d->arg);
}

static void repair_entry(struct list_op *op, uint64_t node, struct slice name,
                         const struct object *merged)
{
    struct entry_repair *p = mem_new(struct entry_repair);
    p->e = op->e;
    p->key = BUF_EMPTY;
    p->object = OBJECT_EMPTY;
    key_join(op->r->q.list.dir, name, &p->key);
    object_copy(&p->object, merged);
    background_add(op->e, &p->background, repair_abandon);
    op->e->stats.read_repairs++;
    p->delivery = (struct delivery){.e = op->e,
                                    .key = buf_slice(&p->key),
                                    .object = &p->object,
                                    .born_us = op->born_us,
                                    .node = node,
                                    .roles = ROLE_ENTRY,
                                    .timeout_us = op->e->cfg.replica_timeout_us,
                                    .done = on_repaired,
                                    .arg = p};
    delivery_start(&p->delivery);
}

/* ---- merging ----------------------------------------------------------------------------- */

/* The name at which the merged page must end; data NULL: no bound, everybody is at the end. */
static struct slice safe_end(const struct list_op *op)
{
    struct slice end = slice_of(NULL, 0);
    for (uint32_t i = 0; i < op->n_pages; i++) {
        const struct peer_list_reply *p = &op->pages[i].reply;
        if (!p->more || p->n == 0)
            continue;
        struct slice last = p->entries[p->n - 1].name;
        int order = end.data == NULL ? 0 : slice_compare(last, end);
        if (end.data == NULL || (op->e->cfg.bug == BUG_PAGE_CUT ? order > 0 : order < 0))
            end = last;
    }
    return end;
}

struct merge {
    struct list_op *op;
    uint32_t at[PAGES_MAX];
    struct list_reply *out;
    uint32_t cap, repairs, settled;
    struct slice end;
    bool dead_too;
};

static bool next_name(const struct merge *m, struct slice *name)
{
    bool found = false;
    for (uint32_t i = 0; i < m->op->n_pages; i++) {
        const struct peer_list_reply *p = &m->op->pages[i].reply;
        if (m->at[i] == p->n)
            continue;
        struct slice candidate = p->entries[m->at[i]].name;
        if (!found || slice_compare(candidate, *name) < 0)
            *name = candidate;
        found = true;
    }
    return found;
}

static void repair_behind(struct merge *m, struct slice name, const struct object *merged,
                          const bool *has)
{
    for (uint32_t i = 0; i < m->op->n_pages && m->repairs < REPAIRS_MAX; i++) {
        const struct page *p = &m->op->pages[i];
        const struct object *own = has[i] ? &p->reply.entries[m->at[i] - 1].object : NULL;
        if (!p->primary || (own != NULL && object_equal(own, merged)))
            continue;
        m->repairs++;
        repair_entry(m->op, p->node, name, merged);
    }
}

static void append(struct merge *m, struct slice name, struct object *merged)
{
    if (m->out->n == m->cap) {
        m->cap = m->cap == 0 ? 64 : m->cap * 2;
        m->out->entries = mem_reallocarray(m->out->entries, m->cap, sizeof(*m->out->entries));
    }
    m->out->entries[m->out->n++] = (struct list_entry){name, *merged};
    *merged = OBJECT_EMPTY;
}

/* As a read of the key would show it; a union has to be made first, and is seen by the
 * next list. */
static void follow_rule(struct merge *m, struct slice name, struct object *merged)
{
    struct request *r = m->op->r;
    if (merged->n < 2 || r->quorum.reconcile < RECONCILE_LWW)
        return;
    if (r->quorum.reconcile == RECONCILE_LWW) {
        object_keep_newest(merged);
    } else if (reconcile_wanted(merged) && m->settled++ < SETTLED_MAX) {
        struct buf key = BUF_EMPTY;
        key_join(r->q.list.dir, name, &key);
        reconcile_start(m->op->e, buf_slice(&key), NULL);
        buf_release(&key);
    }
}

static void merge_name(struct merge *m, struct slice name)
{
    struct object merged = OBJECT_EMPTY;
    bool has[PAGES_MAX] = {false};
    for (uint32_t i = 0; i < m->op->n_pages; i++) {
        const struct peer_list_reply *p = &m->op->pages[i].reply;
        if (m->at[i] == p->n || !slice_equal(p->entries[m->at[i]].name, name))
            continue;
        entry_join(&merged, &p->entries[m->at[i]++].object);
        has[i] = true;
    }
    repair_behind(m, name, &merged, has);
    object_collapse(&merged);
    follow_rule(m, name, &merged);
    if (m->dead_too || object_live(&merged))
        append(m, name, &merged);
    object_release(&merged);
}

static void merge_pages(struct list_op *op, struct list_reply *out)
{
    struct merge m = {
        .op = op, .out = out, .end = safe_end(op), .dead_too = op->r->q.list.dead_too};
    struct slice name;
    while (next_name(&m, &name)) {
        bool beyond = m.end.data != NULL && slice_compare(name, m.end) > 0;
        if (beyond || out->n == op->limit) {
            out->more = true;
            break;
        }
        merge_name(&m, name);
        out->cursor = name;
    }
    for (uint32_t i = 0; i < op->n_pages; i++) {
        out->more |= op->pages[i].reply.more;
        if (op->pages[i].reply.dir_mtime_ns > out->dir_mtime_ns)
            out->dir_mtime_ns = op->pages[i].reply.dir_mtime_ns;
    }
}

/* ---- the operation ----------------------------------------------------------------------- */

static void release_pages(struct list_op *op)
{
    for (uint32_t i = 0; i < op->n_pages; i++) {
        peer_list_reply_release(&op->pages[i].reply);
        buf_release(&op->pages[i].body);
    }
    op->n_pages = op->n_votes = 0;
}

static void op_free(struct list_op *op)
{
    struct engine *e = op->e;
    background_end(e, &op->background);
    timer_cancel(e->ports.timers, &op->deadline);
    timer_cancel(e->ports.timers, &op->patience);
    timer_cancel(e->ports.timers, &op->first_check);
    view_wait_cancel(&op->learn);
    for (uint32_t i = 0; i < op->n_asks; i++)
        rpc_cancel(e->rpc, &op->asks[i].call);
    release_pages(op);
    free(op);
}

static void abandon(struct background *b)
{
    op_free(container_of(b, struct list_op, background));
}

static void op_free_when_idle(struct list_op *op)
{
    if (op->r == NULL && !op->local_busy)
        op_free(op);
}

static void answer(struct list_op *op, int status)
{
    struct request *r = op->r;
    struct list_reply reply = {.status = status,
                               .answered = (uint8_t)(status == DYN_OK ? op->n_pages : op->n_votes),
                               .needed = (uint8_t)r->quorum.r,
                               .ring = *ring_epoch(op->e->ring)};
    if (status == DYN_OK)
        merge_pages(op, &reply);
    op->r = NULL;
    r->coordinator = NULL;
    request_reply_list(r, &reply);
    for (uint32_t i = 0; i < reply.n; i++)
        object_release(&reply.entries[i].object);
    free(reply.entries);
    op_free_when_idle(op);
}

static void ask_owners(struct list_op *op);

static void on_learned(struct view_wait *w)
{
    struct list_op *op = w->arg;
    if (op->r == NULL) {
        op_free_when_idle(op);
        return;
    }
    release_pages(op);
    op->n_asks = 0;
    op->refused_by = 0;
    ask_owners(op);
}

/* Nobody is left to ask, and somebody named other owners: so we may have asked the wrong ones. */
static bool learns(struct list_op *op)
{
    if (op->refused_by == 0 || op->local_busy || op->learned++ >= LEARN_MAX)
        return false;
    op->learn = (struct view_wait){.done = on_learned, .arg = op};
    view_learn(op->e->view, op->refused_by, &op->learn);
    return true;
}

/* Of R who vote, or of all there are: then the merge is final (E13). */
static bool enough(const struct list_op *op)
{
    uint32_t primaries = 0;
    for (uint32_t i = 0; i < op->n_pages; i++)
        primaries += op->pages[i].primary;
    return op->n_votes >= op->r->quorum.r || (op->voters != 0 && primaries >= op->voters) ||
           (op->last_resort && op->n_pages >= op->r->quorum.r);
}

static void check(struct list_op *op)
{
    if (op->starting || timer_is_set(&op->first_check) || op->learn.active)
        return;
    if (op->r != NULL && op->n_active == 0 && op->refused_by == 0)
        op->last_resort = op->r->quorum.sloppy;
    if (op->r == NULL)
        op_free_when_idle(op);
    else if (enough(op))
        answer(op, DYN_OK);
    else if (op->n_active == 0 && !learns(op))
        answer(op, DYN_ERR_NO_QUORUM);
}

static void on_first_check(struct timer *t, void *arg)
{
    (void)t;
    check(arg);
}

static void on_deadline(struct timer *t, void *arg)
{
    (void)t;
    struct list_op *op = arg;
    if (op->r != NULL)
        answer(op, DYN_ERR_NO_QUORUM);
}

static void ask(struct list_op *op, uint64_t node, bool primary);

static void ask_standin(struct list_op *op)
{
    bool was_starting = op->starting;
    op->starting = true;
    while (op->r != NULL && op->r->quorum.sloppy && op->next_standin < op->n_nodes) {
        uint64_t node = op->nodes[op->next_standin++];
        if (node == op->e->cfg.node || detector_up(op->e->detector, node)) {
            ask(op, node, false);
            break;
        }
    }
    op->starting = was_starting;
}

static void count_page(struct list_op *op)
{
    op->n_votes += !op->pages[op->n_pages].reply.voteless;
    op->n_pages++;
}

static void take_page(struct list_ask *a, int err, struct slice body)
{
    struct list_op *op = a->op;
    struct page *p = &op->pages[op->n_pages];
    *p = (struct page){.node = a->node, .primary = a->primary};
    op->n_active--;
    if (err == DYN_OK) {
        buf_put_slice(&p->body, body);
        err = peer_list_reply_decode(buf_slice(&p->body), &p->reply);
        if (err == DYN_OK && p->reply.status != DYN_OK) {
            err = p->reply.status;
            peer_list_reply_release(&p->reply);
        }
        if (err != DYN_OK)
            buf_release(&p->body);
    }
    if (err == DYN_ERR_REFUSED)
        op->refused_by = a->node;
    else if (err == DYN_OK)
        count_page(op);
    else if (!a->covered)
        ask_standin(op);
    check(op);
}

static void on_reply(struct rpc_call *call, int err, struct slice body)
{
    take_page(call->arg, err, body);
}

static void on_local_page(void *arg, struct buf *body)
{
    struct list_ask *a = arg;
    a->op->local_busy = false;
    take_page(a, DYN_OK, buf_slice(body));
}

static void ask(struct list_op *op, uint64_t node, bool primary)
{
    struct engine *e = op->e;
    const struct list_request *q = &op->r->q.list;
    if (op->n_asks == PAGES_MAX)
        return;
    struct list_ask *a = &op->asks[op->n_asks++];
    *a = (struct list_ask){
        .op = op, .node = node, .primary = primary, .call = {.done = on_reply, .arg = a}};
    op->n_active++;
    if (node == e->cfg.node) {
        op->local_busy = true;
        replica_list(e, q->dir, q->after, op->limit, on_local_page, a);
    } else if (!detector_up(e->detector, node)) {
        take_page(a, DYN_ERR_UNREACHABLE, slice_of(NULL, 0));
    } else {
        struct peer_list m = {.ring = *ring_epoch(e->ring),
                              .fence = engine_fence(e, q->dir, ROLE_OBJECT),
                              .dir = q->dir,
                              .after = q->after,
                              .limit = op->limit};
        struct buf body = BUF_EMPTY;
        peer_list_encode(&m, &body);
        rpc_start(e->rpc, &a->call, node, FRAME_REPLICA_LIST, &body, op->r->quorum.timeout_us);
    }
}

static void on_patience(struct timer *timer, void *arg)
{
    struct list_op *op = arg;
    struct engine *e = op->e;
    uint32_t n = op->n_asks; /* not the stand-ins that are asked here */
    for (uint32_t i = 0; i < n; i++) {
        struct list_ask *a = &op->asks[i];
        if (a->covered || !rpc_active(&a->call))
            continue;
        a->covered = true;
        engine_note_silence(e, &a->call);
        ask_standin(op);
    }
    if (op->n_asks > n)
        timer_set(e->ports.timers, timer, engine_now(e) + e->cfg.replica_timeout_us);
    check(op);
}

static void ask_owners(struct list_op *op)
{
    struct engine *e = op->e;
    struct request *r = op->r;
    uint32_t p = ring_partition_of(e->ring, r->q.list.dir);
    op->n_nodes = ring_preference_list(e->ring, p, r->quorum.n, op->nodes, LIST_NODES);
    uint32_t voters = op->voters = op->next_standin = ring_voters(e->ring, p, r->quorum.n);
    op->starting = true;
    for (uint32_t i = 0; i < voters; i++)
        ask(op, op->nodes[i], true);
    op->starting = false;
    if (enough(op) || op->n_active == 0)
        timer_set(e->ports.timers, &op->first_check, engine_now(e));
}

static void op_detach(void *coordinator)
{
    struct list_op *op = coordinator;
    op->r = NULL;
}

void coordinate_list(struct request *r)
{
    struct engine *e = r->e;
    const struct list_request *q = &r->q.list;
    struct list_op *op = mem_new(struct list_op);
    op->e = e;
    op->r = r;
    op->born_us = engine_now(e);
    op->limit = q->limit == 0 ? LIMIT_DEFAULT : q->limit > LIMIT_MAX ? LIMIT_MAX : q->limit;
    r->coordinator = op;
    r->coordinator_free = op_detach;
    background_add(e, &op->background, abandon);
    timer_init(&op->first_check, on_first_check, op);
    timer_init(&op->deadline, on_deadline, op);
    timer_init(&op->patience, on_patience, op);
    timer_set(e->ports.timers, &op->patience, engine_now(e) + e->cfg.replica_timeout_us);
    timer_set(e->ports.timers, &op->deadline, engine_now(e) + r->quorum.timeout_us);
    ask_owners(op);
}
