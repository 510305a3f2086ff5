/* SPDX-License-Identifier: Apache-2.0 */
/* What a store says about itself: its format, whose it is, and how its last run ended. A node on
 * another's disk, or on one that a newer version wrote, must refuse to start, with a sentence that
 * says why. */
#ifndef DYN_ADAPTER_STORE_IDENTITY_H
#define DYN_ADAPTER_STORE_IDENTITY_H

#include "adapter/rocks.h"

enum {
    STORE_FORMAT_ROWS = 1,  /* all in RocksDB */
    STORE_FORMAT_FILES = 2, /* rows may refer to files (store_files.h) */
};

struct store_identity {
    uint64_t cluster, node; /* 0: none yet */
    uint32_t format;        /* STORE_FORMAT_... */
    bool created;           /* there was nothing in the store */
    bool clean;             /* the last run ended cleanly, or there was none */
    bool same_boot;         /* the last run was under this start of the machine, in this folder */
};

/* Reads and checks. format: what a new store is given and an older one is raised to, from when on
 * older programs refuse it. cluster, node: what it must be, 0: anything; a store that has no
 * identity yet is given these when neither is 0. Takes the mark of a clean stop away. All that it
 * wrote is synced when it returns. Errors as store_rocksdb_open. */
int store_identity_open(struct rocks *r, const char *path, uint32_t format, uint64_t cluster,
                        uint64_t node, struct store_identity *out, char **message);
/* Notes under which start of the machine this run is; once whoever needs same_boot has noted it,
 * for it is not said again. */
int store_identity_mark_boot(struct rocks *r, const char *path, char **message);
/* Notes none: whatever starts next takes this run for one under another start. */
int store_identity_forget_boot(struct rocks *r, char **message);
int store_identity_adopt(struct rocks *r, uint64_t cluster, uint64_t node, char **message);
/* The mark of a clean stop: the last thing that is written. */
int store_identity_mark_clean(struct rocks *r, char **message);

#endif
