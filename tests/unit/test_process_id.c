/* SPDX-License-Identifier: Apache-2.0 */
/* Pid files that name one process and no other. */
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapter/process_id.h"
#include "base/err.h"

static char path[] = "/tmp/test_process_id.XXXXXX";

static int set_up(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_a_process_is_found_while_it_runs(void **state)
{
    (void)state;
    struct process_id found;
    char *message = NULL;
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    assert_int_equal(process_id_save(path, pid, "note", &message), DYN_OK);
    assert_true(process_id_load(path, &found));
    assert_int_equal(found.pid, pid);
    assert_string_equal(found.note, "note");
    assert_false(process_id_ended(found.pidfd));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_true(process_id_ended(found.pidfd));
    close(found.pidfd);
    assert_false(process_id_load(path, &found));
}

static void test_another_process_under_the_same_id_is_not_it(void **state)
{
    (void)state;
    struct process_id found;
    char text[64];
    snprintf(text, sizeof(text), "%ld 1\n", (long)getpid()); /* we have started later */
    write_file(text);
    assert_false(process_id_load(path, &found));
}

static void test_what_is_no_pid_file_names_nobody(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "x", "1 1", "-1 5", "0 0", "99999999999999999999 1", "7"};
    struct process_id found;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_file(bad[i]);
        assert_false(process_id_load(path, &found));
    }
    assert_false(process_id_load("/nonexistent/pid", &found));
}

static void test_where_it_cannot_be_written_is_said(void **state)
{
    (void)state;
    char *message = NULL;
    assert_int_equal(process_id_save("/nonexistent/pid", getpid(), NULL, &message), DYN_ERR_IO);
    assert_non_null(strstr(message, "/nonexistent/pid"));
    free(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_process_is_found_while_it_runs),
        cmocka_unit_test(test_another_process_under_the_same_id_is_not_it),
        cmocka_unit_test(test_what_is_no_pid_file_names_nobody),
        cmocka_unit_test(test_where_it_cannot_be_written_is_said),
    };
    return cmocka_run_group_tests_name("process_id", tests, set_up, tear_down);
}
