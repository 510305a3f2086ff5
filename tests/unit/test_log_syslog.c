/* SPDX-License-Identifier: Apache-2.0 */
/* The system log's listener is another program's: it may be late, restarted, or asleep, and a mount
 * must neither wait for it nor send what it would cut. The listener here is the test's own. */
#include "adapter/log_syslog.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "unit.h"

static char folder[64], path[80];
static int listener;
static struct log_syslog *sink;

static int listen_there(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static int begin(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/test_syslog_XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/log", folder);
    listener = listen_there();
    sink = log_syslog_new(path, "prog");
    log_set_level(LOG_LEVEL_DEBUG);
    log_to(log_syslog_sink(sink));
    return 0;
}

static int finish(void **state)
{
    (void)state;
    log_to(NULL);
    log_syslog_free(sink);
    close(listener);
    unlink(path);
    return rmdir(folder);
}

/* The next message's text, after checking all that is before it. NULL: there is none. */
static const char *received(int priority)
{
    static char room[4096];
    ssize_t n = recv(listener, room, sizeof(room) - 1, 0);
    if (n < 0)
        return NULL;
    assert_in_range(n, 1, LOG_SYSLOG_MESSAGE_MAX);
    room[n] = '\0';
    int got, day, hour, minute, second, used = 0;
    long pid;
    char month[4];
    assert_int_equal(sscanf(room, "<%d>%3s %2d %2d:%2d:%2d prog[%ld]: %n", &got, month, &day, &hour,
                            &minute, &second, &pid, &used),
                     7);
    assert_int_equal(got, (geteuid() == 0 ? LOG_DAEMON : LOG_USER) | priority);
    assert_int_equal(pid, getpid());
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    assert_in_range((tm.tm_hour * 60 + tm.tm_min - hour * 60 - minute + 1440) % 1440, 0, 10);
    return room + used;
}

static void test_levels_become_priorities(void **state)
{
    (void)state;
    log_debug("ring", "one");
    log_info("ring", "two");
    log_warn("ring", "three");
    log_error("ring", "four");
    assert_string_equal(received(LOG_DEBUG), "debug ring: one");
    assert_string_equal(received(LOG_INFO), "info ring: two");
    assert_string_equal(received(LOG_WARNING), "warn ring: three");
    assert_string_equal(received(LOG_ERR), "error ring: four");
    assert_null(received(0));
}

static void test_control_characters_are_escaped(void **state)
{
    (void)state;
    log_warn("m", "a\n<0>b");
    assert_string_equal(received(LOG_WARNING), "warn m: a\\x0a<0>b");
}

static void test_a_long_message_is_sent_in_parts_and_whole(void **state)
{
    (void)state;
    char text[2001], whole[4096] = "";
    for (size_t i = 0; i < 2000; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[2000] = '\0';
    log_info("m", "%s", text);
    size_t used = 0;
    int parts = 0;
    for (const char *part; (part = received(LOG_INFO)) != NULL; parts++) {
        if (parts > 0) {
            assert_memory_equal(part, "... ", 4);
            part += 4;
        }
        assert_int_not_equal((unsigned char)part[0] & 0xc0, 0x80); /* no half of a character */
        memcpy(whole + used, part, strlen(part) + 1);
        used += strlen(part);
    }
    assert_true(parts > 1);
    assert_memory_equal(whole, "info m: ", 8);
    assert_string_equal(whole + 8, text);
}

static void test_a_listener_that_comes_back_is_found(void **state)
{
    (void)state;
    close(listener);
    log_info("m", "nobody there");
    unlink(path);
    log_info("m", "not even a socket");
    listener = listen_there();
    log_info("m", "back");
    assert_string_equal(received(LOG_INFO), "info m: back");
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

/* Were each message to wait, these would take over six minutes. */
static void test_a_listener_that_sleeps_is_waited_for_once(void **state)
{
    (void)state;
    long long began = now_ms();
    for (int i = 0; i < 4000; i++)
        log_info("m", "%d", i);
    assert_true(now_ms() - began < 60000);
    int seen = 0;
    while (received(LOG_INFO) != NULL)
        seen++;
    assert_in_range(seen, 1, 3999); /* it was full, or the test shows nothing */
    log_info("m", "awake");
    assert_string_equal(received(LOG_INFO), "info m: awake");
}

static void test_without_it_lines_go_where_they_went(void **state)
{
    (void)state;
    char file[96];
    snprintf(file, sizeof(file), "%s/file", folder);
    assert_int_equal(log_open(file), DYN_OK);
    log_info("m", "to the sink");
    log_to(NULL);
    log_info("m", "to the file");
    assert_string_equal(received(LOG_INFO), "info m: to the sink");
    assert_null(received(LOG_INFO));
    char line[128] = "";
    FILE *f = fopen(file, "re");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f));
    assert_string_equal(line + 25, "info m: to the file\n");
    fclose(f);
    unlink(file);
}

static void test_a_path_that_no_socket_can_have_is_refused(void **state)
{
    (void)state;
    char longest[200];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_null(log_syslog_new(longest, "prog"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_levels_become_priorities, begin, finish),
        cmocka_unit_test_setup_teardown(test_control_characters_are_escaped, begin, finish),
        cmocka_unit_test_setup_teardown(test_a_long_message_is_sent_in_parts_and_whole, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_a_listener_that_comes_back_is_found, begin, finish),
        cmocka_unit_test_setup_teardown(test_a_listener_that_sleeps_is_waited_for_once, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_without_it_lines_go_where_they_went, begin, finish),
        cmocka_unit_test(test_a_path_that_no_socket_can_have_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
