/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks and uploads through a struct kv_port, for whoever streams large values: the filesystem,
 * dynactl, a node's HTTP front. What is here is the protocol that keeps a chunk alive (E8, E23):
 *
 *   An upload has a record, an object whose siblings are references: each names a key whose
 *   versions may use the upload's chunks, and how many chunk numbers there are. Adding one covers
 *   nothing, so the set is add-wins. It is there before a manifest is put that names the upload.
 *   A node collects an upload's chunks only when each reference is older than UPLOAD_LEASE_S, none
 *   of the keys has a version that lists the upload, and both have been so for UPLOAD_GRACE_S.
 *
 * So whoever has added a reference, or read a version that lists the upload, may rely on its chunks
 * for UPLOAD_SAFE_S from when it asked; then it adds one again, or sends the bytes again. */
#ifndef DYN_MODEL_CHUNK_IO_H
#define DYN_MODEL_CHUNK_IO_H

#include "base/clock_port.h"
#include "model/manifest.h"
#include "port/kv.h"

#define UPLOAD_LEASE_S 3600u
#define UPLOAD_GRACE_S 3600u
#define UPLOAD_SAFE_S 1800u
#define UPLOAD_NUMBERS 256u /* reserved at first; doubles */

struct chunk_io {
    struct kv_port kv;
    struct time_port time;
    struct random_port random;
    uint64_t writer;     /* of origins; not 0 */
    uint32_t timeout_ms; /* of each request; 0: the port's */
    uint64_t lease_ms;   /* of uploads; 0: UPLOAD_LEASE_S */
};

/* The requests are caller-owned; id is not 0 while one is on its way. Each done runs once,
 * later. */
struct chunk_get {
    void (*done)(struct chunk_get *g, int err, struct blob *bytes /* borrowed */);
    void *arg;
    struct chunk_io *io;
    uint64_t id;
    uint8_t digest[DIGEST_LEN];
};
/* All bytes of the chunk, which may be more than the first c->len that count here.
 * DYN_ERR_NOT_FOUND: no replica has it. */
void chunk_get_start(struct chunk_io *io, struct chunk_get *g, const struct upload_id *upload,
                     const struct chunk *c);
void chunk_get_cancel(struct chunk_get *g);

struct chunk_put {
    void (*done)(struct chunk_put *p, int err);
    void *arg;
    struct chunk_io *io;
    uint64_t id;
    struct dot dot; /* the write's, once done: for chunk_sync_start */
};
/* bytes are encoded inside the call. */
void chunk_put_start(struct chunk_io *io, struct chunk_put *p, const struct upload_id *upload,
                     uint32_t number, struct slice bytes, enum durability durability);
void chunk_put_cancel(struct chunk_put *p);

/* One reference, or several of one manifest's uploads. */
struct upload_ref {
    void (*done)(struct upload_ref *r, int err);
    void *arg;
    struct chunk_io *io;
    uint64_t id;
    struct buf key;
    struct upload_id *uploads;
    uint32_t n, next, numbers;
};
/* key: whose versions may name the uploads. numbers: chunk numbers below this may exist; 0: this is
 * about an upload of somebody else's, who has said so. */
void upload_ref_start(struct chunk_io *io, struct upload_ref *r, struct slice key,
                      const struct upload_id *uploads, uint32_t n, uint32_t numbers);
void upload_ref_cancel(struct upload_ref *r);

void upload_id_new(struct chunk_io *io, struct upload_id *out);

/* A reference as it is stored. DYN_ERR_CORRUPT. */
void upload_ref_encode(struct slice key, uint32_t numbers, struct buf *out);
int upload_ref_decode(struct slice value, struct slice *key, uint32_t *numbers);

#endif
