/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the content of large files: large.c knows what is where, large_send.c brings it away. */
#ifndef DYN_FS_LARGE_PRIVATE_H
#define DYN_FS_LARGE_PRIVATE_H

#include "model/large.h"

enum slot_state { SLOT_HOLE, SLOT_DIRTY, SLOT_SENDING, SLOT_STORED };

struct slot {
    struct large *large;
    struct list link; /* fs->slots_dirty, or fs->slots_queued */
    uint32_t index;
    enum slot_state state;
    bool queued;
    bool built;         /* unchanged since large_manifest() */
    struct blob *bytes; /* CHUNK_LEN; DIRTY and SENDING */
    uint64_t stamp;     /* changes with the bytes (port/stage.h) */
    struct upload_id upload;
    struct chunk chunk; /* its len counts always, the rest once it is SENDING or STORED */
    struct chunk_put put;
    uint32_t sent_len; /* bytes of what was sent last */
    enum durability durability;
};

struct unsynced { /* a chunk that W have, but perhaps not on disk */
    struct upload_id upload;
    uint32_t number;
    struct dot dot;
};

#define SYNCS_MAX 16
#define RENEW_US (UPLOAD_SAFE_S / 6 * 1000000ull) /* between looks at what is open */

struct large_sync {
    struct large *large;
    uint64_t id;
    struct unsynced chunk;
};

struct large {
    struct fs *fs;
    struct inode *inode; /* owns it */
    struct manifest base;
    uint64_t base_us;        /* when its uploads were known to be listed */
    uint64_t base_allocated; /* 0: not counted yet */
    uint64_t cut;            /* what of it still counts */
    uint64_t built_cut;      /* ... and of the last large_manifest() */
    uint64_t size;
    struct slot **slots; /* by index */
    uint32_t n, cap;
    uint32_t n_dirty; /* slots that are DIRTY or SENDING */

    /* the upload that new chunks belong to */
    bool has_upload;
    struct upload_id upload;
    uint32_t next_number, reserved;
    uint64_t ref_us; /* when the reference that holds was asked for */
    struct buf ref_key;
    struct upload_ref ref;      /* its record */
    struct upload_ref base_ref; /* records of the manifest's uploads, after a long time */
    /* uploads of other files whose chunks were copied by reference */
    struct upload_id *borrowed;
    uint32_t n_borrowed, cap_borrowed;
    bool borrowed_told; /* their records name the key */
    struct upload_ref borrowed_ref;
    uint32_t asked_numbers;
    uint64_t asked_us;

    struct list waits; /* for large_store */
    int error;         /* enum dyn_err, of what was sent since the last large_store */
    struct unsynced *unsynced;
    uint32_t n_unsynced, cap_unsynced;
    struct large_sync syncs[SYNCS_MAX];
};

/* large.c */
void large_slot_remove(struct large *l, uint32_t at);
struct slot *large_slot_get(struct large *l, uint32_t index); /* finds or makes */

/* large_send.c */
void large_slot_dirty(struct slot *s);         /* has bytes now, and is no longer stored */
void large_written(struct slot *s, bool full); /* its bytes changed */
void large_slot_recall(struct slot *s);        /* SENDING to DIRTY: it is written again */
void large_slot_clean(struct slot *s);         /* has no bytes any more, is on no way */
void large_send_check(struct large *l);        /* who waits may have what he waits for */
void large_borrow(struct large *l, const struct upload_id *upload);
void large_send_stop(struct large *l);
void large_roll(struct large *l); /* begins another upload when most of this one is waste */
void large_room(struct timer *t, void *arg /* the fs */);
void large_renew(struct timer *t, void *arg /* the fs */);

#endif
