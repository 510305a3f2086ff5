/* SPDX-License-Identifier: Apache-2.0 */
/* What a piece leaves on a node's disk is what its states leave when they are written one by one,
 * whatever was there before (E9, E10, E16). */
#include "engine/transfer/piece.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"
#include "played_cluster.h"
#include "unit.h"

#define SECOND 1000000u
#define FILES 300u

static const struct slice no_context = {NULL, 0};

/* ---- rows as they lie -------------------------------------------------------------------- */

struct rows { /* of one partition, with values */
    struct range_reply reply;
    struct buf names[2048];
};

static bool on_row(struct store_scan *req, struct slice key, struct slice value)
{
    struct rows *r = req->arg;
    struct place at;
    enum row_kind kind;
    struct row_state state = ROW_STATE_NONE;
    struct range_row *row = &r->reply.rows[r->reply.n];
    struct buf *name = &r->names[r->reply.n];
    assert_int_equal(row_meta_parse(key, &at, &kind, name), DYN_OK);
    if (kind == ROW_DIRSTAT) {
        buf_clear(name);
        return true;
    }
    *row = (struct range_row){.kind = (uint8_t)kind, .key = buf_slice(name)};
    assert_int_equal(row_decode(value, &state, &row->object), DYN_OK);
    row_state_release(&state);
    r->reply.n++;
    return true;
}

static void on_end(struct store_scan *req, int err, bool more)
{
    (void)req;
    assert_int_equal(err, DYN_OK);
    assert_false(more);
}

static void scan(struct store_memory *store, enum store_family f, struct slice prefix,
                 bool (*row)(struct store_scan *req, struct slice key, struct slice value),
                 void *arg)
{
    struct store_port port = store_memory_port(store);
    struct store_scan req = {.family = f,
                             .prefix = prefix,
                             .max_rows = UINT32_MAX,
                             .max_bytes = UINT64_MAX,
                             .row = row,
                             .done = on_end,
                             .arg = arg};
    port.scan(port.ctx, &req);
}

static void on_value(struct store_get *req, int err, struct slice value)
{
    struct sibling *s = req->arg;
    assert_int_equal(err, DYN_OK);
    s->value = blob_new(value.data, value.len);
}

static struct rows *rows_of(struct played_cluster *c, uint32_t at, uint32_t partition)
{
    struct rows *r = mem_new(struct rows);
    struct buf key = BUF_EMPTY;
    struct store_port port = store_memory_port(c->nodes[at].store);
    r->reply.form = RANGE_STATES;
    r->reply.rows = mem_zalloc(2048 * sizeof(*r->reply.rows));
    buf_put_u32_be(&key, partition);
    scan(c->nodes[at].store, STORE_META, buf_slice(&key), on_row, r);
    for (uint32_t i = 0; i < r->reply.n; i++) {
        struct range_row *row = &r->reply.rows[i];
        struct place place = place_of_row(c->ring, (enum row_kind)row->kind, row->key);
        for (uint32_t k = 0; row->kind == RANGE_OBJECT && k < row->object.n; k++) {
            struct sibling *s = &row->object.siblings[k];
            buf_clear(&key);
            row_value(&place, row->key, &s->value_dot, &key);
            struct store_get get = {
                .family = STORE_VALUE, .key = buf_slice(&key), .done = on_value, .arg = s};
            if (s->size > 0)
                port.get(port.ctx, &get);
        }
    }
    buf_release(&key);
    return r;
}

static void rows_free(struct rows *r)
{
    for (uint32_t i = 0; i < 2048; i++)
        buf_release(&r->names[i]);
    range_reply_release(&r->reply);
    free(r);
}

static bool on_any(struct store_scan *req, struct slice key, struct slice value)
{
    struct buf *all = req->arg;
    buf_put_bytes(all, key);
    buf_put_bytes(all, value);
    return true;
}

