/* SPDX-License-Identifier: Apache-2.0 */
/* See http_upload.h.
 *
 *   FILLING --a chunk is full--> [record of the upload is there] -> sent, as soon as there is room
 *   FILLING --the end, one chunk or less--> done, as one value
 *   FILLING --the end--> the rest is sent -> all have W -> done, as a manifest
 */
#include "http_upload.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/chunk_io.h"

#define WINDOW 4
#define CHUNK_TIMEOUT_MS 20000u /* a body of minutes can wait for a node that is busy */
#define SENDING_MAX 8u          /* of all uploads: more would only queue up at the other nodes */
#define REF_AGAIN_US (UPLOAD_SAFE_S / 3 * 1000000ull)

struct sent {
    struct http_upload *owner;
    struct chunk_put put;
};

struct http_upload {
    struct chunk_io io;
    struct http_uploads *all;
    struct list waiting;
    struct http_request *r;
    struct buf key, bytes, value; /* bytes: those that are not sent yet */
    enum durability durability;
    struct upload_id id;
    struct upload_ref ref;
    uint32_t numbers, asked; /* that the record allows, and will allow */
    uint64_t ref_us;
    struct manifest m;
    struct sent ring[WINDOW];
    uint32_t sending;
    bool ended, paused, over;
    int err;
    void (*done)(void *arg, int err, struct slice value, bool manifest);
    void *arg;
};

static void go_on(struct http_upload *u);

void http_uploads_init(struct http_uploads *all)
{
    all->sending = 0;
    list_init(&all->waiting);
}

/* Places have become free: those who wait have them first, each in turn. */
static void let_others(struct http_uploads *all)
{
    while (all->sending < SENDING_MAX && !list_empty(&all->waiting)) {
        struct http_upload *u =
            container_of(list_first(&all->waiting), struct http_upload, waiting);
        list_remove(&u->waiting);
        go_on(u); /* u may be gone */
    }
}

void http_upload_free(struct http_upload *u)
{
    if (u == NULL)
        return;
    struct http_uploads *all = u->all;
    list_remove(&u->waiting);
    for (uint32_t i = 0; i < WINDOW; i++)
        if (u->ring[i].put.id != 0)
            chunk_put_cancel(&u->ring[i].put);
    all->sending -= u->sending;
    u->sending = 0;
    upload_ref_cancel(&u->ref);
    manifest_release(&u->m);
    buf_release(&u->key);
    buf_release(&u->bytes);
    buf_release(&u->value);
    free(u);
    let_others(all);
}

static void finish(struct http_upload *u, int err, struct slice value, bool manifest)
{
    u->over = true;
    u->done(u->arg, err, value, manifest); /* u may be gone */
}

static void on_ref(struct upload_ref *r, int err)
{
    struct http_upload *u = r->arg;
    if (err == DYN_OK)
        u->numbers = u->asked;
    else
        u->err = err;
    go_on(u);
}

static bool may_number(struct http_upload *u)
{
    uint64_t now = u->io.time.mono_us(u->io.time.ctx);
    if (u->m.n < u->numbers && now - u->ref_us < REF_AGAIN_US)
        return true;
    if (u->ref.id == 0) {
        u->asked = u->m.n < u->numbers ? u->numbers
                   : u->numbers == 0   ? UPLOAD_NUMBERS
                                       : u->numbers * 2;
        u->ref_us = now;
        u->ref.done = on_ref;
        u->ref.arg = u;
        upload_ref_start(&u->io, &u->ref, buf_slice(&u->key), &u->id, 1, u->asked);
    }
    return false;
}

static void on_sent(struct chunk_put *p, int err)
{
    struct http_upload *u = ((struct sent *)p->arg)->owner;
    u->sending--;
    u->all->sending--;
    if (err != DYN_OK) {
        u->err = err;
        list_remove(&u->waiting); /* it ends below: not as one of the others, who would free it */
    }
    let_others(u->all);
    go_on(u);
}

static struct sent *free_place(struct http_upload *u)
{
    for (uint32_t i = 0; i < WINDOW; i++)
        if (u->ring[i].put.id == 0)
            return &u->ring[i];
    return NULL;
}

/* The first chunk of what is here. false: not now. */
static bool send_one(struct http_upload *u)
{
    struct sent *s = free_place(u);
    if (s == NULL || !may_number(u))
        return false;
    if (u->all->sending >= SENDING_MAX) {
        if (list_empty(&u->waiting))
            list_append(&u->all->waiting, &u->waiting);
        return false;
    }
    size_t n = u->bytes.len < CHUNK_LEN ? u->bytes.len : CHUNK_LEN;
    struct slice bytes = slice_of(u->bytes.data, n);
    struct chunk c = {.index = u->m.n, .number = u->m.n, .len = (uint32_t)n};
    digest_sha256(bytes, c.digest);
    manifest_add(&u->m, &u->id, &c);
    u->m.size += n;
    s->owner = u;
    s->put.done = on_sent;
    s->put.arg = s;
    u->sending++;
    u->all->sending++;
    chunk_put_start(&u->io, &s->put, &u->id, c.number, bytes, u->durability);
    memmove(u->bytes.data, u->bytes.data + n, u->bytes.len - n);
    u->bytes.len -= n;
    return true;
}

static void settle(struct http_upload *u)
{
    if (u->m.n == 0) {
        finish(u, DYN_OK, buf_slice(&u->bytes), false);
        return;
    }
    manifest_encode(&u->m, &u->value);
    finish(u, u->value.len > MANIFEST_LEN_MAX ? DYN_ERR_TOO_LARGE : DYN_OK, buf_slice(&u->value),
           true);
}

static void go_on(struct http_upload *u)
{
    if (u->over)
        return;
    if (u->err != DYN_OK) {
        finish(u, u->err, slice_of(NULL, 0), false);
        return;
    }
    bool large = u->m.n > 0 || u->bytes.len > CHUNK_LEN;
    while (large && (u->bytes.len >= CHUNK_LEN || (u->ended && u->bytes.len > 0)) && send_one(u))
        continue;
    bool full = u->bytes.len > CHUNK_LEN;
    if (!u->ended && full != u->paused) {
        u->paused = full;
        http_request_pause(u->r, full);
    }
    if (u->ended && u->sending == 0 && (!large || u->bytes.len == 0))
        settle(u);
}

static void on_bytes(void *arg, struct slice piece, bool end)
{
    struct http_upload *u = arg;
    u->ended = end;
    buf_put_slice(&u->bytes, piece);
    go_on(u);
}

struct http_upload *
http_upload_new(const struct http_kv_config *cfg, struct http_request *r, struct slice key,
                enum durability durability,
                void (*done)(void *arg, int err, struct slice value, bool manifest), void *arg)
{
    struct http_upload *u = mem_new(struct http_upload);
    struct random_port random = cfg->random;
    u->io = (struct chunk_io){.kv = cfg->kv,
                              .time = cfg->time,
                              .random = random,
                              .writer = random_u64(&random) | 1,
                              .timeout_ms = CHUNK_TIMEOUT_MS};
    u->all = cfg->uploads;
    list_init(&u->waiting);
    u->r = r;
    buf_put_slice(&u->key, key);
    u->durability = durability;
    u->m = MANIFEST_EMPTY;
    upload_id_new(&u->io, &u->id);
    u->done = done;
    u->arg = arg;
    return u;
}

void http_upload_begin(struct http_upload *u)
{
    http_request_read(u->r, on_bytes, u);
}
