/* SPDX-License-Identifier: Apache-2.0 */
/* Versions that went and can be had back: what is kept and why, who is asked, what goes when. */
#include "engine/kept/kept.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/kept/kept_trim.h"
#include "played_cluster.h"
#include "unit.h"

static const struct slice no_context = {NULL, 0};

static struct kept_reply ask(struct played_cluster *c, uint32_t at, const char *key,
                             enum kept_want want, const struct dot *dot)
{
    struct buf body = BUF_EMPTY;
    struct kept_reply p;
    struct kept_request q = {.key = slice_str(key), .want = want};
    if (dot != NULL)
        q.dot = *dot;
    kept_request_encode(&q, &body);
    played_ask(c, at, FRAME_VERSIONS, &body);
    assert_int_equal(c->client_type, FRAME_VERSIONS + FRAME_REPLY);
    assert_int_equal(kept_reply_decode(buf_slice(&c->client_reply), &p), DYN_OK);
    return p;
}

/* "value why", newest first, joined by '|'; '?' where a value is not to be had. */
static char *told(struct played_cluster *c, uint32_t at, const char *key)
{
    struct kept_reply list = ask(c, at, key, KEPT_LIST, NULL);
    struct buf out = BUF_EMPTY;
    assert_int_equal(list.status, DYN_OK);
    for (uint32_t i = 0; i < list.list.n; i++) {
        const struct kept *k = &list.list.k[i];
        struct kept_reply one = ask(c, at, key, KEPT_VALUE, &kept_version(k)->dot);
        const struct kept *got = kept_list_find(&one.list, &kept_version(k)->dot);
        const struct blob *value = got == NULL ? NULL : kept_version(got)->value;
        buf_put_str(&out, i == 0 ? "" : "|");
        if (value != NULL)
            buf_put(&out, value->data, value->len);
        else
            buf_put_str(&out, "?");
        buf_printf(&out, " %s", kept_why_name(k->why));
        kept_reply_release(&one);
    }
    buf_put_u8(&out, 0);
    kept_reply_release(&list);
    return (char *)out.data;
}

static void expect(struct played_cluster *c, uint32_t at, const char *key, const char *want)
{
    char *got = told(c, at, key);
    assert_string_equal(got, want);
    free(got);
}

static void replace(struct played_cluster *c, uint32_t at, const char *key, const char *value)
{
    struct buf context = BUF_EMPTY;
    played_context(c, at, key, &context);
    played_run(c, 1000);
    assert_int_equal(played_write(c, at, key, value, 0, buf_slice(&context)), DYN_OK);
    played_run(c, 100000);
    buf_release(&context);
}

static struct engine_stats stats(struct played_cluster *c, uint32_t at)
{
    struct engine_stats s;
    engine_stats(c->nodes[at].engine, &s);
    return s;
}

static void test_what_a_resolution_dropped_can_be_had_from_each_node(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_write(c, 0, "a", "one", 0, no_context);
    played_run(c, 1000);
    played_write(c, 1, "a", "two", 0, no_context);
    played_run(c, 100000);
    expect(c, 0, "a", "");
    replace(c, 2, "a", "both");
    for (uint32_t i = 0; i < 3; i++)
        expect(c, i, "a", "two resolved|one resolved");
    struct kept_reply p = ask(c, 0, "a", KEPT_LIST, NULL);
    struct get_request q = {.key = slice_str("a"), .want = GET_META};
    struct get_reply now = played_get(c, 0, &q);
    assert_int_equal(p.answered, 3);
    assert_int_equal(p.asked, 3);
    assert_true(dot_equal(&p.list.k[0].by, &now.object.siblings[0].dot));
    get_reply_release(&now);
    kept_reply_release(&p);
    played_cluster_free(c);
}

static void test_why_a_version_went(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct buf context = BUF_EMPTY;
    played_write(c, 0, "a", "first", 0, no_context);
    replace(c, 1, "a", "second");
    expect(c, 0, "a", "first overwritten");
    assert_int_equal(played_delete(c, 2, "a"), DYN_OK);
    played_run(c, 100000);
    expect(c, 0, "a", "second deleted|first overwritten");

    played_write(c, 0, "b", "mine", 0, no_context);
    played_context(c, 0, "b", &context);
    played_run(c, 1000);
    played_write(c, 1, "b", "theirs", 0, no_context);
    struct slice contexts = buf_slice(&context);
    struct put_request drop = {.key = slice_str("b"),
                               .type = SIBLING_DELETE,
                               .flags = PUT_DROP_ONLY,
                               .contexts = &contexts,
                               .n_contexts = 1};
    struct put_reply p = played_put(c, 0, &drop);
    assert_int_equal(p.status, DYN_OK);
    put_reply_release(&p);
    played_run(c, 100000);
    expect(c, 1, "b", "mine dropped");
    buf_release(&context);
    played_cluster_free(c);
}

