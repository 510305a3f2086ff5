/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks that were read, or are being read: one request for each, whoever waits for it, and the
 * least recently used give way when cfg.cache_max bytes are passed. A chunk never changes, so
 * nothing here can be stale. */
#ifndef DYN_FS_CHUNK_CACHE_H
#define DYN_FS_CHUNK_CACHE_H

#include "base/list.h"
#include "model/chunk_io.h"
#include "model/table.h"

struct fs;

struct chunk_wait { /* caller-owned; in no list when nobody waits */
    struct list link;
    void (*done)(struct chunk_wait *w, int err); /* enum dyn_err; may run the caller's next step */
    void *arg;
};

struct chunk_cache {
    struct table table; /* by upload and number */
    struct list lru;    /* least recently used first; those on their way too */
    uint64_t bytes, max;
    uint32_t loading;
};

void chunk_cache_init(struct chunk_cache *c, uint64_t seed, uint64_t max);
void chunk_cache_release(struct chunk_cache *c); /* cancels what is on its way; nobody waits */
/* NULL: not here. Borrowed until the next call. */
struct blob *chunk_cache_find(struct fs *fs, const struct upload_id *upload, const struct chunk *c);
/* Fetches what is not here; w (NULL: nobody waits) is told when it is, or why not. */
void chunk_cache_load(struct fs *fs, const struct upload_id *upload, const struct chunk *c,
                      struct chunk_wait *w);
void chunk_cache_add(struct fs *fs, const struct upload_id *upload, const struct chunk *c,
                     struct blob *bytes /* shared */);

#endif
