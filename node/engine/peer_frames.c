/* SPDX-License-Identifier: Apache-2.0 */
/* See peer_frames.h. A frame that does not decode, or comes from a node with another ring, is
 * refused and changes nothing. */
#include "engine/peer_frames.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/dir_settings.h"
#include "engine/fragments/entry_place.h"
#include "engine/fragments/fragments.h"
#include "engine/kept/kept.h"
#include "engine/membership/commit.h"
#include "engine/membership/gossip.h"
#include "engine/membership/peer_time.h"
#include "engine/membership/view.h"
#include "engine/reap/reap.h"
#include "engine/replica/debts.h"
#include "engine/replica/extend.h"
#include "engine/replica/hints.h"
#include "engine/replica/replica_list.h"
#include "engine/thin/superseded.h"
#include "engine/thin/thin.h"
#include "engine/transfer/range.h"
#include "engine/trees/entry_check.h"
#include "engine/trees/exchange_serve.h"

struct serving {                  /* one frame being served */
    struct background background; /* first */
    struct engine *e;
    uint64_t origin, from, rid;
    uint8_t type;
    uint64_t began_us, born_us;
    struct peer_time_wait ageing; /* how old the message is, is being found out */
    struct buf body;              /* what the decoded message borrows from */
    struct peer_put put;
    struct extend extend; /* its base none: no value is to be made */
    struct dot extended;  /* the value that is */
    struct peer_get get;
    struct replica_write write;
    struct replica_read read;
    bool writing, reading;
};

static void serving_free(struct serving *s)
{
    background_end(s->e, &s->background);
    peer_times_forget(&s->ageing);
    if (s->writing)
        replica_write_release(&s->write);
    if (s->reading)
        replica_read_release(&s->read);
    extend_release(&s->extend);
    peer_put_release(&s->put);
    peer_get_release(&s->get);
    buf_release(&s->body);
    free(s);
}

static void abandon(struct background *b)
{
    serving_free(container_of(b, struct serving, background));
}

/* Requests that others coordinate wait for this node as well. */
static void note_served(const struct serving *s)
{
    admission_foreground(s->e->admission, engine_now(s->e) - s->began_us);
}

static void reply(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type, struct buf *body)
{
    e->ports.net.reply(e->ports.net.ctx, origin, rid, (uint8_t)(type + FRAME_REPLY), body);
}

/* Rings may differ, but not about who holds what the request is about (E10). */
static int check_ring(struct serving *s, const struct history_epoch *theirs, uint64_t fence,
                      struct slice key, uint32_t fragment, unsigned roles)
{
    struct engine *e = s->e;
    if (!e->serving || e->failed != DYN_OK)
        return DYN_ERR_STOPPED;
    if (history_epoch_equal(theirs, ring_epoch(e->ring)))
        return DYN_OK;
    if (fence == engine_fence(e, key, fragment, roles) || e->cfg.bug == BUG_UNFENCED_MOVE)
        return DYN_OK;
    return DYN_ERR_REFUSED;
}

/* ---- put --------------------------------------------------------------------------------- */

static void reply_put(struct serving *s, int status)
{
    struct peer_put_reply m = {.status = status,
                               .parent_dead = s->write.parent_dead,
                               .missing = s->write.missing,
                               .n_missing = s->write.n_missing};
    object_follow_cut(&s->put.object, &s->put.cut);
    if (status == DYN_OK && s->writing && (s->put.roles & ROLE_OBJECT))
        m.differs = !object_equal(&s->write.object, &s->put.object);
    struct buf body = BUF_EMPTY;
    peer_put_reply_encode(&m, &body);
    note_served(s);
    reply(s->e, s->origin, s->rid, s->type, &body);
    serving_free(s);
}

static void on_put(struct replica_write *w, int err)
{
    reply_put(w->arg, err);
}

static void write_put(struct serving *s, uint64_t born_us)
{
    s->write = (struct replica_write){.e = s->e,
                                      .key = s->put.key,
                                      .fragment = s->put.fragment,
                                      .roles = s->put.roles,
                                      .incoming = &s->put.object,
                                      .hint_for = s->put.hint_for,
                                      .owe_entry = s->put.owe_entry,
                                      .cut = &s->put.cut,
                                      .born_us = born_us,
                                      .sync = s->put.sync ? STORE_SYNCED : STORE_BUFFERED,
                                      .done = on_put,
                                      .arg = s};
    s->writing = true;
    replica_write_start(&s->write);
}

/* Without the value the write says that it is missing, and the sender sends the whole. */
static void on_extended(struct extend *x, int err)
{
    struct serving *s = x->arg;
    if (err == DYN_OK)
        extend_attach(x, &s->extended, &s->put.object);
    write_put(s, s->born_us);
}

