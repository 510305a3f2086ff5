/* SPDX-License-Identifier: Apache-2.0 */
/* See replica_list.h. The rows of a directory lie in name order, so a page is one scan; the stored
 * row's mark is local and does not travel. */
#include "engine/replica_list.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/catchup.h"

#define PAGE_BYTES_MAX (4u << 20)

struct list_read {
    struct background background; /* first */
    struct engine *e;
    struct buf prefix, from, dirstat_row;
    struct store_scan scan;
    struct store_get get;
    struct peer_list_page page;
    int64_t dir_mtime_ns;
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
    const struct peer_list_end end = {
        .status = err, .more = more, .voteless = l->voteless, .dir_mtime_ns = l->dir_mtime_ns};
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
    if (err != DYN_OK && err != DYN_ERR_NOT_FOUND)
        finish(l, err, false);
    else
        l->e->ports.store.scan(l->e->ports.store.ctx, &l->scan);
}

void replica_list(struct engine *e, struct slice dir, struct slice after, uint32_t limit,
                  void (*done)(void *arg, struct buf *body), void *arg)
{
    struct list_read *l = mem_new(struct list_read);
    struct place at = place_of(e->ring, dir);
    l->e = e;
    l->done = done;
    l->arg = arg;
    l->voteless = !catchup_votes(e->catchup, at.partition);
    background_add(e, &l->background, abandon);
    peer_list_page_begin(&l->page);
    row_entry_prefix(&at, dir, &l->prefix);
    if (after.len > 0) {
        buf_put_slice(&l->from, buf_slice(&l->prefix));
        buf_put_slice(&l->from, after);
        buf_put_u8(&l->from, 0); /* names have no NUL: the least name after this one */
    }
    l->scan = (struct store_scan){.family = STORE_META,
                                  .prefix = buf_slice(&l->prefix),
                                  .from = buf_slice(&l->from),
                                  .max_rows = limit,
                                  .max_bytes = PAGE_BYTES_MAX,
                                  .row = on_row,
                                  .done = on_scanned,
                                  .arg = l};
    row_dirstat(&at, dir, &l->dirstat_row);
    l->get = (struct store_get){
        .family = STORE_META, .key = buf_slice(&l->dirstat_row), .done = on_dirstat, .arg = l};
    e->ports.store.get(e->ports.store.ctx, &l->get);
}
