/* SPDX-License-Identifier: Apache-2.0 */
/* The binary protocol: a batch of frames per POST, and the body of each frame. Everything is
 * decoded as hostile: every length is bounded before memory is taken.
 *
 *   batch  = "DYN1" u64 cluster, u64 from, u64 to, mac[16], frame*          (request)
 *            "DYN1" u64 cluster, u64 from, u64 to, frame*                   (response, streamed)
 *   frame  = u8 type, u32 length, u64 rid, body[length]
 *
 * from is 0 for clients, whose batches carry a zero mac and may hold client frames only. to names
 * the node id the sender means (E12); 0 only for FRAME_RING, asked of a seed whose id is not known
 * yet: such a peer has a number up to NODE_SEED_MAX in place of a node id, and its batches say
 * to = 0. cluster is 0 as long as a client does not know it. The mac of a peer's batch is keyed
 * with the cluster secret over everything else.
 *
 * A body opens with a format byte (wire_codec.h): fields are appended, and unknown ones at the end
 * are ignored. */
#ifndef DYN_MODEL_WIRE_H
#define DYN_MODEL_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "model/context.h"
#include "model/extension.h"
#include "model/history.h"
#include "model/object.h"

#define BATCH_PREFIX_LEN 28 /* magic, cluster, from, to */
#define BATCH_HEADER_LEN 44 /* of a request: the prefix and the mac */
#define FRAME_HEADER_LEN 13
#define FRAME_LEN_MAX (64u << 20)
#define LIST_LIMIT_MAX 10000
#define LIST_CURSOR_MAX 4096
#define REQUEST_TIMEOUT_MS_MAX 60000 /* what a request asks for beyond it is cut to it */
#define NODE_SEED_MAX 1024           /* 1 to this are no node ids: they number a client's seeds */

enum frame_type {
    /* between nodes */
    FRAME_REPLICA_PUT = 1,
    FRAME_REPLICA_GET = 2,
    FRAME_REPLICA_LIST = 3,
    FRAME_OWED_CLEAR = 5,
    FRAME_TREE_ROOTS = 7,
    FRAME_TREE_NODES = 8,
    FRAME_TREE_LEAVES = 9,
    FRAME_ENTRY_MEND = 10,
    FRAME_REAP = 11, /* one step of the reaping of some tombstones (engine/reap/reap_wire.h) */
    FRAME_REAP_CLEAR = 12, /* does the receiver keep anything of these partitions for others? */
    FRAME_PING = 6,
    FRAME_HINTS = 21,          /* empty; DYN_OK: the receiver keeps no hint for anybody */
    FRAME_REPLICA_EXTEND = 30, /* as FRAME_REPLICA_PUT, of a value that extends another */
    FRAME_HOLDS = 29,          /* does the receiver hold some values? (engine/thin/thin.h) */
    FRAME_KEPT = 28,           /* model/kept.h: what this node keeps of a key */
    FRAME_GOSSIP = 13,         /* digests of what is known of the cluster */
    FRAME_HISTORY = 14,        /* all of it: both sides know what either knew */
    FRAME_PREPARE = 15,        /* a change of membership is voted on (E14) */
    FRAME_ACCEPT = 16,
    FRAME_RANGE_LIST = 17, /* a partition on its way to a new owner */
    FRAME_RANGE_FETCH = 18,
    FRAME_FENCED = 19,        /* does the receiver agree about who holds some partitions? */
    FRAME_RANGE_ROOT = 20,    /* of the tree of a partition that is on its way */
    FRAME_SETTINGS_SYNC = 26, /* model/settings.h */
    FRAME_ENTRY_MOVED = 24,   /* it lies in another fragment now: the receiver lets go of it */
    /* from clients, or forwarded once by a node (E25) */
    FRAME_GET = 32,
    FRAME_PUT = 33,
    FRAME_LIST = 34,
    FRAME_SYNC = 35,
    FRAME_RING = 36,
    FRAME_STATUS = 37,
    FRAME_DIRECT_GET = 38, /* one replica's own copy */
    FRAME_BEHIND = 39,     /* replicas of a key differ; sent with rid 0: there is no reply */
    FRAME_WATCH = 42,      /* model/watch.h: held until there is something to tell */
    FRAME_INTEREST = 43,   /* in which directories */
    FRAME_ADMIN = 40,      /* JSON both ways: what administrators ask (node/http_cluster.h) */
    FRAME_VERSIONS = 44,   /* model/kept.h: what all replicas keep of a key */
    FRAME_SETTINGS = 46,   /* model/settings.h */
    FRAME_ARCHIVE = 47,    /* model/range_wire.h */
    FRAME_RESTORE = 48,
    FRAME_REPLY = 128, /* added to a request's type in its reply */
    /* Ahead of the replies to a peer, with rid 0: it may send batches with a mac over a hash. */
    FRAME_TAKES_HASHED = 255,
};

