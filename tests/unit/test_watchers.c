/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a node tells of changes, of which, and how much memory that takes at most. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "engine/fragments/fragments.h"
#include "model/watch.h"
#include "played_cluster.h"
#include "unit.h"

/* Empty: none to add, none to drop. */
static struct interest_reply interest_in(struct played_cluster *c, uint32_t at, uint64_t session,
                                         bool begin, struct slice add, struct slice drop)
{
    const struct interest_request q = {.session = session,
                                       .begin = begin,
                                       .add = &add,
                                       .n_add = add.len != 0,
                                       .drop = &drop,
                                       .n_drop = drop.len != 0};
    struct interest_reply p;
    struct buf body = BUF_EMPTY;
    interest_request_encode(&q, &body);
    played_ask(c, at, FRAME_INTEREST, &body);
    assert_int_equal(interest_reply_decode(buf_slice(&c->client_reply), &p), DYN_OK);
    return p;
}

static struct interest_reply interest(struct played_cluster *c, uint32_t at, uint64_t session,
                                      bool begin, const char *add, const char *drop)
{
    return interest_in(c, at, session, begin, slice_str(add == NULL ? "" : add),
                       slice_str(drop == NULL ? "" : drop));
}

static struct watch_reply watch(struct played_cluster *c, uint32_t at, uint64_t session)
{
    const struct watch_request q = {.session = session, .hold_ms = 1000};
    struct watch_reply p;
    struct buf body = BUF_EMPTY;
    watch_request_encode(&q, &body);
    played_ask(c, at, FRAME_WATCH, &body);
    assert_int_equal(watch_reply_decode(buf_slice(&c->client_reply), &p), DYN_OK);
    return p;
}

static struct engine_stats stats(struct played_cluster *c, uint32_t at)
{
    struct engine_stats s;
    engine_stats(c->nodes[at].engine, &s);
    return s;
}

static void test_every_replica_tells_of_what_anyone_wrote(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    for (uint32_t at = 0; at < 3; at++) {
        struct interest_reply p = interest(c, at, 7, true, "d", NULL);
        assert_true(p.status == DYN_OK && p.n == 1 && p.taken[0]);
    }
    played_write(c, 1, "d/f", "hello", 0, slice_of(NULL, 0));
    played_write(c, 1, "e/f", "elsewhere", 0, slice_of(NULL, 0));
    played_run(c, 100000);
    for (uint32_t at = 0; at < 3; at++) {
        struct watch_reply p = watch(c, at, 7);
        uint32_t names = 0;
        for (uint32_t i = 0; i < p.n; i++) {
            assert_true(slice_equal(p.events[i].dir, slice_str("d")));
            if (p.events[i].kind != WATCH_NAME)
                continue; /* the directory was made for it (E16) */
            names++;
            assert_true(slice_equal(p.events[i].name, slice_str("f")) && p.events[i].came_or_went);
            assert_int_equal(object_newest(&p.events[i].state)->size, 5);
        }
        assert_true(p.number == 1 && names == 1);
        watch_reply_release(&p);
        p = watch(c, at, 7);
        assert_true(p.status == DYN_OK && p.number == 2 && p.n == 0); /* after a second */
        watch_reply_release(&p);
    }
    played_cluster_free(c);
}

static void test_a_held_question_is_answered_by_a_change(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    const struct watch_request q = {.session = 7, .hold_ms = 5000};
    struct watch_reply p;
    struct buf body = BUF_EMPTY;
    interest(c, 0, 7, true, "d", NULL);
    watch_request_encode(&q, &body);
    played_tell(c, 0, FRAME_WATCH, &body);
    buf_clear(&c->client_reply);
    played_write(c, 2, "d/f", "x", 0, slice_of(NULL, 0));
    uint64_t since = c->now_us;
    played_run(c, 200000);
    assert_true(stats(c, 0).watch_answers >= 1 && c->now_us - since < 5000000);
    body = BUF_EMPTY;
    p = watch(c, 0, 7);
    assert_true(p.number >= 2);
    watch_reply_release(&p);
    played_cluster_free(c);
}

static void test_a_name_that_changes_often_is_told_once_and_many_names_wholesale(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    char key[32];
    interest(c, 0, 7, true, "d", NULL);
    played_write(c, 0, "d/f", "0", 0, slice_of(NULL, 0));
    struct watch_reply p = watch(c, 0, 7);
    watch_reply_release(&p);
    for (int i = 0; i < 30; i++)
        played_write(c, 0, "d/f", i % 2 ? "odd" : "even", PUT_CURRENT, slice_of(NULL, 0));
    p = watch(c, 0, 7);
    assert_int_equal(p.n, 1);
    assert_false(p.events[0].came_or_went);
    watch_reply_release(&p);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "d/f%d", i);
        played_write(c, 0, key, "x", 0, slice_of(NULL, 0));
    }
    uint64_t bytes = stats(c, 0).watch_bytes;
    p = watch(c, 0, 7);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.events[0].kind, WATCH_ALL);
    assert_true(bytes < 4096 && stats(c, 0).watch_wholesale == 1);
    watch_reply_release(&p);
    played_cluster_free(c);
}

static void test_a_change_of_the_directory_itself_is_told(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    const struct put_request q = {
        .key = slice_str("d"), .type = SIBLING_DIR, .attrs = {.mode = 0700}};
    interest(c, 0, 7, true, "d", NULL);
    struct put_reply made = played_put(c, 1, &q);
    put_reply_release(&made);
    played_run(c, 100000);
    struct watch_reply p = watch(c, 0, 7);
    assert_true(p.n == 1 && p.events[0].kind == WATCH_SELF);
    assert_int_equal(object_newest(&p.events[0].state)->attrs.mode, 0700);
    watch_reply_release(&p);
    played_cluster_free(c);
}

