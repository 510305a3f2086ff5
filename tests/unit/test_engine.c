/* SPDX-License-Identifier: Apache-2.0 */
/* What one request, or a few, do to a small cluster without faults from a seed. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "played_cluster.h"
#include "unit.h"

static const struct slice no_context = {NULL, 0};

static void expect_values(struct played_cluster *c, uint32_t at, const char *key, const char *want)
{
    char *got = played_values(c, at, key);
    assert_string_equal(got, want);
    free(got);
}

static void expect_names(struct played_cluster *c, uint32_t at, const char *dir, const char *want)
{
    char *got = played_names(c, at, dir);
    assert_string_equal(got, want);
    free(got);
}

static void test_what_is_written_at_one_node_is_read_at_each(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    assert_int_equal(played_write(c, 0, "a", "hello", 0, no_context), DYN_OK);
    for (uint32_t i = 0; i < 3; i++)
        expect_values(c, i, "a", "hello");
    expect_names(c, 1, "", "a");
    played_cluster_free(c);
}

static void test_a_write_without_context_makes_a_sibling(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_write(c, 0, "a", "one", 0, no_context);
    played_run(c, 1000);
    played_write(c, 1, "a", "two", 0, no_context);
    expect_values(c, 2, "a", "one|two");
    played_cluster_free(c);
}

static void test_a_context_supersedes_what_was_read(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct buf context = BUF_EMPTY;
    played_write(c, 0, "a", "one", 0, no_context);
    played_context(c, 1, "a", &context);
    played_run(c, 1000);
    played_write(c, 2, "a", "newcomer", 0, no_context);
    assert_int_equal(played_write(c, 1, "a", "two", 0, buf_slice(&context)), DYN_OK);
    expect_values(c, 2, "a", "newcomer|two");
    buf_release(&context);
    played_cluster_free(c);
}

static void test_a_forged_context_is_refused(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct buf context = BUF_EMPTY;
    played_write(c, 0, "a", "one", 0, no_context);
    played_context(c, 1, "a", &context);
    assert_int_equal(played_write(c, 1, "b", "two", 0, buf_slice(&context)), DYN_ERR_BAD_CONTEXT);
    context.data[context.len - 1] ^= 1;
    assert_int_equal(played_write(c, 1, "a", "two", 0, buf_slice(&context)), DYN_ERR_BAD_CONTEXT);
    expect_values(c, 2, "a", "one");
    buf_release(&context);
    played_cluster_free(c);
}

static void test_a_deleted_key_is_gone_from_its_directory(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_write(c, 0, "a", "one", 0, no_context);
    played_write(c, 0, "b", "two", 0, no_context);
    assert_int_equal(played_delete(c, 1, "a"), DYN_OK);
    expect_values(c, 2, "a", "-");
    expect_names(c, 2, "", "b");
    assert_int_equal(played_delete(c, 1, "a"), DYN_ERR_NOT_FOUND);
    played_cluster_free(c);
}

static void test_parents_that_nobody_made_are_there(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 3, 2, 2);
    assert_int_equal(played_write(c, 0, "x/y/z", "deep", 0, no_context), DYN_OK);
    expect_names(c, 1, "", "x");
    expect_names(c, 2, "x", "y");
    expect_names(c, 3, "x/y", "z");
    expect_values(c, 4, "x", "<dir>");
    played_cluster_free(c);
}

static void test_any_node_of_many_takes_any_request(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(7, 3, 2, 2);
    for (int i = 0; i < 40; i++) {
        char key[16], value[16];
        snprintf(key, sizeof(key), "k%02d", i);
        snprintf(value, sizeof(value), "v%d", i);
        assert_int_equal(played_write(c, (uint32_t)i % 7, key, value, 0, no_context), DYN_OK);
    }
    for (int i = 0; i < 40; i++) {
        char key[16], value[16];
        snprintf(key, sizeof(key), "k%02d", i);
        snprintf(value, sizeof(value), "v%d", i);
        expect_values(c, (uint32_t)(i + 3) % 7, key, value);
    }
    played_cluster_free(c);
}

static void test_hints_bring_a_returning_node_level(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_crash(c, 2, false);
    assert_int_equal(played_write(c, 0, "d/a", "while you were out", 0, no_context), DYN_OK);
    played_run(c, 2000000);
    assert_true(played_hints(c) > 0);
    played_restart(c, 2);
    played_run(c, 5000000);
    assert_int_equal(played_hints(c), 0);
    played_crash(c, 0, false);
    played_crash(c, 1, false);
    struct get_request q = {.opt = {.r = 1}, .key = slice_str("d/a"), .want = GET_ALL};
    struct get_reply reply = played_get(c, 2, &q);
    assert_int_equal(reply.status, DYN_OK);
    assert_int_equal(reply.object.n, 1);
    get_reply_release(&reply);
    struct list_request l = {.opt = {.r = 1}, .dir = slice_str("d")};
    struct list_reply names = played_list(c, 2, &l);
    assert_int_equal(names.n, 1);
    list_reply_release(&names);
    played_cluster_free(c);
}

static void test_a_stand_in_gives_back_what_it_held(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 3, 2, 3);
    played_crash(c, 0, false);
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%02d", i);
        assert_int_equal(played_write(c, 1, key, "v", 0, no_context), DYN_OK);
    }
    assert_true(played_hints(c) > 0);
    played_restart(c, 0);
    played_run(c, 10000000);
    assert_int_equal(played_hints(c), 0);
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%02d", i);
        expect_values(c, 0, key, "v");
    }
    played_cluster_free(c);
}

/* N,R,W with one node of three down: what the arithmetic says. */
static void quorum_case(uint32_t n, uint32_t r, uint32_t w, int want_write, int want_read)
{
    struct played_cluster *c = played_cluster_new(3, n, r, w);
    assert_int_equal(played_write(c, 0, "k", "before", 0, no_context), DYN_OK);
    played_run(c, 1000000);
    played_crash(c, 2, false);
    assert_int_equal(played_write(c, 0, "k", "after", PUT_CURRENT, no_context), want_write);
    struct get_request q = {.key = slice_str("k"), .want = GET_ALL};
    struct get_reply reply = played_get(c, 1, &q);
    assert_int_equal(reply.status, want_read);
    get_reply_release(&reply);
    played_cluster_free(c);
}

