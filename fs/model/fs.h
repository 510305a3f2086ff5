/* SPDX-License-Identifier: Apache-2.0 */
/* The filesystem, sans I/O: turns the kernel's operations (the table in HAZARDS-FS) into gets, puts
 * and lists on a struct kv_port, and knows all that the semantics need: inodes, open files and
 * their contexts, conflict names, what this mount has shown. The FUSE adapter translates requests
 * to these calls and replies when done runs; tests call them without a mount. */
#ifndef DYN_FS_FS_H
#define DYN_FS_FS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock_port.h"
#include "base/timers.h"
#include "port/kv.h"
#include "port/watch.h"

#define FS_ROOT 1 /* nodeid of the mount's root */

enum fs_resolve { FS_RESOLVE_SHOWN, FS_RESOLVE_READ, FS_RESOLVE_EXPLICIT }; /* F1 */

struct fs_config {
    uint64_t mount_id;          /* random, not 0 */
    struct slice root;          /* key of the directory mounted as root; "" for all; copied */
    uint64_t attr_us, entry_us; /* kernel cache times; 1 s */
    uint64_t push_us; /* how long what a node would have told of is believed; 30 s; 0: not at all */
    uint32_t
        names_max; /* inodes that the kernel may make this mount keep (held.h); 0: any number */
    enum fs_resolve resolve;
    bool hide_conflicts;
    bool read_only;
    bool map_uid, map_gid, map_umask; /* uid= gid= umask= */
    /* Also who owns what no filesystem made: the root, keys that were put without attributes. The
     * mounting user, then. */
    uint32_t uid, gid, umask;
    uint64_t deadline_us;  /* lack of progress, then ETIMEDOUT; 20 s */
    uint64_t value_max;    /* bytes of a file, EFBIG beyond; default FILE_LEN_MAX */
    uint64_t inline_max;   /* a larger file is stored in chunks; at most CHUNK_LEN, the default */
    uint64_t staging_max;  /* bytes of large files' chunks that wait to leave; then writers wait */
    uint64_t cache_max;    /* bytes of large files' chunks that were read */
    uint32_t rename_limit; /* objects in a directory that is renamed; EXDEV beyond (F25) */
    uint64_t dirty_us;     /* publish in the background after; 30 s (F12) */
    uint64_t memory_max;   /* bytes of staged and cached content */
    uint64_t staged_max;   /* bytes of what is kept on this machine's disk (staging.h) */
    uint8_t durability;    /* at close; fsync always uses quorum */
    uint8_t r, w;          /* replicas that answer; 0: the cluster's setting, over N: all */
};
void fs_config_defaults(struct fs_config *c);

/* An inode that the kernel is to give back. */
struct fs_held {
    uint64_t node;
    uint64_t parent; /* the directory that it lies in, 0: to be asked for by its node alone */
    struct slice name;
};

/* What the filesystem asks of its host. */
struct fs_host {
    void *ctx;
    void (*inval_attrs)(
        void *ctx, uint64_t node); /* drop the kernel's attributes, never its pages (F5, F21) */
    void (*log)(void *ctx, int level /* enum log_level */, const char *text);
    /* Appends a report to out for .dynamount/NAME, what the model itself cannot know (peers,
     * latencies); may be NULL. */
    void (*status)(void *ctx, struct buf *out);
    /* N of the cluster, 0 while unknown; may be NULL. O_EXCL asks a majority of them (F14). */
    uint8_t (*replicas)(void *ctx);
    /* Bytes that the cluster holds and has free, over N; false while unknown; may be NULL. */
    bool (*space)(void *ctx, uint64_t *total, uint64_t *unused);
    /* An inode's attributes have changed elsewhere: the kernel's are to go, soon, not here and now
     * (F21). May be NULL: the kernel's live no longer than what a mount that is told nothing gives
     * them. */
    void (*outdated)(void *ctx, uint64_t node);
    /* The kernel is to give an inode back, soon, if nobody uses it (held.h); borrowed. May be NULL:
     * it keeps what it likes to. */
    void (*let_go)(void *ctx, const struct fs_held *held);
    /* Does this process still have the file of that st_ino open, through another descriptor? May be
     * NULL: not known. */
    bool (*still_open)(void *ctx, uint32_t pid, uint64_t ino);
    /* The cluster's id, 0 while unknown; may be NULL. */
    uint64_t (*cluster)(void *ctx);
};

