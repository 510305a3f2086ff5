/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of store_files.h, shared by the file of the loop and the file of the threads. */
#ifndef DYN_ADAPTER_STORE_FILES_PRIVATE_H
#define DYN_ADAPTER_STORE_FILES_PRIVATE_H

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "adapter/store_files.h"
#include "base/digest.h"

enum {
    FILES_FOLDERS = 16, /* few, for they are made at the first start */
    FILES_MAGIC_LEN = 16,
    FILES_REF_LEN = FILES_MAGIC_LEN + 12,
    FILES_TRAILER_LEN = 8,               /* after the key */
    FILES_PATH_LEN = 2 * DIGEST_LEN + 2, /* X/..., or new.NUMBER, and the NUL */
    FILES_SLOTS = 1 << 16,
    FILES_WAITING_MANY = 64, /* so many are synced though nobody asks, */
    FILES_WAITING_MAX = 256, /* and so many are open at most */
};

/* Of a row's key. */
struct file_name {
    uint8_t bytes[DIGEST_LEN];
};

/* A name, in a table and in the order in which it came there. */
struct named {
    UT_hash_handle hh;
    struct file_name name;
    uint64_t ticket; /* of a drop */
    uint64_t number; /* of what waits: it lies in new.NUMBER */
    uint64_t len;
    uint32_t crc;
    /* Of what waits: open until it is synced, or the kernel may forget the file and with it that it
     * failed to write it. -1: of the last run. */
    int fd;
};

/* new.NUMBER, and open. */
struct spare {
    uint64_t number;
    int fd; /* -1: not */
};

struct store_files {
    int fd, above; /* the folder, and that in which it is */
    int folders[FILES_FOLDERS];
    uint64_t min_bytes;
    uint32_t max_spares;
    atomic_bool no_more;

    pthread_mutex_t
        work;   /* files come to their names and go under it, on threads: never the loop */
    int folder; /* that is being looked through, of FILES_FOLDERS */
    DIR *dir;
    bool resync; /* all folders, for the last run or this start may have left what was not */

    pthread_mutex_t lock;  /* of all that follows; the loop takes it: held across no system call */
    struct named *waiting; /* for a sync, and then for their names */
    struct named *drops;   /* deleted: the oldest first */
    struct named *touched; /* while orphans are looked for: what this run has put or deleted */
    struct spare *spares;  /* empty files, open */
    uint32_t n_spares;
    uint64_t next_number;
    struct spare *trash; /* files that nobody wants */
    size_t n_trash, cap_trash;
    bool orphans, looked;
    int64_t bytes; /* as far as they are known */
    /* How many files there are of each share of the names, or more: so that hardly any value
     * without a file is looked for when it is deleted. Counted down only when all is looked at. */
    uint32_t counts[FILES_SLOTS];
};

struct file_name files_name(struct slice key);
void files_path(const struct file_name *n, char out[FILES_PATH_LEN]);
void files_new_path(uint64_t number, char out[FILES_PATH_LEN]);
/* openat(), which waits as long as others have all descriptors: that is no failure of the disk. */
int files_openat(int folder, const char *path, int flags);
/* errno, as an error and as a sentence. */
int files_fail(const char *what, const char *path, char **message);
int files_read_all(int fd, uint8_t *to, size_t len, off_t from);
/* What a reference says. */
void files_ref(struct slice ref, uint64_t *len, uint32_t *crc);
/* The key of the row that a file is of, from its end. False: it does not say. */
bool files_read_key(const struct store_files *f, const char *path, struct buf *key);
/* The value in the file at `path`, appended, as files_get. */
int files_read(const struct store_files *f, const char *path, struct slice key, struct slice ref,
               struct buf *out);

/* Under the lock. */
struct named *files_find(struct named *table, const struct file_name *n);
void files_forget(struct named **table, const struct file_name *n);
struct named *files_note(struct named **table, const struct file_name *n); /* at its end */
void files_throw(struct store_files *f, uint64_t number, int fd);
void files_count(struct store_files *f, const struct file_name *n, int64_t bytes);
bool files_may_have(const struct store_files *f, const struct file_name *n);

#endif
