/* SPDX-License-Identifier: Apache-2.0 */
/* See store_rocksdb.h. RocksDB's calls block; a loop must not.
 *
 * - A read looks among the rows used lately (store_cache.h), then asks RocksDB for what it has in
 *   memory. Only what is incomplete goes to a thread.
 * - A batch waits for the end of the turn. A read of a key that is in a waiting batch writes the
 *   waiting batches first, so reads see them; a scan always does.
 * - Any failed write or sync stops all writing, and the host is told; there is no second attempt,
 *   as a failed fsync says nothing about what it left behind (HAZARDS E20). A batch that there is
 *   no room for is refused before it is written; a disk that is full all the same, because others
 *   took the reserve, stops the store like any other failure. */
#include "adapter/store_rocksdb.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "adapter/store_rocksdb_private.h"
#include "base/err.h"
#include "base/mem.h"

/* --- completions ---------------------------------------------------------------------------- */

void store_rocksdb_stop_writing(struct store_rocksdb *s, int err, char *message)
{
    if (s->stopped) {
        free(message);
        return;
    }
    s->stopped = true;
    s->failure = err == DYN_ERR_CORRUPT ? DYN_ERR_CORRUPT : DYN_ERR_IO;
    s->failure_message = message;
    if (s->host.wake != NULL)
        s->host.wake(s->host.ctx);
}

void store_rocksdb_settle(struct store_rocksdb *s, struct store_write *req, int err)
{
    req->ticket = (uint64_t)(int64_t)err;
    list_append(&s->settled, &req->link);
}

static void deliver(struct store_rocksdb *s)
{
    if (s->stopped && !s->told) {
        s->told = true;
        if (s->host.failed != NULL)
            s->host.failed(s->host.ctx, s->full ? DYN_ERR_NO_SPACE : s->failure,
                           s->failure_message);
    }
    for (struct list *l; (l = list_first(&s->settled)) != NULL;) {
        struct store_write *req = container_of(l, struct store_write, link);
        list_remove(l);
        req->done(req, (int)(int64_t)req->ticket);
    }
    store_rocksdb_release_held(s);
}

static void settle_unsynced(struct store_rocksdb *s, int err)
{
    list_for_each_safe(l, tmp, &s->unsynced)
    {
        struct store_write *req = container_of(l, struct store_write, link);
        if (err == DYN_OK && req->ticket > s->durable)
            break; /* in order of tickets */
        list_remove(l);
        store_rocksdb_settle(s, req, err);
    }
}

/* --- syncs ---------------------------------------------------------------------------------- */

/* The log only after what it refers to. */
static int sync_all(struct store_rocksdb *s, char **message)
{
    int err = s->files == NULL ? DYN_OK : store_files_sync(s->files, message);
    return err == DYN_OK ? rocks_sync(s->db, message) : err;
}

static void sync_run(struct lane_job *job)
{
    struct sync_job *sync = container_of(job, struct sync_job, job);
    sync->err = sync_all(sync->s, &sync->message);
    if (sync->err == DYN_OK)
        store_disk_mark(sync->s->disk, sync->sequence);
}

static void sync_finish(struct lane_job *job)
{
    struct sync_job *sync = container_of(job, struct sync_job, job);
    struct store_rocksdb *s = sync->s;
    int err = sync->err;
    sync->running = false;
    if (err == DYN_OK) {
        s->durable = sync->ticket;
        s->stats.syncs++;
    } else {
        /* A sync that found the disk full failed all the same: what it left is unknown. */
        store_rocksdb_stop_writing(s, err, sync->message);
        err = s->failure;
    }
    sync->message = NULL;
    settle_unsynced(s, err);
    if (err == DYN_OK)
        store_rocksdb_start_sync(s);
    store_rocksdb_tidy(s);
}

void store_rocksdb_start_sync(struct store_rocksdb *s)
{
    bool files = s->files != NULL && store_files_unsynced(s->files); /* also of the last run */
    bool due = s->sync_due && (s->written > s->durable || files);
    if ((list_empty(&s->unsynced) && !due) || s->sync.running || s->closing || s->stopped)
        return;
    s->sync.running = true;
    s->sync_due = false;
    s->sync.ticket = s->written;
    s->sync.sequence = rocks_sequence(s->db);
    lanes_submit(s->lanes, LANE_SYNC, &s->sync.job);
}

