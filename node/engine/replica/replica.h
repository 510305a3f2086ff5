/* SPDX-License-Identifier: Apache-2.0 */
/* One node's own copy of a key: reading it, and merging or minting into it, in per-key order and
 * one batch per write. Coordinators call these directly for their own node; peers reach them by
 * REPLICA_ frames (peer_frames.h). */
#ifndef DYN_ENGINE_REPLICA_H
#define DYN_ENGINE_REPLICA_H

#include "engine/core.h"
#include "engine/trees/tree.h"

/* As what does a node hold a write: as a replica of the object, of its entry in the parent, or
 * both. */
enum role { ROLE_OBJECT = 1, ROLE_ENTRY = 2 };

/* What lies under a dead directory is looked at so far while others wait for its lock, or read the
 * key: a directory that had a million files has as many dead entries, until they are reaped. */
#define CHILDREN_ROWS_MAX 1024u
#define CHILDREN_BYTES_MAX (1u << 20)

struct replica_write;

/* Changes `current` (the stored object, values not loaded) and its mark, in the middle of the
 * critical section. Any error ends the write with nothing stored. Called at most once. */
typedef int (*replica_mutate)(struct replica_write *w, struct object *current, struct epoch *mark);

struct replica_write { /* caller-owned; must stay put until done */
    /* set by the caller */
    struct engine *e;
    struct slice key;  /* borrowed until done; with ROLE_ENTRY alone also a fragment's head */
    uint32_t fragment; /* in which the entry lies (entry_place.h) */
    unsigned roles;
    const struct object *incoming; /* merged in; borrowed until done; NULL with mutate */
    replica_mutate mutate;         /* instead of incoming, ROLE_OBJECT only or both */
    uint64_t hint_for;             /* not 0: held for this node, which must get it later */
    bool owe_entry;                /* record that the entry has not reached its replicas (E17) */
    const struct clock *cut;       /* what the put's coordinator cut (E4), incoming still has it;
                                      borrowed; may be NULL */
    enum store_sync sync;
    bool heal;              /* values that the row lacks count as missing */
    bool mend;              /* a row that cannot be read counts as absent: for bad_rows.h alone */
    const struct dot *lost; /* value dots found missing or rotten: lacking from now on (E19) */
    uint32_t n_lost;
    /* Value dots that are thin in the row from now on (thin.h): others keep them, or, where none of
     * them is at hand, nobody has them any more. Not under another ring than `generation`'s, which
     * the caller sets then: DYN_ERR_REFUSED. */
    const struct dot *thin;
    uint32_t n_thin;
    const uint8_t *thin_if; /* and only of an object in this state: DYN_ERR_REFUSED; may be NULL */
    bool heal_thin;         /* with heal: thin values count as missing too */
    /* The entry becomes `incoming`, nothing joined, if it is in exactly this state (E18). */
    const uint8_t *only_if;
    /* When `incoming` was read from where it came, at the latest, by this node's monotonic clock;
     * 0: it is new. What is too old makes no new row: it may have been deleted and reaped since
     * (E15), DYN_ERR_STALE. */
    uint64_t born_us;
    /* The new state has been handed to the store: object, parent_dead and the rest are known, the
     * acknowledgement is not. May be NULL; runs before done, without locks. */
    void (*handed)(struct replica_write *w);
    void (*done)(struct replica_write *w, int err); /* may run inside replica_write_start */
    void *arg;

    /* results, valid in done when err is DYN_OK; object is released by replica_write_release */
    struct object object; /* what is stored now; with the values that came in or were minted */
    bool changed;         /* something was stored */
    bool parent_dead;     /* the entry is live and its directory is not (E16) */
    bool entry_live_changed;
    struct dot *missing; /* value dots without which nothing was stored (E24): send them along */
    uint32_t n_missing;

