/* SPDX-License-Identifier: Apache-2.0 */
/* The placements that the bench compares are those of the paper's section 6.2. */
#include <math.h>
#include <string.h>

#include "../bench/strategies.h"
#include "unit.h"

static void make(struct strategy *s, int which, uint64_t seed)
{
    if (which == 0)
        strategy_tokens(s, 30, 3, 10, seed);
    else if (which == 1)
        strategy_partitions(s, 30, 3, 10, 1000, seed);
    else
        strategy_ring(s, 30, 3, 1024, seed);
}

static void test_every_part_is_on_distinct_nodes_and_parts_ascend(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        struct strategy s;
        make(&s, which, 9);
        for (uint32_t i = 0; i < s.parts; i++) {
            const uint16_t *l = &s.list[(size_t)i * 3];
            assert_true(l[0] < 30 && l[1] < 30 && l[2] < 30);
            assert_true(l[0] != l[1] && l[1] != l[2] && l[0] != l[2]);
            assert_true(i == 0 || s.ends[i - 1] < s.ends[i]);
            assert_int_equal(strategy_find(&s, s.ends[i]), i);
            assert_int_equal(strategy_find(&s, s.ends[i] + 1), (i + 1) % s.parts);
        }
        strategy_release(&s);
    }
}

static void test_parts_are_as_many_and_as_large_as_each_strategy_says(void **state)
{
    (void)state;
    struct strategy s[3];
    for (int which = 0; which < 3; which++)
        make(&s[which], which, 9);
    assert_int_equal(s[0].parts, 300);
    assert_int_equal(s[0].units, 300);
    assert_int_equal(s[1].parts, 1000);
    assert_int_equal(s[1].units, 1300);
    assert_int_equal(s[2].parts, 1024);
    assert_int_equal(s[2].units, 1024);
    uint32_t small = 0;
    for (uint32_t i = 1; i < 300; i++)
        small += s[0].ends[i] - s[0].ends[i - 1] < UINT64_MAX / 600;
    assert_in_range(small, 80, 155); /* half the mean or less: 39 % of random ones */
    for (uint32_t i = 1; i < 1000; i++)
        assert_true(s[1].ends[i] - s[1].ends[i - 1] - UINT64_MAX / 1000 <= 1);
    assert_true(s[1].ends[999] == UINT64_MAX && s[2].ends[1023] == UINT64_MAX);
    for (int which = 0; which < 3; which++)
        strategy_release(&s[which]);
}

/* Clockwise from a partition's end, the first tokens: as strategy 1 of the same draw has them. */
static void test_strategy_2_walks_from_the_end_of_the_partition(void **state)
{
    (void)state;
    struct strategy tokens, s;
    strategy_tokens(&tokens, 30, 3, 10, 4);
    strategy_partitions(&s, 30, 3, 10, 1000, 4);
    for (uint32_t i = 0; i < s.parts; i++) {
        uint32_t at = strategy_find(&tokens, s.ends[i]);
        assert_memory_equal(&s.list[(size_t)i * 3], &tokens.list[(size_t)at * 3],
                            3 * sizeof(s.list[0]));
    }
    strategy_release(&tokens);
    strategy_release(&s);
}

static void test_equal_seeds_give_equal_placements_and_others_do_not(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        struct strategy a, b, c;
        make(&a, which, 5);
        make(&b, which, 5);
        make(&c, which, 6);
        size_t size = (size_t)a.parts * 3 * sizeof(a.list[0]);
        assert_memory_equal(a.list, b.list, size);
        assert_memory_equal(a.ends, b.ends, a.parts * sizeof(a.ends[0]));
        assert_true(memcmp(a.list, c.list, size) != 0);
        strategy_release(&a);
        strategy_release(&b);
        strategy_release(&c);
    }
}

static void test_efficiency_is_mean_load_by_the_greatest(void **state)
{
    (void)state;
    uint64_t quarters[] = {UINT64_MAX / 4, UINT64_MAX / 2, UINT64_MAX / 4 * 3 + 2, UINT64_MAX};
    uint16_t list[] = {0, 1, 0, 2, 0, 1, 0, 2}; /* node 0 holds all, 1 and 2 half each */
    struct strategy s = {.parts = 4, .nodes = 3, .replicas = 2, .ends = quarters, .list = list};
    assert_true(fabs(strategy_efficiency(&s) - 2.0 / 3) < 1e-9);
}

static void test_ours_is_at_least_99_percent_efficient_from_32_tokens_a_node(void **state)
{
    (void)state;
    for (uint32_t nodes = 3; nodes <= 64; nodes++) {
        uint32_t q = 32;
        while (q < 32 * nodes)
            q *= 2;
        struct strategy s;
        strategy_ring(&s, nodes, 3, q, nodes);
        assert_true(strategy_efficiency(&s) >= 0.99);
        strategy_release(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_is_on_distinct_nodes_and_parts_ascend),
        cmocka_unit_test(test_parts_are_as_many_and_as_large_as_each_strategy_says),
        cmocka_unit_test(test_strategy_2_walks_from_the_end_of_the_partition),
        cmocka_unit_test(test_equal_seeds_give_equal_placements_and_others_do_not),
        cmocka_unit_test(test_efficiency_is_mean_load_by_the_greatest),
        cmocka_unit_test(test_ours_is_at_least_99_percent_efficient_from_32_tokens_a_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