/* chmod writes a new version over the same bytes: nothing has gone that one could want back. */
static void test_a_change_of_attributes_keeps_nothing(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct buf context = BUF_EMPTY;
    played_write(c, 0, "a", "text", 0, no_context);
    struct get_request q = {.key = slice_str("a"), .want = GET_META};
    struct get_reply now = played_get(c, 0, &q);
    context_all(now.token, &context);
    struct slice contexts = buf_slice(&context);
    struct put_request chmod = {.key = slice_str("a"),
                                .type = SIBLING_FILE,
                                .flags = PUT_KEEP_VALUE,
                                .attrs = {.mode = 0600},
                                .value_dot = now.object.siblings[0].value_dot,
                                .contexts = &contexts,
                                .n_contexts = 1};
    struct put_reply p = played_put(c, 0, &chmod);
    assert_int_equal(p.status, DYN_OK);
    put_reply_release(&p);
    get_reply_release(&now);
    played_run(c, 100000);
    expect(c, 1, "a", "");
    replace(c, 0, "a", "other");
    expect(c, 1, "a", "text overwritten"); /* with it they go */
    buf_release(&context);
    played_cluster_free(c);
}

static void test_a_replica_that_was_away_keeps_what_it_had(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    played_write(c, 0, "a", "old", 0, no_context);
    played_run(c, 100000);
    c->nodes[2].up = false;
    replace(c, 0, "a", "new");
    struct kept_reply p = ask(c, 0, "a", KEPT_LIST, NULL);
    assert_int_equal(p.list.n, 1);
    assert_true(p.answered == 2 && p.asked == 3); /* and it is said that not all were asked */
    kept_reply_release(&p);
    c->nodes[2].up = true;
    played_run(c, 5000000);
    played_crash(c, 0, false);
    played_crash(c, 1, false);
    expect(c, 2, "a", "old overwritten");
    played_restart(c, 0);
    expect(c, 0, "a", "old overwritten"); /* it survives a restart */
    played_cluster_free(c);
}

static void test_the_common_ancestor_of_two_sides(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    struct buf context = BUF_EMPTY;
    played_write(c, 0, "a", "base", 0, no_context);
    played_context(c, 0, "a", &context); /* both sides have read this */
    played_run(c, 1000);
    played_write(c, 0, "a", "left", 0, buf_slice(&context));
    played_run(c, 1000);
    played_write(c, 1, "a", "right", 0, buf_slice(&context));
    played_run(c, 100000);
    struct get_request q = {.key = slice_str("a"), .want = GET_META};
    struct get_reply now = played_get(c, 0, &q);
    struct kept_reply p = ask(c, 2, "a", KEPT_LIST, NULL);
    assert_int_equal(now.object.n, 2);
    const struct kept *base =
        kept_ancestor(&p.list, &now.object.siblings[0], &now.object.siblings[1]);
    assert_non_null(base);
    struct kept_reply value = ask(c, 2, "a", KEPT_VALUE, &kept_version(base)->dot);
    const struct kept *got = kept_list_find(&value.list, &kept_version(base)->dot);
    assert_non_null(kept_version(got)->value);
    assert_memory_equal(kept_version(got)->value->data, "base", 4);
    kept_reply_release(&value);
    kept_reply_release(&p);
    get_reply_release(&now);
    buf_release(&context);
    played_cluster_free(c);
}

static void test_a_version_that_nobody_keeps_is_not_found(void **state)
{
    (void)state;
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    const struct dot none = {{7, {7, 7}}, 7};
    struct kept_reply p = ask(c, 0, "a", KEPT_VALUE, &none);
    assert_int_equal(p.status, DYN_ERR_NOT_FOUND);
    kept_reply_release(&p);
    c->nodes[1].up = false;
    p = ask(c, 0, "a", KEPT_VALUE, &none);
    assert_int_equal(p.status, DYN_ERR_NO_QUORUM); /* perhaps it does */
    kept_reply_release(&p);
    played_cluster_free(c);
}

