/* SPDX-License-Identifier: Apache-2.0 */
/* What a node gives of a partition: to archives sealed and without entries, to nobody who knows
 * other owners; and what comes back out of an archive is believed by its seal alone (E3, E10). */
#include "engine/transfer/range.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/fragments/entry_place.h"
#include "engine/replica/rows.h"
#include "engine/transfer/fence_list.h"
#include "played_cluster.h"
#include "unit.h"

static struct played_cluster *filled(void)
{
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    for (uint32_t i = 0; i < 8; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(played_write(c, 0, key, key, 0, slice_of(NULL, 0)), DYN_OK);
    }
    played_run(c, 2000000);
    return c;
}

static void ask(struct played_cluster *c, uint32_t at, struct archive_request *q)
{
    struct buf body = BUF_EMPTY;
    archive_request_encode(q, &body);
    played_ask(c, at, FRAME_ARCHIVE, &body);
}

static struct archive_request about(const struct played_cluster *c, enum archive_op op, uint32_t p)
{
    struct archive_request q = {.op = op, .range = {.partition = p}};
    q.range.ring = *ring_epoch(c->ring);
    q.range.fence = ring_fence(c->ring, p);
    return q;
}

/* All states of one partition, sealed; the reply's rows borrow from c->client_reply. */
static void fetch(struct played_cluster *c, uint32_t at, uint32_t p, struct range_reply *out)
{
    struct range_reply list;
    struct range_row rows[RANGE_ROWS_MAX];
    struct buf names = BUF_EMPTY;
    struct archive_request q = about(c, ARCHIVE_LIST, p);
    ask(c, at, &q);
    buf_put_slice(&names, buf_slice(&c->client_reply));
    assert_int_equal(range_reply_decode(buf_slice(&names), &list), DYN_OK);
    assert_int_equal(list.status, DYN_OK);
    assert_int_equal(list.form, RANGE_HASHES);
    q = about(c, ARCHIVE_FETCH, p);
    q.range.rows = rows;
    for (uint32_t i = 0; i < list.n; i++) {
        assert_int_equal(list.rows[i].kind, RANGE_OBJECT); /* entries follow from objects */
        rows[q.range.n++] = list.rows[i];
    }
    ask(c, at, &q);
    assert_int_equal(range_reply_decode(buf_slice(&c->client_reply), out), DYN_OK);
    assert_int_equal(out->status, DYN_OK);
    assert_int_equal(out->n, list.n);
    range_reply_release(&list);
    buf_release(&names);
}

static void test_an_archive_gets_each_object_once_with_its_bytes(void **state)
{
    (void)state;
    struct played_cluster *c = filled();
    uint32_t files = 0;
    for (uint32_t p = 0; p < ring_q(c->ring); p++) {
        struct range_reply r;
        fetch(c, p % 3, p, &r);
        assert_int_equal(r.form, RANGE_SEALED);
        for (uint32_t i = 0; i < r.n; i++) {
            assert_int_equal(ring_partition_of(c->ring, r.rows[i].key), p);
            assert_true(object_values_loaded(&r.rows[i].object));
            files += r.rows[i].key.len > 0 && r.rows[i].key.data[0] == 'k';
        }
        range_reply_release(&r);
    }
    assert_int_equal(files, 8);
    played_cluster_free(c);
}

static void test_who_knows_other_owners_is_refused(void **state)
{
    (void)state;
    struct played_cluster *c = filled();
    struct range_reply r;
    struct archive_root root;
    struct archive_request q = about(c, ARCHIVE_LIST, 0);
    q.range.ring.length++;
    q.range.fence++;
    ask(c, 0, &q);
    assert_int_equal(range_reply_decode(buf_slice(&c->client_reply), &r), DYN_OK);
    assert_int_equal(r.status, DYN_ERR_REFUSED);
    assert_int_equal(r.n, 0);
    range_reply_release(&r);
    q.op = ARCHIVE_ROOT;
    ask(c, 0, &q);
    assert_int_equal(archive_root_decode(buf_slice(&c->client_reply), &root), DYN_OK);
    assert_int_equal(root.status, DYN_ERR_REFUSED);
    q = about(c, ARCHIVE_LIST, 0);
    q.range.partition = ring_q(c->ring);
    ask(c, 0, &q);
    assert_int_equal(range_reply_decode(buf_slice(&c->client_reply), &r), DYN_OK);
    assert_int_equal(r.status, DYN_ERR_INVALID);
    range_reply_release(&r);
    played_cluster_free(c);
}

