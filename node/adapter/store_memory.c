/* SPDX-License-Identifier: Apache-2.0 */
/* See store_memory.h. Two versions of the disk are kept: the current one, which reads see, and the
 * synced one, which a crash falls back to; between them lies the log of unsynced batches. Both are
 * trees that share what they have in common, so a sync, a snapshot and a restore cost nothing. */
#include "adapter/store_memory.h"

#include <assert.h>
#include <stdlib.h>

#include "adapter/store_tree.h"
#include "base/err.h"
#include "base/mem.h"

struct disk {
    struct store_tree families[STORE_FAMILIES];
};

struct spoiled {
    enum store_family family;
    struct buf key;
};

struct store_memory_image {
    struct disk disk;
};

enum waiting_kind { WAITING_GET, WAITING_SCAN, WAITING_WRITE };

struct waiting {
    enum waiting_kind kind;
    struct store_get *get;
    struct store_scan *scan;
    struct store_write *write;
    struct store_row *row;  /* get: the answer, NULL: none */
    struct store_tree tree; /* scan: what it walks */
    uint64_t ticket;        /* write: how much of the log it wants synced, 0: nothing */
    uint64_t number;        /* write: of its batch */
    int err;                /* get, write */
};

struct store_memory {
    struct store_host host;
    struct disk current, synced;
    struct store_batch *log; /* unsynced batches, oldest first */
    uint32_t log_len, log_cap;
    uint64_t written, durable; /* batches handed over so far, and how many of them are synced */
    uint64_t told;             /* the newest one whose writer knows that it is taken */
    struct waiting *queue;
    uint32_t queue_len, queue_cap;
    bool deferred, buffered, clean, lost_tail, fail_next, stopped;
    int read_error;
    uint64_t capacity;
    struct spoiled *spoiled;
    uint32_t n_spoiled;
    bool (*garbles)(void *arg, enum store_family f, struct slice key);
    void *garbles_arg;
    struct store_stats stats;
};

/* --- the disk ------------------------------------------------------------------------------- */

static void disk_release(struct disk *d)
{
    for (int f = 0; f < STORE_FAMILIES; f++)
        store_tree_release(&d->families[f]);
}

static struct disk disk_share(const struct disk *d)
{
    struct disk copy;
    for (int f = 0; f < STORE_FAMILIES; f++)
        copy.families[f] = store_tree_share(&d->families[f]);
    return copy;
}

static uint64_t disk_bytes(const struct disk *d)
{
    uint64_t sum = 0;
    for (int f = 0; f < STORE_FAMILIES; f++)
        sum += d->families[f].bytes;
    return sum;
}

static void merge(struct store_tree *t, struct slice key, struct slice operand)
{
    uint8_t row[STORE_MERGE_LEN] = {0};
    struct store_row *old = store_tree_get(t, key);
    if (old != NULL) {
        assert(old->value_len == STORE_MERGE_LEN);
        memcpy(row, store_row_value(old).data, STORE_MERGE_LEN);
    }
    store_merge(row, operand.data);
    store_tree_put(t, key, slice_of(row, STORE_MERGE_LEN));
}

static void disk_apply(struct disk *d, const struct store_batch *batch)
{
    size_t at = 0;
    enum store_op_type type;
    enum store_family f;
    struct slice key, value;
    while (store_batch_next(batch, &at, &type, &f, &key, &value)) {
        if (type == STORE_PUT)
            store_tree_put(&d->families[f], key, value);
        else if (type == STORE_MERGE)
            merge(&d->families[f], key, value);
        else
            store_tree_delete(&d->families[f], key);
    }
}

static bool batch_has_puts(const struct store_batch *batch)
{
    size_t at = 0;
    enum store_op_type type;
    enum store_family f;
    struct slice key, value;
    while (store_batch_next(batch, &at, &type, &f, &key, &value)) {
        if (type == STORE_PUT)
            return true;
    }
    return false;
}