/* As after a restart with another setting. */
static struct played_cluster *cluster_with(uint64_t history_ms, uint64_t max, uint64_t key_max)
{
    struct played_cluster *c = played_cluster_new(3, 3, 2, 2);
    c->cfg.history_ms = history_ms;
    c->cfg.history_max = max;
    c->cfg.history_key_max = key_max;
    for (uint32_t i = 0; i < 3; i++) {
        played_crash(c, i, false);
        played_restart(c, i);
    }
    return c;
}

static uint32_t values_stored(struct played_cluster *c, uint32_t at, const char *key);

static void test_after_its_time_a_version_goes_with_its_bytes(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_with(60000, 1 << 20, 1 << 20);
    played_write(c, 0, "a", "old", 0, no_context);
    replace(c, 0, "a", "new");
    assert_int_equal(values_stored(c, 0, "a"), 2);
    assert_true(stats(c, 0).kept_now == 1 && stats(c, 0).kept_bytes > 3);
    played_run(c, 50000000);
    expect(c, 0, "a", "old overwritten");
    played_run(c, 30000000);
    expect(c, 0, "a", "");
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(values_stored(c, i, "a"), 1);
        assert_int_equal(stats(c, i).kept_now, 0);
        assert_int_equal(stats(c, i).kept_bytes, 0);
    }
    char *values = played_values(c, 1, "a");
    assert_string_equal(values, "new");
    free(values);
    played_cluster_free(c);
}

static void test_turned_off_nothing_is_kept_and_what_was_goes(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_with(86400000, 1 << 20, 1 << 20);
    played_write(c, 0, "a", "old", 0, no_context);
    replace(c, 0, "a", "new");
    expect(c, 0, "a", "old overwritten");
    c->cfg.history_ms = 0;
    for (uint32_t i = 0; i < 3; i++) {
        played_crash(c, i, false);
        played_restart(c, i);
    }
    replace(c, 0, "a", "newer");
    played_run(c, 10000000);
    expect(c, 0, "a", "");
    assert_int_equal(values_stored(c, 1, "a"), 1);
    played_cluster_free(c);
}

static void test_a_key_that_is_written_all_the_time_keeps_some_of_it(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_with(86400000, 1 << 20, 1 << 20);
    char text[16];
    for (uint32_t i = 0; i < 60; i++) {
        snprintf(text, sizeof(text), "%u", i);
        assert_int_equal(played_write(c, 0, "a", text, PUT_CURRENT, no_context), DYN_OK);
        played_run(c, 100000);
    }
    struct kept_reply p = ask(c, 0, "a", KEPT_LIST, NULL);
    assert_true(p.list.n >= 16 && p.list.n < 24);
    kept_reply_release(&p);
    assert_int_equal(values_stored(c, 1, "a"), stats(c, 1).kept_now + 1);
    for (uint32_t i = 0; i < 100; i++) { /* half a minute apart each is kept, until they are many */
        snprintf(text, sizeof(text), "later %u", i);
        played_write(c, 0, "a", text, PUT_CURRENT, no_context);
        played_run(c, 31000000);
    }
    p = ask(c, 0, "a", KEPT_LIST, NULL);
    assert_true(p.list.n > 30 && p.list.n <= KEPT_KEY_MAX + 8);
    uint64_t newest = kept_version(&p.list.k[0])->time_ns,
             oldest = kept_version(&p.list.k[p.list.n - 1])->time_ns;
    assert_true(newest - oldest > 2400ull * 1000000000); /* some of each age */
    kept_reply_release(&p);
    assert_int_equal(values_stored(c, 1, "a"), stats(c, 1).kept_now + 1);
    played_cluster_free(c);
}

static void test_beyond_the_bytes_of_a_node_the_oldest_go(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_with(86400000, 200000, 100000);
    char *text = mem_zalloc(10001), key[16];
    memset(text, 'x', 10000);
    for (uint32_t i = 0; i < 60; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        text[0] = (char)('a' + i % 26);
        played_write(c, 0, key, text, 0, no_context);
        played_run(c, 500000);
        assert_int_equal(played_delete(c, 0, key), DYN_OK);
        played_run(c, 500000);
    }
    played_run(c, 60000000);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(stats(c, i).kept_bytes <= 200000 && stats(c, i).kept_bytes > 100000);
    struct kept_reply p = ask(c, 0, "k0", KEPT_LIST, NULL);
    assert_int_equal(p.list.n, 0);
    kept_reply_release(&p);
    p = ask(c, 0, "k59", KEPT_LIST, NULL);
    assert_int_equal(p.list.n, 1);
    kept_reply_release(&p);
    assert_int_equal(values_stored(c, 0, "k0"), 0);
    free(text);
    played_cluster_free(c);
}