/* Sends the rows of a partition back, with one bit of the first seal flipped if `forged`. */
static void send_back(struct played_cluster *c, uint32_t p, bool forged, struct restore_reply *out)
{
    struct range_reply r;
    struct buf body = BUF_EMPTY;
    fetch(c, 0, p, &r);
    assert_true(r.n > 0);
    if (forged)
        r.rows[0].seal[3] ^= 1;
    restore_request_begin(&body, r.n);
    for (uint32_t i = 0; i < r.n; i++)
        range_sealed_put(&r.rows[i], &r.rows[i].object, &body);
    range_reply_release(&r);
    played_ask(c, 1, FRAME_RESTORE, &body);
    assert_int_equal(restore_reply_decode(buf_slice(&c->client_reply), out), DYN_OK);
    assert_int_equal(out->status, DYN_OK);
}

static void test_what_comes_back_is_believed_by_its_seal(void **state)
{
    (void)state;
    struct played_cluster *c = filled();
    uint32_t p = ring_partition_of(c->ring, slice_str("k3"));
    struct restore_reply r;
    send_back(c, p, false, &r);
    for (uint32_t i = 0; i < r.n; i++)
        assert_int_equal(r.rows[i], DYN_OK);
    restore_reply_release(&r);
    send_back(c, p, true, &r);
    assert_int_equal(r.rows[0], DYN_ERR_DENIED);
    restore_reply_release(&r);
    char *values = played_values(c, 2, "k3");
    assert_string_equal(values, "k3");
    free(values);
    played_cluster_free(c);
}

static void test_a_restore_undoes_nothing(void **state)
{
    (void)state;
    struct played_cluster *c = filled();
    uint32_t p = ring_partition_of(c->ring, slice_str("k3"));
    struct range_reply old;
    struct restore_reply r;
    struct buf kept = BUF_EMPTY, body = BUF_EMPTY;
    fetch(c, 0, p, &old);
    restore_request_begin(&body, old.n);
    for (uint32_t i = 0; i < old.n; i++)
        range_sealed_put(&old.rows[i], &old.rows[i].object, &body);
    range_reply_release(&old);
    buf_put_slice(&kept, buf_slice(&body));
    assert_int_equal(played_delete(c, 0, "k3"), DYN_OK);
    played_ask(c, 1, FRAME_RESTORE, &body);
    assert_int_equal(restore_reply_decode(buf_slice(&c->client_reply), &r), DYN_OK);
    restore_reply_release(&r);
    char *values = played_values(c, 2, "k3");
    assert_string_equal(values, "-");
    free(values);
    assert_int_equal(played_write(c, 0, "k3", "new", PUT_CURRENT, slice_of(NULL, 0)), DYN_OK);
    played_ask(c, 1, FRAME_RESTORE, &kept);
    values = played_values(c, 2, "k3");
    assert_string_equal(values, "new");
    free(values);
    played_cluster_free(c);
}

static bool any_row(void *arg, struct slice row)
{
    (void)arg;
    (void)row;
    return true;
}

static struct range_reply fetch_rows(struct played_cluster *c, uint32_t p, struct range_row *rows,
                                     uint32_t n)
{
    struct range_reply r;
    struct archive_request q = about(c, ARCHIVE_FETCH, p);
    q.range.rows = rows;
    q.range.n = n;
    ask(c, 0, &q);
    assert_int_equal(range_reply_decode(buf_slice(&c->client_reply), &r), DYN_OK);
    return r;
}