/* All that a node's disk has of a partition. */
static struct buf disk_of(struct played_cluster *c, uint32_t at, uint32_t partition)
{
    static const char debts[] = {DEBT_ENTRY, DEBT_DIR, DEBT_UPLOAD, DEBT_DEAD};
    struct buf all = BUF_EMPTY, prefix = BUF_EMPTY;
    struct store_memory *store = c->nodes[at].store;
    buf_put_u32_be(&prefix, partition);
    scan(store, STORE_META, buf_slice(&prefix), on_any, &all);
    scan(store, STORE_VALUE, buf_slice(&prefix), on_any, &all);
    scan(store, STORE_TREE, buf_slice(&prefix), on_any, &all);
    for (uint32_t i = 0; i < sizeof(debts); i++) {
        buf_clear(&prefix);
        buf_put_u8(&prefix, (uint8_t)debts[i]);
        buf_put_u32_be(&prefix, partition);
        scan(store, STORE_HINT, buf_slice(&prefix), on_any, &all);
    }
    buf_release(&prefix);
    return all;
}

/* ---- both ways --------------------------------------------------------------------------- */

static void ended(struct piece *p, int err)
{
    int *out = p->arg;
    *out = err;
}

/* Returns how many were stored together. */
static uint32_t take_piece(struct played_cluster *c, uint32_t at, uint32_t partition,
                           const struct range_reply *rows)
{
    int err = 1;
    struct piece *p = mem_new(struct piece);
    p->e = c->nodes[at].engine;
    p->partition = partition;
    p->reply = rows;
    p->born_us = c->now_us;
    p->done = ended;
    p->arg = &err;
    piece_start(p);
    for (uint32_t i = 0; i < 100000 && err == 1; i++)
        played_run(c, 1);
    assert_int_equal(err, DYN_OK);
    uint32_t adopted = p->adopted;
    piece_release(p);
    free(p);
    return adopted;
}

static void on_written(struct replica_write *w, int err)
{
    bool *done = w->arg;
    assert_int_equal(err, DYN_OK);
    *done = true;
}

static void write_one(struct played_cluster *c, uint32_t at, const struct range_row *row)
{
    uint32_t fragment = 0;
    bool done = false, entry = row->kind == RANGE_ENTRY;
    struct slice key = entry ? entry_id_split(row->key, &fragment) : row->key;
    struct replica_write w = {.e = c->nodes[at].engine,
                              .key = key,
                              .fragment = fragment,
                              .roles = entry ? ROLE_ENTRY : ROLE_OBJECT,
                              .incoming = &row->object,
                              .done = on_written,
                              .arg = &done};
    replica_write_start(&w);
    assert_true(done);
    replica_write_release(&w);
}

static void assert_same(struct played_cluster *c, uint32_t one, uint32_t other, uint32_t partition)
{
    struct buf a = disk_of(c, one, partition), b = disk_of(c, other, partition);
    assert_true(slice_equal(buf_slice(&a), buf_slice(&b)));
    buf_release(&a);
    buf_release(&b);
}

/* ---- data -------------------------------------------------------------------------------- */

static void put(struct played_cluster *c, const char *key, enum sibling_type type)
{
    const struct put_request q = {
        .key = slice_str(key), .flags = PUT_CURRENT, .type = type, .attrs = {.mode = 0755}};
    struct put_reply reply = played_put(c, 0, &q);
    assert_int_equal(reply.status, DYN_OK);
    put_reply_release(&reply);
}

/* Each key on one node alone, so the other two of three have nothing of its partition. Files,
 * deleted ones, conflicts, directories, dead ones, and entries whose directory nobody made. */
static struct played_cluster *with_data(void)
{
    struct played_cluster *c = played_cluster_new(3, 1, 1, 1);
    char key[32];
    put(c, "d", SIBLING_DIR);
    put(c, "d/sub", SIBLING_DIR);
    put(c, "gone", SIBLING_DIR);
    assert_int_equal(played_delete(c, 0, "gone"), DYN_OK);
    for (uint32_t i = 0; i < FILES; i++) {
        snprintf(key, sizeof(key), "%s/f%u", i % 3 == 0 ? "d" : i % 3 == 1 ? "d/sub" : "loose", i);
        assert_int_equal(played_write(c, i % 3, key, key, PUT_CURRENT, no_context), DYN_OK);
        if (i % 7 == 0)
            assert_int_equal(played_delete(c, 0, key), DYN_OK);
        if (i % 11 == 0)
            assert_int_equal(played_write(c, 0, key, "other", 0, no_context), DYN_OK);
    }
    played_run(c, 5 * SECOND);
    return c;
}

