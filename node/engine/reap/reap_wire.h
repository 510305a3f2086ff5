/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of FRAME_REAP and FRAME_REAP_CLEAR (reap.h). Both are served under exactly the sender's
 * ring only. Decoding trusts nothing, and bounds each count before memory is taken. */
#ifndef DYN_ENGINE_REAP_WIRE_H
#define DYN_ENGINE_REAP_WIRE_H

#include "engine/core.h"

enum {
    REAP_ITEMS_MAX = 512,       /* rows in a message */
    REAP_PARTITIONS_MAX = 1024, /* partitions in a message */
};

enum reap_step {
    REAP_LOOK = 1,    /* for this node's own eyes: a vote that nothing stands behind */
    REAP_VOTE = 2,    /* in which state is the row, on disk? */
    REAP_PREPARE = 3, /* all replicas are in this state: mark it */
    REAP_DROP = 4,    /* all are prepared, and nothing older is left anywhere: it goes */
};

enum reap_verdict {
    REAP_NO = 1,       /* another state, or something is owed: not now */
    REAP_ABSENT = 2,   /* there is no such row, or no more */
    REAP_HOLDS = 3,    /* this state, on disk */
    REAP_PREPARED = 4, /* and prepared, not for long enough yet */
    REAP_RIPE = 5,     /* and prepared for longer than any message lives */
};

struct reap_item {
    enum row_kind kind;
    struct slice key;          /* decoded: borrowed */
    uint8_t state[DIGEST_LEN]; /* object_hash; an entry that is voted on: zeros, any dead one */
};
struct reap_request {
    struct history_epoch ring;
    enum reap_step step;
    struct reap_item *items;
    uint32_t n;
};
void reap_request_encode(const struct reap_request *m, struct buf *out);
int reap_request_decode(struct slice body, struct reap_request *m);
void reap_request_release(struct reap_request *m);

struct reap_vote {
    enum reap_verdict verdict;
    uint8_t state[DIGEST_LEN]; /* that the row is in; zeros where there is none */
};
struct reap_reply {
    int status;
    struct reap_vote *votes; /* in the order of the items */
    uint32_t n;
};
void reap_reply_encode(const struct reap_reply *m, struct buf *out);
int reap_reply_decode(struct slice body, struct reap_reply *m);
void reap_reply_release(struct reap_reply *m);

enum reap_kept {
    REAP_CLEAR = 1,  /* nothing of this partition is kept here for others, on disk too */
    REAP_HINTS = 2,  /* hints are */
    REAP_COPIES = 3, /* rows, though this node owns it no more */
};
struct clear_request {
    struct history_epoch ring;
    uint32_t *partitions;
    uint32_t n;
};
void clear_request_encode(const struct clear_request *m, struct buf *out);
int clear_request_decode(struct slice body, struct clear_request *m);
void clear_request_release(struct clear_request *m);

struct clear_reply {
    int status;
    uint8_t *kept; /* enum reap_kept, in the order of the partitions */
    uint32_t n;
};
void clear_reply_encode(const struct clear_reply *m, struct buf *out);
int clear_reply_decode(struct slice body, struct clear_reply *m);
void clear_reply_release(struct clear_reply *m);

#endif
