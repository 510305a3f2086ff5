/* SPDX-License-Identifier: Apache-2.0 */
/* The storage engine of one node, sans I/O: it takes events (frames, finished storage calls through
 * their callbacks, timers through struct timers) and asks its ports for effects. One instance
 * belongs to one loop thread. */
#ifndef DYN_ENGINE_ENGINE_H
#define DYN_ENGINE_ENGINE_H

#include "base/clock_port.h"
#include "base/histogram.h"
#include "base/timers.h"
#include "engine/admission.h"
#include "model/kept.h"
#include "model/ring.h"
#include "port/kv.h"
#include "port/net.h"
#include "port/store.h"

/* What an operator should hear of; a function that is NULL is not called. Library code does not
 * log, so the program decides what to say, and how often. */
struct engine_notices {
    void *ctx;
    /* A write left this many versions of the key side by side (E24). */
    void (*many_siblings)(void *ctx, struct slice key, uint32_t n);
};

struct engine_ports {
    struct store_port store;
    struct net_port net;
    struct time_port time;
    struct random_port random;
    struct timers *timers;
    struct engine_notices notices;
};

/* Planted bugs for the simulator's self-test (DESIGN.md 9): each must be caught by the oracle. */
enum engine_bug {
    BUG_NONE = 0,
    BUG_NO_MARK,          /* E1: mints on from the local clock, without epochs */
    BUG_KEEP_MINE,        /* E7: a node keeps its own of two equal siblings, and drops the other */
    BUG_NO_HINT,          /* sloppy acknowledgements without a hint */
    BUG_SKIPPED_SYNC,     /* acknowledges durable writes from the page cache */
    BUG_NO_ENTRY_OWED,    /* E17 */
    BUG_OWN_PAIR,         /* E4: cuts the pair of an epoch that is still open */
    BUG_FORGED,           /* E3: takes a context for what it says, whoever made it */
    BUG_PAGE_CUT,         /* E21: ends a merged page at the largest last name */
    BUG_UNFENCED_MOVE,    /* E10: requests are served whatever ring they were made for */
    BUG_EARLY_FILL,       /* E13: a new owner votes before it has filled */
    BUG_EARLY_REAP,       /* E15: tombstones go at once, whatever is under way or kept somewhere */
    BUG_UNSYNCED_VOTE,    /* E11: votes for reaping are given from the page cache */
    BUG_UNASKED_THIN,     /* E11: values are let go of whatever their keepers say */
    BUG_UNCONFIRMED_MOVE, /* E10: a partition counts as filled though the trees differ, so what
                             a source could not read is missing */
};

/* What the engine asks of the program around it. All may be NULL. */
struct engine_host {
    void *ctx;
    void (*halt)(void *ctx, int err, const char *why); /* this node must stop */
    void (*changed)(void *ctx);                        /* the ring is another one */
};

