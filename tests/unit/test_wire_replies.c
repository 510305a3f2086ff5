/* SPDX-License-Identifier: Apache-2.0 */
/* A reply must arrive as it was sent, with the values that were loaded; and one that lies about its
 * lengths, its order or its bytes must be refused as a whole. */
#include "model/wire.h"

#include <stdio.h>

#include "base/err.h"
#include "histories.h"
#include "unit.h"

static const struct history_epoch epoch = {9, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};

static void test_a_gets_reply_brings_object_and_values(void **state)
{
    (void)state;
    struct get_reply p = {.status = DYN_OK,
                          .answered = 2,
                          .needed = 3,
                          .implicit_dir = true,
                          .dir_mtime_ns = -5,
                          .object = OBJECT_EMPTY,
                          .token = slice_str("token"),
                          .replicas = {1, UINT64_MAX},
                          .n_replicas = 2,
                          .ring = epoch};
    struct get_reply got;
    struct buf b = BUF_EMPTY;
    write_file(&p.object, NULL, dot_of(1, 1), "one", 10);
    write_file(&p.object, NULL, dot_of(2, 1), "two", 20);
    get_reply_encode(&p, &b);
    for (size_t cut = 0; cut < b.len; cut++)
        assert_int_equal(get_reply_decode(slice_of(b.data, cut), &got), DYN_ERR_PROTOCOL);
    assert_int_equal(get_reply_decode(buf_slice(&b), &got), DYN_OK);
    assert_int_equal(got.status, DYN_OK);
    assert_true(got.answered == 2 && got.needed == 3 && got.implicit_dir);
    assert_int_equal(got.dir_mtime_ns, -5);
    assert_true(object_identical(&got.object, &p.object));
    assert_true(object_values_loaded(&got.object));
    assert_memory_equal(object_newest(&got.object)->value->data, "two", 3);
    assert_true(slice_equal(got.token, p.token));
    assert_true(got.n_replicas == 2 && got.replicas[1] == UINT64_MAX);
    assert_true(history_epoch_equal(&got.ring, &epoch));
    get_reply_release(&got);
    get_reply_release(&p);
    buf_release(&b);
}

static void test_a_changed_value_is_noticed(void **state)
{
    (void)state;
    struct get_reply p = {.object = OBJECT_EMPTY}, got;
    struct buf b = BUF_EMPTY;
    write_file(&p.object, NULL, dot_of(1, 1), "needle", 10);
    get_reply_encode(&p, &b);
    uint8_t *at = memmem(b.data, b.len, "needle", 6);
    assert_non_null(at);
    *at = 'N';
    assert_int_equal(get_reply_decode(buf_slice(&b), &got), DYN_ERR_PROTOCOL);
    get_reply_release(&p);
    buf_release(&b);
}

static void test_a_failure_arrives_with_its_counts(void **state)
{
    (void)state;
    struct put_reply p = {.status = DYN_ERR_NO_QUORUM, .answered = 1, .needed = 2}, got;
    struct sync_reply s = {.status = -1000, .answered = 1, .needed = 255}, got_sync;
    struct buf b = BUF_EMPTY;
    put_reply_encode(&p, &b);
    assert_int_equal(put_reply_decode(buf_slice(&b), &got), DYN_OK);
    assert_int_equal(got.status, DYN_ERR_NO_QUORUM);
    assert_true(got.answered == 1 && got.needed == 2);
    assert_true(dot_is_none(&got.dot));
    assert_int_equal(got.object.n, 0);
    put_reply_release(&got);
    buf_clear(&b);
    sync_reply_encode(&s, &b);
    assert_int_equal(sync_reply_decode(buf_slice(&b), &got_sync), DYN_OK);
    assert_int_equal(got_sync.status, -1000); /* a later version's */
    assert_int_equal(got_sync.needed, 255);
    buf_release(&b);
}

static void test_a_puts_reply_brings_its_dot(void **state)
{
    (void)state;
    struct put_reply p = {.answered = 3,
                          .needed = 2,
                          .dot = dot_of(4, 7),
                          .object = OBJECT_EMPTY,
                          .token = slice_str("t"),
                          .replicas = {4},
                          .n_replicas = 1,
                          .ring = epoch};
    struct put_reply got;
    struct buf b = BUF_EMPTY;
    write_file(&p.object, NULL, dot_of(4, 7), "value", 10);
    put_reply_encode(&p, &b);
    assert_null(memmem(b.data, b.len, "value", 5)); /* the writer has it already */
    for (size_t cut = 0; cut < b.len; cut++)
        assert_int_equal(put_reply_decode(slice_of(b.data, cut), &got), DYN_ERR_PROTOCOL);
    assert_int_equal(put_reply_decode(buf_slice(&b), &got), DYN_OK);
    assert_true(dot_equal(&got.dot, &p.dot));
    assert_true(object_identical(&got.object, &p.object));
    assert_int_equal(got.replicas[0], 4);
    put_reply_release(&got);
    put_reply_release(&p);
    buf_release(&b);
}

