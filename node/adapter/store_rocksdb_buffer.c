/* SPDX-License-Identifier: Apache-2.0 */
/* The store with an object buffer (store_rocksdb_config.buffer_objects; Dynamo paper, section 6.1).
 * Without one, the batches of a turn of the loop are written at its end by the loop itself, and
 * whatever that waits for (the kernel that makes a writer of dirty pages wait, a log that is being
 * synced, a full memtable) everybody waits for, readers too. With one, a thread writes; the loop
 * goes on.
 *
 *   taken --(buffered, and the buffer is not full: acknowledged at the end of the turn)
 *     |
 *     v  a group of the oldest batches, one group at a time
 *   written --(buffered: acknowledged, if it was not yet)
 *     |
 *     v  a sync that covers it: at once if somebody waits for one, else after a while
 *   durable --(synced: acknowledged)
 *
 * Gets look here first. A scan that could meet a row of the buffer, and a get of one that was
 * merged into, wait until what they must see has been written: so there is one place that knows how
 * rows lie in order and what merges make of them.
 *
 * A process that dies takes what is in its memory along. So a run with a buffer leaves no note of
 * the machine's start under which it was: whatever starts after its unclean end takes the tail for
 * lost, as after a loss of power, and the node has no vote until it has exchanged (HAZARDS E13).
 * A batch that was acknowledged and cannot be written stops the store. */
#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "adapter/store_rocksdb_private.h"
#include "base/err.h"
#include "base/mem.h"

/* A read that waits until everything up to a ticket has been written. */
struct held_read {
    struct list link;
    uint64_t ticket;
    struct store_get *get; /* one of the two */
    struct store_scan *scan;
};

/* --- the writer ----------------------------------------------------------------------------- */

static void write_run(struct lane_job *job)
{
    struct write_job *w = container_of(job, struct write_job, job);
    w->err = rocks_write_all(w->s->db, w->batches, w->n, &w->message);
}

/* The paper's durable write, which no put waits for: what was acknowledged from memory is on disk a
 * moment later. On each replica, for a sync is for all that a node has written. */
static void pause_run(struct lane_job *job)
{
    const struct timespec pause = {.tv_nsec = SYNC_PAUSE_MS * 1000000L};
    (void)job;
    nanosleep(&pause, NULL);
}

static void pause_finish(struct lane_job *job)
{
    struct store_rocksdb *s = container_of(job, struct pause_job, job)->s;
    s->pause.running = false;
    s->sync_due = s->written > s->durable;
    store_rocksdb_start_sync(s);
}

static void start_pause(struct store_rocksdb *s)
{
    if (s->pause.running || s->sync_due || s->closing || s->stopped || s->written == s->durable)
        return;
    s->pause.running = true;
    lanes_submit(s->lanes, LANE_PAUSE, &s->pause.job);
}

/* Of those who wait for the writing: on with whoever it was enough for. */
static void settle_unwritten(struct store_rocksdb *s, int err)
{
    list_for_each_safe(l, tmp, &s->unwritten)
    {
        struct store_write *req = container_of(l, struct store_write, link);
        if (err == DYN_OK && req->ticket > s->written)
            break; /* in order of tickets */
        list_remove(l);
        if (err == DYN_OK && req->sync == STORE_SYNCED && req->ticket > s->durable)
            list_append(&s->unsynced, &req->link);
        else
            store_rocksdb_settle(s, req, err);
    }
}

static void group_written(struct store_rocksdb *s, int err, char *message)
{
    if (err == DYN_OK) {
        s->written = store_buffer_written(s->buffer, s->writer.n);
    } else {
        if (err == DYN_ERR_NO_SPACE) {
            store_disk_full(s->disk);
            s->full = true;
        }
        store_rocksdb_stop_writing(s, err, message);
        err = s->failure;
    }
    settle_unwritten(s, err);
}

static void write_finish(struct lane_job *job)
{
    struct write_job *w = container_of(job, struct write_job, job);
    struct store_rocksdb *s = w->s;
    char *message = w->message;
    w->running = false;
    w->message = NULL;
    group_written(s, w->err, message);
    store_rocksdb_start_sync(s);
    start_pause(s);
    store_rocksdb_start_write(s);
}

static bool next_group(struct store_rocksdb *s)
{
    s->writer.n =
        store_buffer_oldest(s->buffer, WRITE_BYTES_MAX, WRITE_BATCHES_MAX, s->writer.batches);
    return s->writer.n > 0;
}

