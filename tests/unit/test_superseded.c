/* SPDX-License-Identifier: Apache-2.0 */
/* What makes a thin version known to be old, and what goes with it. */
#include "engine/thin/superseded.h"

#include <stdlib.h>

#include "histories.h"
#include "unit.h"

static void add_file(struct object *o, uint64_t counter, const struct dot *value_dot, uint64_t size)
{
    struct sibling s = {.type = SIBLING_FILE, .dot = dot_of(1, counter), .value_dot = *value_dot};
    s.size = size;
    clock_advance(&o->clock, &s.dot, 0);
    object_insert(o, &s);
}

static void test_what_keepers_vouched_for_is_thin_live_and_not_hearsay(void **state)
{
    (void)state;
    const struct dot vouched = dot_of(1, 1), told = dot_of(1, 2), here = dot_of(1, 3);
    const struct dot old = dot_of(1, 9); /* which the object does not name any more */
    struct object o = OBJECT_EMPTY;
    struct row_state s = ROW_STATE_NONE;
    struct dot *dots = NULL;
    add_file(&o, 1, &vouched, 5);
    add_file(&o, 2, &told, 5);
    add_file(&o, 3, &here, 5);
    assert_int_equal(superseded_vouched(&o, &s, &dots), 0);
    assert_null(dots);
    row_state_add_thin(&s, &vouched);
    row_state_add_thin(&s, &told);
    row_state_add_thin(&s, &old);
    row_state_add_hearsay(&s, &told);
    assert_int_equal(superseded_vouched(&o, &s, &dots), 1);
    assert_true(dot_equal(&dots[0], &vouched));
    free(dots);
    row_state_release(&s);
    object_release(&o);
}

static void test_versions_of_the_value_go_and_their_clock_stays(void **state)
{
    (void)state;
    const struct dot gone = dot_of(1, 1), other = dot_of(1, 3);
    struct object o = OBJECT_EMPTY;
    add_file(&o, 1, &gone, 5);
    add_file(&o, 2, &gone, 5); /* a chmod of it */
    add_file(&o, 3, &other, 5);
    assert_true(superseded_drop(&o, &gone));
    assert_int_equal(o.n, 1);
    assert_true(dot_equal(&o.siblings[0].value_dot, &other));
    const struct dot covered[] = {dot_of(1, 1), dot_of(1, 2)};
    assert_true(clock_covers(&o.clock, &covered[0]) && clock_covers(&o.clock, &covered[1]));
    assert_false(superseded_drop(&o, &gone));
    object_release(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_keepers_vouched_for_is_thin_live_and_not_hearsay),
        cmocka_unit_test(test_versions_of_the_value_go_and_their_clock_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
