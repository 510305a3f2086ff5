/* SPDX-License-Identifier: Apache-2.0 */
/* States leave a cluster sealed, and come back as they were or not at all. */
#include "model/range_wire.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "unit.h"

static struct sibling file_of(uint64_t node, uint64_t counter, const char *value)
{
    struct sibling s = {.dot = {.actor = {node, {9, 1}}, .counter = counter},
                        .type = SIBLING_FILE,
                        .time_ns = counter,
                        .size = strlen(value),
                        .value = blob_new(value, strlen(value))};
    s.value_dot = s.dot;
    digest_sha256(slice_str(value), s.value_hash);
    return s;
}

static void make_object(struct object *o)
{
    struct cover none = COVER_EMPTY;
    struct sibling one = file_of(1, 1, "one"), two = file_of(2, 1, "two");
    *o = OBJECT_EMPTY;
    object_write(o, &none, &one, 5);
    object_write(o, &none, &two, 6);
    assert_int_equal(o->n, 2);
}

static void put_row(struct mac *mac, uint64_t cluster, const char *key, const struct object *o,
                    uint32_t prefix, struct buf *out)
{
    struct buf encoded = BUF_EMPTY;
    struct range_row row = {.kind = RANGE_OBJECT, .key = slice_str(key), .prefix = prefix};
    object_encode(o, &encoded);
    row.encoded = buf_slice(&encoded);
    range_seal(mac, cluster, row.kind, row.key, row.encoded, row.seal);
    range_sealed_put(&row, o, out);
    buf_release(&encoded);
}

static bool seal_is(struct mac *mac, uint64_t cluster, const struct range_row *row)
{
    uint8_t seal[DIGEST_LEN];
    range_seal(mac, cluster, row->kind, row->key, row->encoded, seal);
    return digest_equal(seal, row->seal);
}

static void test_a_sealed_row_comes_back_as_it_was(void **state)
{
    (void)state;
    struct mac *mac = mac_new(slice_str("secret")), *other = mac_new(slice_str("another"));
    struct object o;
    struct buf raw = BUF_EMPTY;
    struct range_row row;
    uint8_t hash[DIGEST_LEN];
    make_object(&o);
    put_row(mac, 7, "d/file", &o, 0, &raw);
    struct reader r = reader_of(buf_slice(&raw));
    range_sealed_read(&r, &row);
    assert_true(reader_done(&r));
    assert_true(slice_equal(row.key, slice_str("d/file")));
    assert_true(slice_equal(row.raw, buf_slice(&raw)));
    assert_true(object_equal(&row.object, &o));
    assert_true(object_values_loaded(&row.object));
    object_hash(&o, hash);
    assert_memory_equal(hash, row.hash, DIGEST_LEN);
    assert_true(seal_is(mac, 7, &row));
    assert_false(seal_is(mac, 8, &row)); /* of another cluster */
    assert_false(seal_is(other, 7, &row));
    row.key = slice_str("d/other");
    assert_false(seal_is(mac, 7, &row)); /* of another key */
    object_release(&row.object);
    object_release(&o);
    buf_release(&raw);
    mac_free(mac);
    mac_free(other);
}

