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
        cmocka_unit_test_setup_teardown(test_text_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_absent_object_has_a_token_too, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
