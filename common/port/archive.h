/* SPDX-License-Identifier: Apache-2.0 */
/* Where an archive lies: named files of bytes in one place, each written once, from its start to
 * its end, and not there before that. A folder stands behind it for dynactl, memory for the
 * simulator. All calls block: whoever archives has nothing else to do. Errors: DYN_ERR_NOT_FOUND,
 * DYN_ERR_NO_SPACE, DYN_ERR_IO. */
#ifndef DYN_PORT_ARCHIVE_H
#define DYN_PORT_ARCHIVE_H

#include <stdint.h>

#include "base/buf.h"

struct archive_file; /* the port's */

struct archive_port {
    void *ctx;
    int (*create)(void *ctx, const char *name, struct archive_file **out);
    int (*append)(void *ctx, struct archive_file *f, struct slice bytes);
    /* It gets its name, in the place of what had it before. Closes f in any case. */
    int (*commit)(void *ctx, struct archive_file *f);
    int (*sync)(void *ctx); /* all that was committed is on disk, names too */
    void (*discard)(void *ctx, struct archive_file *f); /* NULL is fine */

    int (*open)(void *ctx, const char *name, struct archive_file **out, uint64_t *size);
    /* Appends exactly len bytes to out. DYN_ERR_CORRUPT: there are fewer. */
    int (*read)(void *ctx, struct archive_file *f, uint64_t at, size_t len, struct buf *out);
    void (*close)(void *ctx, struct archive_file *f); /* of open; NULL is fine */

    int (*remove)(void *ctx, const char *name);
    /* Calls name() for each file that is whole. */
    int (*list)(void *ctx, void (*name)(void *arg, const char *name), void *arg);
};

#endif
