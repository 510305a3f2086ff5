/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's life: made, started from what is on disk, fed with frames, stopped. See engine.h for
 * its face and the project's ARCHITECTURE.md for how a put and a read walk through the other files.
 */
#include "engine/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/dir_settings.h"
#include "engine/coordinate/direct.h"
#include "engine/core.h"
#include "engine/fragments/fragments.h"
#include "engine/kept/kept.h"
#include "engine/membership/catchup.h"
#include "engine/membership/commit.h"
#include "engine/membership/gossip.h"
#include "engine/membership/peer_time.h"
#include "engine/membership/view.h"
#include "engine/pace.h"
#include "engine/peer_frames.h"
#include "engine/peer_wire.h"
#include "engine/reap/reap.h"
#include "engine/replica/collect.h"
#include "engine/replica/debts.h"
#include "engine/replica/hints.h"
#include "engine/request.h"
#include "engine/slices.h"
#include "engine/thin/thin.h"
#include "engine/transfer/range.h"
#include "engine/transfer/restore.h"
#include "engine/transfer/retire.h"
#include "engine/transfer/transfer.h"
#include "engine/trees/bad_rows.h"
#include "engine/trees/exchange.h"
#include "engine/trees/scrub.h"
#include "engine/trees/tree.h"
#include "engine/watchers.h"
#include "model/chunk_io.h"

#define LEASE_SIZE                                                                                 \
    (1u << 20) /* running numbers leased at a time; a start that uses few wastes the rest */
#define LEASE_ROW "lease"
/* Between probes of a peer that is down. Each waits for longer: so one is always on its way, and a
 * machine that was only stopped is known to be back as soon as it goes on. */
#define PROBE_MAX_US 1000000u

void engine_config_defaults(struct engine_config *c)
{
    *c = (struct engine_config){
        .durability = DURABILITY_QUORUM,
        .sloppy = true,
        .exchange_us = 60000000,
        .scrub_us = 7 * 86400 * 1000000ull,
        .slice_us = 1000,
        .request_timeout_us = 5000000,
        .replica_timeout_us = 500000,
        .value_max = VALUE_LEN_MAX,
        .extended_max = 64u << 20,
        .frame_values_max = 16u << 20,
        .answer_values_max = 48u << 20,
        .hints_max_bytes = 4ull << 30,
        .history_ms = 24ull * 3600 * 1000,
        .history_max = 4ull << 30,
        .history_key_max = 1ull << 30,
        .owed_delay_us = 10000000,
        .owed_sweep_us = 1000000,
        .collect_us = 60000000,
        .collect_lease_ms = UPLOAD_LEASE_S * 1000,
        .collect_grace_ms = UPLOAD_GRACE_S * 1000,
        .reap_us = 10000000,
        .reap_after_ms = 15ull * 60 * 1000,
        .message_life_us = 60000000,
        .retired_us = 86400ull * 1000000,
        .thin_us = 10000000,
        .requests_max = 4096,
        .background_target_us = 50000,
        .clock_pairs = 10,
        .clock_age_ms = 24ull * 3600 * 1000,
        .gossip_us = 1000000,
        .fragment_entries = 50000,
        .fragment_rate = 1000,
    };
}

/* ---- epochs ------------------------------------------------------------------------------ */

static void write_lease(struct engine *e, uint64_t until, void (*done)(struct store_write *, int))
{
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    buf_put_u64(&row, until);
    store_batch_put(&b, STORE_LOCAL, slice_str(LEASE_ROW), buf_slice(&row));
    e->lease_asked = until;
    e->lease_write = (struct store_write){.done = done, .arg = e};
    int err = e->ports.store.write(e->ports.store.ctx, &b, STORE_SYNCED, &e->lease_write);
    store_batch_release(&b);
    buf_release(&row);
    if (err != DYN_OK)
        done(&e->lease_write, err);
}

static void on_lease_renewed(struct store_write *req, int err)
{
    struct engine *e = req->arg;
    if (err == DYN_OK)
        e->lease_end = e->lease_asked;
    else
        e->lease_asked = e->lease_end; /* may be asked for again */
}

int engine_fresh_epoch(struct engine *e, struct epoch *out)
{
    if (e->failed != DYN_OK)
        return DYN_ERR_STOPPED;
    if (e->next_run + LEASE_SIZE / 4 >= e->lease_end && e->lease_asked == e->lease_end)
        write_lease(e, e->lease_end + LEASE_SIZE, on_lease_renewed);
    if (e->next_run >= e->lease_end)
        return DYN_ERR_OVERLOAD;
    uint64_t run = e->next_run++;
    *out =
        (struct epoch){e->boot, (uint32_t)(run % UINT32_MAX) + 1}; /* never 0: that is "no epoch" */
    return DYN_OK;
}