void store_rocksdb_start_write(struct store_rocksdb *s)
{
    if (s->buffer == NULL || s->writer.running || s->closing || s->stopped || !next_group(s))
        return;
    s->writer.running = true;
    lanes_submit(s->lanes, LANE_WRITE, &s->writer.job);
}

/* --- handing over --------------------------------------------------------------------------- */

void store_rocksdb_buffer_add(struct store_rocksdb *s, struct store_batch *batch,
                              enum store_sync sync, struct store_write *req)
{
    bool full = store_buffer_is_full(s->buffer);
    uint64_t ticket = store_buffer_add(s->buffer, batch);
    s->stats.buffer_full += full;
    if (req == NULL)
        return;
    req->sync = sync;
    req->ticket = ticket;
    list_append(sync == STORE_BUFFERED && !full ? &s->waiting : &s->unwritten, &req->link);
}

void store_rocksdb_buffer_sync(struct store_rocksdb *s, struct store_write *req)
{
    req->ticket = store_buffer_last(s->buffer);
    if (req->ticket > s->written)
        list_append(&s->unwritten, &req->link);
    else if (req->ticket > s->durable)
        list_append(&s->unsynced, &req->link);
    else
        store_rocksdb_settle(s, req, DYN_OK);
}

/* --- reading -------------------------------------------------------------------------------- */

static void refuse(struct store_get *get, struct store_scan *scan)
{
    if (get != NULL)
        get->done(get, DYN_ERR_STOPPED, slice_of(NULL, 0));
    else
        scan->done(scan, DYN_ERR_STOPPED, false);
}

static void hold(struct store_rocksdb *s, uint64_t ticket, struct store_get *get,
                 struct store_scan *scan)
{
    if (s->stopped) { /* nothing more will be written */
        refuse(get, scan);
        return;
    }
    struct held_read *h = mem_new(struct held_read);
    *h = (struct held_read){.ticket = ticket, .get = get, .scan = scan};
    list_append(&s->held, &h->link);
}

bool store_rocksdb_buffer_get(struct store_rocksdb *s, struct store_get *req, uint64_t hash)
{
    struct slice value = {NULL, 0};
    enum store_buffered found = store_buffer_find(s->buffer, hash, req->family, req->key, &value);
    if (found == STORE_BUFFER_NONE)
        return false;
    if (found == STORE_BUFFER_UNKNOWN) {
        hold(s, store_buffer_last(s->buffer), req, NULL);
        return true;
    }
    s->stats.reads_memory++;
    req->done(req, found == STORE_BUFFER_ROW ? DYN_OK : DYN_ERR_NOT_FOUND, value);
    return true;
}

bool store_rocksdb_buffer_scan(struct store_rocksdb *s, struct store_scan *req)
{
    uint64_t ticket = store_buffer_meets(s->buffer, req->family, req->prefix, req->from);
    /* Whoever walks and writes what he finds, and waits for none of that, is held back here. */
    if (store_buffer_is_swollen(s->buffer))
        ticket = store_buffer_last(s->buffer);
    if (ticket == 0)
        return false;
    hold(s, ticket, NULL, req);
    return true;
}

void store_rocksdb_release_held(struct store_rocksdb *s)
{
    for (;;) {
        struct list *l = list_first(&s->held);
        struct held_read *h = l == NULL ? NULL : container_of(l, struct held_read, link);
        bool over = s->stopped || s->closing;
        if (h == NULL || (h->ticket > s->written && !over))
            return;
        list_remove(l);
        if (over)
            refuse(h->get, h->scan);
        else if (h->get != NULL)
            store_rocksdb_get_written(s, h->get);
        else
            store_rocksdb_scan_written(s, h->scan);
        free(h);
    }
}

/* --- start and stop ------------------------------------------------------------------------- */

void store_rocksdb_buffer_open(struct store_rocksdb *s, const struct store_rocksdb_config *config)
{
    list_init(&s->unwritten);
    list_init(&s->held);
    s->writer.job = (struct lane_job){.run = write_run, .finish = write_finish};
    s->writer.s = s;
    s->pause.job = (struct lane_job){.run = pause_run, .finish = pause_finish};
    s->pause.s = s;
    if (config->buffer_objects > 0)
        s->buffer = store_buffer_new(config->buffer_objects, config->write_buffer_bytes);
}

void store_rocksdb_buffer_drain(struct store_rocksdb *s)
{
    assert(s->closing && !s->writer.running);
    while (s->buffer != NULL && !s->stopped && next_group(s)) {
        write_run(&s->writer.job);
        char *message = s->writer.message;
        s->writer.message = NULL;
        group_written(s, s->writer.err, message);
    }
    if (s->stopped)
        settle_unwritten(s, s->failure);
}
