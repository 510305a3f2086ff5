/* SPDX-License-Identifier: Apache-2.0 */
/* See collect.h. One upload at a time:
 *
 *   ASKING_HINTS -> SCANNING -> RECORD -> (KEY, KEPT)* -> [marks are new, or young: row written]
 *                      ^                      \-> AGAIN -> DELETING -> [dead: RECORD_GOES]
 *                      +------------------------------------------------------+
 *
 * Whatever fails ends the upload's turn; the next round comes to it again. */
#include "engine/replica/collect.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/coordinate/gather.h"
#include "engine/kept/kept.h"
#include "engine/peer_wire.h"
#include "engine/replica/hints.h"
#include "engine/request.h"
#include "model/chunk_io.h"

#define UPLOADS_A_ROUND 64
#define KEYS_MAX 1024
#define NUMBERS_MAX (1u << 24)
#define DELETES 8 /* on their way at a time */

struct deletion {
    struct collector *c;
    uint64_t id; /* 0: none */
};

struct collector {
    struct engine *e;
    struct timer timer;
    bool busy;
    uint32_t done_in_round;
    struct rpc_call *asks; /* of hints */
    uint32_t n_asks, asking;
    bool hints_somewhere;
    struct buf cursor, row; /* row: the key of the row at hand */
    bool found;
    struct store_scan scan;

    /* the upload at hand */
    struct buf key; /* of its record */
    struct upload_id upload;
    struct debt debt;
    struct object record;
    struct slice *keys; /* borrowed from record's values */
    uint32_t n_keys, next_key;
    uint8_t *marks; /* a bit for each number */
    uint32_t numbers, marked;
    bool checked; /* the record was read again */
    uint32_t next_number;
    bool failed;
    struct deletion deletions[DELETES];
    uint32_t deleting;
};

static void next_upload(struct collector *c);

void collect_batch(struct engine *e, struct store_batch *b, uint32_t partition, struct slice key)
{
    struct upload_id upload;
    struct buf name = BUF_EMPTY, row = BUF_EMPTY;
    struct debt debt = {0};
    (void)e;
    if (upload_key_parse(key, &upload) != DYN_OK)
        return;
    row_debt(DEBT_UPLOAD, partition, key, &name);
    debt_encode(&debt, &row);
    store_batch_put(b, STORE_HINT, buf_slice(&name), buf_slice(&row));
    buf_release(&name);
    buf_release(&row);
}

/* ---- the turn of one upload ends --------------------------------------------------------- */

static void forget_upload(struct collector *c)
{
    object_release(&c->record);
    free(c->keys);
    free(c->marks);
    c->keys = NULL;
    c->marks = NULL;
    c->n_keys = c->next_key = c->numbers = c->marked = c->next_number = 0;
    c->checked = c->failed = false;
}

static void end_upload(struct collector *c)
{
    forget_upload(c);
    next_upload(c);
}

/* The row, or its end. A write to the record in between writes it again: then this is lost, which
 * only makes it later. */
static void write_row(struct collector *c, const struct debt *debt)
{
    struct engine *e = c->e;
    struct store_batch b = STORE_BATCH_EMPTY;
    struct buf row = BUF_EMPTY;
    if (debt != NULL) {
        debt_encode(debt, &row);
        store_batch_put(&b, STORE_HINT, buf_slice(&c->row), buf_slice(&row));
    } else {
        store_batch_delete(&b, STORE_HINT, buf_slice(&c->row));
    }
    (void)!e->ports.store.write(e->ports.store.ctx, &b, STORE_BUFFERED, NULL); /* next round */
    store_batch_release(&b);
    buf_release(&row);
}

/* ---- reading from all N ------------------------------------------------------------------ */

static void read_all(struct collector *c, struct slice key,
                     void (*done)(void *arg, const struct gather_result *result))
{
    struct engine *e = c->e;
    uint32_t members = ring_member_count(e->ring), n = ring_n(e->ring);
    n = n < members ? n : members;
    n = n < N_MAX ? n : N_MAX;
    struct gather_params p = {.key = key,
                              .quorum = {.n = n,
                                         .r = n,
                                         .w = n,
                                         .durability = DURABILITY_QUORUM,
                                         .timeout_us = e->cfg.request_timeout_us},
                              .values = VALUE_ALL,
                              .done = done,
                              .arg = c};
    gather_start(e, &p);
}

