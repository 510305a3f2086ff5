/* SPDX-License-Identifier: Apache-2.0 */
/* What the buffer says of a row is its newest state, batches leave in the order in which they came,
 * and the buffer knows when it is full. */
#include "adapter/store_buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/store_cache.h"
#include "unit.h"

static uint64_t add_put(struct store_buffer *b, enum store_family f, const char *key,
                        const char *value)
{
    struct store_batch batch = STORE_BATCH_EMPTY;
    store_batch_put(&batch, f, slice_str(key), slice_str(value));
    uint64_t ticket = store_buffer_add(b, &batch);
    assert_int_equal(batch.count, 0);
    return ticket;
}

static uint64_t add_delete(struct store_buffer *b, enum store_family f, const char *key)
{
    struct store_batch batch = STORE_BATCH_EMPTY;
    store_batch_delete(&batch, f, slice_str(key));
    return store_buffer_add(b, &batch);
}

static void expect(const struct store_buffer *b, enum store_family f, const char *key,
                   enum store_buffered what, const char *value)
{
    struct slice got = {NULL, 0};
    struct slice k = slice_str(key);
    assert_int_equal(store_buffer_find(b, store_cache_hash(f, k), f, k, &got), what);
    if (what == STORE_BUFFER_ROW)
        assert_true(slice_equal(got, slice_str(value)));
}

static void test_a_row_is_found_in_its_newest_state(void **state)
{
    (void)state;
    struct store_buffer *b = store_buffer_new(10, 1 << 20);
    uint8_t operand[STORE_MERGE_LEN] = {1};
    struct store_batch batch = STORE_BATCH_EMPTY;
    expect(b, STORE_META, "a", STORE_BUFFER_NONE, NULL);
    assert_true(add_put(b, STORE_META, "a", "one") == 1);
    assert_true(add_put(b, STORE_VALUE, "a", "another family's") == 2);
    expect(b, STORE_META, "a", STORE_BUFFER_ROW, "one");
    expect(b, STORE_VALUE, "a", STORE_BUFFER_ROW, "another family's");
    add_put(b, STORE_META, "a", "two");
    expect(b, STORE_META, "a", STORE_BUFFER_ROW, "two");
    add_delete(b, STORE_META, "a");
    expect(b, STORE_META, "a", STORE_BUFFER_ABSENT, NULL);
    store_batch_put(&batch, STORE_META, slice_str("a"), slice_str("three"));
    store_batch_put(&batch, STORE_META, slice_str("a"), slice_str("four"));
    store_batch_merge(&batch, STORE_TREE, slice_str("leaf"), operand);
    assert_true(store_buffer_add(b, &batch) == 5);
    expect(b, STORE_META, "a", STORE_BUFFER_ROW, "four");
    expect(b, STORE_TREE, "leaf", STORE_BUFFER_UNKNOWN, NULL);
    store_buffer_free(b);
}

static void test_what_was_written_is_forgotten_and_what_came_after_it_is_not(void **state)
{
    (void)state;
    struct store_buffer *b = store_buffer_new(10, 1 << 20);
    const struct store_batch *batches[10];
    add_put(b, STORE_META, "a", "one");
    add_put(b, STORE_META, "b", "one");
    add_put(b, STORE_META, "a", "two");
    assert_int_equal(store_buffer_oldest(b, 1 << 20, 2, batches), 2);
    add_put(b, STORE_META, "c", "one"); /* while those two are with the writer */
    assert_true(store_buffer_written(b, 2) == 2);
    expect(b, STORE_META, "a", STORE_BUFFER_ROW, "two");
    expect(b, STORE_META, "b", STORE_BUFFER_NONE, NULL);
    expect(b, STORE_META, "c", STORE_BUFFER_ROW, "one");
    assert_true(store_buffer_written(b, 2) == 4);
    expect(b, STORE_META, "a", STORE_BUFFER_NONE, NULL);
    assert_int_equal(store_buffer_count(b), 0);
    assert_true(store_buffer_last(b) == 4);
    assert_int_equal(store_buffer_oldest(b, 1 << 20, 2, batches), 0);
    store_buffer_free(b);
}