static void test_quorums_do_what_the_arithmetic_says(void **state)
{
    (void)state;
    quorum_case(3, 2, 2, DYN_OK, DYN_OK);
    quorum_case(3, 3, 1, DYN_OK, DYN_ERR_NO_QUORUM);
    quorum_case(3, 1, 3, DYN_ERR_NO_QUORUM, DYN_OK);
    quorum_case(3, 3, 3, DYN_ERR_NO_QUORUM, DYN_ERR_NO_QUORUM);
    quorum_case(3, 1, 1, DYN_OK, DYN_OK);
}

static void test_a_silent_node_delays_no_write(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    c->nodes[2].silent = true;
    uint64_t before = c->now_us;
    assert_int_equal(played_write(c, 0, "k", "v", 0, no_context), DYN_OK);
    assert_true(c->now_us - before < 10000);
    played_cluster_free(c);
}

static void test_absence_is_promised_only_with_a_quorum(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    assert_int_equal(played_write(c, 0, "lock", "1", PUT_IF_ABSENT, no_context), DYN_OK);
    assert_int_equal(played_write(c, 1, "lock", "2", PUT_IF_ABSENT, no_context), DYN_ERR_EXISTS);
    assert_int_equal(played_delete(c, 2, "lock"), DYN_OK);
    assert_int_equal(played_write(c, 1, "lock", "3", PUT_IF_ABSENT, no_context), DYN_OK);
    expect_values(c, 0, "lock", "3");
    played_cluster_free(c);
}

