/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle itself, on histories written by hand: it finds each kind of broken promise, and lets
 * pass what is allowed. A simulator whose judge is asleep finds nothing. */
#include <stdlib.h>

#include "base/err.h"
#include "oracle.h"
#include "unit.h"

struct bench {
    struct sim_world world;
    struct oracle *oracle;
    struct object object; /* of the one key "k" */
    uint64_t requests;
};

static void begin(struct bench *b)
{
    *b = (struct bench){0};
    sim_world_init(&b->world, 1, NULL);
    b->oracle = oracle_new(&b->world);
}

static uint32_t end(struct bench *b)
{
    uint32_t violations = b->world.violations;
    object_release(&b->object);
    oracle_free(b->oracle);
    sim_world_release(&b->world);
    return violations;
}

static struct dot dot_of(uint64_t node, uint64_t counter)
{
    return (struct dot){.actor = {.node = node, .epoch = {1, 1}}, .counter = counter};
}

static struct request_options options(void)
{
    return (struct request_options){.n = 3,
                                    .r = 2,
                                    .w = 2,
                                    .durability = DURABILITY_BUFFERED,
                                    .sloppy = SLOPPY_NO,
                                    .timeout_ms = 1000};
}

/* A put by `node`, in the object at hand too unless it is lost; status DYN_ERR_TIMEOUT: maybe. */
static struct oracle_write *put(struct bench *b, struct dot dot, const char *value,
                                const struct cover *cover, int status, bool lost)
{
    const struct cover none = COVER_EMPTY;
    struct put_request q = {.opt = options(),
                            .key = slice_str("k"),
                            .type = value != NULL ? SIBLING_FILE : SIBLING_DELETE,
                            .attrs = {.mode = 0644},
                            .origin = {1, ++b->requests, 1}};
    struct sibling s = {.dot = dot,
                        .value_dot = dot,
                        .type = q.type,
                        .attrs = q.attrs,
                        .origin = q.origin,
                        .time_ns = b->requests};
    if (value != NULL) {
        q.value = slice_str(value);
        s.size = q.value.len;
        digest_sha256(q.value, s.value_hash);
    }
    struct oracle_write *w = oracle_put(b->oracle, &q, cover != NULL ? cover : &none);
    struct object after = OBJECT_EMPTY;
    object_copy(&after, &b->object);
    object_write(&after, cover != NULL ? cover : &none, &s, 1);
    b->world.now_us += 1000;
    const struct put_reply reply = {.status = status, .dot = dot, .object = after};
    oracle_put_ended(b->oracle, w, status, status == DYN_ERR_TIMEOUT ? NULL : &reply);
    b->world.now_us += 1000;
    if (!lost)
        object_copy(&b->object, &after);
    object_release(&after);
    return w;
}

/* The same put, which reached a second node too: one that knows nothing of what is there. */
static void tried_again(struct bench *b, const struct oracle_write *w, struct dot dot)
{
    const struct cover none = COVER_EMPTY;
    struct sibling s = {.dot = dot,
                        .value_dot = dot,
                        .type = w->type,
                        .attrs = {.mode = w->mode},
                        .origin = w->origin,
                        .size = w->size};
    memcpy(s.value_hash, w->hash, DIGEST_LEN);
    object_write(&b->object, &none, &s, 1);
}

static void judge(struct bench *b)
{
    oracle_final(b->oracle, oracle_key(b->oracle, slice_str("k")), &b->object);
}

static void got(struct bench *b)
{
    const struct get_request q = {.opt = options(), .key = slice_str("k")};
    const struct get_reply reply = {.object = b->object};
    oracle_got(b->oracle, &q, b->world.now_us, &reply);
}

static struct cover cover_now(const struct bench *b)
{
    struct cover c = COVER_EMPTY;
    clock_copy(&c.clock, &b->object.clock);
    return c;
}