static void test_a_group_is_bounded_and_has_at_least_one_batch(void **state)
{
    (void)state;
    struct store_buffer *b = store_buffer_new(10, 1 << 20);
    const struct store_batch *batches[10];
    char large[1000];
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    for (int i = 0; i < 5; i++)
        add_put(b, STORE_VALUE, "a", large);
    assert_int_equal(store_buffer_oldest(b, 1, 10, batches), 1);
    assert_int_equal(store_buffer_oldest(b, 2000, 10, batches), 2);
    assert_int_equal(store_buffer_oldest(b, 1 << 20, 10, batches), 5);
    assert_int_equal(store_buffer_oldest(b, 1 << 20, 3, batches), 3);
    store_buffer_free(b);
}

static void test_it_is_full_by_batches_or_by_bytes(void **state)
{
    (void)state;
    char large[1000];
    struct store_buffer *b = store_buffer_new(2, 1 << 20);
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    add_put(b, STORE_META, "a", "v");
    assert_false(store_buffer_is_full(b));
    add_put(b, STORE_META, "a", "v");
    assert_true(store_buffer_is_full(b));
    add_put(b, STORE_META, "a", "v"); /* taken all the same */
    assert_false(store_buffer_is_swollen(b));
    add_put(b, STORE_META, "a", "v");
    assert_true(store_buffer_is_swollen(b));
    store_buffer_written(b, 3);
    assert_false(store_buffer_is_full(b));
    store_buffer_free(b);
    b = store_buffer_new(1000, 2000);
    add_put(b, STORE_VALUE, "a", large);
    assert_false(store_buffer_is_full(b));
    add_put(b, STORE_VALUE, "a", large);
    assert_true(store_buffer_is_full(b));
    store_buffer_written(b, 1);
    assert_false(store_buffer_is_full(b));
    store_buffer_free(b);
}

static uint64_t meets(const struct store_buffer *b, const char *prefix, const char *from)
{
    return store_buffer_meets(b, STORE_META, slice_str(prefix), slice_str(from));
}

static void test_a_scan_meets_what_is_in_its_range_alone(void **state)
{
    (void)state;
    struct store_buffer *b = store_buffer_new(10, 1 << 20);
    add_put(b, STORE_META, "dir/b", "v");
    add_put(b, STORE_META, "dir/d", "v");
    add_delete(b, STORE_META, "other/x");
    add_put(b, STORE_VALUE, "dir/z", "v");
    assert_true(meets(b, "dir/", "") == 2);
    assert_true(meets(b, "dir/", "dir/c") == 2);
    assert_true(meets(b, "dir/", "dir/d") == 2);
    assert_true(meets(b, "dir/", "dir/e") == 0);
    assert_true(meets(b, "dir/b", "") == 1);
    assert_true(meets(b, "other/", "") == 3);
    assert_true(meets(b, "none/", "") == 0);
    assert_true(meets(b, "", "") == 3);
    store_buffer_written(b, 2);
    assert_true(meets(b, "dir/", "") == 0);
    assert_true(meets(b, "", "") == 3);
    store_buffer_free(b);
}

/* Many batches through a ring that has to grow and to wrap, against a plain model. */
static void test_a_long_run_keeps_every_row_right(void **state)
{
    (void)state;
    enum { KEYS = 50, ROUNDS = 5000 };
    struct store_buffer *b = store_buffer_new(100, 1 << 20);
    uint64_t newest[KEYS] = {0}, random = 1, written = 0;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t k = (uint32_t)(random >> 33) % KEYS;
        char key[16], value[24];
        snprintf(key, sizeof(key), "k%u", k);
        snprintf(value, sizeof(value), "%u", (unsigned)i);
        assert_true(add_put(b, STORE_META, key, value) == i);
        newest[k] = i;
        if (random >> 62 == 0)
            written =
                store_buffer_written(b, (uint32_t)(random >> 40) % (store_buffer_count(b) + 1));
        assert_true(written + store_buffer_count(b) == i);
        k = (uint32_t)(random >> 20) % KEYS;
        snprintf(key, sizeof(key), "k%u", k);
        snprintf(value, sizeof(value), "%u", (unsigned)newest[k]);
        expect(b, STORE_META, key, newest[k] > written ? STORE_BUFFER_ROW : STORE_BUFFER_NONE,
               value);
    }
    store_buffer_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_is_found_in_its_newest_state),
        cmocka_unit_test(test_what_was_written_is_forgotten_and_what_came_after_it_is_not),
        cmocka_unit_test(test_a_group_is_bounded_and_has_at_least_one_batch),
        cmocka_unit_test(test_it_is_full_by_batches_or_by_bytes),
        cmocka_unit_test(test_a_scan_meets_what_is_in_its_range_alone),
        cmocka_unit_test(test_a_long_run_keeps_every_row_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
