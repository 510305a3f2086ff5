/* SPDX-License-Identifier: Apache-2.0 */
/* A mistake in a configuration must be found at start and said with its line: never ignored, never
 * half understood. */
#include "base/config.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "unit.h"

static struct config *parse(const char *text)
{
    struct config *c = NULL;
    char *message = NULL;
    assert_int_equal(config_parse(slice_str(text), "t.conf", &c, &message), DYN_OK);
    assert_null(message);
    return c;
}

static void assert_refused(const char *text, size_t len, const char *part)
{
    struct config *c = NULL;
    char *message = NULL;
    assert_int_equal(config_parse(slice_of(text, len), "t.conf", &c, &message), DYN_ERR_INVALID);
    assert_null(c);
    assert_non_null(strstr(message, part));
    free(message);
}

static void test_lines_comments_and_spaces(void **state)
{
    (void)state;
    struct config *c =
        parse("# top\n\n  name = a b \t\r\n path=/x#y # why\nempty =\n#n=1\nlast = z");
    const char *s = NULL;
    char *m = NULL;
    assert_int_equal(config_get_str(c, "name", &s, &m), DYN_OK);
    assert_string_equal(s, "a b");
    config_get_str(c, "path", &s, &m);
    assert_string_equal(s, "/x#y");
    config_get_str(c, "empty", &s, &m);
    assert_string_equal(s, "");
    assert_string_equal(config_unknown(c), "last");
    config_get_str(c, "last", &s, &m);
    assert_string_equal(s, "z");
    assert_null(config_unknown(c));
    s = "default";
    config_get_str(c, "absent", &s, &m);
    assert_string_equal(s, "default");
    config_free(c);
}

static void test_broken_lines_are_named(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"a = 1\nb\n", "t.conf:2: not of the form"},
                                         {"a = 1\n\na = 2\n", "t.conf:3: this key was given"},
                                         {"= 1\n", "t.conf:1: a key has only"},
                                         {"Name = 1\n", "t.conf:1: a key has only"},
                                         {"a b = 1\n", "t.conf:1: a key has only"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(bad[i][0], strlen(bad[i][0]), bad[i][1]);
    assert_refused("a = \0b\n", 7, "NUL");
}

static void test_numbers_sizes_and_times(void **state)
{
    (void)state;
    struct config *c = parse("n = 42\nk = 64K\nt = 2T\nms = 500ms\nh = 1h\nbad = 12x\nbig = "
                             "18446744073709551616\nover = 18014398509481984K\nnone =\nbare = 5");
    uint64_t v = 7;
    char *m = NULL;
    assert_int_equal(config_get_u64(c, "absent", 0, 100, &v, &m), DYN_OK);
    assert_int_equal(v, 7);
    assert_int_equal(config_get_u64(c, "n", 0, 42, &v, &m), DYN_OK);
    assert_int_equal(v, 42);
    assert_int_equal(config_get_size(c, "k", 0, UINT64_MAX, &v, &m), DYN_OK);
    assert_int_equal(v, 65536);
    assert_int_equal(config_get_size(c, "t", 0, UINT64_MAX, &v, &m), DYN_OK);
    assert_true(v == UINT64_C(2) << 40);
    assert_int_equal(config_get_ms(c, "ms", 0, UINT64_MAX, &v, &m), DYN_OK);
    assert_int_equal(v, 500);
    assert_int_equal(config_get_ms(c, "h", 0, UINT64_MAX, &v, &m), DYN_OK);
    assert_int_equal(v, 3600000);
    static const char *const bad[] = {"bad", "big", "over", "none", "k"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int err = i == 2 ? config_get_size(c, bad[i], 0, UINT64_MAX, &v, &m)
                         : config_get_u64(c, bad[i], 0, UINT64_MAX, &v, &m);
        assert_int_equal(err, DYN_ERR_INVALID);
        assert_non_null(strstr(m, "t.conf:"));
        free(m);
    }
    assert_int_equal(config_get_u64(c, "n", 0, 41, &v, &m), DYN_ERR_INVALID);
    assert_non_null(strstr(m, "t.conf:1: n = 42: expected a number from 0 to 41"));
    free(m);
    assert_int_equal(config_get_ms(c, "bare", 0, 100, &v, &m), DYN_ERR_INVALID); /* no unit */
    free(m);
    assert_int_equal(v, 3600000);
    config_free(c);
}

static void test_truth_has_three_spellings(void **state)
{
    (void)state;
    struct config *c = parse("a = yes\nb = off\nc = true\nd = maybe");
    bool v = false;
    char *m = NULL;
    assert_int_equal(config_get_bool(c, "a", &v, &m), DYN_OK);
    assert_true(v);
    assert_int_equal(config_get_bool(c, "b", &v, &m), DYN_OK);
    assert_false(v);
    assert_int_equal(config_get_bool(c, "c", &v, &m), DYN_OK);
    assert_true(v);
    assert_int_equal(config_get_bool(c, "d", &v, &m), DYN_ERR_INVALID);
    assert_true(v);
    free(m);
    config_free(c);
}

static void test_the_command_line_overrides_the_file(void **state)
{
    (void)state;
    struct config *c = parse("a = 1");
    uint64_t v = 0;
    char *m = NULL;
    config_set(c, "a", "2");
    config_set(c, "b", "x");
    assert_int_equal(config_get_u64(c, "a", 0, 9, &v, &m), DYN_OK);
    assert_int_equal(v, 2);
    assert_int_equal(config_get_u64(c, "b", 0, 9, &v, &m), DYN_ERR_INVALID);
    assert_null(strstr(m, "t.conf"));
    free(m);
    config_free(c);
    c = config_new();
    assert_null(config_unknown(c));
    config_set(c, "k", "v");
    assert_string_equal(config_unknown(c), "k");
    config_free(c);
    config_free(NULL);
}

static void test_files_are_read_and_missing_ones_named(void **state)
{
    (void)state;
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "port = 80\n", 10), 10);
    close(fd);
    struct config *c = NULL;
    char *m = NULL;
    uint64_t v = 0;
    assert_int_equal(config_load(path, &c, &m), DYN_OK);
    assert_int_equal(config_get_u64(c, "port", 1, 65535, &v, &m), DYN_OK);
    assert_int_equal(v, 80);
    config_free(c);
    c = NULL;
    unlink(path);
    assert_int_equal(config_load(path, &c, &m), DYN_ERR_IO);
    assert_null(c);
    assert_non_null(strstr(m, path));
    free(m);
    assert_int_equal(config_load("/dev/zero", &c, &m), DYN_ERR_INVALID); /* bounded */
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_comments_and_spaces),
        cmocka_unit_test(test_broken_lines_are_named),
        cmocka_unit_test(test_numbers_sizes_and_times),
        cmocka_unit_test(test_truth_has_three_spellings),
        cmocka_unit_test(test_the_command_line_overrides_the_file),
        cmocka_unit_test(test_files_are_read_and_missing_ones_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