static void test_dropping_one_sibling_leaves_the_other(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_write(c, 0, "a", "one", 0, no_context);
    played_run(c, 1000);
    played_write(c, 1, "a", "two", 0, no_context);
    struct get_request g = {.key = slice_str("a"), .want = GET_META};
    struct get_reply got = played_get(c, 0, &g);
    assert_int_equal(got.object.n, 2);
    const struct sibling *newest = object_newest(&got.object);
    struct buf context = BUF_EMPTY;
    assert_int_equal(context_dots(got.token, &newest->dot, 1, &context), DYN_OK);
    get_reply_release(&got);
    struct slice contexts[1] = {buf_slice(&context)};
    struct put_request q = {.key = slice_str("a"),
                            .flags = PUT_DROP_ONLY,
                            .type = SIBLING_DELETE,
                            .contexts = contexts,
                            .n_contexts = 1};
    struct put_reply reply = played_put(c, 2, &q);
    assert_int_equal(reply.status, DYN_OK);
    put_reply_release(&reply);
    expect_values(c, 1, "a", "one");
    expect_names(c, 1, "", "a");
    buf_release(&context);
    played_cluster_free(c);
}

static void test_a_repeat_of_a_put_is_the_same_write(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct put_request q = {.key = slice_str("a"),
                            .type = SIBLING_FILE,
                            .origin = {9, 1, 1},
                            .value = slice_str("once")};
    struct put_reply first = played_put(c, 0, &q), second = played_put(c, 1, &q);
    assert_int_equal(second.status, DYN_OK);
    assert_true(dot_equal(&first.dot, &second.dot));
    expect_values(c, 2, "a", "once");
    put_reply_release(&first);
    put_reply_release(&second);
    played_cluster_free(c);
}

static void test_a_metadata_change_keeps_the_value(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_write(c, 0, "a", "bytes", 0, no_context);
    struct get_request g = {.key = slice_str("a"), .want = GET_META};
    struct get_reply got = played_get(c, 0, &g);
    struct buf context = BUF_EMPTY;
    context_all(got.token, &context);
    struct slice contexts[1] = {buf_slice(&context)};
    struct put_request q = {.key = slice_str("a"),
                            .flags = PUT_KEEP_VALUE,
                            .type = SIBLING_FILE,
                            .attrs = {.mode = 0600},
                            .value_dot = got.object.siblings[0].value_dot,
                            .contexts = contexts,
                            .n_contexts = 1};
    get_reply_release(&got);
    struct put_reply reply = played_put(c, 1, &q);
    assert_int_equal(reply.status, DYN_OK);
    put_reply_release(&reply);
    expect_values(c, 2, "a", "bytes");
    got = played_get(c, 2, &g);
    assert_int_equal(got.object.siblings[0].attrs.mode, 0600);
    get_reply_release(&got);
    buf_release(&context);
    played_cluster_free(c);
}

static void test_a_sync_covers_the_dot_that_was_shown(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct put_request q = {.opt = {.durability = DURABILITY_BUFFERED},
                            .key = slice_str("a"),
                            .type = SIBLING_FILE,
                            .value = slice_str("buffered")};
    struct put_reply put = played_put(c, 0, &q);
    assert_true(store_memory_unsynced(c->nodes[0].store) > 0);
    struct sync_request s = {.key = slice_str("a"), .dot = put.dot};
    struct sync_reply synced = played_sync(c, 1, &s);
    assert_int_equal(synced.status, DYN_OK);
    played_run(c, 1000000);
    put_reply_release(&put);
    for (uint32_t i = 0; i < 3; i++) {
        played_crash(c, i, true);
        played_restart(c, i);
    }
    expect_values(c, 0, "a", "buffered");
    played_cluster_free(c);
}

