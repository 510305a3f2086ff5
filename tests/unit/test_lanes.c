/* SPDX-License-Identifier: Apache-2.0 */
/* Threads for a loop: in order within a lane of one thread, and nothing is lost at the end. */
#include <stdatomic.h>

#include "adapter/lanes.h"
#include "base/mem.h"
#include "unit.h"

#define JOBS 200

struct work {
    struct lane_job job;
    unsigned number;
    unsigned *ran, *finished; /* how many did before */
};

static void run(struct lane_job *job)
{
    struct work *w = container_of(job, struct work, job);
    assert_int_equal(*w->ran, w->number);
    (*w->ran)++;
}

static void finish(struct lane_job *job)
{
    struct work *w = container_of(job, struct work, job);
    assert_int_equal(*w->finished, w->number);
    (*w->finished)++;
}

static void count_wakes(void *ctx)
{
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

static void test_jobs_of_one_thread_run_in_their_order_and_all_of_them(void **state)
{
    static const unsigned threads[1] = {1};
    struct work work[JOBS];
    unsigned ran = 0, finished = 0;
    atomic_uint wakes = 0;
    (void)state;
    struct lanes *l = lanes_new(threads, 1, count_wakes, &wakes);
    for (unsigned i = 0; i < JOBS; i++) {
        work[i] = (struct work){{.run = run, .finish = finish}, i, &ran, &finished};
        lanes_submit(l, 0, &work[i].job);
        if (i % 50 == 0)
            lanes_poll(l);
    }
    assert_int_equal(lanes_active(l), JOBS - finished);
    lanes_free(l);
    assert_int_equal(ran, JOBS);
    assert_int_equal(finished, JOBS);
    assert_true(atomic_load(&wakes) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_of_one_thread_run_in_their_order_and_all_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
