/* SPDX-License-Identifier: Apache-2.0 */
/* A filesystem for the tests of the channel: it stands in for fs/model, records each call, and
 * answers at once where that is fixed, else when its test says so. */
#ifndef DYN_TESTS_PLAYED_FS_H
#define DYN_TESTS_PLAYED_FS_H

#include <stdbool.h>
#include <stdint.h>

#include "model/fs.h"

#define CALLS_MAX 64

struct call {
    char what[16];
    char name[32];
    uint64_t node, number;
    struct fs_op *op;
};

struct played_fs {
    struct call calls[CALLS_MAX];
    int n_calls;
    bool killed; /* what caller_is_killed answers */
};

extern struct played_fs *played_fs; /* the calls' only way back to their test, which sets it */

#endif
