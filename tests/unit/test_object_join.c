/* SPDX-License-Identifier: Apache-2.0 */
/* What join promises, over random histories: four replicas write, delete, drop, retry and meet in
 * any order, with few contents and few streams, so that siblings collapse all the time. A ledger of
 * all writes and of what each covered says what may be missing at the end, and nothing else may. */
#include <stdlib.h>

#include "histories.h"
#include "unit.h"

#define REPLICAS 4
#define DOTS_MAX 64
#define PAST 8

struct rules {
    bool covers;   /* writes come with contexts */
    bool streams;  /* several writes of one client */
    bool contents; /* writes of equal bytes */
};

struct world {
    uint64_t seed;
    struct rules rules;
    struct object replicas[REPLICAS];
    struct object past[PAST]; /* copies on their way: messages that are late */
    struct sibling written[DOTS_MAX];
    bool covered[DOTS_MAX];
    unsigned n;
};

static void world_init(struct world *w, uint64_t seed, struct rules rules)
{
    *w = (struct world){.seed = seed, .rules = rules};
}

static void world_release(struct world *w)
{
    for (int i = 0; i < REPLICAS; i++)
        object_release(&w->replicas[i]);
    for (int i = 0; i < PAST; i++)
        object_release(&w->past[i]);
    for (unsigned i = 0; i < w->n; i++)
        sibling_release(&w->written[i]);
}

static void random_cover(struct world *w, const struct object *at, struct cover *c)
{
    if (!w->rules.covers)
        return;
    switch (random_below(&w->seed, 4)) {
    case 0:
        break; /* no context */
    case 1:
        clock_copy(&c->clock, &at->clock);
        break;
    case 2: /* read elsewhere */
        clock_copy(&c->clock, &w->replicas[random_below(&w->seed, REPLICAS)].clock);
        break;
    default:
        for (uint32_t i = 0; i < at->n; i++)
            if (random_below(&w->seed, 2) == 0)
                cover_add_dot(c, &at->siblings[i].dot);
    }
}

static void note_covered(struct world *w, const struct cover *c)
{
    for (unsigned i = 0; i < w->n; i++)
        w->covered[i] |= cover_has(c, &w->written[i].dot);
}

static void random_sibling_of(struct world *w, uint64_t node, struct sibling *s)
{
    char text[32];
    unsigned choice = (unsigned)(w->rules.contents ? random_below(&w->seed, 3) : w->n);
    snprintf(text, sizeof(text), "content %u", choice);
    uint64_t counter = 1 + clock_get(&w->replicas[node].clock, &(struct actor){node, {7, 1}});
    struct dot dot = dot_of(node, counter);
    uint64_t time_ns = 1 + random_below(&w->seed, 50); /* clocks of nodes disagree freely */
    if (w->rules.contents && random_below(&w->seed, 5) == 0)
        *s = (struct sibling){.dot = dot, .time_ns = time_ns, .type = SIBLING_DELETE};
    else
        *s = file_sibling(dot, text, time_ns);
    if (w->rules.streams && random_below(&w->seed, 2) == 0)
        s->origin = (struct origin){5, random_below(&w->seed, 2), 1 + random_below(&w->seed, 4)};
}

/* A node's own counter is always in its own replica: it forgets nothing here (E1 is elsewhere). */
static void step(struct world *w)
{
    uint64_t node = random_below(&w->seed, REPLICAS);
    struct object *o = &w->replicas[node];
    struct object *message = &w->past[random_below(&w->seed, PAST)];
    if (random_below(&w->seed, 4) == 0)
        object_join(o, message);
    else if (random_below(&w->seed, 4) == 0)
        object_copy(message, o);
    if (w->n == DOTS_MAX || random_below(&w->seed, 2) == 0) {
        object_join(o, &w->replicas[random_below(&w->seed, REPLICAS)]);
        return;
    }
    struct cover c = COVER_EMPTY;
    random_cover(w, o, &c);
    note_covered(w, &c);
    if (w->rules.covers && random_below(&w->seed, 8) == 0) {
        object_write(o, &c, NULL, 0);
    } else {
        struct sibling s;
        random_sibling_of(w, node, &s);
        while (clock_covers(&c.clock, &s.dot)) /* a context from elsewhere may be ahead of o */
            s.dot.counter++;
        s.value_dot = s.dot;
        sibling_copy(&w->written[w->n++], &s);
        object_write(o, &c, &s, s.time_ns);
    }
    cover_release(&c);
}