/* --- the batches of a turn ------------------------------------------------------------------ */

static void turn_mark(struct store_rocksdb *s, uint64_t hash)
{
    s->marks[hash / 64 % (TURN_MARKS / 64)] |= 1ull << hash % 64;
}

/* Also true now and then for a key that shares a mark: its reader writes the turn's batch early. */
bool store_rocksdb_turn_may_hold(const struct store_rocksdb *s, uint64_t hash)
{
    return s->turn_ops > 0 && (s->marks[hash / 64 % (TURN_MARKS / 64)] & 1ull << hash % 64) != 0;
}

static void turn_clear(struct store_rocksdb *s)
{
    s->turn_ops = 0;
    s->turn_bytes = 0;
    memset(s->marks, 0, sizeof(s->marks));
}

void store_rocksdb_turn_write(struct store_rocksdb *s)
{
    char *message = NULL;
    int err = s->buffer != NULL && s->stopped ? s->failure : DYN_OK;
    if (s->turn_ops > 0) {
        if (s->stopped) {
            rocks_batch_clear(s->db);
            err = DYN_ERR_STOPPED;
        } else {
            err = rocks_write(s->db, &message);
        }
        s->written += err == DYN_OK;
        if (err != DYN_OK)
            store_cache_clear(s->rows); /* it knew what was to be written */
        turn_clear(s);
    }
    if (err == DYN_ERR_NO_SPACE) { /* in spite of the reserve: others took it meanwhile */
        store_disk_full(s->disk);
        s->full = true;
    }
    if (err != DYN_OK && err != DYN_ERR_STOPPED) {
        store_rocksdb_stop_writing(s, err, message);
        err = s->failure;
    }
    list_for_each_safe(l, tmp, &s->waiting)
    {
        struct store_write *req = container_of(l, struct store_write, link);
        list_remove(l);
        if (err == DYN_OK && req->sync == STORE_SYNCED && s->written > s->durable) {
            req->ticket = s->written;
            list_append(&s->unsynced, &req->link);
        } else {
            store_rocksdb_settle(s, req, err);
        }
    }
}

static void buffer_rows(struct store_rocksdb *s, const struct store_batch *batch)
{
    size_t at = 0;
    enum store_op_type type;
    enum store_family f;
    struct slice key, value;
    while (store_batch_next(batch, &at, &type, &f, &key, &value))
        store_rocksdb_row_written(s, type, store_cache_hash(f, key), f, key, value);
}

static void turn_add(struct store_rocksdb *s, const struct store_batch *batch)
{
    size_t at = 0;
    enum store_op_type type;
    enum store_family f;
    struct slice key, value;
    while (store_batch_next(batch, &at, &type, &f, &key, &value)) {
        uint64_t hash = store_cache_hash(f, key);
        turn_mark(s, hash);
        if (type == STORE_PUT)
            rocks_batch_put(s->db, f, key, value);
        else if (type == STORE_MERGE)
            rocks_batch_merge(s->db, f, key, value);
        else
            rocks_batch_delete(s->db, f, key);
        store_rocksdb_row_written(s, type, hash, f, key, value);
        s->turn_ops++;
        s->turn_bytes += key.len + value.len;
    }
}

/* Once a second, off the loop: did RocksDB fail in the background? It would go on by itself. And
 * where room is low, what was deleted meanwhile must give its room back. */
