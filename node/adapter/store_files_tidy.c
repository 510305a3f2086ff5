/* SPDX-License-Identifier: Apache-2.0 */
/* What threads do for store_files.h, and what a start does: all that may wait for the disk. Of two
 * threads one syncs and names files, and the other makes spare ones and removes what nobody wants.
 * `work` keeps them from treating one name at the same time. Neither holds `lock`, which the loop
 * takes, while it calls the system. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapter/rocks_crc.h"
#include "adapter/store_files_private.h"
#include "base/err.h"
#include "base/mem.h"

enum {
    PIECE = 64,     /* files that are treated before others have their turn */
    END_MAX = 4096, /* that are removed while somebody waits for the end */
};

/* There is one of this name: whatever came before, orphans are to be looked for. */
static const char note_to_look[] = "look";

/* ---- syncing ---- */

/* What waits for its name, by now. */
static struct named *list_waiting(struct store_files *f, size_t *n)
{
    struct named *at, *next, *list;
    size_t i = 0;
    pthread_mutex_lock(&f->lock);
    list = mem_reallocarray(NULL, HASH_COUNT(f->waiting) + 1, sizeof(*list));
    HASH_ITER(hh, f->waiting, at, next)
    {
        list[i++] = *at;
    }
    pthread_mutex_unlock(&f->lock);
    *n = i;
    return list;
}

static bool still_waits(struct store_files *f, const struct named *w)
{
    pthread_mutex_lock(&f->lock);
    const struct named *found = files_find(f->waiting, &w->name);
    bool same = found != NULL && found->number == w->number;
    pthread_mutex_unlock(&f->lock);
    return same;
}

/* A file that went meanwhile was deleted with its row. */
static bool sync_file(struct store_files *f, const struct named *w, bool begin)
{
    char path[FILES_PATH_LEN];
    files_new_path(w->number, path);
    int fd = files_openat(f->fd, path, O_RDONLY);
    if (fd < 0)
        return errno == ENOENT && !still_waits(f, w);
    bool good = true;
    if (begin) /* the disk is busy with all of them before the first is waited for */
        sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    else
        good = fdatasync(fd) == 0;
    int reason = errno;
    close(fd);
    errno = reason;
    return good;
}

/* Counted twice from when it waits, where one of its name is there already. */
static bool give_name(struct store_files *f, const struct named *w)
{
    char from[FILES_PATH_LEN], to[FILES_PATH_LEN];
    struct stat before;
    bool good = true;
    int fd = -1;
    files_new_path(w->number, from);
    files_path(&w->name, to);
    pthread_mutex_lock(&f->work);
    if (still_waits(f, w)) {
        bool again = fstatat(f->fd, to, &before, 0) == 0;
        good = renameat(f->fd, from, f->fd, to) == 0;
        int reason = errno;
        pthread_mutex_lock(&f->lock);
        if (good) {
            fd = w->fd;
            files_forget(&f->waiting, &w->name);
        }
        if (good && again)
            files_count(f, &w->name, -(int64_t)before.st_size);
        pthread_mutex_unlock(&f->lock);
        errno = reason;
    }
    pthread_mutex_unlock(&f->work);
    if (fd >= 0)
        close(fd);
    return good;
}

static bool has_files(int folder)
{
    int fd = files_openat(folder, ".", O_RDONLY | O_DIRECTORY);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    bool any = dir == NULL;
    for (struct dirent *e; !any && (e = readdir(dir)) != NULL;)
        any = e->d_name[0] != '.';
    if (dir != NULL)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return any;
}

static int sync_folders(struct store_files *f, const bool changed[FILES_FOLDERS], char **message)
{
    char path[FILES_PATH_LEN];
    for (int i = 0; i < FILES_FOLDERS; i++) {
        snprintf(path, sizeof(path), "%x", (unsigned)i);
        bool due = changed[i] || (f->resync && has_files(f->folders[i]));
        if (due && fsync(f->folders[i]) != 0)
            return files_fail("sync the folder of", path, message);
    }
    if (f->resync && (fsync(f->fd) != 0 || fsync(f->above) != 0))
        return files_fail("sync the folder of", "all", message);
    f->resync = false;
    return DYN_OK;
}

