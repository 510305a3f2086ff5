/* SPDX-License-Identifier: Apache-2.0 */
/* HAZARDS E3: nobody covers what he was not shown. A context must name exactly what its token says,
 * and no change of a bit, of the key or of the cluster may pass. */
#include "model/context.h"

#include <stdlib.h>

#include "base/err.h"
#include "histories.h"
#include "unit.h"

#define CLUSTER 0xc1u

struct fixture {
    struct mac *mac;
    struct object o;
    struct buf token;
};

static struct slice key(void)
{
    return slice_str("a/b");
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->mac = mac_new(slice_str("secret"));
    write_file(&f->o, NULL, dot_of(1, 3), "one", 10);
    write_file(&f->o, NULL, dot_of(1, 5), "two", 20);
    write_file(&f->o, NULL, dot_of(2, 1), "three", 30);
    token_make(f->mac, CLUSTER, key(), &f->o, &f->token);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mac_free(f->mac);
    object_release(&f->o);
    buf_release(&f->token);
    free(f);
    return 0;
}

static void test_a_token_names_its_dots(void **state)
{
    struct fixture *f = *state;
    struct dot *dots = NULL;
    uint32_t n = 0;
    assert_int_equal(token_dots(buf_slice(&f->token), &dots, &n), DYN_OK);
    assert_int_equal(n, 3);
    for (uint32_t i = 0; i < n; i++)
        assert_true(dot_equal(&dots[i], &f->o.siblings[i].dot));
    free(dots);
}

static void test_all_covers_the_clock(void **state)
{
    struct fixture *f = *state;
    struct buf c = BUF_EMPTY;
    struct cover cover = COVER_EMPTY;
    context_all(buf_slice(&f->token), &c);
    assert_int_equal(context_verify(f->mac, CLUSTER, key(), buf_slice(&c), &cover), DYN_OK);
    assert_int_equal(clock_compare(&cover.clock, &f->o.clock), CLOCK_EQUAL);
    assert_true(cover.clock.pairs[0].time_ms == f->o.clock.pairs[0].time_ms);
    assert_int_equal(cover.n, 0);
    cover_release(&cover);
    buf_release(&c);
}

static void test_some_covers_exactly_those(void **state)
{
    struct fixture *f = *state;
    struct buf c = BUF_EMPTY;
    struct cover cover = COVER_EMPTY;
    const struct dot chosen[] = {dot_of(2, 1), dot_of(1, 3), dot_of(2, 1)};
    assert_int_equal(context_dots(buf_slice(&f->token), chosen, 3, &c), DYN_OK);
    assert_int_equal(context_verify(f->mac, CLUSTER, key(), buf_slice(&c), &cover), DYN_OK);
    assert_int_equal(cover.clock.n, 0);
    assert_int_equal(cover.n, 2);
    assert_true(cover_has(&cover, &chosen[0]) && cover_has(&cover, &chosen[1]));
    assert_false(cover_has(&cover, &(struct dot){actor_of(1), 5}));
    size_t before = c.len;
    assert_int_equal(context_dots(buf_slice(&f->token), &(struct dot){actor_of(1), 4}, 1, &c),
                     DYN_ERR_INVALID);
    assert_int_equal(c.len, before);
    cover_release(&cover);
    buf_release(&c);
}