static uint32_t owner_of(const struct played_cluster *c, uint32_t partition)
{
    uint64_t node;
    assert_int_equal(ring_preference_list(c->ring, partition, 1, &node, 1), 1);
    return (uint32_t)node - 1;
}

static void test_a_piece_leaves_what_its_states_leave(void **state)
{
    (void)state;
    struct played_cluster *c = with_data();
    uint32_t all = 0, adopted = 0;
    for (uint32_t p = 0; p < ring_q(c->ring); p++) {
        uint32_t from = owner_of(c, p), one = (from + 1) % 3, other = (from + 2) % 3;
        struct rows *r = rows_of(c, from, p);
        for (uint32_t i = 0; i < r->reply.n; i++)
            write_one(c, one, &r->reply.rows[i]);
        adopted += take_piece(c, other, p, &r->reply);
        all += r->reply.n;
        assert_same(c, one, other, p);
        take_piece(c, other, p, &r->reply); /* it is here */
        assert_same(c, one, other, p);
        rows_free(r);
    }
    assert_true(all > 2 * FILES);
    assert_true(adopted > all / 2 && adopted < all);
    played_cluster_free(c);
}

/* Every second state was here before, and the disk takes its time. */
static void test_what_is_here_is_merged_and_the_rest_stored_beside_it(void **state)
{
    (void)state;
    struct played_cluster *c = with_data();
    uint32_t adopted = 0;
    for (uint32_t p = 0; p < ring_q(c->ring); p++) {
        uint32_t from = owner_of(c, p), one = (from + 1) % 3, other = (from + 2) % 3;
        struct rows *r = rows_of(c, from, p);
        for (uint32_t i = 0; i < r->reply.n; i += 2) {
            write_one(c, one, &r->reply.rows[i]);
            write_one(c, other, &r->reply.rows[i]);
        }
        for (uint32_t i = 1; i < r->reply.n; i += 2)
            write_one(c, one, &r->reply.rows[i]);
        played_slow_disk(c, other, 100);
        adopted += take_piece(c, other, p, &r->reply);
        played_slow_disk(c, other, 0);
        struct rows *got = rows_of(c, other, p), *want = rows_of(c, one, p);
        assert_int_equal(got->reply.n, want->reply.n);
        for (uint32_t i = 0; i < got->reply.n; i++)
            assert_true(object_equal(&got->reply.rows[i].object, &want->reply.rows[i].object));
        rows_free(got);
        rows_free(want);
        rows_free(r);
    }
    assert_true(adopted > 0);
    played_cluster_free(c);
}

static void granted(struct keylock *lock, void *arg)
{
    (void)lock;
    (void)arg;
}

static void test_a_key_that_somebody_writes_is_waited_for(void **state)
{
    (void)state;
    struct played_cluster *c = with_data();
    struct slice key = slice_str("loose/f2");
    uint32_t p = ring_partition_of(c->ring, key), from = owner_of(c, p), other = (from + 1) % 3;
    struct rows *r = rows_of(c, from, p);
    struct engine *e = c->nodes[other].engine;
    struct keylock lock;
    struct piece *piece = mem_new(struct piece);
    int err = 1;
    keylock_init(&lock);
    assert_true(keylock_acquire(e->locks, &lock, LOCK_KEY, key, granted, NULL));
    piece->e = e;
    piece->partition = p;
    piece->reply = &r->reply;
    piece->born_us = c->now_us;
    piece->done = ended;
    piece->arg = &err;
    piece_start(piece);
    played_run(c, SECOND);
    assert_int_equal(err, 1);
    keylock_release(e->locks, &lock);
    played_run(c, SECOND);
    assert_int_equal(err, DYN_OK);
    piece_release(piece);
    free(piece);
    rows_free(r);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_piece_leaves_what_its_states_leave),
        cmocka_unit_test(test_what_is_here_is_merged_and_the_rest_stored_beside_it),
        cmocka_unit_test(test_a_key_that_somebody_writes_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
