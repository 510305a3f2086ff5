/* SPDX-License-Identifier: Apache-2.0 */
/* The controller of background work, on a clock by hand. */
#include "base/mem.h"
#include "engine/admission.h"
#include "unit.h"

#define MS 1000u
#define S 1000000u

struct bench {
    uint64_t now_us;
    struct timers timers;
    struct admission *a;
    struct admission_wait waits[WORK_KINDS];
    uint64_t age_us[WORK_KINDS];
    uint64_t slices[WORK_KINDS];
    bool works[WORK_KINDS]; /* asks again after each slice */
};

static uint64_t mono(void *ctx)
{
    return ((struct bench *)ctx)->now_us;
}

static uint64_t wall(void *ctx)
{
    return ((struct bench *)ctx)->now_us * 1000;
}

static void begin(struct bench *b, uint64_t target_us)
{
    *b = (struct bench){.now_us = S};
    struct admission_config cfg = admission_config_default();
    const struct time_port time = {b, mono, wall};
    cfg.target_us = target_us;
    timers_init(&b->timers);
    b->a = admission_new(&cfg, &time, &b->timers);
}

static void end(struct bench *b)
{
    admission_free(b->a);
    timers_release(&b->timers);
}

static void work(struct bench *b, enum work kind);

#define GRANTED(kind)                                                                              \
    static void granted_##kind(void *arg)                                                          \
    {                                                                                              \
        struct bench *b = arg;                                                                     \
        b->slices[kind]++;                                                                         \
        work(b, kind);                                                                             \
    }
GRANTED(WORK_HINTS)
GRANTED(WORK_SCRUB)

/* Takes as many slices as it gets, each of no time: at most so many without a pause. */
static void work(struct bench *b, enum work kind)
{
    void (*granted)(void *) = kind == WORK_HINTS ? granted_WORK_HINTS : granted_WORK_SCRUB;
    while (b->works[kind] &&
           admission_ask(b->a, &b->waits[kind], kind, b->age_us[kind], granted, b))
        b->slices[kind]++;
}

/* A request every 5 ms, taking this long, while time passes. */
static void run(struct bench *b, uint64_t for_us, uint64_t foreground_us)
{
    uint64_t until = b->now_us + for_us;
    while (b->now_us < until) {
        b->now_us += MS;
        if (foreground_us > 0 && b->now_us / MS % 5 == 0)
            admission_foreground(b->a, foreground_us);
        timers_run(&b->timers, b->now_us);
    }
}

static void start(struct bench *b, enum work kind, uint64_t age_us)
{
    b->works[kind] = true;
    b->age_us[kind] = age_us;
    work(b, kind);
}

static void test_an_idle_node_works_as_fast_as_it_can(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 50 * MS);
    start(&b, WORK_HINTS, 0);
    run(&b, S, 0);
    assert_in_range(b.slices[WORK_HINTS], 9000, 11100);
    end(&b);
}

static void test_slow_requests_bring_the_background_down_to_its_floor(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 50 * MS);
    start(&b, WORK_HINTS, 0);
    run(&b, 10 * S, 200 * MS);
    b.slices[WORK_HINTS] = 0;
    run(&b, 10 * S, 200 * MS);
    assert_in_range(b.slices[WORK_HINTS], 10, 40); /* about one a second by rate, one by floor */
    end(&b);
}

static void test_quick_requests_give_it_room_again(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 50 * MS);
    start(&b, WORK_HINTS, 0);
    run(&b, 10 * S, 200 * MS);
    run(&b, 20 * S, 5 * MS);
    b.slices[WORK_HINTS] = 0;
    run(&b, S, 5 * MS);
    assert_true(b.slices[WORK_HINTS] > 5000);
    end(&b);
}

/* The simplest plant: each slice makes requests slower. The rate must settle where they
 * just pass. */
static void test_the_rate_settles_near_what_requests_bear(void **state)
{
    (void)state;
    struct bench b;
    uint64_t too_slow = 0, total = 0;
    begin(&b, 50 * MS);
    start(&b, WORK_HINTS, 0);
    for (int i = 0; i < 600; i++) {
        uint64_t before = b.slices[WORK_HINTS];
        run(&b, 100 * MS, 0);
        uint64_t rate = (b.slices[WORK_HINTS] - before) * 10;
        uint64_t took = 5 * MS + rate * 100; /* 450 slices a second make it 50 ms */
        for (int k = 0; k < 20; k++)
            admission_foreground(b.a, took);
        if (i < 200)
            continue;
        too_slow += took > 60 * MS;
        total += b.slices[WORK_HINTS] - before;
    }
    assert_true(too_slow < 80); /* of 400: it tries more now and then */
    assert_true(total > 40 * 40);
    end(&b);
}