static int sync_and_name(struct store_files *f, const struct named *list, size_t n, char **message)
{
    bool changed[FILES_FOLDERS] = {false};
    char path[FILES_PATH_LEN];
    for (size_t i = 0; i < n; i++)
        sync_file(f, &list[i], true);
    for (size_t i = 0; i < n; i++) {
        files_new_path(list[i].number, path);
        if (!sync_file(f, &list[i], false))
            return files_fail("sync", path, message);
    }
    for (size_t i = 0; i < n; i++) {
        files_path(&list[i].name, path);
        if (!give_name(f, &list[i]))
            return files_fail("name", path, message);
        changed[list[i].name.bytes[0] >> 4] = true;
    }
    return sync_folders(f, changed, message);
}

int store_files_sync(struct store_files *f, char **message)
{
    size_t n;
    struct named *list = list_waiting(f, &n);
    int err = sync_and_name(f, list, n, message);
    free(list);
    return err;
}

/* ---- removing ---- */

/* Under `work`, and not the lock. Most values never had a file. */
static void remove_file(struct store_files *f, const struct file_name *n, const char *path)
{
    struct stat st;
    if (fstatat(f->fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0 || unlinkat(f->fd, path, 0) != 0)
        return;
    pthread_mutex_lock(&f->lock);
    files_count(f, n, -(int64_t)st.st_size);
    pthread_mutex_unlock(&f->lock);
}

static void remove_new(struct store_files *f, const struct spare *file)
{
    char path[FILES_PATH_LEN];
    files_new_path(file->number, path);
    if (file->fd >= 0)
        close(file->fd);
    unlinkat(f->fd, path, 0); /* what stays is removed at the next start */
}

/* The oldest deletion, when it is durable, and what waits under its name: from here on, whoever
 * writes the value again begins anew. */
static bool next_drop(struct store_files *f, uint64_t durable, struct file_name *name,
                      struct spare *waits)
{
    pthread_mutex_lock(&f->lock);
    struct named *d = f->drops;
    bool due = d != NULL && d->ticket <= durable;
    waits->number = UINT64_MAX;
    if (due) {
        *name = d->name;
        struct named *w = files_find(f->waiting, name);
        if (w != NULL)
            *waits = (struct spare){w->number, w->fd};
        files_forget(&f->waiting, name);
        files_forget(&f->drops, name);
    }
    pthread_mutex_unlock(&f->lock);
    return due;
}

static bool drop_one(struct store_files *f, uint64_t durable)
{
    char path[FILES_PATH_LEN];
    struct file_name name;
    struct spare waits;
    pthread_mutex_lock(&f->work);
    bool due = next_drop(f, durable, &name, &waits);
    if (due && waits.number != UINT64_MAX) {
        files_new_path(waits.number, path);
        remove_file(f, &name, path);
        if (waits.fd >= 0)
            close(waits.fd);
    }
    if (due) {
        files_path(&name, path);
        remove_file(f, &name, path);
    }
    pthread_mutex_unlock(&f->work);
    return due;
}

static bool next_trash(struct store_files *f, struct spare *file)
{
    pthread_mutex_lock(&f->lock);
    bool any = f->n_trash > 0;
    if (any)
        *file = f->trash[--f->n_trash];
    pthread_mutex_unlock(&f->lock);
    return any;
}

/* ---- spare files ---- */

static uint32_t spares_wanted(struct store_files *f, uint64_t *number)
{
    pthread_mutex_lock(&f->lock);
    uint32_t wanted = f->min_bytes == 0 ? 0 : f->max_spares - f->n_spares;
    if (wanted > 0)
        *number = f->next_number++;
    pthread_mutex_unlock(&f->lock);
    return wanted;
}

static bool make_spares(struct store_files *f)
{
    struct spare s;
    char path[FILES_PATH_LEN];
    while (spares_wanted(f, &s.number) > 0) {
        files_new_path(s.number, path);
        s.fd = openat(f->fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (s.fd < 0)
            return false;
        pthread_mutex_lock(&f->lock);
        f->spares[f->n_spares++] = s;
        pthread_mutex_unlock(&f->lock);
    }
    return true;
}

/* ---- looking ---- */

static bool refers(const struct store_files_rows *rows, struct slice key, struct buf *row)
{
    buf_clear(row);
    int err = rows->get(rows->arg, key, row);
    return err == DYN_OK ? store_files_is_ref(buf_slice(row))
                         : err != DYN_ERR_NOT_FOUND; /* unreadable: better kept */
}

/* A file that does not say whose it is stays, as it may be a value's whose row says that it is
 * bad. */
static void look_at_file(struct store_files *f, const char *path,
                         const struct store_files_rows *rows)
{
    struct buf key = BUF_EMPTY, row = BUF_EMPTY;
    char own[FILES_PATH_LEN];
    if (files_read_key(f, path, &key) && !refers(rows, buf_slice(&key), &row)) {
        struct file_name n = files_name(buf_slice(&key));
        files_path(&n, own);
        pthread_mutex_lock(&f->lock);
        bool touched = files_find(f->touched, &n) != NULL;
        pthread_mutex_unlock(&f->lock);
        if (strcmp(own, path) == 0 && !touched)
            remove_file(f, &n, path);
    }
    buf_release(&key);
    buf_release(&row);
}

static void forget_all(struct named **table)
{
    struct named *at, *next;
    HASH_ITER(hh, *table, at, next)
    {
        HASH_DEL(*table, at);
        if (at->fd >= 0)
            close(at->fd);
        free(at);
    }
}

static void look_done(struct store_files *f)
{
    unlinkat(f->fd, note_to_look, 0);
    pthread_mutex_lock(&f->lock);
    f->looked = true;
    f->orphans = false;
    forget_all(&f->touched);
    pthread_mutex_unlock(&f->lock);
}

/* The folder in hand, or the next. NULL: there is none left, or it cannot be read. */
static DIR *folder_in_hand(struct store_files *f)
{
    char path[FILES_PATH_LEN];
    if (f->dir != NULL || f->folder == FILES_FOLDERS)
        return f->dir;
    snprintf(path, sizeof(path), "%x", (unsigned)f->folder);
    int fd = files_openat(f->fd, path, O_RDONLY | O_DIRECTORY);
    f->dir = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && f->dir == NULL)
        close(fd);
    return f->dir;
}

static void count_found(struct store_files *f, const char *hex, unsigned folder, off_t bytes)
{
    unsigned first, second;
    struct file_name n = {{0}};
    if (sscanf(hex, "%1x%2x", &first, &second) != 2)
        return;
    n.bytes[0] = (uint8_t)(folder << 4 | first);
    n.bytes[1] = (uint8_t)second;
    pthread_mutex_lock(&f->lock);
    files_count(f, &n, (int64_t)bytes); /* what came meanwhile may count twice */
    pthread_mutex_unlock(&f->lock);
}

/* Under `work`. False: the folder is at its end. */
static bool look_at_one(struct store_files *f, const struct store_files_rows *rows)
{
    char path[512];
    struct stat st;
    DIR *dir = folder_in_hand(f);
    struct dirent *e = dir == NULL ? NULL : readdir(dir);
    if (e == NULL) {
        if (dir != NULL)
            closedir(dir);
        f->dir = NULL;
        f->folder++;
        return false;
    }
    snprintf(path, sizeof(path), "%x/%s", (unsigned)f->folder, e->d_name);
    if (fstatat(f->fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return true;
    count_found(f, e->d_name, (unsigned)f->folder, st.st_size);
    if (f->orphans)
        look_at_file(f, path, rows);
    return true;
}

static void look(struct store_files *f, const struct store_files_rows *rows)
{
    if (f->looked || f->no_more)
        return;
    pthread_mutex_lock(&f->work);
    for (int i = 0; i < PIECE && f->folder < FILES_FOLDERS && !f->no_more; i++)
        look_at_one(f, rows);
    pthread_mutex_unlock(&f->work);
    if (f->folder == FILES_FOLDERS)
        look_done(f);
}

void store_files_look_no_more(struct store_files *f)
{
    f->no_more = true;
}

/* ---- the thread's turn ---- */

bool store_files_tidy(struct store_files *f, uint64_t durable, const struct store_files_rows *rows)
{
    struct spare file;
    bool good = make_spares(f);
    for (int i = 0; i < PIECE && next_trash(f, &file); i++)
        remove_new(f, &file);
    for (int i = 0; i < PIECE && drop_one(f, durable); i++) {
    }
    look(f, rows);
    return good;
}

bool store_files_tidy_due(struct store_files *f, uint64_t durable, bool spares)
{
    pthread_mutex_lock(&f->lock);
    bool few = f->min_bytes > 0 && f->n_spares <= f->max_spares / 2;
    bool due = (few && spares) || f->n_trash > 0 ||
               (f->drops != NULL && f->drops->ticket <= durable) || (!f->looked && !f->no_more);
    pthread_mutex_unlock(&f->lock);
    return due;
}

bool store_files_dropping(struct store_files *f)
{
    pthread_mutex_lock(&f->lock);
    bool any = f->drops != NULL;
    pthread_mutex_unlock(&f->lock);
    return any;
}

bool store_files_unsynced(struct store_files *f)
{
    pthread_mutex_lock(&f->lock);
    bool any = f->waiting != NULL;
    pthread_mutex_unlock(&f->lock);
    return any;
}

bool store_files_want_sync(struct store_files *f)
{
    pthread_mutex_lock(&f->lock);
    bool many = HASH_COUNT(f->waiting) >= FILES_WAITING_MANY;
    pthread_mutex_unlock(&f->lock);
    return many;
}

uint64_t store_files_bytes(struct store_files *f)
{
    pthread_mutex_lock(&f->lock);
    int64_t bytes = f->bytes;
    pthread_mutex_unlock(&f->lock);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

/* ---- start and stop ---- */

int store_files_end(struct store_files *f, uint64_t durable, char **message)
{
    for (int i = 0; i < END_MAX && drop_one(f, durable); i++) {
    }
    if (f->drops == NULL && !f->orphans)
        return DYN_OK;
    int fd = openat(f->fd, note_to_look, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int err = fd >= 0 && fsync(fd) == 0 && fsync(f->fd) == 0
                  ? DYN_OK
                  : files_fail("leave", note_to_look, message);
    if (fd >= 0)
        close(fd);
    return err;
}

/* Is a file the one that the row of its key refers to? Bytes are looked at only where one has the
 * name already, which is good: any other is better than none, and is looked at when it is read. */
static bool is_referred_to(struct store_files *f, const char *path, struct slice key,
                           struct slice row, uint64_t *len, uint32_t *crc)
{
    struct buf value = BUF_EMPTY;
    struct stat st, named;
    char name[FILES_PATH_LEN];
    struct file_name n = files_name(key);
    if (!store_files_is_ref(row) || fstatat(f->fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    files_ref(row, len, crc);
    files_path(&n, name);
    bool good = (uint64_t)st.st_size == *len + key.len + FILES_TRAILER_LEN;
    if (good && fstatat(f->fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0)
        good = files_read(f, path, key, row, &value) == DYN_OK;
    buf_release(&value);
    return good;
}

/* What was written before the last run was killed waits for a sync again. */
static bool take_up(struct store_files *f, uint64_t number, const struct store_files_rows *rows)
{
    struct buf key = BUF_EMPTY, row = BUF_EMPTY;
    char path[FILES_PATH_LEN];
    uint64_t len;
    uint32_t crc;
    files_new_path(number, path);
    bool good = files_read_key(f, path, &key) &&
                rows->get(rows->arg, buf_slice(&key), &row) == DYN_OK &&
                is_referred_to(f, path, buf_slice(&key), buf_slice(&row), &len, &crc);
    if (good) {
        struct file_name n = files_name(buf_slice(&key));
        struct named *w = files_note(&f->waiting, &n);
        w->number = number;
        w->len = len;
        w->crc = crc;
        files_count(f, &n, (int64_t)(len + key.len + FILES_TRAILER_LEN));
    }
    buf_release(&key);
    buf_release(&row);
    return good;
}

/* As many as are written between two syncs. */
static void take_up_all(struct store_files *f, const struct store_files_rows *rows)
{
    int fd = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        unsigned long long number;
        if (sscanf(e->d_name, "new.%llu", &number) != 1)
            continue;
        if (number >= f->next_number)
            f->next_number = number + 1;
        if (!take_up(f, number, rows))
            files_throw(f, number, -1);
    }
    if (dir != NULL)
        closedir(dir);
}

static int open_folder(int at, const char *path, int *fd, char **message)
{
    if (mkdirat(at, path, 0700) != 0 && errno != EEXIST)
        return files_fail("make the folder of", path, message);
    *fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd < 0 ? files_fail("open the folder of", path, message) : DYN_OK;
}

static int open_folders(struct store_files *f, const char *folder, char **message)
{
    char path[FILES_PATH_LEN];
    f->resync = faccessat(AT_FDCWD, folder, F_OK, 0) != 0;
    int err = open_folder(AT_FDCWD, folder, &f->fd, message);
    if (err == DYN_OK)
        err = open_folder(f->fd, "..", &f->above, message);
    for (int i = 0; i < FILES_FOLDERS && err == DYN_OK; i++) {
        snprintf(path, sizeof(path), "%x", (unsigned)i);
        err = open_folder(f->fd, path, &f->folders[i], message);
    }
    return err;
}

int store_files_open(const struct store_files_config *config, const struct store_files_rows *rows,
                     struct store_files **out, char **message)
{
    struct store_files *f = mem_new(struct store_files);
    f->fd = f->above = -1;
    for (int i = 0; i < FILES_FOLDERS; i++)
        f->folders[i] = -1;
    f->min_bytes = config->min_bytes;
    f->max_spares = config->spares;
    f->spares = mem_reallocarray(NULL, config->spares + 1, sizeof(*f->spares));
    pthread_mutex_init(&f->work, NULL);
    pthread_mutex_init(&f->lock, NULL);
    int err = open_folders(f, config->folder, message);
    if (err != DYN_OK) {
        store_files_free(f);
        return err;
    }
    f->resync |= config->orphans;
    f->orphans = config->orphans || faccessat(f->fd, note_to_look, F_OK, 0) == 0;
    take_up_all(f, rows);
    *out = f;
    return DYN_OK;
}

void store_files_free(struct store_files *f)
{
    if (f == NULL)
        return;
    for (uint32_t i = 0; i < f->n_spares; i++)
        remove_new(f, &f->spares[i]);
    for (size_t i = 0; i < f->n_trash; i++)
        remove_new(f, &f->trash[i]);
    if (f->dir != NULL)
        closedir(f->dir);
    forget_all(&f->waiting);
    forget_all(&f->drops);
    forget_all(&f->touched);
    free(f->spares);
    free(f->trash);
    pthread_mutex_destroy(&f->work);
    pthread_mutex_destroy(&f->lock);
    for (int i = 0; i < FILES_FOLDERS; i++) {
        if (f->folders[i] >= 0)
            close(f->folders[i]);
    }
    if (f->above >= 0)
        close(f->above);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}
