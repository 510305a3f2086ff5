/* SPDX-License-Identifier: Apache-2.0 */
/* Between move.c, move_record.c and move_work.c. */
#ifndef DYN_FS_MOVE_PRIVATE_H
#define DYN_FS_MOVE_PRIVATE_H

#include "model/inode.h"
#include "model/owed.h"

#define MOVE_PARALLEL 16u /* objects copied, or dropped, at a time */

struct move_item {
    struct table_node node;
    struct buf suffix; /* of the key, after that of the directory: "" or "/..." */
    bool dir, copied;
    struct cover dots; /* what was copied, and is dropped at the end */
    struct cover put;  /* what stands for it under the new name */
};

struct move_drop {
    struct owed_wait wait;
    struct moving *m;
    struct seen *seen; /* referenced; NULL: idle */
};

struct moving;
struct move_renewal;
struct move_late;

struct moving {
    struct task t;
    struct list link; /* fs->moves */
    struct seen *from, *to;
    void (*done)(void *arg, int err); /* NULL: resumed */
    void *arg;
    struct move_item **items; /* parents before children */
    size_t n, cap;
    struct table by_suffix;
    size_t at; /* the item that is being walked, copied, dropped */
    struct buf after;
    uint32_t waiting, rounds;
    bool walked, recorded, resumed, dropping, giving_up, starting;
    struct timer renew;           /* of the record (move_record.c) */
    struct move_renewal *renewal; /* on its way */
    bool renewal_awaited;
    struct attrs attrs;     /* of the directory, once this mount has gone over; xattrs held */
    uint64_t stream, seq;   /* origin of the renewals after that */
    struct move_late *late; /* one that is on its way */
    bool dirs_again;        /* attributes of directories have been put last */
    int err;
    struct move_drop drops[MOVE_PARALLEL];
};

struct move_item *move_item_find(struct moving *m, struct slice suffix);
struct seen *move_seen(struct moving *m, const struct move_item *item, bool target);
/* Copies what is not yet copied, then move_copied or move_failed. */
void move_copy(struct moving *m);
void move_copied(struct moving *m);
void move_failed(struct moving *m, int err);
/* Drops what was copied, then move_done. */
void move_drop(struct moving *m);
void move_drop_on(struct moving *m); /* something it has waited for is there */
void move_done(struct moving *m);

/* move_record.c */
void move_record_init(struct moving *m);
/* Writes it, then move_copy or move_failed. From then on it is renewed. */
void move_record(struct moving *m);
void move_record_go_on(struct moving *m);
/* Ends that. false: a renewal is on its way, and move_copied or move_drop_on comes again. */
bool move_record_rests(struct moving *m);
void move_record_keep(struct moving *m);  /* the inode is about to answer for the new name */
void move_record_clear(struct moving *m); /* nobody is to finish it */
void move_record_release(struct moving *m);

#endif
