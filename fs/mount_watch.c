/* SPDX-License-Identifier: Apache-2.0 */
/* See mount_watch.h. The kernel tells poll(2) that mounts have changed, but also that they can be
 * read, at all times: no loop can wait for it. So it is asked once a second, which costs a system
 * call, and the list is read only after a change. */
#include "mount_watch.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "mount_point.h"

#define LOOK_US 1000000u

struct mount_watch {
    struct mount_watch_config cfg;
    char *device;
    int fd;
    bool mounted, idle; /* idle: when last looked at */
    struct timer timer;
};

static bool changed(const struct mount_watch *w)
{
    struct pollfd p = {.fd = w->fd, .events = POLLPRI};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLPRI | POLLERR)) != 0;
}

static void look_later(struct mount_watch *w)
{
    timer_set(w->cfg.timers, &w->timer, w->cfg.time->mono_us(w->cfg.time->ctx) + LOOK_US);
}

static void look(struct timer *t, void *arg)
{
    struct mount_watch *w = arg;
    (void)t;
    if (changed(w))
        w->mounted = mount_point_device_mounted(w->device);
    bool idle = !w->mounted && !w->cfg.in_use(w->cfg.arg);
    if (idle && w->idle) {
        w->cfg.gone(w->cfg.arg);
        return;
    }
    w->idle = idle;
    look_later(w);
}

struct mount_watch *mount_watch_new(const struct mount_watch_config *cfg)
{
    int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    char *device = fd < 0 ? NULL : mount_point_device(cfg->mountpoint);
    if (device == NULL) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    struct mount_watch *w = mem_new(struct mount_watch);
    *w = (struct mount_watch){.cfg = *cfg, .device = device, .fd = fd, .mounted = true};
    (void)changed(w); /* what happened so far */
    w->mounted = mount_point_device_mounted(device);
    timer_init(&w->timer, look, w);
    look_later(w);
    return w;
}

void mount_watch_free(struct mount_watch *w)
{
    if (w == NULL)
        return;
    timer_cancel(w->cfg.timers, &w->timer);
    close(w->fd);
    free(w->device);
    free(w);
}