static void test_a_version_larger_than_a_key_may_keep_is_not_kept(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_with(86400000, 1 << 20, 1000);
    char *text = mem_zalloc(2001);
    memset(text, 'x', 2000);
    played_write(c, 0, "a", text, 0, no_context);
    replace(c, 0, "a", "short");
    expect(c, 0, "a", "");
    assert_int_equal(values_stored(c, 1, "a"), 1);
    replace(c, 0, "a", "other");
    expect(c, 0, "a", "short overwritten");
    free(text);
    played_cluster_free(c);
}

/* What is to be kept must never be why a delete is refused; and what is kept makes room. */
static void test_on_a_full_disk_deletes_keep_nothing_and_history_yields(void **state)
{
    (void)state;
    struct played_cluster *c = cluster_with(86400000, 1 << 20, 1 << 20);
    char *text = mem_zalloc(10001);
    memset(text, 'x', 10000);
    for (uint32_t i = 0; i < 5; i++) {
        text[0] = (char)('a' + i);
        played_write(c, 0, "a", text, PUT_CURRENT, no_context);
        played_run(c, 2000000);
    }
    assert_int_equal(stats(c, 0).kept_now, 4);
    for (uint32_t i = 0; i < 3; i++) {
        struct store_port store = store_memory_port(c->nodes[i].store);
        struct store_stats used;
        store.stats(store.ctx, &used);
        store_memory_set_capacity(c->nodes[i].store, used.bytes_used + 50);
    }
    assert_int_equal(played_delete(c, 0, "a"), DYN_OK);
    played_run(c, 100000);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(stats(c, i).kept_now, 4); /* not the fifth */
    played_run(c, 30000000);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(stats(c, i).kept_now < 4);
    assert_int_equal(played_write(c, 0, "b", "there is room", 0, no_context), DYN_OK);
    free(text);
    played_cluster_free(c);
}

static void on_counted(struct store_scan *req, int err, bool more)
{
    (void)req;
    assert_int_equal(err, DYN_OK);
    assert_false(more);
}

static bool count_row(struct store_scan *req, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)req->arg;
    return true;
}

static uint32_t values_stored(struct played_cluster *c, uint32_t at, const char *key)
{
    struct place place = place_of(c->ring, slice_str(key));
    struct dot none = {.counter = 0};
    struct buf row = BUF_EMPTY;
    uint32_t n = 0;
    row_value(&place, slice_str(key), &none, &row);
    row.len -= 28; /* the dot */
    struct store_scan scan = {.family = STORE_VALUE,
                              .prefix = buf_slice(&row),
                              .max_rows = UINT32_MAX,
                              .max_bytes = UINT64_MAX,
                              .row = count_row,
                              .done = on_counted,
                              .arg = &n};
    struct store_port store = store_memory_port(c->nodes[at].store);
    store.scan(store.ctx, &scan);
    buf_release(&row);
    return n;
}

/* ---- on the wire ------------------------------------------------------------------------- */

static void test_a_list_arrives_as_sent_and_a_part_of_it_is_refused(void **state)
{
    (void)state;
    struct sibling s = {.dot = {{1, {2, 3}}, 4}, .type = SIBLING_FILE, .size = 5, .time_ns = 6};
    const struct dot by = {{1, {2, 3}}, 9}, none = {.counter = 0};
    struct kept_reply p = {.answered = 2, .asked = 3, .cut = true}, got;
    struct buf b = BUF_EMPTY;
    struct kept k;
    s.value_dot = s.dot;
    s.value = blob_new("bytes", 5);
    digest_sha256(slice_str("bytes"), s.value_hash);
    kept_make(&k, &s, 77, KEPT_RESOLVED, &by);
    kept_list_add(&p.list, &k);
    kept_make(&k, &s, 78, KEPT_DROPPED, &none);
    kept_list_add(&p.list, &k);
    kept_make(&k, &s, 70, KEPT_OVERWRITTEN, &by); /* of another node, sooner: the same */
    kept_list_add(&p.list, &k);
    kept_reply_encode(&p, &b);
    for (size_t cut = 0; cut < b.len; cut++)
        assert_int_equal(kept_reply_decode(slice_of(b.data, cut), &got), DYN_ERR_PROTOCOL);
    assert_int_equal(kept_reply_decode(buf_slice(&b), &got), DYN_OK);
    assert_int_equal(got.list.n, 2);
    assert_true(got.answered == 2 && got.asked == 3 && got.cut);
    const struct kept *found = kept_list_find(&got.list, &s.dot);
    assert_memory_equal(kept_version(found)->value->data, "bytes", 5);
    assert_true(dot_is_none(&got.list.k[0].by) && got.list.k[0].why == KEPT_DROPPED);
    assert_true(got.list.k[1].since_ms == 70 && got.list.k[1].why == KEPT_OVERWRITTEN);
    kept_reply_release(&got);
    kept_reply_release(&p);
    blob_unref(s.value);
    buf_release(&b);
}

