/* SPDX-License-Identifier: Apache-2.0 */
/* What dynamount was asked to do: its command line, also in the form in which mount(8) and fstab
 * hand it over. */
#ifndef DYN_FS_MOUNT_OPTIONS_H
#define DYN_FS_MOUNT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/log.h"
#include "model/fs.h"

#define MOUNT_SEEDS_MAX 64

struct mount_options {
    char *source; /* as given, for mount(8) to show */
    char *seeds[MOUNT_SEEDS_MAX];
    uint32_t n_seeds;
    char *local;  /* the folder of --local, NULL: the cluster is somebody else's */
    char *subdir; /* key of the directory to mount, "" for all */
    char *mountpoint;
    bool help, version;
    bool foreground;
    bool debug;
    bool allow_other;
    struct buf kernel; /* options for mount(2), comma separated */
    char *log;         /* a file, or "syslog"; NULL: stderr in the foreground, else "syslog" */
    enum log_level log_level;
    bool nodes_coordinate; /* gets go through a node that asks the replicas */
    char *recovered;       /* where unpublished changes go at the end; NULL: the default */
    char *staging_dir;     /* where they wait meanwhile; NULL: the default */
    uint64_t drain_us;     /* how long unmounting may wait for the cluster */
    struct fs_config fs;   /* root, mount_id and such are filled in later; root by _root() */
};

/* Sets the defaults; fs from fs_config_defaults by the caller. */
void mount_options_init(struct mount_options *o, const struct fs_config *defaults);
void mount_options_release(struct mount_options *o);

/* Parses argv. DYN_ERR_INVALID with *message (caller frees), a sentence that says what is wrong.
 * With help or version the rest may be missing. */
int mount_options_parse(struct mount_options *o, int argc, char **argv, char **message);

/* HOST:PORT[,HOST:PORT...][:/SUBDIR] into seeds and subdir, local:FOLDER into local. Errors as
 * above. */
int mount_options_source(struct mount_options *o, const char *source, char **message);

/* "20", "0.5", "500ms", "20s", "2m", "1h"; DYN_ERR_INVALID, also over a year. */
int mount_options_duration(const char *text, uint64_t *us);

#endif
