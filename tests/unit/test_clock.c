/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks decide what is old, so each law of the lattice is tried on random clocks, beside the rules
 * on bytes and text. */
#include "model/clock.h"

#include <stdlib.h>

#include "base/err.h"
#include "histories.h"
#include "unit.h"

static void random_clock(uint64_t *seed, struct clock *c)
{
    for (uint64_t i = random_below(seed, 6); i > 0; i--) {
        struct dot d = dot_of(random_below(seed, 5), 1 + random_below(seed, 3));
        d.actor.epoch.run = 1 + (uint32_t)random_below(seed, 2);
        clock_advance(c, &d, random_below(seed, 3));
    }
}

static bool same(const struct clock *a, const struct clock *b)
{
    struct buf x = BUF_EMPTY, y = BUF_EMPTY;
    clock_encode(a, &x);
    clock_encode(b, &y);
    bool equal = slice_equal(buf_slice(&x), buf_slice(&y));
    buf_release(&x);
    buf_release(&y);
    return equal;
}

static void join_of(struct clock *out, const struct clock *a, const struct clock *b)
{
    clock_copy(out, a);
    clock_join(out, b);
}

static void test_join_is_a_least_upper_bound(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        uint64_t s = seed;
        struct clock c[8] = {{0}};
        for (int i = 0; i < 3; i++)
            random_clock(&s, &c[i]);
        join_of(&c[3], &c[0], &c[1]);
        join_of(&c[4], &c[1], &c[0]);
        assert_true(same(&c[3], &c[4]));
        assert_true(clock_dominates(&c[3], &c[0]) && clock_dominates(&c[3], &c[1]));
        join_of(&c[5], &c[3], &c[2]);
        join_of(&c[6], &c[1], &c[2]);
        join_of(&c[7], &c[0], &c[6]);
        assert_true(same(&c[5], &c[7]));
        clock_join(&c[5], &c[1]);
        assert_true(same(&c[5], &c[7]));
        /* least: no pair is above both */
        for (uint32_t i = 0; i < c[3].n; i++) {
            const struct actor *a = &c[3].pairs[i].actor;
            uint64_t x = clock_get(&c[0], a), y = clock_get(&c[1], a);
            assert_true(c[3].pairs[i].counter == (x > y ? x : y));
        }
        assert_int_equal(clock_dominates(&c[0], &c[1]),
                         same(&c[3], &c[0]) || clock_compare(&c[3], &c[0]) == CLOCK_EQUAL);
        for (int i = 0; i < 8; i++)
            clock_release(&c[i]);
    }
}

static void test_compare_knows_all_four_cases(void **state)
{
    (void)state;
    struct clock a = CLOCK_EMPTY, b = CLOCK_EMPTY;
    assert_int_equal(clock_compare(&a, &b), CLOCK_EQUAL);
    clock_advance(&a, &(struct dot){actor_of(1), 2}, 5);
    assert_int_equal(clock_compare(&a, &b), CLOCK_AFTER);
    assert_int_equal(clock_compare(&b, &a), CLOCK_BEFORE);
    clock_advance(&b, &(struct dot){actor_of(2), 1}, 5);
    assert_int_equal(clock_compare(&a, &b), CLOCK_CONCURRENT);
    clock_advance(&a, &(struct dot){actor_of(2), 1}, 9);
    clock_advance(&b, &(struct dot){actor_of(1), 2}, 9);
    assert_int_equal(clock_compare(&a, &b), CLOCK_EQUAL); /* times do not count */
    clock_release(&a);
    clock_release(&b);
}

static void test_a_pair_keeps_the_time_of_its_counter(void **state)
{
    (void)state;
    struct clock a = CLOCK_EMPTY, b = CLOCK_EMPTY;
    clock_advance(&a, &(struct dot){actor_of(1), 5}, 100);
    clock_advance(&a, &(struct dot){actor_of(1), 3}, 999); /* older */
    assert_true(a.pairs[0].counter == 5 && a.pairs[0].time_ms == 100);
    clock_advance(&b, &(struct dot){actor_of(1), 6}, 50);
    clock_join(&a, &b);
    assert_true(a.pairs[0].counter == 6 && a.pairs[0].time_ms == 50);
    clock_release(&a);
    clock_release(&b);
}