/* ---- deleting ---------------------------------------------------------------------------- */

static void delete_more(struct collector *c);

static void on_record_gone(void *arg, const struct put_reply *p)
{
    struct collector *c = arg;
    c->deletions[0].id = 0;
    if (p->status == DYN_OK || p->status == DYN_ERR_NOT_FOUND)
        write_row(c, NULL);
    end_upload(c);
}

/* Exactly the references that were looked at: one that came since stays, and with it the record. */
static void delete_record(struct collector *c)
{
    struct engine *e = c->e;
    struct buf token = BUF_EMPTY, context = BUF_EMPTY;
    token_make(e->mac, ring_cluster(e->ring), buf_slice(&c->key), &c->record, &token);
    context_all(buf_slice(&token), &context);
    struct slice contexts = buf_slice(&context);
    struct put_request q = {
        .key = buf_slice(&c->key), .type = SIBLING_DELETE, .contexts = &contexts, .n_contexts = 1};
    struct kv_port kv = request_kv(e);
    c->deletions[0].id = kv.put(kv.ctx, &q, on_record_gone, c);
    buf_release(&token);
    buf_release(&context);
}

static void all_deleted(struct collector *c)
{
    if (c->failed) {
        end_upload(c);
    } else if (c->marked == 0) {
        delete_record(c);
    } else {
        c->debt.bytes = 1; /* nothing is left to do for these marks */
        write_row(c, &c->debt);
        end_upload(c);
    }
}

static void on_deleted(void *arg, const struct put_reply *p)
{
    struct deletion *d = arg;
    struct collector *c = d->c;
    d->id = 0;
    c->deleting--;
    if (p->status == DYN_OK)
        c->e->stats.chunks_collected++;
    else if (p->status != DYN_ERR_NOT_FOUND) /* a number that was never used */
        c->failed = true;
    delete_more(c);
}

static bool marked(const struct collector *c, uint32_t number)
{
    return c->marks[number / 8] >> number % 8 & 1;
}

static void delete_more(struct collector *c)
{
    struct kv_port kv = request_kv(c->e);
    for (uint32_t i = 0; i < DELETES && !c->failed && !c->e->stopping; i++) {
        struct deletion *d = &c->deletions[i];
        struct buf key = BUF_EMPTY;
        if (d->id != 0)
            continue;
        while (c->next_number < c->numbers && marked(c, c->next_number))
            c->next_number++;
        if (c->next_number == c->numbers)
            break;
        chunk_key(&c->upload, c->next_number++, &key);
        struct put_request q = {
            .key = buf_slice(&key), .type = SIBLING_DELETE, .flags = PUT_CURRENT};
        d->c = c;
        c->deleting++;
        d->id = kv.put(kv.ctx, &q, on_deleted, d);
        buf_release(&key);
    }
    c->failed |= c->e->stopping;
    if (c->deleting == 0)
        all_deleted(c);
}

static void on_record_again(void *arg, const struct gather_result *result)
{
    struct collector *c = arg;
    if (result->status != DYN_OK || !object_equal(result->object, &c->record))
        end_upload(c);
    else
        delete_more(c);
}

/* ---- judging ----------------------------------------------------------------------------- */

static void judge(struct collector *c)
{
    struct engine *e = c->e;
    uint64_t now = engine_wall_ms(e);
    uint8_t state[DIGEST_LEN];
    digest_sha256(slice_of(c->marks, (c->numbers + 7) / 8), state);
    bool same = c->debt.since_ms != 0 && memcmp(state, c->debt.state, DIGEST_LEN) == 0;
    if (!same) {
        c->debt = (struct debt){.since_ms = now};
        memcpy(c->debt.state, state, DIGEST_LEN);
        write_row(c, &c->debt);
    }
    bool young = now < c->debt.since_ms + e->cfg.collect_grace_ms || now < c->debt.since_ms;
    if (!same || young || c->debt.bytes != 0)
        end_upload(c);
    else
        read_all(c, buf_slice(&c->key), on_record_again);
}

static void next_key(struct collector *c);

