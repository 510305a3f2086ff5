/* SPDX-License-Identifier: Apache-2.0 */
/* A put that reaches a second node when what it wrote has been replaced or removed. */
#include "engine/coordinate/late_copy.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "played_cluster.h"
#include "unit.h"

#define SECOND 1000000u

static struct put_request put_of(const char *value, uint64_t seq)
{
    return (struct put_request){.key = slice_str("k"),
                                .type = SIBLING_FILE,
                                .value = slice_str(value),
                                .origin = {.writer = 7, .stream = 9, .seq = seq}};
}

static struct dot send(struct played_cluster *c, uint32_t at, const struct put_request *q)
{
    struct put_reply reply = played_put(c, at, q);
    struct dot dot = reply.dot;
    assert_int_equal(reply.status, DYN_OK);
    put_reply_release(&reply);
    played_run(c, SECOND);
    return dot;
}

static void assert_values(struct played_cluster *c, const char *want)
{
    for (uint32_t i = 0; i < c->n; i++) {
        char *values = played_values(c, i, "k");
        assert_string_equal(values, want);
        free(values);
    }
}

static void resolve(struct played_cluster *c, uint32_t at, const char *value)
{
    assert_int_equal(played_write(c, at, "k", value, PUT_CURRENT, slice_of(NULL, 0)), DYN_OK);
    played_run(c, SECOND);
}

static void test_a_late_copy_does_not_undo_a_delete(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    const struct put_request put = put_of("v", 1);
    const struct dot first = send(c, 0, &put), again = send(c, 2, &put);
    assert_true(dot_equal(&first, &again)); /* while it lives */
    assert_int_equal(played_delete(c, 1, "k"), DYN_OK);
    played_run(c, SECOND);
    const struct dot late = send(c, 2, &put);
    assert_true(dot_equal(&first, &late));
    assert_values(c, "-");
    played_cluster_free(c);
}

/* An exclusive create: a lock that was let go must not be taken again by nobody (F14). */
static void test_a_late_exclusive_create_does_not_undo_a_delete(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct put_request put = put_of("mine", 1), next = put_of("mine", 1);
    put.flags = next.flags = PUT_IF_ABSENT;
    next.origin.stream = 10;
    const struct dot first = send(c, 0, &put);
    assert_int_equal(played_delete(c, 1, "k"), DYN_OK);
    played_run(c, SECOND);
    const struct dot late = send(c, 2, &put);
    assert_true(dot_equal(&first, &late));
    assert_values(c, "-");
    send(c, 2, &next); /* somebody else's */
    assert_values(c, "mine");
    played_cluster_free(c);
}

static void test_a_late_copy_does_not_bring_a_conflict_back(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    const struct put_request put = put_of("one", 1);
    resolve(c, 0, "other");
    send(c, 1, &put);
    assert_values(c, "other|one");
    resolve(c, 0, "both");
    send(c, 2, &put);
    assert_values(c, "both");
    played_cluster_free(c);
}

/* The next of the same stream, and one of another, are writes like any: what stands there now they
 * have not seen. */
static void test_other_puts_stand_beside_what_they_have_not_seen(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct put_request put = put_of("one", 1), next = put_of("two", 2), other = put_of("three", 1);
    other.origin.stream = 10;
    send(c, 0, &put);
    resolve(c, 1, "instead");
    send(c, 2, &next);
    send(c, 0, &other);
    assert_values(c, "instead|two|three");
    resolve(c, 1, "at last");
    send(c, 1, &put); /* older than what went with it */
    send(c, 0, &next);
    assert_values(c, "at last");
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_late_copy_does_not_undo_a_delete),
        cmocka_unit_test(test_a_late_exclusive_create_does_not_undo_a_delete),
        cmocka_unit_test(test_a_late_copy_does_not_bring_a_conflict_back),
        cmocka_unit_test(test_other_puts_stand_beside_what_they_have_not_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