static void check_run(struct lane_job *job)
{
    struct check_job *check = container_of(job, struct check_job, job);
    rocks_collect_blobs(check->s->db, check->low);
    if (check->reclaim) {
        rocks_reclaim(check->s->db, STORE_VALUE);
        rocks_reclaim(check->s->db, STORE_HINT);
    }
    check->background_errors = rocks_background_errors(check->s->db);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void check_finish(struct lane_job *job)
{
    struct check_job *check = container_of(job, struct check_job, job);
    struct store_rocksdb *s = check->s;
    bool low = s->low_ms != 0 && now_ms() - s->low_ms < LOW_BLAME_MS;
    check->running = false;
    if (check->background_errors > s->background_errors && !low)
        store_rocksdb_stop_writing(s, DYN_ERR_IO, mem_strdup("a flush or a compaction failed"));
    s->background_errors = check->background_errors;
    store_rocksdb_tidy(s);
}

/* Nobody need ask for a sync: a value in a file should not be without it for longer than its row
 * takes to reach the disk by itself, and files of deleted values wait for one. */
static bool files_want_a_sync(const struct store_rocksdb *s)
{
    return s->files != NULL && (store_files_unsynced(s->files) || store_files_dropping(s->files));
}

static void start_check(struct store_rocksdb *s)
{
    uint64_t now = now_ms();
    if (s->check.running || s->closing || now - s->checked_ms < CHECK_MS)
        return;
    bool low = store_disk_room(s->disk, s->bytes_written) != STORE_ROOM_ENOUGH;
    if (low)
        s->low_ms = now;
    s->check.low = low;
    s->check.reclaim = low && now - s->reclaimed_ms >= RECLAIM_MS &&
                       s->reclaimed_at != s->bytes_written && !s->stopped;
    if (s->check.reclaim) {
        s->reclaimed_ms = now;
        s->reclaimed_at = s->bytes_written;
    }
    s->sync_due |= files_want_a_sync(s);
    store_rocksdb_start_sync(s);
    s->checked_ms = now;
    s->check.running = true;
    lanes_submit(s->lanes, LANE_UPKEEP, &s->check.job);
}

void store_rocksdb_flush_turn(struct store_rocksdb *s)
{
    s->dirty = false; /* what the callbacks hand over is for another flush, and asks for it */
    store_rocksdb_turn_write(s);
    store_rocksdb_start_write(s);
    s->sync_due |= s->files != NULL && store_files_want_sync(s->files);
    store_rocksdb_start_sync(s);
    store_rocksdb_tidy(s);
    deliver(s);
    start_check(s);
}

void store_rocksdb_poll(struct store_rocksdb *s)
{
    lanes_poll(s->lanes);
    deliver(s);
    start_check(s);
}

/* --- the port: writes ----------------------------------------------------------------------- */

static void make_dirty(struct store_rocksdb *s)
{
    if (s->dirty)
        return;
    s->dirty = true;
    if (s->host.dirty != NULL)
        s->host.dirty(s->host.ctx);
}

/* May the batch be taken with this much room left? New data are values, and what is kept for
 * others or of former versions. A delete needs small rows of that family too: what it leaves owed.
 */
static bool room_for(const struct store_batch *batch, enum store_room room)
{
    size_t at = 0;
    enum store_op_type type;
    enum store_family f;
    struct slice key, value;
    if (room == STORE_ROOM_ENOUGH)
        return true;
    while (store_batch_next(batch, &at, &type, &f, &key, &value)) {
        if (type == STORE_PUT &&
            (room == STORE_ROOM_NONE || f == STORE_VALUE || (f == STORE_HINT && !batch->deletes)))
            return false;
    }
    return true;
}

static int port_write(void *ctx, struct store_batch *batch, enum store_sync sync,
                      struct store_write *req)
{
    struct store_rocksdb *s = ctx;
    int err = DYN_OK;
    if (s->stopped)
        err = DYN_ERR_STOPPED;
    else if (!room_for(batch, store_disk_room(s->disk, s->bytes_written)))
        err = DYN_ERR_NO_SPACE;
    uint64_t bytes = batch->ops.len;
    if (err == DYN_OK)
        err = store_rocksdb_take_out(s, batch);
    if (err != DYN_OK) {
        store_batch_release(batch);
        return err;
    }
    s->bytes_written += bytes;
    s->stats.writes++;
    if (s->buffer != NULL) {
        buffer_rows(s, batch);
        store_rocksdb_buffer_add(s, batch, sync, req);
        make_dirty(s);
        return DYN_OK;
    }
    turn_add(s, batch);
    store_batch_release(batch);
    if (req != NULL) {
        req->sync = sync;
        list_append(&s->waiting, &req->link);
    }
    if (s->turn_ops >= TURN_OPS_MAX || s->turn_bytes >= TURN_BYTES_MAX)
        store_rocksdb_turn_write(s);
    make_dirty(s);
    return DYN_OK;
}

static void port_sync(void *ctx, struct store_write *req)
{
    struct store_rocksdb *s = ctx;
    req->sync = STORE_SYNCED;
    if (s->stopped)
        store_rocksdb_settle(s, req, DYN_ERR_STOPPED);
    else if (s->buffer != NULL)
        store_rocksdb_buffer_sync(s, req);
    else
        list_append(&s->waiting, &req->link);
    make_dirty(s);
}

static void port_stats(void *ctx, struct store_stats *out)
{
    struct store_rocksdb *s = ctx;
    *out = s->stats;
    out->buffered = s->buffer == NULL ? 0 : store_buffer_count(s->buffer);
    store_disk_room(s->disk, s->bytes_written);
    out->bytes_used = rocks_bytes_used(s->db);
    if (s->files != NULL)
        out->bytes_used += store_files_bytes(s->files);
    out->bytes_free = store_disk_free_bytes(s->disk);
}

struct store_port store_rocksdb_port(struct store_rocksdb *s)
{
    return (struct store_port){.ctx = s,
                               .get = store_rocksdb_get,
                               .write = port_write,
                               .sync = port_sync,
                               .scan = store_rocksdb_scan,
                               .stats = port_stats};
}

/* --- start and stop ------------------------------------------------------------------------- */

struct store_rocksdb_config store_rocksdb_config_default(void)
{
    return (struct store_rocksdb_config){
        .cache_bytes = 16 << 20,
        .write_buffer_bytes = 16 << 20,
        .blob_bytes = 4096,
        .file_bytes = 256 << 10,
        .spare_files = 32,
        .ballast_bytes = 32 << 20,
        .reserve_bytes = 64 << 20, /* what memtables and their logs may still ask for */
    };
}

static int open_parts(struct store_rocksdb *s, const struct store_rocksdb_config *config,
                      char **message)
{
    char *path = mem_printf("%s/db", config->path);
    struct rocks_config rocks = {.path = path,
                                 .cache_bytes = config->cache_bytes / 2,
                                 .write_buffer_bytes = config->write_buffer_bytes,
                                 .blob_bytes = config->blob_bytes};
    int err = DYN_OK;
    if (mkdir(config->path, 0700) != 0 && errno != EEXIST) {
        *message = mem_printf("cannot make %s: %s", config->path, strerror(errno));
        err = DYN_ERR_IO;
    }
    if (err == DYN_OK) { /* first: opening takes room, and a full disk has the ballast for it */
        s->folder = mem_strdup(config->path);
        s->disk = store_disk_new(config->path, config->ballast_bytes, config->reserve_bytes);
        if (store_disk_room(s->disk, 0) == STORE_ROOM_NONE) { /* RocksDB would abort */
            *message = mem_printf("%s: the disk is full", config->path);
            err = DYN_ERR_NO_SPACE;
        }
    }
    if (err == DYN_OK)
        err = rocks_open(&rocks, &s->db, message);
    if (err == DYN_OK) {
        uint64_t recovered = rocks_sequence(s->db);
        if (store_disk_marked(s->disk) > recovered)
            s->lost = store_disk_marked(s->disk) - recovered;
        err = store_identity_open(s->db, config->path, store_rocksdb_format(config),
                                  config->cluster, config->node, &s->identity, message);
    }
    if (err == DYN_OK && config->buffer_objects > 0)
        err = store_identity_forget_boot(s->db, message);
    if (err == DYN_OK)
        err = store_rocksdb_files_open(s, config, message);
    free(path);
    return err;
}

static void free_parts(struct store_rocksdb *s)
{
    free(s->folder);
    rocks_close(s->db);
    store_files_free(s->files);
    store_disk_free(s->disk);
    store_buffer_free(s->buffer);
    store_cache_free(s->rows);
    free(s->failure_message);
    free(s);
}

int store_rocksdb_open(const struct store_rocksdb_config *config, const struct store_host *host,
                       struct store_rocksdb **out, char **message)
{
    const unsigned threads[LANES] = {[LANE_WRITE] = config->buffer_objects > 0,
                                     [LANE_PAUSE] = config->buffer_objects > 0,
                                     [LANE_SYNC] = 1,
                                     [LANE_READ] = 2,
                                     [LANE_SCAN] = 1,
                                     [LANE_UPKEEP] = 1,
                                     [LANE_FILES] = 1};
    struct store_rocksdb *s = mem_new(struct store_rocksdb);
    int err = open_parts(s, config, message);
    if (err != DYN_OK) {
        free_parts(s);
        return err;
    }
    s->host = *host;
    s->rows = store_cache_new(config->cache_bytes / 2);
    list_init(&s->cold_gets);
    list_init(&s->waiting);
    list_init(&s->unsynced);
    list_init(&s->settled);
    store_rocksdb_buffer_open(s, config);
    s->sync.job = (struct lane_job){.run = sync_run, .finish = sync_finish};
    s->sync.s = s;
    s->check.job = (struct lane_job){.run = check_run, .finish = check_finish};
    s->check.s = s;
    s->lanes = lanes_new(threads, LANES, host->wake, host->ctx);
    store_rocksdb_tidy(s);
    *out = s;
    return DYN_OK;
}

void store_rocksdb_close(struct store_rocksdb *s)
{
    char *message = NULL;
    int err;
    if (s == NULL)
        return;
    s->closing = true;
    store_rocksdb_turn_write(s);
    rocks_reclaim_no_more(s->db); /* which may take minutes, when the disk is nearly full */
    if (s->files != NULL)
        store_files_look_no_more(s->files);
    lanes_free(s->lanes); /* finishes what the threads still had to do */
    store_rocksdb_buffer_drain(s);
    if (!s->stopped && sync_all(s, &message) == DYN_OK) {
        s->durable = s->written;
        store_disk_mark(s->disk, rocks_sequence(s->db));
        settle_unsynced(s, DYN_OK);
        /* Tables instead of a log make the next start quick. The mark comes last. */
        err = s->files == NULL ? DYN_OK : store_files_end(s->files, s->durable, &message);
        if (err == DYN_OK && rocks_flush(s->db, &message) == DYN_OK)
            store_identity_mark_clean(s->db, &message);
    } else {
        settle_unsynced(s, s->stopped ? s->failure : DYN_ERR_IO);
    }
    free(message);
    s->host.failed = NULL; /* too late to do anything about it */
    deliver(s);
    free_parts(s);
}

bool store_rocksdb_was_created(const struct store_rocksdb *s)
{
    return s->identity.created;
}

bool store_rocksdb_was_clean(const struct store_rocksdb *s)
{
    return s->identity.clean && s->lost == 0;
}

bool store_rocksdb_lost_tail(const struct store_rocksdb *s)
{
    return s->lost > 0 || (!s->identity.clean && !s->identity.same_boot);
}

int store_rocksdb_tail_noted(struct store_rocksdb *s, char **message)
{
    if (s->identity.same_boot || s->buffer != NULL)
        return DYN_OK; /* what dies with a process is not noted as what only the machine takes */
    store_rocksdb_turn_write(s); /* what is under way goes first, by itself */
    int err = store_identity_mark_boot(s->db, s->folder, message);
    s->identity.same_boot = err == DYN_OK;
    return err;
}

uint64_t store_rocksdb_lost(const struct store_rocksdb *s)
{
    return s->lost;
}

void store_rocksdb_identity(const struct store_rocksdb *s, uint64_t *cluster, uint64_t *node)
{
    *cluster = s->identity.cluster;
    *node = s->identity.node;
}

int store_rocksdb_adopt(struct store_rocksdb *s, uint64_t cluster, uint64_t node)
{
    char *message = NULL;
    assert(cluster != 0 && node != 0);
    if (s->identity.node != 0)
        return DYN_ERR_EXISTS;
    store_rocksdb_turn_write(s);
    int err = store_identity_adopt(s->db, cluster, node, &message);
    if (err != DYN_OK) {
        store_rocksdb_stop_writing(s, err, message);
        return err;
    }
    s->identity.cluster = cluster;
    s->identity.node = node;
    return DYN_OK;
}
