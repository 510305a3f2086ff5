/* SPDX-License-Identifier: Apache-2.0 */
/* The reads of store_rocksdb.h. Each is tried in memory first, inside the call; only what RocksDB
 * calls incomplete becomes a job for a thread. A scan reads rows in chunks into a buffer of its
 * own, so that the request's callbacks run on the loop's thread and a long scan neither holds much
 * memory nor the thread for long. Scans pass the cache of rows by. */
#include <assert.h>
#include <stdlib.h>

#include "adapter/store_rocksdb_private.h"
#include "base/err.h"
#include "base/mem.h"

enum {
    CHUNK_ROWS = 4096, /* rows that a scan reads at a time */
    CHUNK_BYTES = 2 << 20,
};

struct cold_get {
    struct lane_job job;
    struct list link; /* in store_rocksdb.cold_gets */
    struct store_rocksdb *s;
    struct store_get *req;
    struct rocks_value *value;
    struct buf ref;   /* the row, where it is known and refers to a file */
    struct buf bytes; /* of the file */
    uint64_t hash;
    bool stale; /* the row was written since: the cache must not learn what was found */
    int err;
};

/* Rows of objects and entries are read again and again, and so is their absence: each put of a new
 * name asks for it. Values never change, so only those that somebody reads are kept. */
static bool worth_caching(enum store_family f, int err)
{
    return (f == STORE_META && (err == DYN_OK || err == DYN_ERR_NOT_FOUND)) ||
           (f == STORE_VALUE && err == DYN_OK);
}

void store_rocksdb_row_written(struct store_rocksdb *s, enum store_op_type type, uint64_t hash,
                               enum store_family f, struct slice key, struct slice value)
{
    list_for_each_safe(l, tmp, &s->cold_gets)
    {
        struct cold_get *g = container_of(l, struct cold_get, link);
        g->stale |= g->hash == hash;
    }
    if (f == STORE_META && type == STORE_PUT)
        store_cache_put(s->rows, hash, f, key, value);
    else if (f == STORE_META && type == STORE_DELETE)
        store_cache_put_absent(s->rows, hash, f, key);
    else if (f == STORE_META || f == STORE_VALUE)
        store_cache_forget(s->rows, hash, f, key);
}

static void answer_get(struct store_rocksdb *s, struct store_get *req, uint64_t hash, bool keep,
                       int err, struct slice row)
{
    if (keep && worth_caching(req->family, err)) {
        if (err == DYN_OK)
            store_cache_put(s->rows, hash, req->family, req->key, row);
        else
            store_cache_put_absent(s->rows, hash, req->family, req->key);
    }
    req->done(req, err, row);
}

static bool refers(const struct store_rocksdb *s, enum store_family f, struct slice row)
{
    return f == STORE_VALUE && s->files != NULL && store_files_is_ref(row);
}

static void cold_get_run(struct lane_job *job)
{
    struct cold_get *g = container_of(job, struct cold_get, job);
    struct slice row = buf_slice(&g->ref);
    if (row.len == 0) {
        g->err = rocks_get(g->s->db, g->req->family, g->req->key, false, &g->value);
        row = g->err == DYN_OK ? rocks_value_slice(g->value) : slice_of(NULL, 0);
    }
    if (g->err == DYN_OK && refers(g->s, g->req->family, row))
        g->err = store_files_get(g->s->files, g->req->key, row, &g->bytes);
}

static void cold_get_finish(struct lane_job *job)
{
    struct cold_get *g = container_of(job, struct cold_get, job);
    struct slice row = buf_slice(&g->bytes);
    list_remove(&g->link);
    if (g->err == DYN_OK && row.len == 0)
        row = rocks_value_slice(g->value);
    answer_get(g->s, g->req, g->hash, !g->stale, g->err,
               g->err == DYN_OK ? row : slice_of(NULL, 0));
    rocks_value_free(g->value);
    buf_release(&g->ref);
    buf_release(&g->bytes);
    free(g);
}