static void test_who_does_not_hold_a_directory_refuses_it(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 3, 2, 2);
    uint32_t taken = 0;
    for (uint32_t at = 0; at < 5; at++) {
        struct interest_reply p = interest(c, at, 7, true, "d", NULL);
        assert_true(p.status == DYN_OK && p.n == 1);
        taken += p.taken[0];
    }
    assert_int_equal(taken, 3);
    played_cluster_free(c);
}

static struct buf fragment_id(uint32_t fragment, const char *dir)
{
    struct buf id = BUF_EMPTY;
    entry_id(fragment, slice_str(dir), &id);
    return id;
}

/* Those who take it say in how many fragments it lies, or did when they were asked. */
static uint32_t takers(struct played_cluster *c, uint64_t session, struct slice id, uint32_t says)
{
    uint32_t n = 0;
    for (uint32_t at = 0; at < c->n; at++) {
        struct interest_reply p = interest_in(c, at, session, true, id, slice_of(NULL, 0));
        assert_true(p.status == DYN_OK && p.n == 1);
        if (p.taken[0] != 0)
            assert_int_equal(interest_fragments(p.taken[0]), says);
        n += p.taken[0] != 0;
    }
    return n;
}

static void test_a_directory_that_is_split_is_told_of_by_its_fragments(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(8, 3, 2, 2);
    struct buf second = fragment_id(1, "d"), third = fragment_id(2, "d");
    assert_int_equal(takers(c, 7, slice_str("d"), 1), 3);
    assert_int_equal(takers(c, 8, buf_slice(&second), 2), 0); /* there is none yet */
    for (uint32_t at = 0; at < 8; at++)
        fragments_learn(c->nodes[at].engine, slice_str("d"), 2);
    played_run(c, 100000);
    uint32_t ended = 0;
    for (uint32_t at = 0; at < 8; at++) {
        struct watch_reply p = watch(c, at, 7);
        ended += p.n == 1 && p.events[0].kind == WATCH_ENDED;
        watch_reply_release(&p);
    }
    assert_int_equal(ended, 3);
    assert_int_equal(takers(c, 9, slice_str("d"), 2), 3);
    assert_int_equal(takers(c, 10, buf_slice(&second), 2), 3);
    assert_int_equal(takers(c, 11, buf_slice(&third), 2), 0);
    char key[16];
    uint32_t in[2] = {0}, told[2] = {0};
    for (uint32_t i = 0; i < 16; i++) {
        snprintf(key, sizeof(key), "d/f%u", i);
        in[fragment_of_name(slice_str(key + 2), 1)]++;
        played_write(c, i % 8, key, "x", 0, slice_of(NULL, 0));
    }
    played_run(c, 100000);
    for (uint32_t at = 0; at < 8; at++) {
        for (uint64_t session = 9; session < 11; session++) {
            struct watch_reply p = watch(c, at, session);
            for (uint32_t i = 0; i < p.n; i++)
                told[session - 9] += p.events[i].kind == WATCH_NAME;
            watch_reply_release(&p);
        }
    }
    assert_true(in[0] > 0 && in[1] > 0);
    assert_int_equal(told[0], 3 * in[0]);
    assert_int_equal(told[1], 3 * in[1]);
    buf_release(&second);
    buf_release(&third);
    played_cluster_free(c);
}

static void test_sessions_are_known_by_those_who_began_them_alone(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    assert_int_equal(interest(c, 0, 7, false, "d", NULL).status, DYN_ERR_STALE);
    struct watch_reply p = watch(c, 0, 7);
    assert_int_equal(p.status, DYN_ERR_STALE);
    watch_reply_release(&p);
    assert_int_equal(interest(c, 0, 7, true, "d", NULL).status, DYN_OK);
    assert_int_equal(interest(c, 0, 7, true, "d", NULL).status, DYN_ERR_INVALID);
    assert_int_equal(interest(c, 0, 7, false, NULL, "d").status, DYN_OK);
    assert_int_equal(stats(c, 0).watch_dirs, 0);
    played_write(c, 0, "d/f", "x", 0, slice_of(NULL, 0));
    p = watch(c, 0, 7);
    assert_int_equal(p.n, 0); /* dropped */
    watch_reply_release(&p);
    played_run(c, 30000000); /* nobody asks any more */
    struct engine_stats s = stats(c, 0);
    assert_true(s.watch_sessions == 0 && s.watch_bytes == 0);
    played_cluster_free(c);
}

static void test_a_node_that_starts_again_knows_nobody(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    interest(c, 0, 7, true, "d", NULL);
    played_crash(c, 0, false);
    played_restart(c, 0);
    struct watch_reply p = watch(c, 0, 7);
    assert_int_equal(p.status, DYN_ERR_STALE);
    watch_reply_release(&p);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_replica_tells_of_what_anyone_wrote),
        cmocka_unit_test(test_a_held_question_is_answered_by_a_change),
        cmocka_unit_test(test_a_name_that_changes_often_is_told_once_and_many_names_wholesale),
        cmocka_unit_test(test_a_change_of_the_directory_itself_is_told),
        cmocka_unit_test(test_who_does_not_hold_a_directory_refuses_it),
        cmocka_unit_test(test_a_directory_that_is_split_is_told_of_by_its_fragments),
        cmocka_unit_test(test_sessions_are_known_by_those_who_began_them_alone),
        cmocka_unit_test(test_a_node_that_starts_again_knows_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
