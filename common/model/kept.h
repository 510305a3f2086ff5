/* SPDX-License-Identifier: Apache-2.0 */
/* Kept versions: what a later write, a delete or a resolution took out of an object, and its
 * replicas keep for a while, so that people can look at it and have it back. They are outside the
 * object: nothing of them is compared, merged or counted; each node tells what it has. Also here:
 * the common ancestor of two versions, found by who had read and who replaced what. */
#ifndef DYN_MODEL_KEPT_H
#define DYN_MODEL_KEPT_H

#include "model/object.h"
#include "model/wire.h"

#define KEPT_LIST_MAX 4096 /* of one key, in one answer */

enum kept_why {
    KEPT_OVERWRITTEN = 1, /* a later write replaced it, and it alone was there */
    KEPT_DELETED,         /* with it the last version went */
    KEPT_RESOLVED,        /* a write replaced several versions that stood side by side */
    KEPT_DROPPED,         /* it was removed from beside others */
    KEPT_OUTDATED,        /* the rule lww: the newest wins */
    KEPT_UNITED,          /* the rule union: its lines are in the version that replaced it */
    KEPT_WHY_END
};
const char *kept_why_name(enum kept_why why);

struct kept {
    uint64_t since_ms; /* wall clock of the node that took it out */
    enum kept_why why;
    struct dot by;        /* the write that took it out, or none */
    struct object object; /* the version: one sibling, under a clock of just its dot */
};
/* s: shared, not taken. The value goes along where it is loaded. */
void kept_make(struct kept *k, const struct sibling *s, uint64_t since_ms, enum kept_why why,
               const struct dot *by);
void kept_release(struct kept *k);
static inline const struct sibling *kept_version(const struct kept *k)
{
    return &k->object.siblings[0];
}
/* What it takes of the room for kept versions: a large file all that is no hole in it. */
uint64_t kept_cost(const struct sibling *s);

void kept_encode(const struct kept *k, struct buf *out); /* without the value */
void kept_decode(struct reader *r, struct kept *k);      /* k: zeroed */

struct kept_list { /* newest first, by when it was written */
    struct kept *k;
    uint32_t n, cap;
};
#define KEPT_LIST_EMPTY ((struct kept_list){NULL, 0, 0})
void kept_list_release(struct kept_list *l);
/* Takes k. One that differs in nothing but when and where it was taken out counts once, and brings
 * its value along. */
void kept_list_add(struct kept_list *l, struct kept *k);
const struct kept *kept_list_find(const struct kept_list *l, const struct dot *dot); /* or NULL */
/* Records of one version lie side by side: where those of the next one begin. */
uint32_t kept_list_next(const struct kept_list *l, uint32_t i);
/* An object for each version, added to an array: what it is, and why, when and by what it went. */
struct json;
void kept_add_json(struct json *array, const struct kept_list *l);

/* The newest kept version that both are made from; NULL: none is known. */
const struct kept *kept_ancestor(const struct kept_list *l, const struct sibling *a,
                                 const struct sibling *b);

/* FRAME_VERSIONS asks a node for what all replicas keep of a key, FRAME_KEPT one node for what it
 * has by itself. */
enum kept_want {
    KEPT_LIST = 0,      /* no values */
    KEPT_VALUE = 1,     /* only the version of this dot, with its value */
    KEPT_MANIFESTS = 2, /* all, with the manifests of large files */
    KEPT_WANT_END
};
struct kept_request {
    uint32_t timeout_ms; /* 0: the node's */
    struct slice key;    /* borrowed */
    enum kept_want want;
    struct dot dot;
};
struct kept_reply {
    int status;              /* DYN_OK; DYN_ERR_NOT_FOUND: nobody keeps that dot */
    uint8_t answered, asked; /* nodes; who was not reached may know more */
    bool cut;                /* values were left out, or there are more than are told */
    struct kept_list list;
};
void kept_request_encode(const struct kept_request *q, struct buf *out);
int kept_request_decode(struct slice body, struct kept_request *q);
void kept_reply_encode(const struct kept_reply *p, struct buf *out);
int kept_reply_decode(struct slice body, struct kept_reply *p);
void kept_reply_release(struct kept_reply *p);

#endif
