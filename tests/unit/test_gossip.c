/* SPDX-License-Identifier: Apache-2.0 */
/* News reach everybody within some rounds, and while there are none a round is one small frame each
 * way (Dynamo, section 4.8.1). */
#include "engine/membership/gossip.h"

#include "base/err.h"
#include "engine/membership/catchup.h"
#include "played_cluster.h"
#include "unit.h"

#define SECOND 1000000u
#define NODES 8u

struct watch {
    uint64_t bytes, frames, digest_max;
    bool others;
};

static bool judge(void *arg, uint64_t from, uint64_t to, uint8_t type, struct buf *body)
{
    struct watch *w = arg;
    (void)from;
    (void)to;
    if (type == FRAME_GOSSIP || type == FRAME_GOSSIP + FRAME_REPLY) {
        w->frames++;
        w->bytes += body->len;
        w->digest_max = body->len > w->digest_max ? body->len : w->digest_max;
    }
    w->others |= type == FRAME_HISTORY;
    return true;
}

static struct engine_stats stats_of(struct played_cluster *c, uint32_t i)
{
    struct engine_stats s;
    engine_stats(c->nodes[i].engine, &s);
    return s;
}

static void test_without_news_a_round_is_one_small_frame_each_way(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(NODES, 3, 2, 2);
    struct watch w = {0};
    played_run(c, 10 * SECOND);
    uint64_t sent = stats_of(c, 3).gossip_sent;
    c->judge = judge;
    c->judge_arg = &w;
    played_run(c, 60 * SECOND);
    assert_in_range(stats_of(c, 3).gossip_sent - sent, 45, 75); /* one a second, about */
    assert_in_range(w.frames, 2 * 45 * NODES, 2 * 75 * NODES);
    assert_true(w.digest_max <= 80);
    assert_false(w.others);
    played_cluster_free(c);
}

static void on_staged(void *arg, int err)
{
    *(int *)arg = err;
}

static uint32_t know_plan(const struct played_cluster *c, const char *text)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++)
        n += c->nodes[i].engine != NULL &&
             slice_equal(buf_slice(&c->nodes[i].engine->rumours.plan), slice_str(text));
    return n;
}

static void set_plan(struct played_cluster *c, uint32_t at, const char *text)
{
    int err = 1;
    gossip_set_plan(c->nodes[at].engine->gossip, slice_str(text), on_staged, &err);
    played_run(c, 1000);
    assert_int_equal(err, DYN_OK);
}

static void test_news_reach_all_within_some_rounds_and_outlive_a_crash(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(NODES, 3, 2, 2);
    played_run(c, 10 * SECOND);
    set_plan(c, 2, "what an administrator is about to do");
    assert_true(know_plan(c, "what an administrator is about to do") < NODES);
    played_run(c, 10 * SECOND);
    assert_int_equal(know_plan(c, "what an administrator is about to do"), NODES);
    for (uint32_t i = 0; i < NODES; i++) /* all at once, so nobody can be told by another */
        played_crash(c, i, false);
    for (uint32_t i = 0; i < NODES; i++)
        played_restart(c, i);
    assert_int_equal(know_plan(c, "what an administrator is about to do"), NODES);
    played_cluster_free(c);
}

static void test_the_later_of_two_plans_wins_everywhere(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(NODES, 3, 2, 2);
    played_run(c, 10 * SECOND);
    set_plan(c, 0, "first");
    played_run(c, 10 * SECOND);
    set_plan(c, 5, "second");
    played_run(c, 10 * SECOND);
    assert_int_equal(know_plan(c, "second"), NODES);
    played_cluster_free(c);
}

static void test_each_start_is_counted_and_told(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(NODES, 3, 2, 2);
    played_run(c, 10 * SECOND);
    uint64_t before = rumours_boot(&c->nodes[0].engine->rumours, 4)->count;
    played_crash(c, 3, false);
    played_restart(c, 3);
    played_run(c, 10 * SECOND);
    for (uint32_t i = 0; i < NODES; i++)
        assert_int_equal(rumours_boot(&c->nodes[i].engine->rumours, 4)->count, before + 1);
    played_cluster_free(c);
}