struct fs;
struct inode;
struct fs *fs_new(const struct fs_config *cfg, const struct kv_port *kv,
                  const struct time_port *time, const struct random_port *random,
                  struct timers *timers, const struct fs_host *host);
void fs_free(struct fs *fs);

/* What the cluster has not taken is kept there from now on (F8, staging.h). Copied. */
struct stage_port;
void fs_set_stage(struct fs *fs, const struct stage_port *stage);
/* A record that an earlier run of this mount has left there, with its chunks (copied), which goes
 * on as soon as fs_resume says which cluster this is: under its old context, in the sight of this
 * mount and of .dynamount/pending. Not DYN_OK: it is none, and should be set aside. */
int fs_resume_record(struct fs *fs, uint64_t id, struct slice body, const struct slice *chunks,
                     uint32_t n);
void fs_resume(struct fs *fs, uint64_t cluster);
/* To be told of changes made elsewhere, where the host can: before the first operation. The events
 * go to fs_watch_events. */
void fs_watch(struct fs *fs, const struct watch_port *port);
struct watch_events fs_watch_events(struct fs *fs);
/* Publishes all that is dirty, as if every inode were released (F7); done(arg, still_dirty) runs
 * when nothing is left or after limit_us. */
void fs_drain(struct fs *fs, uint64_t limit_us, void (*done)(void *arg, uint32_t still_dirty),
              void *arg);
bool fs_in_use(const struct fs *fs); /* files or directories are open, or operations on their way */
/* Files with unpublished changes, and old names that could not be dropped yet. */
uint32_t fs_dirty_count(const struct fs *fs);

/* What is not published when nothing more can be done: each file whose content was changed, its
 * bytes in pieces. Whoever has kept one there need not find it in the staging folder again. whole:
 * all of it is here, else only what was written. */
struct fs_leftover {
    struct slice key;
    uint64_t size;
    uint32_t mode;
    int64_t mtime_ns;
    bool whole;
};
struct fs_leftovers {
    void *arg;
    void (*begin)(void *arg, const struct fs_leftover *l);
    void (*piece)(void *arg, uint64_t off, struct slice bytes);
    bool (*end)(void *arg, const struct fs_leftover *l); /* whether it is kept there now */
};
void fs_leftovers(struct fs *fs, const struct fs_leftovers *take);

struct fs_caller {
    uint32_t uid, gid, pid, umask;
};

struct fs_attr {
    uint64_t ino, size, blocks; /* blocks of 512 (F19) */
    uint32_t mode;              /* type and permissions, as st_mode */
    uint32_t nlink, uid, gid, blksize;
    int64_t atime_ns, mtime_ns, ctime_ns;
};

struct fs_entry {
    uint64_t node; /* 0: negative */
    struct fs_attr attr;
    uint64_t attr_us, entry_us; /* how long the kernel may keep them */
};

struct fs_open {
    uint64_t fh;
    bool keep_cache, direct_io, no_flush; /* no_flush: close has nothing to tell */
};

struct fs_statfs {
    uint64_t block_size, blocks, blocks_free, files, files_free;
    uint32_t name_max;
};

/* One operation, zeroed but for caller, done and arg, caller-owned from the call until done, which
 * runs exactly once, possibly inside the call. */
