/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets that lose little, and quantiles that are right to an eighth. */
#include "base/histogram.h"
#include "unit.h"

static void test_each_value_falls_below_the_bound_of_its_bucket_by_an_eighth_at_most(void **state)
{
    (void)state;
    for (uint64_t v = 0; v < 1ull << 32; v = v * 9 / 8 + 1) {
        struct histogram h = {0};
        histogram_add(&h, v);
        uint64_t bound = histogram_quantile(&h, 5000);
        assert_true(bound >= v);
        assert_true(bound <= v + v / 8);
    }
}

static void test_bounds_ascend_and_come_back_to_their_buckets(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        struct histogram h = {0};
        histogram_add_bucket(&h, histogram_bound(i), 3);
        assert_int_equal(h.counts[i], 3);
        if (i > 0)
            assert_true(histogram_bound(i) > histogram_bound(i - 1));
    }
}

static void test_quantiles_of_a_known_spread(void **state)
{
    (void)state;
    struct histogram h = {0};
    assert_int_equal(histogram_quantile(&h, 9990), 0);
    for (uint64_t i = 1; i <= 1000; i++)
        histogram_add(&h, i * 100);
    assert_in_range(histogram_quantile(&h, 5000), 50000, 57000);
    assert_in_range(histogram_quantile(&h, 9900), 99000, 112000);
    assert_in_range(histogram_quantile(&h, 9990), 99900, 113000);
    assert_in_range(histogram_quantile(&h, 10000), 100000, 113000);
    assert_in_range(histogram_quantile(&h, 0), 100, 113);
    assert_int_equal(h.sum, 50050000);
}

static void test_histograms_of_two_nodes_add_up(void **state)
{
    (void)state;
    struct histogram a = {0}, b = {0};
    for (int i = 0; i < 99; i++)
        histogram_add(&a, 10);
    histogram_add(&b, 1ull << 40); /* longer than anything has a bucket for */
    histogram_join(&a, &b);
    assert_int_equal(a.count, 100);
    assert_int_equal(histogram_quantile(&a, 5000), 10);
    assert_int_equal(histogram_quantile(&a, 9990), histogram_bound(HISTOGRAM_BUCKETS - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_value_falls_below_the_bound_of_its_bucket_by_an_eighth_at_most),
        cmocka_unit_test(test_bounds_ascend_and_come_back_to_their_buckets),
        cmocka_unit_test(test_quantiles_of_a_known_spread),
        cmocka_unit_test(test_histograms_of_two_nodes_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
