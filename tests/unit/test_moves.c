/* SPDX-License-Identifier: Apache-2.0 */
/* Who votes while a partition changes hands (E10, E13). */
#include <string.h>

#include "model/moves.h"
#include "unit.h"

enum { A = 1, B, C, D, E };

static struct moves m;
static uint64_t last[3]; /* what the configuration before gave */

static int begin(void **state)
{
    (void)state;
    moves_init(&m, 1);
    memcpy(last, (const uint64_t[]){A, B, C}, sizeof(last));
    return 0;
}

static int end(void **state)
{
    (void)state;
    moves_release(&m);
    return 0;
}

static void assign(uint32_t config, uint64_t x, uint64_t y, uint64_t z)
{
    const uint64_t row[] = {x, y, z};
    moves_assign(&m, config, 0, last, 3, row, 3);
    memcpy(last, row, sizeof(last));
}

static const struct move *move(void)
{
    const struct move *mv = moves_find(&m, 0);
    assert_non_null(mv);
    return mv;
}

static void assert_settled(void)
{
    assert_null(moves_find(&m, 0));
    assert_int_equal(m.moving, 0);
}

static void test_a_new_owner_fills_then_the_old_voters_must_know(void **state)
{
    (void)state;
    uint64_t fences[2];
    assign(1, D, B, C);
    assert_int_equal(move()->phase, MOVE_FILLING);
    assert_int_equal(m.moving, 1);
    assert_true(move_is_filling(move(), D));
    assert_false(move_is_filling(move(), B));
    fences[0] = move_fence(move());
    moves_closed(&m, 1, 0); /* too early: nobody may close what is not filled */
    assert_int_equal(move()->phase, MOVE_FILLING);
    moves_filled(&m, 1, D, 0);
    assert_int_equal(move()->phase, MOVE_FILLED);
    assert_true(move_is_new(move(), D));
    fences[1] = move_fence(move());
    assert_true(fences[0] != fences[1]);
    moves_closed(&m, 1, 0);
    assert_settled();
}

static void test_all_new_owners_must_fill(void **state)
{
    (void)state;
    assign(1, D, E, C);
    moves_filled(&m, 1, D, 0);
    assert_int_equal(move()->phase, MOVE_FILLING);
    moves_filled(&m, 1, A, 0); /* no new owner */
    moves_filled(&m, 1, D, 0); /* said twice */
    assert_int_equal(move()->phase, MOVE_FILLING);
    moves_filled(&m, 1, E, 0);
    assert_int_equal(move()->phase, MOVE_FILLED);
}

static void test_what_was_filled_for_an_earlier_row_counts_no_more(void **state)
{
    (void)state;
    assign(1, D, B, C);
    assign(2, A, B, C);
    assert_settled(); /* back to what it was */
    assign(3, D, B, C);
    moves_filled(&m, 1, D, 0); /* D missed the writes in between */
    assert_int_equal(move()->phase, MOVE_FILLING);
    moves_filled(&m, 3, D, 0);
    assert_int_equal(move()->phase, MOVE_FILLED);
}

static void test_a_target_that_stays_keeps_what_it_filled(void **state)
{
    (void)state;
    assign(1, D, E, C);
    moves_filled(&m, 1, D, 0);
    assign(2, D, B, C);
    assert_int_equal(move()->phase, MOVE_FILLED);
}

static void test_another_order_of_the_same_nodes_moves_nothing(void **state)
{
    (void)state;
    assign(1, C, A, B);
    assert_settled();
}

static void test_a_removed_node_votes_no_more(void **state)
{
    (void)state;
    assign(1, D, B, C);
    moves_forget(&m, A);
    assert_int_equal(move()->n_voters, 2);
    assert_int_equal(move()->phase, MOVE_FILLING);
    moves_filled(&m, 1, D, 0);
    moves_closed(&m, 1, 0);
    assert_settled();
}

static void test_with_nobody_to_fill_from_it_settles(void **state)
{
    (void)state;
    assign(1, D, E, 9);
    moves_forget(&m, A);
    moves_forget(&m, B);
    assert_int_equal(m.moving, 1);
    moves_forget(&m, C);
    assert_settled();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(test_a_new_owner_fills_then_the_old_voters_must_know),
        T(test_all_new_owners_must_fill),
        T(test_what_was_filled_for_an_earlier_row_counts_no_more),
        T(test_a_target_that_stays_keeps_what_it_filled),
        T(test_another_order_of_the_same_nodes_moves_nothing),
        T(test_a_removed_node_votes_no_more),
        T(test_with_nobody_to_fill_from_it_settles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
