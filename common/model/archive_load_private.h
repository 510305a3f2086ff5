/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the reading of archives: archive_load.c decides what comes next, archive_send.c brings
 * rows to the cluster and sees to it that they arrive. */
#ifndef DYN_MODEL_ARCHIVE_LOAD_PRIVATE_H
#define DYN_MODEL_ARCHIVE_LOAD_PRIVATE_H

#include "model/archive_load.h"
#include "model/manifest.h"

struct load_dir {
    struct buf raw; /* sealed as it is to be sent */
    uint64_t bytes;
    uint32_t depth;
};

struct load_message {
    struct archive_load *l;
    struct buf rows;
    uint32_t end[RANGE_ROWS_MAX]; /* of each row, in rows */
    uint32_t n, attempt;
    uint64_t bytes; /* of values */
    struct timer timer;
};

struct archive_load {
    struct archive_load_config cfg;
    struct kv_port kv;
    void (*done)(void *arg, int err);
    void *arg;
    struct archive_manifest manifest;
    struct ring *ring; /* NULL: only checking, or not known yet */
    enum archive_load_phase phase;
    enum archive_load_phase from; /* an earlier restore broke off in this phase, */
    uint32_t from_file;           /* before this file */
    uint32_t file;                /* of this phase */
    struct archive_reader reader;
    bool reading, file_ended;
    struct load_dir *dirs; /* by depth, once checked */
    uint32_t n_dirs, cap_dirs, next_dir;
    struct upload_id *uploads; /* with below: whose chunks are needed; sorted, once checked */
    uint32_t n_uploads, cap_uploads;
    uint32_t next_setting;
    bool asked;
    struct load_message *message; /* being filled; NULL: none */
    uint32_t sending, turn;       /* messages under way */
    uint32_t outstanding;         /* calls whose callbacks have to come */
    bool alone;                   /* what is under way must arrive before anything is added */
    uint64_t began_us, noted_us;
    int err;
    char *text;
    bool ended;
    struct timer timer;
    struct archive_load_progress progress;
};

void load_failed(struct archive_load *l, int err, char *message /* taken */);
void load_again(struct archive_load *l); /* goes on in the next turn */

/* Room for another message? */
bool load_may_send(const struct archive_load *l);
/* Adds a row to the message at hand, and sends that when it is full. */
void load_add(struct archive_load *l, const struct range_row *row);
void load_add_raw(struct archive_load *l, struct slice raw, uint64_t bytes);
/* The row as it must be for this cluster, appended to out. */
void load_seal(struct archive_load *l, const struct range_row *row, struct buf *out);
void load_flush(struct archive_load *l);

#endif
