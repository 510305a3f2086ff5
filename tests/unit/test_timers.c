/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated runs replay only if timers fire in one defined order: by time, then by the order in
 * which they were set. What a timer does while firing (set, cancel, set itself again) must not
 * change that. */
#include <stdlib.h>
#include <string.h>

#include "base/timers.h"
#include "unit.h"

struct fixture {
    struct timers timers;
    struct timer t[64];
    char fired[256]; /* one letter for each timer that fired: 'a' + its index */
    size_t n;
    struct timer *cancel, *set; /* what the next one that fires does to others */
    uint64_t set_at;
};

static void record(struct timer *t, void *arg)
{
    struct fixture *f = arg;
    assert_false(timer_is_set(t));
    f->fired[f->n++] = (char)('a' + (t - f->t));
    if (f->cancel != NULL)
        timer_cancel(&f->timers, f->cancel);
    if (f->set != NULL)
        timer_set(&f->timers, f->set, f->set_at);
    f->cancel = f->set = NULL;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    timers_init(&f->timers);
    for (size_t i = 0; i < 64; i++)
        timer_init(&f->t[i], record, f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    timers_release(&f->timers);
    free(f);
    return 0;
}

static void test_none_set_has_no_deadline(void **state)
{
    struct fixture *f = *state;
    assert_true(timers_next(&f->timers) == UINT64_MAX);
    timers_run(&f->timers, UINT64_MAX - 1);
    assert_string_equal(f->fired, "");
}

static void test_they_fire_in_order_of_time(void **state)
{
    struct fixture *f = *state;
    const uint64_t when[] = {50, 10, 40, 20, 30};
    for (size_t i = 0; i < 5; i++)
        timer_set(&f->timers, &f->t[i], when[i]);
    assert_int_equal(timers_next(&f->timers), 10);
    timers_run(&f->timers, 30);
    assert_string_equal(f->fired, "bde");
    assert_int_equal(timers_next(&f->timers), 40);
    timers_run(&f->timers, 50);
    assert_string_equal(f->fired, "bdeca");
}

static void test_equal_times_fire_in_the_order_they_were_set(void **state)
{
    struct fixture *f = *state;
    const size_t order[] = {7, 3, 12, 0, 9, 5};
    for (size_t i = 0; i < 6; i++)
        timer_set(&f->timers, &f->t[order[i]], 100);
    timers_run(&f->timers, 100);
    assert_string_equal(f->fired, "hdmajf");
}

static void test_setting_again_moves(void **state)
{
    struct fixture *f = *state;
    timer_set(&f->timers, &f->t[0], 10);
    timer_set(&f->timers, &f->t[1], 20);
    timer_set(&f->timers, &f->t[0], 30);
    timers_run(&f->timers, 30);
    assert_string_equal(f->fired, "ba");
}

static void test_a_cancelled_one_does_not_fire(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 5; i++)
        timer_set(&f->timers, &f->t[i], i);
    timer_cancel(&f->timers, &f->t[2]);
    timer_cancel(&f->timers, &f->t[2]);
    assert_false(timer_is_set(&f->t[2]));
    timers_run(&f->timers, 10);
    assert_string_equal(f->fired, "abde");
}

static void test_one_that_fires_can_cancel_the_next(void **state)
{
    struct fixture *f = *state;
    timer_set(&f->timers, &f->t[0], 10);
    timer_set(&f->timers, &f->t[1], 10);
    f->cancel = &f->t[1];
    timers_run(&f->timers, 10);
    assert_string_equal(f->fired, "a");
}

static void test_what_is_set_while_running_waits_for_the_next_run(void **state)
{
    struct fixture *f = *state;
    timer_set(&f->timers, &f->t[0], 10);
    f->set = &f->t[0];
    f->set_at = 5;
    timers_run(&f->timers, 10);
    assert_string_equal(f->fired, "a");
    assert_int_equal(timers_next(&f->timers), 5);
    timers_run(&f->timers, 10);
    assert_string_equal(f->fired, "aa");
}

static void test_any_order_of_setting_and_cancelling_keeps_the_heap(void **state)
{
    struct fixture *f = *state;
    uint32_t random = 12345;
    for (int round = 0; round < 2000; round++) {
        random = random * 1664525 + 1013904223;
        struct timer *t = &f->t[(random >> 8) % 64];
        if (random >> 31)
            timer_cancel(&f->timers, t);
        else
            timer_set(&f->timers, t, (random >> 16) % 100);
        uint64_t least = UINT64_MAX;
        for (size_t i = 0; i < 64; i++) {
            if (timer_is_set(&f->t[i]) && f->t[i].when_us < least)
                least = f->t[i].when_us;
        }
        assert_true(timers_next(&f->timers) == least);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_none_set_has_no_deadline, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_they_fire_in_order_of_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_equal_times_fire_in_the_order_they_were_set, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_setting_again_moves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_cancelled_one_does_not_fire, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_that_fires_can_cancel_the_next, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_set_while_running_waits_for_the_next_run,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_any_order_of_setting_and_cancelling_keeps_the_heap,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