static void store_put(struct serving *s, uint64_t born_us)
{
    if (extension_is_none(&s->extend.base)) {
        write_put(s, born_us);
        return;
    }
    s->born_us = born_us;
    s->extend.e = s->e;
    s->extend.key = s->put.key;
    s->extend.done = on_extended;
    s->extend.arg = s;
    extend_start(&s->extend);
}

static int check_put(struct serving *s)
{
    const struct peer_put *m = &s->put;
    return check_ring(s, &m->ring, m->fence, m->key, m->fragment, m->roles);
}

static void on_age(struct peer_time_wait *w, int err)
{
    struct serving *s = w->arg;
    uint64_t born_us = 0;
    if (err == DYN_OK && !peer_times_at(s->e->times, s->from, &s->put.born, &born_us))
        err = DYN_ERR_STALE; /* it is from before the sender's last start */
    if (err == DYN_OK)
        err = check_put(s);
    if (err == DYN_OK)
        store_put(s, born_us);
    else
        reply_put(s, err);
}

static int decode_put(struct serving *s)
{
    struct peer_extend m;
    if (s->type == FRAME_REPLICA_PUT)
        return peer_put_decode(buf_slice(&s->body), &s->put);
    int err = peer_extend_decode(buf_slice(&s->body), &m);
    if (err != DYN_OK)
        return err;
    s->put = m.put; /* taken */
    s->extend.base = m.base;
    s->extend.suffix = m.suffix;
    s->extended = m.value_dot;
    return DYN_OK;
}

static void serve_put(struct serving *s)
{
    struct engine *e = s->e;
    uint64_t born_us;
    int err = decode_put(s);
    if (err == DYN_OK)
        err = check_put(s);
    if (err == DYN_OK && s->put.hint_for != 0 && hints_full(e->hints)) {
        err = DYN_ERR_OVERLOAD; /* E25 */
        e->stats.hint_refused++;
    }
    if (err != DYN_OK) {
        reply_put(s, err);
        return;
    }
    if (peer_times_at(e->times, s->from, &s->put.born, &born_us)) {
        store_put(s, born_us);
        return;
    }
    if (ring_contact(e->ring, s->from) == NULL) {
        reply_put(s, DYN_ERR_REFUSED); /* it has joined by a history that we have not heard of */
        return;
    }
    s->ageing = (struct peer_time_wait){.done = on_age, .arg = s};
    peer_times_ask(e->times, s->from, &s->ageing);
}

/* ---- get --------------------------------------------------------------------------------- */

static void reply_get(struct serving *s, int status)
{
    struct peer_get_reply m = {.status = status};
    if (status == DYN_OK) {
        m.implicit_dir = s->read.implicit_dir;
        m.voteless = !engine_votes(s->e, s->get.entry ? ROW_ENTRY : ROW_OBJECT, s->get.key);
        m.dir_mtime_ns = s->read.dir_mtime_ns;
        m.object = s->read.object;
        m.n_vouched = superseded_vouched(&s->read.object, &s->read.state, &m.vouched);
    }
    struct buf body = BUF_EMPTY;
    peer_get_reply_encode(&m, &body);
    free(m.vouched);
    note_served(s);
    reply(s->e, s->origin, s->rid, s->type, &body);
    serving_free(s);
}

static void on_get(struct replica_read *r, int err)
{
    reply_get(r->arg, err);
}

static int check_get(struct serving *s)
{
    const struct peer_get *q = &s->get;
    uint32_t fragment = 0;
    struct slice key = q->entry ? entry_id_split(q->key, &fragment) : q->key;
    return check_ring(s, &q->ring, q->fence, key, fragment, q->entry ? ROLE_ENTRY : ROLE_OBJECT);
}

static void serve_get(struct serving *s)
{
    int err = peer_get_decode(buf_slice(&s->body), &s->get);
    bool votes = s->get.load != LOAD_DOTS || s->get.fence != 0; /* or is asked for bytes by dot */
    if (err == DYN_OK && votes)
        err = check_get(s);
    if (err != DYN_OK) {
        reply_get(s, err);
        return;
    }
    s->read = (struct replica_read){.e = s->e,
                                    .key = s->get.key,
                                    .load = s->get.load,
                                    .dots = s->get.dots,
                                    .n_dots = s->get.n_dots,
                                    .value_max = s->get.value_max,
                                    .entry = s->get.entry,
                                    .dir_info = s->get.dir_info,
                                    .done = on_get,
                                    .arg = s};
    s->reading = true;
    replica_read_start(&s->read);
}

/* ---- list -------------------------------------------------------------------------------- */

static void on_page(void *arg, struct buf *body)
{
    struct serving *s = arg;
    reply(s->e, s->origin, s->rid, s->type, body);
    serving_free(s);
}

/* As check_ring, for a fragment of a directory. */
static int check_list(struct serving *s, const struct peer_list *m)
{
    int err = check_ring(s, &m->ring, 0, m->dir, 0, ROLE_OBJECT);
    if (err != DYN_ERR_REFUSED)
        return err;
    struct place at = place_of_fragment(s->e->ring, m->dir, m->fragment);
    return m->fence == ring_fence(s->e->ring, at.partition) ? DYN_OK : err;
}

