/* SPDX-License-Identifier: Apache-2.0 */
/* Only SIGKILL counts, and it counts wherever it is pending. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapter/caller.h"

static bool pending(const char *thread, const char *process)
{
    char text[256];
    snprintf(text, sizeof(text), "Name:\tcat\nState:\tD\nSigPnd:\t%s\nShdPnd:\t%s\nSigBlk:\t%s\n",
             thread, process, "ffffffffffffffff");
    return caller_status_kill_pending(text);
}

static void test_no_pending_signal_is_no_kill(void **state)
{
    (void)state;
    assert_false(pending("0000000000000000", "0000000000000000"));
}

static void test_sigkill_counts_for_the_thread_and_for_its_process(void **state)
{
    (void)state;
    assert_true(pending("0000000000000100", "0000000000000000"));
    assert_true(pending("0000000000000000", "0000000000000100"));
    assert_true(pending("0000000000004102", "0000000000000000"));
}

static void test_other_signals_do_not_count(void **state)
{
    (void)state;
    assert_false(pending("0000000000002000", "0000000000010002")); /* ALRM; CHLD and INT */
    assert_false(pending("fffffffffffffeff", "fffffffffffffeff"));
}

static void test_a_text_without_the_fields_is_no_kill(void **state)
{
    (void)state;
    assert_false(caller_status_kill_pending(""));
    assert_false(caller_status_kill_pending("SigBlk:\t0000000000000100\n"));
}

/* As the kernel prints it, with these flags and this exit code. */
static bool stat_killed(const char *name, unsigned flags, unsigned code)
{
    char text[512];
    snprintf(
        text, sizeof(text),
        "77 (%s) R 1 77 77 0 -1 %u 1 2 3 4 5 6 7 8 20 0 1 0 99 1000 10 18446744073709551615 1 1 "
        "0 0 0 0 0 0 9 0 0 0 17 1 0 0 0 0 0 1 2 3 4 5 6 7 %u\n",
        name, flags, code);
    return caller_stat_killed(text);
}

static void test_who_exits_by_a_signal_is_killed_already(void **state)
{
    (void)state;
    assert_true(stat_killed("dd", 0x40010c, 9));
    assert_true(stat_killed("dd", 4, 2));         /* by SIGINT */
    assert_true(stat_killed("a) R (b", 4, 9));    /* a name that looks like the rest */
    assert_true(stat_killed("dd", 4, 128 | 11));  /* with a core */
    assert_false(stat_killed("dd", 0x400100, 9)); /* does not exit */
    assert_false(stat_killed("dd", 4, 0));
    assert_false(stat_killed("dd", 4, 9 << 8)); /* exit(9) */
    assert_false(caller_stat_killed(""));
    assert_false(caller_stat_killed("77 (dd) R 1 77 77 0 -1 4"));
}

static void test_the_living_and_the_unknown_are_not_killed(void **state)
{
    (void)state;
    assert_false(caller_is_killed((uint32_t)getpid()));
    assert_false(caller_is_killed(0));
    assert_false(caller_is_killed(UINT32_MAX));
}

static void test_another_descriptor_of_a_file_is_found_and_a_closed_one_is_not(void **state)
{
    (void)state;
    char path[] = "/tmp/dynamount-caller-XXXXXX";
    struct stat st;
    int fd = mkstemp(path), other = dup(fd);
    assert_true(fd >= 0 && other >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    assert_true(caller_has_open((uint32_t)getpid(), st.st_ino));
    close(other);
    assert_false(caller_has_open((uint32_t)getpid(), st.st_ino));
    assert_false(caller_has_open(0, st.st_ino));
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_pending_signal_is_no_kill),
        cmocka_unit_test(test_sigkill_counts_for_the_thread_and_for_its_process),
        cmocka_unit_test(test_other_signals_do_not_count),
        cmocka_unit_test(test_a_text_without_the_fields_is_no_kill),
        cmocka_unit_test(test_who_exits_by_a_signal_is_killed_already),
        cmocka_unit_test(test_the_living_and_the_unknown_are_not_killed),
        cmocka_unit_test(test_another_descriptor_of_a_file_is_found_and_a_closed_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