/* ref: empty, or the row. */
static void get_cold(struct store_rocksdb *s, struct store_get *req, uint64_t hash,
                     struct slice ref)
{
    if (s->closing) { /* no thread is there any more; what ends now may still ask for the next */
        req->done(req, DYN_ERR_STOPPED, slice_of(NULL, 0));
        return;
    }
    s->stats.reads_disk++;
    struct cold_get *g = mem_new(struct cold_get);
    g->job = (struct lane_job){.run = cold_get_run, .finish = cold_get_finish};
    g->s = s;
    g->req = req;
    g->hash = hash;
    buf_put_slice(&g->ref, ref);
    list_append(&s->cold_gets, &g->link);
    lanes_submit(s->lanes, LANE_READ, &g->job);
}

bool store_rocksdb_get_file(struct store_rocksdb *s, struct store_get *req, uint64_t hash,
                            struct slice row)
{
    if (!refers(s, req->family, row))
        return false;
    get_cold(s, req, hash, row);
    return true;
}

static bool get_from_cache(struct store_rocksdb *s, struct store_get *req, uint64_t hash)
{
    struct store_cached *row = store_cache_find(s->rows, hash, req->family, req->key);
    if (row == NULL)
        return false;
    s->stats.reads_memory++;
    req->done(req, store_cached_absent(row) ? DYN_ERR_NOT_FOUND : DYN_OK, store_cached_value(row));
    store_cached_unref(row);
    return true;
}

void store_rocksdb_get(void *ctx, struct store_get *req)
{
    struct store_rocksdb *s = ctx;
    uint64_t hash = store_cache_hash(req->family, req->key);
    if (get_from_cache(s, req, hash))
        return;
    if (s->buffer != NULL && store_rocksdb_buffer_get(s, req, hash))
        return;
    if (store_rocksdb_turn_may_hold(s, hash))
        store_rocksdb_turn_write(s);
    store_rocksdb_get_written(s, req);
}

void store_rocksdb_get_written(struct store_rocksdb *s, struct store_get *req)
{
    struct rocks_value *value = NULL;
    uint64_t hash = store_cache_hash(req->family, req->key);
    int err = rocks_get(s->db, req->family, req->key, true, &value);
    struct slice row = err == DYN_OK ? rocks_value_slice(value) : slice_of(NULL, 0);
    if (err == ROCKS_INCOMPLETE) {
        get_cold(s, req, hash, row);
    } else if (!store_rocksdb_get_file(s, req, hash, row)) {
        s->stats.reads_memory++;
        answer_get(s, req, hash, true, err, row);
    }
    rocks_value_free(value);
}

/* A scan reads a chunk of rows at a time into `rows`, and gives them to the request from there. */
struct scan_job {
    struct lane_job job;
    struct store_rocksdb *s;
    struct store_scan *req;
    struct rocks_cursor *cursor;
    struct buf rows, file;
    uint32_t rows_read, chunk_rows;
    uint64_t bytes_read;
    bool in_memory; /* on the loop's thread */
    bool more;      /* rows follow those that were read */
    int err;
};

static bool scan_reached_bound(const struct scan_job *j)
{
    return j->rows_read >= j->req->max_rows || j->bytes_read >= j->req->max_bytes;
}

/* The value of a row that refers to one. gone: it was deleted after the scan had begun. False: it
 * cannot be had here. */
static bool scan_file(struct scan_job *j, struct slice key, struct slice *value, bool *gone)
{
    if (j->in_memory) {
        j->err = ROCKS_INCOMPLETE;
        return false;
    }
    buf_clear(&j->file);
    j->err = store_files_get(j->s->files, key, *value, &j->file);
    *gone = j->err == DYN_ERR_NOT_FOUND;
    *value = buf_slice(&j->file);
    return *gone || j->err == DYN_OK;
}