/* Ten entries, named prefix0, prefix1, ... or the other way around. */
static void make_list(const char *prefix, bool ascending, struct list_entry entries[10],
                      char names[10][16])
{
    for (int i = 0; i < 10; i++) {
        snprintf(names[i], 16, "%s%d", prefix, ascending ? i : 9 - i);
        entries[i].name = slice_str(names[i]);
        entries[i].object = OBJECT_EMPTY;
        write_file(&entries[i].object, NULL, dot_of(1, (uint64_t)i + 1), "x", 5);
    }
}

static void test_a_listing_arrives_in_order(void **state)
{
    (void)state;
    struct list_entry entries[10];
    char names[10][16];
    struct list_reply p = {.entries = entries,
                           .n = 10,
                           .more = true,
                           .cursor = slice_str("n9"),
                           .dir_mtime_ns = 77,
                           .ring = epoch};
    struct list_reply got;
    struct buf b = BUF_EMPTY;
    make_list("n", true, entries, names);
    list_reply_encode(&p, &b);
    for (size_t cut = 0; cut < b.len; cut++)
        assert_int_equal(list_reply_decode(slice_of(b.data, cut), &got), DYN_ERR_PROTOCOL);
    assert_int_equal(list_reply_decode(buf_slice(&b), &got), DYN_OK);
    assert_int_equal(got.n, 10);
    assert_true(got.more && got.dir_mtime_ns == 77);
    assert_true(slice_equal(got.cursor, p.cursor));
    for (int i = 0; i < 10; i++) {
        assert_true(slice_equal(got.entries[i].name, entries[i].name));
        assert_true(object_identical(&got.entries[i].object, &entries[i].object));
    }
    list_reply_release(&got);
    for (int i = 0; i < 10; i++)
        object_release(&entries[i].object);
    buf_release(&b);
}

static int decode_list(const char *prefix, bool ascending)
{
    struct list_entry entries[10];
    char names[10][16];
    struct list_reply p = {.entries = entries, .n = 10}, got;
    struct buf b = BUF_EMPTY;
    make_list(prefix, ascending, entries, names);
    list_reply_encode(&p, &b);
    int err = list_reply_decode(buf_slice(&b), &got);
    if (err == DYN_OK)
        list_reply_release(&got);
    for (int i = 0; i < 10; i++)
        object_release(&entries[i].object);
    buf_release(&b);
    return err;
}

static void test_a_listing_out_of_order_or_with_bad_names_is_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_list("n", true), DYN_OK);
    assert_int_equal(decode_list("n", false), DYN_ERR_PROTOCOL);
    assert_int_equal(decode_list("a/", true), DYN_ERR_PROTOCOL);
}

static void test_a_ring_reply_brings_the_history(void **state)
{
    (void)state;
    struct ring_reply p = {.node = 5000}, got;
    struct member_event create = {
        .stamp = 1, .type = MEMBER_CREATE, .cluster = 42, .q = 8, .n = 1, .r = 1, .w = 1};
    struct member_event join = {.stamp = 2,
                                .node = 5000,
                                .type = MEMBER_JOIN,
                                .weight = 100,
                                .address = (char *)(uintptr_t) "h:1"};
    struct buf b = BUF_EMPTY;
    const char *rule;
    assert_int_equal(history_add(&p.history, &create, &rule), DYN_OK);
    assert_int_equal(history_add(&p.history, &join, &rule), DYN_OK);
    ring_reply_encode(&p, &b);
    for (size_t cut = 0; cut < b.len; cut++)
        assert_int_equal(ring_reply_decode(slice_of(b.data, cut), &got), DYN_ERR_PROTOCOL);
    assert_int_equal(ring_reply_decode(buf_slice(&b), &got), DYN_OK);
    assert_int_equal(got.node, 5000);
    struct history_epoch a = history_epoch(&p.history), c = history_epoch(&got.history);
    assert_true(history_epoch_equal(&a, &c));
    ring_reply_release(&got);
    p.status = DYN_ERR_STOPPED;
    buf_clear(&b);
    ring_reply_encode(&p, &b);
    assert_int_equal(ring_reply_decode(buf_slice(&b), &got), DYN_OK);
    assert_int_equal(got.status, DYN_ERR_STOPPED);
    assert_int_equal(got.history.n, 0);
    ring_reply_release(&p);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_gets_reply_brings_object_and_values),
        cmocka_unit_test(test_a_changed_value_is_noticed),
        cmocka_unit_test(test_a_failure_arrives_with_its_counts),
        cmocka_unit_test(test_a_puts_reply_brings_its_dot),
        cmocka_unit_test(test_a_listing_arrives_in_order),
        cmocka_unit_test(test_a_listing_out_of_order_or_with_bad_names_is_refused),
        cmocka_unit_test(test_a_ring_reply_brings_the_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