/* Applies to `to` and drops the first n batches of the log. */
static void log_advance(struct store_memory *m, struct disk *to, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        disk_apply(to, &m->log[i]);
        store_batch_release(&m->log[i]);
    }
    m->log_len -= n;
    if (n > 0)
        memmove(m->log, m->log + n, m->log_len * sizeof(*m->log));
}

static void log_drop(struct store_memory *m)
{
    for (uint32_t i = 0; i < m->log_len; i++)
        store_batch_release(&m->log[i]);
    m->log_len = 0;
}

static void sync_until(struct store_memory *m, uint64_t ticket)
{
    if (ticket <= m->durable)
        return;
    m->stats.syncs++;
    if (ticket == m->written) {
        log_drop(m);
        disk_release(&m->synced);
        m->synced = disk_share(&m->current);
    } else {
        log_advance(m, &m->synced, (uint32_t)(ticket - m->durable));
    }
    m->durable = ticket;
}

static struct slice read_value(const struct store_memory *m, enum store_family f,
                               const struct store_row *r)
{
    if (m->garbles != NULL && m->garbles(m->garbles_arg, f, store_row_key(r)))
        return slice_str("?");
    return store_row_value(r);
}

/* --- requests ------------------------------------------------------------------------------- */

static void finish_scan(struct store_memory *m, struct store_scan *req,
                        const struct store_tree *tree)
{
    uint32_t rows = 0;
    uint64_t bytes = 0;
    struct store_row *r, *next;
    bool more = false, from = slice_compare(req->from, req->prefix) > 0;
    if (m->read_error != DYN_OK) {
        req->done(req, m->read_error, false);
        return;
    }
    r = store_tree_seek(tree, from ? req->from : req->prefix, false);
    for (; r != NULL && slice_has_prefix(store_row_key(r), req->prefix) && !more; r = next) {
        next = store_tree_seek(tree, store_row_key(r), true);
        rows++;
        bytes += r->key_len + r->value_len;
        bool go_on = req->row(req, store_row_key(r), read_value(m, req->family, r));
        if (!go_on || rows >= req->max_rows || bytes >= req->max_bytes)
            more = next != NULL && slice_has_prefix(store_row_key(next), req->prefix);
        if (!go_on || rows >= req->max_rows || bytes >= req->max_bytes)
            break;
    }
    req->done(req, DYN_OK, more);
}

static void finish_get(struct store_memory *m, struct store_get *req, const struct store_row *row)
{
    if (m->read_error != DYN_OK)
        req->done(req, m->read_error, slice_of(NULL, 0));
    else if (row == NULL)
        req->done(req, DYN_ERR_NOT_FOUND, slice_of(NULL, 0));
    else
        req->done(req, DYN_OK, read_value(m, req->family, row));
}

static void stop_writing(struct store_memory *m)
{
    m->fail_next = false;
    m->stopped = true;
    if (m->host.failed != NULL)
        m->host.failed(m->host.ctx, DYN_ERR_IO, "injected failure of a write");
}

static void finish_write(struct store_memory *m, struct store_write *req, uint64_t ticket, int err)
{
    if (err == DYN_OK && ticket > 0) {
        if (m->stopped) {
            err = DYN_ERR_STOPPED;
        } else if (m->fail_next) {
            err = DYN_ERR_IO;
            stop_writing(m);
        } else {
            sync_until(m, ticket);
        }
    }
    if (req != NULL)
        req->done(req, err);
}

static void finish(struct store_memory *m, struct waiting *w)
{
    if (w->kind == WAITING_GET) {
        if (w->err != DYN_OK)
            w->get->done(w->get, w->err, slice_of(NULL, 0));
        else
            finish_get(m, w->get, w->row);
        store_row_unref(w->row);
    } else if (w->kind == WAITING_SCAN) {
        finish_scan(m, w->scan, &w->tree);
        store_tree_release(&w->tree);
    } else {
        if (w->number > m->told)
            m->told = w->number;
        finish_write(m, w->write, w->ticket, w->err);
    }
}

