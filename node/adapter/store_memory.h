/* SPDX-License-Identifier: Apache-2.0 */
/* A store in memory that behaves like a disk: it knows what was synced, loses the rest in a crash,
 * gets full, fails, and can be snapshot and restored. Deterministic: what it does follows from the
 * calls alone. For the simulator and for unit tests. */
#ifndef DYN_ADAPTER_STORE_MEMORY_H
#define DYN_ADAPTER_STORE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "port/store.h"
#include "port/store_host.h"

struct store_memory;

/* host: copied; wake may be NULL and is called when, in deferred mode, a request starts to wait. */
struct store_memory *store_memory_new(const struct store_host *host);
/* Requests that still wait are forgotten. */
void store_memory_free(struct store_memory *m);
struct store_port store_memory_port(struct store_memory *m);

/* Synchronous at first: each request completes inside its call. Deferred: it waits until the owner
 * takes a step, so how long a disk takes is the owner's choice. A deferred read answers from the
 * moment at which it was handed over, the oldest answer that the contract allows. */
void store_memory_set_deferred(struct store_memory *m, bool deferred);
/* As with an object buffer: what need not be synced is acknowledged at once, deferred or not. */
void store_memory_set_buffered(struct store_memory *m, bool buffered);
uint32_t store_memory_pending(const struct store_memory *m);
/* Completes one waiting request. pick chooses (modulo their number; 0 is the oldest); writes and
 * syncs complete in their order, so for one of them the oldest of them is taken. Returns false
 * when none waits. */
bool store_memory_step(struct store_memory *m, uint64_t pick);

/* The disk: puts fail with DYN_ERR_NO_SPACE when they would make it larger than this. 0: no
 * limit. */
void store_memory_set_capacity(struct store_memory *m, uint64_t bytes);
/* The next write or sync fails, and with it all later ones: DYN_ERR_IO. */
void store_memory_fail_next_write(struct store_memory *m);
/* Reads fail with this error until it is set back to DYN_OK. */
void store_memory_fail_reads(struct store_memory *m, int err);
/* Flips one bit of a stored value, synced and current: bit rot. False: no such row, or empty. */
bool store_memory_rot(struct store_memory *m, enum store_family f, struct slice key, uint64_t bit);

/* The first row at or after this key (else the first of all) goes bad: reads of it by itself fail
 * with DYN_ERR_CORRUPT, as where a checksum is wrong, until it is written again or deleted. Only
 * where `may` agrees. False: nothing went bad. */
bool store_memory_spoil(struct store_memory *m, enum store_family f, struct slice from,
                        bool (*may)(void *arg, struct slice key), void *arg);
/* The same, but a bit of it flips as by store_memory_rot. */
bool store_memory_rot_near(struct store_memory *m, enum store_family f, struct slice from,
                           bool (*may)(void *arg, struct slice key), void *arg);
/* What reads are given now, also where requests wait. False: no such row. */
bool store_memory_peek(const struct store_memory *m, enum store_family f, struct slice key,
                       struct buf *out);
/* As long as it is set, rows for which `bad` says so are read as bytes that mean nothing, by
 * themselves and in scans, and are whole again afterwards: a cable, or memory, that is not what it
 * should be. NULL: none. It must say the same of a row each time. */
void store_memory_garble(struct store_memory *m,
                         bool (*bad)(void *arg, enum store_family f, struct slice key), void *arg);
/* There, synced, and not gone bad. */
bool store_memory_holds(const struct store_memory *m, enum store_family f, struct slice key);

/* Batches that a crash now might lose. */
uint32_t store_memory_unsynced(const struct store_memory *m);
/* The kernel writes back by itself: all becomes durable, nobody is told. */
void store_memory_write_back(struct store_memory *m);
/* Power loss: waiting requests vanish without a callback, of the unsynced batches the first `keep`
 * survive (a log torn further on), and what failed works again. The store may be used on, as after
 * a start. */
void store_memory_crash(struct store_memory *m, uint32_t keep);
/* The newest batches that no writer knows to be taken yet. */
uint32_t store_memory_untold(const struct store_memory *m);
/* The process is killed before it has written the newest `take` of those: a crash that takes them
 * and nothing else. It loses no tail, for nobody was told of them. */
void store_memory_kill(struct store_memory *m, uint32_t take);
/* A clean stop: all synced and marked. Waiting requests vanish, complete them before. */
void store_memory_stop(struct store_memory *m);
/* Did the last run end by store_memory_stop() (or is the store new)? Forgets the mark, as a start
 * does. */
bool store_memory_was_clean(struct store_memory *m);
/* Did the last crash take unsynced batches along? */
bool store_memory_lost_tail(const struct store_memory *m);

/* The whole synced disk at one moment, for the restored-backup and cloned-machine faults. */
struct store_memory_image;
struct store_memory_image *store_memory_snapshot(const struct store_memory *m);
void store_memory_image_free(struct store_memory_image *image); /* NULL is fine */
/* A crash, after which the disk is the image's. The image may be restored again, also into another
 * store. */
void store_memory_restore(struct store_memory *m, const struct store_memory_image *image);

#endif
