/* SPDX-License-Identifier: Apache-2.0 */
/* One record of the staging folder as a file, and its chunks as files beside it. A record is
 * written under another name, synced and renamed, so it is there as a whole or not at all; still
 * each file carries its own checksum, because disks rot and people copy folders.
 *
 *   ID         := "DYNSTAGE" u32:1 u64:id u32:n { u64:stamp u32:len digest[16] }*n u32:len body
 *                 digest[16] of all before
 *   ID.STAMP   := the bytes of a chunk
 *   ID.new     := a record that was being written
 *
 * Names are hexadecimal. Everything here blocks, and is called by one thread at a time. */
#ifndef DYN_FS_STAGE_FILE_H
#define DYN_FS_STAGE_FILE_H

#include "base/buf.h"
#include "base/digest.h"

#define STAGE_RECORD_MAX (32u << 20)
#define STAGE_CHUNK_MAX (1u << 20)
#define STAGE_CHUNKS_MAX (1u << 16)
#define STAGE_NAME_MAX 40

struct stage_part { /* a chunk as its record has it */
    uint64_t stamp;
    uint32_t len;
    uint8_t digest[DIGEST_LEN];
};

void stage_record_encode(uint64_t id, const struct stage_part *parts, uint32_t n, struct slice body,
                         struct buf *out);
/* parts: caller frees. body: borrowed. DYN_ERR_CORRUPT, DYN_ERR_UNSUPPORTED. */
int stage_record_decode(struct slice file, uint64_t id, struct stage_part **parts, uint32_t *n,
                        struct slice *body);

void stage_name_record(uint64_t id, char out[STAGE_NAME_MAX]);
void stage_name_chunk(uint64_t id, uint64_t stamp, char out[STAGE_NAME_MAX]);
enum stage_name { STAGE_FOREIGN, STAGE_RECORD, STAGE_CHUNK, STAGE_UNFINISHED };
enum stage_name stage_name_parse(const char *name, uint64_t *id, uint64_t *stamp);

/* In the folder dir. DYN_ERR_NO_SPACE, DYN_ERR_IO; then there is no file of that name, or the one
 * before. */
int stage_file_write(int dir, const char *name, struct slice bytes);
/* Appended to out; DYN_ERR_NOT_FOUND, DYN_ERR_TOO_LARGE, DYN_ERR_IO. */
int stage_file_read(int dir, const char *name, size_t max, struct buf *out);

#endif