static void submit(struct store_memory *m, struct waiting w)
{
    if (!m->deferred) {
        finish(m, &w);
        return;
    }
    if (m->queue_len == m->queue_cap) {
        m->queue_cap = m->queue_cap == 0 ? 16 : m->queue_cap * 2;
        m->queue = mem_reallocarray(m->queue, m->queue_cap, sizeof(*m->queue));
    }
    m->queue[m->queue_len++] = w;
    if (m->host.wake != NULL)
        m->host.wake(m->host.ctx);
}

bool store_memory_step(struct store_memory *m, uint64_t pick)
{
    if (m->queue_len == 0)
        return false;
    uint32_t i = (uint32_t)(pick % m->queue_len);
    if (m->queue[i].kind == WAITING_WRITE) {
        for (i = 0; m->queue[i].kind != WAITING_WRITE;)
            i++;
    }
    struct waiting w = m->queue[i];
    m->queue_len--;
    memmove(&m->queue[i], &m->queue[i + 1], (m->queue_len - i) * sizeof(*m->queue));
    finish(m, &w);
    return true;
}

/* --- rows that have gone bad ---------------------------------------------------------------- */

static bool is_spoiled(const struct store_memory *m, enum store_family f, struct slice key)
{
    for (uint32_t i = 0; i < m->n_spoiled; i++)
        if (m->spoiled[i].family == f && slice_equal(buf_slice(&m->spoiled[i].key), key))
            return true;
    return false;
}

static void mend_written(struct store_memory *m, const struct store_batch *batch)
{
    size_t at = 0;
    enum store_op_type type;
    enum store_family f;
    struct slice key, value;
    while (m->n_spoiled > 0 && store_batch_next(batch, &at, &type, &f, &key, &value))
        for (uint32_t i = 0; i < m->n_spoiled; i++)
            if (m->spoiled[i].family == f && slice_equal(buf_slice(&m->spoiled[i].key), key)) {
                buf_release(&m->spoiled[i].key);
                m->spoiled[i] = m->spoiled[--m->n_spoiled];
                break;
            }
}

static struct store_row *row_near(struct store_memory *m, enum store_family f, struct slice from)
{
    struct store_row *r = store_tree_seek(&m->current.families[f], from, false);
    return r != NULL ? r : store_tree_seek(&m->current.families[f], slice_of(NULL, 0), false);
}

bool store_memory_spoil(struct store_memory *m, enum store_family f, struct slice from,
                        bool (*may)(void *arg, struct slice key), void *arg)
{
    struct store_row *r = row_near(m, f, from);
    if (r == NULL || is_spoiled(m, f, store_row_key(r)) || !may(arg, store_row_key(r)))
        return false;
    m->spoiled = mem_reallocarray(m->spoiled, m->n_spoiled + 1, sizeof(*m->spoiled));
    struct spoiled *s = &m->spoiled[m->n_spoiled++];
    *s = (struct spoiled){f, BUF_EMPTY};
    buf_put_slice(&s->key, store_row_key(r));
    return true;
}

void store_memory_garble(struct store_memory *m,
                         bool (*bad)(void *arg, enum store_family f, struct slice key), void *arg)
{
    m->garbles = bad;
    m->garbles_arg = arg;
}

bool store_memory_holds(const struct store_memory *m, enum store_family f, struct slice key)
{
    return store_tree_get(&m->synced.families[f], key) != NULL &&
           store_tree_get(&m->current.families[f], key) != NULL && !is_spoiled(m, f, key);
}

/* --- the port ------------------------------------------------------------------------------- */

static void port_get(void *ctx, struct store_get *req)
{
    struct store_memory *m = ctx;
    struct store_row *row = store_tree_get(&m->current.families[req->family], req->key);
    bool bad = row != NULL && is_spoiled(m, req->family, req->key);
    m->stats.reads_memory++;
    if (row != NULL)
        store_row_ref(row);
    submit(m,
           (struct waiting){
               .kind = WAITING_GET, .get = req, .row = row, .err = bad ? DYN_ERR_CORRUPT : DYN_OK});
}

static void port_scan(void *ctx, struct store_scan *req)
{
    struct store_memory *m = ctx;
    struct store_tree tree = store_tree_share(&m->current.families[req->family]);
    submit(m, (struct waiting){.kind = WAITING_SCAN, .scan = req, .tree = tree});
}

