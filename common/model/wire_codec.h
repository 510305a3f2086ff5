/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that implement wire.h: the parts that many bodies have in common. Every body
 * opens with a format byte. A sender of a later version appends fields behind the known ones, and a
 * receiver ignores what follows the fields that it knows; only a change that old receivers must not
 * overlook takes a new format byte, which they refuse with DYN_ERR_UNSUPPORTED. */
#ifndef DYN_MODEL_WIRE_CODEC_H
#define DYN_MODEL_WIRE_CODEC_H

#include "model/wire.h"

#define WIRE_FORMAT 1

void wire_begin(struct buf *out);
/* DYN_ERR_PROTOCOL (empty), DYN_ERR_UNSUPPORTED (another format) or DYN_OK. */
int wire_open(struct slice body, struct reader *r);

void wire_put_options(const struct request_options *o, struct buf *out);
void wire_read_options(struct reader *r, struct request_options *o);
void wire_put_i64(int64_t v, struct buf *out);
int64_t wire_read_i64(struct reader *r);
bool wire_read_bool(struct reader *r);
uint32_t wire_read_u32(struct reader *r, uint32_t max); /* a varint; fails over max */
struct slice wire_read_bytes(struct reader *r, size_t max);

/* Status, which is DYN_OK or negative; the counts of answers. */
void wire_put_status(int status, uint8_t answered, uint8_t needed, struct buf *out);
void wire_read_status(struct reader *r, int *status, uint8_t *answered, uint8_t *needed);

void wire_put_contexts(const struct slice *contexts, uint32_t n, struct buf *out);
/* *contexts: the caller frees, also when the reader failed. */
void wire_read_contexts(struct reader *r, struct slice **contexts, uint32_t *n);

#define WIRE_REPLICAS_MAX 8
void wire_put_replicas(const uint64_t *nodes, uint8_t n, struct buf *out);
void wire_read_replicas(struct reader *r, uint64_t nodes[WIRE_REPLICAS_MAX], uint8_t *n);

void wire_put_epoch(const struct history_epoch *e, struct buf *out);
void wire_read_epoch(struct reader *r, struct history_epoch *e);

#endif
