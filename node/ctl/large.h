/* SPDX-License-Identifier: Apache-2.0 */
/* Values that are too large for one piece, to and from a file descriptor, a few chunks at a
 * time. */
#ifndef DYN_CTL_LARGE_H
#define DYN_CTL_LARGE_H

#include "ctl/session.h"

/* The bytes that the manifest names, to a descriptor. An exit status; said why. */
int large_print(struct session *s, struct slice key, struct slice manifest, int fd);

/* Opens path ("-": stdin) and reads what fits one value, and a byte more if there is more.
 * DYN_ERR_IO with *message. */
int large_begin(const char *path, struct buf *out, int *fd, char **message);

/* Sends what `begun` holds and all that fd still gives, as chunks for a version of key; *manifest
 * is what to put then, with PUT_MANIFEST. An exit status; said why. */
int large_send(struct session *s, struct slice key, const struct request_options *opt,
               struct slice begun, int fd, struct buf *manifest);

#endif
