/* SPDX-License-Identifier: Apache-2.0 */
/* Being told of changes. A client that keeps names and attributes of a directory in memory asks a
 * replica of it to tell what changes there, instead of asking about each file again and again. Two
 * frames:
 *
 *   FRAME_INTEREST  which directories; answered at once
 *   FRAME_WATCH     is held by the node until there is something to tell, or for hold_ms; the
 *                   client asks again at once
 *
 * A directory that is split (E26) is watched by fragments, each where it lies: a directory's name
 * here is the id of one (fragment.h), which is its key for fragment 0. That one tells of the
 * directory itself, too.
 *
 * Both name a session, a number that the client has drawn: what it wants and what it has not yet
 * been told lie at the node under it. Answers are numbered; whoever misses one, or is answered
 * STALE, has been told nothing since he does not know when, and begins a new session. */
#ifndef DYN_MODEL_WATCH_H
#define DYN_MODEL_WATCH_H

#include "model/object.h"

#define INTEREST_DIRS_MAX 256u         /* in one frame, to begin and to end with each */
#define WATCH_EVENTS_MAX 4096u         /* in one answer */
#define WATCH_REPLY_BYTES (256u << 10) /* and about so many bytes; the next one has the rest */
#define WATCH_HOLD_MAX_MS 10000u

struct interest_request {
    uint64_t session; /* not 0 */
    bool begin;       /* the session is a new one */
    const struct slice *add, *drop;
    uint32_t n_add, n_drop;
};

struct interest_reply {
    int status; /* DYN_ERR_STALE: no such session; DYN_ERR_OVERLOAD: there are too many */
    /* of those to add, in their order: not 0, it is watched from now on, and how many fragments the
     * directory has (interest_taken). Others are no directories of this node's, or too many. */
    uint8_t taken[INTEREST_DIRS_MAX];
    uint32_t n;
};

/* As it is said in `taken`: one more than the depth. */
uint8_t interest_taken(uint32_t fragments);
uint32_t interest_fragments(uint8_t taken); /* of one that is not 0 */

struct watch_request {
    uint64_t session;
    uint32_t hold_ms;
};

enum watch_kind {
    WATCH_NAME = 1, /* something under this name in the directory is new */
    WATCH_SELF = 2, /* the directory itself is */
    WATCH_ALL = 3,  /* more names than are worth to be told one by one */
    WATCH_ENDED = 4 /* the node watches this directory no more: others hold it now, or it has more
                       fragments */
};

struct watch_event {
    enum watch_kind kind;
    struct slice dir, name; /* borrowed */
    bool came_or_went;      /* WATCH_NAME: the name is there and was not, or the other way */
    struct object state;    /* WATCH_NAME, WATCH_SELF: as this replica has it, as in a listing */
};

struct watch_reply {
    int status;
    uint64_t number; /* 1 for the first of a session */
    struct watch_event *events;
    uint32_t n;
};

void interest_request_encode(const struct interest_request *q, struct buf *out);
int interest_request_decode(struct slice body, struct interest_request *q);
void interest_request_release(struct interest_request *q);
void interest_reply_encode(const struct interest_reply *p, struct buf *out);
int interest_reply_decode(struct slice body, struct interest_reply *p);
void watch_request_encode(const struct watch_request *q, struct buf *out);
int watch_request_decode(struct slice body, struct watch_request *q);

/* A node writes its events as they happen, not as structs: begin, then each, then nothing more. n
 * must be what follows. state: object_encode's bytes, empty but for WATCH_NAME and WATCH_SELF. */
void watch_reply_begin(int status, uint64_t number, uint32_t n, struct buf *out);
void watch_reply_event(enum watch_kind kind, struct slice dir, struct slice name, bool came_or_went,
                       struct slice state, struct buf *out);
int watch_reply_decode(struct slice body, struct watch_reply *p);
void watch_reply_release(struct watch_reply *p);

#endif
