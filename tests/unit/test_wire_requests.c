/* SPDX-License-Identifier: Apache-2.0 */
/* A request must arrive as it was sent, whatever it holds; and what arrives must keep the rules
 * that coordinators rely on, whoever sent it. */
#include "model/wire.h"

#include "base/err.h"
#include "histories.h"
#include "unit.h"

static const struct request_options options = {.n = 3,
                                               .r = 2,
                                               .w = 1,
                                               .durability = DURABILITY_QUORUM,
                                               .sloppy = SLOPPY_NO,
                                               .forwarded = 1,
                                               .timeout_ms = UINT32_MAX};

static void assert_options(const struct request_options *o)
{
    assert_memory_equal(o, &options, sizeof(options));
}

/* Every body must be refused when cut short: nothing is optional at the end. */
#define ASSERT_NO_PREFIX_DECODES(body, decode, request)                                            \
    for (size_t cut = 0; cut < (body)->len; cut++)                                                 \
    assert_int_equal(decode(slice_of((body)->data, cut), request), DYN_ERR_PROTOCOL)

static void test_a_get_arrives_as_sent(void **state)
{
    (void)state;
    const struct slice contexts[2] = {slice_str("first"), slice_of(NULL, 0)};
    struct get_request q = {.opt = options,
                            .key = slice_str("a/b"),
                            .want = GET_DOT,
                            .value_dot = dot_of(9, UINT64_MAX),
                            .at_least = contexts,
                            .n_at_least = 2};
    struct get_request got;
    struct buf b = BUF_EMPTY;
    get_request_encode(&q, &b);
    ASSERT_NO_PREFIX_DECODES(&b, get_request_decode, &got);
    assert_int_equal(get_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_options(&got.opt);
    assert_true(slice_equal(got.key, q.key));
    assert_int_equal(got.want, GET_DOT);
    assert_true(dot_equal(&got.value_dot, &q.value_dot));
    assert_int_equal(got.n_at_least, 2);
    assert_true(slice_equal(got.at_least[0], contexts[0]));
    assert_int_equal(got.at_least[1].len, 0);
    get_request_release(&got);
    buf_release(&b);
}

static void test_a_put_arrives_as_sent(void **state)
{
    (void)state;
    const struct slice context = slice_str("context");
    struct blob *xattrs;
    assert_int_equal(xattrs_set(NULL, slice_str("user.a"), slice_str("1"), &xattrs), DYN_OK);
    struct put_request q = {.opt = options,
                            .key = slice_str("dir/name"),
                            .flags = PUT_CURRENT | PUT_IMPLICIT,
                            .type = SIBLING_SYMLINK,
                            .attrs = {07777, UINT32_MAX, 5, INT64_MIN, -1, INT64_MAX, 77, xattrs},
                            .origin = {UINT64_MAX, 2, 3},
                            .value_dot = dot_of(1, 2),
                            .inherit_dot = dot_of(3, 4),
                            .base_dot = dot_of(5, 6),
                            .time_ns = UINT64_MAX,
                            .value = slice_of("a\0b", 3),
                            .contexts = &context,
                            .n_contexts = 1};
    struct put_request got;
    struct buf b = BUF_EMPTY;
    put_request_encode(&q, &b);
    ASSERT_NO_PREFIX_DECODES(&b, put_request_decode, &got);
    assert_int_equal(put_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_options(&got.opt);
    assert_true(slice_equal(got.key, q.key));
    assert_int_equal(got.flags, q.flags);
    assert_int_equal(got.type, SIBLING_SYMLINK);
    assert_int_equal(got.attrs.mode, 07777);
    assert_true(got.attrs.uid == UINT32_MAX && got.attrs.gid == 5 && got.attrs.ino == 77);
    assert_true(got.attrs.mtime_ns == INT64_MIN && got.attrs.ctime_ns == -1);
    assert_true(got.attrs.atime_ns == INT64_MAX);
    assert_int_equal(got.attrs.xattrs->len, xattrs->len);
    assert_memory_equal(got.attrs.xattrs->data, xattrs->data, xattrs->len);
    assert_memory_equal(&got.origin, &q.origin, sizeof(q.origin));
    assert_true(dot_equal(&got.value_dot, &q.value_dot));
    assert_true(dot_equal(&got.inherit_dot, &q.inherit_dot));
    assert_true(dot_equal(&got.base_dot, &q.base_dot));
    assert_true(got.time_ns == UINT64_MAX);
    assert_true(slice_equal(got.value, q.value));
    assert_int_equal(got.n_contexts, 1);
    assert_true(slice_equal(got.contexts[0], context));
    put_request_release(&got);
    blob_unref(xattrs);
    buf_release(&b);
}

static void test_a_put_of_what_follows_a_base_arrives_as_sent(void **state)
{
    (void)state;
    struct put_request q = {.opt = options,
                            .key = slice_str("log"),
                            .flags = PUT_CURRENT,
                            .type = SIBLING_FILE,
                            .value = slice_str("all that is there"),
                            .extends = {dot_of(5, 6), 8, {1, 2, 3}}};
    struct put_request got;
    struct buf b = BUF_EMPTY;
    put_request_encode(&q, &b); /* by itself it changes nothing */
    assert_int_equal(put_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_int_equal(got.flags, PUT_CURRENT);
    assert_true(slice_equal(got.value, q.value) && extension_is_none(&got.extends));
    put_request_release(&got);
    buf_clear(&b);
    put_request_encode_extending(&q, &b);
    ASSERT_NO_PREFIX_DECODES(&b, put_request_decode, &got);
    assert_int_equal(put_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_int_equal(got.flags, PUT_CURRENT | PUT_EXTENDS);
    assert_true(slice_equal(got.value, slice_str(" is there")));
    assert_true(dot_equal(&got.extends.base, &q.extends.base));
    assert_int_equal(got.extends.len, 8);
    assert_memory_equal(got.extends.digest, q.extends.digest, DIGEST_LEN);
    struct buf again = BUF_EMPTY; /* as a node passes it on */
    put_request_encode(&got, &again);
    assert_true(slice_equal(buf_slice(&again), buf_slice(&b)));
    put_request_release(&got);
    buf_release(&again);
    buf_release(&b);
}

static void test_a_list_arrives_as_sent(void **state)
{
    (void)state;
    struct list_request q = {.opt = options,
                             .dir = slice_of(NULL, 0),
                             .after = slice_str("name"),
                             .limit = LIST_LIMIT_MAX,
                             .dead_too = true};
    struct list_request got;
    struct buf b = BUF_EMPTY;
    list_request_encode(&q, &b);
    ASSERT_NO_PREFIX_DECODES(&b, list_request_decode, &got);
    assert_int_equal(list_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_options(&got.opt);
    assert_int_equal(got.dir.len, 0);
    assert_true(slice_equal(got.after, q.after));
    assert_int_equal(got.limit, LIST_LIMIT_MAX);
    assert_true(got.dead_too);
    b.len = 0;
    q.limit = LIST_LIMIT_MAX + 1;
    list_request_encode(&q, &b);
    assert_int_equal(list_request_decode(buf_slice(&b), &got), DYN_ERR_PROTOCOL);
    buf_release(&b);
}

static void test_a_sync_arrives_as_sent(void **state)
{
    (void)state;
    struct sync_request q = {.opt = options, .key = slice_str("k"), .dot = dot_of(1, 1)}, got;
    struct buf b = BUF_EMPTY;
    sync_request_encode(&q, &b);
    ASSERT_NO_PREFIX_DECODES(&b, sync_request_decode, &got);
    assert_int_equal(sync_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_options(&got.opt);
    assert_true(slice_equal(got.key, q.key));
    assert_true(dot_equal(&got.dot, &q.dot));
    buf_release(&b);
}

static void test_fields_of_a_later_version_are_ignored(void **state)
{
    (void)state;
    struct get_request q = {.key = slice_str("k")}, got;
    struct buf b = BUF_EMPTY;
    get_request_encode(&q, &b);
    buf_put_str(&b, "appended");
    assert_int_equal(get_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_true(slice_equal(got.key, q.key));
    get_request_release(&got);
    b.data[0]++;
    assert_int_equal(get_request_decode(buf_slice(&b), &got), DYN_ERR_UNSUPPORTED);
    buf_release(&b);
}

static void test_a_key_that_breaks_a_rule_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"/a", "a/", "a//b", ".", "a/../b"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf b = BUF_EMPTY;
        struct get_request get = {.key = slice_str(bad[i])};
        struct put_request put = {.key = slice_str(bad[i])};
        struct list_request list = {.dir = slice_str(bad[i])};
        struct sync_request sync = {.key = slice_str(bad[i])};
        get_request_encode(&get, &b);
        assert_int_equal(get_request_decode(buf_slice(&b), &get), DYN_ERR_INVALID);
        buf_clear(&b);
        put_request_encode(&put, &b);
        assert_int_equal(put_request_decode(buf_slice(&b), &put), DYN_ERR_INVALID);
        buf_clear(&b);
        list_request_encode(&list, &b);
        assert_int_equal(list_request_decode(buf_slice(&b), &list), DYN_ERR_INVALID);
        buf_clear(&b);
        sync_request_encode(&sync, &b);
        assert_int_equal(sync_request_decode(buf_slice(&b), &sync), DYN_ERR_INVALID);
        buf_release(&b);
    }
}

static void test_attributes_and_lists_are_bounded(void **state)
{
    (void)state;
    struct slice many[CONTEXTS_MAX];
    struct put_request q = {.key = slice_str("k"), .attrs = {.mode = 010000}}, got;
    struct buf b = BUF_EMPTY;
    put_request_encode(&q, &b);
    assert_int_equal(put_request_decode(buf_slice(&b), &got), DYN_ERR_PROTOCOL);
    buf_clear(&b);

    q.attrs.mode = 0;
    q.attrs.xattrs = blob_new("\x01z\x01v\x01y\x01v", 8); /* not sorted */
    put_request_encode(&q, &b);
    assert_int_equal(put_request_decode(buf_slice(&b), &got), DYN_ERR_PROTOCOL);
    buf_clear(&b);
    blob_unref(q.attrs.xattrs);
    q.attrs.xattrs = NULL;

    char *big = mem_zalloc(CONTEXT_LEN_MAX + 1);
    for (size_t i = 0; i < CONTEXTS_MAX; i++)
        many[i] = slice_of(big, i == 0 ? CONTEXT_LEN_MAX + 1 : 0);
    q.contexts = many;
    q.n_contexts = CONTEXTS_MAX;
    put_request_encode(&q, &b);
    assert_int_equal(put_request_decode(buf_slice(&b), &got), DYN_ERR_PROTOCOL);
    buf_clear(&b);
    many[0].len = CONTEXT_LEN_MAX;
    put_request_encode(&q, &b);
    assert_int_equal(put_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_int_equal(got.n_contexts, CONTEXTS_MAX);
    put_request_release(&got);
    free(big);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_get_arrives_as_sent),
        cmocka_unit_test(test_a_put_arrives_as_sent),
        cmocka_unit_test(test_a_put_of_what_follows_a_base_arrives_as_sent),
        cmocka_unit_test(test_a_list_arrives_as_sent),
        cmocka_unit_test(test_a_sync_arrives_as_sent),
        cmocka_unit_test(test_fields_of_a_later_version_are_ignored),
        cmocka_unit_test(test_a_key_that_breaks_a_rule_is_refused),
        cmocka_unit_test(test_attributes_and_lists_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
