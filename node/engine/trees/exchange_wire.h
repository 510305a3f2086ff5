/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of the frames of the exchange (exchange.h). Hashes of inner nodes and of rows travel as
 * their first 64 bits: what escapes one comparison in 2^64 is met again by the next. Decoding
 * trusts nothing, and bounds each count before memory is taken. */
#ifndef DYN_ENGINE_EXCHANGE_WIRE_H
#define DYN_ENGINE_EXCHANGE_WIRE_H

#include "engine/trees/tree.h"

enum {
    TREE_ROOTS_MAX = 1024,             /* partitions in a message */
    TREE_NODES_MAX = 64,               /* nodes in a message */
    TREE_LEAVES_MAX = 16,              /* leaves in a message */
    TREE_LEAVES_REPLY_BYTES = 1 << 20, /* of rows in an answer; those beyond wait for the next */
    TREE_ROWS_MAX = 65536,             /* rows in a message */
};

/* What all three requests open with: trees are comparable only under one ring and one N; or where
 * the rings agree about the partition. */
struct tree_scope {
    struct history_epoch ring;
    uint64_t fence; /* of the partition; 0: the message is about several */
    uint32_t n;
};

/* Which of these partitions have another root at the receiver? */
struct tree_roots {
    struct tree_scope scope;
    uint32_t count;
    uint32_t *partition;
    struct tree_hash *root;
};
void tree_roots_encode(const struct tree_roots *m, struct buf *out);
int tree_roots_decode(struct slice body, struct tree_roots *m);
void tree_roots_release(struct tree_roots *m);

struct tree_roots_reply {
    int status;
    uint32_t count;
    uint32_t *differs; /* indexes into the request */
};
void tree_roots_reply_encode(const struct tree_roots_reply *m, struct buf *out);
int tree_roots_reply_decode(struct slice body, struct tree_roots_reply *m);
void tree_roots_reply_release(struct tree_roots_reply *m);

/* Which children of these nodes of one level differ? */
struct tree_nodes {
    struct tree_scope scope;
    uint32_t partition, level, count;
    struct {
        uint32_t index;
        uint64_t child[TREE_FANOUT];
    } node[TREE_NODES_MAX];
};
void tree_nodes_encode(const struct tree_nodes *m, struct buf *out);
int tree_nodes_decode(struct slice body, struct tree_nodes *m);

struct tree_nodes_reply {
    int status;
    uint32_t count;
    uint16_t differs[TREE_NODES_MAX]; /* a bit for each child */
};
void tree_nodes_reply_encode(const struct tree_nodes_reply *m, struct buf *out);
int tree_nodes_reply_decode(struct slice body, struct tree_nodes_reply *m);

/* The rows of some leaves: which are other ones there? */
struct tree_row_sum {
    uint64_t slot, hash;
};
struct tree_leaves {
    struct tree_scope scope;
    uint32_t partition, count;
    uint32_t leaf[TREE_LEAVES_MAX];
    uint32_t n_rows[TREE_LEAVES_MAX];
    struct tree_row_sum *rows; /* of all leaves, one after the other, each leaf's by slot */
};
void tree_leaves_encode(const struct tree_leaves *m, struct buf *out);
int tree_leaves_decode(struct slice body, struct tree_leaves *m);
void tree_leaves_release(struct tree_leaves *m);
uint32_t tree_leaves_rows(const struct tree_leaves *m); /* how many in all */

/* The reply is made row by row: begin, _row for each, _unknown for each, end. It need not be
 * complete; what it leaves out still differs the next time. */
struct tree_difference {
    enum row_kind kind;
    struct slice key;     /* borrowed from the body */
    struct object object; /* the receiver's; values are not loaded */
};
struct tree_leaves_reply {
    int status; /* DYN_ERR_CORRUPT: some rows could not be read, the others are in it */
    uint32_t count, cap;
    struct tree_difference *rows; /* other ones, or unknown to the sender */
    uint32_t n_unknown;
    uint64_t *unknown; /* slots of the sender's rows that the receiver has nothing for */
};
struct tree_leaves_page {
    struct buf rows;
    uint32_t count, n_unknown;
    struct buf unknown;
};
void tree_leaves_page_row(struct tree_leaves_page *p, enum row_kind kind, struct slice key,
                          const struct object *o);
void tree_leaves_page_unknown(struct tree_leaves_page *p, uint64_t slot);
void tree_leaves_page_end(struct tree_leaves_page *p, int status, struct buf *out); /* releases p */
int tree_leaves_reply_decode(struct slice body, struct tree_leaves_reply *m);
void tree_leaves_reply_release(struct tree_leaves_reply *m);

/* The entry of this key, if it is in exactly this state, is to become that of the object (E18). The
 * reply is a bare status. */
struct entry_mend {
    struct tree_scope scope;
    struct slice key;
    uint8_t state[DIGEST_LEN]; /* object_hash */
    struct object object;      /* absent: there is none */
};
void entry_mend_encode(const struct entry_mend *m, struct buf *out);
int entry_mend_decode(struct slice body, struct entry_mend *m);
void entry_mend_release(struct entry_mend *m);

#endif
