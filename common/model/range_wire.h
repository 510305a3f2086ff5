/* SPDX-License-Identifier: Apache-2.0 */
/* A partition on its way elsewhere: to a new owner (FRAME_RANGE_LIST, FRAME_RANGE_FETCH), or into
 * an archive and back (FRAME_ARCHIVE, FRAME_RESTORE). First what there is, row by row in the
 * store's order with a hash of each state, then the states that are wanted. So a piece can be asked
 * for again, of the same node or of another, and costs little where both sides agree. A new owner
 * that has nothing yet asks for no rows by name, and gets all of them, in order.
 *
 * States that leave the cluster are sealed: an authenticator of a node over cluster, key and state
 * goes with each. Clients never send objects (E3), for whoever makes up a clock can cover what is
 * yet to be written; with its seal a state may come back through any client, and nothing else.
 * Values need none: the state has their digests.
 *
 *   row    = u8 kind, bytes key, hash[16]                                           in a list
 *            u8 kind, bytes key, object, values                                     in a piece
 *            u8 kind, bytes key, varint prefix, bytes object, seal[16], values      sealed
 *
 * A state whose values are too many for one message goes as several sealed rows, each with some of
 * the values, and a prefix: how many of the siblings are covered so far (object_prefix). 0: all. */
#ifndef DYN_MODEL_RANGE_WIRE_H
#define DYN_MODEL_RANGE_WIRE_H

#include "base/buf.h"
#include "base/digest.h"
#include "model/history.h"
#include "model/object.h"

#define RANGE_ROWS_MAX 1024u
#define RANGE_BYTES_MAX (1u << 20) /* of one piece; the state that passes it is still in */

enum range_kind { RANGE_OBJECT = 'o', RANGE_ENTRY = 'e' };
enum range_form { RANGE_HASHES = 0, RANGE_STATES = 1, RANGE_SEALED = 2 };

struct range_row {
    uint8_t kind;     /* enum range_kind */
    struct slice key; /* of an entry: its id (engine/fragments/entry_place.h) */
    uint8_t hash[DIGEST_LEN];
    struct object object; /* in a piece only, owned; of a sealed row always the whole state */
    uint32_t prefix;      /* sealed: as above */
    struct slice encoded; /* sealed: the object as it was sealed; borrowed */
    uint8_t seal[DIGEST_LEN];
    struct slice raw; /* sealed: the row's own bytes; borrowed */
};

struct range_request {
    struct history_epoch ring;
    uint64_t fence;
    uint32_t partition;
    struct slice after;     /* the cursor of the piece before; empty: from the start */
    struct range_row *rows; /* fetch: which; keys borrowed from the input; none: in order */
    uint32_t n;
};
void range_request_encode(const struct range_request *q, struct buf *out);
int range_request_decode(struct slice body, struct range_request *q);
void range_request_release(struct range_request *q);

/* A list has hashes, a piece has objects with their values; both end with a digest of the bytes
 * before it. A piece may hold fewer rows than were asked for, but the first of them. */
struct range_reply {
    int status;
    enum range_form form;
    struct range_row *rows; /* keys borrowed from the input, objects owned */
    uint32_t n;
    bool more;           /* list, and what comes in order */
    struct slice cursor; /* where it ended; borrowed */
};
int range_reply_decode(struct slice body, struct range_reply *p);
void range_reply_release(struct range_reply *p);

/* A reply is built up while the store is read: header, rows, and at its end the number of rows,
 * the cursor and the digest. */
void range_reply_begin(struct buf *out, enum range_form form);
void range_reply_end(struct buf *out, int status, uint32_t rows, bool more, struct slice cursor);
void range_name_put(const struct range_row *row, struct buf *out);

/* ---- sealed rows ------------------------------------------------------------------------- */

void range_seal(struct mac *mac, uint64_t cluster, uint8_t kind, struct slice key,
                struct slice encoded, uint8_t out[DIGEST_LEN]);
/* values: whose loaded values go along; its siblings are those of what `encoded` encodes. */
void range_sealed_put(const struct range_row *row, const struct object *values, struct buf *out);
/* The reader fails on any broken rule; row->object is released by the caller in any case. */
void range_sealed_read(struct reader *r, struct range_row *row);

/* FRAME_ARCHIVE: what an archive asks of one node. The reply to ROOT is an archive_root, to
 * STANDS_IN an archive_targets, to the others a range_reply. */
enum archive_op {
    ARCHIVE_ROOT = 1,      /* the root of the partition's tree here */
    ARCHIVE_LIST = 2,      /* the objects that this node has, with hashes */
    ARCHIVE_HINTED = 3,    /* those that it keeps for `target`; without hashes (zeros) */
    ARCHIVE_FETCH = 4,     /* states, sealed */
    ARCHIVE_STANDS_IN = 5, /* for whom this node keeps hints: an archive_targets */
};
struct archive_request {
    enum archive_op op;
    uint64_t target; /* HINTED */
    struct range_request range;
};
void archive_request_encode(const struct archive_request *q, struct buf *out);
int archive_request_decode(struct slice body, struct archive_request *q);

struct archive_root {
    int status; /* DYN_ERR_NOT_FOUND: its trees are still being built; DYN_ERR_OVERLOAD: it has no
                   vote on the partition, for it may have forgotten what it acknowledged */
    uint64_t a, b;
};
void archive_root_encode(const struct archive_root *p, struct buf *out);
int archive_root_decode(struct slice body, struct archive_root *p);

#define ARCHIVE_TARGETS_MAX 4096u
struct archive_targets {
    int status;
    uint64_t *nodes; /* owned */
    uint32_t n;
};
void archive_targets_encode(const struct archive_targets *p, struct buf *out);
int archive_targets_decode(struct slice body, struct archive_targets *p);
void archive_targets_release(struct archive_targets *p);

/* FRAME_RESTORE: rows with the seal of the cluster that is asked. Each has its own status. */
struct restore_request {
    struct range_row *rows; /* as range_sealed_read leaves them */
    uint32_t n;
};
/* A request is a head, then rows as range_sealed_put writes them, or as they lie in an archive. */
void restore_request_begin(struct buf *out, uint32_t rows);
int restore_request_decode(struct slice body, struct restore_request *q);
void restore_request_release(struct restore_request *q);

struct restore_reply {
    int status; /* of the whole: DYN_OK, and each row says how it went */
    int *rows;  /* owned */
    uint32_t n;
};
void restore_reply_encode(const struct restore_reply *p, struct buf *out);
int restore_reply_decode(struct slice body, struct restore_reply *p);
void restore_reply_release(struct restore_reply *p);

#endif
