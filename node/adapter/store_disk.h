/* SPDX-License-Identifier: Apache-2.0 */
/* What a store must know about the disk below it: how much room there is, a ballast file to give
 * back when there is none, and a mark of how far the log was synced. */
#ifndef DYN_ADAPTER_STORE_DISK_H
#define DYN_ADAPTER_STORE_DISK_H

#include <stdbool.h>
#include <stdint.h>

enum store_room {
    STORE_ROOM_ENOUGH,
    STORE_ROOM_LOW, /* no more new data: only what shrinks (deletes, tombstones) and our own rows */
    STORE_ROOM_NONE, /* only batches of deletes */
};

struct store_disk;

/* dir: the store's folder, which exists. ballast, reserve: bytes; room is low below `reserve` and
 * none below a quarter of the ballast. */
struct store_disk *store_disk_new(const char *dir, uint64_t ballast, uint64_t reserve);
void store_disk_free(struct store_disk *d); /* the ballast stays; NULL is fine */

/* Looks at the disk, at most each 100 ms or each 4 MiB of `written` bytes since; releases the
 * ballast when room gets low and takes it back when there is plenty. */
enum store_room store_disk_room(struct store_disk *d, uint64_t written);
/* The disk itself has just said that it is full. */
void store_disk_full(struct store_disk *d);
uint64_t store_disk_free_bytes(const struct store_disk *d); /* as of the last look */

/* The mark: everything up to this sequence number of the log is on the platter. Overwritten in
 * place and never synced itself: an older mark only detects less. Safe from another thread. */
void store_disk_mark(struct store_disk *d, uint64_t sequence);
/* As found at start; 0: none, or unreadable. */
uint64_t store_disk_marked(const struct store_disk *d);

#endif