static void serve_list(struct serving *s)
{
    struct peer_list m;
    int err = peer_list_decode(buf_slice(&s->body), &m);
    if (err == DYN_OK)
        err = check_list(s, &m);
    if (err != DYN_OK) {
        struct peer_list_page page;
        peer_list_page_begin(&page);
        peer_list_page_end(&page, &(struct peer_list_end){.status = err});
        on_page(s, &page.body);
        return;
    }
    replica_list(s->e, &m, on_page, s);
}

/* ---- clear, ping ------------------------------------------------------------------------- */

static void reply_status(struct serving *s, int status)
{
    struct buf body = BUF_EMPTY;
    peer_status_encode(status, &body);
    reply(s->e, s->origin, s->rid, s->type, &body);
    serving_free(s);
}

static void reply_pong(struct serving *s)
{
    struct engine *e = s->e;
    const struct peer_pong m = {.status = e->serving ? DYN_OK : DYN_ERR_STOPPED,
                                .now = {e->boot, engine_now(e)}};
    struct buf body = BUF_EMPTY;
    peer_pong_encode(&m, &body);
    reply(e, s->origin, s->rid, s->type, &body);
    serving_free(s);
}

static void serve_clear(struct serving *s)
{
    struct peer_owed_clear m;
    int err = peer_owed_clear_decode(buf_slice(&s->body), &m);
    if (err == DYN_OK)
        debts_clear_entry(s->e, m.key, m.state);
    reply_status(s, err);
}

/* What is about the cluster, not about keys; also between nodes whose rings differ. */
static bool cluster_frame(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type,
                          struct slice body)
{
    if (type < FRAME_GOSSIP || type > FRAME_RANGE_ROOT || !e->serving)
        return false; /* what is on disk is not known yet */
    if (type == FRAME_GOSSIP)
        gossip_frame(e->gossip, origin, rid, body);
    else if (type == FRAME_HISTORY)
        view_frame(e->view, origin, rid, body);
    else if (type == FRAME_PREPARE || type == FRAME_ACCEPT)
        commit_frame(e->commit, origin, rid, type, body);
    else
        range_frame(e, origin, rid, type, body);
    return true;
}

void peer_frame(struct engine *e, uint64_t origin, uint64_t from, uint64_t rid, uint8_t type,
                struct slice body)
{
    if (ring_banned(e->ring, from) && type != FRAME_GOSSIP && type != FRAME_HISTORY) {
        struct buf refusal = BUF_EMPTY;
        peer_status_encode(DYN_ERR_DENIED, &refusal);
        reply(e, origin, rid, type, &refusal);
        return;
    }
    if (cluster_frame(e, origin, rid, type, body))
        return;
    if (type == FRAME_SETTINGS_SYNC) {
        settings_serve_sync(e, origin, rid, body);
        return;
    }
    if (type == FRAME_KEPT) {
        kept_frame(e, origin, rid, type, body);
        return;
    }
    if (type == FRAME_HOLDS) {
        thin_serve(e, origin, rid, body);
        return;
    }
    struct serving *s = mem_new(struct serving);
    s->e = e;
    s->origin = origin;
    s->from = from;
    s->rid = rid;
    s->type = type;
    s->began_us = engine_now(e);
    buf_put_slice(&s->body, body);
    background_add(e, &s->background, abandon);
    switch (type) {
    case FRAME_REPLICA_PUT:
    case FRAME_REPLICA_EXTEND:
        serve_put(s);
        return;
    case FRAME_REPLICA_GET:
        serve_get(s);
        return;
    case FRAME_REPLICA_LIST:
        serve_list(s);
        return;
    case FRAME_OWED_CLEAR:
        serve_clear(s);
        return;
    case FRAME_HINTS:
        reply_status(s, !e->serving                  ? DYN_ERR_STOPPED
                        : hints_total(e->hints) != 0 ? DYN_ERR_CONFLICT
                                                     : DYN_OK);
        return;
    case FRAME_TREE_ROOTS:
    case FRAME_TREE_NODES:
    case FRAME_TREE_LEAVES:
        exchange_serve(e, origin, rid, type, body);
        serving_free(s);
        return;
    case FRAME_ENTRY_MEND:
        entry_mend_serve(e, origin, rid, body);
        serving_free(s);
        return;
    case FRAME_ENTRY_MOVED:
        fragment_moved_serve(e, origin, rid, body);
        serving_free(s);
        return;
    case FRAME_PING:
        reply_pong(s);
        return;
    case FRAME_REAP:
    case FRAME_REAP_CLEAR:
        reap_serve(e, origin, rid, type, body);
        serving_free(s);
        return;
    default:
        reply_status(s, DYN_ERR_UNSUPPORTED);
    }
}