/* HAZARDS E1 */
static void test_another_epoch_of_a_node_is_another_actor(void **state)
{
    (void)state;
    struct clock c = CLOCK_EMPTY, other = CLOCK_EMPTY;
    struct dot old = dot_of(1, 900), new = dot_of(1, 1);
    new.actor.epoch.run = 2;
    clock_advance(&c, &old, 1);
    assert_false(clock_covers(&c, &new));
    clock_advance(&other, &old, 1);
    assert_false(clock_lacks_own(&c, &other, &old.actor));
    clock_advance(&other, &(struct dot){old.actor, 901}, 1);
    assert_true(clock_lacks_own(&c, &other, &old.actor));
    assert_false(clock_lacks_own(&other, &c, &old.actor));
    clock_release(&c);
    clock_release(&other);
}

static void test_bytes_come_back_and_disorder_is_refused(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        uint64_t s = seed;
        struct clock c = CLOCK_EMPTY, back = CLOCK_EMPTY;
        random_clock(&s, &c);
        struct buf b = BUF_EMPTY;
        clock_encode(&c, &b);
        struct reader r = reader_of(buf_slice(&b));
        clock_decode(&r, &back);
        assert_true(reader_done(&r));
        assert_true(same(&c, &back));
        for (size_t len = 0; len < b.len; len++) {
            r = reader_of(slice_of(b.data, len));
            clock_decode(&r, &back);
            assert_false(reader_ok(&r));
        }
        assert_true(same(&c, &back)); /* untouched */
        buf_clear(&b);
        if (c.n >= 2) {
            struct clock_pair p = c.pairs[0];
            c.pairs[0] = c.pairs[1];
            c.pairs[1] = p;
        } else if (c.n == 1) {
            c.pairs[0].counter = 0;
        }
        clock_encode(&c, &b);
        r = reader_of(buf_slice(&b));
        clock_decode(&r, &back);
        assert_int_equal(reader_ok(&r), c.n == 0);
        buf_release(&b);
        clock_release(&c);
        clock_release(&back);
    }
}

static void test_a_huge_count_allocates_nothing(void **state)
{
    (void)state;
    struct buf b = BUF_EMPTY;
    struct clock c = CLOCK_EMPTY;
    buf_put_varint(&b, UINT64_MAX);
    struct reader r = reader_of(buf_slice(&b));
    clock_decode(&r, &c);
    assert_false(reader_ok(&r));
    buf_clear(&b);
    buf_put_varint(&b, CLOCK_PAIRS_MAX + 1);
    for (uint64_t i = 0; i <= CLOCK_PAIRS_MAX; i++) {
        dot_encode(&(struct dot){actor_of(i), 1}, &b);
        buf_put_varint(&b, 0);
    }
    r = reader_of(buf_slice(&b));
    clock_decode(&r, &c);
    assert_false(reader_ok(&r));
    assert_null(c.pairs);
    buf_release(&b);
}

static void test_dots_as_text(void **state)
{
    (void)state;
    char text[DOT_TEXT_MAX];
    struct dot d = {{UINT64_MAX, {0, UINT32_MAX}}, UINT64_MAX}, back;
    dot_format(&d, text);
    assert_string_equal(text, "ffffffffffffffff.0.ffffffff.ffffffffffffffff");
    assert_int_equal(dot_parse(slice_str(text), &back), DYN_OK);
    assert_true(dot_equal(&d, &back));
    d = (struct dot){{UINT64_MAX, {UINT64_MAX, UINT32_MAX}}, UINT64_MAX};
    dot_format(&d, text); /* the longest fits */
    static const char *const bad[] = {
        "",        "1.2.3",   "1.2.3.",   "1.2.3.0", "1.2.3.4.",        "01.2.3.4",
        "1.2.3.G", "1.2.3.A", " 1.2.3.4", "1..3.4",  "1.2.100000000.4", "10000000000000000.2.3.4"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(dot_parse(slice_str(bad[i]), &back), DYN_ERR_INVALID);
    assert_int_equal(dot_parse(slice_str("1.2.3.4"), &back), DYN_OK);
    assert_true(back.actor.node == 1 && back.actor.epoch.boot == 2 && back.actor.epoch.run == 3 &&
                back.counter == 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join_is_a_least_upper_bound),
        cmocka_unit_test(test_compare_knows_all_four_cases),
        cmocka_unit_test(test_a_pair_keeps_the_time_of_its_counter),
        cmocka_unit_test(test_another_epoch_of_a_node_is_another_actor),
        cmocka_unit_test(test_bytes_come_back_and_disorder_is_refused),
        cmocka_unit_test(test_a_huge_count_allocates_nothing),
        cmocka_unit_test(test_dots_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
