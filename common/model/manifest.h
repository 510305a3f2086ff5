/* SPDX-License-Identifier: Apache-2.0 */
/* A large file is many chunks and a manifest that names them. The manifest is what the file's
 * sibling has for a value, so versions, conflicts, repair and hints treat it like any other; the
 * chunks are objects of their own below KEY_INTERNAL, each written once, so that they have
 * replicas, hints and repair too, without a second machinery for those.
 *
 * A chunk is named by the upload that wrote it, a random number, and its number within it; never by
 * its place in a file. So an edit of a few bytes makes one chunk and a manifest that shares all the
 * others, a rename copies the manifest alone, and nothing that was written ever changes (E8).
 *
 *   manifest := format(1) varint:size varint:n_uploads upload[16]*n varint:n_runs run*n
 *   run      := varint:holes before it  varint:upload  varint:number of the first
 *               varint:bytes of each  varint:count  digest[16]*count
 *
 * What no run covers is a hole. A chunk may be named for its first bytes only (after a truncate);
 * the rest of its place reads as zeros. 16 bytes a chunk: a file of 100 GB has a manifest of
 * 1.6 MB, and the limit on values makes about 500 GB the largest that is not sparse. */
#ifndef DYN_MODEL_MANIFEST_H
#define DYN_MODEL_MANIFEST_H

#include "base/buf.h"
#include "base/digest.h"
#include "model/object.h"

#define CHUNK_LEN (1u << 20)
#define FILE_LEN_MAX (1ull << 51) /* chunks are counted in 32 bits */
#define MANIFEST_LEN_MAX VALUE_LEN_MAX

struct upload_id {
    uint8_t bytes[UPLOAD_ID_LEN];
};

struct chunk {
    uint32_t index;             /* its place in the file: byte index * CHUNK_LEN */
    uint32_t number;            /* within its upload */
    uint32_t len;               /* bytes of it that count, from its first; at least 1 */
    uint32_t upload;            /* index into uploads[] */
    uint8_t digest[DIGEST_LEN]; /* digest_sha256 of all its bytes */
};

struct manifest {
    uint64_t size;
    struct upload_id *uploads;
    uint32_t n_uploads, cap_uploads;
    struct chunk *chunks; /* by index */
    uint32_t n, cap;
};
#define MANIFEST_EMPTY ((struct manifest){0})

void manifest_release(struct manifest *m);
const struct chunk *manifest_find(const struct manifest *m, uint32_t index); /* NULL: a hole */
/* The first chunk at index or after it, NULL: none. */
const struct chunk *manifest_from(const struct manifest *m, uint64_t index);
/* Appends a chunk; c->index is greater than all before, c->upload is set here. */
void manifest_add(struct manifest *m, const struct upload_id *upload, const struct chunk *c);
uint64_t manifest_allocated(const struct manifest *m);
/* The same bytes, chunk by chunk, whoever uploaded them. */
bool manifest_same_bytes(const struct manifest *a, const struct manifest *b);

/* m->size is set, and no chunk reaches beyond it. */
void manifest_encode(const struct manifest *m, struct buf *out);
/* m: empty, replaced. DYN_ERR_INVALID: it is no manifest. */
int manifest_decode(struct slice bytes, struct manifest *m);
/* What a sibling says of its manifest: size, manifest_len, allocated, uploads. DYN_ERR_INVALID. */
int manifest_describe(struct slice bytes, struct sibling *s);

/* Where a chunk, and the record of an upload (upload.h), are kept. */
void chunk_key(const struct upload_id *upload, uint32_t number, struct buf *out);
void upload_key(const struct upload_id *upload, struct buf *out);
/* DYN_ERR_INVALID: another key. */
int upload_key_parse(struct slice key, struct upload_id *upload);
int chunk_key_parse(struct slice key, struct upload_id *upload); /* of which it is a chunk */

#endif
