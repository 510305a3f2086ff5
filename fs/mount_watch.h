/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel ends a channel when the last copy of its mount is gone, and other mount namespaces (a
 * container, `unshare -m`, a service of systemd) may hold copies that umount(8) here does not
 * reach: dynamount would serve on for ever, and whoever waits for its end would wait as long. So
 * somebody looks whether the mount is still there, where it was made. */
#ifndef DYN_FS_MOUNT_WATCH_H
#define DYN_FS_MOUNT_WATCH_H

#include <stdbool.h>

#include "base/clock_port.h"
#include "base/timers.h"

struct mount_watch;

struct mount_watch_config {
    const char *mountpoint; /* of a mount that has just been made; not kept */
    struct timers *timers;
    const struct time_port *time;
    /* Are files open? As long as that is so after `umount -l`, the mount is not over. */
    bool (*in_use)(void *arg);
    void (*gone)(void *arg); /* runs once */
    void *arg;
};

/* NULL: the mount is not to be found, as when a descriptor was handed over. */
struct mount_watch *mount_watch_new(const struct mount_watch_config *cfg);
void mount_watch_free(struct mount_watch *w); /* NULL is fine */

#endif