    /* private */
    struct place at, at_dir;
    struct slice dir, name, id;    /* id: the entry's */
    struct buf id_bytes, children; /* children: where the rows of what lies under it begin */
    struct keylock key_lock, own_dir_lock, parent_lock;
    struct object stored, entry;   /* as read */
    bool entry_gains;              /* what came says more than it did */
    struct tree_hash entry_was;    /* what the entry counted for in its tree */
    struct row_state state, after; /* of the object's row: as read, and what it becomes */
    struct dot *kept;              /* value dots of the versions that go, and are kept (kept.h) */
    uint32_t n_kept;
    bool keep_none; /* there is no room for that */
    bool replaces;  /* with mend: the row could not be read */
    struct epoch mark;
    bool was_live, entry_was_live, orphans, hint_current, handing_over, acknowledged;
    int ack_err;
    uint64_t hint_was, hint_bytes; /* what the hint counted before, and counts now */
    uint64_t hint_since_ms;        /* of the hint before */
    uint64_t dirstat, live_here;   /* of the directory's fragment; live_here: entries */
    uint64_t generation, fence;    /* the ring it was let in under: another one's owners end it;
                                      generation: with thin it is the caller's */
    struct buf row;                /* key of the read in progress */
    struct store_get get;
    struct store_scan scan;
    struct store_write write;
    int stage;
};
void replica_write_start(struct replica_write *w);
void replica_write_release(struct replica_write *w);
/* Of the file that makes the rows of what has changed (replica_batch.c). */
void replica_batch_rows(struct replica_write *w, struct store_batch *b);
/* Does the entry come to life or die, so that its directory counts another number? */
bool replica_liveness_changed(const struct replica_write *w);
/* Of the file that says what is owed (replica_debts.c). */
void replica_batch_debts(struct replica_write *w, struct store_batch *b);
/* Of the file that keeps the books of values not held (replica_lacks.c). */
bool replica_names_value(const struct replica_write *w, const struct dot *value_dot);
bool replica_holds_value(const struct replica_write *w, const struct dot *value_dot);
/* A value of this node's was found missing or rotten: the row will say so. In the background. */
void replica_lost(struct engine *e, struct slice key, const struct dot *value_dot);
bool replica_gives_up(const struct replica_write *w, const struct dot *value_dot); /* thin, now */
bool replica_update_lacks(struct replica_write *w);    /* true: they are others now */
void replica_collect_missing(struct replica_write *w); /* the values to be sent along */
/* Of the file that keeps what goes (kept.c). In the batch that stores w->object over w->stored: the
 * rows of what is kept; w->after says so. */
void kept_batch(struct replica_write *w, struct store_batch *b);
bool kept_value(const struct replica_write *w, const struct dot *value_dot); /* it stays */
void kept_handed(struct replica_write *w); /* the store has the batch */
/* It has refused it for want of room: without what was to be kept, then. False: there is nothing
 * such. */
bool kept_give_up(struct replica_write *w);

/* Which values a read loads. */
enum load { LOAD_NONE, LOAD_NEWEST, LOAD_ALL, LOAD_DOTS };

struct replica_read { /* caller-owned; must stay put until done */
    struct engine *e;
    struct slice key; /* with entry: the entry's id; borrowed until done */
    enum load load;
    const struct dot *dots; /* LOAD_DOTS: value dots; borrowed */
    uint32_t n_dots;
    uint64_t value_max; /* values of more bytes stay unloaded; 0: none does */
    bool entry;    /* read the entry's row instead: what this node holds of it as a replica of the
                      parent */
    bool dir_info; /* also what lies under the key as a directory; of a head, in its fragment */
    bool orphans;  /* with dir_info: also what lies under a live file, where a directory was */
    void (*done)(struct replica_read *r, int err); /* may run inside replica_read_start */
    void *arg;

    struct object object; /* results; released by replica_read_release */
    struct row_state state;
    bool implicit_dir;
    int64_t dir_mtime_ns;

    struct place at;
    struct slice entry_key; /* the key in the id */
    uint32_t fragment;
    struct keylock lock;
    struct buf row;
    struct store_get get;
    struct store_scan scan;
    uint32_t next_sibling;
    uint64_t loaded; /* bytes of values: what goes over frame_values_max stays unloaded */
};
void replica_read_start(struct replica_read *r);
void replica_read_release(struct replica_read *r);

#endif
