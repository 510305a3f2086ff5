/* SPDX-License-Identifier: Apache-2.0 */
/* Agreeing on the change that follows a configuration (E14): one round of Paxos (Lamport, "Paxos
 * made simple", 2001) for each configuration, whose acceptors are its members. A change is chosen
 * when a majority of them has it on disk; then it is an event of the history like any other, and
 * gossip does the rest. Requests of clients never wait for this. */
#ifndef DYN_ENGINE_COMMIT_H
#define DYN_ENGINE_COMMIT_H

#include "engine/core.h"

struct commit *commit_new(struct engine *e);
void commit_free(struct commit *c);
void commit_load(struct commit *c, void (*done)(void *arg, int err), void *arg);
void commit_start(
    struct commit *c); /* from now on what was left half chosen is brought to an end */

/* Has the change chosen. done(arg, err) runs once, later: DYN_OK, it is in use here;
 * DYN_ERR_CONFLICT, another change has followed its base; DYN_ERR_NO_QUORUM, too few members
 * answered, and it may still be chosen; DYN_ERR_OVERLOAD, a change is being committed here. */
void commit_propose(struct commit *c, const struct member_event *change,
                    void (*done)(void *arg, int err), void *arg);

/* The way out when a majority is lost for good: the change is chosen by those alone whom it does
 * not remove or replace, all of them. It is the administrator who says that the others are gone:
 * are they only out of reach, they may choose another change, and there are two clusters of one
 * name. So for FORCE_LISTEN_US all are asked, and nothing is forced when one of the others answers:
 * DYN_ERR_EXISTS; nor where the change leaves a majority: DYN_ERR_INVALID. */
void commit_force(struct commit *c, const struct member_event *change,
                  void (*done)(void *arg, int err), void *arg);

/* FRAME_PREPARE and FRAME_ACCEPT. */
void commit_frame(struct commit *c, uint64_t origin, uint64_t rid, uint8_t type, struct slice body);

struct ballot { /* (0, 0): none */
    uint64_t round, node;
};
struct vote_request { /* accept: change is set */
    uint8_t base[DIGEST_LEN];
    struct ballot ballot;
    struct slice change; /* an encoded event; borrowed */
};
void vote_request_encode(const struct vote_request *q, struct buf *out);
int vote_request_decode(struct slice body, struct vote_request *q);
struct vote_reply {
    int status; /* DYN_OK: promised, or accepted; DYN_ERR_CONFLICT: promised to a higher ballot;
                   DYN_ERR_REFUSED: this node is at another configuration */
    struct ballot promised, accepted;
    struct slice change; /* what was accepted; borrowed */
};
void vote_reply_encode(const struct vote_reply *p, struct buf *out);
int vote_reply_decode(struct slice body, struct vote_reply *p);

#endif