/* Puts a batch on the disk and into the log (taking its buffer), or says why not. */
static int hand_over(struct store_memory *m, struct store_batch *batch)
{
    if (m->stopped)
        return DYN_ERR_STOPPED;
    if (m->fail_next) {
        stop_writing(m);
        return DYN_ERR_IO;
    }
    struct disk before = {0};
    if (m->capacity != 0)
        before = disk_share(&m->current); /* costs path copies, so only where it may be needed */
    disk_apply(&m->current, batch);
    mend_written(m, batch);
    if (m->capacity != 0 && disk_bytes(&m->current) > m->capacity && !batch->deletes &&
        batch_has_puts(batch)) {
        disk_release(&m->current);
        m->current = before;
        return DYN_ERR_NO_SPACE;
    }
    disk_release(&before);
    if (m->log_len == m->log_cap) {
        m->log_cap = m->log_cap == 0 ? 16 : m->log_cap * 2;
        m->log = mem_reallocarray(m->log, m->log_cap, sizeof(*m->log));
    }
    m->log[m->log_len++] = *batch;
    *batch = STORE_BATCH_EMPTY;
    m->written++;
    m->stats.writes++;
    return DYN_OK;
}

static int port_write(void *ctx, struct store_batch *batch, enum store_sync sync,
                      struct store_write *req)
{
    struct store_memory *m = ctx;
    int err = hand_over(m, batch);
    store_batch_release(batch);
    if (err != DYN_OK || (req == NULL && sync == STORE_BUFFERED))
        return err;
    uint64_t ticket = sync == STORE_SYNCED ? m->written : 0;
    if (m->buffered && ticket == 0) {
        req->done(req, DYN_OK);
        return DYN_OK;
    }
    submit(m, (struct waiting){
                  .kind = WAITING_WRITE, .write = req, .ticket = ticket, .number = m->written});
    return DYN_OK;
}

static void port_sync(void *ctx, struct store_write *req)
{
    struct store_memory *m = ctx;
    submit(m, (struct waiting){.kind = WAITING_WRITE,
                               .write = req,
                               .ticket = m->written,
                               .err = m->stopped ? DYN_ERR_STOPPED : DYN_OK});
}

static void port_stats(void *ctx, struct store_stats *out)
{
    struct store_memory *m = ctx;
    *out = m->stats;
    out->bytes_used = disk_bytes(&m->current);
    out->bytes_free = m->capacity == 0                ? UINT64_MAX / 2
                      : m->capacity < out->bytes_used ? 0
                                                      : m->capacity - out->bytes_used;
}

/* --- the owner's face ----------------------------------------------------------------------- */

struct store_memory *store_memory_new(const struct store_host *host)
{
    struct store_memory *m = mem_new(struct store_memory);
    m->host = *host;
    m->clean = true;
    return m;
}

static void forget_waiting(struct store_memory *m)
{
    for (uint32_t i = 0; i < m->queue_len; i++) {
        store_row_unref(m->queue[i].row);
        store_tree_release(&m->queue[i].tree);
    }
    m->queue_len = 0;
}

void store_memory_free(struct store_memory *m)
{
    if (m == NULL)
        return;
    forget_waiting(m);
    log_drop(m);
    disk_release(&m->current);
    disk_release(&m->synced);
    free(m->log);
    free(m->queue);
    for (uint32_t i = 0; i < m->n_spoiled; i++)
        buf_release(&m->spoiled[i].key);
    free(m->spoiled);
    free(m);
}

struct store_port store_memory_port(struct store_memory *m)
{
    return (struct store_port){.ctx = m,
                               .get = port_get,
                               .write = port_write,
                               .sync = port_sync,
                               .scan = port_scan,
                               .stats = port_stats};
}

void store_memory_set_deferred(struct store_memory *m, bool deferred)
{
    m->deferred = deferred;
}

void store_memory_set_buffered(struct store_memory *m, bool buffered)
{
    m->buffered = buffered;
}

