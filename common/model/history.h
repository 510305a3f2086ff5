/* SPDX-License-Identifier: Apache-2.0 */
/* Membership history: a grow-only list of events with Lamport stamps, from which the ring follows
 * as a pure function (Dynamo, section 4.8). Two nodes with equal histories have equal rings, so
 * gossip compares digests and ships events. */
#ifndef DYN_MODEL_HISTORY_H
#define DYN_MODEL_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"

#define MEMBERS_MAX 4096
#define MEMBER_ADDRESS_MAX 255
#define MEMBER_ZONE_MAX 63
#define PARTITIONS_MAX (1u << 20)
#define CHANGE_PARTS_MAX 256u

enum member_event_type {
    MEMBER_CREATE =
        1, /* the cluster itself: id, q, n, r, w; always the first event and only there */
    MEMBER_JOIN = 2,
    MEMBER_LEAVE = 3,
    MEMBER_REMOVE = 4, /* bans the node id */
    MEMBER_WEIGHT = 5,
    MEMBER_ZONE = 6,
    MEMBER_ADDRESS = 7,
    MEMBER_CHANGE = 8,  /* a committed change: some of JOIN to ADDRESS, all at once (E14) */
    MEMBER_FILLED = 9,  /* node has got all of some partitions that became its own (E13) */
    MEMBER_CLOSED = 10, /* enough old voters of some partitions know that they are filled (E10) */
};

struct member_event {
    uint64_t stamp; /* Lamport; ties by node */
    uint64_t node;
    enum member_event_type type;
    uint32_t weight;   /* 1 to 1000, 100 is one share */
    char *address;     /* "host:port"; owned; NULL where it does not apply */
    char *zone;        /* owned; NULL: none */
    uint64_t replaces; /* MEMBER_JOIN: the node whose tokens it takes and which is removed by it
                          (HAZARDS E12), 0: none */
    uint64_t cluster;  /* MEMBER_CREATE */
    uint32_t q, n, r, w;
    uint8_t base[DIGEST_LEN];   /* CHANGE: the configuration that it was planned on; FILLED, CLOSED:
                                    the one that the node knew */
    struct member_event *parts; /* CHANGE: owned; their stamps are 0 */
    uint32_t n_parts;
    uint32_t *partitions; /* FILLED, CLOSED: owned, ascending */
    uint32_t n_partitions;
};

struct history {
    struct member_event *events; /* sorted by (stamp, node) */
    uint32_t n, cap;
};

#define HISTORY_EMPTY ((struct history){NULL, 0, 0})

struct history_epoch { /* what replies and requests carry to notice an old ring */
    uint32_t length;
    uint8_t digest[DIGEST_LEN];
};

/* Once a history holds a change, membership changes by those alone: each names the configuration
 * that it follows, and one configuration has one successor (E14), so changes are a chain. A
 * configuration's digest covers its changes and what was before them; that partitions have been
 * filled makes no other configuration. */
void member_event_copy(struct member_event *to /* uninitialized */,
                       const struct member_event *from);
void member_event_release(struct member_event *ev);
/* By itself. NULL, or the rule that the event breaks. */
const char *member_event_rule(const struct member_event *ev);
/* Is NODE a member no more after the MEMBER_CHANGE CHANGE: removed, or replaced? */
bool member_event_takes_out(const struct member_event *change, uint64_t node);
void member_event_encode(const struct member_event *ev, struct buf *out);
void member_event_decode(struct reader *r, struct member_event *ev /* uninitialized */);
uint64_t history_next_stamp(const struct history *h);

void history_release(struct history *h);
void history_copy(struct history *to, const struct history *from);
/* Validates against the rules (one CREATE first, known node, sane weight, parsable address) and
 * adds; DYN_ERR_INVALID and *rule (static sentence). Adding an event that is there already is
 * DYN_OK. Strings are copied. Fields that the type does not use are ignored. */
int history_add(struct history *h, const struct member_event *ev, const char **rule);
/* Union of both; DYN_ERR_INVALID when they are of different clusters (into untouched). Returns
 * through *changed. DYN_ERR_TOO_LARGE past 65,536 events, into untouched. */
int history_join(struct history *into, const struct history *other, bool *changed);
struct history_epoch history_epoch(const struct history *h);
bool history_epoch_equal(const struct history_epoch *a, const struct history_epoch *b);
void history_encode(const struct history *h, struct buf *out);
void history_decode(
    struct reader *r,
    struct history *h); /* h initialized, replaced; fails the reader on any broken rule */

#endif
