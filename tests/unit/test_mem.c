/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation aborts instead of failing, so what is left to claim is what the copies hold and how
 * long a shared blob lives. The sanitizer build sees a blob that dies early or late. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "unit.h"

static void test_zalloc_is_zeroed(void **state)
{
    (void)state;
    uint8_t *p = mem_zalloc(1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(p[i], 0);
    free(p);
}

static void test_copies_are_terminated_and_their_own(void **state)
{
    (void)state;
    char text[] = "sibling";
    char *all = mem_strdup(text), *part = mem_strndup(text, 3), *longer = mem_strndup(text, 99);
    char *printed = mem_printf("%s.conflict.%d", text, 7);
    text[0] = 'X';
    assert_string_equal(all, "sibling");
    assert_string_equal(part, "sib");
    assert_string_equal(longer, "sibling");
    assert_string_equal(printed, "sibling.conflict.7");
    free(all);
    free(part);
    free(longer);
    free(printed);
}

static void test_strndup_reads_no_further_than_its_bound(void **state)
{
    (void)state;
    char *unterminated = mem_dup("abc", 3);
    char *copy = mem_strndup(unterminated, 3);
    assert_string_equal(copy, "abc");
    free(copy);
    free(unterminated);
}

static void test_reallocarray_keeps_the_contents(void **state)
{
    (void)state;
    uint32_t *p = mem_reallocarray(NULL, 4, sizeof(*p));
    for (uint32_t i = 0; i < 4; i++)
        p[i] = i;
    p = mem_reallocarray(p, 4000, sizeof(*p));
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(p[i], i);
    free(p);
}

static void test_a_blob_lives_until_its_last_reference(void **state)
{
    (void)state;
    struct blob *b = blob_new("value", 5);
    assert_ptr_equal(blob_ref(b), b);
    blob_unref(b);
    assert_int_equal(b->refs, 1);
    assert_int_equal(b->len, 5);
    assert_memory_equal(b->data, "value", 5);
    blob_unref(b);
}

static void test_no_blob_is_a_blob_that_can_be_passed_on(void **state)
{
    (void)state;
    assert_null(blob_ref(NULL));
    blob_unref(NULL);
    struct blob *empty = blob_new(NULL, 0);
    assert_int_equal(empty->len, 0);
    blob_unref(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zalloc_is_zeroed),
        cmocka_unit_test(test_copies_are_terminated_and_their_own),
        cmocka_unit_test(test_strndup_reads_no_further_than_its_bound),
        cmocka_unit_test(test_reallocarray_keeps_the_contents),
        cmocka_unit_test(test_a_blob_lives_until_its_last_reference),
        cmocka_unit_test(test_no_blob_is_a_blob_that_can_be_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