struct engine_config {
    uint64_t node;
    struct slice secret;        /* the cluster's; copied */
    enum durability durability; /* default for requests that give none */
    bool sloppy;                /* default */
    uint64_t exchange_us; /* each peer's trees are compared once in that time: 60 s; 0: never */
    uint64_t scrub_us;    /* all rows are looked at once in that time: 7 days; 0: never */
    uint64_t slice_us;    /* background work gets one slice in that time: 1 ms */
    uint64_t request_timeout_us; /* default deadline of a client request: 5 s */
    uint64_t
        replica_timeout_us; /* before a replica counts as silent and a stand-in is asked: 500 ms */
    uint64_t history_ms;    /* versions that went stay for so long: a day; 0: none is kept */
    uint64_t history_max, history_key_max; /* bytes of them on this node, and of one key */
    uint64_t value_max;                    /* bytes; default VALUE_LEN_MAX */
    uint64_t extended_max; /* bytes of values that were asked for by what follows others (F27), as
                              long as they are held: over it the whole is to be sent */
    uint64_t frame_values_max;  /* bytes of values in one message between nodes, when there are
                                   several; default 16 MiB */
    uint64_t answer_values_max; /* bytes of values in an answer of several versions: the rest is
                                   left to be asked for by dot (E24); default 48 MiB */
    uint64_t hints_max_bytes;   /* then sloppy acknowledgements are refused (E25) */
    uint64_t owed_delay_us;     /* 10 s (E17) */
    uint64_t owed_sweep_us;     /* how often debts are looked at: 1 s */
    uint64_t collect_us;        /* between rounds that look for chunks nobody names: 60 s */
    uint64_t collect_lease_ms, collect_grace_ms; /* UPLOAD_LEASE_S, UPLOAD_GRACE_S */
    uint64_t reap_us;       /* between rounds that reap tombstones: 10 s; 0: none */
    uint64_t reap_after_ms; /* a tombstone stays at least so long: 15 min, for mounts remember
                                 what they have seen for 10 (E22) */
    uint64_t retired_us;    /* what a node owns no more is kept so long (E10): 24 h; 0: for ever */
    uint64_t thin_us;       /* between looks for values that other nodes keep: 10 s (thin.h) */
    uint64_t message_life_us; /* what was read longer ago makes no new row (E15): 60 s */
    uint32_t requests_max;    /* client requests in flight; more are answered DYN_ERR_OVERLOAD */
    uint32_t clock_pairs;     /* clocks longer than this are truncated at puts (E4) */
    uint64_t clock_age_ms;    /* of their pairs that are at least this old */
    uint64_t background_target_us; /* of the foreground's p99, see admission.h; 0: no control */
    uint64_t gossip_us;            /* one round in about so long: 1 s; 0: none */
    uint32_t fragment_entries;     /* a directory's fragment that has more is split (fragments.h):
                                  50,000; 0: never */
    uint32_t fragment_rate;        /* and one whose entries change more often, a second: 1,000;
                                  0: never */
    const char *const *seeds; /* addresses, borrowed: asked now and then, so that two halves of a
                                 cluster that do not know each other meet */
    uint32_t n_seeds;
    struct engine_host host;
    enum engine_bug bug;
};
void engine_config_defaults(struct engine_config *c);

struct engine;
struct engine *engine_new(const struct engine_config *cfg, const struct engine_ports *ports,
                          struct ring *ring /* referenced */);
/* Reads hints, debts and the epoch lease from the store, draws this start's epoch; ready(arg, err)
 * runs once, then requests are served. lost_tail: what was acknowledged before it was synced may be
 * gone from the disk (E13). */
void engine_start(struct engine *e, bool lost_tail, void (*ready)(void *arg, int err), void *arg);
/* No new requests; drained(arg) runs when what is in flight has ended, at the latest after the
 * request timeout. */
void engine_stop(struct engine *e, void (*drained)(void *arg), void *arg);
void engine_free(struct engine *e);

struct net_events engine_events(struct engine *e);   /* for the network adapter */
struct kv_port engine_kv(struct engine *e);          /* for the HTTP front */
struct ring *engine_ring(struct engine *e);          /* borrowed */
void engine_store_failed(struct engine *e, int err); /* the store's `failed`: minting stops */

