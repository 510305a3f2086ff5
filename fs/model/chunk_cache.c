/* SPDX-License-Identifier: Apache-2.0 */
/* See chunk_cache.h. */
#include "model/chunk_cache.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "model/core.h"

struct entry {
    struct table_node node;
    struct list lru;
    struct fs *fs;
    struct upload_id upload;
    uint32_t number;
    struct blob *bytes; /* NULL: on its way */
    struct chunk_get get;
    struct list waits;
};

void chunk_cache_init(struct chunk_cache *c, uint64_t seed, uint64_t max)
{
    *c = (struct chunk_cache){.max = max};
    table_init(&c->table, seed);
    list_init(&c->lru);
}

static void entry_free(struct chunk_cache *c, struct entry *e)
{
    if (e->bytes != NULL)
        c->bytes -= e->bytes->len;
    if (e->get.id != 0) {
        chunk_get_cancel(&e->get);
        c->loading--;
    }
    table_remove(&c->table, &e->node);
    list_remove(&e->lru);
    blob_unref(e->bytes);
    free(e);
}

void chunk_cache_release(struct chunk_cache *c)
{
    for (struct table_node *n; (n = table_any(&c->table)) != NULL;)
        entry_free(c, container_of(n, struct entry, node));
    table_release(&c->table);
}

static uint64_t hash_of(const struct chunk_cache *c, const struct upload_id *upload,
                        uint32_t number)
{
    uint8_t name[UPLOAD_ID_LEN + sizeof(number)];
    memcpy(name, upload->bytes, UPLOAD_ID_LEN);
    memcpy(name + UPLOAD_ID_LEN, &number, sizeof(number));
    return table_hash(&c->table, slice_of(name, sizeof(name)));
}

static struct entry *find(const struct chunk_cache *c, const struct upload_id *upload,
                          uint32_t number)
{
    for (struct table_node *n = table_first(&c->table, hash_of(c, upload, number)); n != NULL;
         n = table_next(n)) {
        struct entry *e = container_of(n, struct entry, node);
        if (e->number == number && memcmp(&e->upload, upload, sizeof(*upload)) == 0)
            return e;
    }
    return NULL;
}

static struct entry *entry_new(struct fs *fs, const struct upload_id *upload, uint32_t number)
{
    struct chunk_cache *c = &fs->chunks;
    struct entry *e = mem_new(struct entry);
    e->fs = fs;
    e->upload = *upload;
    e->number = number;
    list_init(&e->waits);
    list_append(&c->lru, &e->lru);
    table_insert(&c->table, &e->node, hash_of(c, upload, number));
    return e;
}

static void give_way(struct chunk_cache *c, const struct entry *but)
{
    list_for_each_safe(it, tmp, &c->lru)
    {
        struct entry *e = container_of(it, struct entry, lru);
        if (c->bytes <= c->max)
            return;
        if (e != but && e->bytes != NULL && list_empty(&e->waits))
            entry_free(c, e);
    }
}

static void fill(struct entry *e, struct blob *bytes)
{
    struct chunk_cache *c = &e->fs->chunks;
    e->bytes = blob_ref(bytes);
    c->bytes += bytes->len;
    give_way(c, e);
}

struct blob *chunk_cache_find(struct fs *fs, const struct upload_id *upload, const struct chunk *c)
{
    struct entry *e = find(&fs->chunks, upload, c->number);
    if (e == NULL || e->bytes == NULL)
        return NULL;
    list_remove(&e->lru);
    list_append(&fs->chunks.lru, &e->lru);
    return e->bytes;
}

/* Whoever waits may ask for the next chunk in its done, so the entry is in order before; one that
 * failed is gone, and who asks again makes another. */
static void on_loaded(struct chunk_get *g, int err, struct blob *bytes)
{
    struct entry *e = g->arg;
    struct chunk_cache *c = &e->fs->chunks;
    struct list waits;
    c->loading--;
    list_init(&waits);
    for (struct list *l; (l = list_first(&e->waits)) != NULL;) {
        list_remove(l);
        list_append(&waits, l);
    }
    if (err == DYN_OK)
        fill(e, bytes);
    else
        entry_free(c, e);
    for (struct list *l; (l = list_first(&waits)) != NULL;) {
        struct chunk_wait *w = container_of(l, struct chunk_wait, link);
        list_remove(l);
        w->done(w, err);
    }
}

void chunk_cache_load(struct fs *fs, const struct upload_id *upload, const struct chunk *c,
                      struct chunk_wait *w)
{
    struct entry *e = find(&fs->chunks, upload, c->number);
    if (e == NULL) {
        e = entry_new(fs, upload, c->number);
        e->get.done = on_loaded;
        e->get.arg = e;
        fs->chunks.loading++;
        fs->counters.chunk_gets++;
        chunk_get_start(&fs->io, &e->get, upload, c);
    }
    assert(w == NULL || e->bytes == NULL);
    if (w != NULL)
        list_append(&e->waits, &w->link);
}

void chunk_cache_add(struct fs *fs, const struct upload_id *upload, const struct chunk *c,
                     struct blob *bytes)
{
    if (find(&fs->chunks, upload, c->number) == NULL)
        fill(entry_new(fs, upload, c->number), bytes);
}