/* What comes after a row that cannot be read has not gone: an archive would lack it, and say that
 * it is whole. */
static void test_a_row_that_cannot_be_read_is_not_the_last(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    char names[2][16] = {"", ""};
    const uint32_t p = 5;
    for (uint32_t i = 0, n = 0; n < 2; i++) {
        snprintf(names[n], sizeof(names[n]), "k%u", i);
        n += ring_partition_of(c->ring, slice_str(names[n])) == p;
    }
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(played_write(c, 0, names[i], "v", 0, slice_of(NULL, 0)), DYN_OK);
    struct range_row rows[2] = {{.kind = RANGE_OBJECT, .key = slice_str(names[0])},
                                {.kind = RANGE_OBJECT, .key = slice_str(names[1])}};
    struct range_reply r = fetch_rows(c, p, rows, 2);
    assert_true(r.status == DYN_OK && r.n == 2 && !r.more);
    range_reply_release(&r);
    struct buf row = BUF_EMPTY;
    struct place at = place_of(c->ring, slice_str(names[1]));
    row_object(&at, slice_str(names[1]), &row);
    assert_true(store_memory_spoil(c->nodes[0].store, STORE_META, buf_slice(&row), any_row, NULL));
    buf_release(&row);
    r = fetch_rows(c, p, rows, 2);
    assert_true(r.status == DYN_OK && r.n == 1 && r.more);
    range_reply_release(&r);
    r = fetch_rows(c, p, rows + 1, 1);
    assert_int_equal(r.status, DYN_ERR_CORRUPT);
    range_reply_release(&r);
    played_cluster_free(c);
}

/* A piece of all there is, in order, as a new owner asks for it. */
static struct range_reply take(struct played_cluster *c, uint32_t p, struct slice after)
{
    struct net_events ev = engine_events(c->nodes[0].engine);
    struct buf body = BUF_EMPTY;
    struct range_reply r;
    struct range_request q = about(c, ARCHIVE_FETCH, p).range;
    q.after = after;
    range_request_encode(&q, &body);
    c->client_type = 0;
    ev.receive_request(ev.ctx, PLAYED_CLIENT, 2, 1, FRAME_RANGE_FETCH, buf_slice(&body));
    buf_release(&body);
    for (uint32_t i = 0; i < 1000 && c->client_type == 0; i++)
        played_run(c, 1000);
    assert_int_equal(c->client_type, FRAME_RANGE_FETCH + FRAME_REPLY);
    assert_int_equal(range_reply_decode(buf_slice(&c->client_reply), &r), DYN_OK);
    return r;
}

/* Counts the pieces, and what is in them. */
static uint32_t take_all(struct played_cluster *c, uint32_t p, uint32_t *objects, uint32_t *entries)
{
    struct buf after = BUF_EMPTY, last = BUF_EMPTY;
    uint32_t pieces = 0;
    for (bool more = true; more; pieces++) {
        struct range_reply r = take(c, p, buf_slice(&after));
        assert_int_equal(r.status, DYN_OK);
        assert_int_equal(r.form, RANGE_STATES);
        for (uint32_t i = 0; i < r.n; i++) {
            struct buf row = BUF_EMPTY;
            struct place at = place_of_row(c->ring, (enum row_kind)r.rows[i].kind, r.rows[i].key);
            row_of_id(&at, (enum row_kind)r.rows[i].kind, r.rows[i].key, &row);
            assert_int_equal(at.partition, p);
            assert_true(last.len == 0 || slice_compare(buf_slice(&last), buf_slice(&row)) < 0);
            buf_release(&last);
            last = row;
            *objects += r.rows[i].kind == RANGE_OBJECT;
            *entries += r.rows[i].kind == RANGE_ENTRY;
            assert_true(r.rows[i].kind == RANGE_ENTRY || object_values_loaded(&r.rows[i].object));
        }
        more = r.more;
        assert_true(!more || r.n > 0);
        buf_clear(&after);
        buf_put_slice(&after, r.cursor);
        range_reply_release(&r);
    }
    buf_release(&after);
    buf_release(&last);
    return pieces;
}

