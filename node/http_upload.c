/* SPDX-License-Identifier: Apache-2.0 */
/* See http_upload.h.
 *
 *   FILLING --a chunk is full--> [record of the upload is there] -> sent, as soon as there is room
 *   FILLING --the end, one chunk or less--> done, as one value
 *   FILLING --the end--> the rest is sent -> all have W -> [the lease had ended: all are sought]
 *           -> done, as a manifest
 */
#include "http_upload.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/chunk_lease.h"

#define WINDOW 4
#define CHUNK_TIMEOUT_MS 20000u /* a body of minutes can wait for a node that is busy */
#define SENDING_MAX 8u          /* of all uploads: more would only queue up at the other nodes */

struct sent {
    struct http_upload *owner;
    struct chunk_put put;
};

struct http_upload {
    struct chunk_io io;
    struct http_uploads *all;
    struct list waiting;
    struct http_request *r;
    struct buf bytes, value; /* bytes: those that are not sent yet */
    enum durability durability;
    struct upload_lease lease;
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
    upload_lease_stop(&u->lease);
    manifest_release(&u->m);
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

static void on_lease(struct upload_lease *l, int err)
{
    struct http_upload *u = l->arg;
    if (err != DYN_OK && u->err == DYN_OK)
        u->err = err;
    go_on(u);
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
    if (s == NULL || !upload_lease_number(&u->lease, u->m.n))
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
    manifest_add(&u->m, &u->lease.id, &c);
    u->m.size += n;
    s->owner = u;
    s->put.done = on_sent;
    s->put.arg = s;
    u->sending++;
    u->all->sending++;
    chunk_put_start(&u->io, &s->put, &u->lease.id, c.number, bytes, u->durability);
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
    if (!upload_lease_holds(&u->lease, &u->m))
        return;
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
    upload_lease_renew(&u->lease); /* a slow client may take long for a chunk */
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
                              .timeout_ms = CHUNK_TIMEOUT_MS,
                              .lease_ms = cfg->upload_lease_ms};
    u->all = cfg->uploads;
    list_init(&u->waiting);
    u->r = r;
    u->durability = durability;
    u->m = MANIFEST_EMPTY;
    upload_lease_init(&u->lease, &u->io, key, on_lease, u);
    u->done = done;
    u->arg = arg;
    return u;
}

void http_upload_begin(struct http_upload *u)
{
    http_request_read(u->r, on_bytes, u);
}
