/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the FUSE channel share: the channel itself, a request from the kernel, and the
 * ways to answer one. Private to them, and the one includer of fuse_lowlevel.h: the rest of the
 * program does not know libfuse. */
#ifndef DYN_FS_FUSE_REQUEST_H
#define DYN_FS_FUSE_REQUEST_H

#define FUSE_USE_VERSION 314

#include <fuse3/fuse_lowlevel.h>
#include <stdlib.h>

#include "adapter/fuse_channel.h"
#include "base/buf.h"
#include "base/list.h"
#include "model/fs.h"

struct fuse_channel {
    struct fuse_session *session;
    struct fs *fs;
    struct timers *timers;
    const struct time_port *time;
    void (*ended)(void *arg);
    void *arg;
    int fd;
    bool over;           /* ended has run, or unmounted by ourselves */
    bool disowned;       /* the mount is no longer on its folder */
    bool init_reply_due; /* the next message out answers INIT */
    void *receive;       /* one message in */
    struct list requests;
    struct list interrupted;
    struct fuse_notifier *notifier;
    struct timer look; /* set while `interrupted` has members */
};

/* One request of the kernel, from its arrival to its answer. */
struct request {
    struct list link;        /* in requests */
    struct list interrupted; /* in interrupted, or alone */
    struct fuse_channel *ch;
    fuse_req_t req; /* NULL: one of our own, nobody waits */
    struct fs_op op;
    uint64_t node;            /* the one that was asked about; of a create, its parent */
    struct fuse_file_info fi; /* open, opendir, create */
    size_t size;              /* getxattr, listxattr, readdir: what the kernel has room for */
    bool plus;
    struct buf dir;   /* readdir: the reply so far */
    struct buf nodes; /* readdirplus: what that reply hands to the kernel, u64 each */
};

/* done answers and frees it, by one of the reply functions. req NULL: nobody waits for it. */
struct request *request_new(struct fuse_channel *ch, fuse_req_t req, uint64_t node,
                            void (*done)(struct fs_op *op));
void request_free(struct request *r);

/* The kernel says that the caller got a signal (fuse_channel.c). */
void request_interrupted(fuse_req_t req, void *request);
/* The caller may be dying already, of which the kernel does not tell: he is looked at while he
 * waits. */
void request_watch(struct request *r);

/* For fs_op.done. Each answers, frees the request, and gives back by itself whatever nodeid or
 * handle a failed answer did not bring to the kernel. */
void reply_done(struct fs_op *op);
void reply_entry(struct fs_op *op);
void reply_attr(struct fs_op *op);
void reply_open(struct fs_op *op);
void reply_opendir(struct fs_op *op);
void reply_create(struct fs_op *op);
void reply_data(struct fs_op *op);
void reply_xattr(struct fs_op *op);
void reply_write(struct fs_op *op);
void reply_lseek(struct fs_op *op);
void reply_statfs(struct fs_op *op);
void reply_dir(struct fs_op *op);

/* For fs_readdir: adds an entry to r->dir, which has room for r->size bytes. */
bool reply_dir_fill(struct fs_op *op, struct slice name, const struct fs_entry *entry,
                    uint64_t next_off);

extern const struct fuse_lowlevel_ops fuse_operations;

#endif