/* ---- background work --------------------------------------------------------------------- */

void background_add(struct engine *e, struct background *b, void (*abandon)(struct background *b))
{
    b->abandon = abandon;
    list_init(&b->link);
    list_append(&e->background, &b->link);
}

void background_end(struct engine *e, struct background *b)
{
    list_remove(&b->link);
    if (e->stopping && list_empty(&e->background) && e->drained != NULL)
        timer_set(e->ports.timers, &e->drain_timer, engine_now(e));
}

/* ---- peers ------------------------------------------------------------------------------- */

struct telling { /* a request sent for its effect, or to see whether the peer lives */
    struct background background; /* first */
    struct engine *e;
    struct rpc_call call;
};

static void telling_free(struct telling *t)
{
    background_end(t->e, &t->background);
    rpc_cancel(t->e->rpc, &t->call);
    free(t);
}

static void telling_abandon(struct background *b)
{
    telling_free(container_of(b, struct telling, background));
}

static void on_told(struct rpc_call *call, int err, struct slice body)
{
    (void)err; /* rpc has told the detector */
    (void)body;
    telling_free(call->arg);
}

static void tell(struct engine *e, uint64_t node, uint8_t type, struct buf *body,
                 uint64_t timeout_us)
{
    struct telling *t = mem_new(struct telling);
    t->e = e;
    t->call = (struct rpc_call){.done = on_told, .arg = t};
    background_add(e, &t->background, telling_abandon);
    rpc_start(e->rpc, &t->call, node, type, body, timeout_us);
}

void engine_tell(struct engine *e, uint64_t node, uint8_t type, struct buf *body)
{
    tell(e, node, type, body, e->cfg.replica_timeout_us);
}

void engine_note_silence(struct engine *e, const struct rpc_call *call)
{
    if (detector_last_ok_us(e->detector, call->node) <= call->started_us)
        detector_failed(e->detector, call->node, DYN_ERR_TIMEOUT);
}

static void probe_peer(void *arg, uint64_t node)
{
    struct buf body = BUF_EMPTY;
    tell(arg, node, FRAME_PING, &body, PROBE_MAX_US + PROBE_MAX_US / 2);
}

static void peer_changed(void *arg, uint64_t node, enum peer_state state)
{
    struct engine *e = arg;
    if (state == PEER_UP && e->serving) {
        hints_drain(e->hints);
        exchanges_hasten(e->exchanges, node);
    }
}

void engine_halt(struct engine *e, int err, const char *why)
{
    if (e->halted)
        return;
    e->halted = true;
    e->failed = err;
    if (e->cfg.host.halt != NULL)
        e->cfg.host.halt(e->cfg.host.ctx, err, why);
}

void engine_ring_changed(struct engine *e)
{
    if (ring_banned(e->ring, e->cfg.node)) {
        engine_halt(e, DYN_ERR_DENIED, "this node has been removed from its cluster");
        return;
    }
    hints_drain(e->hints);
    gossip_hurry(e->gossip);
    watchers_look(e->watchers);
    transfers_look(e->transfers);
    fragments_ring_changed(e);
    exchanges_look(e->exchanges);
    catchup_look(e->catchup);
    thin_look(e->thin);
    if (e->cfg.host.changed != NULL)
        e->cfg.host.changed(e->cfg.host.ctx);
}

/* ---- life -------------------------------------------------------------------------------- */

static void on_drain_timer(struct timer *t, void *arg);

