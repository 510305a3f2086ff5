/* SPDX-License-Identifier: Apache-2.0 */
/* See stage_dir.h. What is in which record belongs to the thread once it runs; the loop only makes
 * jobs. */
#include "adapter/stage_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapter/lanes.h"
#include "adapter/stage_file.h"
#include "base/err.h"
#include "base/log.h"

#define ASIDE "damaged"
#define FOLDERS_MAX 8 /* of one mount: an unmount that drains beside each remount */

struct held { /* a record that is there */
    struct list link;
    uint64_t id;
    struct stage_part *parts;
    uint32_t n;
};

struct stage_dir {
    char *path, *folder, *name; /* path: folder/name, real */
    int fd;
    struct lanes *lanes;
    struct loop_wake *wake;
    struct list held;
};

enum job_kind { JOB_PUT, JOB_DROP, JOB_SET_ASIDE };

struct job {
    struct lane_job job;
    struct stage_dir *dir;
    enum job_kind kind;
    uint64_t id;
    struct stage_put *put; /* the loop's: NULL when cancelled */
    struct buf body;
    struct stage_chunk *chunks; /* the blobs are the loop's to count */
    uint32_t n;
    int err;
};

/* ---- records ----------------------------------------------------------------------------- */

static struct held *find(struct stage_dir *d, uint64_t id)
{
    for (struct list *l = d->held.next; l != &d->held; l = l->next) {
        struct held *h = container_of(l, struct held, link);
        if (h->id == id)
            return h;
    }
    return NULL;
}

static void held_free(struct held *h)
{
    list_remove(&h->link);
    free(h->parts);
    free(h);
}

static const struct stage_part *part_of(const struct stage_part *parts, uint32_t n, uint64_t stamp)
{
    for (uint32_t i = 0; i < n; i++)
        if (parts[i].stamp == stamp)
            return &parts[i];
    return NULL;
}

static void remove_parts(struct stage_dir *d, const struct held *h, const struct stage_part *but,
                         uint32_t n)
{
    char name[STAGE_NAME_MAX];
    for (uint32_t i = 0; i < h->n; i++) {
        if (part_of(but, n, h->parts[i].stamp) != NULL)
            continue;
        stage_name_chunk(h->id, h->parts[i].stamp, name);
        unlinkat(d->fd, name, 0); /* left behind, it is swept at the next start */
    }
}

/* Chunks first, then the record that names them, then what it names no more goes. */
static int put_record(struct job *j)
{
    struct stage_dir *d = j->dir;
    struct held *old = find(d, j->id);
    char name[STAGE_NAME_MAX];
    int err = DYN_OK;
    struct stage_part *parts = mem_reallocarray(NULL, j->n + 1, sizeof(*parts));
    for (uint32_t i = 0; i < j->n && err == DYN_OK; i++) {
        const struct stage_chunk *c = &j->chunks[i];
        const struct stage_part *same = old == NULL ? NULL : part_of(old->parts, old->n, c->stamp);
        if (same != NULL) {
            parts[i] = *same;
            continue;
        }
        parts[i] = (struct stage_part){.stamp = c->stamp, .len = c->len};
        digest_sha256(slice_of(c->bytes->data, c->len), parts[i].digest);
        stage_name_chunk(j->id, c->stamp, name);
        err = stage_file_write(d->fd, name, slice_of(c->bytes->data, c->len));
    }
    struct buf file = BUF_EMPTY;
    if (err == DYN_OK) {
        stage_record_encode(j->id, parts, j->n, buf_slice(&j->body), &file);
        stage_name_record(j->id, name);
        err = stage_file_write(d->fd, name, buf_slice(&file));
    }
    buf_release(&file);
    if (err != DYN_OK) { /* the old record stands; chunks that it does not name are swept later */
        free(parts);
        return err;
    }
    (void)fsync(d->fd); /* of names: the bytes are synced; a kill -9 needs neither */
    if (old == NULL) {
        old = mem_new(struct held);
        old->id = j->id;
        list_append(&d->held, &old->link);
    } else {
        remove_parts(d, old, parts, j->n);
        free(old->parts);
    }
    old->parts = parts;
    old->n = j->n;
    return DYN_OK;
}

