/* SPDX-License-Identifier: Apache-2.0 */
/* What large values cost: how often their bytes are written, and what room they take. */
#include "adapter/rocks.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "store_subject.h"
#include "unit.h"

enum {
    VALUE = 64 << 10,
    BUFFER = 1 << 20, /* a compaction each 8 MiB */
    VALUES = (64 << 20) / VALUE,
    STATIC_EACH = 4, /* one value of four stays, the others take each other's place */
    HOT = 64,
};

struct subject_values {
    char dir[64];
    struct rocks *rocks;
    char value[VALUE];
};

static struct subject_values *values_open(void)
{
    struct subject_values *s = calloc(1, sizeof(*s));
    char *message = NULL;
    snprintf(s->dir, sizeof(s->dir), "/tmp/dynamount-rocks-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    struct rocks_config config = {
        .path = s->dir, .cache_bytes = 1 << 20, .write_buffer_bytes = BUFFER, .blob_bytes = 4096};
    if (rocks_open(&config, &s->rocks, &message) != DYN_OK)
        fail_msg("%s", message);
    return s;
}

static void values_close(struct subject_values *s)
{
    rocks_close(s->rocks);
    subject_remove_dir(s->dir);
    free(s);
}

static void put(struct subject_values *s, uint64_t key)
{
    /* spread over the keys, as hashes are: each table overlaps each other */
    uint64_t spread = key * 0x9e3779b97f4a7c15;
    char *message = NULL;
    memcpy(s->value, &key, sizeof(key));
    rocks_batch_put(s->rocks, STORE_VALUE, (struct slice){(const uint8_t *)&spread, 8},
                    (struct slice){(const uint8_t *)s->value, VALUE});
    if (rocks_write(s->rocks, &message) != DYN_OK)
        fail_msg("%s", message);
}

/* Bytes that this process has handed to write(2) and its like. */
static uint64_t written(void)
{
    char text[512] = "";
    int fd = open("/proc/self/io", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    const char *at = strstr(text, "wchar: ");
    assert_non_null(at);
    return strtoull(at + strlen("wchar: "), NULL, 10);
}

static void test_values_that_stay_are_written_twice_and_no_more(void **state)
{
    (void)state;
    struct subject_values *s = values_open();
    uint64_t before = written(), all = (uint64_t)VALUES * VALUE;
    for (uint64_t i = 0; i < VALUES; i++) {
        put(s, i);
        if (i % 16 == 0)
            assert_false(rocks_collect_blobs(s->rocks, false));
    }
    rocks_reclaim(s->rocks, STORE_VALUE); /* waits for what is under way */
    uint64_t times_100 = (written() - before) * 100 / all;
    if (times_100 > 250)
        fail_msg("%lu.%02lu bytes written for each", times_100 / 100, times_100 % 100);
    values_close(s);
}

static void test_what_is_overwritten_gives_its_room_back(void **state)
{
    (void)state;
    struct subject_values *s = values_open();
    uint64_t before = written(), all = (uint64_t)VALUES * VALUE;
    uint64_t living = all / STATIC_EACH + (uint64_t)HOT * VALUE;
    bool collected = false;
    for (uint64_t i = 0; i < VALUES; i++) {
        put(s, i % STATIC_EACH == 0 ? VALUES + i : i % HOT);
        if (i % 16 == 0)
            collected = rocks_collect_blobs(s->rocks, false) || collected;
    }
    assert_true(collected);
    rocks_reclaim(s->rocks, STORE_VALUE); /* waits for what is under way */
    uint64_t used = rocks_bytes_used(s->rocks), times_100 = (written() - before) * 100 / all;
    if (used > living * 5 / 2)
        fail_msg("%lu bytes are used for %lu", used, living);
    if (times_100 > 450)
        fail_msg("%lu.%02lu bytes written for each", times_100 / 100, times_100 % 100);
    values_close(s);
}

static void test_where_room_is_low_all_garbage_goes(void **state)
{
    (void)state;
    struct subject_values *s = values_open();
    for (uint64_t i = 0; i < 256; i++)
        put(s, i);
    for (uint64_t i = 0; i < 256; i += 8) /* too few of them to be collected for */
        put(s, i);
    rocks_reclaim(s->rocks, STORE_VALUE);
    assert_false(rocks_collect_blobs(s->rocks, false));
    assert_true(rocks_collect_blobs(s->rocks, true));
    assert_true(rocks_collect_blobs(s->rocks, true));
    uint64_t least = (uint64_t)256 * VALUE, before = rocks_bytes_used(s->rocks);
    for (int rounds = 0; rounds < 8; rounds++)
        rocks_reclaim(s->rocks, STORE_VALUE);
    uint64_t used = rocks_bytes_used(s->rocks);
    if (used > least + (before - least) / 2)
        fail_msg("%lu of %lu bytes are still used for %lu", used, before, least);
    assert_false(rocks_collect_blobs(s->rocks, false));
    values_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_that_stay_are_written_twice_and_no_more),
        cmocka_unit_test(test_what_is_overwritten_gives_its_room_back),
        cmocka_unit_test(test_where_room_is_low_all_garbage_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
