/* SPDX-License-Identifier: Apache-2.0 */
/* Who is thought down, and when a probe goes out, is decided by real outcomes and the clock alone;
 * here both are the test's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "model/detector.h"
#include "unit.h"

#define SECOND 1000000u

struct fixture {
    struct timers timers;
    struct time_port time;
    uint64_t now;
    struct detector *d;
    char log[512]; /* "probe 7@3 " with whole seconds, "up 7 ", "down 7 " */
};

static void note(struct fixture *f, const char *what, uint64_t node)
{
    size_t len = strlen(f->log);
    snprintf(f->log + len, sizeof(f->log) - len, "%s %d@%d ", what, (int)node,
             (int)(f->now / SECOND));
}

static void on_probe(void *arg, uint64_t node)
{
    note(arg, "probe", node);
}

static void on_change(void *arg, uint64_t node, enum peer_state state)
{
    note(arg, state == PEER_UP ? "up" : "down", node);
}

static uint64_t mono_us(void *ctx)
{
    return ((struct fixture *)ctx)->now;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct detector_config cfg = {.probe_interval_us = SECOND, .probe_max_us = 4 * SECOND};
    timers_init(&f->timers);
    f->time = (struct time_port){f, mono_us, NULL};
    f->d = detector_new(&cfg, &f->time, &f->timers, on_probe, on_change, f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    detector_free(f->d);
    assert_true(timers_next(&f->timers) == UINT64_MAX);
    timers_release(&f->timers);
    free(f);
    return 0;
}

static void run_until(struct fixture *f, uint64_t end_us)
{
    while (timers_next(&f->timers) <= end_us) {
        f->now = timers_next(&f->timers);
        timers_run(&f->timers, f->now);
    }
    f->now = end_us;
}

static void test_a_peer_never_heard_of_is_up(void **state)
{
    struct fixture *f = *state;
    assert_true(detector_up(f->d, 7));
    assert_int_equal(detector_rtt_us(f->d, 7), 0);
    assert_int_equal(detector_down_since_us(f->d, 7), 0);
}

static void test_a_failed_request_takes_only_its_peer_down(void **state)
{
    struct fixture *f = *state;
    f->now = 5 * SECOND;
    detector_failed(f->d, 7, DYN_ERR_UNREACHABLE);
    assert_false(detector_up(f->d, 7));
    assert_true(detector_up(f->d, 8));
    assert_int_equal(detector_down_since_us(f->d, 7), 5 * SECOND);
    assert_string_equal(f->log, "down 7@5 ");
}

static void test_an_error_about_the_request_says_nothing_of_the_peer(void **state)
{
    struct fixture *f = *state;
    const int about_requests[] = {DYN_ERR_NOT_FOUND, DYN_ERR_OVERLOAD, DYN_ERR_NO_QUORUM,
                                  DYN_ERR_BAD_CONTEXT};
    for (size_t i = 0; i < 4; i++)
        detector_failed(f->d, 7, about_requests[i]);
    assert_true(detector_up(f->d, 7));
    assert_string_equal(f->log, "");
}

static void test_probes_slow_down_to_their_limit(void **state)
{
    struct fixture *f = *state;
    detector_failed(f->d, 7, DYN_ERR_TIMEOUT);
    run_until(f, 16 * SECOND);
    assert_string_equal(f->log, "down 7@0 probe 7@1 probe 7@3 probe 7@7 probe 7@11 probe 7@15 ");
}

static void test_failures_while_down_do_not_start_over(void **state)
{
    struct fixture *f = *state;
    detector_failed(f->d, 7, DYN_ERR_TIMEOUT);
    run_until(f, 2 * SECOND);
    detector_failed(f->d, 7, DYN_ERR_UNREACHABLE);
    assert_int_equal(detector_down_since_us(f->d, 7), 0);
    assert_false(detector_up(f->d, 7));
    run_until(f, 3 * SECOND);
    assert_string_equal(f->log, "down 7@0 probe 7@1 probe 7@3 ");
}

static void test_any_answer_brings_a_peer_back_and_ends_its_probes(void **state)
{
    struct fixture *f = *state;
    detector_failed(f->d, 7, DYN_ERR_TIMEOUT);
    run_until(f, 2 * SECOND);
    detector_ok(f->d, 7, 100);
    assert_true(detector_up(f->d, 7));
    assert_int_equal(detector_down_since_us(f->d, 7), 0);
    run_until(f, 60 * SECOND);
    assert_string_equal(f->log, "down 7@0 probe 7@1 up 7@2 ");
    detector_failed(f->d, 7, DYN_ERR_TIMEOUT);
    f->log[0] = '\0';
    run_until(f, 61 * SECOND);
    assert_string_equal(f->log, "probe 7@61 "); /* soon again, not at the old pace */
}

static void test_round_trip_times_are_smoothed(void **state)
{
    struct fixture *f = *state;
    detector_ok(f->d, 7, 800);
    assert_int_equal(detector_rtt_us(f->d, 7), 800);
    detector_ok(f->d, 7, 8000);
    assert_in_range(detector_rtt_us(f->d, 7), 801, 2000);
    for (int i = 0; i < 100; i++)
        detector_ok(f->d, 7, 8000);
    assert_in_range(detector_rtt_us(f->d, 7), 7900, 8000);
}

static void test_a_forgotten_peer_is_not_probed(void **state)
{
    struct fixture *f = *state;
    for (uint64_t node = 1; node <= 20; node++)
        detector_failed(f->d, node * 7 % 23, DYN_ERR_TIMEOUT);
    for (uint64_t node = 1; node <= 20; node++) {
        if (node * 7 % 23 != 11)
            detector_forget(f->d, node * 7 % 23);
    }
    detector_forget(f->d, 999);
    assert_true(detector_up(f->d, 7));
    assert_false(detector_up(f->d, 11));
    f->log[0] = '\0';
    run_until(f, SECOND);
    assert_string_equal(f->log, "probe 11@1 ");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_peer_never_heard_of_is_up),
        TEST(test_a_failed_request_takes_only_its_peer_down),
        TEST(test_an_error_about_the_request_says_nothing_of_the_peer),
        TEST(test_probes_slow_down_to_their_limit),
        TEST(test_failures_while_down_do_not_start_over),
        TEST(test_any_answer_brings_a_peer_back_and_ends_its_probes),
        TEST(test_round_trip_times_are_smoothed),
        TEST(test_a_forgotten_peer_is_not_probed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