struct batch_header {
    uint64_t cluster, from, to;
    bool hashed; /* of a peer's request: its mac is over a hash of the frames */
};

void batch_begin(const struct batch_header *h, struct buf *out); /* leaves room for the mac */
void batch_seal(struct mac *mac /* NULL: client */, struct buf *batch); /* fills the mac in */
/* Checks magic, mac (required iff from != 0, zero otherwise) and that what follows are whole
 * request frames of types that the sender may use. DYN_ERR_PROTOCOL, DYN_ERR_DENIED. *frames is
 * what follows, borrowed. */
int batch_open(struct mac *mac, struct slice batch, struct batch_header *h, struct slice *frames);
void response_begin(const struct batch_header *h, struct buf *out);
/* prefix: the first BATCH_PREFIX_LEN bytes. DYN_ERR_PROTOCOL. */
int response_open(struct slice prefix, struct batch_header *h);
void frame_append(struct buf *out, uint8_t type, uint64_t rid, struct slice body);
/* Takes one whole frame off the front of *in. 1: got one; 0: need more bytes; DYN_ERR_PROTOCOL:
 * over FRAME_LEN_MAX. */
int frame_take(struct slice *in, uint8_t *type, uint64_t *rid, struct slice *body);

enum durability {
    DURABILITY_DEFAULT = 0,
    DURABILITY_BUFFERED = 1,
    DURABILITY_ONE = 2,
    DURABILITY_QUORUM = 3
};
enum sloppiness { SLOPPY_DEFAULT = 0, SLOPPY_YES = 1, SLOPPY_NO = 2 };

/* 0 everywhere means the directory's setting, or else the cluster's. */
struct request_options {
    uint8_t n, r, w;
    uint8_t durability; /* enum durability */
    uint8_t sloppy;     /* enum sloppiness */
    uint8_t forwarded;  /* set by a node that passes a client's request on */
    uint32_t timeout_ms;
    uint64_t
        expires_ms; /* wall clock; a forwarded request must not take effect later (E15); 0: never */
};

enum get_want {
    GET_META = 0,    /* no values */
    GET_NEWEST = 1,  /* the newest live sibling's value */
    GET_ALL = 2,     /* every live sibling's value */
    GET_DOT = 3,     /* the value made by value_dot; DYN_ERR_STALE when gone */
    GET_PRESENT = 4, /* as GET_NEWEST, of what is written once (a chunk): one copy is enough,
                        whatever r says, and only all replicas and the stand-ins that can be reached
                        together say that there is none: DYN_ERR_NOT_FOUND (E23) */
};

struct get_request {
    struct request_options opt;
    struct slice key; /* "" is the root directory */
    enum get_want want;
    struct dot value_dot;
    /* contexts the answer must dominate (session guarantee, E22); borrowed */
    const struct slice *at_least;
    uint32_t n_at_least;
    uint64_t value_max; /* values of more bytes are left out of the answer, to be asked for by their
                           dots; 0: none is */
};

struct get_reply {
    int status;               /* DYN_OK also for a tombstone or an absent key: look at the object */
    uint8_t answered, needed; /* replicas of R */
    bool implicit_dir;        /* the object is dead or absent but live entries lie under it (E16) */
    int64_t dir_mtime_ns;     /* newest change among the entries under it; 0: none (F29) */
    struct object object;     /* with the values that were asked for */
    struct slice token;       /* for contexts; borrowed */
    uint64_t replicas[8];     /* who answered with the merged clock */
    uint8_t n_replicas;
    struct history_epoch ring;
};

