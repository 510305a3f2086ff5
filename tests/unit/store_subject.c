/* SPDX-License-Identifier: Apache-2.0 */
/* See store_subject.h. */
#include "store_subject.h"

#include <dirent.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "unit.h"

static bool on_disk(const struct subject *s)
{
    return s->kind != SUBJECT_MEMORY && s->kind != SUBJECT_DEFERRED;
}

static void wake(void *ctx)
{
    struct subject *s = ctx;
    if (on_disk(s))
        eventfd_write(s->wake_fd, 1);
}

static void dirty(void *ctx)
{
    ((struct subject *)ctx)->dirty = true;
}

static void failed(void *ctx, int err, const char *message)
{
    struct subject *s = ctx;
    assert_non_null(message);
    assert_int_equal(s->failed, DYN_OK); /* once */
    s->failed = err;
}

struct store_rocksdb_config subject_config(const struct subject *s)
{
    struct store_rocksdb_config c = store_rocksdb_config_default();
    c.path = s->dir;
    c.cache_bytes = 1 << 20;
    c.write_buffer_bytes = 4 << 20;
    c.ballast_bytes = 0;
    c.reserve_bytes = 0;
    c.buffer_objects = s->kind == SUBJECT_BUFFERED ? SUBJECT_BUFFER : 0;
    c.file_bytes = s->kind == SUBJECT_FILES ? 1 : 0;
    return c;
}

void subject_await_spares(const struct subject *s, unsigned wanted)
{
    char folder[80];
    unsigned n = 0;
    snprintf(folder, sizeof(folder), "%s/values", s->dir);
    for (int i = 0; i < 6000 && n < wanted; i++) {
        DIR *dir = opendir(folder);
        n = 0;
        for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
            n += strncmp(e->d_name, "new.", 4) == 0;
        if (dir != NULL)
            closedir(dir);
        if (n < wanted)
            usleep(1000);
    }
    assert_true(n >= wanted);
}

static void open_rocksdb(struct subject *s)
{
    struct store_rocksdb_config c = subject_config(s);
    char *message = NULL;
    if (store_rocksdb_open(&c, &s->host, &s->rocksdb, &message) != DYN_OK)
        fail_msg("%s", message);
    s->port = store_rocksdb_port(s->rocksdb);
    if (s->kind == SUBJECT_FILES)
        subject_await_spares(s, c.spare_files);
}

void subject_open(struct subject *s, enum subject_kind kind)
{
    *s = (struct subject){.kind = kind, .wake_fd = -1};
    s->host = (struct store_host){.ctx = s, .wake = wake, .dirty = dirty, .failed = failed};
    if (on_disk(s)) {
        s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        snprintf(s->dir, sizeof(s->dir), "/tmp/dynamount-store-XXXXXX");
        assert_non_null(mkdtemp(s->dir));
        open_rocksdb(s);
        return;
    }
    s->memory = store_memory_new(&s->host);
    store_memory_set_deferred(s->memory, kind == SUBJECT_DEFERRED);
    s->port = store_memory_port(s->memory);
}

void subject_restart(struct subject *s)
{
    if (on_disk(s)) {
        store_rocksdb_close(s->rocksdb);
        open_rocksdb(s);
    } else {
        store_memory_stop(s->memory);
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void subject_remove_dir(const char *dir)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void subject_close(struct subject *s)
{
    store_memory_free(s->memory);
    store_rocksdb_close(s->rocksdb);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    if (s->dir[0] != '\0')
        subject_remove_dir(s->dir);
}

void subject_wait(struct subject *s)
{
    struct pollfd p = {.fd = s->wake_fd, .events = POLLIN};
    eventfd_t n;
    if (poll(&p, 1, 20000) != 1)
        fail_msg("the store does not answer");
    eventfd_read(s->wake_fd, &n);
    store_rocksdb_poll(s->rocksdb);
}

void subject_run(struct subject *s, const bool *done)
{
    while (!*done) {
        if (!on_disk(s)) {
            assert_true(store_memory_step(s->memory, 0));
            continue;
        }
        while (s->dirty) {
            s->dirty = false;
            store_rocksdb_flush_turn(s->rocksdb);
        }
        if (*done)
            break;
        subject_wait(s);
    }
}

struct outcome {
    bool done;
    int err;
    struct buf *out;
    bool more;
    uint32_t rows, stop_after;
};

static void write_done(struct store_write *req, int err)
{
    struct outcome *o = req->arg;
    assert_false(o->done);
    o->done = true;
    o->err = err;
}

int subject_write(struct subject *s, struct store_batch *batch, enum store_sync sync)
{
    struct outcome o = {0};
    struct store_write req = {.done = write_done, .arg = &o};
    int err = s->port.write(s->port.ctx, batch, sync, &req);
    assert_int_equal(batch->count, 0);
    if (err != DYN_OK)
        return err;
    subject_run(s, &o.done);
    return o.err;
}

int subject_put(struct subject *s, enum store_family f, const char *key, const char *value)
{
    struct store_batch b = STORE_BATCH_EMPTY;
    store_batch_put(&b, f, slice_str(key), slice_str(value));
    return subject_write(s, &b, STORE_BUFFERED);
}

static void get_done(struct store_get *req, int err, struct slice value)
{
    struct outcome *o = req->arg;
    assert_false(o->done);
    o->done = true;
    o->err = err;
    if (err == DYN_OK)
        buf_put_slice(o->out, value);
}

int subject_get(struct subject *s, enum store_family f, struct slice key, struct buf *value)
{
    struct outcome o = {.out = value};
    struct store_get req = {.family = f, .key = key, .done = get_done, .arg = &o};
    s->port.get(s->port.ctx, &req);
    subject_run(s, &o.done);
    return o.err;
}

static bool scan_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct outcome *o = req->arg;
    assert_false(o->done);
    buf_put_slice(o->out, key);
    buf_put_u8(o->out, '=');
    buf_put_slice(o->out, value);
    buf_put_u8(o->out, ';');
    return ++o->rows != o->stop_after;
}

static void scan_done(struct store_scan *req, int err, bool more)
{
    struct outcome *o = req->arg;
    assert_false(o->done);
    o->done = true;
    o->err = err;
    o->more = more;
}

int subject_scan(struct subject *s, enum store_family f, const char *prefix, const char *from,
                 uint32_t max_rows, uint64_t max_bytes, uint32_t stop_after, struct buf *out,
                 bool *more)
{
    struct outcome o = {.out = out, .stop_after = stop_after};
    struct store_scan req = {.family = f,
                             .prefix = slice_str(prefix),
                             .from = slice_str(from),
                             .max_rows = max_rows,
                             .max_bytes = max_bytes,
                             .row = scan_row,
                             .done = scan_done,
                             .arg = &o};
    s->port.scan(s->port.ctx, &req);
    subject_run(s, &o.done);
    *more = o.more;
    return o.err;
}
