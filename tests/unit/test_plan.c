/* SPDX-License-Identifier: Apache-2.0 */
/* What a staged change would do, and which ones are refused (E14). */
#include "model/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "unit.h"

#define Q 64u

static char addresses[16][32];

static struct member_event join_of(uint64_t node, char *zone)
{
    snprintf(addresses[node % 16], 32, "127.0.0.1:%u", 7000 + (unsigned)node);
    return (struct member_event){.type = MEMBER_JOIN,
                                 .node = node,
                                 .weight = 100,
                                 .address = addresses[node % 16],
                                 .zone = zone};
}

static struct ring *born(uint32_t members, bool zones)
{
    static char east[] = "east", west[] = "west";
    struct history h = HISTORY_EMPTY;
    struct ring *r = NULL;
    struct member_event ev = {
        .stamp = 1, .type = MEMBER_CREATE, .cluster = 7, .q = Q, .n = 3, .r = 2, .w = 2};
    assert_int_equal(history_add(&h, &ev, NULL), DYN_OK);
    for (uint32_t i = 1; i <= members; i++) {
        ev = join_of(i, !zones ? NULL : i == 1 ? east : west);
        ev.stamp = 1 + i;
        assert_int_equal(history_add(&h, &ev, NULL), DYN_OK);
    }
    assert_int_equal(ring_build(&h, &r), DYN_OK);
    history_release(&h);
    return r;
}

static void stage(struct plan *p, const struct ring *r, struct member_event part)
{
    const char *rule = "none";
    if (plan_stage(p, r, &part, &rule) != DYN_OK)
        fail_msg("refused: %s", rule);
}

static const char *refusal(const struct ring *r, struct member_event part)
{
    struct plan p = PLAN_EMPTY;
    const char *rule = NULL;
    assert_int_equal(plan_stage(&p, r, &part, &rule), DYN_ERR_INVALID);
    assert_int_equal(p.n, 0);
    return rule;
}

static void test_a_join_moves_its_share_and_no_more(void **state)
{
    (void)state;
    struct ring *r = born(3, false);
    struct plan p = PLAN_EMPTY;
    struct plan_outcome o;
    stage(&p, r, join_of(4, NULL));
    assert_int_equal(plan_outcome(&p, r, 1, &o), DYN_OK);
    assert_null(o.refused);
    assert_int_equal(o.copies_moved, Q * 3 / 4);
    assert_int_equal(o.n_nodes, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(o.nodes[i].copies_after, Q * 3 / 4);
        assert_int_equal(o.nodes[i].gains, o.nodes[i].node == 4 ? Q * 3 / 4 : 0);
    }
    assert_int_equal(o.balance_after, 1000);
    assert_memory_equal(o.change.base, ring_config(r), DIGEST_LEN);
    plan_outcome_release(&o);
    plan_release(&p);
    ring_unref(r);
}

static void test_fewer_members_than_copies_are_refused(void **state)
{
    (void)state;
    struct ring *r = born(3, false);
    struct plan p = PLAN_EMPTY;
    struct plan_outcome o;
    stage(&p, r, (struct member_event){.type = MEMBER_LEAVE, .node = 2});
    assert_int_equal(plan_outcome(&p, r, 1, &o), DYN_OK);
    assert_non_null(strstr(o.refused, "fewer than the 3 copies"));
    plan_outcome_release(&o);
    stage(&p, r, join_of(4, NULL)); /* with another in the same change it is safe */
    assert_int_equal(plan_outcome(&p, r, 1, &o), DYN_OK);
    assert_null(o.refused);
    plan_outcome_release(&o);
    plan_release(&p);
    ring_unref(r);
}

static void test_copies_in_fewer_zones_are_refused(void **state)
{
    (void)state;
    struct ring *r = born(5, true);
    struct plan p = PLAN_EMPTY;
    struct plan_outcome o;
    stage(&p, r, (struct member_event){.type = MEMBER_LEAVE, .node = 1}); /* all there is of east */
    assert_int_equal(plan_outcome(&p, r, 2, &o), DYN_OK);
    assert_int_equal(o.weakest_before, 2);
    assert_int_equal(o.weakest_after, 1);
    assert_non_null(strstr(o.refused, "1 zones instead of 2"));
    plan_outcome_release(&o);
    plan_release(&p);
    ring_unref(r);
}

static void test_the_last_copies_are_not_removed(void **state)
{
    (void)state;
    struct ring *r = born(5, false);
    struct plan p = PLAN_EMPTY;
    struct plan_outcome o;
    stage(&p, r, (struct member_event){.type = MEMBER_REMOVE, .node = 2});
    assert_int_equal(plan_outcome(&p, r, 1, &o), DYN_OK);
    assert_null(o.refused);
    plan_outcome_release(&o);
    stage(&p, r, (struct member_event){.type = MEMBER_REMOVE, .node = 3});
    assert_int_equal(plan_outcome(&p, r, 1, &o), DYN_OK);
    assert_non_null(strstr(o.refused, "only 1 would be left to copy it from"));
    plan_outcome_release(&o);
    plan_release(&p);
    ring_unref(r);
}