static void assert_sound(const struct object *o)
{
    for (uint32_t i = 0; i < o->n; i++) {
        assert_true(clock_covers(&o->clock, &o->siblings[i].dot));
        if (i > 0)
            assert_true(dot_compare(&o->siblings[i - 1].dot, &o->siblings[i].dot) < 0);
        for (uint32_t k = 0; k < i; k++)
            assert_false(sibling_same_content(&o->siblings[i], &o->siblings[k]));
    }
}

/* Lets random pairs exchange until nothing changes anywhere. */
static void settle(struct world *w)
{
    for (unsigned round = 0;; round++) {
        bool changed = false;
        assert_true(round < 20);
        for (unsigned i = 0; i < 3 * REPLICAS; i++)
            object_join(&w->replicas[random_below(&w->seed, REPLICAS)],
                        &w->replicas[random_below(&w->seed, REPLICAS)]);
        for (unsigned i = 0; i < REPLICAS; i++)
            for (unsigned k = 0; k < REPLICAS; k++)
                changed |= object_join(&w->replicas[i], &w->replicas[k]);
        if (!changed)
            return;
    }
}

static bool absorbs(const struct sibling *y, const struct sibling *x)
{
    bool same_stream = x->origin.writer != 0 && x->origin.writer == y->origin.writer &&
                       x->origin.stream == y->origin.stream;
    return (same_stream || sibling_same_content(x, y)) && sibling_absorb_order(y, x) > 0;
}

/* Absorbers are greater, so this ends. */
static bool accounted(const struct world *w, const struct object *end, unsigned x)
{
    if (w->covered[x] || object_find(end, &w->written[x].dot) != NULL)
        return true;
    for (unsigned y = 0; y < w->n; y++)
        if (absorbs(&w->written[y], &w->written[x]) && accounted(w, end, y))
            return true;
    return false;
}

static void test_histories_converge_and_account_for_every_write(void **state)
{
    (void)state;
    unsigned collapsed = 0, conflicts = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct world w;
        world_init(&w, seed, (struct rules){true, seed % 2 == 0, true});
        for (unsigned i = 0; i < 40; i++)
            step(&w);
        settle(&w);
        const struct object *end = &w.replicas[0];
        assert_sound(end);
        for (int i = 1; i < REPLICAS; i++)
            assert_true(object_identical(end, &w.replicas[i]));
        for (int i = 0; i < PAST; i++) /* what arrives after all that changes nothing */
            assert_false(object_join(&w.replicas[0], &w.past[i]));
        for (unsigned x = 0; x < w.n; x++) {
            bool alive = object_find(end, &w.written[x].dot) != NULL;
            assert_false(alive && w.covered[x]);
            assert_true(accounted(&w, end, x));
            collapsed += !alive && !w.covered[x];
        }
        conflicts += end->n > 1;
        world_release(&w);
    }
    assert_true(collapsed > 1000 && conflicts > 1000); /* the histories are worth something */
}

static void join_of(struct object *out, const struct object *a, const struct object *b)
{
    object_copy(out, a);
    object_join(out, b);
}

static void test_join_is_commutative_and_idempotent(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct world w;
        world_init(&w, seed, (struct rules){true, true, true});
        for (unsigned i = 0; i < 25; i++)
            step(&w);
        struct object ab = OBJECT_EMPTY, ba = OBJECT_EMPTY;
        const struct object *a = &w.replicas[0], *b = &w.replicas[1];
        join_of(&ab, a, b);
        join_of(&ba, b, a);
        assert_sound(&ab);
        assert_true(object_identical(&ab, &ba));
        assert_false(object_join(&ab, b));
        assert_false(object_join(&ab, a));
        assert_false(object_join(&ab, &ba));
        assert_true(object_identical(&ab, &ba));
        object_release(&ab);
        object_release(&ba);
        world_release(&w);
    }
}

