/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of large files on the mounts of fs_world.h: what they are follows from where they lie and
 * from a salt, so no model of the file is needed. */
#ifndef DYN_TESTS_FS_BYTES_H
#define DYN_TESTS_FS_BYTES_H

#include "fs_world.h"

#define MIB (1u << 20)

int put_bytes(struct mount *m, uint64_t node, uint64_t fh, uint64_t off, size_t len, uint8_t salt);
struct buf get_bytes(struct mount *m, uint64_t node, uint64_t fh, uint64_t off, uint32_t len);
void expect_bytes(struct mount *m, uint64_t node, uint64_t fh, uint64_t off, size_t len,
                  uint8_t salt);
/* A file of so many bytes, written from front to back and closed. */
void make_file(struct mount *m, const char *path, uint64_t len, uint8_t salt);

#endif