struct engine *engine_new(const struct engine_config *cfg, const struct engine_ports *ports,
                          struct ring *ring)
{
    static const struct detector_config detection = {.probe_interval_us = 100000,
                                                     .probe_max_us = PROBE_MAX_US};
    struct engine *e = mem_new(struct engine);
    assert(cfg->node != 0);
    e->cfg = *cfg;
    e->ports = *ports;
    e->ring = ring_ref(ring);
    e->mac = mac_new(cfg->secret);
    e->cfg.secret = slice_of(NULL, 0); /* the key lives in the mac only */
    e->locks = keylock_table_new();
    e->detector =
        detector_new(&detection, &e->ports.time, ports->timers, probe_peer, peer_changed, e);
    e->rpc = rpc_new(&e->ports.net, &e->ports.time, ports->timers, e->detector);
    e->hints = hints_new(e);
    e->sweeper = debts_new(e);
    e->collector = collector_new(e);
    e->kept = kept_keeper_new(e);
    e->times = peer_times_new(e);
    e->reaper = reaper_new(e);
    e->retirement = retirement_new(e);
    e->thin = thin_new(e);
    e->settings = settings_keeper_new(e);
    e->fragments = fragments_new(e);
    struct admission_config admission = admission_config_default();
    admission.target_us = cfg->background_target_us;
    e->admission = admission_new(&admission, &e->ports.time, ports->timers);
    list_init(&e->settling);
    e->trees = trees_new(e);
    e->slices = slices_new(e);
    e->pace = pace_new(e);
    e->exchanges = exchanges_new(e);
    e->scrub = scrub_new(e);
    e->bad_rows = bad_rows_new(e);
    e->catchup = catchup_new(e);
    e->watchers = watchers_new(e);
    list_init(&e->requests);
    list_init(&e->background);
    list_init(&e->deliveries);
    timer_init(&e->drain_timer, on_drain_timer, e);
    e->rumours = RUMOURS_EMPTY;
    e->view = view_new(e);
    e->gossip = gossip_new(e);
    e->commit = commit_new(e);
    e->transfers = transfers_new(e);
    engine_tell_addresses(e);
    return e;
}

static void start_ended(struct engine *e, int err)
{
    e->serving = err == DYN_OK;
    if (e->serving) {
        exchanges_start(e->exchanges);
        scrub_start(e->scrub);
        debts_start(e->sweeper);
        collector_start(e->collector);
        reaper_start(e->reaper);
        retirement_start(e->retirement);
        settings_keeper_start(e->settings);
        fragments_start(e->fragments);
        hints_drain(e->hints);
        gossip_start(e->gossip);
        kept_keeper_start(e->kept);
        thin_start(e->thin);
        commit_start(e->commit);
        transfers_look(e->transfers);
        catchup_look(e->catchup);
    }
    e->ready(e->ready_arg, err);
}

static void on_settings_loaded(void *arg, int err)
{
    start_ended(arg, err);
}

static void on_trees_ready(void *arg, int err)
{
    struct engine *e = arg;
    if (err != DYN_OK)
        start_ended(e, err);
    else
        settings_keeper_load(e->settings, on_settings_loaded, e);
}

static void on_hints_loaded(void *arg, int err)
{
    struct engine *e = arg;
    if (err != DYN_OK)
        start_ended(e, err);
    else
        trees_start(e->trees, on_trees_ready, e);
}

static void on_first_lease(struct store_write *req, int err)
{
    struct engine *e = req->arg;
    if (err != DYN_OK) {
        start_ended(e, err);
        return;
    }
    e->lease_end = e->lease_asked;
    hints_load(e->hints, on_hints_loaded, e);
}

static void on_lease_read(struct store_get *req, int err, struct slice value)
{
    struct engine *e = req->arg;
    uint64_t from = 0;
    if (err == DYN_OK) {
        struct reader r = reader_of(value);
        from = read_u64(&r);
        err = reader_done(&r) ? DYN_OK : DYN_ERR_CORRUPT;
    } else if (err == DYN_ERR_NOT_FOUND) {
        err = DYN_OK;
    }
    if (err != DYN_OK) {
        start_ended(e, err);
        return;
    }
    e->next_run = from;
    write_lease(e, from + LEASE_SIZE, on_first_lease);
}

static void on_gossip_loaded(void *arg, int err);

static void on_commit_loaded(void *arg, int err)
{
    struct engine *e = arg;
    if (err != DYN_OK)
        start_ended(e, err);
    else
        gossip_load(e->gossip, on_gossip_loaded, e);
}

static void on_catchup_loaded(void *arg, int err);

static void on_gossip_loaded(void *arg, int err)
{
    struct engine *e = arg;
    if (err != DYN_OK)
        start_ended(e, err);
    else
        catchup_load(e->catchup, e->lost_tail, on_catchup_loaded, e);
}

static void on_catchup_loaded(void *arg, int err)
{
    struct engine *e = arg;
    if (err != DYN_OK) {
        start_ended(e, err);
        return;
    }
    e->start_get = (struct store_get){
        .family = STORE_LOCAL, .key = slice_str(LEASE_ROW), .done = on_lease_read, .arg = e};
    e->ports.store.get(e->ports.store.ctx, &e->start_get);
}

static void on_view_loaded(void *arg, int err)
{
    struct engine *e = arg;
    if (err != DYN_OK)
        start_ended(e, err);
    else
        commit_load(e->commit, on_commit_loaded, e);
}