static void test_what_still_moves_is_not_moved_again(void **state)
{
    (void)state;
    struct ring *r = born(3, false), *moving = NULL;
    struct plan p = PLAN_EMPTY;
    struct plan_outcome o, next;
    stage(&p, r, join_of(4, NULL));
    assert_int_equal(plan_outcome(&p, r, 1, &o), DYN_OK);
    moving = o.after;
    plan_release(&p);
    stage(&p, moving, join_of(5, NULL));
    assert_int_equal(plan_outcome(&p, moving, 1, &next), DYN_OK);
    assert_non_null(strstr(next.refused, "still moving"));
    plan_outcome_release(&next);
    plan_outcome_release(&o);
    plan_release(&p);
    ring_unref(r);
}

/* Else a machine that dies while it joins would leave a move that nobody can end. */
static void test_whom_a_move_waits_for_may_be_taken_out(void **state)
{
    (void)state;
    struct ring *r = born(3, false), *moving = NULL;
    struct plan p = PLAN_EMPTY;
    struct plan_outcome o, next;
    stage(&p, r, join_of(4, NULL));
    assert_int_equal(plan_outcome(&p, r, 1, &o), DYN_OK);
    moving = o.after;
    assert_true(ring_moving(moving) > 0);
    plan_release(&p);
    stage(&p, moving, (struct member_event){.type = MEMBER_REMOVE, .node = 4});
    assert_int_equal(plan_outcome(&p, moving, 1, &next), DYN_OK);
    assert_null(next.refused);
    assert_false(next.impossible);
    assert_int_equal(ring_moving(next.after), 0); /* back to what it was */
    plan_outcome_release(&next);
    plan_release(&p);
    struct member_event heir = join_of(5, NULL);
    heir.replaces = 4;
    stage(&p, moving, heir);
    assert_int_equal(plan_outcome(&p, moving, 1, &next), DYN_OK);
    assert_null(next.refused);
    assert_int_equal(ring_moving(next.after), ring_moving(moving));
    plan_outcome_release(&next);
    plan_release(&p);
    stage(&p, moving, (struct member_event){.type = MEMBER_REMOVE, .node = 2});
    assert_int_equal(plan_outcome(&p, moving, 1, &next), DYN_OK);
    assert_null(next.refused); /* it is one of those that 4 fills from */
    plan_outcome_release(&next);
    plan_release(&p);
    stage(&p, moving, (struct member_event){.type = MEMBER_LEAVE, .node = 2});
    assert_int_equal(plan_outcome(&p, moving, 1, &next), DYN_OK);
    assert_non_null(strstr(next.refused, "still moving")); /* that can wait */
    plan_outcome_release(&next);
    plan_outcome_release(&o);
    plan_release(&p);
    ring_unref(r);
}

static void test_parts_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct ring *r = born(3, false);
    struct member_event again = join_of(2, NULL), taken = join_of(9, NULL);
    taken.address = addresses[1];
    assert_non_null(strstr(refusal(r, again), "a member already"));
    assert_non_null(strstr(refusal(r, taken), "another member has this address"));
    assert_non_null(strstr(refusal(r, (struct member_event){.type = MEMBER_LEAVE, .node = 77}),
                           "no such member"));
    assert_non_null(
        strstr(refusal(r, (struct member_event){.type = MEMBER_WEIGHT, .node = 1, .weight = 1001}),
               "1 to 1000"));
    ring_unref(r);
}

static void test_the_later_word_about_a_node_counts(void **state)
{
    (void)state;
    struct ring *r = born(4, false);
    struct plan p = PLAN_EMPTY, back = PLAN_EMPTY;
    struct buf bytes = BUF_EMPTY;
    stage(&p, r, (struct member_event){.type = MEMBER_LEAVE, .node = 2});
    stage(&p, r, (struct member_event){.type = MEMBER_REMOVE, .node = 2});
    assert_int_equal(p.n, 1);
    assert_int_equal(p.parts[0].type, MEMBER_REMOVE);
    stage(&p, r, (struct member_event){.type = MEMBER_WEIGHT, .node = 3, .weight = 50});
    plan_encode(&p, &bytes);
    assert_int_equal(plan_decode(buf_slice(&bytes), &back), DYN_OK);
    assert_int_equal(back.n, 2);
    for (size_t cut = 1; cut < bytes.len; cut++)
        assert_int_equal(plan_decode(slice_of(bytes.data, cut), &back), DYN_ERR_CORRUPT);
    assert_true(plan_unstage(&p, 2));
    assert_false(plan_unstage(&p, 2));
    assert_int_equal(p.n, 1);
    buf_release(&bytes);
    plan_release(&p);
    plan_release(&back);
    ring_unref(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_join_moves_its_share_and_no_more),
        cmocka_unit_test(test_fewer_members_than_copies_are_refused),
        cmocka_unit_test(test_copies_in_fewer_zones_are_refused),
        cmocka_unit_test(test_the_last_copies_are_not_removed),
        cmocka_unit_test(test_what_still_moves_is_not_moved_again),
        cmocka_unit_test(test_whom_a_move_waits_for_may_be_taken_out),
        cmocka_unit_test(test_parts_that_make_no_sense_are_refused),
        cmocka_unit_test(test_the_later_word_about_a_node_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
