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

#define CHECKS_MAX 4

struct large_check { /* of one chunk, whether it is there */
    struct large *large;
    struct chunk_get get;
    struct upload_id upload;
    struct chunk chunk;
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

    /* large_check.c */
    int64_t sure_ns; /* wall clock: all chunks were then known to be kept */
    bool lapsed;     /* that was too long ago: some may have been collected */
    bool base_old;   /* the manifest's uploads are to be told, however long ago that was done */
    struct large_check checks[CHECKS_MAX];
    uint64_t check_next; /* the next index to look for */

    bool held; /* writers wait */

    struct large_fold *fold; /* large_fold.c; NULL: nothing is folded */

    struct list waits; /* for large_store */
    int error;         /* enum dyn_err, of what was sent since the last large_store */
    struct unsynced *unsynced;
    uint32_t n_unsynced, cap_unsynced;
    struct large_sync syncs[SYNCS_MAX];

    /* large_sync.c */
    uint64_t sync_next; /* of stored chunks before this index, all that others sent are synced */
    struct large_walk *walk; /* NULL: none is under way */
};

#define LARGE_ALL_SYNCED UINT64_MAX

/* large.c */
void large_slot_remove(struct large *l, uint32_t at);
struct slot *large_slot_get(struct large *l, uint32_t index); /* finds or makes */

/* The first chunk at index or after it that is stored and counts; false: none. */
bool large_next_stored(const struct large *l, uint64_t index, struct upload_id *upload,
                       struct chunk *c);

/* large_check.c */
void large_look_for_lapse(struct large *l);
void large_sure(struct large *l);    /* all references hold, as of now */
bool large_checked(struct large *l); /* false: it looks, and large_send_check comes again */
void large_check_stop(struct large *l);

/* large_sync.c */
void large_note_synced(struct fs *fs, const struct upload_id *upload, uint32_t number);
void large_sync_stop(struct large *l);

/* large_fold.c */
bool large_folded(struct large *l); /* false: it sends, and large_send_check comes again */
void large_fold_stop(struct large *l);

/* large_send.c */
void large_failed(struct large *l, int err);   /* enum dyn_err; who waits is told */
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
