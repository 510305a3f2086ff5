/* SPDX-License-Identifier: Apache-2.0 */
/* A node's disk in simulated time: the memory store, with reads and writes that take a while, and
 * the ways to stop. What the page cache holds survives a killed process and not a lost supply of
 * power. */
#ifndef DYN_SIM_DISK_H
#define DYN_SIM_DISK_H

#include "model/object.h"
#include "port/store.h"
#include "sim_random.h"
#include "sim_world.h"

enum sim_crash {
    CRASH_KILL,  /* kill -9: what was taken stays, also unsynced (see sim_disk_buffer); of what was
                  * being written, any beginning may */
    CRASH_TAIL,  /* the power goes, and all that no sync covers with it */
    CRASH_POWER, /* of what no sync covers, any beginning may stay, mostly nothing */
};

struct sim_disk;
struct store_memory_image;

/* failed(arg, err) runs when a write or a sync fails, as the store port has it. */
struct sim_disk *sim_disk_new(struct sim_world *w, uint32_t index,
                              void (*failed)(void *arg, int err), void *arg);
void sim_disk_free(struct sim_disk *d);
struct store_port sim_disk_port(struct sim_disk *d);

/* Each call takes up to this from now on; 0: it completes inside the call. */
void sim_disk_pace(struct sim_disk *d, uint64_t up_to_us);
/* The node has an object buffer: what need not be synced is acknowledged at once, and a kill may
 * take it along, all but some beginning of it. */
void sim_disk_buffer(struct sim_disk *d, bool buffered);
/* Forgets what is in flight: no callback of before runs. What failed works again. */
void sim_disk_crash(struct sim_disk *d, enum sim_crash how);
void sim_disk_stop(struct sim_disk *d); /* cleanly: all synced and marked */
bool sim_disk_clean(struct sim_disk *d);
bool sim_disk_lost_tail(const struct sim_disk *d);
/* the last crash took unsynced writes along */    /* was the last stop? Asked once a start */
void sim_disk_break(struct sim_disk *d);           /* the next write fails, and all after it */
void sim_disk_fill(struct sim_disk *d, bool full); /* no more than what is there now fits on it */
/* Some value goes bad, if `may` agrees on its row. */
void sim_disk_rot(struct sim_disk *d, bool (*may)(void *arg, struct slice row), void *arg);
/* Some object's row cannot be decoded from now on, if `may` agrees. */
void sim_disk_rot_row(struct sim_disk *d, bool (*may)(void *arg, struct slice row), void *arg);
/* An object as it lies there. False: it is absent or cannot be read. Release it. */
bool sim_disk_object(const struct sim_disk *d, struct slice row, struct object *out);
/* For a while some rows of objects cannot be read, `permille` of them; 0: all can again. */
void sim_disk_garble(struct sim_disk *d, uint32_t permille);
/* It gives nothing any more, as one whose blocks are bad. */
void sim_disk_fail_reads(struct sim_disk *d, bool fail);
bool sim_disk_holds_value(const struct sim_disk *d, struct slice row); /* whole, and synced */
/* What is synced now, to be put back later; and putting it back, or nothing at all, on a node that
 * is down: a restored backup, a new disk. */
struct store_memory_image *sim_disk_backup(const struct sim_disk *d);
void sim_disk_restore(struct sim_disk *d,
                      struct store_memory_image *image); /* taken; NULL: empty */
bool sim_disk_broken(const struct sim_disk *d);          /* and no crash has mended it since */

#endif
