/* SPDX-License-Identifier: Apache-2.0 */
/* A moment of another node's clock is never taken for later than it was, and for earlier by one
 * round trip at most; and who has started anew is asked anew (E15). */
#include "engine/membership/peer_time.h"

#include "base/err.h"
#include "engine/peer_wire.h"
#include "played_cluster.h"
#include "unit.h"

#define TRIP_US 200u /* there and back, in a played cluster */

struct asked {
    struct peer_time_wait wait;
    int err;
    uint32_t answers;
};

static void on_answer(struct peer_time_wait *w, int err)
{
    struct asked *a = w->arg;
    a->err = err;
    a->answers++;
}

static void ask(struct played_cluster *c, struct asked *a)
{
    *a = (struct asked){.wait = {.done = on_answer, .arg = a}, .err = 1};
    peer_times_ask(c->nodes[0].engine->times, 2, &a->wait);
    assert_int_equal(a->answers, 0); /* never inside */
}

/* What the second node's clock says now. */
static struct moment now_there(const struct played_cluster *c)
{
    return (struct moment){c->nodes[1].engine->boot, c->now_us};
}

static bool known(struct played_cluster *c, const struct moment *m, uint64_t *own_us)
{
    return peer_times_at(c->nodes[0].engine->times, 2, m, own_us);
}

static void test_a_moment_is_no_later_and_a_round_trip_earlier_at_most(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(2, 2, 1, 1);
    struct asked a;
    uint64_t own = 0;
    struct moment early = now_there(c);
    assert_false(known(c, &early, &own)); /* nobody has asked */
    played_run(c, 5000);
    ask(c, &a);
    played_run(c, TRIP_US);
    assert_int_equal(a.answers, 1);
    assert_int_equal(a.err, DYN_OK);
    struct moment late = now_there(c);
    assert_true(known(c, &late, &own));
    assert_in_range(own, late.us - TRIP_US, late.us);
    assert_true(known(c, &early, &own)); /* also of before it was asked */
    assert_in_range(own, early.us - TRIP_US, early.us);
    played_cluster_free(c);
}

static void test_those_who_ask_together_share_one_question(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(2, 2, 1, 1);
    struct asked a[3];
    played_run(c, 1000);
    uint64_t frames = c->frames;
    for (uint32_t i = 0; i < 3; i++)
        ask(c, &a[i]);
    peer_times_forget(&a[1].wait);
    peer_times_forget(&a[1].wait); /* fine when it does not wait */
    played_run(c, TRIP_US);
    assert_int_equal(c->frames, frames + 1);
    assert_int_equal(a[0].answers, 1);
    assert_int_equal(a[1].answers, 0);
    assert_int_equal(a[2].answers, 1);
    played_cluster_free(c);
}

static void test_a_new_start_is_another_clock(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(2, 2, 1, 1);
    struct asked a;
    uint64_t own;
    ask(c, &a);
    played_run(c, TRIP_US);
    struct moment before = now_there(c);
    played_crash(c, 1, false);
    played_restart(c, 1);
    struct moment after = now_there(c);
    assert_true(known(c, &before, &own));
    assert_false(known(c, &after, &own));
    ask(c, &a);
    played_run(c, TRIP_US);
    assert_true(known(c, &after, &own));
    assert_false(known(c, &before, &own));
    played_cluster_free(c);
}

static void test_who_does_not_answer_leaves_what_was_known(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(2, 2, 1, 1);
    struct asked a;
    uint64_t own;
    ask(c, &a);
    played_run(c, TRIP_US);
    struct moment m = now_there(c);
    c->nodes[1].silent = true;
    ask(c, &a);
    played_run(c, 2 * c->cfg.replica_timeout_us);
    assert_int_equal(a.answers, 1);
    assert_int_not_equal(a.err, DYN_OK);
    assert_true(known(c, &m, &own));
    assert_in_range(own, m.us - TRIP_US, m.us);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_moment_is_no_later_and_a_round_trip_earlier_at_most),
        cmocka_unit_test(test_those_who_ask_together_share_one_question),
        cmocka_unit_test(test_a_new_start_is_another_clock),
        cmocka_unit_test(test_who_does_not_answer_leaves_what_was_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