static void test_several_contexts_add_up(void **state)
{
    struct fixture *f = *state;
    struct buf c = BUF_EMPTY;
    struct cover cover = COVER_EMPTY;
    for (uint32_t i = 0; i < 3; i++) {
        buf_clear(&c);
        assert_int_equal(context_dots(buf_slice(&f->token), &f->o.siblings[2 - i].dot, 1, &c),
                         DYN_OK);
        assert_int_equal(context_verify(f->mac, CLUSTER, key(), buf_slice(&c), &cover), DYN_OK);
    }
    assert_int_equal(cover.n, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(cover_has(&cover, &f->o.siblings[i].dot));
    assert_true(cover_within(&cover, &f->o));
    cover_release(&cover);
    buf_release(&c);
}

static void assert_refused(struct fixture *f, uint64_t cluster, const char *k, struct slice c)
{
    struct cover cover = COVER_EMPTY;
    assert_int_equal(context_verify(f->mac, cluster, slice_str(k), c, &cover), DYN_ERR_BAD_CONTEXT);
    assert_true(cover.n == 0 && cover.clock.n == 0);
}

static void test_other_keys_clusters_and_secrets_are_refused(void **state)
{
    struct fixture *f = *state;
    struct buf c = BUF_EMPTY;
    context_all(buf_slice(&f->token), &c);
    assert_refused(f, CLUSTER, "a/c", buf_slice(&c));
    assert_refused(f, CLUSTER, "a/b\x01", buf_slice(&c)); /* the key ends where the token starts */
    assert_refused(f, CLUSTER + 1, "a/b", buf_slice(&c));
    struct mac *mine = f->mac;
    f->mac = mac_new(slice_str("other"));
    assert_refused(f, CLUSTER, "a/b", buf_slice(&c));
    mac_free(f->mac);
    f->mac = mine;
    buf_release(&c);
}

static void test_no_bit_may_change(void **state)
{
    struct fixture *f = *state;
    struct buf all = BUF_EMPTY, some = BUF_EMPTY;
    context_all(buf_slice(&f->token), &all);
    assert_int_equal(context_dots(buf_slice(&f->token), &f->o.siblings[1].dot, 1, &some), DYN_OK);
    for (size_t i = 0; i < all.len * 8; i++) {
        all.data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_refused(f, CLUSTER, "a/b", buf_slice(&all));
        all.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    /* The choice itself is the client's: its bits may name another sibling, never more than that.
     */
    for (size_t i = (some.len - f->token.len) * 8; i < some.len * 8; i++) {
        some.data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_refused(f, CLUSTER, "a/b", buf_slice(&some));
        some.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t len = 0; len < all.len; len++)
        assert_refused(f, CLUSTER, "a/b", slice_of(all.data, len));
    some.data[2] = 3; /* an index over the end */
    assert_refused(f, CLUSTER, "a/b", buf_slice(&some));
    buf_release(&all);
    buf_release(&some);
}

static void test_disordered_choices_are_refused(void **state)
{
    struct fixture *f = *state;
    static const uint8_t heads[][4] = {{2, 2, 1, 0}, {2, 2, 1, 1}, {2, 2, 0, 3}};
    for (size_t i = 0; i < 3; i++) {
        struct buf c = BUF_EMPTY;
        buf_put(&c, heads[i], 4);
        buf_put(&c, f->token.data, f->token.len);
        assert_refused(f, CLUSTER, "a/b", buf_slice(&c));
        buf_release(&c);
    }
}

static void test_text_comes_back(void **state)
{
    struct fixture *f = *state;
    struct buf c = BUF_EMPTY, text = BUF_EMPTY, back = BUF_EMPTY;
    context_all(buf_slice(&f->token), &c);
    context_format(buf_slice(&c), &text);
    assert_null(memchr(text.data, ',', text.len));
    assert_int_equal(context_parse(buf_slice(&text), &back), DYN_OK);
    assert_true(slice_equal(buf_slice(&c), buf_slice(&back)));
    assert_int_equal(context_parse(slice_str(""), &back), DYN_ERR_BAD_CONTEXT);
    assert_int_equal(context_parse(slice_str("a b"), &back), DYN_ERR_BAD_CONTEXT);
    assert_int_equal(context_parse(slice_str("a,b"), &back), DYN_ERR_BAD_CONTEXT);
    buf_release(&c);
    buf_release(&text);
    buf_release(&back);
}

static void test_an_absent_object_has_a_token_too(void **state)
{
    struct fixture *f = *state;
    struct object none = OBJECT_EMPTY;
    struct buf token = BUF_EMPTY, c = BUF_EMPTY;
    struct cover cover = COVER_EMPTY;
    token_make(f->mac, CLUSTER, key(), &none, &token);
    context_all(buf_slice(&token), &c);
    assert_int_equal(context_verify(f->mac, CLUSTER, key(), buf_slice(&c), &cover), DYN_OK);
    assert_int_equal(cover.clock.n, 0);
    buf_release(&token);
    buf_release(&c);
    cover_release(&cover);
}

/* What two replicas showed, each with its own: one wrote over what the other still holds. */
static void make_joined(struct fixture *f, struct buf *joined)
{
    struct object other = OBJECT_EMPTY;
    struct buf token = BUF_EMPTY;
    object_copy(&other, &f->o);
    struct cover first = COVER_EMPTY;
    cover_add_dot(&first, &(struct dot){actor_of(1), 3});
    write_file(&other, &first, dot_of(3, 1), "four", 40);
    token_make(f->mac, CLUSTER, key(), &other, &token);
    const struct slice tokens[] = {buf_slice(&f->token), buf_slice(&token), buf_slice(&f->token)};
    assert_int_equal(token_join(tokens, 3, joined), DYN_OK);
    cover_release(&first);
    object_release(&other);
    buf_release(&token);
}

static void test_tokens_side_by_side_name_what_is_left_of_both(void **state)
{
    struct fixture *f = *state;
    struct buf joined = BUF_EMPTY;
    struct dot *dots = NULL;
    uint32_t n = 0;
    make_joined(f, &joined);
    assert_int_equal(token_dots(buf_slice(&joined), &dots, &n), DYN_OK);
    assert_int_equal(n, 3);
    assert_true(dot_equal(&dots[0], &(struct dot){actor_of(1), 5}));
    assert_true(dot_equal(&dots[1], &(struct dot){actor_of(2), 1}));
    assert_true(dot_equal(&dots[2], &(struct dot){actor_of(3), 1}));
    free(dots);
    buf_release(&joined);
}

static void test_contexts_of_several_tokens_cover_the_merge(void **state)
{
    struct fixture *f = *state;
    struct buf joined = BUF_EMPTY, all = BUF_EMPTY, some = BUF_EMPTY;
    struct cover cover = COVER_EMPTY, claimed = COVER_EMPTY, chosen = COVER_EMPTY;
    const struct dot wanted[] = {dot_of(3, 1), dot_of(1, 5)};
    make_joined(f, &joined);
    context_all(buf_slice(&joined), &all);
    assert_int_equal(context_verify(f->mac, CLUSTER, key(), buf_slice(&all), &cover), DYN_OK);
    assert_true(clock_covers(&cover.clock, &wanted[0]) && clock_covers(&cover.clock, &wanted[1]));
    assert_int_equal(cover.n, 0);
    assert_int_equal(context_believe(buf_slice(&all), &claimed), DYN_OK);
    assert_int_equal(clock_compare(&claimed.clock, &cover.clock), CLOCK_EQUAL);

    assert_int_equal(context_dots(buf_slice(&joined), wanted, 2, &some), DYN_OK);
    assert_int_equal(context_verify(f->mac, CLUSTER, key(), buf_slice(&some), &chosen), DYN_OK);
    assert_int_equal(chosen.clock.n, 0);
    assert_int_equal(chosen.n, 2);
    assert_true(cover_has(&chosen, &wanted[0]) && cover_has(&chosen, &wanted[1]));
    assert_int_equal(context_dots(buf_slice(&joined), &(struct dot){actor_of(9), 1}, 1, &some),
                     DYN_ERR_INVALID);
    cover_release(&cover);
    cover_release(&claimed);
    cover_release(&chosen);
    buf_release(&joined);
    buf_release(&all);
    buf_release(&some);
}

static void test_no_bit_may_change_side_by_side_either(void **state)
{
    struct fixture *f = *state;
    struct buf joined = BUF_EMPTY, all = BUF_EMPTY;
    make_joined(f, &joined);
    context_all(buf_slice(&joined), &all);
    for (size_t i = 0; i < all.len * 8; i++) {
        all.data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_refused(f, CLUSTER, "a/b", buf_slice(&all));
        all.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t len = 0; len < all.len; len++)
        assert_refused(f, CLUSTER, "a/b", slice_of(all.data, len));
    assert_refused(f, CLUSTER, "a/c", buf_slice(&all));
    /* nor may they be nested: what verifies once verifies in time that its length bounds */
    struct buf nested = BUF_EMPTY, token = BUF_EMPTY;
    buf_put_u8(&nested, 3);
    buf_put_varint(&nested, 1);
    buf_put_bytes(&nested, buf_slice(&all));
    assert_refused(f, CLUSTER, "a/b", buf_slice(&nested));
    const struct slice tokens[] = {buf_slice(&joined), buf_slice(&f->token)};
    assert_int_equal(token_join(tokens, 2, &token), DYN_ERR_BAD_CONTEXT);
    buf_release(&nested);
    buf_release(&token);
    buf_release(&joined);
    buf_release(&all);
}

static void test_one_token_stays_as_it_is(void **state)
{
    struct fixture *f = *state;
    struct buf joined = BUF_EMPTY;
    const struct slice tokens[] = {buf_slice(&f->token), buf_slice(&f->token)};
    assert_int_equal(token_join(tokens, 2, &joined), DYN_OK);
    assert_true(slice_equal(buf_slice(&joined), buf_slice(&f->token)));
    buf_release(&joined);
}

static void test_the_sole_version_that_a_context_was_read_with(void **state)
{
    (void)state;
    struct mac *mac = mac_new(slice_str("a secret of the cluster"));
    struct object o = OBJECT_EMPTY;
    struct buf token = BUF_EMPTY, context = BUF_EMPTY;
    struct dot one = dot_of(1, 5), two = dot_of(2, 7), got;
    struct sibling a = {.dot = one, .type = SIBLING_FILE}, b = {.dot = two, .type = SIBLING_FILE};
    clock_advance(&o.clock, &one, 0);
    object_insert(&o, &a);
    token_make(mac, 1, slice_str("k"), &o, &token);
    context_all(buf_slice(&token), &context);
    assert_true(context_sole(buf_slice(&context), &got) && dot_equal(&got, &one));
    clock_advance(&o.clock, &two, 0);
    object_insert(&o, &b);
    buf_clear(&token);
    buf_clear(&context);
    token_make(mac, 1, slice_str("k"), &o, &token);
    context_all(buf_slice(&token), &context);
    assert_false(context_sole(buf_slice(&context), &got));
    buf_clear(&context);
    assert_int_equal(context_dots(buf_slice(&token), &two, 1, &context), DYN_OK);
    assert_true(context_sole(buf_slice(&context), &got) && dot_equal(&got, &two));
    for (size_t cut = 0; cut < context.len; cut++)
        context_sole(slice_of(context.data, cut), &got);
    buf_release(&token);
    buf_release(&context);
    object_release(&o);
    mac_free(mac);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_token_names_its_dots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_covers_the_clock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_some_covers_exactly_those, setup, teardown),
        cmocka_unit_test_setup_teardown(test_several_contexts_add_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_keys_clusters_and_secrets_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_no_bit_may_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disordered_choices_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tokens_side_by_side_name_what_is_left_of_both, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_contexts_of_several_tokens_cover_the_merge, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_no_bit_may_change_side_by_side_either, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_one_token_stays_as_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_absent_object_has_a_token_too, setup, teardown),
        cmocka_unit_test(test_the_sole_version_that_a_context_was_read_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
