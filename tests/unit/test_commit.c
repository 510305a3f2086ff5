/* SPDX-License-Identifier: Apache-2.0 */
/* Votes about a change of membership travel as they are; one change follows a configuration, and
 * without a majority none does, unless it is forced (E14). */
#include "engine/membership/commit.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/plan.h"
#include "played_cluster.h"
#include "unit.h"

static void test_votes_come_back(void **state)
{
    (void)state;
    struct vote_request q = {.base = {1, 2}, .ballot = {3, 4}, .change = slice_str("change")}, got;
    struct vote_reply p = {.status = DYN_ERR_CONFLICT,
                           .promised = {5, 6},
                           .accepted = {7, 8},
                           .change = slice_str("other")},
                      told;
    struct buf b = BUF_EMPTY;
    vote_request_encode(&q, &b);
    assert_int_equal(vote_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_true(got.ballot.round == 3 && got.ballot.node == 4);
    assert_true(slice_equal(got.change, q.change));
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *cut = mem_dup(b.data, n);
        assert_int_equal(vote_request_decode(slice_of(cut, n), &got), DYN_ERR_PROTOCOL);
        free(cut);
    }
    buf_clear(&b);
    vote_reply_encode(&p, &b);
    assert_int_equal(vote_reply_decode(buf_slice(&b), &told), DYN_OK);
    assert_int_equal(told.status, DYN_ERR_CONFLICT);
    assert_true(told.accepted.round == 7 && slice_equal(told.change, p.change));
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *cut = mem_dup(b.data, n);
        assert_int_equal(vote_reply_decode(slice_of(cut, n), &told), DYN_ERR_PROTOCOL);
        free(cut);
    }
    buf_release(&b);
}

static void on_done(void *arg, int err)
{
    *(int *)arg = err;
}

/* A change of one node's weight, as node `at` would propose it now. */
static void weigh(struct played_cluster *c, uint32_t at, uint32_t node, uint32_t weight,
                  struct plan_outcome *out)
{
    struct engine *e = c->nodes[at].engine;
    struct plan plan = PLAN_EMPTY;
    const char *rule = NULL;
    const struct member_event part = {.type = MEMBER_WEIGHT, .node = node + 1, .weight = weight};
    assert_int_equal(plan_stage(&plan, engine_ring(e), &part, &rule), DYN_OK);
    assert_int_equal(plan_outcome(&plan, engine_ring(e), at + 1, out), DYN_OK);
    plan_release(&plan);
}

static void test_of_two_changes_one_follows(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct plan_outcome a, b;
    int one = 1, two = 1;
    weigh(c, 0, 0, 300, &a);
    weigh(c, 1, 2, 50, &b);
    engine_propose(c->nodes[0].engine, &a.change, on_done, &one);
    engine_propose(c->nodes[1].engine, &b.change, on_done, &two);
    played_run(c, 20000000);
    assert_true((one == DYN_OK) != (two == DYN_OK));
    assert_int_equal(one == DYN_OK ? two : one, DYN_ERR_CONFLICT);
    for (uint32_t i = 0; i < 3; i++) {
        struct ring *ring = engine_ring(c->nodes[i].engine);
        assert_int_equal(ring_member_find(ring, 1)->weight, one == DYN_OK ? 300 : 100);
        assert_int_equal(ring_member_find(ring, 3)->weight, two == DYN_OK ? 50 : 100);
    }
    plan_outcome_release(&a);
    plan_outcome_release(&b);
    played_cluster_free(c);
}

static void test_a_majority_that_is_away_is_waited_for_in_vain(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct plan_outcome a;
    int one = 1;
    weigh(c, 0, 0, 300, &a);
    c->nodes[1].up = c->nodes[2].up = false;
    engine_propose(c->nodes[0].engine, &a.change, on_done, &one);
    played_run(c, 20000000);
    assert_int_equal(one, DYN_ERR_NO_QUORUM);
    assert_int_equal(ring_member_find(engine_ring(c->nodes[0].engine), 1)->weight, 100);
    one = 1; /* it takes nobody out, so it cannot be forced either */
    commit_force(c->nodes[0].engine->commit, &a.change, on_done, &one);
    played_run(c, 20000000);
    assert_int_equal(one, DYN_ERR_INVALID);
    plan_outcome_release(&a);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_votes_come_back),
        cmocka_unit_test(test_of_two_changes_one_follows),
        cmocka_unit_test(test_a_majority_that_is_away_is_waited_for_in_vain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