static void test_no_cut_of_a_digest_is_another(void **state)
{
    (void)state;
    struct rumours_digest d = {.history = {.length = 9, .digest = {1, 2}}, .plan_stamp = 7}, back;
    struct buf b = BUF_EMPTY;
    int status = 1;
    gossip_digest_encode(DYN_OK, &d, &b);
    assert_int_equal(gossip_digest_decode(buf_slice(&b), &status, &back), DYN_OK);
    assert_int_equal(status, DYN_OK);
    assert_true(rumours_digest_equal(&d, &back));
    for (size_t n = 0; n < b.len; n++)
        assert_int_not_equal(gossip_digest_decode(slice_of(b.data, n), &status, &back), DYN_OK);
    buf_release(&b);
}

/* All that tells node 1 what others know at length. */
static bool lose_histories(void *arg, uint64_t from, uint64_t to, uint8_t type, struct buf *body)
{
    uint32_t *lost = arg;
    (void)from;
    (void)body;
    bool loses = to == 2 && (type == FRAME_HISTORY || type == FRAME_HISTORY + FRAME_REPLY);
    *lost += loses;
    return !loses;
}

/* Others have taken its start from what it has sent, and their answer was lost: from then on there
 * is no news, and that they know the same is all that they will ever say. */
static void test_a_start_that_others_know_is_confirmed_without_news(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    uint32_t lost = 0;
    played_run(c, 10 * SECOND);
    played_crash(c, 1, false);
    c->judge = lose_histories;
    c->judge_arg = &lost;
    played_restart(c, 1);
    assert_false(catchup_is_confirmed(c->nodes[1].engine->catchup));
    played_run(c, 10 * SECOND);
    assert_true(lost > 0);
    assert_true(catchup_is_confirmed(c->nodes[1].engine->catchup));
    played_cluster_free(c);
}

static void tell_of_start(struct played_cluster *c, uint64_t count, uint64_t incarnation)
{
    struct rumours r = RUMOURS_EMPTY;
    const struct boot boot = {.node = 2, .count = count, .incarnation = incarnation};
    rumours_set_boot(&r, &boot);
    gossip_take(c->nodes[1].engine->gossip, &r);
    rumours_release(&r);
}

static uint64_t own_count(const struct played_cluster *c)
{
    return rumours_boot(&c->nodes[1].engine->rumours, 2)->count;
}

/* A node whose disk was emptied counts from 1 again. One peer knows of an old start of it, another
 * of a later one, and a third that two of them were at odds. */
static void test_old_starts_that_are_told_of_one_by_one_are_no_second_process(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_run(c, 3 * SECOND);
    tell_of_start(c, own_count(c) + 4, 111);
    tell_of_start(c, own_count(c) + 3, 222);
    tell_of_start(c, own_count(c), 333); /* at the count that it has given itself */
    tell_of_start(c, own_count(c) + 1, 0);
    tell_of_start(c, own_count(c) - 2, 111);
    assert_false(c->nodes[1].engine->halted);
    played_run(c, 10 * SECOND);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(rumours_boot(&c->nodes[i].engine->rumours, 2)->count, own_count(c));
    played_cluster_free(c);
}

static void test_a_start_that_counts_on_is_a_second_process(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_run(c, 3 * SECOND);
    tell_of_start(c, own_count(c) + 1, 111);
    assert_false(c->nodes[1].engine->halted);
    tell_of_start(c, own_count(c) + 1, 111);
    assert_true(c->nodes[1].engine->halted);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_news_a_round_is_one_small_frame_each_way),
        cmocka_unit_test(test_news_reach_all_within_some_rounds_and_outlive_a_crash),
        cmocka_unit_test(test_the_later_of_two_plans_wins_everywhere),
        cmocka_unit_test(test_each_start_is_counted_and_told),
        cmocka_unit_test(test_a_start_that_others_know_is_confirmed_without_news),
        cmocka_unit_test(test_no_cut_of_a_digest_is_another),
        cmocka_unit_test(test_old_starts_that_are_told_of_one_by_one_are_no_second_process),
        cmocka_unit_test(test_a_start_that_counts_on_is_a_second_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
