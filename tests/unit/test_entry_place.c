/* SPDX-License-Identifier: Apache-2.0 */
/* Where entries lie: those of small directories as ever, those of split ones by the hash of their
 * names, and each row's key says which. */
#include <string.h>

#include "base/err.h"
#include "engine/fragments/entry_place.h"
#include "unit.h"

static struct ring *ring_of_one(void)
{
    struct history h = HISTORY_EMPTY;
    struct ring *ring;
    const struct member_event events[] = {
        {.type = MEMBER_CREATE, .stamp = 1, .cluster = 7, .q = 256, .n = 1, .r = 1, .w = 1},
        {.type = MEMBER_JOIN, .stamp = 2, .node = 9, .weight = 1, .address = "127.0.0.1:1"}};
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(history_add(&h, &events[i], NULL), DYN_OK);
    assert_int_equal(ring_build(&h, &ring), DYN_OK);
    history_release(&h);
    return ring;
}

static struct buf id_of(uint32_t fragment, const char *key)
{
    struct buf id = BUF_EMPTY;
    entry_id(fragment, slice_str(key), &id);
    return id;
}

static void test_fragment_0_is_where_entries_have_always_been(void **state)
{
    (void)state;
    struct ring *ring = ring_of_one();
    struct buf id = id_of(0, "d/f"), row = BUF_EMPTY, before = BUF_EMPTY;
    struct place at = place_of_entry(ring, buf_slice(&id)), dir = place_of(ring, slice_str("d"));
    assert_true(slice_equal(buf_slice(&id), slice_str("d/f")));
    assert_memory_equal(at.pos.bytes, dir.pos.bytes, POSITION_LEN);
    row_of_id(&at, ROW_ENTRY, buf_slice(&id), &row);
    row_entry(&dir, slice_str("d"), slice_str("f"), &before);
    assert_true(slice_equal(buf_slice(&row), buf_slice(&before)));
    buf_release(&id);
    buf_release(&row);
    buf_release(&before);
    ring_unref(ring);
}

static void test_a_row_gives_back_its_id_and_names_lie_in_order(void **state)
{
    (void)state;
    static const char *const keys[] = {"d/", "d/a", "d/a\x01", "d/b", "d/\xff"}; /* a head first */
    struct ring *ring = ring_of_one();
    struct buf prefix = BUF_EMPTY, last = BUF_EMPTY;
    struct place at = place_of_fragment(ring, slice_str("d"), 5);
    row_fragment_prefix(&at, slice_str("d"), 5, &prefix);
    for (uint32_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct buf id = id_of(5, keys[i]), row = BUF_EMPTY, back = BUF_EMPTY;
        struct place where = place_of_entry(ring, buf_slice(&id)), parsed;
        enum row_kind kind;
        row_of_id(&where, ROW_ENTRY, buf_slice(&id), &row);
        assert_true(slice_has_prefix(buf_slice(&row), buf_slice(&prefix)));
        assert_true(slice_compare(buf_slice(&last), buf_slice(&row)) < 0);
        assert_int_equal(row_meta_parse(buf_slice(&row), &parsed, &kind, &back), DYN_OK);
        assert_int_equal(kind, ROW_ENTRY);
        assert_int_equal(parsed.partition, at.partition);
        assert_true(slice_equal(buf_slice(&back), buf_slice(&id)));
        buf_clear(&last);
        buf_put_slice(&last, buf_slice(&row));
        buf_release(&id);
        buf_release(&row);
        buf_release(&back);
    }
    buf_release(&prefix);
    buf_release(&last);
    ring_unref(ring);
}

static void test_a_fragment_splits_into_itself_and_one_more(void **state)
{
    (void)state;
    uint32_t count[FRAGMENTS_MAX] = {0};
    char name[16];
    for (uint32_t i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "file%u", i);
        for (uint32_t depth = 0; depth < FRAGMENT_DEPTH_MAX; depth++) {
            uint32_t before = fragment_of_name(slice_str(name), depth);
            uint32_t after = fragment_of_name(slice_str(name), depth + 1);
            assert_true(after == before || after == before + (1u << depth));
        }
        count[fragment_of_name(slice_str(name), FRAGMENT_DEPTH_MAX)]++;
    }
    for (uint32_t i = 0; i < FRAGMENTS_MAX; i++)
        assert_in_range(count[i], 40, 130); /* of 78 */
}

static void test_fragments_lie_apart(void **state)
{
    (void)state;
    struct ring *ring = ring_of_one();
    struct place a = place_of_fragment(ring, slice_str("d"), 0);
    for (uint32_t i = 1; i < FRAGMENTS_MAX; i++) {
        struct place b = place_of_fragment(ring, slice_str("d"), i);
        assert_true(memcmp(a.pos.bytes, b.pos.bytes, POSITION_LEN) != 0);
        a = b;
    }
    ring_unref(ring);
}

static void test_ids_that_nobody_could_have_made_are_refused(void **state)
{
    (void)state;
    static const char long_dir[] = "d/e/";
    uint32_t fragment = fragment_of_name(slice_str("f"), 8);
    uint32_t wrong = fragment ^ 1;
    struct buf good = id_of(fragment, "d/f"), bad = id_of(wrong == 0 ? 3 : wrong, "d/f");
    struct buf head = id_of(7, long_dir);
    assert_true(entry_id_valid(slice_str("d/f")));
    assert_true(fragment == 0 || entry_id_valid(buf_slice(&good)));
    assert_false(entry_id_valid(buf_slice(&bad)));
    assert_true(entry_id_valid(buf_slice(&head)));
    assert_false(entry_id_valid(slice_str("d/e/"))); /* fragment 0 has no head */
    assert_false(entry_id_valid(slice_str("")));
    assert_false(entry_id_valid(slice_str("d//f")));
    assert_false(entry_id_valid(slice_of("\0\0\0d/f", 6))); /* 0 is not said */
    assert_false(entry_id_valid(slice_of("\0\xff\xff"
                                         "d/",
                                         5)));            /* no such fragment */
    assert_false(entry_id_valid(slice_of("\0\0\7/", 4))); /* the root has no heads */
    assert_false(row_id_valid(ROW_OBJECT, buf_slice(&head)));
    assert_true(row_id_valid(ROW_OBJECT, slice_str("")));
    assert_false(row_id_valid(ROW_DIRSTAT, slice_str("d")));
    buf_release(&good);
    buf_release(&bad);
    buf_release(&head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fragment_0_is_where_entries_have_always_been),
        cmocka_unit_test(test_a_row_gives_back_its_id_and_names_lie_in_order),
        cmocka_unit_test(test_a_fragment_splits_into_itself_and_one_more),
        cmocka_unit_test(test_fragments_lie_apart),
        cmocka_unit_test(test_ids_that_nobody_could_have_made_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
