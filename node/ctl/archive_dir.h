/* SPDX-License-Identifier: Apache-2.0 */
/* An archive in a folder (port/archive.h). A file is written under a temporary name and renamed
 * when it is whole. Nobody else writes there meanwhile: the folder is locked. */
#ifndef DYN_CTL_ARCHIVE_DIR_H
#define DYN_CTL_ARCHIVE_DIR_H

#include <stdbool.h>

#include "port/archive.h"

struct archive_dir;

/* With `make`, the folder is made if it is not there, and locked. DYN_ERR_NOT_FOUND, DYN_ERR_IO,
 * DYN_ERR_EXISTS (somebody writes to it), and *message. */
int archive_dir_open(const char *path, bool make, struct archive_dir **out, char **message);
void archive_dir_close(struct archive_dir *d); /* NULL is fine */
struct archive_port archive_dir_port(struct archive_dir *d);
/* Of the last call that failed with DYN_ERR_IO; 0: none. */
int archive_dir_errno(const struct archive_dir *d);

#endif
