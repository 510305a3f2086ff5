/* SPDX-License-Identifier: Apache-2.0 */
/* The order of rows is what scans and moves rely on. */
#include "base/err.h"
#include "engine/replica/rows.h"
#include "histories.h"
#include "unit.h"

static struct place place_for(const char *key)
{
    struct place at = {.pos = position_of(slice_str(key))};
    at.partition = position_partition(&at.pos, 256);
    return at;
}

static void test_a_partitions_rows_lie_together_in_ring_order(void **state)
{
    (void)state;
    struct buf low = BUF_EMPTY, high = BUF_EMPTY;
    struct place a = {.partition = 0x01ff}, b = {.partition = 0x0200};
    memset(a.pos.bytes, 0xff, POSITION_LEN);
    row_object(&a, slice_str("z"), &low);
    row_object(&b, slice_str("a"), &high);
    assert_true(slice_compare(buf_slice(&low), buf_slice(&high)) < 0);
    buf_release(&low);
    buf_release(&high);
}

static void test_entries_lie_by_name_below_their_directorys_prefix(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "a.b", "a\x01", "ab", "\xff\xfe"};
    struct place at = place_for("dir");
    struct buf prefix = BUF_EMPTY, row = BUF_EMPTY;
    row_entry_prefix(&at, slice_str("dir"), &prefix);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        buf_clear(&row);
        row_entry(&at, slice_str("dir"), slice_str(names[i]), &row);
        assert_true(slice_has_prefix(buf_slice(&row), buf_slice(&prefix)));
        struct slice name = slice_of(row.data + prefix.len, row.len - prefix.len);
        assert_true(slice_equal(name, slice_str(names[i])));
    }
    buf_release(&prefix);
    buf_release(&row);
}

static void test_no_directorys_entries_lie_among_anothers(void **state)
{
    (void)state;
    struct place at = place_for("dir"); /* as if both fell on one position */
    struct buf prefix = BUF_EMPTY, row = BUF_EMPTY;
    row_entry_prefix(&at, slice_str("dir"), &prefix);
    row_entry(&at, slice_str("dir2"), slice_str("x"), &row);
    assert_false(slice_has_prefix(buf_slice(&row), buf_slice(&prefix)));
    buf_clear(&row);
    row_dirstat(&at, slice_str("dir"), &row);
    assert_false(slice_has_prefix(buf_slice(&row), buf_slice(&prefix)));
    buf_release(&prefix);
    buf_release(&row);
}

static void test_a_hints_row_says_what_it_is_for(void **state)
{
    (void)state;
    struct buf row = BUF_EMPTY, prefix = BUF_EMPTY;
    uint32_t partition;
    enum row_kind kind;
    struct slice key;
    row_hint(0x1122334455667788, 77, ROW_ENTRY, slice_str("d/e"), &row);
    row_hint_prefix(0x1122334455667788, &prefix);
    assert_true(slice_has_prefix(buf_slice(&row), buf_slice(&prefix)));
    assert_int_equal(row_hint_parse(buf_slice(&row), &partition, &kind, &key), DYN_OK);
    assert_int_equal(partition, 77);
    assert_int_equal(kind, ROW_ENTRY);
    assert_true(slice_equal(key, slice_str("d/e")));
    row.data[13] = 'x'; /* the kind */
    assert_int_equal(row_hint_parse(buf_slice(&row), &partition, &kind, &key), DYN_ERR_CORRUPT);
    assert_int_equal(row_hint_parse(slice_of(row.data, 9), &partition, &kind, &key),
                     DYN_ERR_CORRUPT);
    buf_release(&row);
    buf_release(&prefix);
}

static void test_an_objects_row_keeps_its_mark_and_no_cut_of_it_decodes(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY, back = OBJECT_EMPTY;
    struct epoch mark = {0x1234, 9}, read = {0, 0};
    struct buf row = BUF_EMPTY;
    write_file(&o, NULL, dot_of(3, 1), "value", 5000000);
    object_row_encode(mark, &o, &row);
    assert_int_equal(object_row_decode(buf_slice(&row), &read, &back), DYN_OK);
    assert_int_equal(epoch_compare(mark, read), 0);
    assert_true(object_equal(&o, &back));
    for (size_t n = 0; n < row.len; n++)
        assert_int_equal(object_row_decode(slice_of(row.data, n), &read, &back), DYN_ERR_CORRUPT);
    buf_clear(&row);
    object_row_encode((struct epoch){7, 0}, &o, &row); /* no mark */
    assert_int_equal(object_row_decode(buf_slice(&row), &read, &back), DYN_OK);
    assert_int_equal(read.run, 0);
    object_release(&o);
    object_release(&back);
    buf_release(&row);
}

static void test_a_debt_comes_back_as_it_was(void **state)
{
    (void)state;
    struct debt d = {.since_ms = 123456789, .bytes = 1u << 30}, back;
    struct buf row = BUF_EMPTY;
    memset(d.state, 0xab, sizeof(d.state));
    debt_encode(&d, &row);
    assert_int_equal(debt_decode(buf_slice(&row), &back), DYN_OK);
    assert_int_equal(back.since_ms, d.since_ms);
    assert_int_equal(back.bytes, d.bytes);
    assert_memory_equal(back.state, d.state, DIGEST_LEN);
    assert_int_equal(debt_decode(slice_of(row.data, row.len - 1), &back), DYN_ERR_CORRUPT);
    buf_release(&row);
}