static void drop_record(struct stage_dir *d, uint64_t id)
{
    struct held *h = find(d, id);
    char name[STAGE_NAME_MAX];
    stage_name_record(id, name);
    unlinkat(d->fd, name, 0);
    if (h == NULL)
        return;
    remove_parts(d, h, NULL, 0);
    held_free(h);
}

static void move_aside(struct stage_dir *d, int aside, const char *name)
{
    if (renameat(d->fd, name, aside, name) != 0 && errno != ENOENT)
        log_error("staging", "%s/%s cannot be set aside: %s", d->path, name, strerror(errno));
}

static void set_aside(struct stage_dir *d, uint64_t id)
{
    struct held *h = find(d, id);
    char name[STAGE_NAME_MAX];
    if (mkdirat(d->fd, ASIDE, 0700) != 0 && errno != EEXIST)
        log_error("staging", "no folder %s/%s: %s", d->path, ASIDE, strerror(errno));
    int aside = openat(d->fd, ASIDE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (aside < 0)
        return; /* it stays where it is, and is refused again next time */
    for (uint32_t i = 0; h != NULL && i < h->n; i++) {
        stage_name_chunk(id, h->parts[i].stamp, name);
        move_aside(d, aside, name);
    }
    stage_name_record(id, name);
    move_aside(d, aside, name);
    close(aside);
    if (h != NULL)
        held_free(h);
}

/* ---- the port ---------------------------------------------------------------------------- */

static void run(struct lane_job *job)
{
    struct job *j = container_of(job, struct job, job);
    switch (j->kind) {
    case JOB_PUT:
        j->err = put_record(j);
        break;
    case JOB_DROP:
        drop_record(j->dir, j->id);
        break;
    case JOB_SET_ASIDE:
        set_aside(j->dir, j->id);
        break;
    }
}

static void finish(struct lane_job *job)
{
    struct job *j = container_of(job, struct job, job);
    struct stage_put *put = j->put;
    int err = j->err;
    for (uint32_t i = 0; i < j->n; i++)
        blob_unref(j->chunks[i].bytes);
    free(j->chunks);
    buf_release(&j->body);
    free(j);
    if (put != NULL) {
        put->state = NULL;
        put->done(put, err);
    }
}

static struct job *job_new(struct stage_dir *d, enum job_kind kind, uint64_t id)
{
    struct job *j = mem_new(struct job);
    *j = (struct job){.job = {.run = run, .finish = finish}, .dir = d, .kind = kind, .id = id};
    return j;
}

static void stage_put(void *ctx, struct stage_put *p, uint64_t id, struct slice body,
                      const struct stage_chunk *chunks, uint32_t n)
{
    struct stage_dir *d = ctx;
    struct job *j = job_new(d, JOB_PUT, id);
    j->put = p;
    p->state = j;
    buf_put_slice(&j->body, body);
    j->chunks = mem_dup(chunks, n * sizeof(*chunks));
    j->n = n;
    for (uint32_t i = 0; i < n; i++)
        blob_ref(j->chunks[i].bytes);
    lanes_submit(d->lanes, 0, &j->job);
}

static void stage_cancel(void *ctx, struct stage_put *p)
{
    (void)ctx;
    if (p->state != NULL)
        ((struct job *)p->state)->put = NULL;
    p->state = NULL;
}

static void stage_drop(void *ctx, uint64_t id)
{
    struct stage_dir *d = ctx;
    lanes_submit(d->lanes, 0, &job_new(d, JOB_DROP, id)->job);
}

static void stage_set_aside(void *ctx, uint64_t id, const char *why)
{
    struct stage_dir *d = ctx;
    log_error("staging", "%s/%016llx is set aside in %s/%s: %s", d->path, (unsigned long long)id,
              d->path, ASIDE, why);
    lanes_submit(d->lanes, 0, &job_new(d, JOB_SET_ASIDE, id)->job);
}

struct stage_port stage_dir_port(struct stage_dir *d)
{
    return (struct stage_port){d, stage_put, stage_cancel, stage_drop, stage_set_aside};
}

/* ---- what an earlier run left ------------------------------------------------------------ */

static void note_parts(struct stage_dir *d, uint64_t id, struct stage_part *parts, uint32_t n)
{
    struct held *h = mem_new(struct held);
    *h = (struct held){.id = id, .parts = parts, .n = n};
    list_append(&d->held, &h->link);
}

static int load_chunks(struct stage_dir *d, uint64_t id, const struct stage_part *parts, uint32_t n,
                       struct buf *bytes, struct slice *chunks)
{
    char name[STAGE_NAME_MAX];
    uint8_t digest[DIGEST_LEN];
    for (uint32_t i = 0; i < n; i++) {
        stage_name_chunk(id, parts[i].stamp, name);
        int err = stage_file_read(d->fd, name, STAGE_CHUNK_MAX, &bytes[i]);
        if (err != DYN_OK)
            return err;
        chunks[i] = buf_slice(&bytes[i]);
        digest_sha256(chunks[i], digest);
        if (chunks[i].len != parts[i].len || memcmp(digest, parts[i].digest, DIGEST_LEN) != 0)
            return DYN_ERR_CORRUPT;
    }
    return DYN_OK;
}

static int load_one(struct stage_dir *d, uint64_t id,
                    int (*take)(void *arg, uint64_t id, struct slice body,
                                const struct slice *chunks, uint32_t n),
                    void *arg)
{
    struct buf file = BUF_EMPTY;
    struct stage_part *parts = NULL;
    struct slice body;
    uint32_t n = 0;
    char name[STAGE_NAME_MAX];
    stage_name_record(id, name);
    int err = stage_file_read(d->fd, name, STAGE_RECORD_MAX, &file);
    if (err == DYN_OK)
        err = stage_record_decode(buf_slice(&file), id, &parts, &n, &body);
    if (err == DYN_OK) {
        struct buf *bytes = mem_zalloc((n + 1) * sizeof(*bytes));
        struct slice *chunks = mem_zalloc((n + 1) * sizeof(*chunks));
        note_parts(d, id, parts, n);
        err = load_chunks(d, id, parts, n, bytes, chunks);
        if (err == DYN_OK)
            err = take(arg, id, body, chunks, n);
        for (uint32_t i = 0; i < n; i++)
            buf_release(&bytes[i]);
        free(bytes);
        free(chunks);
    }
    buf_release(&file);
    return err;
}

struct names {
    uint64_t *ids;
    size_t n, cap;
};

static void add_name(struct names *names, uint64_t id)
{
    if (names->n == names->cap) {
        names->cap = names->cap == 0 ? 16 : names->cap * 2;
        names->ids = mem_reallocarray(names->ids, names->cap, sizeof(*names->ids));
    }
    names->ids[names->n++] = id;
}

/* Calls with each name that is one of ours; what people put there is not touched. */
static void each_name(struct stage_dir *d,
                      void (*call)(struct stage_dir *d, const char *name, enum stage_name kind,
                                   uint64_t id, uint64_t stamp, struct names *names),
                      struct names *names)
{
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        uint64_t id, stamp = 0;
        enum stage_name kind = stage_name_parse(e->d_name, &id, &stamp);
        if (kind != STAGE_FOREIGN)
            call(d, e->d_name, kind, id, stamp, names);
    }
    closedir(dir);
}

