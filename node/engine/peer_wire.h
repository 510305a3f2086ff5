/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of the frames between nodes. Each request carries the sender's ring epoch, and a fence: a
 * receiver with another ring refuses unless both name the same owners of what it is about (E10).
 * Decoding trusts nothing; what a struct holds after a decode is borrowed from the input except
 * objects and arrays. */
#ifndef DYN_ENGINE_PEER_WIRE_H
#define DYN_ENGINE_PEER_WIRE_H

#include "engine/replica/replica.h"

struct peer_put {
    struct history_epoch ring;
    uint64_t fence;    /* engine_fence() of what it is about */
    unsigned roles;    /* enum role */
    uint64_t hint_for; /* not 0: the receiver stands in for this node */
    bool sync;         /* acknowledge only what a sync covers */
    bool owe_entry;
    struct moment born;   /* when the sender had the object from where it is kept (E15) */
    struct slice key;     /* of an object, or only of an entry: then also a fragment's head */
    uint32_t fragment;    /* of the entry */
    struct object object; /* with the values that travel */
    struct clock cut;     /* pairs that the put's coordinator cut (E4) */
};
void peer_put_encode(const struct peer_put *m, struct buf *out);
int peer_put_decode(struct slice body, struct peer_put *m);
void peer_put_release(struct peer_put *m);

/* FRAME_REPLICA_EXTEND: a put, one of whose values the receiver is to make of one that it may hold
 * (engine/replica/extend.h). Where it cannot, it answers as to a put without that value. */
struct peer_extend {
    struct extension base;
    struct dot value_dot; /* of the whole */
    struct slice suffix;  /* what follows the base; not empty */
    struct peer_put put;  /* without that value */
};
void peer_extend_encode(const struct peer_extend *m, struct buf *out);
int peer_extend_decode(struct slice body, struct peer_extend *m);
void peer_extend_release(struct peer_extend *m);

struct peer_put_reply {
    int status;
    bool parent_dead; /* E16 */
    bool differs;     /* the receiver knew more than was sent */
    struct dot *missing;
    uint32_t n_missing;
};
void peer_put_reply_encode(const struct peer_put_reply *m, struct buf *out);
int peer_put_reply_decode(struct slice body, struct peer_put_reply *m);
void peer_put_reply_release(struct peer_put_reply *m);

struct peer_get {
    struct history_epoch ring;
    uint64_t fence; /* engine_fence() of what it is about */
    enum load load;
    bool entry, dir_info;
    struct slice key; /* of an entry: its id */
    struct dot *dots;
    uint32_t n_dots;
    uint64_t value_max; /* larger values are left out; 0: none is */
};
void peer_get_encode(const struct peer_get *m, struct buf *out);
int peer_get_decode(struct slice body, struct peer_get *m);
void peer_get_release(struct peer_get *m);

struct peer_get_reply {
    int status;
    bool implicit_dir;
    bool voteless; /* merged, but it does not count towards R (engine/membership/catchup.h) */
    int64_t dir_mtime_ns;
    struct object object;
    /* Value dots that its keepers have told the sender that they held (engine/thin/superseded.h).
     * Encoding borrows them, decoding allocates. */
    struct dot *vouched;
    uint32_t n_vouched;
};
void peer_get_reply_encode(const struct peer_get_reply *m, struct buf *out);
int peer_get_reply_decode(struct slice body, struct peer_get_reply *m);
void peer_get_reply_release(struct peer_get_reply *m);

struct peer_list {
    struct history_epoch ring;
    uint64_t fence; /* engine_fence() of what it is about */
    struct slice dir, after;
    uint32_t limit;    /* 0: only the directory's mtime */
    uint32_t fragment; /* of the directory */
};
void peer_list_encode(const struct peer_list *m, struct buf *out);
int peer_list_decode(struct slice body, struct peer_list *m);

/* The page is encoded row by row while the store is scanned: peer_list_page_begin, then _row for
 * each, then _end. */
struct peer_list_page {
    struct buf body;
    uint32_t rows;
};
void peer_list_page_begin(struct peer_list_page *p);
void peer_list_page_row(struct peer_list_page *p, struct slice name, const struct object *entry);
struct peer_list_end {
    int status;
    bool more, voteless; /* voteless: as in struct peer_get_reply */
    uint8_t growth;      /* of the directory, as the sender knows it (fragments.h) */
    int64_t dir_mtime_ns;
};
void peer_list_page_end(struct peer_list_page *p, const struct peer_list_end *end);

struct peer_list_reply {
    int status;
    bool more, voteless;
    uint8_t growth;
    int64_t dir_mtime_ns;
    struct list_entry *entries; /* by name, strictly ascending */
    uint32_t n;
};
int peer_list_reply_decode(struct slice body, struct peer_list_reply *m);
void peer_list_reply_release(struct peer_list_reply *m);

struct peer_owed_clear {
    struct slice key;
    uint8_t state[DIGEST_LEN];
};
void peer_owed_clear_encode(const struct peer_owed_clear *m, struct buf *out);
int peer_owed_clear_decode(struct slice body, struct peer_owed_clear *m);

/* FRAME_HOLDS: does the receiver hold these values of a key, and has it seen all that the sender
 * has of it? The reply is a status (thin.h). */
struct peer_holds {
    struct history_epoch ring; /* the sender's */
    uint64_t fence;            /* ring_fence() of the key's partition */
    struct clock clock;
    struct slice key;
    struct dot *dots; /* of values */
    uint32_t n_dots;
};
void peer_holds_encode(const struct peer_holds *m, struct buf *out);
int peer_holds_decode(struct slice body, struct peer_holds *m);
void peer_holds_release(struct peer_holds *m);

/* The reply of FRAME_PING: what the sender's monotonic clock says (peer_time.h). */
struct peer_pong {
    int status;
    struct moment now;
};
void peer_pong_encode(const struct peer_pong *m, struct buf *out);
int peer_pong_decode(struct slice body, struct peer_pong *m);

/* A bare status: the reply of FRAME_OWED_CLEAR, FRAME_FENCED and others. */
void peer_status_encode(int status, struct buf *out);
int peer_status_decode(struct slice body, int *status);

#endif