typedef bool (*join_fn)(struct object *into, const struct object *other);

static void assert_associative(struct rules rules, join_fn join)
{
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct world w;
        world_init(&w, seed, rules);
        for (unsigned i = 0; i < 25; i++)
            step(&w);
        const struct object *r = w.replicas;
        struct object left = OBJECT_EMPTY, right = OBJECT_EMPTY, cd = OBJECT_EMPTY;
        for (int i = 0; i < REPLICAS; i++) /* ((a b) c) d */
            join(&left, &r[i]);
        object_copy(&cd, &r[2]); /* (c d) (b a) */
        join(&cd, &r[3]);
        object_copy(&right, &r[1]);
        join(&right, &r[0]);
        join(&cd, &right);
        assert_true(object_identical(&left, &cd));
        object_release(&left);
        object_release(&right);
        object_release(&cd);
        world_release(&w);
    }
}

static void test_join_is_associative_without_collapse(void **state)
{
    (void)state;
    assert_associative((struct rules){true, false, false}, object_join);
}

static void test_join_is_associative_while_no_absorber_is_superseded(void **state)
{
    (void)state;
    assert_associative((struct rules){false, false, true}, object_join);
    assert_associative((struct rules){false, true, false}, object_join);
}

/* Entries must come to the same, whichever way they take. */
static void test_the_join_of_entries_is_associative_whatever_is_superseded(void **state)
{
    (void)state;
    assert_associative((struct rules){true, true, true}, entry_join);
}

/* The three siblings of the comment in object_join.c. */
static void test_two_rules_of_collapse_never_chase_each_other(void **state)
{
    (void)state;
    struct object o[3] = {OBJECT_EMPTY, OBJECT_EMPTY, OBJECT_EMPTY};
    struct sibling s[3] = {file_sibling(dot_of(1, 1), "same", 20),
                           file_sibling(dot_of(2, 1), "same", 30),
                           file_sibling(dot_of(3, 1), "same", 10)};
    s[1].origin = (struct origin){5, 1, 5};
    s[2].origin = (struct origin){5, 1, 6};
    for (int i = 0; i < 3; i++)
        object_write(&o[i], &COVER_EMPTY, &s[i], 1);
    struct object met[3] = {OBJECT_EMPTY, OBJECT_EMPTY, OBJECT_EMPTY};
    for (int i = 0; i < 3; i++)
        join_of(&met[i], &o[i], &o[(i + 1) % 3]);
    object_join(&met[0], &met[1]);
    object_join(&met[1], &met[2]);
    object_join(&met[0], &met[1]);
    assert_int_equal(met[0].n, 1);
    for (int i = 0; i < 3; i++) {
        object_release(&o[i]);
        object_release(&met[i]);
    }
}

static void test_a_thousand_siblings_join(void **state)
{
    (void)state;
    struct object a = OBJECT_EMPTY, b = OBJECT_EMPTY;
    char text[16];
    for (unsigned i = 1; i <= 1000; i++) {
        snprintf(text, sizeof(text), "%u", i);
        write_file(&a, NULL, dot_of(1, i), text, i);
        write_file(&b, NULL, dot_of(2, i), text, 2000 - i); /* every content twice */
    }
    object_join(&a, &b);
    assert_int_equal(a.n, 1000);
    assert_sound(&a);
    object_release(&a);
    object_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histories_converge_and_account_for_every_write),
        cmocka_unit_test(test_join_is_commutative_and_idempotent),
        cmocka_unit_test(test_join_is_associative_without_collapse),
        cmocka_unit_test(test_join_is_associative_while_no_absorber_is_superseded),
        cmocka_unit_test(test_the_join_of_entries_is_associative_whatever_is_superseded),
        cmocka_unit_test(test_two_rules_of_collapse_never_chase_each_other),
        cmocka_unit_test(test_a_thousand_siblings_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
