/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's own files share: the engine itself, and the few things that all of them ask.
 * Private to node/engine/. */
#ifndef DYN_ENGINE_CORE_H
#define DYN_ENGINE_CORE_H

#include "base/digest.h"
#include "base/list.h"
#include "engine/admission.h"
#include "engine/engine.h"
#include "engine/replica/keylock.h"
#include "engine/replica/rows.h"
#include "model/detector.h"
#include "model/rpc.h"
#include "model/rumours.h"

#define N_MAX 8 /* replicas of one key; ring_preference_list precomputes up to this */

struct hint_ledger;
struct debt_sweeper;
struct collector;
struct reaper;
struct retirement;
struct peer_times;
struct settings_keeper;
struct fragments;
struct trees;
struct commit;
struct gossip;
struct transfers;
struct view;
struct slices;
struct pace;
struct exchanges;
struct catchup;
struct scrub;
struct kept_keeper;
struct watchers;
struct thin_keeper;

struct engine {
    struct engine_config cfg;
    struct engine_ports ports;
    struct ring *ring;
    struct mac *mac;
    struct keylock_table *locks;
    struct rpc *rpc;
    struct detector *detector;
    struct hint_ledger *hints;
    struct debt_sweeper *sweeper;
    struct collector *collector;
    struct reaper *reaper;
    struct retirement *retirement;
    struct peer_times *times;
    struct settings_keeper *settings;
    struct fragments *fragments;
    struct admission *admission;
    struct list settling; /* struct settling.link: keys whose conflict is being settled */
    uint32_t n_settling;
    uint32_t late_drops; /* of late copies, under way (late_copy.h) */
    struct trees *trees;
    struct slices *slices;
    struct pace *pace; /* of moves */
    struct exchanges *exchanges;
    struct catchup *catchup;
    struct scrub *scrub;
    struct bad_rows *bad_rows;
    struct kept_keeper *kept;
    struct watchers *watchers;
    struct thin_keeper *thin;

    /* membership */
    struct rumours rumours; /* the history in it may be ahead of the ring: see view.h */
    struct view *view;
    struct gossip *gossip;
    struct commit *commit;
    struct transfers *transfers;
    uint64_t generation; /* counts rings */
    bool disk_is_old;    /* a later start of this node is known than its disk remembers (E2) */
    bool halted, whois_asks;

    /* minting (E1, E2) */
    uint64_t boot;
    uint64_t next_run, lease_end, lease_asked; /* running numbers of this start's epochs */
    struct store_write lease_write;

    /* life */
    bool serving, stopping;
    bool lost_tail; /* by this start: see catchup.h */
    int failed;     /* the store's error, after which nothing is minted or stored */
    void (*ready)(void *arg, int err);
    void *ready_arg;
    void (*drained)(void *arg);
    void *drained_arg;
    struct timer drain_timer;
    uint64_t drain_until; /* monotonic, us */
    struct store_get start_get;
    struct list requests; /* struct request.link, all in flight */
    uint64_t next_request_id;
    struct list deliveries; /* struct delivery.link: of puts to other nodes, oldest first */
    uint32_t deliveries_waiting;
    uint64_t extended_bytes; /* of values that are being made, or were (extend.h) */
    struct list background;  /* struct background.link: coordinators that outlive their requests */
    struct engine_stats stats;
    struct histogram latencies[LATENCIES];
    uint32_t told_behind; /* repairs under way that clients asked for */
};

static inline uint64_t engine_now(const struct engine *e)
{
    return e->ports.time.mono_us(e->ports.time.ctx);
}

static inline uint64_t engine_wall_ns(const struct engine *e)
{
    return e->ports.time.wall_ns(e->ports.time.ctx);
}

static inline uint64_t engine_wall_ms(const struct engine *e)
{
    return engine_wall_ns(e) / 1000000;
}

/* A fresh epoch, never given before (E1). DYN_ERR_STOPPED after a failed store, DYN_ERR_OVERLOAD
 * when the lease is used up before its renewal is on disk. */
int engine_fresh_epoch(struct engine *e, struct epoch *out);

/* What a request's options mean here: zeros replaced by settings. */
struct quorum {
    uint32_t n, r, w;
    enum durability durability;
    bool sloppy;
    uint64_t timeout_us;
    uint8_t reconcile; /* enum reconcile */
};
/* What is not given is what the directories above key say, then the cluster. DYN_ERR_INVALID when r
 * or w is over n, or n over N_MAX or the cluster's members. */
int engine_quorum(const struct engine *e, const struct request_options *opt, struct slice key,
                  struct quorum *out);

/* Takes out of a clock what a put may have cut of it since (E4): what is asked to be seen again is
 * asked for without. */
void engine_forget_cut(const struct engine *e, struct clock *c);

/* Background work that engine_stop waits for and engine_free ends: first member of its struct. */
struct background {
    struct list link;
    void (*abandon)(struct background *b); /* frees it without further effects */
};
void background_add(struct engine *e, struct background *b, void (*abandon)(struct background *b));
void background_end(struct engine *e, struct background *b);

/* A call that has gone unanswered for a replica timeout: its node counts as silent from now on,
 * though the answer may still come and will be taken. */
void engine_note_silence(struct engine *e, const struct rpc_call *call);

/* This node must not go on: its host is told, once. why: static. */
void engine_halt(struct engine *e, int err, const char *why);
/* May this node's copy of the key (ROLE_OBJECT), or of its entry (ROLE_ENTRY), count towards R? */
bool engine_votes(const struct engine *e, enum row_kind kind, struct slice id);
/* The network learns where everybody in the ring is. */
void engine_tell_addresses(struct engine *e);
/* Another ring is in use: who depends on it looks again. */
void engine_ring_changed(struct engine *e);

/* Sends a request whose answer nobody waits for (it still tells the detector of the peer's health).
 * body is taken. */
void engine_tell(struct engine *e, uint64_t node, uint8_t type, struct buf *body);

#endif
