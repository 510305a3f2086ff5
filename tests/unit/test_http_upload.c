/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads that share a node: who waits for a place when a chunk of his fails. */
#include "http_upload.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/chunk_io.h"
#include "unit.h"

#define PUTS_MAX 64
#define UPLOADS 3

struct pending {
    kv_put_done done;
    void *arg;
    bool chunk, over;
};

struct played {
    struct http_uploads all;
    struct http_kv_config cfg;
    struct pending puts[PUTS_MAX];
    uint32_t n_puts;
    struct one {
        struct http_upload *upload;
        void (*bytes)(void *arg, struct slice piece, bool end);
        void *arg;
        int err;
        uint32_t ended;
    } uploads[UPLOADS];
    uint32_t n;
    uint64_t now_us;
    uint8_t piece[CHUNK_LEN];
};

/* ---- the server's side ---- */

void http_request_read(struct http_request *r,
                       void (*bytes)(void *arg, struct slice piece, bool end), void *arg)
{
    struct one *o = (struct one *)(void *)r;
    o->bytes = bytes;
    o->arg = arg;
}

void http_request_pause(struct http_request *r, bool paused)
{
    (void)r;
    (void)paused;
}

/* ---- the cluster's side ---- */

static uint64_t on_put(void *ctx, const struct put_request *q, kv_put_done done, void *arg)
{
    struct played *p = ctx;
    struct upload_id id;
    assert_true(p->n_puts < PUTS_MAX);
    p->puts[p->n_puts] = (struct pending){
        .done = done, .arg = arg, .chunk = upload_key_parse(q->key, &id) != DYN_OK};
    return ++p->n_puts;
}

static void on_cancel(void *ctx, uint64_t id)
{
    ((struct played *)ctx)->puts[id - 1].over = true;
}

static uint64_t the_time(void *ctx)
{
    return ((struct played *)ctx)->now_us;
}

static void no_randomness(void *ctx, void *out, size_t len)
{
    uint8_t *to = out;
    (void)ctx;
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(i + 1);
}

static void answer(struct played *p, uint32_t i, int status)
{
    struct put_reply reply = {.status = status};
    assert_false(p->puts[i].over);
    p->puts[i].over = true;
    p->puts[i].done(p->puts[i].arg, &reply);
}

static void answer_records(struct played *p)
{
    for (uint32_t i = 0; i < p->n_puts; i++)
        if (!p->puts[i].chunk && !p->puts[i].over)
            answer(p, i, DYN_OK);
}

static uint32_t chunks_under_way(const struct played *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_puts; i++)
        n += p->puts[i].chunk && !p->puts[i].over;
    return n;
}

/* ---- the uploads ---- */

/* As http_call_end(): the upload goes with the answer. */
static void on_done(void *arg, int err, struct slice value, bool manifest)
{
    struct one *o = arg;
    (void)value;
    (void)manifest;
    o->err = err;
    o->ended++;
    http_upload_free(o->upload);
    o->upload = NULL;
}

static struct one *begin(struct played *p)
{
    struct one *o = &p->uploads[p->n++];
    o->upload = http_upload_new(&p->cfg, (struct http_request *)(void *)o, slice_str("k"),
                                DURABILITY_QUORUM, on_done, o);
    http_upload_begin(o->upload);
    return o;
}

static void feed(struct played *p, struct one *o, size_t bytes)
{
    while (bytes > 0) {
        size_t n = bytes < sizeof(p->piece) ? bytes : sizeof(p->piece);
        o->bytes(o->arg, slice_of(p->piece, n), false);
        answer_records(p);
        bytes -= n;
    }
}

static struct played *played_new(void)
{
    struct played *p = mem_new(struct played);
    http_uploads_init(&p->all);
    p->now_us = 1000000;
    p->cfg = (struct http_kv_config){.kv = {.ctx = p, .put = on_put, .cancel = on_cancel},
                                     .time = {p, the_time, the_time},
                                     .random = {p, no_randomness},
                                     .uploads = &p->all};
    return p;
}

static void played_free(struct played *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        http_upload_free(p->uploads[i].upload);
    assert_int_equal(p->all.sending, 0);
    free(p);
}

static void test_whoever_waits_for_a_place_may_fail_meanwhile(void **state)
{
    (void)state;
    struct played *p = played_new();
    struct one *a = begin(p), *b = begin(p), *c = begin(p);
    feed(p, a, 3 * CHUNK_LEN);
    uint32_t of_a = p->n_puts - 1;
    assert_true(p->puts[of_a].chunk);
    feed(p, b, 4 * CHUNK_LEN);
    feed(p, c, CHUNK_LEN + 1);
    feed(p, a, CHUNK_LEN);
    assert_int_equal(chunks_under_way(p), 8); /* all the places there are */
    assert_false(list_empty(&p->all.waiting));
    answer(p, of_a, DYN_ERR_NO_QUORUM);
    assert_true(a->ended == 1 && a->err == DYN_ERR_NO_QUORUM);
    assert_true(b->ended == 0 && c->ended == 0);
    played_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whoever_waits_for_a_place_may_fail_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
