/* SPDX-License-Identifier: Apache-2.0 */
/* A move is closed when so many of its old voters know that nobody can gather R by the old view:
 * N - R + 1, and not before; who does not know learns it by being asked. */
#include "engine/transfer/closing.h"

#include "base/err.h"
#include "played_cluster.h"
#include "unit.h"

#define SECOND 1000000u

struct watch {
    uint64_t asked; /* "do you know?" */
    bool closing_lost, gossip_lost;
    uint64_t deaf_to; /* node that is not reached by that question; 0: all are */
    uint64_t also_deaf;
};

static bool judge(void *arg, uint64_t from, uint64_t to, uint8_t type, struct buf *body)
{
    struct watch *w = arg;
    (void)from;
    (void)body;
    if (type == FRAME_GOSSIP && w->gossip_lost)
        return false;
    if (type != FRAME_FENCED)
        return true;
    w->asked++;
    return !w->closing_lost && to != w->deaf_to && to != w->also_deaf;
}

/* Four nodes, of which the fourth leaves; what was its has filled, and cannot be closed yet. */
static struct played_cluster *filled(struct watch *w)
{
    struct played_cluster *c = played_cluster_new(4, 3, 2, 2);
    *w = (struct watch){.closing_lost = true};
    c->judge = judge;
    c->judge_arg = w;
    assert_int_equal(played_write(c, 0, "k", "v", 0, slice_of(NULL, 0)), DYN_OK);
    const struct member_event part = {.type = MEMBER_LEAVE, .node = 4};
    played_change(c, 0, &part);
    played_run(c, 10 * SECOND);
    return c;
}

static struct ring *ring_at(const struct played_cluster *c, uint32_t i)
{
    return engine_ring(c->nodes[i].engine);
}

static void test_nothing_is_closed_that_nobody_agrees_to(void **state)
{
    (void)state;
    struct watch w;
    struct played_cluster *c = filled(&w);
    uint32_t n = ring_moving(ring_at(c, 0));
    assert_int_equal(n, 48);
    for (uint32_t p = 0; p < ring_q(ring_at(c, 0)); p++) {
        const struct move *mv = ring_move(ring_at(c, 0), p);
        assert_true(mv == NULL || mv->phase == MOVE_FILLED);
    }
    uint64_t asked = w.asked;
    played_run(c, 15 * SECOND);
    assert_true(w.asked > asked); /* again and again */
    assert_int_equal(ring_moving(ring_at(c, 0)), n);
    w.closing_lost = false;
    played_run(c, 15 * SECOND);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(ring_moving(ring_at(c, i)), 0);
    played_cluster_free(c);
}

/* N = 3, R = 2: one of the three old voters may be away; here the one that leaves, in all moves. */
static void test_one_old_voter_may_be_away(void **state)
{
    (void)state;
    struct watch w;
    struct played_cluster *c = filled(&w);
    w.deaf_to = 4;
    w.closing_lost = false;
    played_run(c, 30 * SECOND);
    assert_int_equal(ring_moving(ring_at(c, 0)), 0);
    played_cluster_free(c);
}

/* And not two of them: only what has no second voter among those who are away is closed. */
static void test_two_old_voters_may_not(void **state)
{
    (void)state;
    struct watch w;
    struct played_cluster *c = filled(&w);
    w.deaf_to = 4;
    w.also_deaf = 1;
    w.closing_lost = false;
    uint32_t closable = 0;
    struct ring *before = ring_ref(ring_at(c, 1));
    for (uint32_t p = 0; p < ring_q(before); p++) {
        const struct move *mv = ring_move(before, p);
        bool first_votes = false;
        for (uint32_t i = 0; mv != NULL && i < mv->n_voters; i++)
            first_votes |= mv->voters[i] == 1;
        closable += mv != NULL && !first_votes;
    }
    assert_true(closable > 0);
    played_run(c, 60 * SECOND);
    /* those that are left: the first node is an old voter of each, and asks about none of them */
    assert_int_equal(ring_moving(ring_at(c, 1)), ring_moving(before) - closable);
    ring_unref(before);
    w.also_deaf = 0;
    played_run(c, 30 * SECOND);
    assert_int_equal(ring_moving(ring_at(c, 1)), 0);
    played_cluster_free(c);
}

static void test_who_does_not_know_learns_it_by_being_asked(void **state)
{
    (void)state;
    struct watch w;
    struct played_cluster *c = played_cluster_new(4, 3, 2, 2);
    w = (struct watch){.gossip_lost = true};
    c->judge = judge;
    c->judge_arg = &w;
    const struct member_event part = {.type = MEMBER_LEAVE, .node = 4};
    played_change(c, 0, &part);
    played_run(c, 60 * SECOND);
    for (uint32_t i = 0; i < 3; i++) { /* what is to be closed by others they need not know yet */
        assert_int_equal(ring_member_count(ring_at(c, i)), 3);
        for (uint32_t p = 0; p < ring_q(ring_at(c, i)); p++) {
            const struct move *mv = ring_move(ring_at(c, i), p);
            assert_false(mv != NULL && move_is_new(mv, i + 1));
        }
    }
    assert_true(w.asked > 0);
    played_cluster_free(c);
}

/* A node that has filled and is lost before it has asked. */
static void test_the_other_owners_ask_when_nobody_new_is_up(void **state)
{
    (void)state;
    struct watch w;
    struct played_cluster *c = filled(&w);
    uint32_t its = 0;
    for (uint32_t p = 0; p < ring_q(ring_at(c, 0)); p++) {
        const struct move *mv = ring_move(ring_at(c, 0), p);
        its += mv != NULL && move_is_new(mv, 3);
    }
    assert_true(its > 0);
    played_crash(c, 2, false);
    w.closing_lost = false;
    played_run(c, 60 * SECOND);
    assert_int_equal(ring_moving(ring_at(c, 0)), 0);
    assert_int_equal(ring_moving(ring_at(c, 1)), 0);
    played_restart(c, 2);
    played_run(c, 30 * SECOND);
    assert_int_equal(ring_moving(ring_at(c, 2)), 0);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_closed_that_nobody_agrees_to),
        cmocka_unit_test(test_one_old_voter_may_be_away),
        cmocka_unit_test(test_two_old_voters_may_not),
        cmocka_unit_test(test_who_does_not_know_learns_it_by_being_asked),
        cmocka_unit_test(test_the_other_owners_ask_when_nobody_new_is_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