/* A changed clock, a changed value: the seal or a digest tells. */
static void test_no_changed_bit_passes_for_another_state(void **state)
{
    (void)state;
    struct mac *mac = mac_new(slice_str("secret"));
    struct object o;
    struct buf raw = BUF_EMPTY;
    make_object(&o);
    put_row(mac, 7, "f", &o, 0, &raw);
    for (size_t bit = 0; bit < raw.len * 8; bit++) {
        struct range_row row;
        raw.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct reader r = reader_of(buf_slice(&raw));
        range_sealed_read(&r, &row);
        if (reader_done(&r) && seal_is(mac, 7, &row)) {
            assert_true(object_equal(&row.object, &o)); /* the prefix is not sealed: less of it */
            assert_true(row.prefix <= o.n);
        }
        object_release(&row.object);
        raw.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    object_release(&o);
    buf_release(&raw);
    mac_free(mac);
}

static void test_hostile_rows_are_refused(void **state)
{
    (void)state;
    struct mac *mac = mac_new(slice_str("secret"));
    struct object o;
    struct buf good = BUF_EMPTY, bad = BUF_EMPTY;
    struct restore_request q;
    make_object(&o);
    restore_request_begin(&good, 2);
    put_row(mac, 7, "a", &o, 0, &good);
    put_row(mac, 7, "b", &o, 1, &good);
    assert_int_equal(restore_request_decode(buf_slice(&good), &q), DYN_OK);
    assert_int_equal(q.n, 2);
    assert_int_equal(q.rows[1].prefix, 1);
    restore_request_release(&q);
    for (size_t n = 0; n < good.len; n++) {
        uint8_t *cut = mem_dup(good.data, n);
        assert_int_not_equal(restore_request_decode(slice_of(cut, n), &q), DYN_OK);
        free(cut);
    }
    restore_request_begin(&bad, 1);
    put_row(mac, 7, "a", &o, 3, &bad); /* more siblings than there are */
    assert_int_not_equal(restore_request_decode(buf_slice(&bad), &q), DYN_OK);
    buf_clear(&bad);
    restore_request_begin(&bad, 1);
    put_row(mac, 7, "a//b", &o, 0, &bad);
    assert_int_not_equal(restore_request_decode(buf_slice(&bad), &q), DYN_OK);
    buf_clear(&bad);
    restore_request_begin(&bad, UINT32_MAX);
    assert_int_not_equal(restore_request_decode(buf_slice(&bad), &q), DYN_OK);
    buf_release(&good);
    buf_release(&bad);
    object_release(&o);
    mac_free(mac);
}

static void test_requests_of_archives_come_back(void **state)
{
    (void)state;
    struct range_row rows[2] = {{.kind = RANGE_OBJECT, .key = slice_str("a")},
                                {.kind = RANGE_OBJECT, .key = slice_str("b/c")}};
    struct archive_request q = {.op = ARCHIVE_FETCH,
                                .target = 5,
                                .range = {.fence = 3, .partition = 9, .rows = rows, .n = 2}};
    struct archive_request got;
    struct archive_root root = {.status = DYN_ERR_OVERLOAD, .a = 1, .b = UINT64_MAX}, root_got;
    struct archive_targets targets = {.n = 2, .nodes = (uint64_t[]){4, 5}}, targets_got;
    struct restore_reply reply = {.n = 2, .rows = (int[]){DYN_OK, DYN_ERR_NO_SPACE}}, reply_got;
    struct buf b = BUF_EMPTY;
    archive_request_encode(&q, &b);
    assert_int_equal(archive_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_int_equal(got.op, ARCHIVE_FETCH);
    assert_int_equal(got.target, 5);
    assert_int_equal(got.range.n, 2);
    assert_true(slice_equal(got.range.rows[1].key, slice_str("b/c")));
    range_request_release(&got.range);
    rows[1].kind = RANGE_ENTRY; /* archives have none */
    buf_clear(&b);
    archive_request_encode(&q, &b);
    assert_int_equal(archive_request_decode(buf_slice(&b), &got), DYN_ERR_PROTOCOL);
    buf_clear(&b);
    archive_root_encode(&root, &b);
    assert_int_equal(archive_root_decode(buf_slice(&b), &root_got), DYN_OK);
    assert_int_equal(root_got.status, DYN_ERR_OVERLOAD);
    assert_true(root_got.a == 1 && root_got.b == UINT64_MAX);
    buf_clear(&b);
    archive_targets_encode(&targets, &b);
    assert_int_equal(archive_targets_decode(buf_slice(&b), &targets_got), DYN_OK);
    assert_int_equal(targets_got.nodes[1], 5);
    archive_targets_release(&targets_got);
    buf_clear(&b);
    restore_reply_encode(&reply, &b);
    assert_int_equal(restore_reply_decode(buf_slice(&b), &reply_got), DYN_OK);
    assert_int_equal(reply_got.rows[1], DYN_ERR_NO_SPACE);
    restore_reply_release(&reply_got);
    buf_release(&b);
}

static void test_a_reply_with_a_broken_digest_is_corrupt(void **state)
{
    (void)state;
    struct buf b = BUF_EMPTY;
    struct range_row row = {.kind = RANGE_ENTRY, .key = slice_str("a")};
    struct range_reply p;
    range_reply_begin(&b, RANGE_HASHES);
    range_name_put(&row, &b);
    buf_put(&b, row.hash, DIGEST_LEN);
    range_reply_end(&b, DYN_OK, 1, true, slice_str("cursor"));
    assert_int_equal(range_reply_decode(buf_slice(&b), &p), DYN_OK);
    assert_int_equal(p.form, RANGE_HASHES);
    assert_true(p.more && slice_equal(p.cursor, slice_str("cursor")));
    range_reply_release(&p);
    b.data[8] ^= 1;
    assert_int_equal(range_reply_decode(buf_slice(&b), &p), DYN_ERR_CORRUPT);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sealed_row_comes_back_as_it_was),
        cmocka_unit_test(test_no_changed_bit_passes_for_another_state),
        cmocka_unit_test(test_hostile_rows_are_refused),
        cmocka_unit_test(test_requests_of_archives_come_back),
        cmocka_unit_test(test_a_reply_with_a_broken_digest_is_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