static void test_pieces_in_order_are_all_there_is(void **state)
{
    (void)state;
    struct played_cluster *c = filled();
    uint32_t objects = 0, entries = 0, pieces = 0, large = 0;
    const uint32_t p = ring_partition_of(c->ring, slice_str("k3"));
    char *value = mem_zalloc(RANGE_BYTES_MAX / 2 + 1);
    memset(value, 'v', RANGE_BYTES_MAX / 2);
    for (uint32_t i = 0; large < 5; i++) {
        char key[16];
        snprintf(key, sizeof(key), "l%u", i);
        if (ring_partition_of(c->ring, slice_str(key)) != p)
            continue;
        assert_int_equal(played_write(c, 0, key, value, 0, slice_of(NULL, 0)), DYN_OK);
        large++;
    }
    free(value);
    for (uint32_t i = 0; i < ring_q(c->ring); i++) {
        uint32_t of_this = take_all(c, i, &objects, &entries);
        if (i == p)
            assert_in_range(of_this, 3, 5);
        pieces += of_this;
    }
    assert_true(objects >= 8 + large); /* and the root */
    assert_int_equal(entries, 8 + large);
    assert_true(pieces > ring_q(c->ring));
    played_cluster_free(c);
}

static void test_a_piece_in_order_has_states_whose_bytes_are_bad(void **state)
{
    (void)state;
    struct played_cluster *c = filled();
    const uint32_t p = ring_partition_of(c->ring, slice_str("k3"));
    struct buf row = BUF_EMPTY;
    buf_put_u32_be(&row, p);
    assert_true(store_memory_spoil(c->nodes[0].store, STORE_VALUE, buf_slice(&row), any_row, NULL));
    buf_release(&row);
    uint32_t n = 0;
    struct range_reply r = take(c, p, slice_of(NULL, 0));
    assert_int_equal(r.status, DYN_OK);
    for (uint32_t i = 0; i < r.n; i++)
        n += r.rows[i].kind == RANGE_OBJECT && !object_values_loaded(&r.rows[i].object);
    assert_int_equal(n, 1); /* its other copies have the bytes */
    range_reply_release(&r);
    played_cluster_free(c);
}

static void test_fences_come_back(void **state)
{
    (void)state;
    uint32_t partitions[] = {1, 9};
    uint64_t fences[] = {11, UINT64_MAX};
    const struct fence_list l = {partitions, fences, 2};
    struct fence_list got;
    struct buf b = BUF_EMPTY;
    fence_list_encode(&l, &b);
    assert_int_equal(fence_list_decode(buf_slice(&b), &got), DYN_OK);
    assert_int_equal(got.n, 2);
    assert_true(got.partitions[1] == 9 && got.fences[1] == UINT64_MAX);
    fence_list_release(&got);
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *cut = mem_dup(b.data, n);
        assert_int_equal(fence_list_decode(slice_of(cut, n), &got), DYN_ERR_PROTOCOL);
        free(cut);
    }
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_archive_gets_each_object_once_with_its_bytes),
        cmocka_unit_test(test_who_knows_other_owners_is_refused),
        cmocka_unit_test(test_what_comes_back_is_believed_by_its_seal),
        cmocka_unit_test(test_a_restore_undoes_nothing),
        cmocka_unit_test(test_a_row_that_cannot_be_read_is_not_the_last),
        cmocka_unit_test(test_pieces_in_order_are_all_there_is),
        cmocka_unit_test(test_a_piece_in_order_has_states_whose_bytes_are_bad),
        cmocka_unit_test(test_fences_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
