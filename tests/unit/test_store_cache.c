/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered is the newest state, and no more of it than the bound allows. */
#include "adapter/store_cache.h"

#include <stdio.h>
#include <stdlib.h>

#include "unit.h"

static void put(struct store_cache *c, enum store_family f, const char *key, const char *value)
{
    struct slice k = slice_str(key);
    store_cache_put(c, store_cache_hash(f, k), f, k, slice_str(value));
}

static void put_absent(struct store_cache *c, const char *key)
{
    struct slice k = slice_str(key);
    store_cache_put_absent(c, store_cache_hash(STORE_META, k), STORE_META, k);
}

static struct store_cached *find(struct store_cache *c, enum store_family f, const char *key)
{
    struct slice k = slice_str(key);
    return store_cache_find(c, store_cache_hash(f, k), f, k);
}

static void expect(struct store_cache *c, enum store_family f, const char *key, const char *value)
{
    struct store_cached *row = find(c, f, key);
    assert_non_null(row);
    assert_false(store_cached_absent(row));
    assert_true(slice_equal(store_cached_value(row), slice_str(value)));
    store_cached_unref(row);
}

static void test_a_row_is_found_in_its_newest_state(void **state)
{
    (void)state;
    struct store_cache *c = store_cache_new(1 << 20);
    assert_null(find(c, STORE_META, "a"));
    put(c, STORE_META, "a", "one");
    put(c, STORE_VALUE, "a", "another family's");
    put(c, STORE_META, "", "the empty key");
    expect(c, STORE_META, "a", "one");
    uint64_t bytes = store_cache_bytes(c);
    put(c, STORE_META, "a", "two");
    expect(c, STORE_META, "a", "two");
    assert_true(store_cache_bytes(c) == bytes);
    put(c, STORE_META, "a", "three, and longer");
    expect(c, STORE_META, "a", "three, and longer");
    expect(c, STORE_VALUE, "a", "another family's");
    expect(c, STORE_META, "", "the empty key");
    store_cache_forget(c, store_cache_hash(STORE_META, slice_str("a")), STORE_META, slice_str("a"));
    assert_null(find(c, STORE_META, "a"));
    expect(c, STORE_VALUE, "a", "another family's");
    store_cache_free(c);
}

static void test_absence_is_knowledge(void **state)
{
    (void)state;
    struct store_cache *c = store_cache_new(1 << 20);
    put(c, STORE_META, "a", "one");
    put_absent(c, "a");
    struct store_cached *row = find(c, STORE_META, "a");
    assert_true(row != NULL && store_cached_absent(row));
    store_cached_unref(row);
    put(c, STORE_META, "a", "");
    expect(c, STORE_META, "a", "");
    store_cache_free(c);
}

static void test_a_row_in_use_outlives_its_replacement(void **state)
{
    (void)state;
    struct store_cache *c = store_cache_new(1 << 20);
    put(c, STORE_META, "a", "one");
    struct store_cached *row = find(c, STORE_META, "a");
    put(c, STORE_META, "a", "two");
    store_cache_clear(c);
    assert_true(slice_equal(store_cached_value(row), slice_str("one")));
    store_cached_unref(row);
    assert_null(find(c, STORE_META, "a"));
    assert_true(store_cache_bytes(c) == 0);
    store_cache_free(c);
}

static void test_it_is_bounded_and_what_was_not_used_goes_first(void **state)
{
    (void)state;
    char key[16];
    struct store_cache *c = store_cache_new(200000);
    put(c, STORE_META, "used", "again and again");
    put(c, STORE_META, "unused", "never");
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "key%d", i);
        put(c, STORE_META, key, "some value or other, of fifty bytes or thereabouts");
        assert_true(store_cache_bytes(c) <= 200000);
        expect(c, STORE_META, "used", "again and again");
    }
    assert_null(find(c, STORE_META, "unused"));
    assert_null(find(c, STORE_META, "key0"));
    expect(c, STORE_META, "key4999", "some value or other, of fifty bytes or thereabouts");
    assert_true(store_cache_bytes(c) > 100000);
    store_cache_free(c);
}

static void test_a_large_row_takes_no_place_and_leaves_no_old_state(void **state)
{
    (void)state;
    struct store_cache *c = store_cache_new(1 << 20);
    char *large = calloc(1, 100001);
    for (int i = 0; i < 100000; i++)
        large[i] = 'x';
    put(c, STORE_META, "a", "small");
    put(c, STORE_META, "a", large);
    assert_null(find(c, STORE_META, "a"));
    assert_true(store_cache_bytes(c) == 0);
    free(large);
    store_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_is_found_in_its_newest_state),
        cmocka_unit_test(test_absence_is_knowledge),
        cmocka_unit_test(test_a_row_in_use_outlives_its_replacement),
        cmocka_unit_test(test_it_is_bounded_and_what_was_not_used_goes_first),
        cmocka_unit_test(test_a_large_row_takes_no_place_and_leaves_no_old_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