/* A version that names the upload: its chunks stay. false: it cannot be read. */
static bool mark_version(struct collector *c, const struct sibling *s)
{
    struct manifest m = MANIFEST_EMPTY;
    bool lists = false;
    for (size_t at = 0; s->uploads != NULL && at < s->uploads->len; at += UPLOAD_ID_LEN)
        lists |= memcmp(s->uploads->data + at, &c->upload, UPLOAD_ID_LEN) == 0;
    if (!lists)
        return true;
    if (s->value == NULL || manifest_decode(slice_of(s->value->data, s->value->len), &m) != DYN_OK)
        return false;
    for (uint32_t i = 0; i < m.n; i++) {
        uint32_t number = m.chunks[i].number;
        bool ours = memcmp(&m.uploads[m.chunks[i].upload], &c->upload, UPLOAD_ID_LEN) == 0;
        if (!ours || number >= c->numbers || marked(c, number))
            continue;
        c->marks[number / 8] |= (uint8_t)(1u << number % 8);
        c->marked++;
    }
    manifest_release(&m);
    return true;
}

/* What people may want back needs its chunks too; who does not answer may keep some. */
static void on_kept(void *arg, const struct kept_reply *reply)
{
    struct collector *c = arg;
    bool good = reply->status == DYN_OK && reply->answered == reply->asked && !reply->cut;
    for (uint32_t i = 0; i < reply->list.n && good; i++)
        (void)!mark_version(c, kept_version(&reply->list.k[i])); /* unreadable: lost already */
    if (good)
        next_key(c);
    else
        end_upload(c);
}

static void on_key(void *arg, const struct gather_result *result)
{
    struct collector *c = arg;
    bool good = result->status == DYN_OK;
    for (uint32_t i = 0; i < result->object->n && good; i++)
        if (sibling_live(&result->object->siblings[i]))
            good = mark_version(c, &result->object->siblings[i]);
    const struct kept_request q = {.key = c->keys[c->next_key - 1], .want = KEPT_MANIFESTS};
    if (good)
        kept_gather(c->e, &q, on_kept, c);
    else
        end_upload(c);
}

static void next_key(struct collector *c)
{
    if (c->next_key == c->n_keys)
        judge(c);
    else
        read_all(c, c->keys[c->next_key++], on_key);
}

/* ---- the record -------------------------------------------------------------------------- */

static void add_key(struct collector *c, struct slice key)
{
    for (uint32_t i = 0; i < c->n_keys; i++)
        if (slice_equal(c->keys[i], key))
            return;
    c->keys[c->n_keys++] = key;
}

/* false: a reference is young, or cannot be read. */
static bool take_references(struct collector *c)
{
    struct engine *e = c->e;
    uint64_t now = engine_wall_ns(e), lease = e->cfg.collect_lease_ms * 1000000ull;
    c->keys = mem_reallocarray(NULL, c->record.n, sizeof(*c->keys));
    for (uint32_t i = 0; i < c->record.n; i++) {
        const struct sibling *s = &c->record.siblings[i];
        struct slice key;
        uint32_t numbers;
        if (!sibling_live(s))
            continue;
        if (now < s->time_ns + lease || s->value == NULL ||
            upload_ref_decode(slice_of(s->value->data, s->value->len), &key, &numbers) != DYN_OK ||
            numbers > NUMBERS_MAX || c->n_keys == KEYS_MAX)
            return false;
        c->numbers = numbers > c->numbers ? numbers : c->numbers;
        add_key(c, key);
    }
    return true;
}

static void on_record(void *arg, const struct gather_result *result)
{
    struct collector *c = arg;
    if (result->status != DYN_OK) {
        end_upload(c);
        return;
    }
    if (!object_live(result->object)) { /* another node has done it */
        write_row(c, NULL);
        end_upload(c);
        return;
    }
    object_copy(&c->record, result->object);
    if (!take_references(c)) {
        end_upload(c);
        return;
    }
    c->marks = mem_zalloc((c->numbers + 7) / 8 + 1);
    next_key(c);
}

/* ---- rounds ------------------------------------------------------------------------------ */

static void end_round(struct collector *c)
{
    c->busy = false;
}

static bool is_ours(const struct collector *c)
{
    struct engine *e = c->e;
    uint64_t nodes[N_MAX];
    uint32_t n = ring_n(e->ring) < N_MAX ? ring_n(e->ring) : N_MAX;
    n = ring_preference_list(e->ring, ring_partition_of(e->ring, buf_slice(&c->key)), n, nodes, n);
    return n > 0 && nodes[0] == e->cfg.node; /* all are up: they have just answered */
}

