/* SPDX-License-Identifier: Apache-2.0 */
/* The checksum that RocksDB finds under its own name is the one that the standard names, and the
 * one that it would have made itself: a store that was written without this must open with it. */
#include "adapter/rocks_crc.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "adapter/rocks.h"
#include "unit.h"

static uint32_t of_string(const char *s)
{
    return rocks_crc_extend(0, s, strlen(s));
}

static void test_the_sums_are_those_of_rfc_3720(void **state)
{
    (void)state;
    char bytes[32];
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(rocks_crc_extend(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(rocks_crc_extend(0, bytes, sizeof(bytes)), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (char)i;
    assert_int_equal(rocks_crc_extend(0, bytes, sizeof(bytes)), 0x46dd794e);
    assert_int_equal(of_string("123456789"), 0xe3069283);
    assert_int_equal(of_string(""), 0);
}

typedef uint32_t extend_fn(uint32_t crc, const char *data, size_t n);

static extend_fn *found(void *where)
{
    void *symbol = dlsym(where, "_ZN7rocksdb6crc32c6ExtendEjPKcm");
    extend_fn *f = NULL;
    memcpy(&f, &symbol, sizeof(f));
    return f;
}

static void test_each_length_gives_the_library_s_own_sum(void **state)
{
    (void)state;
    enum { LEN = 20000 };
    extend_fn *own = found(RTLD_NEXT);
    char *bytes = malloc(LEN);
    uint32_t random = 1;
    assert_non_null(own);
    assert_ptr_not_equal(own, rocks_crc_extend);
    for (int i = 0; i < LEN; i++) {
        random = random * 1664525 + 1013904223;
        bytes[i] = (char)(random >> 24);
    }
    for (size_t n = 0; n < LEN - 8; n += n < 200 ? 1 : 61)
        assert_int_equal(rocks_crc_extend(random, bytes + n % 8, n), own(random, bytes + n % 8, n));
    for (size_t cut = 0; cut < LEN; cut += 997) /* a sum goes on where it was left */
        assert_int_equal(rocks_crc_extend(rocks_crc_extend(0, bytes, cut), bytes + cut, LEN - cut),
                         own(0, bytes, LEN));
    free(bytes);
}

static void test_the_library_calls_ours_where_the_processor_can(void **state)
{
    (void)state;
    assert_ptr_equal(found(RTLD_DEFAULT), rocks_crc_extend);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        assert_true(rocks_crc_in_place());
#endif
}

int main(void)
{
    rocks_close(NULL); /* so that the library is in the program */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_sums_are_those_of_rfc_3720),
        cmocka_unit_test(test_each_length_gives_the_library_s_own_sum),
        cmocka_unit_test(test_the_library_calls_ours_where_the_processor_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
