/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the model share: the filesystem's own struct and the task, one operation on
 * its way. A task issues at most one request at a time; its answer comes to the callback that was
 * given with it. Tasks that change a key hold the key's lock (seen.h), so a mount never races
 * itself. */
#ifndef DYN_FS_CORE_H
#define DYN_FS_CORE_H

#include "base/list.h"
#include "model/chunk_cache.h"
#include "model/fs.h"
#include "port/stage.h"

struct seen;
struct inode;

struct fs_counters {
    uint64_t operations, gets, puts, lists, syncs;
    uint64_t published, publish_failures, rebased, value_bytes_put;
    uint64_t chunk_gets, chunk_puts;
    uint64_t lagging; /* answers that knew less than this mount, and were asked for again */
    uint64_t names_from_memory;  /* lookups answered without a request */
    uint64_t told, told_answers; /* changes told, answers because nothing was told (told.h) */
    uint64_t asked_back;         /* inodes that the kernel was asked to give back (held.h) */
};

struct drain; /* control.c */

struct fs {
    struct fs_config cfg;
    struct buf root; /* cfg.root */
    struct kv_port kv;
    struct time_port time;
    struct random_port random;
    struct timers *timers;
    struct fs_host host;

    struct table inodes;  /* by nodeid */
    struct table seens;   /* by key */
    struct table aliases; /* by shown path, of conflict names (projection.h) */
    struct list idle;     /* seens that only the memory holds, oldest first */
    uint32_t n_idle;
    struct list held; /* inodes that the kernel has, longest unused first (held.h) */
    uint32_t n_held, ask_back_at;
    struct timer held_timer;
    struct list tasks;
    struct list handles; /* open files, and open directories */
    struct list cursors;
    struct list dirty; /* inodes with something to publish */
    uint32_t n_dirty;
    struct list contents; /* inodes with loaded content, least recently used first */
    uint64_t memory;      /* bytes of content held, staged or loaded */
    struct list moves;    /* move.h */
    struct list owed;     /* owed.h */
    uint32_t n_owed;
    struct list unseen; /* unseen.h */

    /* large files (large.h) */
    struct chunk_io io;
    struct chunk_cache chunks;
    struct list slots_dirty, slots_queued; /* oldest first */
    struct synced_block *synced;           /* large_sync.c; NULL: nothing yet */
    uint32_t sending;                      /* chunks on their way */
    uint64_t staging;                      /* bytes of chunks that W do not have yet */
    struct list room_waits;                /* writers that wait for that to become less */
    struct timer room_timer, renew_timer;
    int room_err; /* enum dyn_err: why the last chunk did not leave */

    struct stage_port stage; /* put NULL: nothing is kept (staging.h) */
    uint64_t staged_bytes, next_stamp;
    struct list resumed; /* records of an earlier run that wait for the cluster (resume.c) */
    uint32_t n_resumed;
    struct watch_port watch; /* want NULL: nobody tells us anything */
    struct list told;        /* told.h */
    uint32_t n_told;
    struct timer told_timer;
    uint64_t asked_us; /* when the answer that is being dealt with was asked for; 0: unknown */

    struct list drains;
    uint64_t next_node, next_stream, next_cursor;
    struct fs_counters counters;
    bool closing; /* fs_free is running: nothing new starts */
};

#define NODE_CONTROL 2 /* .dynamount, and its files from here on; ordinary nodes from 64 */
#define NODE_FIRST 64

uint64_t fs_now_us(const struct fs *fs);
int64_t fs_wall_ns(const struct fs *fs);
void fs_say(const struct fs *fs, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int fs_errno(int err); /* enum dyn_err to a positive errno */

/* Waiting for a key's lock; caller-owned. */
struct lock_wait {
    struct list link;
    struct seen *seen; /* referenced while waiting or holding */
    bool held;
    void (*granted)(struct lock_wait *w);
    void *arg;
};

struct task {
    struct fs *fs;
    struct fs_op *op; /* NULL: nobody waits for the result */
    struct list link;
    uint64_t kv_id;    /* the request on its way, 0: none */
    uint64_t asked_us; /* when it left */
    struct {           /* the get on its way (ask.c) */
        struct buf key;
        struct get_request q;
        struct timer pause;
        uint64_t until_us, pause_us;
        uint32_t tries;      /* answers that lagged */
        bool whole, probing; /* whole: nothing that was seen may be missing */
    } ask;
    bool abandonable;
    struct naming *naming;       /* naming.h, while it reads */
    struct rebase *rebase;       /* rebase.h, while it fetches */
    struct numbering *numbering; /* numbering.h, while it lists */
    union {
        void (*got)(struct task *t, const struct get_reply *p);
        void (*put)(struct task *t, const struct put_reply *p);
        void (*listed)(struct task *t, const struct list_reply *p);
        void (*synced)(struct task *t, const struct sync_reply *p);
    } on;
    void (*release)(struct task *t); /* frees what the operation holds; may be NULL */
};

/* size bytes zeroed, opening with a struct task. op may be NULL. */
void *task_new(struct fs *fs, struct fs_op *op, size_t size, void (*release)(struct task *t));
/* Runs op's done with err (0 or a positive errno), then releases and frees the task. */
void task_end(struct task *t, int err);

/* Gets; how an answer is dealt with that knows less than this mount: ask.c. One for attributes may,
 * and is to be joined with what is remembered; an answer with bytes has those asked for, or tells
 * that they were replaced (STALE, with the object as it is now). */
void task_get(struct task *t, struct slice key, enum get_want want, const struct dot *value_dot,
              void (*got)(struct task *t, const struct get_reply *p));
/* Attributes, with every version that was seen: for extended attributes, which no listing has. */
void task_get_whole(struct task *t, struct slice key,
                    void (*got)(struct task *t, const struct get_reply *p));
/* Attributes, from every replica: the newest state that can be had. */
void task_get_all(struct task *t, struct slice key,
                  void (*got)(struct task *t, const struct get_reply *p));
/* As task_get, with options for a strict read (F14). */
void task_get_strict(struct task *t, struct slice key,
                     void (*got)(struct task *t, const struct get_reply *p));
/* The same, from every replica. */
void task_get_strict_all(struct task *t, struct slice key,
                         void (*got)(struct task *t, const struct get_reply *p));
void task_options(const struct fs *fs, struct request_options *opt);
void task_put(struct task *t, struct put_request *q,
              void (*put)(struct task *t, const struct put_reply *p));
void task_list(struct task *t, struct slice dir, struct slice after, uint32_t limit,
               void (*listed)(struct task *t, const struct list_reply *p));
void task_sync(struct task *t, struct slice key, const struct dot *dot,
               void (*synced)(struct task *t, const struct sync_reply *p));
/* The get that was just answered asked for another key than s: the inode was renamed meanwhile, and
 * the answer says nothing about what it is now. */
bool task_got_other(const struct task *t, const struct seen *s);
/* A majority of the replicas, when the host knows their number; else 0: the cluster's setting. */
uint8_t fs_majority(const struct fs *fs);

/* Ends an operation that needed no task. */
void op_end(struct fs *fs, struct fs_op *op, int err);

#endif
