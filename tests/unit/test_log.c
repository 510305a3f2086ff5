/* SPDX-License-Identifier: Apache-2.0 */
/* A log line is evidence: names in it come from strangers, so nothing in them may start a new line
 * or steer a terminal; and rotation must lose none. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "unit.h"

static char path[64], rotated[80];

static int open_log(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/test_log_XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    snprintf(rotated, sizeof(rotated), "%s.1", path);
    log_set_level(LOG_LEVEL_INFO);
    return fd < 0 ? -1 : log_open(path);
}

static int drop_log(void **state)
{
    (void)state;
    unlink(path);
    unlink(rotated);
    return 0;
}

static const char *contents(const char *name)
{
    static char room[65536];
    int fd = open(name, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, room, sizeof(room) - 1);
    close(fd);
    assert_true(n >= 0);
    room[n] = '\0';
    return room;
}

static void test_a_line_has_time_level_and_module(void **state)
{
    (void)state;
    errno = EAGAIN;
    log_warn("ring", "node %d left", 7);
    assert_int_equal(errno, EAGAIN);
    int year, month, day, hour, minute, second, ms, used = 0;
    const char *line = contents(path);
    assert_int_equal(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour,
                            &minute, &second, &ms, &used),
                     7);
    assert_int_equal(used, 25);
    assert_string_equal(line + used, "warn ring: node 7 left\n");
}

static void test_levels_filter(void **state)
{
    (void)state;
    enum log_level level;
    assert_int_equal(log_level_parse("error", &level), DYN_OK);
    log_set_level(level);
    log_warn("m", "hidden");
    log_error("m", "shown");
    assert_null(strstr(contents(path), "hidden"));
    assert_non_null(strstr(contents(path), "error m: shown\n"));
    assert_int_equal(log_level_parse("loud", &level), DYN_ERR_INVALID);
    assert_int_equal(level, LOG_LEVEL_ERROR);
}

static void test_control_characters_are_escaped(void **state)
{
    (void)state;
    log_info("m", "a\nb\x1b[31m\x7f\xc2\x9b\xc3\xa9");
    assert_non_null(strstr(contents(path), "a\\x0ab\\x1b[31m\\x7f\\xc2\\x9b"));
    assert_non_null(strstr(contents(path), "\xc3\xa9\n"));
}

static void test_a_long_message_is_cut_and_marked(void **state)
{
    (void)state;
    char text[10000];
    memset(text, '\n', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_info("m", "%s", text);
    const char *line = contents(path);
    assert_true(strlen(line) < 9000);
    assert_string_equal(line + strlen(line) - 8, "\\x0a...\n");
}

static void test_reopen_after_rotation_writes_the_new_file(void **state)
{
    (void)state;
    log_info("m", "before");
    assert_int_equal(rename(path, rotated), 0);
    log_info("m", "between");
    assert_int_equal(log_reopen(), DYN_OK);
    log_info("m", "after");
    assert_non_null(strstr(contents(rotated), "between\n"));
    assert_null(strstr(contents(rotated), "after"));
    assert_non_null(strstr(contents(path), "after\n"));
}

static void test_a_bad_path_keeps_the_old_sink(void **state)
{
    (void)state;
    assert_int_equal(log_open("/no/such/folder/log"), DYN_ERR_IO);
    log_info("m", "still here");
    assert_non_null(strstr(contents(path), "still here\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_line_has_time_level_and_module, open_log, drop_log),
        cmocka_unit_test_setup_teardown(test_levels_filter, open_log, drop_log),
        cmocka_unit_test_setup_teardown(test_control_characters_are_escaped, open_log, drop_log),
        cmocka_unit_test_setup_teardown(test_a_long_message_is_cut_and_marked, open_log, drop_log),
        cmocka_unit_test_setup_teardown(test_reopen_after_rotation_writes_the_new_file, open_log,
                                        drop_log),
        cmocka_unit_test_setup_teardown(test_a_bad_path_keeps_the_old_sink, open_log, drop_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