struct fs_op {
    struct fs_caller caller;
    void (*done)(struct fs_op *op);
    void *arg;
    int err; /* 0 or a positive errno */
    struct fs_entry entry;
    struct fs_open open;
    struct fs_statfs statfs;
    struct slice data; /* read, readlink, getxattr, listxattr: borrowed during done */
    uint32_t written;  /* write, copy_range */
    uint64_t offset;   /* lseek */
    /* private to the model */
    struct fs *fs;
    void *state;
    struct inode *flushed; /* waits for its publication */
};

/* The caller is being killed: ends the operation with EINTR, so that he need not wait. What it has
 * begun to change goes on without him, publications above all (F23). Never runs done for an
 * operation that has ended. */
void fs_interrupt(struct fs_op *op);

#define FS_SET_MODE 1u
#define FS_SET_UID 2u
#define FS_SET_GID 4u
#define FS_SET_SIZE 8u
#define FS_SET_ATIME 16u
#define FS_SET_MTIME 32u
#define FS_SET_ATIME_NOW 64u
#define FS_SET_MTIME_NOW 128u
#define FS_SET_CTIME 256u

void fs_lookup(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name); /* entry */
void fs_forget(struct fs *fs, uint64_t node, uint64_t nlookup);                      /* at once */
void fs_getattr(struct fs *fs, struct fs_op *op, uint64_t node,
                uint64_t fh /* 0: none */); /* entry.attr */
void fs_setattr(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh,
                const struct fs_attr *attr, uint32_t set); /* entry.attr */
void fs_mknod(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name,
              uint32_t mode); /* entry */
void fs_mkdir(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name,
              uint32_t mode); /* entry */
void fs_symlink(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name,
                struct slice target);                             /* entry */
void fs_readlink(struct fs *fs, struct fs_op *op, uint64_t node); /* data */
void fs_create(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name, uint32_t mode,
               int flags);                                                    /* entry, open */
void fs_open_file(struct fs *fs, struct fs_op *op, uint64_t node, int flags); /* open */
void fs_read(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh, uint64_t off,
             uint32_t size); /* data */
void fs_write(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh, uint64_t off,
              struct slice data); /* written; data borrowed during the call */
void fs_fallocate(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh, int mode,
                  uint64_t off, uint64_t len);
void fs_lseek(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t off,
              int whence /* SEEK_DATA, SEEK_HOLE */); /* offset */
/* EOPNOTSUPP: the bytes have to be copied by hand. */
void fs_copy_range(struct fs *fs, struct fs_op *op, uint64_t from_node, uint64_t from_off,
                   uint64_t to_node, uint64_t to_fh, uint64_t to_off, uint64_t len); /* written */
void fs_flush(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh);
void fs_release(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh);
void fs_fsync(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh);
void fs_unlink(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name);
void fs_rmdir(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name);
void fs_rename(struct fs *fs, struct fs_op *op, uint64_t parent, struct slice name,
               uint64_t new_parent, struct slice new_name, uint32_t flags);
void fs_opendir(struct fs *fs, struct fs_op *op, uint64_t node); /* open */
/* fill returns false when the entry does not fit: it is then not counted as looked up and comes
 * again. next_off is the cookie after it. */
typedef bool (*fs_fill)(struct fs_op *op, struct slice name, const struct fs_entry *entry,
                        uint64_t next_off);
void fs_readdir(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh, uint64_t off,
                bool plus, fs_fill fill);
void fs_releasedir(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh);
void fs_fsyncdir(struct fs *fs, struct fs_op *op, uint64_t node, uint64_t fh);
void fs_stat_fs(struct fs *fs, struct fs_op *op, uint64_t node);
void fs_setxattr(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name,
                 struct slice value, int flags);
void fs_getxattr(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name); /* data */
void fs_listxattr(struct fs *fs, struct fs_op *op, uint64_t node); /* data: NUL-separated */
void fs_removexattr(struct fs *fs, struct fs_op *op, uint64_t node, struct slice name);

#endif