static void scan_read(struct scan_job *j)
{
    struct slice key, value;
    buf_clear(&j->rows);
    j->more = false;
    for (j->chunk_rows = 0; rocks_cursor_row(j->cursor, &key, &value); j->chunk_rows++) {
        j->more = j->chunk_rows >= CHUNK_ROWS || j->rows.len >= CHUNK_BYTES ||
                  (j->rows_read > 0 && scan_reached_bound(j));
        if (j->more)
            break;
        bool gone = false;
        if (refers(j->s, j->req->family, value) && !scan_file(j, key, &value, &gone))
            return;
        if (gone) {
            j->chunk_rows--;
        } else {
            buf_put_bytes(&j->rows, key);
            buf_put_bytes(&j->rows, value);
            j->rows_read++;
            j->bytes_read += key.len + value.len;
        }
        rocks_cursor_next(j->cursor);
    }
    j->err = rocks_cursor_error(j->cursor);
}

/* Gives the rows of a chunk. True when the scan is over and its request completed. */
static bool scan_give(struct scan_job *j)
{
    struct store_scan *req = j->req;
    struct reader r = reader_of(buf_slice(&j->rows));
    bool go_on = true;
    uint32_t left = j->chunk_rows;
    for (; j->err == DYN_OK && go_on && left > 0; left--) {
        struct slice key = read_bytes(&r), value = read_bytes(&r);
        assert(reader_ok(&r));
        go_on = req->row(req, key, value);
    }
    if (j->err == DYN_OK && j->more && go_on && !scan_reached_bound(j))
        return false;
    req->done(req, j->err, j->err == DYN_OK && (j->more || left > 0));
    return true;
}

static void scan_free(struct scan_job *j)
{
    rocks_cursor_free(j->cursor);
    buf_release(&j->rows);
    buf_release(&j->file);
    free(j);
}

static void cold_scan_run(struct lane_job *job)
{
    struct scan_job *j = container_of(job, struct scan_job, job);
    const struct store_scan *req = j->req;
    if (j->cursor == NULL)
        j->cursor =
            rocks_cursor_new(j->s->db, req->family, req->prefix, req->from,
                             req->max_rows <= CHUNK_ROWS ? ROCKS_CURSOR_CACHED : ROCKS_CURSOR_ONCE);
    scan_read(j);
}

static void cold_scan_finish(struct lane_job *job)
{
    struct scan_job *j = container_of(job, struct scan_job, job);
    if (j->s->closing)
        j->err = DYN_ERR_STOPPED;
    if (scan_give(j))
        scan_free(j);
    else
        lanes_submit(j->s->lanes, LANE_SCAN, &j->job);
}

void store_rocksdb_scan(void *ctx, struct store_scan *req)
{
    struct store_rocksdb *s = ctx;
    if (s->buffer != NULL && store_rocksdb_buffer_scan(s, req))
        return;
    if (s->turn_ops > 0)
        store_rocksdb_turn_write(s);
    store_rocksdb_scan_written(s, req);
}

void store_rocksdb_scan_written(struct store_rocksdb *s, struct store_scan *req)
{
    struct scan_job *j = mem_new(struct scan_job);
    j->job = (struct lane_job){.run = cold_scan_run, .finish = cold_scan_finish};
    j->s = s;
    j->req = req;
    if (req->max_rows <= CHUNK_ROWS && req->max_bytes <= CHUNK_BYTES) {
        j->cursor =
            rocks_cursor_new(s->db, req->family, req->prefix, req->from, ROCKS_CURSOR_MEMORY);
        j->in_memory = true;
        scan_read(j);
        if (j->err != ROCKS_INCOMPLETE) {
            s->stats.reads_memory++;
            bool over = scan_give(j);
            assert(over);
            (void)over;
            scan_free(j);
            return;
        }
        rocks_cursor_free(j->cursor);
        j->cursor = NULL;
        j->in_memory = false;
        j->rows_read = 0;
        j->bytes_read = 0;
    }
    if (s->closing) {
        scan_free(j);
        req->done(req, DYN_ERR_STOPPED, false);
        return;
    }
    s->stats.reads_disk++;
    lanes_submit(s->lanes, LANE_SCAN, &j->job);
}