enum put_flag {
    PUT_CURRENT = 1,   /* covers whatever the coordinator finds (If-Match: *) */
    PUT_IF_ABSENT = 2, /* DYN_ERR_EXISTS when a live version is there, read at R first (O_EXCL,
                          If-None-Match: *) */
    PUT_KEEP_VALUE =
        4, /* metadata only: the value is that of value_dot, which the cover names (F16) */
    PUT_INHERIT_TIME = 8, /* order as the sibling whose dot is inherit_dot (F3) */
    PUT_DROP_ONLY = 16,   /* drop the covered siblings; a delete is written only if nothing live is
                             left (rm name.conflict.N) */
    PUT_IMPLICIT = 32, /* a directory owed to its entries (E16): no-op where a live directory is */
    PUT_MANIFEST = 64, /* the value is a manifest (manifest.h): the file's bytes lie in chunks */
    PUT_KEEP_ATTRS = 128, /* mode, owner, extended attributes and inode number are those of the
                             newest version that it replaces, if one is of the same type... */
    PUT_OWN_MODE = 256,   /* ... but this is as given */
    PUT_OWN_UID = 512,
    PUT_OWN_GID = 1024,
    PUT_EXTENDS = 2048, /* the value is that of the version which `extends` names, followed by what
                           the request holds (F27). Who lacks that version answers
                           DYN_ERR_BASE_LACKING */
};

struct put_request {
    struct request_options opt;
    struct slice key;
    uint32_t flags;
    enum sibling_type type; /* SIBLING_DELETE deletes */
    struct attrs attrs;     /* xattrs blob borrowed */
    struct origin origin;
    struct dot value_dot;   /* PUT_KEEP_VALUE */
    struct dot inherit_dot; /* PUT_INHERIT_TIME */
    struct dot base_dot;    /* value_dot of the version read, or none */
    uint64_t time_ns;       /* ordering time; 0: the coordinator's wall clock */
    /* Whoever makes a request gives the whole value, and may say that it extends another one: then
     * the client library sends no more than what follows that, with PUT_EXTENDS. */
    struct slice value;
    struct extension extends;
    const struct slice *contexts; /* empty: covers nothing: makes a sibling of whatever is there */
    uint32_t n_contexts;
};

struct put_reply {
    int status;
    uint8_t answered, needed; /* of W */
    struct dot dot;           /* the write's, none for PUT_DROP_ONLY without a delete */
    struct object object;     /* without values: what the coordinator now holds */
    struct slice token;
    uint64_t replicas[8];
    uint8_t n_replicas;
    struct history_epoch ring;
};

struct list_request {
    struct request_options opt;
    struct slice dir;   /* "" is the root */
    struct slice after; /* names greater than this; empty: from the start */
    uint32_t limit;     /* rows; 0: 1000; at most LIST_LIMIT_MAX */
    bool dead_too;      /* tombstoned entries as well */
};

struct list_entry {
    struct slice name;
    struct object object; /* without values */
};

struct list_reply {
    int status;
    uint8_t answered, needed;
    struct list_entry *entries; /* by name */
    uint32_t n;
    bool more;
    struct slice cursor; /* pass as after; may be past the last entry's name (E21) */
    int64_t dir_mtime_ns;
    struct history_epoch ring;
};

/* fsync of what is already written (F13): W replicas have synced a state that covers the dot. No
 * dot: a live version, whichever it is, for a chunk is written once; one copy is enough to go on
 * from, and only all replicas and the stand-ins that can be reached say that there is none:
 * DYN_ERR_NOT_FOUND. */
struct sync_request {
    struct request_options opt;
    struct slice key;
    struct dot dot;
};

struct sync_reply {
    int status;
    uint8_t answered, needed;
};

/* For clients that coordinate a read by themselves: asked of who votes on the key, which answers
 * DYN_ERR_REFUSED when it does not, or when it knows other owners than the client. */