static void test_a_history_without_fault_passes(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    put(&b, dot_of(1, 1), "one", NULL, DYN_OK, false);
    put(&b, dot_of(2, 1), "two", NULL, DYN_OK, false);
    struct cover c = cover_now(&b);
    put(&b, dot_of(1, 2), "three", &c, DYN_OK, false);
    put(&b, dot_of(3, 1), "four", NULL, DYN_ERR_TIMEOUT, true);
    put(&b, dot_of(3, 2), "five", NULL, DYN_ERR_TIMEOUT, false);
    got(&b);
    judge(&b);
    cover_release(&c);
    assert_int_equal(end(&b), 0);
}

static void test_a_lost_write_is_found(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    put(&b, dot_of(1, 1), "one", NULL, DYN_OK, false);
    put(&b, dot_of(2, 1), "two", NULL, DYN_OK, true);
    judge(&b);
    assert_int_equal(end(&b), 1);
}

static void test_a_write_that_a_maybe_covered_may_be_gone(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    struct oracle_write *w = put(&b, dot_of(1, 1), "one", NULL, DYN_OK, false);
    struct cover c = cover_now(&b);
    put(&b, dot_of(2, 1), "two", &c, DYN_ERR_TIMEOUT, false);
    assert_null(object_find(&b.object, &w->dot));
    judge(&b);
    cover_release(&c);
    assert_int_equal(end(&b), 0);
}

static void test_a_returned_delete_is_found(void **state)
{
    (void)state;
    struct bench b;
    struct object before = OBJECT_EMPTY;
    begin(&b);
    put(&b, dot_of(1, 1), "one", NULL, DYN_OK, false);
    object_copy(&before, &b.object);
    struct cover c = cover_now(&b);
    put(&b, dot_of(2, 1), NULL, &c, DYN_OK, true);
    judge(&b); /* still the object of before */
    cover_release(&c);
    object_release(&before);
    assert_int_equal(end(&b), 1);
}

static void test_a_phantom_and_a_version_of_a_refused_write_are_found(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    put(&b, dot_of(1, 1), "one", NULL, DYN_ERR_BAD_CONTEXT, false);
    got(&b);
    assert_int_equal(end(&b), 1);
}

static void test_one_dot_for_two_writes_is_found(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    put(&b, dot_of(1, 1), "one", NULL, DYN_OK, false);
    object_release(&b.object);
    put(&b, dot_of(1, 1), "two", NULL, DYN_OK, false);
    assert_true(end(&b) >= 1);
}

static void test_a_strict_read_that_misses_a_write_is_found(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    put(&b, dot_of(1, 1), "one", NULL, DYN_OK, true);
    got(&b);
    assert_int_equal(end(&b), 1);
}

static void test_power_excuses_what_was_acknowledged_from_the_page_cache(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    put(&b, dot_of(1, 1), "one", NULL, DYN_OK, true);
    oracle_power_lost(b.oracle);
    judge(&b);
    assert_int_equal(b.world.violations, 0);
    const struct dot dot = dot_of(1, 1);
    oracle_synced(b.oracle, oracle_key(b.oracle, slice_str("k")), &dot);
    judge(&b);
    assert_int_equal(end(&b), 1);
}

/* Its answered attempt went with the power, and what that covered is back; the other stays. */
static void test_power_excuses_what_only_the_lost_attempt_covered(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    put(&b, dot_of(1, 1), "one", NULL, DYN_OK, false);
    struct cover c = cover_now(&b);
    struct oracle_write *w = put(&b, dot_of(1, 2), "two", &c, DYN_OK, true);
    w->current = true; /* it asked for what is there: the first node knew, the second did not */
    tried_again(&b, w, dot_of(2, 1));
    oracle_power_lost(b.oracle);
    judge(&b);
    assert_int_equal(b.world.violations, 0);
    clock_advance(&b.object.clock, &w->dot, 0); /* what it answered is there after all */
    judge(&b);
    cover_release(&c);
    assert_int_equal(end(&b), 1);
}

