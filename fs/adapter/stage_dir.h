/* SPDX-License-Identifier: Apache-2.0 */
/* The staging folder of one mount (port/stage.h): FOLDER/MOUNT, which nobody else may look into.
 * The files are written by a thread, one after the other, since a disk may take its time and the
 * loop may not (F26).
 *
 * MOUNT stands for the mount point and what is mounted there, so whoever mounts the same again
 * finds it. While an earlier dynamount still drains there, the next one takes MOUNT.2, and so on;
 * what those leave is gathered by whoever comes next. */
#ifndef DYN_FS_STAGE_DIR_H
#define DYN_FS_STAGE_DIR_H

#include "adapter/loop.h"
#include "port/stage.h"

struct stage_dir;

/* Makes what is not there. what: the mount point and what is mounted there, as one text. Errors
 * with *message (caller frees). */
int stage_dir_open(const char *folder, const char *mountpoint, const char *what, struct loop *loop,
                   struct stage_dir **out, char **message);
const char *stage_dir_path(const struct stage_dir *d); /* real, without links */
struct stage_port stage_dir_port(struct stage_dir *d);
/* Hands over each record that is there, with its chunks, all borrowed. What take does not want, and
 * what is damaged, is set aside. Before anything is put. Returns how many were taken. */
uint32_t stage_dir_load(struct stage_dir *d,
                        int (*take)(void *arg, uint64_t id, struct slice body,
                                    const struct slice *chunks, uint32_t n),
                        void *arg);
/* Waits for what is being written. NULL is fine. */
void stage_dir_free(struct stage_dir *d);

#endif
