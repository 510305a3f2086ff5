/* SPDX-License-Identifier: Apache-2.0 */
/* See replica_list.h. The rows of a directory lie in name order, so a page is one scan; the stored
 * row's mark is local and does not travel. */
#include "engine/replica/replica_list.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/dir_settings.h"
#include "engine/fragments/entry_place.h"
#include "engine/membership/catchup.h"

#define PAGE_BYTES_MAX (4u << 20)
#define PAGE_BYTES_MIN (64u << 10)
#define ROW_BYTES 4096u

struct list_read {
    struct background background; /* first */
    struct engine *e;
    struct buf prefix, from, dirstat_row;
    struct store_scan scan;
    struct store_get get;
    struct peer_list_page page;
    int64_t dir_mtime_ns;
    uint8_t growth;
    bool voteless;
    bool bad; /* a row that this node cannot read: its page would hide a name */
    void (*done)(void *arg, struct buf *body);
    void *arg;
};

static void list_read_free(struct list_read *l)
{
    background_end(l->e, &l->background);
    buf_release(&l->prefix);
    buf_release(&l->from);
    buf_release(&l->dirstat_row);
    buf_release(&l->page.body);
    free(l);
}

static void abandon(struct background *b)
{
    list_read_free(container_of(b, struct list_read, background));
}

static void finish(struct list_read *l, int err, bool more)
{
    const struct peer_list_end end = {.status = err,
                                      .more = more,
                                      .voteless = l->voteless,
                                      .growth = l->growth,
                                      .dir_mtime_ns = l->dir_mtime_ns};
    peer_list_page_end(&l->page, &end);
    struct buf body = buf_take(&l->page.body);
    void (*done)(void *arg, struct buf *b) = l->done;
    void *arg = l->arg;
    list_read_free(l);
    done(arg, &body);
    buf_release(&body);
}

static bool on_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct list_read *l = req->arg;
    struct object entry = OBJECT_EMPTY;
    struct epoch mark;
    l->bad = object_row_decode(value, &mark, &entry) != DYN_OK;
    if (!l->bad) {
        struct slice name = slice_of(key.data + l->prefix.len, key.len - l->prefix.len);
        peer_list_page_row(&l->page, name, &entry);
    }
    object_release(&entry);
    return !l->bad;
}

static void on_scanned(struct store_scan *req, int err, bool more)
{
    struct list_read *l = req->arg;
    if (err == DYN_OK && l->bad)
        err = DYN_ERR_CORRUPT;
    if (err != DYN_OK) { /* half a page must not pass for a whole one */
        buf_release(&l->page.body);
        peer_list_page_begin(&l->page);
    }
    finish(l, err, more);
}

static void on_dirstat(struct store_get *req, int err, struct slice value)
{
    struct list_read *l = req->arg;
    if (err == DYN_OK) {
        struct reader r = reader_of(value);
        l->dir_mtime_ns = (int64_t)read_u64(&r);
    }
    if ((err != DYN_OK && err != DYN_ERR_NOT_FOUND) || l->scan.max_rows == 0)
        finish(l, err == DYN_ERR_NOT_FOUND ? DYN_OK : err, false);
    else
        l->e->ports.store.scan(l->e->ports.store.ctx, &l->scan);
}

/* Pages of many fragments are merged in one memory: the fewer rows, the fewer bytes. */
static uint64_t page_bytes(uint32_t limit)
{
    uint64_t bytes = (uint64_t)limit * ROW_BYTES;
    return bytes < PAGE_BYTES_MIN   ? PAGE_BYTES_MIN
           : bytes > PAGE_BYTES_MAX ? PAGE_BYTES_MAX
                                    : bytes;
}

void replica_list(struct engine *e, const struct peer_list *q,
                  void (*done)(void *arg, struct buf *body), void *arg)
{
    struct list_read *l = mem_new(struct list_read);
    struct place at = place_of_fragment(e->ring, q->dir, q->fragment);
    l->e = e;
    l->done = done;
    l->arg = arg;
    l->growth = q->fragment == 0 ? settings_keeper_growth(e->settings, q->dir) : 0;
    l->voteless = !catchup_votes(e->catchup, at.partition);
    background_add(e, &l->background, abandon);
    peer_list_page_begin(&l->page);
    row_fragment_prefix(&at, q->dir, q->fragment, &l->prefix);
    /* Names have no NUL, so this is the least name after `after`; the first of all is not the
     * empty one, which is the fragment's head. */
    buf_put_slice(&l->from, buf_slice(&l->prefix));
    buf_put_slice(&l->from, q->after);
    buf_put_u8(&l->from, 0);
    l->scan = (struct store_scan){.family = STORE_META,
                                  .prefix = buf_slice(&l->prefix),
                                  .from = buf_slice(&l->from),
                                  .max_rows = q->limit,
                                  .max_bytes = page_bytes(q->limit),
                                  .row = on_row,
                                  .done = on_scanned,
                                  .arg = l};
    row_dirstat(&at, q->dir, &l->dirstat_row);
    l->get = (struct store_get){
        .family = STORE_META, .key = buf_slice(&l->dirstat_row), .done = on_dirstat, .arg = l};
    e->ports.store.get(e->ports.store.ctx, &l->get);
}