struct engine_stats {
    uint64_t gets, puts, deletes, lists, coordinated, forwarded;
    uint64_t failed_no_quorum, failed_timeout;
    uint64_t read_repairs, stale_replies,
        sibling_reads[4];  /* reads that saw 1, 2, 3, 4 or more versions */
    uint64_t stale_reads;  /* in which some replica that answered was behind */
    uint64_t hint_refused; /* writes refused because the hint store is full (E25) */
    uint64_t exchanges;    /* sessions with a peer that ended well */
    uint64_t exchange_differing, exchange_repaired; /* rows */
    uint64_t scrub_rounds, scrub_rows, scrub_bytes;
    uint64_t scrub_bad_leaves, scrub_bad_values, scrub_healed; /* healed: of the values */
    uint64_t bad_rows, bad_rows_mended; /* of objects: found unreadable, and replaced */
    uint64_t scrub_owed, scrub_ghosts;  /* entries behind their objects, and ahead of them */
    uint64_t exchange_bytes;       /* of questions and answers, not of what they set in motion */
    uint64_t kept_now, kept_bytes; /* versions that went, and are kept (model/kept.h) */
    uint64_t hints_stored, hints_drained, hints_now, hints_bytes;
    uint64_t reconciled;      /* conflicts settled by the rule of a directory */
    uint64_t values_extended; /* made of one that was here, and what came (F27) */
    uint64_t bases_lacking;   /* which was not here, or was bad: the whole had to be sent */
    uint64_t late_copies;     /* of puts whose first copy had gone: not made, or dropped (F9) */
    uint64_t wide_writes,
        refused_wide; /* beside 100 versions or more; refused beside 1,000 (E24) */
    uint64_t owed_now, owed_projected, implicit_dirs;
    uint64_t chunks_collected;
    uint64_t fragment_moves, fragments_pending; /* entries that moved; directories not at rest */
    uint64_t in_flight;
    uint64_t gossip_sent, gossip_exchanges;
    uint64_t partitions_filled, transfer_rows, transfer_bytes;
    uint64_t direct_gets, told_behind; /* for clients that coordinate by themselves */
    /* Reaping. Gauges of the last round first: those here, and of those that this node leads. */
    uint64_t tombstones, tombstones_young, tombstones_prepared;
    uint64_t reap_blocked_away, reap_blocked_hints, reap_blocked_copies, reap_blocked_moving,
        reap_blocked_differ;
    uint64_t reap_prepared, reap_cancelled, reaped, reaped_entries, reap_too_old;
    uint64_t watch_sessions, watch_dirs, watch_bytes; /* of clients that are told of changes */
    uint64_t watch_answers, watch_events, watch_wholesale, watch_refused;
    uint64_t retired_partitions, retired_rows; /* kept now; dropped so far */
    /* N by directory (thin.h): values let go, rows whose values were fetched back, thin rows now */
    uint64_t thin_let_go, thin_fetched, thin_now;
};
void engine_stats(const struct engine *e, struct engine_stats *out);

struct engine_transfer { /* a partition on its way to this node */
    uint32_t partition;
    uint64_t source; /* who is asked now; 0: nobody */
    bool runs, filled;
    uint32_t permille; /* of its range, over all sources that are needed */
    uint64_t rows, bytes;
};
uint32_t engine_transfers(const struct engine *e, struct engine_transfer *out, uint32_t cap);

/* What all replicas keep of a key's former versions. done runs once, later, the reply is borrowed;
 * it cannot be called off. */
void engine_kept(struct engine *e, const struct kept_request *q,
                 void (*done)(void *arg, const struct kept_reply *reply), void *arg);

/* Has a change chosen, as in engine/membership/commit.h. */
void engine_propose(struct engine *e, const struct member_event *change,
                    void (*done)(void *arg, int err), void *arg);

struct engine_moves {
    uint64_t moving; /* partitions that are not settled, in the whole cluster */
    uint64_t filling_here, leaving_here;
    uint64_t filled_since_start, rows_since_start, bytes_since_start;
    bool disk_is_old;
    uint32_t voteless; /* partitions whose copies here do not count towards R yet (E2, E13) */
};
void engine_moves(const struct engine *e, struct engine_moves *out);

/* How long client requests took at this node, from their arrival to their answer, us. */
enum engine_latency { LATENCY_GET, LATENCY_PUT, LATENCY_LIST, LATENCIES };
const struct histogram *engine_latency(const struct engine *e, enum engine_latency which);

/* What admission control grants to background work. */
void engine_background(const struct engine *e, struct admission_stats *out);

/* Hints held here, by target. */
struct engine_hints {
    uint64_t target, count, bytes, oldest_ms; /* oldest: its age */
};
/* Returns how many targets there are, of which at most cap are written. */
uint32_t engine_hints(const struct engine *e, struct engine_hints *out, uint32_t cap);

struct engine_peer {
    uint64_t node;
    bool up;
    uint64_t rtt_us, down_us; /* smoothed; how long thought down */
    uint64_t hints;           /* held here for it */
    uint64_t hint_bytes, hint_age_ms;
};
uint32_t engine_peers(const struct engine *e, struct engine_peer *out,
                      uint32_t cap); /* every member but this node */

#endif
