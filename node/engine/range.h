/* SPDX-License-Identifier: Apache-2.0 */
/* A partition as it is given to its new owner (E10): first what there is, row by row in the store's
 * order with a hash of each state, then the states that the receiver lacks. So a piece can be asked
 * for again, by the same node after a crash or of another source, and costs little where both
 * sides agree; and all that arrives is merged by key like any other write.
 *
 * Bodies of FRAME_RANGE_LIST, FRAME_RANGE_FETCH and FRAME_FENCED, and the side that serves them. */
#ifndef DYN_ENGINE_RANGE_H
#define DYN_ENGINE_RANGE_H

#include "engine/replica.h"

#define RANGE_ROWS_MAX 256u
#define RANGE_BYTES_MAX (1u << 20) /* of one piece; the state that passes it is still in */

struct range_row {
    enum row_kind kind; /* ROW_OBJECT or ROW_ENTRY */
    struct slice key;   /* of an entry: its id (entry_place.h) */
    uint8_t hash[DIGEST_LEN];
    struct object object; /* in a piece only */
};

struct range_request {
    struct history_epoch ring;
    uint64_t fence;
    uint32_t partition;
    struct slice after;     /* list: the cursor of the piece before; empty: from the start */
    struct range_row *rows; /* fetch: which; keys borrowed from the input */
    uint32_t n;
};
void range_request_encode(const struct range_request *q, struct buf *out);
int range_request_decode(struct slice body, struct range_request *q);
void range_request_release(struct range_request *q);

/* A list has hashes, a piece has objects with their values; both end with a digest of the bytes
 * before it. A piece may hold fewer rows than were asked for, but the first of them. */
struct range_reply {
    int status;
    bool objects;
    struct range_row *rows; /* keys borrowed from the input, objects owned */
    uint32_t n;
    bool more;           /* list */
    struct slice cursor; /* list: where it ended; borrowed */
};
int range_reply_decode(struct slice body, struct range_reply *p);
void range_reply_release(struct range_reply *p);

/* "Do you agree about who holds these?" */
struct fence_list {
    uint32_t *partitions;
    uint64_t *fences;
    uint32_t n;
};
void fence_list_encode(const struct fence_list *l, struct buf *out);
int fence_list_decode(struct slice body, struct fence_list *l);
void fence_list_release(struct fence_list *l);

/* Frames from peers. */
void range_frame(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type, struct slice body);

#endif