static void test_a_stale_replica_is_repaired_by_a_read(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct put_request q = {.opt = {.durability = DURABILITY_BUFFERED},
                            .key = slice_str("a"),
                            .type = SIBLING_FILE,
                            .value = slice_str("lost by one")};
    struct put_reply put = played_put(c, 0, &q);
    put_reply_release(&put);
    played_run(c, 1000000);
    played_crash(c, 2, true);
    played_restart(c, 2);
    expect_values(c, 0, "a", "lost by one");
    played_run(c, 1000000);
    played_crash(c, 0, false);
    played_crash(c, 1, false);
    struct get_request g = {.opt = {.r = 1}, .key = slice_str("a"), .want = GET_ALL};
    struct get_reply got = played_get(c, 2, &g);
    assert_int_equal(got.object.n, 1);
    assert_non_null(got.object.siblings[0].value);
    get_reply_release(&got);
    played_cluster_free(c);
}

static void test_a_long_directory_is_listed_by_pages(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof(key), "d/n%02d", i);
        assert_int_equal(played_write(c, 0, key, "v", 0, no_context), DYN_OK);
    }
    char cursor[64] = "";
    int seen = 0;
    for (;;) {
        struct list_request q = {.dir = slice_str("d"), .after = slice_str(cursor), .limit = 7};
        struct list_reply page = played_list(c, 1, &q);
        assert_int_equal(page.status, DYN_OK);
        seen += (int)page.n;
        bool more = page.more;
        snprintf(cursor, sizeof(cursor), "%.*s", (int)page.cursor.len, page.cursor.data);
        list_reply_release(&page);
        if (!more)
            break;
    }
    assert_int_equal(seen, 50);
    played_cluster_free(c);
}

/* E16, F11: also when a file has taken the name of the directory meanwhile. */
static void test_a_deleted_directory_swallows_nothing(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 3, 2, 2);
    assert_int_equal(played_write(c, 0, "d/f", "kept", 0, no_context), DYN_OK);
    assert_int_equal(played_delete(c, 1, "d"), DYN_OK);
    played_run(c, 5000000);
    expect_values(c, 2, "d", "<dir>");
    assert_int_equal(played_delete(c, 1, "d"), DYN_OK);
    assert_int_equal(played_write(c, 1, "d", "a file", 0, no_context), DYN_OK);
    played_run(c, 5000000);
    expect_values(c, 2, "d", "a file|<dir>");
    expect_values(c, 2, "d/f", "kept");
    expect_names(c, 3, "d", "f");
    played_cluster_free(c);
}

static void test_what_is_put_under_a_file_can_be_reached(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(5, 3, 2, 2);
    assert_int_equal(played_write(c, 0, "x", "a file", 0, no_context), DYN_OK);
    assert_int_equal(played_write(c, 1, "x/y", "below", 0, no_context), DYN_OK);
    expect_values(c, 2, "x", "a file|<dir>");
    expect_names(c, 3, "x", "y");
    played_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_at_one_node_is_read_at_each),
        cmocka_unit_test(test_a_write_without_context_makes_a_sibling),
        cmocka_unit_test(test_a_context_supersedes_what_was_read),
        cmocka_unit_test(test_a_forged_context_is_refused),
        cmocka_unit_test(test_a_deleted_key_is_gone_from_its_directory),
        cmocka_unit_test(test_parents_that_nobody_made_are_there),
        cmocka_unit_test(test_any_node_of_many_takes_any_request),
        cmocka_unit_test(test_hints_bring_a_returning_node_level),
        cmocka_unit_test(test_a_stand_in_gives_back_what_it_held),
        cmocka_unit_test(test_quorums_do_what_the_arithmetic_says),
        cmocka_unit_test(test_a_silent_node_delays_no_write),
        cmocka_unit_test(test_absence_is_promised_only_with_a_quorum),
        cmocka_unit_test(test_dropping_one_sibling_leaves_the_other),
        cmocka_unit_test(test_a_repeat_of_a_put_is_the_same_write),
        cmocka_unit_test(test_a_metadata_change_keeps_the_value),
        cmocka_unit_test(test_a_sync_covers_the_dot_that_was_shown),
        cmocka_unit_test(test_a_stale_replica_is_repaired_by_a_read),
        cmocka_unit_test(test_a_long_directory_is_listed_by_pages),
        cmocka_unit_test(test_a_deleted_directory_swallows_nothing),
        cmocka_unit_test(test_what_is_put_under_a_file_can_be_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
