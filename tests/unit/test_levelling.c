/* SPDX-License-Identifier: Apache-2.0 */
/* Passing primaries over: loads come below what is permitted wherever chains of swaps can do that,
 * and rows stay what they must be. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "histories.h"
#include "model/levelling.h"
#include "unit.h"

enum { Q = 128, KEPT = 6, N = 3, MEMBERS = 10 };

static void loads(const struct levelling *lv, uint32_t *load)
{
    memset(load, 0, lv->members * sizeof(*load));
    for (uint32_t row = 0; row < lv->q; row++) {
        for (uint32_t k = 0; k < lv->n; k++)
            load[lv->rows[row * lv->kept + k]]++;
    }
}

static int compare(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

static void assert_same_members(const uint16_t *a, const uint16_t *b)
{
    uint16_t x[KEPT], y[KEPT];
    memcpy(x, a, sizeof(x));
    memcpy(y, b, sizeof(y));
    qsort(x, KEPT, sizeof(x[0]), compare);
    qsort(y, KEPT, sizeof(y[0]), compare);
    assert_memory_equal(x, y, sizeof(x));
}

/* Random rows of distinct members, low numbers more often. */
static void random_rows(uint64_t *seed, uint16_t *rows)
{
    for (uint32_t row = 0; row < Q; row++) {
        uint16_t all[MEMBERS];
        for (uint16_t i = 0; i < MEMBERS; i++)
            all[i] = i;
        for (uint32_t k = 0; k < KEPT; k++) {
            uint32_t left = MEMBERS - k, a = (uint32_t)random_below(seed, left);
            uint32_t b = (uint32_t)random_below(seed, left), i = k + (a < b ? a : b);
            rows[row * KEPT + k] = all[i];
            memmove(&all[k + 1], &all[k], (i - k) * sizeof(all[0]));
            all[k] = rows[row * KEPT + k];
        }
    }
}

/* Nobody that rows could pass on to from a member still over, in whatever number of steps. */
static void assert_no_room_in_reach(const struct levelling *lv, const uint32_t *load)
{
    bool reached[MEMBERS], more = true;
    for (uint32_t i = 0; i < MEMBERS; i++)
        reached[i] = load[i] > lv->most[i];
    while (more) {
        more = false;
        for (uint32_t row = 0; row < Q; row++) {
            const uint16_t *list = &lv->rows[row * KEPT];
            bool from = reached[list[1]] || reached[list[2]];
            for (uint32_t k = N; from && k < KEPT; k++) {
                more |= !reached[list[k]];
                reached[list[k]] = true;
            }
        }
    }
    for (uint32_t i = 0; i < MEMBERS; i++)
        assert_true(!reached[i] || load[i] >= lv->most[i]);
}

static void test_loads_come_down_to_what_is_permitted(void **state)
{
    (void)state;
    uint64_t seed = 5;
    uint32_t zone[MEMBERS], most[MEMBERS], load[MEMBERS], levelled = 0;
    for (uint32_t round = 0; round < 50; round++) {
        uint16_t rows[Q * KEPT], before[Q * KEPT];
        random_rows(&seed, rows);
        memcpy(before, rows, sizeof(rows));
        for (uint32_t i = 0; i < MEMBERS; i++) {
            zone[i] = i;
            most[i] = (Q * N + MEMBERS - 1) / MEMBERS + round % 5 * 6;
        }
        struct levelling lv = {Q, KEPT, rows, N, MEMBERS, zone, most, 1};
        uint32_t left = levelling_run(&lv), over = 0;
        loads(&lv, load);
        for (uint32_t i = 0; i < MEMBERS; i++)
            over += load[i] > most[i] ? load[i] - most[i] : 0;
        assert_int_equal(left, over);
        assert_no_room_in_reach(&lv, load);
        levelled += left == 0;
        for (uint32_t row = 0; row < Q; row++) {
            assert_int_equal(rows[row * KEPT], before[row * KEPT]);
            assert_same_members(&rows[row * KEPT], &before[row * KEPT]);
        }
    }
    assert_in_range(levelled, 1, 49); /* rows of either kind have been met */
}

static void test_what_is_level_stays_as_it_is(void **state)
{
    (void)state;
    uint16_t rows[6 * 3], before[6 * 3];
    uint32_t zone[6] = {0, 1, 2, 3, 4, 5}, most[6] = {2, 2, 2, 2, 2, 2};
    for (uint16_t row = 0; row < 6; row++) {
        for (uint16_t k = 0; k < 3; k++)
            rows[row * 3 + k] = (uint16_t)((row + k) % 6);
    }
    memcpy(before, rows, sizeof(rows));
    struct levelling lv = {6, 3, rows, 2, 6, zone, most, 1};
    assert_int_equal(levelling_run(&lv), 0);
    assert_memory_equal(rows, before, sizeof(rows));
}

/* Member 1 is over; only 2 can follow it, which is full and must make room with 3. */
static void test_a_chain_makes_room_where_nobody_near_has_any(void **state)
{
    (void)state;
    uint16_t rows[] = {0, 1, 2, 4, 1, 2, 5, 2, 3};
    uint32_t zone[6] = {0, 1, 2, 3, 4, 5}, most[6] = {1, 1, 1, 1, 1, 1};
    struct levelling lv = {3, 3, rows, 2, 6, zone, most, 1};
    assert_int_equal(levelling_run(&lv), 0);
    const uint16_t expected[] = {0, 2, 1, 4, 1, 2, 5, 3, 2};
    assert_memory_equal(rows, expected, sizeof(rows));
}

static void test_zones_stay_spread(void **state)
{
    (void)state;
    uint16_t rows[] = {0, 1, 2, 3}; /* 1 is over; 2 is in the first's zone, 3 is in a third one */
    uint32_t zone[4] = {0, 1, 0, 2}, most[4] = {1, 0, 1, 1};
    struct levelling lv = {1, 4, rows, 2, 4, zone, most, 1};
    assert_int_equal(levelling_run(&lv), 0);
    const uint16_t expected[] = {0, 3, 1, 2};
    assert_memory_equal(rows, expected, sizeof(rows));
    zone[3] = 0; /* now nobody else is in another zone */
    uint16_t stuck[] = {0, 1, 2, 3};
    lv.rows = stuck;
    assert_int_equal(levelling_run(&lv), 1);
    assert_int_equal(stuck[1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loads_come_down_to_what_is_permitted),
        cmocka_unit_test(test_what_is_level_stays_as_it_is),
        cmocka_unit_test(test_a_chain_makes_room_where_nobody_near_has_any),
        cmocka_unit_test(test_zones_stay_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
