/* SPDX-License-Identifier: Apache-2.0 */
/* A printed seed must lead back to what it showed: the same seed gives the same history to the last
 * event, and another seed another one. */
#include "sim_run.h"
#include "unit.h"

static void test_the_same_seed_gives_the_same_trace(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct sim_result a, b;
        sim_run(seed, BUG_NONE, NULL, &a);
        void *noise = test_malloc(1000 + 100 * (size_t)seed); /* addresses must not matter */
        sim_run(seed, BUG_NONE, NULL, &b);
        test_free(noise);
        assert_true(a.events > 100);
        assert_int_equal(a.events, b.events);
        assert_true(a.trace_hash == b.trace_hash);
        assert_int_equal(a.simulated_us, b.simulated_us);
    }
}

static void test_another_seed_gives_another_trace(void **state)
{
    (void)state;
    struct sim_result a, b;
    sim_run(1, BUG_NONE, NULL, &a);
    sim_run(2, BUG_NONE, NULL, &b);
    assert_true(a.trace_hash != b.trace_hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_seed_gives_the_same_trace),
        cmocka_unit_test(test_another_seed_gives_another_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
