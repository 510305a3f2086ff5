/* SPDX-License-Identifier: Apache-2.0 */
/* The list coordinator: R replicas of each of a directory's fragments give a page of its entries,
 * dead ones included (dir_pages.h), merged name by name.
 *
 * A merged page ends at the smallest last name among the replicas that have more (E21): beyond it,
 * somebody's tombstones or entries are unseen. Entries in which the replicas differ are written
 * back to those that were behind. */
#include "engine/coordinate/coordinate.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/delivery.h"
#include "engine/fragments/dir_pages.h"
#include "engine/fragments/fragments.h"

#define LIMIT_DEFAULT 1000u
#define LIMIT_MAX 10000u
#define REPAIRS_MAX 64
#define SETTLED_MAX 16 /* conflicts that a page has settled */

/* An entry to be written back to a replica that was behind: lives by itself. */
struct entry_repair {
    struct background background; /* first */
    struct engine *e;
    struct buf key;
    struct object object;
    struct delivery delivery;
};

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

static void repair_entry(struct request *r, const struct dir_page *page, struct slice name,
                         const struct object *merged)
{
    struct entry_repair *p = mem_new(struct entry_repair);
    p->e = r->e;
    p->key = BUF_EMPTY;
    p->object = OBJECT_EMPTY;
    key_join(r->q.list.dir, name, &p->key);
    object_copy(&p->object, merged);
    background_add(r->e, &p->background, repair_abandon);
    r->e->stats.read_repairs++;
    p->delivery = (struct delivery){.e = r->e,
                                    .key = buf_slice(&p->key),
                                    .fragment = page->fragment,
                                    .object = &p->object,
                                    .born_us = page->asked_us,
                                    .node = page->node,
                                    .roles = ROLE_ENTRY,
                                    .timeout_us = r->e->cfg.replica_timeout_us,
                                    .done = on_repaired,
                                    .arg = p};
    delivery_start(&p->delivery);
}

/* ---- merging ----------------------------------------------------------------------------- */

struct merge {
    struct request *r;
    const struct dir_page *pages;
    uint32_t n_pages, limit;
    uint32_t *at;   /* by page: the next of its entries */
    uint32_t *heap; /* pages that have one, by its name */
    uint32_t n_heap;
    uint32_t *from; /* pages that have given the name at hand */
    uint32_t n_from;
    struct list_reply *out;
    uint32_t cap, repairs, settled;
    struct slice end;
    bool dead_too;
};

/* The name at which the merged page must end; data NULL: no bound, everybody is at the end. */
static struct slice safe_end(const struct merge *m)
{
    struct slice end = slice_of(NULL, 0);
    for (uint32_t i = 0; i < m->n_pages; i++) {
        const struct peer_list_reply *p = &m->pages[i].reply;
        if (!p->more || p->n == 0)
            continue;
        struct slice last = p->entries[p->n - 1].name;
        int order = end.data == NULL ? 0 : slice_compare(last, end);
        if (end.data == NULL || (m->r->e->cfg.bug == BUG_PAGE_CUT ? order > 0 : order < 0))
            end = last;
    }
    return end;
}

static struct slice name_at(const struct merge *m, uint32_t page)
{
    return m->pages[page].reply.entries[m->at[page]].name;
}