static void test_a_row_that_is_prepared_says_since_when(void **state)
{
    (void)state;
    struct row_state s = {.mark = {5, 1}, .prepared = {77, 123456}}, back = ROW_STATE_NONE;
    const struct dot lack = {{1, {2, 3}}, 4};
    struct object o = OBJECT_EMPTY, o_back = OBJECT_EMPTY;
    struct buf row = BUF_EMPTY;
    clock_advance(&o.clock, &lack, 10);
    for (int i = 0; i < 2; i++) { /* without a value that is lacking, and with one */
        buf_clear(&row);
        row_encode(&s, &o, &row);
        assert_int_equal(row_decode(buf_slice(&row), &back, &o_back), DYN_OK);
        assert_int_equal(back.prepared.boot, 77);
        assert_int_equal(back.prepared.us, 123456);
        assert_int_equal(back.n_lacks, (uint32_t)i);
        assert_true(object_equal(&o, &o_back));
        row_state_release(&back);
        for (size_t cut = 1; cut < 16; cut++)
            assert_int_equal(row_decode(slice_of(row.data, row.len - cut), &back, &o_back),
                             DYN_ERR_CORRUPT);
        row_state_add_lack(&s, &lack);
    }
    row_state_release(&s);
    object_release(&o);
    object_release(&o_back);
    buf_release(&row);
}

static void test_a_row_tells_what_is_kept_beside_it(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct row_state s = {.mark = {7, 8}, .kept = {3, 1000, 123456}}, got = ROW_STATE_NONE;
    struct dot lack = dot_of(1, 2);
    struct buf row = BUF_EMPTY, name = BUF_EMPTY;
    struct place at = place_for("dir/key");
    struct slice key;
    row_encode(&s, &o, &row);
    assert_int_equal(row_decode(buf_slice(&row), &got, &o), DYN_OK);
    assert_true(got.kept.n == 3 && got.kept.bytes == 1000 && got.kept.last_ms == 123456);
    assert_int_equal(got.n_lacks, 0);
    row_state_add_lack(&s, &lack);
    buf_clear(&row);
    row_encode(&s, &o, &row);
    assert_int_equal(row_decode(buf_slice(&row), &got, &o), DYN_OK);
    assert_true(got.kept.n == 3 && row_state_lacks(&got, &lack));
    row_kept(&at, slice_str("dir/key"), &lack, &name);
    assert_int_equal(row_kept_parse(buf_slice(&name), &key), DYN_OK);
    assert_true(slice_equal(key, slice_str("dir/key")));
    buf_clear(&row);
    row_kept_prefix(&at, slice_str("dir/ke"), &row);
    assert_false(slice_has_prefix(buf_slice(&name), buf_slice(&row)));
    row_state_release(&s);
    row_state_release(&got);
    buf_release(&row);
    buf_release(&name);
}

/* What is thin is not held, and is nothing that lacks. */
static void test_a_row_tells_which_values_others_keep(void **state)
{
    (void)state;
    struct object o = OBJECT_EMPTY;
    struct row_state s = {.mark = {7, 8}}, got = ROW_STATE_NONE;
    const struct dot thin = dot_of(1, 2), lack = dot_of(1, 3);
    struct buf row = BUF_EMPTY;
    for (int i = 0; i < 2; i++) {
        buf_clear(&row);
        row_state_add_thin(&s, &thin);
        row_encode(&s, &o, &row);
        assert_int_equal(row_decode(buf_slice(&row), &got, &o), DYN_OK);
        assert_int_equal(got.n_thin, 1);
        assert_int_equal(got.n_lacks, (uint32_t)i);
        assert_true(row_state_thin(&got, &thin) && row_state_lacks(&got, &thin));
        assert_false(row_state_thin(&got, &lack));
        assert_int_equal(row_state_vouched(&got, &thin), i == 0);
        assert_false(row_state_vouched(&got, &lack));
        row_state_release(&got);
        for (size_t cut = 1; cut < 4; cut++)
            assert_int_equal(row_decode(slice_of(row.data, row.len - cut), &got, &o),
                             DYN_ERR_CORRUPT);
        row_state_add_lack(&s, &thin); /* it is thin already */
        row_state_add_lack(&s, &lack);
        row_state_add_hearsay(&s, &thin);
    }
    row_state_release(&s);
    buf_release(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_partitions_rows_lie_together_in_ring_order),
        cmocka_unit_test(test_entries_lie_by_name_below_their_directorys_prefix),
        cmocka_unit_test(test_no_directorys_entries_lie_among_anothers),
        cmocka_unit_test(test_a_hints_row_says_what_it_is_for),
        cmocka_unit_test(test_an_objects_row_keeps_its_mark_and_no_cut_of_it_decodes),
        cmocka_unit_test(test_a_debt_comes_back_as_it_was),
        cmocka_unit_test(test_a_row_that_is_prepared_says_since_when),
        cmocka_unit_test(test_a_row_tells_what_is_kept_beside_it),
        cmocka_unit_test(test_a_row_tells_which_values_others_keep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