void engine_start(struct engine *e, bool lost_tail, void (*ready)(void *arg, int err), void *arg)
{
    e->lost_tail = lost_tail;
    e->ready = ready;
    e->ready_arg = arg;
    e->boot = random_u64(&e->ports.random);
    view_load(e->view, on_view_loaded, e);
}

static void on_drain_timer(struct timer *t, void *arg)
{
    struct engine *e = arg;
    bool idle = list_empty(&e->requests) && list_empty(&e->background);
    if (e->drained == NULL)
        return;
    if (!idle && engine_now(e) < e->drain_until) {
        timer_set(e->ports.timers, t, e->drain_until);
        return;
    }
    void (*drained)(void *a) = e->drained;
    e->drained = NULL;
    drained(e->drained_arg);
}

void engine_stop(struct engine *e, void (*drained)(void *arg), void *arg)
{
    bool idle = list_empty(&e->requests) && list_empty(&e->background);
    e->stopping = true;
    watchers_stop(e->watchers);
    e->drained = drained;
    e->drained_arg = arg;
    e->drain_until = engine_now(e) + (idle ? 0 : e->cfg.request_timeout_us);
    timer_set(e->ports.timers, &e->drain_timer, e->drain_until);
}

void engine_free(struct engine *e)
{
    if (e == NULL)
        return;
    e->drained = NULL;
    keylock_table_shut(e->locks);
    while (!list_empty(&e->requests))
        request_free(container_of(list_first(&e->requests), struct request, link));
    transfers_free(e->transfers); /* ends what is in the list below */
    e->transfers = NULL;
    while (!list_empty(&e->background)) {
        struct background *b = container_of(list_first(&e->background), struct background, link);
        b->abandon(b);
    }
    fragments_free(e->fragments);
    e->fragments = NULL;
    watchers_free(e->watchers);
    scrub_free(e->scrub);
    bad_rows_free(e->bad_rows);
    catchup_free(e->catchup);
    kept_keeper_free(e->kept);
    thin_free(e->thin);
    exchanges_free(e->exchanges);
    reaper_free(e->reaper);
    retirement_free(e->retirement);
    slices_free(e->slices);
    pace_free(e->pace);
    trees_free(e->trees);
    peer_times_free(e->times);
    collector_free(e->collector);
    debts_free(e->sweeper);
    settings_keeper_free(e->settings);
    hints_free(e->hints);
    admission_free(e->admission);
    commit_free(e->commit);
    gossip_free(e->gossip);
    view_free(e->view);
    rumours_release(&e->rumours);
    timer_cancel(e->ports.timers, &e->drain_timer);
    rpc_free(e->rpc);
    detector_free(e->detector);
    keylock_table_free(e->locks);
    mac_free(e->mac);
    ring_unref(e->ring);
    free(e);
}

void engine_store_failed(struct engine *e, int err)
{
    e->failed = err;
}

/* ---- frames ------------------------------------------------------------------------------ */

static void send_ring(struct engine *e, uint64_t origin, uint64_t rid)
{
    struct ring_reply p = {.status = DYN_OK, .node = e->cfg.node};
    struct buf body = BUF_EMPTY;
    history_copy(&p.history, ring_history(e->ring));
    ring_reply_encode(&p, &body);
    ring_reply_release(&p);
    e->ports.net.reply(e->ports.net.ctx, origin, rid, FRAME_RING + FRAME_REPLY, &body);
}

static void receive_request(void *ctx, uint64_t origin, uint64_t from, uint64_t rid, uint8_t type,
                            struct slice body)
{
    struct engine *e = ctx;
    switch (type) {
    case FRAME_GET:
    case FRAME_PUT:
    case FRAME_LIST:
    case FRAME_SYNC:
        request_frame(e, origin, from, rid, type, body);
        return;
    case FRAME_DIRECT_GET:
        direct_get_frame(e, origin, rid, body);
        return;
    case FRAME_BEHIND:
        direct_behind_frame(e, body);
        return;
    case FRAME_INTEREST:
        watchers_interest(e->watchers, origin, rid, body);
        return;
    case FRAME_WATCH:
        watchers_watch(e->watchers, origin, rid, body);
        return;
    case FRAME_RING:
        send_ring(e, origin, rid);
        return;
    case FRAME_ARCHIVE:
        range_archive_frame(e, origin, rid, body);
        return;
    case FRAME_RESTORE:
        restore_frame(e, origin, rid, body);
        return;
    case FRAME_VERSIONS:
        kept_frame(e, origin, rid, type, body);
        return;
    case FRAME_SETTINGS:
        settings_serve(e, origin, rid, body);
        return;
    default:
        if (from != 0) {
            peer_frame(e, origin, from, rid, type, body);
        } else {
            struct buf refusal = BUF_EMPTY;
            peer_status_encode(DYN_ERR_DENIED, &refusal);
            e->ports.net.reply(e->ports.net.ctx, origin, rid, (uint8_t)(type + FRAME_REPLY),
                               &refusal);
        }
    }
}