static void test_the_floor_rises_with_the_age_of_the_oldest_item(void **state)
{
    (void)state;
    struct bench young, old;
    begin(&young, 50 * MS);
    begin(&old, 50 * MS);
    start(&young, WORK_HINTS, 0);
    start(&old, WORK_HINTS, 3600ull * S);
    run(&young, 10 * S, 500 * MS);
    run(&old, 10 * S, 500 * MS);
    young.slices[WORK_HINTS] = old.slices[WORK_HINTS] = 0;
    run(&young, 10 * S, 500 * MS);
    run(&old, 10 * S, 500 * MS);
    assert_true(old.slices[WORK_HINTS] > 20 * young.slices[WORK_HINTS]);
    end(&young);
    end(&old);
}

static void test_kinds_take_turns_and_none_starves(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 50 * MS);
    start(&b, WORK_HINTS, 0);
    start(&b, WORK_SCRUB, 0);
    run(&b, 10 * S, 300 * MS);
    b.slices[WORK_HINTS] = b.slices[WORK_SCRUB] = 0;
    run(&b, 10 * S, 300 * MS);
    assert_true(b.slices[WORK_HINTS] >= 10 && b.slices[WORK_SCRUB] >= 10);
    run(&b, 60 * S, MS);
    b.slices[WORK_HINTS] = b.slices[WORK_SCRUB] = 0;
    run(&b, S, MS);
    uint64_t hints = b.slices[WORK_HINTS], scrub = b.slices[WORK_SCRUB];
    assert_true(hints > 1000 && scrub > 1000);
    end(&b);
}

static void test_without_a_target_everything_is_granted(void **state)
{
    (void)state;
    struct bench b;
    struct admission_wait w = {0};
    begin(&b, 0);
    for (int i = 0; i < 100000; i++)
        assert_true(admission_ask(b.a, &w, WORK_HINTS, 0, granted_WORK_HINTS, &b));
    end(&b);
}

static void test_who_is_forgotten_is_not_called(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 50 * MS);
    start(&b, WORK_HINTS, 0);
    run(&b, 2 * S, 200 * MS);
    b.works[WORK_HINTS] = false;
    admission_forget(b.a, &b.waits[WORK_HINTS]);
    admission_forget(b.a, &b.waits[WORK_HINTS]);
    uint64_t before = b.slices[WORK_HINTS];
    run(&b, 5 * S, 0);
    assert_int_equal(b.slices[WORK_HINTS], before);
    end(&b);
}

static void test_a_node_is_idle_when_next_to_nothing_is_asked_of_it(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 50 * MS);
    assert_true(admission_idle(b.a));
    for (uint32_t i = 0; i < 20; i++)
        admission_foreground(b.a, MS);
    assert_false(admission_idle(b.a));
    b.now_us += S;
    assert_false(admission_idle(b.a)); /* a second ago */
    b.now_us += S;
    assert_true(admission_idle(b.a));
    for (uint32_t i = 0; i < 100; i++) { /* five a second */
        admission_foreground(b.a, MS);
        b.now_us += S / 5;
        assert_true(admission_idle(b.a));
    }
    end(&b);
    begin(&b, 0); /* no control */
    for (uint32_t i = 0; i < 100; i++)
        admission_foreground(b.a, MS);
    assert_true(admission_idle(b.a));
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_idle_node_works_as_fast_as_it_can),
        cmocka_unit_test(test_slow_requests_bring_the_background_down_to_its_floor),
        cmocka_unit_test(test_quick_requests_give_it_room_again),
        cmocka_unit_test(test_the_rate_settles_near_what_requests_bear),
        cmocka_unit_test(test_the_floor_rises_with_the_age_of_the_oldest_item),
        cmocka_unit_test(test_kinds_take_turns_and_none_starves),
        cmocka_unit_test(test_without_a_target_everything_is_granted),
        cmocka_unit_test(test_who_is_forgotten_is_not_called),
        cmocka_unit_test(test_a_node_is_idle_when_next_to_nothing_is_asked_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