struct direct_get {
    uint64_t fence; /* of the key's partition, as the client knows it (ring_fence, E10) */
    uint8_t n, r;   /* as the request has them; 0: the cluster's, and if that is not so, refuse */
    struct slice key;
    enum get_want want;
    struct dot value_dot;
};

struct direct_reply {
    int status;
    struct history_epoch ring;
    uint64_t fence; /* as the node knows it */
    bool implicit_dir;
    int64_t dir_mtime_ns;
    struct object object; /* with the values that were asked for and are held */
    struct slice token;   /* for this copy; borrowed; empty when it is absent */
};

struct behind {
    uint64_t fence;
    struct slice key;
};

/* Everything that a decode leaves in a struct is borrowed from the input except objects, arrays and
 * the blob of xattrs, which its _release frees. Decodes fail with DYN_ERR_PROTOCOL,
 * DYN_ERR_UNSUPPORTED (format of a later version) or, for a key that breaks a rule,
 * DYN_ERR_INVALID. */
void get_request_encode(const struct get_request *q, struct buf *out);
int get_request_decode(struct slice body, struct get_request *q);
void get_request_release(struct get_request *q);
void get_reply_encode(const struct get_reply *p, struct buf *out);
int get_reply_decode(struct slice body, struct get_reply *p);
void get_reply_release(struct get_reply *p);
void put_request_encode(const struct put_request *q, struct buf *out);
/* The same write with what follows the base alone. q->extends is not none, and says the truth. */
void put_request_encode_extending(const struct put_request *q, struct buf *out);
int put_request_decode(struct slice body, struct put_request *q);
void put_request_release(struct put_request *q);
void put_reply_encode(const struct put_reply *p, struct buf *out);
int put_reply_decode(struct slice body, struct put_reply *p);
void put_reply_release(struct put_reply *p);
void list_request_encode(const struct list_request *q, struct buf *out);
int list_request_decode(struct slice body, struct list_request *q);
void list_reply_encode(const struct list_reply *p, struct buf *out);
int list_reply_decode(struct slice body, struct list_reply *p);
void list_reply_release(struct list_reply *p);
void sync_request_encode(const struct sync_request *q, struct buf *out);
int sync_request_decode(struct slice body, struct sync_request *q);
void sync_reply_encode(const struct sync_reply *p, struct buf *out);
int sync_reply_decode(struct slice body, struct sync_reply *p);

void direct_get_encode(const struct direct_get *q, struct buf *out);
int direct_get_decode(struct slice body, struct direct_get *q);
void direct_reply_encode(const struct direct_reply *p, struct buf *out);
int direct_reply_decode(struct slice body, struct direct_reply *p);
void direct_reply_release(struct direct_reply *p);
void behind_encode(const struct behind *q, struct buf *out);
int behind_decode(struct slice body, struct behind *q);

/* FRAME_STATUS: request body empty; reply: JSON text, the same as GET /v1/cluster:
 *   {"node": "16 hex", "cluster": "16 hex", "version": "0.1.0", "uptime_s": 12,
 *    "q": 256, "n": 3, "r": 2, "w": 2, "epoch": {"length": 4, "digest": "hex"},
 *    "members": [{"node": "16 hex", "address": "host:port", "zone": "a" or absent, "weight": 100,
 *                 "tokens": 86, "up": true, "rtt_us": 300, "down_us": 0, "hints": 0}],
 *    "stats": {fields of struct engine_stats by their names}, "disk": {"used": 1, "free": 2},
 *    "moves": {"moving": 0, "filling_here": 0, "leaving_here": 0, "voteless": 0}}
 * up, rtt_us, down_us and hints are as seen and held by the answering node. Readers ignore what
 * they do not know, and do without what is missing. */

/* FRAME_RING: request body empty; reply: status, u64 answering node's id, bytes history (which
 * names the cluster). */
struct ring_reply {
    int status;
    uint64_t node;
    struct history history;
};
void ring_reply_encode(const struct ring_reply *p, struct buf *out);
int ring_reply_decode(struct slice body, struct ring_reply *p);
void ring_reply_release(struct ring_reply *p);

#endif