static void gather(struct stage_dir *d, const char *name, enum stage_name kind, uint64_t id,
                   uint64_t stamp, struct names *names)
{
    (void)d;
    (void)name;
    (void)stamp;
    if (kind == STAGE_RECORD)
        add_name(names, id);
}

/* Records that were being written, and chunks that none names: nobody counts on them. */
static void sweep(struct stage_dir *d, const char *name, enum stage_name kind, uint64_t id,
                  uint64_t stamp, struct names *names)
{
    const struct held *h = find(d, id);
    (void)names;
    if (kind == STAGE_UNFINISHED ||
        (kind == STAGE_CHUNK && (h == NULL || part_of(h->parts, h->n, stamp) == NULL)))
        unlinkat(d->fd, name, 0);
}

/* The chunks of a record that does not say which they are. */
static void find_chunks(struct stage_dir *d, const char *name, enum stage_name kind, uint64_t id,
                        uint64_t stamp, struct names *names)
{
    (void)name;
    if (kind != STAGE_CHUNK || names->n == 0 || id != names->ids[0])
        return;
    struct held *h = find(d, id);
    if (h == NULL) {
        note_parts(d, id, NULL, 0);
        h = find(d, id);
    }
    if (part_of(h->parts, h->n, stamp) != NULL)
        return;
    h->parts = mem_reallocarray(h->parts, h->n + 1, sizeof(*h->parts));
    h->parts[h->n++] = (struct stage_part){.stamp = stamp};
}

