/* SPDX-License-Identifier: Apache-2.0 */
/* What a node shows of its own copy to a client, and what it does not. */
#include <stdlib.h>

#include "base/err.h"
#include "model/context.h"
#include "played_cluster.h"
#include "unit.h"

static struct direct_reply ask(struct played_cluster *c, uint32_t at, const struct direct_get *q)
{
    struct buf body = BUF_EMPTY;
    struct direct_reply p;
    direct_get_encode(q, &body);
    played_ask(c, at, FRAME_DIRECT_GET, &body);
    assert_int_equal(c->client_type, FRAME_DIRECT_GET + FRAME_REPLY);
    assert_int_equal(direct_reply_decode(buf_slice(&c->client_reply), &p), DYN_OK);
    assert_true(history_epoch_equal(&p.ring, ring_epoch(c->ring)));
    if (p.status == DYN_OK)
        assert_true(p.fence == q->fence);
    return p;
}

static uint64_t fence_of(struct played_cluster *c, const char *key)
{
    return ring_fence(c->ring, ring_partition_of(c->ring, slice_str(key)));
}

static struct direct_get question(struct played_cluster *c, const char *key, enum get_want want)
{
    return (struct direct_get){.fence = fence_of(c, key), .key = slice_str(key), .want = want};
}

static void test_a_primary_shows_its_copy_and_a_token_for_it(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_write(c, 0, "a", "hello", 0, slice_of(NULL, 0));
    played_run(c, 100000);
    struct direct_get q = question(c, "a", GET_NEWEST);
    struct direct_reply p = ask(c, 1, &q);
    assert_int_equal(p.status, DYN_OK);
    assert_int_equal(p.object.n, 1);
    assert_non_null(p.object.siblings[0].value);
    struct buf context = BUF_EMPTY;
    context_all(p.token, &context);
    assert_int_equal(played_write(c, 2, "a", "later", 0, buf_slice(&context)), DYN_OK);
    direct_reply_release(&p);
    char *values = played_values(c, 0, "a");
    assert_string_equal(values, "later");
    free(values);
    q.want = GET_META;
    p = ask(c, 1, &q);
    assert_null(p.object.siblings[0].value);
    direct_reply_release(&p);
    buf_release(&context);
    played_cluster_free(c);
}

static void test_who_is_no_primary_refuses(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(6, 3, 2, 2);
    unsigned refused = 0;
    played_write(c, 0, "a", "hello", 0, slice_of(NULL, 0));
    played_run(c, 100000);
    for (uint32_t i = 0; i < 6; i++) {
        struct direct_get q = question(c, "a", GET_ALL);
        struct direct_reply p = ask(c, i, &q);
        refused += p.status == DYN_ERR_REFUSED;
        assert_true(p.status == DYN_ERR_REFUSED || p.object.n == 1);
        assert_true(p.status == DYN_OK || (p.object.n == 0 && p.token.len == 0));
        direct_reply_release(&p);
    }
    assert_int_equal(refused, 3);
    played_cluster_free(c);
}

static void test_who_knows_other_owners_is_refused(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct direct_get q = question(c, "a", GET_META);
    q.fence++;
    struct direct_reply p = ask(c, 0, &q);
    assert_int_equal(p.status, DYN_ERR_REFUSED);
    direct_reply_release(&p);
    q = question(c, "a", GET_META);
    q.n = 9;
    p = ask(c, 0, &q);
    assert_int_equal(p.status, DYN_ERR_INVALID);
    direct_reply_release(&p);
    played_cluster_free(c);
}

static void tell_behind(struct played_cluster *c, uint32_t at, const char *key)
{
    struct behind m = {fence_of(c, key), slice_str(key)};
    struct buf body = BUF_EMPTY;
    behind_encode(&m, &body);
    played_tell(c, at, FRAME_BEHIND, &body);
}

static void test_who_is_told_brings_all_to_the_same_state(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    c->nodes[2].up = false;
    played_write(c, 0, "a", "missed", PUT_CURRENT, slice_of(NULL, 0));
    played_crash(c, 0, false); /* with its hint */
    c->nodes[2].up = true;
    struct direct_get q = question(c, "a", GET_META);
    struct direct_reply p = ask(c, 2, &q);
    bool behind = object_is_absent(&p.object);
    direct_reply_release(&p);
    assert_true(behind);
    tell_behind(c, 2, "a");
    played_run(c, 20000);
    p = ask(c, 2, &q);
    assert_true(object_live(&p.object));
    direct_reply_release(&p);
    played_cluster_free(c);
}

static void test_a_flood_of_tales_is_bounded(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct engine_stats s;
    for (unsigned i = 0; i < 5000; i++)
        tell_behind(c, 0, "a");
    engine_stats(c->nodes[0].engine, &s);
    assert_in_range(s.told_behind, 1, 64);
    played_run(c, 1000000);
    tell_behind(c, 0, "a");
    uint64_t before = s.told_behind;
    engine_stats(c->nodes[0].engine, &s);
    assert_int_equal(s.told_behind, before + 1);
    played_run(c, 1000000);
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_primary_shows_its_copy_and_a_token_for_it),
        cmocka_unit_test(test_who_is_no_primary_refuses),
        cmocka_unit_test(test_who_knows_other_owners_is_refused),
        cmocka_unit_test(test_who_is_told_brings_all_to_the_same_state),
        cmocka_unit_test(test_a_flood_of_tales_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
