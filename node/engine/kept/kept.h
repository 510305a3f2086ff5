/* SPDX-License-Identifier: Apache-2.0 */
/* Keeping what people may want back. A put that settles a conflict is final for the object: the
 * versions it covers are gone at each replica that merges it. People decide wrongly, so whoever
 * takes a version out of an object keeps it beside it for a day (cfg.history_ms): a row that says
 * when, why and by which write, in the same batch, and the value is left where it lies. Deletes and
 * plain overwrites too: what lay there before a split is what its two sides have in common.
 *
 * It is bounded. Of a key that is written again and again only some are kept (kept.c), of a key and
 * of a node so many bytes (kept_trim.h, kept_sweep.c), and a disk that gets full keeps nothing.
 * No tree and no hash knows of it: each replica keeps what it has itself taken out. */
#ifndef DYN_ENGINE_KEPT_H
#define DYN_ENGINE_KEPT_H

#include "engine/replica/replica.h"
#include "model/kept.h"

struct kept_keeper;
struct kept_keeper *kept_keeper_new(struct engine *e);
void kept_keeper_free(struct kept_keeper *k);
void kept_keeper_start(struct kept_keeper *k);
void kept_keeper_stats(const struct kept_keeper *k, struct engine_stats *out);

/* For kept.c and kept_trim.c: what is kept on this node became more or less. */
void kept_keeper_note(struct kept_keeper *k, int64_t rows, int64_t bytes);
bool kept_keeper_takes(const struct kept_keeper *k, uint64_t bytes); /* is there room? */
void kept_keeper_no_room(struct kept_keeper *k);                     /* the disk is full */

/* ---- what this node keeps of a key ---- */

struct kept_read { /* caller-owned, zeroed, must stay put until done */
    /* set by the caller */
    struct engine *e;
    struct slice key; /* borrowed until done */
    enum kept_want want;
    struct dot dot;
    void (*done)(struct kept_read *r, int err); /* may run inside kept_read_start */
    void *arg;

    struct kept_list list; /* results; released by kept_read_release */
    bool cut;              /* there is more, or values were left out */

    struct place at;
    struct buf row;
    struct store_scan scan;
    struct store_get get;
    uint32_t next;
    uint64_t loaded;
};
void kept_read_start(struct kept_read *r);
void kept_read_release(struct kept_read *r);

/* ---- what all replicas keep of a key ---- */

/* Asks those that have the key or stand in for it. done runs once, later; the reply is borrowed.
 * Cannot be called off, but is in the engine's background. */
void kept_gather(struct engine *e, const struct kept_request *q,
                 void (*done)(void *arg, const struct kept_reply *reply), void *arg);

/* FRAME_VERSIONS and FRAME_KEPT. */
void kept_frame(struct engine *e, uint64_t origin, uint64_t rid, uint8_t type, struct slice body);

#endif
