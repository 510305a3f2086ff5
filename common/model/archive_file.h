/* SPDX-License-Identifier: Apache-2.0 */
/* The files of an archive. For each partition there are two, because chunks must be read after the
 * manifests that name them: what users have written (`keys`), and what large files are made of
 * (`chunks`). A file is pieces of sealed rows (range_wire.h) in the order of positions, each with a
 * digest, so that damage is found and named, and a foot that says what all of it is:
 *
 *   file  = head, piece*, foot
 *   head  = "DYNARC01" u64 cluster, u32 q, u32 partition, u8 kind, digest[16]
 *   piece = u32 length, u32 rows, row*, digest[16]
 *   foot  = u32 0, u32 length, fields, the digest before it, digest[16]
 *
 * A digest is over its part and the digest before it: so the foot's stands for the whole file, and
 * pieces cannot be left out, repeated or taken from another file unnoticed. */
#ifndef DYN_MODEL_ARCHIVE_FILE_H
#define DYN_MODEL_ARCHIVE_FILE_H

#include "model/range_wire.h"
#include "port/archive.h"

#define ARCHIVE_PIECE_MAX (56u << 20)  /* bytes of its rows; a row is at most so large */
#define ARCHIVE_VALUES_MAX (16u << 20) /* of values in one row, when there are several */
#define ARCHIVE_NAME_MAX 64
#define ARCHIVE_ROOTS_MAX 16

enum archive_kind { ARCHIVE_KEYS = 0, ARCHIVE_CHUNKS = 1, ARCHIVE_KINDS };

/* "keys-00012.3": partition 12, written by the third run. */
void archive_name(enum archive_kind kind, uint32_t partition, uint64_t run,
                  char out[ARCHIVE_NAME_MAX]);
bool archive_name_parse(const char *name, enum archive_kind *kind, uint32_t *partition,
                        uint64_t *run);

struct archive_head {
    uint64_t cluster;
    uint32_t q, partition;
    enum archive_kind kind;
};

struct archive_foot {
    uint64_t rows, value_bytes; /* a state in several rows counts for each */
    uint64_t begun_ms;          /* wall clock */
    uint32_t copies, owners;    /* how many of those who vote on it were read */
    uint32_t lacking;           /* values, and states of keys, that no copy could give */
    uint64_t a, b;              /* the root of all copies before they were read; zeros: not one */
    bool level;                 /* they were one, and nobody kept hints */
    uint8_t digest[DIGEST_LEN]; /* of the whole file; set by whoever writes or reads it */
};

/* ---- writing ----------------------------------------------------------------------------- */

struct archive_writer {
    struct archive_port port;
    struct archive_file *file;
    struct buf piece;
    uint32_t piece_rows;
    struct archive_foot foot; /* counts so far; the caller fills the rest in before the end */
    uint8_t chain[DIGEST_LEN];
};
int archive_begin(struct archive_writer *w, const struct archive_port *port, const char *name,
                  const struct archive_head *head);
int archive_put(struct archive_writer *w, struct slice row, uint64_t value_bytes);
int archive_end(struct archive_writer *w);      /* the file is there */
void archive_abandon(struct archive_writer *w); /* nothing of it is; fine at any time */

/* ---- reading ----------------------------------------------------------------------------- */

struct archive_reader {
    struct archive_port port;
    struct archive_file *file;
    uint64_t size, at;
    uint64_t piece_at; /* of the piece at hand, for messages */
    uint32_t pieces;   /* read so far, the one at hand too */
    struct archive_head head;
    struct archive_foot foot; /* valid once `ended` */
    bool ended;
    struct buf piece;
    struct reader rows;
    uint32_t left; /* rows in the piece at hand */
    uint8_t chain[DIGEST_LEN];
};
/* DYN_ERR_NOT_FOUND, DYN_ERR_CORRUPT, DYN_ERR_UNSUPPORTED (of a later version). */
int archive_open(struct archive_reader *r, const struct archive_port *port, const char *name);
/* The next row, until the end: DYN_ERR_NOT_FOUND, with r->ended. The row borrows from the reader
 * until the next call; its object is the caller's to release. DYN_ERR_CORRUPT. */
int archive_next(struct archive_reader *r, struct range_row *row);
void archive_close(struct archive_reader *r); /* fine at any time */

/* Only the foot, with its own digest checked but not what is before it. */
int archive_foot_read(const struct archive_port *port, const char *name, struct archive_head *head,
                      struct archive_foot *foot);

#endif