static void heap_push(struct merge *m, uint32_t page)
{
    uint32_t i = m->n_heap++;
    struct slice name = name_at(m, page);
    for (; i > 0 && slice_compare(name, name_at(m, m->heap[(i - 1) / 2])) < 0; i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = page;
}

static uint32_t heap_pop(struct merge *m)
{
    uint32_t least = m->heap[0], last = m->heap[--m->n_heap], i = 0;
    while (2 * i + 1 < m->n_heap) {
        uint32_t child = 2 * i + 1;
        if (child + 1 < m->n_heap &&
            slice_compare(name_at(m, m->heap[child + 1]), name_at(m, m->heap[child])) < 0)
            child++;
        if (slice_compare(name_at(m, last), name_at(m, m->heap[child])) <= 0)
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    if (m->n_heap > 0)
        m->heap[i] = last;
    return least;
}

static const struct object *given(const struct merge *m, uint32_t page)
{
    for (uint32_t i = 0; i < m->n_from; i++)
        if (m->from[i] == page)
            return &m->pages[page].reply.entries[m->at[page] - 1].object;
    return NULL;
}

/* In the fragment where the name belongs, if that has it: what lies elsewhere is moved, not
 * repaired. */
static void repair_behind(struct merge *m, struct slice name, const struct object *merged)
{
    const struct engine *e = m->r->e;
    uint32_t fragment = fragment_of_name(name, fragments_depth(e, m->r->q.list.dir));
    bool there = false;
    for (uint32_t i = 0; i < m->n_from; i++)
        there |= m->pages[m->from[i]].fragment == fragment;
    for (uint32_t i = 0; there && i < m->n_pages && m->repairs < REPAIRS_MAX; i++) {
        const struct dir_page *p = &m->pages[i];
        const struct object *own = p->fragment == fragment ? given(m, i) : NULL;
        if (p->fragment != fragment || !p->primary || (own != NULL && object_equal(own, merged)))
            continue;
        m->repairs++;
        repair_entry(m->r, p, name, merged);
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
    struct request *r = m->r;
    if (merged->n < 2 || r->quorum.reconcile < RECONCILE_LWW)
        return;
    if (r->quorum.reconcile == RECONCILE_LWW) {
        object_keep_newest(merged);
    } else if (reconcile_wanted(merged) && m->settled++ < SETTLED_MAX) {
        struct buf key = BUF_EMPTY;
        key_join(r->q.list.dir, name, &key);
        reconcile_start(r->e, buf_slice(&key), false, NULL);
        buf_release(&key);
    }
}

static void merge_name(struct merge *m, struct slice name)
{
    struct object merged = OBJECT_EMPTY;
    m->n_from = 0;
    while (m->n_heap > 0 && slice_equal(name_at(m, m->heap[0]), name)) {
        uint32_t page = heap_pop(m);
        entry_join(&merged, &m->pages[page].reply.entries[m->at[page]++].object);
        m->from[m->n_from++] = page;
    }
    repair_behind(m, name, &merged);
    for (uint32_t i = 0; i < m->n_from; i++)
        if (m->at[m->from[i]] < m->pages[m->from[i]].reply.n)
            heap_push(m, m->from[i]);
    object_collapse(&merged);
    follow_rule(m, name, &merged);
    if (m->dead_too || object_live(&merged))
        append(m, name, &merged);
    object_release(&merged);
}

static void merge_pages(struct request *r, const struct dir_page *pages, uint32_t n, uint32_t limit,
                        struct list_reply *out)
{
    struct merge m = {.r = r,
                      .pages = pages,
                      .n_pages = n,
                      .limit = limit,
                      .out = out,
                      .dead_too = r->q.list.dead_too};
    m.at = mem_zalloc((n + 1) * sizeof(*m.at));
    m.heap = mem_zalloc((n + 1) * sizeof(*m.heap));
    m.from = mem_zalloc((n + 1) * sizeof(*m.from));
    m.end = safe_end(&m);
    for (uint32_t i = 0; i < n; i++) {
        const struct peer_list_reply *p = &pages[i].reply;
        if (p->n > 0)
            heap_push(&m, i);
        out->more |= p->more;
        if (p->dir_mtime_ns > out->dir_mtime_ns)
            out->dir_mtime_ns = p->dir_mtime_ns;
    }
    while (m.n_heap > 0) {
        struct slice name = name_at(&m, m.heap[0]);
        bool beyond = m.end.data != NULL && slice_compare(name, m.end) > 0;
        if (beyond || out->n == limit) {
            out->more = true;
            break;
        }
        merge_name(&m, name);
        out->cursor = name;
    }
    free(m.at);
    free(m.heap);
    free(m.from);
}

/* ---- the operation ----------------------------------------------------------------------- */

static uint32_t limit_of(const struct list_request *q)
{
    return q->limit == 0 ? LIMIT_DEFAULT : q->limit > LIMIT_MAX ? LIMIT_MAX : q->limit;
}

static void on_pages(void *arg, int status, const struct dir_page *pages, uint32_t n)
{
    struct request *r = arg;
    struct list_reply reply = {.status = status,
                               .answered = (uint8_t)dir_pages_answered(pages, n, status != DYN_OK),
                               .needed = (uint8_t)r->quorum.r,
                               .ring = *ring_epoch(r->e->ring)};
    if (status == DYN_OK)
        merge_pages(r, pages, n, limit_of(&r->q.list), &reply);
    r->coordinator = NULL;
    request_reply_list(r, &reply);
    for (uint32_t i = 0; i < reply.n; i++)
        object_release(&reply.entries[i].object);
    free(reply.entries);
}

static void forget(void *coordinator)
{
    dir_pages_forget(coordinator);
}

void coordinate_list(struct request *r)
{
    const struct list_request *q = &r->q.list;
    const struct dir_pages_params p = {.dir = q->dir,
                                       .after = q->after,
                                       .limit = limit_of(q),
                                       .quorum = r->quorum,
                                       .done = on_pages,
                                       .arg = r};
    r->coordinator_free = forget;
    r->coordinator = dir_pages_start(r->e, &p);
}