uint32_t stage_dir_load(struct stage_dir *d,
                        int (*take)(void *arg, uint64_t id, struct slice body,
                                    const struct slice *chunks, uint32_t n),
                        void *arg)
{
    struct names names = {.n = 0};
    uint32_t taken = 0;
    each_name(d, gather, &names);
    for (size_t i = 0; i < names.n; i++) {
        int err = load_one(d, names.ids[i], take, arg);
        if (err == DYN_OK) {
            taken++;
            continue;
        }
        struct names one = {&names.ids[i], 1, 1};
        each_name(d, find_chunks, &one);
        log_error("staging", "%s/%016llx cannot be resumed (%s) and is set aside in %s/%s", d->path,
                  (unsigned long long)names.ids[i], dyn_err_message(err), d->path, ASIDE);
        set_aside(d, names.ids[i]);
    }
    each_name(d, sweep, NULL);
    free(names.ids);
    return taken;
}

/* ---- the folder -------------------------------------------------------------------------- */

static int make_folders(const char *path)
{
    char *copy = mem_printf("%s/", path);
    int err = DYN_OK;
    for (char *slash = strchr(copy + 1, '/'); slash != NULL && err == DYN_OK;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(copy, 0700) != 0 && errno != EEXIST)
            err = DYN_ERR_IO;
        *slash = '/';
    }
    free(copy);
    return err;
}

/* Ours alone: others could put changes there that this mount would publish in its user's name. */
static int check(int fd, const char *path, char **message)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        *message = mem_printf("%s must belong to who mounts, and to nobody else (chmod 700)", path);
        return DYN_ERR_DENIED;
    }
    return DYN_OK;
}

