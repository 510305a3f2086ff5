/* SPDX-License-Identifier: Apache-2.0 */
/* Moves beside requests: at once where there are none; else one piece at a time, with a rest that
 * has an end however long a piece took (E25). */
#include "engine/pace.h"

#include "engine/core.h"
#include "played_cluster.h"
#include "unit.h"

#define PIECES 4u
#define MANY 200u

static struct pieces {
    struct played_cluster *c;
    struct pace_wait waits[MANY];
    uint32_t granted, runs, runs_max;
} w;

static void granted(struct pace_wait *p)
{
    (void)p;
    w.granted++;
    if (++w.runs > w.runs_max)
        w.runs_max = w.runs;
}

static struct pace *begin(bool busy)
{
    w = (struct pieces){.c = played_cluster_new(1, 1, 1, 1)};
    struct engine *e = w.c->nodes[0].engine;
    for (uint32_t i = 0; busy && i < 100; i++)
        admission_foreground(e->admission, 1000);
    return e->pace;
}

static void done(struct pace *p, uint32_t i)
{
    w.runs--;
    pace_done(p, &w.waits[i]);
}

static void test_nothing_waits_where_nobody_asks(void **state)
{
    (void)state;
    struct pace *p = begin(false);
    for (uint32_t i = 0; i < PIECES; i++)
        pace_ask(p, &w.waits[i], granted);
    assert_int_equal(w.granted, PIECES);
    for (uint32_t i = 0; i < PIECES; i++)
        done(p, i);
    played_cluster_free(w.c);
}

static void test_beside_requests_one_piece_runs_and_rests(void **state)
{
    (void)state;
    struct pace *p = begin(true);
    for (uint32_t i = 0; i < PIECES; i++)
        pace_ask(p, &w.waits[i], granted);
    played_run(w.c, 1000);
    assert_int_equal(w.granted, 1);
    played_run(w.c, 4000);
    done(p, 0); /* took 5 ms */
    played_run(w.c, 14000);
    assert_int_equal(w.granted, 1);
    played_run(w.c, 2000);
    assert_int_equal(w.granted, 2);
    played_run(w.c, 900000); /* a very long piece */
    done(p, 1);
    played_run(w.c, PACE_REST_US + 1000);
    assert_int_equal(w.granted, 3);
    assert_int_equal(w.runs_max, 1);
    pace_done(p, &w.waits[3]); /* will not be done */
    done(p, 2);
    played_run(w.c, PACE_REST_US + 1000);
    assert_int_equal(w.granted, 3);
    played_cluster_free(w.c);
}

static void test_where_very_many_wait_none_waits_until_it_gives_up(void **state)
{
    (void)state;
    struct pace *p = begin(true);
    uint32_t ms = 0, ended = 0, began = 0;
    for (uint32_t i = 0; i < MANY; i++)
        pace_ask(p, &w.waits[i], granted);
    for (; w.granted <= MANY && ms < 20000; ms++) {
        if (ms % 100 == 0) /* requests go on */
            for (uint32_t k = 0; k < 20; k++)
                admission_foreground(w.c->nodes[0].engine->admission, 1000);
        played_run(w.c, 1000);
        if (w.runs == 0) {
            began = ms;
        } else if (ms - began == 20) { /* whoever is done asks again */
            done(p, ended);
            pace_ask(p, &w.waits[ended], granted);
            ended++;
        }
    }
    assert_in_range(ms, 4000, 9500); /* of ten seconds */
    assert_int_equal(w.runs_max, 1);
    played_cluster_free(w.c);
}

static void test_what_waited_goes_on_when_requests_end(void **state)
{
    (void)state;
    struct pace *p = begin(true);
    for (uint32_t i = 0; i < PIECES; i++)
        pace_ask(p, &w.waits[i], granted);
    played_run(w.c, 1000);
    played_run(w.c, 3000000);
    for (uint32_t i = 0; i < PIECES; i++) {
        assert_int_equal(w.granted, i + 1);
        done(p, i);
        played_run(w.c, 1);
    }
    played_cluster_free(w.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_waits_where_nobody_asks),
        cmocka_unit_test(test_beside_requests_one_piece_runs_and_rests),
        cmocka_unit_test(test_where_very_many_wait_none_waits_until_it_gives_up),
        cmocka_unit_test(test_what_waited_goes_on_when_requests_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
