/* SPDX-License-Identifier: Apache-2.0 */
/* What may be mounted on, seen without a mount; a dead mount is mended in tests/fs. */
#include "unit.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "mount_point.h"

static char folder[PATH_MAX];

static int enter_folder(void **state)
{
    (void)state;
    char made[] = "/tmp/mount_point.XXXXXX";
    assert_non_null(mkdtemp(made));
    assert_non_null(realpath(made, folder));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(mkdir("a", 0700), 0);
    assert_int_equal(symlink("a", "link"), 0);
    FILE *f = fopen("file", "w");
    assert_non_null(f);
    fclose(f);
    return 0;
}

static int leave_folder(void **state)
{
    (void)state;
    unlink("file");
    unlink("link");
    rmdir("a");
    return chdir("/") != 0 || rmdir(folder) != 0;
}

static void expect(const char *given, const char *name)
{
    char *path = NULL, *message = NULL, wanted[PATH_MAX + 16];
    snprintf(wanted, sizeof(wanted), "%s/%s", folder, name);
    assert_int_equal(mount_point_prepare(given, &path, &message), DYN_OK);
    assert_string_equal(path, wanted);
    free(path);
}

static void expect_refusal(const char *given, const char *because)
{
    char *path = NULL, *message = NULL;
    assert_int_equal(mount_point_prepare(given, &path, &message), DYN_ERR_INVALID);
    assert_null(path);
    assert_non_null(strstr(message, because));
    free(message);
}

static void test_a_folder_becomes_an_absolute_path(void **state)
{
    (void)state;
    expect("a", "a");
    expect("./a//", "a");
    expect("a/../a", "a");
    expect("a/.", "a");
    expect("link", "a");
}

static void test_what_is_no_folder_is_refused(void **state)
{
    (void)state;
    expect_refusal("file", "not a folder");
    expect_refusal("none", "No such file");
    expect_refusal("none/a", "No such file");
}

static void test_an_open_descriptor_passes(void **state)
{
    (void)state;
    char *path = NULL, *message = NULL;
    assert_int_equal(mount_point_prepare("/dev/fd/5", &path, &message), DYN_OK);
    assert_string_equal(path, "/dev/fd/5");
    free(path);
}

static void test_a_log_may_not_exist_yet(void **state)
{
    (void)state;
    char *path = NULL, *message = NULL, wanted[PATH_MAX + 16];
    snprintf(wanted, sizeof(wanted), "%s/a/log", folder);
    assert_int_equal(mount_point_absolute("link/log", &path, &message), DYN_OK);
    assert_string_equal(path, wanted);
    free(path);
    path = NULL;
    assert_int_equal(mount_point_absolute("none/log", &path, &message), DYN_ERR_INVALID);
    assert_null(path);
    free(message);
}

static void test_containing_goes_by_whole_names(void **state)
{
    (void)state;
    assert_true(mount_point_contains("/mnt", "/mnt"));
    assert_true(mount_point_contains("/mnt", "/mnt/log"));
    assert_true(mount_point_contains("/", "/log"));
    assert_false(mount_point_contains("/mnt", "/mnt.log"));
    assert_false(mount_point_contains("/mnt/a", "/mnt"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_folder_becomes_an_absolute_path),
        cmocka_unit_test(test_what_is_no_folder_is_refused),
        cmocka_unit_test(test_an_open_descriptor_passes),
        cmocka_unit_test(test_a_log_may_not_exist_yet),
        cmocka_unit_test(test_containing_goes_by_whole_names),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
