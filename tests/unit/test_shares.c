/* SPDX-License-Identifier: Apache-2.0 */
/* Fair shares in whole numbers: their sum, their bounds, that no other deal is more even, and that
 * one member's change moves nothing between others. Over random members, weights and zones. */
#include <string.h>

#include "histories.h"
#include "model/shares.h"
#include "unit.h"

enum { MEMBERS = 12, ZONES = 5, ROUNDS = 3000 };

static uint32_t members_of(const struct share *s, uint32_t zone)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < MEMBERS; i++)
        n += s[i].weight > 0 && (zone == ZONES || s[i].zone == zone);
    return n;
}

/* Some may have weight 0; at least one has more. */
static void random_members(uint64_t *seed, struct share *s)
{
    uint32_t zones = 1 + (uint32_t)random_below(seed, ZONES);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        uint32_t weight = random_below(seed, 3) == 0 ? 100 : 1 + (uint32_t)random_below(seed, 300);
        s[i] = (struct share){.weight = random_below(seed, 3) == 0 && i > 0 ? 0 : weight,
                              .zone = (uint32_t)random_below(seed, zones)};
    }
}

static uint32_t zone_seats(const struct share *s, uint32_t zone)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < MEMBERS; i++)
        sum += s[i].zone == zone ? s[i].seats : 0;
    return sum;
}

/* The bounds of copies, from what lists are, not from the code. */
static void zone_bounds(const struct share *s, uint32_t zone, uint32_t replicas, uint32_t q,
                        uint32_t *least, uint32_t *most)
{
    uint32_t size[ZONES], left = replicas, round = 0, taken = 0, before = 0;
    for (uint32_t z = 0; z < ZONES; z++)
        size[z] = members_of(s, z);
    for (bool any = true; any && left > 0; round++) {
        uint32_t able = 0;
        for (uint32_t z = 0; z < ZONES; z++)
            able += size[z] > round;
        any = able > 0;
        before = taken;
        taken += size[zone] > round;
        if (able <= left)
            before = taken; /* a round that all of them are in */
        left -= able < left ? able : left;
    }
    *least = before * q;
    *most = taken * q;
}

static void test_all_is_dealt_within_the_bounds_of_lists(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct share s[MEMBERS];
        random_members(&seed, s);
        uint32_t n = 1 + (uint32_t)random_below(&seed, 5), q = 1u << random_below(&seed, 11);
        uint32_t members = members_of(s, ZONES), copies = n < members ? n : members, sum = 0;
        shares_deal(s, MEMBERS, ZONES, n, q * copies);
        for (uint32_t i = 0; i < MEMBERS; i++) {
            sum += s[i].seats;
            assert_in_range(s[i].seats, 0, s[i].weight == 0 ? 0 : q);
            assert_in_range(s[i].most, s[i].seats, q);
        }
        assert_int_equal(sum, q * copies);
        for (uint32_t z = 0; z < ZONES; z++) {
            uint32_t least, most;
            zone_bounds(s, z, n, q, &least, &most);
            assert_in_range(zone_seats(s, z), least, most);
        }
    }
}

static void test_tokens_are_all_dealt_however_few(void **state)
{
    (void)state;
    uint64_t seed = 4;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct share s[MEMBERS];
        random_members(&seed, s);
        uint32_t n = 1 + (uint32_t)random_below(&seed, 8), q = 1u << random_below(&seed, 8),
                 sum = 0;
        shares_deal(s, MEMBERS, ZONES, n, q);
        for (uint32_t i = 0; i < MEMBERS; i++)
            sum += s[i].seats;
        assert_int_equal(sum, q);
    }
}

/* No seat could move to somebody who would then be less loaded than its giver was, bounds kept. */
static void test_no_move_of_a_seat_would_even_the_load(void **state)
{
    (void)state;
    uint64_t seed = 2;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct share s[MEMBERS];
        random_members(&seed, s);
        uint32_t n = 1 + (uint32_t)random_below(&seed, 4), q = 256;
        uint32_t members = members_of(s, ZONES), copies = n < members ? n : members;
        shares_deal(s, MEMBERS, ZONES, n, q * copies);
        for (uint32_t a = 0; a < MEMBERS; a++) {
            for (uint32_t b = 0; b < MEMBERS; b++) {
                uint32_t least, most, ignored;
                if (s[a].seats == 0 || s[b].weight == 0 || s[b].seats == q)
                    continue;
                zone_bounds(s, s[a].zone, n, q, &least, &ignored);
                zone_bounds(s, s[b].zone, n, q, &ignored, &most);
                if (s[a].zone != s[b].zone &&
                    (zone_seats(s, s[a].zone) == least || zone_seats(s, s[b].zone) == most))
                    continue;
                assert_true((s[b].seats + 1) * s[a].weight >= s[a].seats * s[b].weight);
            }
        }
    }
}

static void test_what_one_gains_or_loses_nobody_else_does(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct share before[MEMBERS], after[MEMBERS];
        random_members(&seed, before);
        memcpy(after, before, sizeof(before));
        uint32_t n = 1 + (uint32_t)random_below(&seed, 4);
        uint32_t x = 1 + (uint32_t)random_below(&seed, MEMBERS - 1); /* not the one always there */
        after[x].weight = after[x].weight == 0 ? 1 + (uint32_t)random_below(&seed, 300) : 0;
        shares_deal(before, MEMBERS, ZONES, n, 1024);
        shares_deal(after, MEMBERS, ZONES, n, 1024);
        for (uint32_t i = 0; i < MEMBERS; i++) {
            if (i != x && after[x].weight > 0)
                assert_in_range(after[i].seats, 0, before[i].seats);
            else if (i != x)
                assert_in_range(before[i].seats, 0, after[i].seats);
        }
    }
}

static void test_slack_is_one_percent_and_never_below_whole_numbers(void **state)
{
    (void)state;
    struct share s[30];
    for (uint32_t q = 64; q <= 65536; q *= 2) {
        for (uint32_t i = 0; i < 30; i++)
            s[i] = (struct share){.weight = 100, .zone = i};
        shares_deal(s, 30, 30, 3, 3 * q);
        uint32_t whole = (3 * q + 29) / 30, slack = 3 * q * 101 / 3000;
        for (uint32_t i = 0; i < 30; i++)
            assert_int_equal(s[i].most, whole > slack ? whole : slack);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_dealt_within_the_bounds_of_lists),
        cmocka_unit_test(test_tokens_are_all_dealt_however_few),
        cmocka_unit_test(test_no_move_of_a_seat_would_even_the_load),
        cmocka_unit_test(test_what_one_gains_or_loses_nobody_else_does),
        cmocka_unit_test(test_slack_is_one_percent_and_never_below_whole_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
