/* SPDX-License-Identifier: Apache-2.0 */
/* See store_files.h. RocksDB writes a value twice, to its log and, when a memtable is full, to a
 * table or a blob file. For a chunk of a large file that is half of all that the disk does. So it
 * is written once, to a file, and the log has 28 bytes that refer to it.
 *
 *   a spare, new.NUMBER --the loop writes the value--> the batch is handed over: a row refers to it
 *                                                            |
 *                                                            v  ahead of a sync of the log
 *                                          on the platter --rename--> X/NAME, the folder synced
 *
 * All that the loop does is to write to an open file, as it does to the log: making, syncing,
 * naming and removing files may wait for a commit of the file system's journal, and is done by
 * threads (store_files_tidy.c). When no spare is ready, the value goes to RocksDB like any other.
 *
 * The name is a hash of the row's key, so nothing has to remember it: whoever deletes a row knows
 * which file goes. It goes when the deletion is durable, for until then a loss of power may bring
 * the row back. Whatever has a name was synced; what a killed process has not synced lies in
 * new.NUMBER, with its row's key at its end, and waits for the next run's sync:
 *
 *   value, key, u32 length of the key, u32 CRC-32C of the key
 *
 * A killed process leaves files without a row at most, as the file is written before the batch; or
 * with one that has been deleted. The next run looks for them.
 *
 * A loss of power may keep a row that nobody has synced, and not its file. It reads as missing or
 * as corrupt, like rot, and the engine fetches such a value from another replica. A value that was
 * synced is there. Under one key there is only ever one value (its dot's), so a file that is
 * written again, to heal or by a repeat, has the bytes that it had, and replaces them when it is on
 * the platter itself. */
#include "adapter/store_files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "adapter/rocks_crc.h"
#include "adapter/store_files_private.h"
#include "base/err.h"
#include "base/mem.h"

enum { KEY_MAX = 1 << 16 };

/* So that no value is taken for a reference: one that looks like it lies in a file as well. */
static const uint8_t magic[FILES_MAGIC_LEN] = {0x9b, 0x1e, 0xd7, 0x42, 0x6f, 0xc0, 0x35, 0xa8,
                                               0x71, 0x0d, 0xe4, 0x5a, 0xb3, 0x28, 0xf6, 0x8c};

struct file_name files_name(struct slice key)
{
    struct file_name n;
    digest_sha256(key, n.bytes);
    return n;
}

void files_path(const struct file_name *n, char out[FILES_PATH_LEN])
{
    static const char digits[] = "0123456789abcdef";
    char *at = out;
    *at++ = digits[n->bytes[0] >> 4]; /* the folder */
    *at++ = '/';
    *at++ = digits[n->bytes[0] & 15];
    for (int i = 1; i < DIGEST_LEN; i++) {
        *at++ = digits[n->bytes[i] >> 4];
        *at++ = digits[n->bytes[i] & 15];
    }
    *at = 0;
}

void files_new_path(uint64_t number, char out[FILES_PATH_LEN])
{
    snprintf(out, FILES_PATH_LEN, "new.%llu", (unsigned long long)number);
}

int files_openat(int folder, const char *path, int flags)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000000L};
    int fd;
    while ((fd = openat(folder, path, flags | O_CLOEXEC)) < 0 &&
           (errno == EMFILE || errno == ENFILE))
        nanosleep(&pause, NULL);
    return fd;
}

int files_fail(const char *what, const char *path, char **message)
{
    int err = errno == ENOSPC || errno == EDQUOT ? DYN_ERR_NO_SPACE : DYN_ERR_IO;
    *message = mem_printf("cannot %s the value file %s: %s", what, path, strerror(errno));
    return err;
}

/* ---- tables, under the lock ---- */

struct named *files_find(struct named *table, const struct file_name *n)
{
    struct named *found;
    HASH_FIND(hh, table, n, sizeof(*n), found);
    return found;
}

void files_forget(struct named **table, const struct file_name *n)
{
    struct named *found = files_find(*table, n);
    if (found == NULL)
        return;
    HASH_DEL(*table, found);
    free(found);
}

struct named *files_note(struct named **table, const struct file_name *n)
{
    files_forget(table, n);
    struct named *added = mem_new(struct named);
    added->name = *n;
    added->fd = -1;
    HASH_ADD(hh, *table, name, sizeof(added->name), added);
    return added;
}

