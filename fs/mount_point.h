/* SPDX-License-Identifier: Apache-2.0 */
/* The folder to mount on. */
#ifndef DYN_FS_MOUNT_POINT_H
#define DYN_FS_MOUNT_POINT_H

#include <stdbool.h>

/* Makes ready: takes away what a killed dynamount left there ("Transport endpoint is not
 * connected"), then checks that it is a folder on which nothing of ours is mounted. Gives its
 * absolute path (caller frees). DYN_ERR_INVALID or DYN_ERR_IO with *message (caller frees).
 * "/dev/fd/N" passes as it is. */
int mount_point_prepare(const char *given, char **absolute, char **message);

/* The absolute path of a file that need not exist yet; its folder must. As above. */
int mount_point_absolute(const char *file, char **absolute, char **message);

/* Whether a path lies under (or is) the mount point, both absolute: a mount that writes its own log
 * would wait for itself (HAZARDS F26). */
bool mount_point_contains(const char *mountpoint, const char *path);

/* The device of the innermost mount on the folder, as /proc/self/mountinfo writes it, when that is
 * one of ours; caller frees, NULL: it is not. And: is it mounted anywhere in this namespace? */
char *mount_point_device(const char *mountpoint);
bool mount_point_device_mounted(const char *device);

#endif