static void test_a_question_with_a_bad_key_is_refused(void **state)
{
    (void)state;
    struct kept_request q = {.key = slice_str("a//b")}, got;
    struct buf b = BUF_EMPTY;
    kept_request_encode(&q, &b);
    assert_int_equal(kept_request_decode(buf_slice(&b), &got), DYN_ERR_INVALID);
    q = (struct kept_request){.key = slice_str("a/b"), .want = KEPT_VALUE, .timeout_ms = 1u << 30};
    q.dot = (struct dot){{1, {2, 3}}, 4};
    buf_clear(&b);
    kept_request_encode(&q, &b);
    for (size_t cut = 0; cut < b.len; cut++)
        assert_int_equal(kept_request_decode(slice_of(b.data, cut), &got), DYN_ERR_PROTOCOL);
    assert_int_equal(kept_request_decode(buf_slice(&b), &got), DYN_OK);
    assert_true(dot_equal(&got.dot, &q.dot) && got.timeout_ms == REQUEST_TIMEOUT_MS_MAX);
    buf_release(&b);
}

/* ---- choosing, as arithmetic ------------------------------------------------------------- */

static void test_thinning_leaves_some_of_each_age(void **state)
{
    (void)state;
    struct kept_row rows[100];
    const struct kept_bounds bounds = {.n_max = 64, .n_left = 40, .bytes_max = 1 << 20};
    uint32_t left = 0, newest = 0;
    for (uint32_t i = 0; i < 100; i++)
        rows[i] = (struct kept_row){.since_ms = 1000 + i, .cost = 10, .plain = i != 50};
    kept_choose(rows, 100, &bounds);
    for (uint32_t i = 0; i < 100; i++) {
        left += !rows[i].goes;
        newest += i >= 92 && !rows[i].goes;
    }
    assert_true(left <= 40 && left > 16);
    assert_int_equal(newest, 8);
    assert_false(rows[0].goes);
    assert_false(rows[50].goes); /* it was in a conflict */
}

static void test_what_was_in_conflicts_goes_last_and_oldest_first(void **state)
{
    (void)state;
    struct kept_row rows[10];
    const struct kept_bounds many = {.n_max = 5, .n_left = 4, .bytes_max = 1 << 20},
                             old = {.before_ms = 3, .n_max = 64, .n_left = 40, .bytes_max = 25};
    for (uint32_t i = 0; i < 10; i++)
        rows[i] = (struct kept_row){.since_ms = i, .cost = 10};
    kept_choose(rows, 10, &many);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(rows[i].goes, i < 6);
    for (uint32_t i = 0; i < 10; i++)
        rows[i].cost = i == 4 ? 5 : 10;
    kept_choose(rows, 10, &old);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(rows[i].goes, i < 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_resolution_dropped_can_be_had_from_each_node),
        cmocka_unit_test(test_why_a_version_went),
        cmocka_unit_test(test_a_change_of_attributes_keeps_nothing),
        cmocka_unit_test(test_a_replica_that_was_away_keeps_what_it_had),
        cmocka_unit_test(test_the_common_ancestor_of_two_sides),
        cmocka_unit_test(test_a_version_that_nobody_keeps_is_not_found),
        cmocka_unit_test(test_after_its_time_a_version_goes_with_its_bytes),
        cmocka_unit_test(test_turned_off_nothing_is_kept_and_what_was_goes),
        cmocka_unit_test(test_a_key_that_is_written_all_the_time_keeps_some_of_it),
        cmocka_unit_test(test_beyond_the_bytes_of_a_node_the_oldest_go),
        cmocka_unit_test(test_a_version_larger_than_a_key_may_keep_is_not_kept),
        cmocka_unit_test(test_on_a_full_disk_deletes_keep_nothing_and_history_yields),
        cmocka_unit_test(test_a_list_arrives_as_sent_and_a_part_of_it_is_refused),
        cmocka_unit_test(test_a_question_with_a_bad_key_is_refused),
        cmocka_unit_test(test_thinning_leaves_some_of_each_age),
        cmocka_unit_test(test_what_was_in_conflicts_goes_last_and_oldest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