void files_throw(struct store_files *f, uint64_t number, int fd)
{
    if (f->n_trash == f->cap_trash) {
        f->cap_trash = f->cap_trash == 0 ? 16 : 2 * f->cap_trash;
        f->trash = mem_reallocarray(f->trash, f->cap_trash, sizeof(*f->trash));
    }
    f->trash[f->n_trash++] = (struct spare){number, fd};
}

static uint32_t slot_of(const struct file_name *n)
{
    return (uint32_t)n->bytes[0] << 8 | n->bytes[1];
}

void files_count(struct store_files *f, const struct file_name *n, int64_t bytes)
{
    uint32_t *count = &f->counts[slot_of(n)];
    f->bytes += bytes;
    if (bytes > 0)
        ++*count;
    else if (f->looked && *count > 0)
        --*count;
}

bool files_may_have(const struct store_files *f, const struct file_name *n)
{
    return !f->looked || f->counts[slot_of(n)] > 0;
}

/* ---- references ---- */

bool store_files_is_ref(struct slice row)
{
    return row.len == FILES_REF_LEN && memcmp(row.data, magic, FILES_MAGIC_LEN) == 0;
}

static void put_ref(struct buf *out, uint64_t len, uint32_t crc)
{
    buf_put(out, magic, FILES_MAGIC_LEN);
    buf_put_u64(out, len);
    buf_put_u32(out, crc);
}

void files_ref(struct slice ref, uint64_t *len, uint32_t *crc)
{
    assert(store_files_is_ref(ref));
    struct reader r = reader_of(slice_of(ref.data + FILES_MAGIC_LEN, ref.len - FILES_MAGIC_LEN));
    *len = read_u64(&r);
    *crc = read_u32(&r);
}

static bool is_large(const struct store_files *f, struct slice value)
{
    return (f->min_bytes > 0 && value.len >= f->min_bytes) || store_files_is_ref(value);
}

static bool belongs_into_a_file(const struct store_files *f, enum store_op_type type,
                                enum store_family family, struct slice value)
{
    return type == STORE_PUT && family == STORE_VALUE && is_large(f, value);
}

/* ---- writing ---- */

/* A large value of a batch. */
struct taken {
    bool filed; /* it lies in new.NUMBER; or else in its row */
    struct spare file;
    uint32_t crc;
};

struct takens {
    struct taken *v;
    size_t n, cap;
};

static struct taken *add_taken(struct takens *t)
{
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 4 : 2 * t->cap;
        t->v = mem_reallocarray(t->v, t->cap, sizeof(*t->v));
    }
    t->v[t->n] = (struct taken){.filed = false};
    return &t->v[t->n++];
}