uint32_t store_memory_pending(const struct store_memory *m)
{
    return m->queue_len;
}

void store_memory_set_capacity(struct store_memory *m, uint64_t bytes)
{
    m->capacity = bytes;
}

void store_memory_fail_next_write(struct store_memory *m)
{
    m->fail_next = true;
}

void store_memory_fail_reads(struct store_memory *m, int err)
{
    m->read_error = err;
}

static bool rot(struct disk *d, enum store_family f, struct slice key, uint64_t bit)
{
    struct store_row *row = store_tree_get(&d->families[f], key);
    if (row == NULL || row->value_len == 0)
        return false;
    struct buf value = BUF_EMPTY;
    buf_put_slice(&value, store_row_value(row));
    value.data[bit / 8 % value.len] ^= (uint8_t)(1 << bit % 8);
    store_tree_put(&d->families[f], key, buf_slice(&value));
    buf_release(&value);
    return true;
}

bool store_memory_rot(struct store_memory *m, enum store_family f, struct slice key, uint64_t bit)
{
    bool synced = rot(&m->synced, f, key, bit);
    return rot(&m->current, f, key, bit) || synced;
}

bool store_memory_rot_near(struct store_memory *m, enum store_family f, struct slice from,
                           bool (*may)(void *arg, struct slice key), void *arg)
{
    struct store_row *r = row_near(m, f, from);
    struct buf key = BUF_EMPTY;
    if (r != NULL)
        buf_put_slice(&key, store_row_key(r));
    bool rotten =
        r != NULL && may(arg, buf_slice(&key)) && store_memory_rot(m, f, buf_slice(&key), 0);
    buf_release(&key);
    return rotten;
}

bool store_memory_peek(const struct store_memory *m, enum store_family f, struct slice key,
                       struct buf *out)
{
    const struct store_row *r = store_tree_get(&m->current.families[f], key);
    if (r != NULL)
        buf_put_slice(out, read_value(m, f, r));
    return r != NULL;
}

uint32_t store_memory_unsynced(const struct store_memory *m)
{
    return m->log_len;
}

void store_memory_write_back(struct store_memory *m)
{
    sync_until(m, m->written);
}

uint32_t store_memory_untold(const struct store_memory *m)
{
    uint64_t known = m->told > m->durable ? m->told : m->durable;
    return (uint32_t)(m->written - known);
}

void store_memory_kill(struct store_memory *m, uint32_t take)
{
    bool lost_before = m->lost_tail;
    assert(take <= store_memory_untold(m));
    store_memory_crash(m, m->log_len - take);
    m->lost_tail = lost_before;
}

void store_memory_crash(struct store_memory *m, uint32_t keep)
{
    assert(keep <= m->log_len);
    m->lost_tail |= keep < m->log_len;
    forget_waiting(m);
    log_advance(m, &m->synced, keep);
    log_drop(m);
    disk_release(&m->current);
    m->current = disk_share(&m->synced);
    m->told = m->durable = m->written;
    m->stopped = m->fail_next = m->clean = false;
    m->read_error = DYN_OK;
}

void store_memory_stop(struct store_memory *m)
{
    forget_waiting(m);
    sync_until(m, m->written);
    m->clean = true;
    m->lost_tail = false;
}

bool store_memory_lost_tail(const struct store_memory *m)
{
    return m->lost_tail;
}

bool store_memory_was_clean(struct store_memory *m)
{
    bool clean = m->clean;
    m->clean = false;
    return clean;
}

struct store_memory_image *store_memory_snapshot(const struct store_memory *m)
{
    struct store_memory_image *image = mem_new(struct store_memory_image);
    image->disk = disk_share(&m->synced);
    return image;
}

void store_memory_image_free(struct store_memory_image *image)
{
    if (image == NULL)
        return;
    disk_release(&image->disk);
    free(image);
}

void store_memory_restore(struct store_memory *m, const struct store_memory_image *image)
{
    store_memory_crash(m, 0);
    disk_release(&m->synced);
    disk_release(&m->current);
    m->synced = disk_share(&image->disk);
    m->current = disk_share(&image->disk);
}
