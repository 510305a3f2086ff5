/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator of get: a gather, and what becomes of its outcome before the client sees it. */
#include "engine/coordinate/coordinate.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/dir_pages.h"
#include "engine/fragments/fragments.h"

int coordinate_cover(struct engine *e, struct slice key, const struct slice *contexts, uint32_t n,
                     struct cover *cover)
{
    struct cover t = COVER_EMPTY;
    for (uint32_t i = 0; i < n; i++) {
        int err = e->cfg.bug == BUG_FORGED
                      ? context_believe(contexts[i], &t)
                      : context_verify(e->mac, ring_cluster(e->ring), key, contexts[i], &t);
        if (err != DYN_OK) {
            cover_release(&t);
            return err;
        }
    }
    *cover = t;
    return DYN_OK;
}

struct dot coordinate_base(const struct put_request *q, const struct cover *cover,
                           const struct object *o)
{
    if (!dot_is_none(&q->base_dot) || q->type != SIBLING_FILE)
        return q->base_dot;
    return context_base(q->contexts, q->n_contexts, cover, o);
}

/* ---- get --------------------------------------------------------------------------------- */

static void count_versions(struct engine *e, const struct object *o)
{
    uint32_t live = object_live_count(o);
    if (live > 0)
        e->stats.sibling_reads[live > 4 ? 3 : live - 1]++;
}

static void read_again(void *arg)
{
    struct request *r = arg;
    r->coordinator = NULL;
    coordinate_get(r);
}

static void forget_settling(void *coordinator)
{
    reconcile_forget(coordinator);
}

/* A conflict under `union` is settled first, then read again; once, and if that is not possible,
 * the versions are shown as they are. */
static bool settles(struct request *r, const struct object *o)
{
    if (r->quorum.reconcile != RECONCILE_UNION || r->settled || !reconcile_wanted(o))
        return false;
    r->settled = true;
    r->settling = (struct reconcile_wait){.done = read_again, .arg = r};
    if (!reconcile_start(r->e, r->q.get.key, r->q.get.opt.forwarded != 0, &r->settling))
        return false;
    r->coordinator = &r->settling;
    r->coordinator_free = forget_settling;
    return true;
}

/* Under `lww` a reader sees the newest version alone; the token names them all, for the next put. A
 * value that was asked for by its dot is shown, whatever is newer. */
static void show_newest(const struct request *r, struct object *o)
{
    const struct get_request *q = &r->q.get;
    struct object all = *o;
    *o = OBJECT_EMPTY;
    object_copy(o, &all);
    object_keep_newest(o);
    if (q->want == GET_DOT && object_find_value(o, &q->value_dot) == NULL)
        object_copy(o, &all);
}

static void on_gathered(void *arg, const struct gather_result *result)
{
    struct request *r = arg;
    struct engine *e = r->e;
    r->coordinator = NULL;
    if (result->status != DYN_OK) {
        request_fail(r, result->status, result->answered, result->needed);
        return;
    }
    if (settles(r, result->object))
        return;
    bool newest = r->quorum.reconcile == RECONCILE_LWW && result->object->n > 1;
    struct buf token = BUF_EMPTY;
    struct get_reply reply = {.status = DYN_OK,
                              .answered = (uint8_t)result->answered,
                              .needed = (uint8_t)result->needed,
                              .implicit_dir = result->implicit_dir,
                              .dir_mtime_ns = result->dir_mtime_ns > r->dir_mtime_ns
                                                  ? result->dir_mtime_ns
                                                  : r->dir_mtime_ns,
                              .object = *result->object,
                              .ring = *ring_epoch(e->ring)};
    for (uint32_t i = 0; i < result->n_current && i < 8; i++)
        reply.replicas[reply.n_replicas++] = result->current[i];
    if (!object_is_absent(result->object))
        token_make(e->mac, ring_cluster(e->ring), r->q.get.key, result->object, &token);
    reply.token = buf_slice(&token);
    if (newest)
        show_newest(r, &reply.object);
    struct object shown = newest ? reply.object : OBJECT_EMPTY;
    count_versions(e, &reply.object);
    request_reply_get(r, &reply);
    object_release(&shown);
    buf_release(&token);
}

static void forget(void *coordinator)
{
    gather_forget(coordinator);
}

/* The newest change in any of a directory's fragments (F29). Without it there is still that in the
 * first. */
static void on_mtimes(void *arg, int status, const struct dir_page *pages, uint32_t n)
{
    struct request *r = arg;
    (void)status;
    for (uint32_t i = 0; i < n; i++)
        if (pages[i].reply.dir_mtime_ns > r->dir_mtime_ns)
            r->dir_mtime_ns = pages[i].reply.dir_mtime_ns;
    read_again(r);
}

static void forget_mtimes(void *coordinator)
{
    dir_pages_forget(coordinator);
}

static bool asks_mtimes(struct request *r)
{
    const struct get_request *q = &r->q.get;
    if (r->mtimes_asked || q->want == GET_PRESENT || q->want == GET_DOT ||
        fragments_listed(r->e, q->key) == 1)
        return false;
    const struct dir_pages_params p = {
        .dir = q->key, .quorum = r->quorum, .done = on_mtimes, .arg = r};
    r->mtimes_asked = true;
    r->coordinator_free = forget_mtimes;
    r->coordinator = dir_pages_start(r->e, &p);
    return true;
}

void coordinate_get(struct request *r)
{
    if (asks_mtimes(r))
        return;
    static const enum value_choice choices[] = {[GET_META] = VALUE_NONE,
                                                [GET_NEWEST] = VALUE_NEWEST,
                                                [GET_ALL] = VALUE_ALL,
                                                [GET_DOT] = VALUE_DOT,
                                                [GET_PRESENT] = VALUE_NEWEST};
    const struct get_request *q = &r->q.get;
    struct cover at_least;
    int err = coordinate_cover(r->e, q->key, q->at_least, q->n_at_least, &at_least);
    if (err != DYN_OK) {
        request_fail(r, err, 0, r->quorum.r);
        return;
    }
    engine_forget_cut(r->e, &at_least.clock);
    struct gather_params p = {.key = q->key,
                              .quorum = r->quorum,
                              .values = choices[q->want],
                              .value_dot = q->value_dot,
                              .value_max = q->value_max,
                              .dir_info = q->want != GET_PRESENT,
                              .present = q->want == GET_PRESENT,
                              .at_least = &at_least,
                              .done = on_gathered,
                              .arg = r};
    if (p.present) {
        p.quorum.r = 1;
        p.quorum.sloppy = true;
    }
    if (r->settled || r->mtimes_asked) { /* the second time: in what time is left */
        uint64_t now = engine_now(r->e);
        p.quorum.timeout_us = r->deadline_us > now ? r->deadline_us - now : 1;
    }
    r->coordinator_free = forget;
    r->coordinator = gather_start(r->e, &p);
}
