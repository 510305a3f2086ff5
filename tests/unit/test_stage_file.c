/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the staging folder: their names, and their frame. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapter/stage_file.h"
#include "base/err.h"
#include "unit.h"

static void make(struct buf *out)
{
    const struct stage_part parts[2] = {{1, 100, {1, 2}}, {99, STAGE_CHUNK_MAX, {3}}};
    stage_record_encode(0xabc, parts, 2, slice_str("what it says"), out);
}

static void test_a_record_comes_back(void **state)
{
    struct buf file = BUF_EMPTY;
    struct stage_part *parts;
    struct slice body;
    uint32_t n;
    (void)state;
    make(&file);
    assert_int_equal(stage_record_decode(buf_slice(&file), 0xabc, &parts, &n, &body), DYN_OK);
    assert_int_equal(n, 2);
    assert_int_equal(parts[1].stamp, 99);
    assert_int_equal(parts[1].len, STAGE_CHUNK_MAX);
    assert_int_equal(parts[1].digest[0], 3);
    assert_true(slice_equal(body, slice_str("what it says")));
    free(parts);
    buf_release(&file);
}

static void test_a_record_cut_or_changed_at_any_byte_is_refused(void **state)
{
    struct buf file = BUF_EMPTY;
    struct stage_part *parts;
    struct slice body;
    uint32_t n;
    (void)state;
    make(&file);
    for (size_t len = 0; len < file.len; len++)
        assert_int_equal(stage_record_decode(slice_of(file.data, len), 0xabc, &parts, &n, &body),
                         DYN_ERR_CORRUPT);
    for (size_t at = 0; at < file.len; at++) {
        file.data[at] ^= 4;
        assert_int_equal(stage_record_decode(buf_slice(&file), 0xabc, &parts, &n, &body),
                         DYN_ERR_CORRUPT);
        file.data[at] ^= 4;
    }
    buf_release(&file);
}

static void test_a_copy_under_another_name_is_none(void **state)
{
    struct buf file = BUF_EMPTY;
    struct stage_part *parts;
    struct slice body;
    uint32_t n;
    (void)state;
    make(&file);
    assert_int_equal(stage_record_decode(buf_slice(&file), 0xabd, &parts, &n, &body),
                     DYN_ERR_CORRUPT);
    buf_release(&file);
}

static void test_names_are_told_apart(void **state)
{
    char name[STAGE_NAME_MAX];
    uint64_t id = 0, stamp = 0;
    (void)state;
    stage_name_record(0xfeed, name);
    assert_string_equal(name, "000000000000feed");
    assert_int_equal(stage_name_parse(name, &id, &stamp), STAGE_RECORD);
    assert_int_equal(id, 0xfeed);
    stage_name_chunk(UINT64_MAX, 7, name);
    assert_int_equal(stage_name_parse(name, &id, &stamp), STAGE_CHUNK);
    assert_true(id == UINT64_MAX && stamp == 7);
    assert_int_equal(stage_name_parse("000000000000feed.new", &id, &stamp), STAGE_UNFINISHED);
    static const char *const foreign[] = {"",
                                          ".",
                                          "..",
                                          "README",
                                          "000000000000feeD",
                                          "000000000000feed.",
                                          "000000000000feed.7",
                                          "damaged",
                                          "000000000000feed.newer",
                                          "000000000000feed0"};
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        assert_int_equal(stage_name_parse(foreign[i], &id, &stamp), STAGE_FOREIGN);
}

static void test_files_are_private_and_follow_no_link(void **state)
{
    char dir[] = "/tmp/stage.XXXXXX";
    struct stat st;
    struct buf got = BUF_EMPTY;
    (void)state;
    assert_non_null(mkdtemp(dir));
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(stage_file_write(fd, "000000000000feed", slice_str("one")), DYN_OK);
    assert_int_equal(stage_file_write(fd, "000000000000feed", slice_str("two")), DYN_OK);
    assert_int_equal(fstatat(fd, "000000000000feed", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stage_file_read(fd, "000000000000feed", 100, &got), DYN_OK);
    assert_true(slice_equal(buf_slice(&got), slice_str("two")));
    assert_int_equal(stage_file_read(fd, "000000000000feed", 2, &got), DYN_ERR_TOO_LARGE);
    assert_int_equal(stage_file_read(fd, "000000000000beef", 2, &got), DYN_ERR_NOT_FOUND);
    assert_int_equal(symlinkat("000000000000feed", fd, "000000000000beef"), 0);
    assert_int_equal(stage_file_read(fd, "000000000000beef", 100, &got), DYN_ERR_IO);
    assert_int_equal(mkdirat(fd, "000000000000dead", 0700), 0);
    assert_int_equal(stage_file_read(fd, "000000000000dead", 100, &got), DYN_ERR_IO);
    buf_release(&got);
    unlinkat(fd, "000000000000feed", 0);
    unlinkat(fd, "000000000000beef", 0);
    unlinkat(fd, "000000000000dead", AT_REMOVEDIR);
    close(fd);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_record_comes_back),
        cmocka_unit_test(test_a_record_cut_or_changed_at_any_byte_is_refused),
        cmocka_unit_test(test_a_copy_under_another_name_is_none),
        cmocka_unit_test(test_names_are_told_apart),
        cmocka_unit_test(test_files_are_private_and_follow_no_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
