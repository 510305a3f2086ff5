/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies between nodes come back as they went, and nothing else decodes: peers are hostile too. */
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/peer_wire.h"
#include "histories.h"
#include "unit.h"

static const struct history_epoch some_ring = {7, {1, 2, 3}};

typedef int (*try_decode)(struct slice body);

/* No cut of a good body decodes, and no flipped bit crashes. */
static void hammer(struct buf *good, try_decode decode)
{
    assert_int_equal(decode(buf_slice(good)), DYN_OK);
    for (size_t n = 0; n < good->len; n++) {
        uint8_t *cut = mem_dup(good->data, n); /* its own allocation, so that overruns are seen */
        assert_int_not_equal(decode(slice_of(cut, n)), DYN_OK);
        free(cut);
    }
    for (size_t bit = 0; bit < good->len * 8; bit++) {
        good->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        decode(buf_slice(good));
        good->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static int decode_put(struct slice body)
{
    struct peer_put m;
    int err = peer_put_decode(body, &m);
    if (err == DYN_OK)
        peer_put_release(&m);
    return err;
}

static int decode_extend(struct slice body)
{
    struct peer_extend m;
    int err = peer_extend_decode(body, &m);
    if (err == DYN_OK)
        peer_extend_release(&m);
    return err;
}

static int decode_put_reply(struct slice body)
{
    struct peer_put_reply m;
    int err = peer_put_reply_decode(body, &m);
    if (err == DYN_OK)
        peer_put_reply_release(&m);
    return err;
}

static int decode_get(struct slice body)
{
    struct peer_get m;
    int err = peer_get_decode(body, &m);
    if (err == DYN_OK)
        peer_get_release(&m);
    return err;
}

static int decode_get_reply(struct slice body)
{
    struct peer_get_reply m;
    int err = peer_get_reply_decode(body, &m);
    if (err == DYN_OK)
        peer_get_reply_release(&m);
    return err;
}

static int decode_list(struct slice body)
{
    struct peer_list m;
    return peer_list_decode(body, &m);
}

static int decode_list_reply(struct slice body)
{
    struct peer_list_reply m;
    int err = peer_list_reply_decode(body, &m);
    if (err == DYN_OK)
        peer_list_reply_release(&m);
    return err;
}

static int decode_clear(struct slice body)
{
    struct peer_owed_clear m;
    return peer_owed_clear_decode(body, &m);
}

static int decode_holds(struct slice body)
{
    struct peer_holds m;
    int err = peer_holds_decode(body, &m);
    if (err == DYN_OK)
        peer_holds_release(&m);
    return err;
}

static void test_a_put_comes_back_with_its_values(void **state)
{
    (void)state;
    struct peer_put m = {.ring = some_ring,
                         .roles = ROLE_OBJECT | ROLE_ENTRY,
                         .hint_for = 9,
                         .sync = true,
                         .key = slice_str("d/f"),
                         .object = OBJECT_EMPTY},
                    back;
    struct buf body = BUF_EMPTY;
    write_file(&m.object, NULL, dot_of(1, 1), "some bytes", 1000000);
    peer_put_encode(&m, &body);
    assert_int_equal(peer_put_decode(buf_slice(&body), &back), DYN_OK);
    assert_true(history_epoch_equal(&back.ring, &some_ring));
    assert_int_equal(back.roles, m.roles);
    assert_int_equal(back.hint_for, 9);
    assert_true(back.sync && !back.owe_entry);
    assert_true(object_equal(&back.object, &m.object));
    assert_non_null(back.object.siblings[0].value);
    peer_put_release(&back);
    hammer(&body, decode_put);
    peer_put_release(&m);
    buf_release(&body);
}

static void test_a_put_of_what_follows_a_base_comes_back(void **state)
{
    (void)state;
    struct peer_extend m = {.base = {dot_of(1, 1), 100, {7}},
                            .value_dot = dot_of(1, 2),
                            .suffix = slice_str("more"),
                            .put = {.ring = some_ring,
                                    .roles = ROLE_OBJECT,
                                    .owe_entry = true,
                                    .key = slice_str("d/f"),
                                    .object = OBJECT_EMPTY}},
                       back;
    struct buf body = BUF_EMPTY;
    write_file(&m.put.object, NULL, dot_of(1, 2), "some bytes", 1000000);
    blob_unref(m.put.object.siblings[0].value);
    m.put.object.siblings[0].value = NULL;
    peer_extend_encode(&m, &body);
    assert_int_equal(peer_extend_decode(buf_slice(&body), &back), DYN_OK);
    assert_true(dot_equal(&back.base.base, &m.base.base));
    assert_int_equal(back.base.len, 100);
    assert_true(dot_equal(&back.value_dot, &m.value_dot));
    assert_true(slice_equal(back.suffix, slice_str("more")));
    assert_true(object_equal(&back.put.object, &m.put.object));
    assert_true(back.put.owe_entry);
    peer_extend_release(&back);
    hammer(&body, decode_extend);
    buf_clear(&body);
    m.suffix = slice_of(NULL, 0);
    peer_extend_encode(&m, &body);
    assert_int_equal(decode_extend(buf_slice(&body)), DYN_ERR_PROTOCOL);
    buf_clear(&body);
    m.suffix = slice_str("more");
    m.base.len = VALUE_LEN_MAX - 3;
    peer_extend_encode(&m, &body);
    assert_int_equal(decode_extend(buf_slice(&body)), DYN_ERR_PROTOCOL);
    peer_put_release(&m.put);
    buf_release(&body);
}

static void test_a_put_without_a_role_or_with_a_bad_key_is_refused(void **state)
{
    (void)state;
    struct peer_put m = {.roles = 0, .key = slice_str("k")};
    struct buf body = BUF_EMPTY;
    peer_put_encode(&m, &body);
    assert_int_equal(decode_put(buf_slice(&body)), DYN_ERR_PROTOCOL);
    buf_clear(&body);
    m.roles = ROLE_OBJECT;
    m.key = slice_str("a//b");
    peer_put_encode(&m, &body);
    assert_int_equal(decode_put(buf_slice(&body)), DYN_ERR_PROTOCOL);
    buf_clear(&body);
    m.roles = ROLE_ENTRY;
    m.key = slice_str(""); /* the root is in no directory */
    peer_put_encode(&m, &body);
    assert_int_equal(decode_put(buf_slice(&body)), DYN_ERR_PROTOCOL);
    buf_release(&body);
}

static void test_replies_and_small_messages_survive_hammering(void **state)
{
    (void)state;
    struct buf body = BUF_EMPTY;
    struct dot dots[2] = {dot_of(1, 2), dot_of(3, 4)};
    struct peer_put_reply pr = {
        .status = DYN_OK, .parent_dead = true, .missing = dots, .n_missing = 2};
    peer_put_reply_encode(&pr, &body);
    hammer(&body, decode_put_reply);
    buf_clear(&body);
    struct peer_get g = {
        .ring = some_ring, .load = LOAD_DOTS, .key = slice_str("k"), .dots = dots, .n_dots = 2};
    peer_get_encode(&g, &body);
    hammer(&body, decode_get);
    buf_clear(&body);
    struct peer_get_reply gr = {.dir_mtime_ns = 5, .object = OBJECT_EMPTY};
    write_file(&gr.object, NULL, dot_of(1, 1), "v", 1000000);
    peer_get_reply_encode(&gr, &body);
    hammer(&body, decode_get_reply);
    buf_clear(&body);
    gr.vouched = dots;
    gr.n_vouched = 1;
    peer_get_reply_encode(&gr, &body);
    struct peer_get_reply told;
    assert_int_equal(peer_get_reply_decode(buf_slice(&body), &told), DYN_OK);
    assert_true(told.n_vouched == 1 && dot_equal(&told.vouched[0], &dots[0]));
    peer_get_reply_release(&told);
    gr.n_vouched = 2; /* of one sibling */
    buf_clear(&body);
    peer_get_reply_encode(&gr, &body);
    assert_int_equal(peer_get_reply_decode(buf_slice(&body), &told), DYN_ERR_PROTOCOL);
    object_release(&gr.object);
    buf_clear(&body);
    struct peer_list l = {.ring = some_ring, .dir = slice_str("d"), .limit = 10};
    peer_list_encode(&l, &body);
    hammer(&body, decode_list);
    buf_clear(&body);
    struct peer_owed_clear c = {.key = slice_str("k")};
    peer_owed_clear_encode(&c, &body);
    hammer(&body, decode_clear);
    buf_clear(&body);
    struct peer_holds h = {
        .ring = some_ring, .fence = 77, .key = slice_str("k"), .dots = dots, .n_dots = 2};
    clock_advance(&h.clock, &dots[0], 1000);
    peer_holds_encode(&h, &body);
    clock_release(&h.clock);
    hammer(&body, decode_holds);
    assert_int_equal(peer_holds_decode(buf_slice(&body), &h), DYN_OK);
    assert_true(history_epoch_equal(&h.ring, &some_ring));
    assert_true(h.fence == 77 && h.n_dots == 2 && dot_equal(&h.dots[1], &dots[1]));
    assert_int_equal(h.clock.n, 1);
    peer_holds_release(&h);
    buf_release(&body);
}

static void test_a_page_is_in_order_and_says_whether_there_is_more(void **state)
{
    (void)state;
    struct peer_list_page page;
    struct peer_list_reply reply;
    struct object o = OBJECT_EMPTY;
    write_file(&o, NULL, dot_of(1, 1), "v", 1000000);
    peer_list_page_begin(&page);
    peer_list_page_row(&page, slice_str("a"), &o);
    peer_list_page_row(&page, slice_str("b"), &o);
    peer_list_page_end(&page, &(struct peer_list_end){
                                  .more = true, .voteless = true, .growth = 5, .dir_mtime_ns = 77});
    assert_int_equal(peer_list_reply_decode(buf_slice(&page.body), &reply), DYN_OK);
    assert_int_equal(reply.n, 2);
    assert_true(reply.more);
    assert_int_equal(reply.dir_mtime_ns, 77);
    assert_int_equal(reply.growth, 5);
    peer_list_reply_release(&reply);
    hammer(&page.body, decode_list_reply);
    buf_release(&page.body);
    peer_list_page_begin(&page);
    peer_list_page_row(&page, slice_str("b"), &o);
    peer_list_page_row(&page, slice_str("a"), &o); /* a merge relies on the order */
    peer_list_page_end(&page, &(struct peer_list_end){.status = DYN_OK});
    assert_int_equal(decode_list_reply(buf_slice(&page.body)), DYN_ERR_PROTOCOL);
    buf_release(&page.body);
    object_release(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_put_comes_back_with_its_values),
        cmocka_unit_test(test_a_put_of_what_follows_a_base_comes_back),
        cmocka_unit_test(test_a_put_without_a_role_or_with_a_bad_key_is_refused),
        cmocka_unit_test(test_replies_and_small_messages_survive_hammering),
        cmocka_unit_test(test_a_page_is_in_order_and_says_whether_there_is_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