/* Every attempt covers what the request itself names. */
static void test_power_does_not_excuse_what_each_attempt_covered(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    put(&b, dot_of(1, 1), "one", NULL, DYN_OK, false);
    struct cover c = cover_now(&b);
    tried_again(&b, put(&b, dot_of(1, 2), "two", &c, DYN_OK, true), dot_of(2, 1));
    oracle_power_lost(b.oracle);
    judge(&b);
    cover_release(&c);
    assert_int_equal(end(&b), 1);
}

static void test_equal_bytes_may_collapse_but_not_vanish(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    put(&b, dot_of(1, 1), "same", NULL, DYN_OK, false);
    put(&b, dot_of(2, 1), "same", NULL, DYN_OK, false);
    assert_int_equal(b.object.n, 1);
    judge(&b);
    assert_int_equal(b.world.violations, 0);
    object_release(&b.object);
    judge(&b);
    assert_int_equal(end(&b), 2); /* both are lost */
}

/* The cluster makes "k" for "k/s"; a user's mkdir collapses into it; whoever had seen only the
 * first removes it, and so both. */
static void test_a_directory_goes_with_its_equal_that_the_cluster_made(void **state)
{
    (void)state;
    for (int removed = 0; removed < 2; removed++) {
        const struct cover none = COVER_EMPTY;
        struct sibling made = {.dot = dot_of(1, 1),
                               .value_dot = dot_of(1, 1),
                               .type = SIBLING_DIR,
                               .attrs = {.mode = 0755},
                               .origin = {99, 99, 1},
                               .time_ns = 9};
        const struct put_request under = {
            .opt = options(), .key = slice_str("k/s"), .type = SIBLING_DIR, .origin = {2, 1, 1}};
        const struct put_request mkdir = {.opt = options(),
                                          .key = slice_str("k"),
                                          .type = SIBLING_DIR,
                                          .attrs = {.mode = 0755},
                                          .origin = {2, 2, 1}};
        struct bench b;
        begin(&b);
        oracle_put(b.oracle, &under, &none);
        object_write(&b.object, &none, &made, 1);
        got(&b);
        struct cover c = cover_now(&b);
        struct oracle_write *w = oracle_put(b.oracle, &mkdir, &none);
        const struct dot users = dot_of(2, 1);
        clock_advance(&b.object.clock, &users, 0); /* the greater of the two stays: `made` */
        const struct put_reply reply = {.status = DYN_OK, .dot = users, .object = b.object};
        oracle_put_ended(b.oracle, w, DYN_OK, &reply);
        if (removed)
            put(&b, dot_of(1, 2), NULL, &c, DYN_OK, false);
        else
            object_release(&b.object);
        judge(&b);
        cover_release(&c);
        assert_int_equal(end(&b), !removed);
    }
}

static void test_another_content_under_a_known_dot_is_found(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    put(&b, dot_of(1, 1), "one", NULL, DYN_OK, false);
    b.object.siblings[0].value_hash[3] ^= 1;
    got(&b);
    assert_true(end(&b) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_history_without_fault_passes),
        cmocka_unit_test(test_a_lost_write_is_found),
        cmocka_unit_test(test_a_write_that_a_maybe_covered_may_be_gone),
        cmocka_unit_test(test_a_returned_delete_is_found),
        cmocka_unit_test(test_a_phantom_and_a_version_of_a_refused_write_are_found),
        cmocka_unit_test(test_one_dot_for_two_writes_is_found),
        cmocka_unit_test(test_a_strict_read_that_misses_a_write_is_found),
        cmocka_unit_test(test_power_excuses_what_was_acknowledged_from_the_page_cache),
        cmocka_unit_test(test_power_excuses_what_only_the_lost_attempt_covered),
        cmocka_unit_test(test_power_does_not_excuse_what_each_attempt_covered),
        cmocka_unit_test(test_equal_bytes_may_collapse_but_not_vanish),
        cmocka_unit_test(test_a_directory_goes_with_its_equal_that_the_cluster_made),
        cmocka_unit_test(test_another_content_under_a_known_dot_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
