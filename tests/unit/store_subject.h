/* SPDX-License-Identifier: Apache-2.0 */
/* A store under test, with what a loop would do for it, so that one test runs over each kind. */
#ifndef DYN_TESTS_STORE_SUBJECT_H
#define DYN_TESTS_STORE_SUBJECT_H

#include "adapter/store_memory.h"
#include "adapter/store_rocksdb.h"
#include "port/store.h"

/* Buffered: RocksDB behind an object buffer of a few batches. Files: all values in files. */
enum subject_kind {
    SUBJECT_MEMORY,
    SUBJECT_DEFERRED,
    SUBJECT_ROCKSDB,
    SUBJECT_BUFFERED,
    SUBJECT_FILES,
};
enum { SUBJECT_BUFFER = 3 };

struct subject {
    enum subject_kind kind;
    struct store_memory *memory;
    struct store_rocksdb *rocksdb;
    struct store_port port;
    struct store_host host;
    char dir[64]; /* of the store on disk; removed at the end */
    int wake_fd;
    int failed; /* what host.failed said */
    bool dirty;
};

/* On disk: with a small cache, no ballast and no reserve. */
void subject_open(struct subject *s, enum subject_kind kind);
struct store_rocksdb_config subject_config(const struct subject *s);
/* Until a store on disk has so many spare files for values. */
void subject_await_spares(const struct subject *s, unsigned wanted);
/* Stops cleanly and starts again. */
void subject_restart(struct subject *s);
void subject_close(struct subject *s);
/* Turns the loop until *done is true; fails the test after 20 s. */
void subject_run(struct subject *s, const bool *done);

/* Waits, at most 20 s, for something that a thread of the store has done, and completes it. */
void subject_wait(struct subject *s);

/* A request and its outcome, for tests that wait. */
int subject_write(struct subject *s, struct store_batch *batch, enum store_sync sync);
int subject_put(struct subject *s, enum store_family f, const char *key, const char *value);
int subject_get(struct subject *s, enum store_family f, struct slice key, struct buf *value);
/* Rows as "key=value;", appended to out. stop_after: row() returns false after so many, 0: never.
 */
int subject_scan(struct subject *s, enum store_family f, const char *prefix, const char *from,
                 uint32_t max_rows, uint64_t max_bytes, uint32_t stop_after, struct buf *out,
                 bool *more);

void subject_remove_dir(const char *dir);

#endif