static int open_folder(int parent, const char *name)
{
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Moves what a dynamount that has ended left in MOUNT.N. */
static void take_over(struct stage_dir *d, int parent, const char *name)
{
    int from = open_folder(parent, name);
    bool idle = from >= 0 && flock(from, LOCK_EX | LOCK_NB) == 0;
    DIR *dir = idle ? fdopendir(openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) : NULL;
    for (const struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        uint64_t id, stamp;
        if (stage_name_parse(e->d_name, &id, &stamp) != STAGE_FOREIGN)
            (void)renameat(from, e->d_name, d->fd, e->d_name); /* else it waits there */
    }
    if (dir != NULL) {
        closedir(dir);
        unlinkat(parent, name, AT_REMOVEDIR); /* when it is empty */
    }
    if (from >= 0)
        close(from);
}

static char *numbered(const char *name, unsigned number)
{
    return number == 1 ? mem_strdup(name) : mem_printf("%s.%u", name, number);
}

/* The folder, locked; -1: somebody else's. Whoever had it may take it away as it is opened. */
static int open_locked(int parent, const char *name)
{
    for (int tries = 0; tries < 16; tries++) {
        struct stat st;
        if (mkdirat(parent, name, 0700) != 0 && errno != EEXIST)
            return -1;
        int fd = open_folder(parent, name);
        if (fd < 0)
            continue;
        bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
        if (locked && fstat(fd, &st) == 0 && st.st_nlink > 0)
            return fd;
        close(fd);
        if (!locked)
            break;
    }
    return -1;
}

static int choose(struct stage_dir *d, int parent, char **message)
{
    for (unsigned i = 1; i <= FOLDERS_MAX && d->fd < 0; i++) {
        char *name = numbered(d->name, i);
        errno = 0;
        d->fd = open_locked(parent, name);
        if (d->fd >= 0)
            d->path = mem_printf("%s/%s", d->folder, name);
        free(name);
    }
    if (d->fd < 0 && errno != 0 && errno != EWOULDBLOCK) {
        *message = mem_printf("%s/%s: %s", d->folder, d->name, strerror(errno));
        return DYN_ERR_IO;
    }
    if (d->fd < 0) {
        *message = mem_printf("%s/%s: too many mounts use it", d->folder, d->name);
        return DYN_ERR_OVERLOAD;
    }
    int err = check(d->fd, d->path, message);
    for (unsigned i = 1; i <= FOLDERS_MAX && err == DYN_OK; i++) {
        char *name = numbered(d->name, i), *path = mem_printf("%s/%s", d->folder, name);
        if (strcmp(path, d->path) != 0)
            take_over(d, parent, name);
        free(path);
        free(name);
    }
    return err;
}

/* Legible, and different for each. */
static char *name_of(const char *mountpoint, const char *what)
{
    uint8_t digest[DIGEST_LEN];
    struct buf b = BUF_EMPTY;
    const char *slash = strrchr(mountpoint, '/'), *last = slash == NULL ? mountpoint : slash + 1;
    for (size_t i = 0; last[i] != 0 && i < 64; i++) {
        bool plain = (last[i] >= '0' && last[i] <= '9') || (last[i] >= 'a' && last[i] <= 'z') ||
                     (last[i] >= 'A' && last[i] <= 'Z') || last[i] == '_' || last[i] == '-';
        buf_put_u8(&b, (uint8_t)(plain ? last[i] : '_'));
    }
    digest_sha256(slice_str(what), digest);
    buf_put_str(&b, "-");
    buf_put_hex(&b, slice_of(digest, 8));
    char *name = mem_strndup((const char *)b.data, b.len);
    buf_release(&b);
    return name;
}

static void woken(void *arg)
{
    struct stage_dir *d = arg;
    lanes_poll(d->lanes);
}

static void wake(void *ctx)
{
    struct stage_dir *d = ctx;
    loop_wake_signal(d->wake);
}

int stage_dir_open(const char *folder, const char *mountpoint, const char *what, struct loop *loop,
                   struct stage_dir **out, char **message)
{
    static const unsigned threads[1] = {1}; /* records keep their order */
    char real[PATH_MAX];
    if (make_folders(folder) != DYN_OK || realpath(folder, real) == NULL) {
        *message = mem_printf("%s: %s", folder, strerror(errno));
        return DYN_ERR_IO;
    }
    struct stage_dir *d = mem_new(struct stage_dir);
    *d = (struct stage_dir){.fd = -1};
    d->folder = mem_strdup(real);
    d->name = name_of(mountpoint, what);
    list_init(&d->held);
    int parent = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = parent < 0 ? DYN_ERR_IO : choose(d, parent, message);
    if (parent < 0)
        *message = mem_printf("%s: %s", folder, strerror(errno));
    else
        close(parent);
    if (err == DYN_OK) {
        d->wake = loop_wake_new(loop, woken, d);
        d->lanes = lanes_new(threads, 1, wake, d);
        *out = d;
    } else {
        stage_dir_free(d);
    }
    return err;
}

const char *stage_dir_path(const struct stage_dir *d)
{
    return d->path;
}

void stage_dir_free(struct stage_dir *d)
{
    if (d == NULL)
        return;
    lanes_free(d->lanes);
    if (d->wake != NULL)
        loop_wake_free(d->wake);
    for (struct list *l; (l = list_first(&d->held)) != NULL;)
        held_free(container_of(l, struct held, link));
    if (d->fd >= 0) {
        (void)rmdir(d->path); /* when nothing is left in it */
        close(d->fd);
    }
    free(d->path);
    free(d->folder);
    free(d->name);
    free(d);
}
