/* SPDX-License-Identifier: Apache-2.0 */
/* An archive in memory, as port/archive.h wants it, with room for a number of bytes only. */
#ifndef DYN_UNIT_MEMORY_ARCHIVE_H
#define DYN_UNIT_MEMORY_ARCHIVE_H

#include "port/archive.h"

struct memory_archive_file {
    char *name; /* NULL: removed or replaced, but perhaps open */
    struct buf bytes;
};

struct memory_archive {
    struct memory_archive_file **files;
    uint32_t n;
    size_t room; /* bytes that still fit */
};

void memory_archive_init(struct memory_archive *a);
void memory_archive_release(struct memory_archive *a);
struct archive_port memory_archive_port(struct memory_archive *a);
struct buf *memory_archive_find(struct memory_archive *a, const char *name); /* NULL; to damage */

#endif
