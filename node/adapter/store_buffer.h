/* SPDX-License-Identifier: Apache-2.0 */
/* Batches that a store has taken and has yet to write: the object buffer of the Dynamo paper
 * (section 6.1). Reads must see them, a writer takes them in their order, and they are bounded.
 * Pure bookkeeping, for one thread; only the contents of batches that were taken may be read by
 * another meanwhile. */
#ifndef DYN_ADAPTER_STORE_BUFFER_H
#define DYN_ADAPTER_STORE_BUFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "port/store.h"

struct store_buffer;

enum store_buffered {
    STORE_BUFFER_NONE, /* no batch here says anything about the row */
    STORE_BUFFER_ROW,
    STORE_BUFFER_ABSENT,  /* deleted */
    STORE_BUFFER_UNKNOWN, /* merged into: what it is takes what was written before */
};

/* It is full with this many batches, or this many bytes of them. */
struct store_buffer *store_buffer_new(uint32_t batches_max, uint64_t bytes_max);
void store_buffer_free(struct store_buffer *b); /* NULL is fine */

/* Takes a batch, which is emptied. Its ticket: 1 for the first, and so on. It is taken even when
 * the buffer is full: what that is to mean for who hands over is the caller's affair. */
uint64_t store_buffer_add(struct store_buffer *b, struct store_batch *batch);
uint64_t store_buffer_last(const struct store_buffer *b); /* the newest ticket given; 0: none */
uint32_t store_buffer_count(const struct store_buffer *b);
bool store_buffer_is_full(const struct store_buffer *b);
bool store_buffer_is_swollen(const struct store_buffer *b); /* twice as much and more */

/* The newest that is known of a row here. hash: of store_cache_hash. *value is set for
 * STORE_BUFFER_ROW: borrowed until the next store_buffer_written. */
enum store_buffered store_buffer_find(const struct store_buffer *b, uint64_t hash,
                                      enum store_family f, struct slice key, struct slice *value);
/* The ticket of the newest batch that changes a row which a scan of `prefix` from `from` could
 * meet; 0: none does. */
uint64_t store_buffer_meets(const struct store_buffer *b, enum store_family f, struct slice prefix,
                            struct slice from);

/* The oldest batches, at least one if there is any, in their order: at most `cap` of them, and no
 * further one once they have bytes_max. They stay, and stay where they are, until
 * store_buffer_written. Returns how many. */
uint32_t store_buffer_oldest(const struct store_buffer *b, uint64_t bytes_max, uint32_t cap,
                             const struct store_batch **batches);
/* The n oldest batches are where other reads find them: forgets them. Returns the ticket of the
 * last. */
uint64_t store_buffer_written(struct store_buffer *b, uint32_t n);

#endif
