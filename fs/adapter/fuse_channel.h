/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's FUSE channel: mounts, reads requests, calls the filesystem of model/fs.h, answers.
 * Driven by somebody else's event loop: watch fuse_channel_fd() for reading and call
 * fuse_channel_ready(). Single-threaded; nothing here blocks after the mount. */
#ifndef DYN_FS_FUSE_CHANNEL_H
#define DYN_FS_FUSE_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock_port.h"
#include "base/timers.h"
#include "model/fs.h"

struct fuse_channel_config {
    const char *source;  /* what mount(8) shows as the device; any bytes but NUL */
    const char *options; /* more of mount's own, comma separated ("ro,noexec"); NULL: none */
    bool allow_other;
    bool debug;                   /* libfuse traces each message to stderr */
    struct timers *timers;        /* both borrowed, for looking again at interrupted callers */
    const struct time_port *time; /* (HAZARDS F23) */
    /* The kernel has let go of the mount (umount, abort): runs at most once, inside
     * fuse_channel_ready. Everything that is open counts as released (F7). */
    void (*ended)(void *arg);
    void *arg;
};

struct fuse_channel;

/* NULL when libfuse refuses the options; it has told stderr why. cfg is copied, its strings are
 * not kept. */
struct fuse_channel *fuse_channel_new(const struct fuse_channel_config *cfg);

/* Mounts on the folder, or takes over the descriptor of a mountpoint "/dev/fd/N". DYN_ERR_IO:
 * libfuse has told stderr why. */
int fuse_channel_mount(struct fuse_channel *ch, const char *mountpoint);

/* Instead of mounting: serves a descriptor that speaks the kernel's protocol, one message a read.
 * Owned from then on. */
int fuse_channel_attach(struct fuse_channel *ch, int fd);

/* The filesystem to call, borrowed; before the first fuse_channel_ready. */
void fuse_channel_serve(struct fuse_channel *ch, struct fs *fs);

int fuse_channel_fd(const struct fuse_channel *ch); /* non-blocking; -1 after unmount */

/* Takes at most 32 requests: a burst must not starve the network beside it (F26). */
void fuse_channel_ready(struct fuse_channel *ch);

/* For struct fs_host, with the channel as ctx: drops the kernel's attributes of a node and nothing
 * else; invalidating pages from the loop deadlocks against a pending READ (F21). */
void fuse_channel_inval_attrs(void *ch, uint64_t node);

/* The mount is no longer on its folder, where another may be by now: fuse_channel_unmount will only
 * close the descriptor, which ends whatever copies there are. */
void fuse_channel_disown(struct fuse_channel *ch);

/* The same, soon, from a thread of its own: for an inode that may be in no use (fuse_notify.h). */
void fuse_channel_outdate(void *ch, uint64_t node);

/* The kernel is to give the inode back if it does not use it; soon, from such a thread as well. */
void fuse_channel_let_go(void *ch, const struct fs_held *held);

/* Takes the mount away from the folder, lazily when it is busy, and closes the descriptor: what the
 * kernel still waits for ends with ENOTCONN. */
void fuse_channel_unmount(struct fuse_channel *ch);

/* After fs_free: requests that were never answered are dropped. NULL is fine. */
void fuse_channel_free(struct fuse_channel *ch);

#endif