static void receive_reply(void *ctx, uint64_t rid, uint8_t type, struct slice body)
{
    struct engine *e = ctx;
    rpc_receive(e->rpc, rid, type, body);
}

static void failed(void *ctx, uint64_t rid, int err)
{
    struct engine *e = ctx;
    rpc_failed(e->rpc, rid, err);
}

struct net_events engine_events(struct engine *e)
{
    return (struct net_events){e, receive_request, receive_reply, failed};
}

struct kv_port engine_kv(struct engine *e)
{
    return request_kv(e);
}

struct ring *engine_ring(struct engine *e)
{
    return e->ring;
}

/* ---- what it says of itself -------------------------------------------------------------- */

void engine_stats(const struct engine *e, struct engine_stats *out)
{
    *out = e->stats;
    out->hints_now = hints_total(e->hints);
    out->hints_bytes = hints_bytes(e->hints);
    kept_keeper_stats(e->kept, out);
    out->owed_now = debts_now(e->sweeper);
    reaper_stats(e->reaper, out);
    out->fragments_pending = fragments_pending(e->fragments);
    watchers_stats(e->watchers, out);
    out->thin_now = thin_rows(e->thin);
    out->retired_partitions = retirement_partitions(e->retirement);
}

void engine_propose(struct engine *e, const struct member_event *change,
                    void (*done)(void *arg, int err), void *arg)
{
    commit_propose(e->commit, change, done, arg);
}

void engine_moves(const struct engine *e, struct engine_moves *out)
{
    *out = (struct engine_moves){.moving = ring_moving(e->ring),
                                 .filled_since_start = e->stats.partitions_filled,
                                 .rows_since_start = e->stats.transfer_rows,
                                 .bytes_since_start = e->stats.transfer_bytes,
                                 .disk_is_old = e->disk_is_old,
                                 .voteless = catchup_voteless(e->catchup)};
    for (uint32_t p = 0; out->moving > 0 && p < ring_q(e->ring); p++) {
        const struct move *mv = ring_move(e->ring, p);
        if (mv == NULL)
            continue;
        out->filling_here += move_is_filling(mv, e->cfg.node);
        bool voted = false, stays = false;
        for (uint32_t i = 0; i < mv->n_voters; i++)
            voted |= mv->voters[i] == e->cfg.node;
        for (uint32_t i = 0; i < mv->n_targets; i++)
            stays |= mv->targets[i] == e->cfg.node;
        out->leaving_here += voted && !stays;
    }
}

void engine_background(const struct engine *e, struct admission_stats *out)
{
    admission_stats(e->admission, out);
}

const struct histogram *engine_latency(const struct engine *e, enum engine_latency which)
{
    assert(which < LATENCIES);
    return &e->latencies[which];
}

uint32_t engine_hints(const struct engine *e, struct engine_hints *out, uint32_t cap)
{
    return hints_targets(e->hints, out, cap);
}

/* What is kept for a peer. */
static struct engine_hints hints_for(const struct engine *e, uint64_t node)
{
    struct engine_hints all[64];
    uint32_t n = hints_targets(e->hints, all, 64);
    for (uint32_t i = 0; i < n && i < 64; i++)
        if (all[i].target == node)
            return all[i];
    return (struct engine_hints){.target = node, .count = hints_count(e->hints, node)};
}

uint32_t engine_peers(const struct engine *e, struct engine_peer *out, uint32_t cap)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < ring_member_count(e->ring) && n < cap; i++) {
        uint64_t node = ring_member_at(e->ring, i)->node;
        if (node == e->cfg.node)
            continue;
        struct engine_hints held = hints_for(e, node);
        uint64_t since = detector_down_since_us(e->detector, node);
        out[n++] = (struct engine_peer){.node = node,
                                        .up = detector_up(e->detector, node),
                                        .rtt_us = detector_rtt_us(e->detector, node),
                                        .down_us = since == 0 ? 0 : engine_now(e) - since,
                                        .hints = held.count,
                                        .hint_bytes = held.bytes,
                                        .hint_age_ms = held.oldest_ms};
    }
    return n;
}
