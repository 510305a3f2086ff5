/* SPDX-License-Identifier: Apache-2.0 */
/* The loop's promises: turns end with their hooks, deadlines are kept, other threads can wake it.
 */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "adapter/loop.h"
#include "unit.h"

struct fixture {
    struct loop *loop;
    struct loop_hook hook, other;
    unsigned ready, hooks, fires, woken, signals;
    int pipe[2];
    struct loop_watch *watch;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.loop = loop_new()};
    assert_non_null(f.loop);
    assert_int_equal(pipe(f.pipe), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    loop_watch_free(f->watch);
    close(f->pipe[0]);
    close(f->pipe[1]);
    loop_free(f->loop);
    return 0;
}

static void run_hook(void *arg)
{
    struct fixture *f = arg;
    f->hooks++;
}

static void run_other(void *arg)
{
    struct fixture *f = arg;
    loop_hook_arm(f->loop, &f->hook);
}

static void pipe_ready(void *arg, unsigned events)
{
    struct fixture *f = arg;
    char c;
    assert_int_equal(events, LOOP_READ);
    assert_int_equal(read(f->pipe[0], &c, 1), 1);
    f->ready++;
    assert_int_equal(f->hooks, 0);
    loop_hook_arm(f->loop, &f->other);
    loop_hook_arm(f->loop, &f->hook);
    loop_hook_arm(f->loop, &f->hook);
}

static void test_a_hook_runs_once_at_the_end_of_the_turn_that_armed_it(void **state)
{
    struct fixture *f = *state;
    loop_hook_init(&f->hook, run_hook, f);
    loop_hook_init(&f->other, run_hook, f);
    f->watch = loop_watch_new(f->loop, f->pipe[0], LOOP_READ, pipe_ready, f);
    assert_int_equal(write(f->pipe[1], "x", 1), 1);
    loop_turn(f->loop, UINT64_MAX);
    assert_int_equal(f->ready, 1);
    assert_int_equal(f->hooks, 2);
    loop_turn(f->loop, 1000);
    assert_int_equal(f->hooks, 2);
}

static void test_a_hook_armed_by_a_hook_runs_in_the_same_turn(void **state)
{
    struct fixture *f = *state;
    loop_hook_init(&f->hook, run_hook, f);
    loop_hook_init(&f->other, run_other, f);
    loop_hook_arm(f->loop, &f->other);
    loop_turn(f->loop, UINT64_MAX); /* an armed hook is a reason not to wait */
    assert_int_equal(f->hooks, 1);
}

static void test_a_cancelled_hook_does_not_run(void **state)
{
    struct fixture *f = *state;
    loop_hook_init(&f->hook, run_hook, f);
    loop_hook_arm(f->loop, &f->hook);
    loop_hook_cancel(&f->hook);
    loop_turn(f->loop, 1000);
    assert_int_equal(f->hooks, 0);
}

static void fire(struct timer *t, void *arg)
{
    struct fixture *f = arg;
    (void)t;
    f->fires++;
    loop_stop(f->loop);
}

static void test_a_timer_fires_not_before_its_time_and_soon_after(void **state)
{
    struct fixture *f = *state;
    struct timer t, late;
    timer_init(&t, fire, f);
    timer_init(&late, fire, f);
    uint64_t start = loop_now_us();
    timer_set(loop_timers(f->loop), &late, start + 60000000);
    loop_turn(f->loop, 1000); /* arms the alarm for the late one; the earlier must still ring */
    timer_set(loop_timers(f->loop), &t, start + 20000);
    loop_run(f->loop);
    uint64_t took = loop_now_us() - start;
    assert_int_equal(f->fires, 1);
    assert_true(took >= 20000);
    assert_true(took < 5000000);
    timer_cancel(loop_timers(f->loop), &late);
}

static void woken(void *arg)
{
    struct fixture *f = arg;
    f->woken++;
    loop_stop(f->loop);
}

static void *signaller(void *arg)
{
    loop_wake_signal(arg);
    loop_wake_signal(arg);
    return NULL;
}

static void test_another_thread_wakes_the_loop_and_signals_are_merged(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    struct loop_wake *w = loop_wake_new(f->loop, woken, f);
    assert_int_equal(pthread_create(&thread, NULL, signaller, w), 0);
    pthread_join(thread, NULL);
    loop_run(f->loop);
    loop_turn(f->loop, 1000);
    assert_int_equal(f->woken, 1);
    loop_wake_free(w);
}

static void caught(void *arg, int signo)
{
    struct fixture *f = arg;
    assert_int_equal(signo, SIGUSR1);
    f->signals++;
    loop_stop(f->loop);
}

static void test_a_signal_is_an_event_of_the_loop(void **state)
{
    struct fixture *f = *state;
    struct loop_signal *s = loop_signal_new(f->loop, SIGUSR1, caught, f);
    raise(SIGUSR1);
    loop_run(f->loop);
    assert_int_equal(f->signals, 1);
    loop_signal_free(s);
}

static void count_ready(void *arg, unsigned events)
{
    (void)events;
    ((struct fixture *)arg)->ready++;
}

static void test_a_paused_watch_is_silent_until_set_again(void **state)
{
    struct fixture *f = *state;
    f->watch = loop_watch_new(f->loop, f->pipe[0], LOOP_READ, count_ready, f);
    assert_int_equal(write(f->pipe[1], "x", 1), 1);
    loop_watch_set(f->watch, 0);
    loop_turn(f->loop, 2000);
    assert_int_equal(f->ready, 0);
    loop_watch_set(f->watch, LOOP_READ);
    loop_turn(f->loop, UINT64_MAX);
    assert_int_equal(f->ready, 1);
}

static void test_random_bytes_differ(void **state)
{
    (void)state;
    struct random_port r = loop_random();
    assert_true(random_u64(&r) != random_u64(&r));
}

int main(void)
{
#define LOOP_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        LOOP_TEST(test_a_hook_runs_once_at_the_end_of_the_turn_that_armed_it),
        LOOP_TEST(test_a_hook_armed_by_a_hook_runs_in_the_same_turn),
        LOOP_TEST(test_a_cancelled_hook_does_not_run),
        LOOP_TEST(test_a_timer_fires_not_before_its_time_and_soon_after),
        LOOP_TEST(test_another_thread_wakes_the_loop_and_signals_are_merged),
        LOOP_TEST(test_a_signal_is_an_event_of_the_loop),
        LOOP_TEST(test_a_paused_watch_is_silent_until_set_again),
        LOOP_TEST(test_random_bytes_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
