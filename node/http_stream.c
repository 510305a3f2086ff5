/* SPDX-License-Identifier: Apache-2.0 */
/* See http_stream.h. */
#include "http_stream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/chunk_io.h"

#define WINDOW 4 /* chunks in memory for one reader */

struct piece {
    struct streaming *owner;
    struct chunk_get get;
    struct blob *bytes; /* NULL: on its way, or a hole */
};

struct streaming {
    struct chunk_io io;
    struct http_request *r;
    struct manifest manifest;
    uint64_t at, to;
    uint64_t next;               /* the chunk to ask for next */
    struct piece pieces[WINDOW]; /* by index */
    bool writing;
};

static void streaming_free(struct streaming *s)
{
    for (uint32_t i = 0; i < WINDOW; i++) {
        if (s->pieces[i].get.id != 0)
            chunk_get_cancel(&s->pieces[i].get);
        blob_unref(s->pieces[i].bytes);
    }
    manifest_release(&s->manifest);
    free(s);
}

static void gone(void *arg)
{
    streaming_free(arg);
}

static void send_pieces(struct streaming *s);

static void on_piece(struct chunk_get *g, int err, struct blob *bytes)
{
    struct piece *p = g->arg;
    struct streaming *s = p->owner;
    if (err != DYN_OK) {
        http_stream_abort(s->r); /* gone() runs */
        return;
    }
    p->bytes = blob_ref(bytes);
    send_pieces(s);
}

static void ask_ahead(struct streaming *s)
{
    uint64_t first = s->at / CHUNK_LEN, last = (s->to - 1) / CHUNK_LEN;
    for (; s->next <= last && s->next < first + WINDOW; s->next++) {
        struct piece *p = &s->pieces[s->next % WINDOW];
        const struct chunk *c = manifest_find(&s->manifest, (uint32_t)s->next);
        assert(p->bytes == NULL && p->get.id == 0);
        p->owner = s;
        p->get.done = on_piece;
        p->get.arg = p;
        if (c != NULL)
            chunk_get_start(&s->io, &p->get, &s->manifest.uploads[c->upload], c);
    }
}

/* The next bytes of one chunk; beyond what it has, and in holes, zeros. */
static void take_bytes(struct streaming *s, struct buf *out)
{
    struct piece *p = &s->pieces[s->at / CHUNK_LEN % WINDOW];
    const struct chunk *c = manifest_find(&s->manifest, (uint32_t)(s->at / CHUNK_LEN));
    size_t at = s->at % CHUNK_LEN, n = CHUNK_LEN - at, there = 0;
    if (n > s->to - s->at)
        n = (size_t)(s->to - s->at);
    if (p->bytes != NULL && c != NULL) {
        size_t len = c->len < p->bytes->len ? c->len : p->bytes->len;
        there = len > at ? len - at : 0;
        there = there < n ? there : n;
    }
    buf_reserve(out, n);
    if (there != 0)
        buf_put(out, p->bytes->data + at, there);
    memset(out->data + out->len, 0, n - there);
    out->len += n - there;
    s->at += n;
    blob_unref(p->bytes);
    p->bytes = NULL;
}

static void written(void *arg)
{
    struct streaming *s = arg;
    s->writing = false;
    send_pieces(s);
}

static void send_pieces(struct streaming *s)
{
    struct buf bytes = BUF_EMPTY;
    if (s->writing || s->pieces[s->at / CHUNK_LEN % WINDOW].get.id != 0)
        return;
    take_bytes(s, &bytes);
    s->writing = true;
    struct http_request *r = s->r;
    if (s->at < s->to) {
        ask_ahead(s);
        http_stream_chunk_then(r, &bytes, written, s);
        return;
    }
    http_request_on_gone(r, NULL, NULL);
    streaming_free(s);
    http_stream_last(r, &bytes);
}

int http_stream_file(const struct http_kv_config *cfg, struct http_request *r, int status,
                     struct slice manifest, uint64_t from, uint64_t to)
{
    struct manifest m = MANIFEST_EMPTY;
    char length[24];
    if (manifest_decode(manifest, &m) != DYN_OK || from >= to || to > m.size) {
        manifest_release(&m);
        return DYN_ERR_CORRUPT;
    }
    struct streaming *s = mem_new(struct streaming);
    s->io = (struct chunk_io){.kv = cfg->kv, .time = cfg->time, .random = cfg->random, .writer = 1};
    s->r = r;
    s->manifest = m;
    s->at = from;
    s->to = to;
    s->next = from / CHUNK_LEN;
    http_request_on_gone(r, gone, s);
    snprintf(length, sizeof(length), "%llu", (unsigned long long)(to - from));
    http_reply_header(r, "Content-Length", length);
    http_stream_start(r, status, "application/octet-stream");
    ask_ahead(s);
    send_pieces(s);
    return DYN_OK;
}