static bool write_all(int fd, struct iovec *parts, int n)
{
    while (n > 0) {
        ssize_t done = writev(fd, parts, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return false;
        for (; n > 0 && (size_t)done >= parts->iov_len; parts++, n--)
            done -= (ssize_t)parts->iov_len;
        if (n > 0) {
            parts->iov_base = (char *)parts->iov_base + done;
            parts->iov_len -= (size_t)done;
        }
    }
    return true;
}

/* False: there is none. One for a value that must not lie in its row is made here, if need be:
 * nobody but who means to writes such a value. */
static bool take_spare(struct store_files *f, bool must, struct spare *out)
{
    char path[FILES_PATH_LEN];
    out->fd = -1;
    pthread_mutex_lock(&f->lock);
    if (f->n_spares > 0 && (must || HASH_COUNT(f->waiting) < FILES_WAITING_MAX))
        *out = f->spares[--f->n_spares];
    else if (must)
        out->number = f->next_number++;
    pthread_mutex_unlock(&f->lock);
    if (out->fd >= 0 || !must)
        return out->fd >= 0;
    files_new_path(out->number, path);
    out->fd = openat(f->fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return true;
}

static int write_file(struct store_files *f, struct taken *t, struct slice key, struct slice value,
                      char **message)
{
    char path[FILES_PATH_LEN];
    struct buf end = BUF_EMPTY;
    if (!take_spare(f, store_files_is_ref(value), &t->file))
        return DYN_OK;
    files_new_path(t->file.number, path);
    if (t->file.fd < 0)
        return files_fail("make", path, message);
    t->filed = true;
    t->crc = rocks_crc_extend(0, (const char *)value.data, value.len);
    buf_put_slice(&end, key);
    buf_put_u32(&end, (uint32_t)key.len);
    buf_put_u32(&end, rocks_crc_extend(0, (const char *)key.data, key.len));
    struct iovec parts[2] = {{(void *)(uintptr_t)value.data, value.len}, {end.data, end.len}};
    int err = write_all(t->file.fd, parts, 2) ? DYN_OK : files_fail("write", path, message);
    buf_release(&end);
    return err;
}

static int write_files(struct store_files *f, const struct store_batch *batch, struct takens *t,
                       char **message)
{
    size_t at = 0;
    enum store_op_type type;
    enum store_family family;
    struct slice key, value;
    int err = DYN_OK;
    while (err == DYN_OK && store_batch_next(batch, &at, &type, &family, &key, &value)) {
        if (belongs_into_a_file(f, type, family, value))
            err = write_file(f, add_taken(t), key, value, message);
    }
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; err != DYN_OK && i < t->n; i++) {
        if (t->v[i].filed)
            files_throw(f, t->v[i].file.number, t->v[i].file.fd);
    }
    pthread_mutex_unlock(&f->lock);
    return err;
}

/* Of a value that waits already the first file stays, for it may be about to be promised. */
static void note_file(struct store_files *f, const struct file_name *n, const struct taken *t,
                      struct slice key, struct slice value)
{
    struct named *before = files_find(f->waiting, n);
    int64_t bytes = (int64_t)(value.len + key.len + FILES_TRAILER_LEN);
    files_forget(&f->drops, n);
    if (before != NULL && before->len == value.len && before->crc == t->crc) {
        files_throw(f, t->file.number, t->file.fd);
        return;
    }
    if (before != NULL) {
        files_throw(f, before->number, before->fd);
        files_count(f, n, -(int64_t)(before->len + key.len + FILES_TRAILER_LEN));
    }
    struct named *w = files_note(&f->waiting, n);
    w->number = t->file.number;
    w->fd = t->file.fd;
    w->len = value.len;
    w->crc = t->crc;
    files_count(f, n, bytes);
}

/* What the batch makes of files, in its order: nothing can fail any more. */
static void note_all(struct store_files *f, const struct store_batch *batch, const struct takens *t,
                     uint64_t ticket)
{
    size_t at = 0, i = 0;
    enum store_op_type type;
    enum store_family family;
    struct slice key, value;
    pthread_mutex_lock(&f->lock);
    while (store_batch_next(batch, &at, &type, &family, &key, &value)) {
        bool large = belongs_into_a_file(f, type, family, value);
        const struct taken *taken = large ? &t->v[i++] : NULL;
        if (!large && (type != STORE_DELETE || family != STORE_VALUE))
            continue;
        struct file_name n = files_name(key);
        if (large && taken->filed)
            note_file(f, &n, taken, key, value);
        else if (files_may_have(f, &n)) /* deleted, or it lies in its row from now on */
            files_note(&f->drops, &n)->ticket = ticket;
        if (f->orphans)
            files_note(&f->touched, &n);
    }
    pthread_mutex_unlock(&f->lock);
}

static void refer(const struct store_files *f, struct store_batch *batch, const struct takens *t)
{
    struct store_batch with = STORE_BATCH_EMPTY;
    struct buf ref = BUF_EMPTY;
    size_t at = 0, i = 0;
    enum store_op_type type;
    enum store_family family;
    struct slice key, value;
    while (store_batch_next(batch, &at, &type, &family, &key, &value)) {
        bool large = belongs_into_a_file(f, type, family, value);
        const struct taken *taken = large ? &t->v[i++] : NULL;
        if (large && taken->filed) {
            buf_clear(&ref);
            put_ref(&ref, value.len, taken->crc);
            value = buf_slice(&ref);
        }
        if (type == STORE_PUT)
            store_batch_put(&with, family, key, value);
        else if (type == STORE_MERGE)
            store_batch_merge(&with, family, key, value.data);
        else
            store_batch_delete(&with, family, key);
    }
    with.deletes = batch->deletes;
    buf_release(&ref);
    store_batch_release(batch);
    *batch = with;
}

int store_files_take_out(struct store_files *f, struct store_batch *batch, uint64_t ticket,
                         char **message)
{
    struct takens t = {NULL, 0, 0};
    int err = write_files(f, batch, &t, message);
    if (err == DYN_OK) {
        note_all(f, batch, &t, ticket);
        if (t.n > 0)
            refer(f, batch, &t);
    }
    free(t.v);
    return err;
}

/* ---- reading ---- */

int files_read_all(int fd, uint8_t *to, size_t len, off_t from)
{
    while (len > 0) {
        ssize_t n = pread(fd, to, len, from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EIO ? DYN_ERR_CORRUPT : DYN_ERR_IO; /* a sector that cannot be read */
        if (n == 0)
            return DYN_ERR_CORRUPT;
        to += n;
        len -= (size_t)n;
        from += n;
    }
    return DYN_OK;
}

bool files_read_key(const struct store_files *f, const char *path, struct buf *key)
{
    uint8_t end[FILES_TRAILER_LEN];
    struct stat st;
    bool good = false;
    int fd = files_openat(f->fd, path, O_RDONLY);
    if (fd < 0)
        return false;
    if (fstat(fd, &st) == 0 && st.st_size >= FILES_TRAILER_LEN &&
        files_read_all(fd, end, sizeof(end), st.st_size - FILES_TRAILER_LEN) == DYN_OK) {
        struct reader r = reader_of(slice_of(end, sizeof(end)));
        uint32_t len = read_u32(&r), crc = read_u32(&r);
        off_t from = st.st_size - FILES_TRAILER_LEN - (off_t)len;
        if (len <= KEY_MAX && from >= 0) {
            buf_clear(key);
            buf_reserve(key, len + 1);
            key->len = len;
            good = files_read_all(fd, key->data, len, from) == DYN_OK &&
                   rocks_crc_extend(0, (const char *)key->data, len) == crc;
        }
    }
    close(fd);
    return good;
}

int files_read(const struct store_files *f, const char *path, struct slice key, struct slice ref,
               struct buf *out)
{
    struct stat st;
    uint64_t len;
    uint32_t crc;
    files_ref(ref, &len, &crc);
    int fd = files_openat(f->fd, path, O_RDONLY);
    if (fd < 0)
        return errno == ENOENT ? DYN_ERR_NOT_FOUND : DYN_ERR_IO;
    int err = fstat(fd, &st) == 0 ? DYN_OK : DYN_ERR_IO;
    if (err == DYN_OK && (uint64_t)st.st_size != len + key.len + FILES_TRAILER_LEN)
        err = DYN_ERR_CORRUPT; /* before memory is taken for it */
    if (err == DYN_OK) {
        buf_reserve(out, len);
        err = files_read_all(fd, out->data + out->len, len, 0);
    }
    close(fd);
    if (err == DYN_OK &&
        rocks_crc_extend(0, (const char *)out->data + out->len, (size_t)len) != crc)
        err = DYN_ERR_CORRUPT;
    if (err == DYN_OK)
        out->len += len;
    return err;
}

static bool waits(struct store_files *f, const struct file_name *n, uint64_t *number)
{
    pthread_mutex_lock(&f->lock);
    const struct named *w = files_find(f->waiting, n);
    bool found = w != NULL;
    if (found)
        *number = w->number;
    pthread_mutex_unlock(&f->lock);
    return found;
}

/* A file that waits may come to its name meanwhile, and one that has it may be written again. */
int store_files_get(struct store_files *f, struct slice key, struct slice ref, struct buf *out)
{
    struct file_name n = files_name(key);
    char path[FILES_PATH_LEN];
    uint64_t number = 0, tried = UINT64_MAX;
    int err = DYN_ERR_NOT_FOUND;
    while (err == DYN_ERR_NOT_FOUND && waits(f, &n, &number) && number != tried) {
        tried = number;
        files_new_path(number, path);
        err = files_read(f, path, key, ref, out);
    }
    if (err == DYN_ERR_NOT_FOUND) {
        files_path(&n, path);
        err = files_read(f, path, key, ref, out);
    }
    return err;
}