static bool on_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct collector *c = req->arg;
    struct slice name;
    buf_clear(&c->cursor);
    buf_put_slice(&c->cursor, key);
    buf_put_u8(&c->cursor, 0);
    if (row_debt_parse(key, &name) != DYN_OK || debt_decode(value, &c->debt) != DYN_OK ||
        upload_key_parse(name, &c->upload) != DYN_OK)
        return true;
    buf_clear(&c->key);
    buf_put_slice(&c->key, name);
    buf_clear(&c->row);
    buf_put_slice(&c->row, key);
    c->found = is_ours(c);
    return !c->found;
}

static void on_scanned(struct store_scan *req, int err, bool more)
{
    struct collector *c = req->arg;
    if (err != DYN_OK) {
        end_round(c);
    } else if (c->found) {
        c->done_in_round++;
        read_all(c, buf_slice(&c->key), on_record);
    } else if (more) {
        next_upload(c);
    } else {
        buf_clear(&c->cursor); /* from the start, in the next round */
        end_round(c);
    }
}

static void next_upload(struct collector *c)
{
    static const uint8_t prefix[] = {DEBT_UPLOAD};
    struct engine *e = c->e;
    if (e->stopping || e->failed != DYN_OK || c->done_in_round == UPLOADS_A_ROUND) {
        end_round(c);
        return;
    }
    c->found = false;
    c->scan = (struct store_scan){.family = STORE_HINT,
                                  .prefix = slice_of(prefix, 1),
                                  .from = buf_slice(&c->cursor),
                                  .max_rows = 1024,
                                  .max_bytes = 1u << 20,
                                  .row = on_row,
                                  .done = on_scanned,
                                  .arg = c};
    e->ports.store.scan(e->ports.store.ctx, &c->scan);
}

static void hints_known(struct collector *c)
{
    if (c->hints_somewhere || hints_total(c->e->hints) != 0)
        end_round(c);
    else
        next_upload(c);
}

static void on_hints(struct rpc_call *call, int err, struct slice body)
{
    struct collector *c = call->arg;
    int status = DYN_OK;
    if (err == DYN_OK)
        err = peer_status_decode(body, &status);
    c->hints_somewhere |= err != DYN_OK || status != DYN_OK;
    if (--c->asking == 0)
        hints_known(c);
}

static void begin_round(struct collector *c)
{
    struct engine *e = c->e;
    uint32_t members = ring_member_count(e->ring);
    c->busy = true;
    c->hints_somewhere = false;
    c->done_in_round = 0;
    free(c->asks);
    c->asks = mem_zalloc((members + 1) * sizeof(*c->asks));
    c->n_asks = 0;
    c->asking = 1; /* one for this loop */
    for (uint32_t i = 0; i < members; i++) {
        uint64_t node = ring_member_at(e->ring, i)->node;
        struct buf body = BUF_EMPTY;
        if (node == e->cfg.node)
            continue;
        struct rpc_call *call = &c->asks[c->n_asks++];
        call->done = on_hints;
        call->arg = c;
        c->asking++;
        rpc_start(e->rpc, call, node, FRAME_HINTS, &body, e->cfg.replica_timeout_us);
    }
    if (--c->asking == 0)
        hints_known(c);
}

static void on_timer(struct timer *t, void *arg)
{
    struct collector *c = arg;
    struct engine *e = c->e;
    timer_set(e->ports.timers, t, engine_now(e) + e->cfg.collect_us);
    if (!c->busy && !e->stopping && e->failed == DYN_OK)
        begin_round(c);
}

struct collector *collector_new(struct engine *e)
{
    struct collector *c = mem_new(struct collector);
    c->e = e;
    timer_init(&c->timer, on_timer, c);
    return c;
}

/* Gathers, requests and scans that are on their way end with the engine, without a word. */
void collector_free(struct collector *c)
{
    if (c == NULL)
        return;
    timer_cancel(c->e->ports.timers, &c->timer);
    for (uint32_t i = 0; i < c->n_asks; i++)
        rpc_cancel(c->e->rpc, &c->asks[i]);
    forget_upload(c);
    free(c->asks);
    buf_release(&c->cursor);
    buf_release(&c->row);
    buf_release(&c->key);
    free(c);
}

void collector_start(struct collector *c)
{
    timer_set(c->e->ports.timers, &c->timer, engine_now(c->e) + c->e->cfg.collect_us);
}
