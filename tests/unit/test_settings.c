/* SPDX-License-Identifier: Apache-2.0 */
/* The table of settings: nearest directory wins, later change wins, tables that met are equal. */
#include <stdlib.h>

#include "base/err.h"
#include "model/key.h"
#include "model/settings.h"
#include "unit.h"

static void set(struct settings *s, const char *dir, enum dir_setting what, uint8_t value,
                uint64_t now)
{
    assert_int_equal(settings_set(s, slice_str(dir), what, value, now, 1), DYN_OK);
}

static uint8_t rule(const struct settings *s, const char *key, enum dir_setting what)
{
    struct rules r;
    settings_rules(s, slice_str(key), &r);
    return r.value[what];
}

static void test_the_nearest_directory_that_says_something_counts(void **state)
{
    (void)state;
    struct settings s = SETTINGS_EMPTY;
    struct rules r;
    set(&s, "", SETTING_W, 3, 1);
    set(&s, "shop", SETTING_RECONCILE, RECONCILE_UNION, 1);
    set(&s, "shop/logs", SETTING_RECONCILE, RECONCILE_LWW, 1);
    assert_int_equal(rule(&s, "shop/carts/ada", SETTING_RECONCILE), RECONCILE_UNION);
    assert_int_equal(rule(&s, "shop/logs/today", SETTING_RECONCILE), RECONCILE_LWW);
    assert_int_equal(rule(&s, "shop/logs/today", SETTING_W), 3); /* each by itself */
    assert_int_equal(rule(&s, "shopping/list", SETTING_RECONCILE), 0);
    assert_int_equal(rule(&s, "shop", SETTING_RECONCILE), RECONCILE_UNION);
    settings_rules(&s, slice_str("shop/logs/today"), &r);
    assert_true(slice_equal(r.from[SETTING_RECONCILE], slice_str("shop/logs")));
    assert_int_equal(r.from[SETTING_W].len, 0);
    settings_release(&s);
}

static void test_what_is_unset_is_inherited_again(void **state)
{
    (void)state;
    struct settings s = SETTINGS_EMPTY;
    set(&s, "a", SETTING_R, 1, 1);
    set(&s, "a/b", SETTING_R, 3, 1);
    assert_int_equal(rule(&s, "a/b/c", SETTING_R), 3);
    set(&s, "a/b", SETTING_R, 0, 2);
    assert_int_equal(rule(&s, "a/b/c", SETTING_R), 1);
    settings_release(&s);
}

static void test_impossible_settings_are_refused(void **state)
{
    (void)state;
    struct settings s = SETTINGS_EMPTY;
    assert_int_equal(settings_set(&s, slice_str("a"), 0, 1, 1, 1), DYN_ERR_INVALID);
    assert_int_equal(settings_set(&s, slice_str("a"), SETTINGS_END, 1, 1, 1), DYN_ERR_INVALID);
    assert_int_equal(settings_set(&s, slice_str("a"), SETTING_RECONCILE, 4, 1, 1), DYN_ERR_INVALID);
    assert_int_equal(settings_set(&s, slice_str("a//b"), SETTING_R, 1, 1, 1), DYN_ERR_INVALID);
    for (unsigned i = 0; i < SETTINGS_ROWS_MAX; i++) {
        char dir[16];
        snprintf(dir, sizeof(dir), "d%u", i);
        set(&s, dir, SETTING_R, 1, 1);
    }
    assert_int_equal(settings_set(&s, slice_str("one more"), SETTING_R, 1, 1, 1),
                     DYN_ERR_TOO_LARGE);
    set(&s, "d7", SETTING_R, 2, 1); /* what is there can still be changed */
    settings_release(&s);
}

/* Whatever the clocks say, a change made with another in view comes after it. */
static void test_a_later_change_wins_though_its_clock_is_behind(void **state)
{
    (void)state;
    struct settings a = SETTINGS_EMPTY, b = SETTINGS_EMPTY;
    set(&a, "d", SETTING_R, 1, 1000000);
    settings_join(&b, &a);
    assert_int_equal(settings_set(&b, slice_str("d"), SETTING_R, 2, 5, 2), DYN_OK);
    settings_join(&a, &b);
    assert_int_equal(rule(&a, "d", SETTING_R), 2);
    assert_false(settings_join(&a, &b));
    settings_release(&a);
    settings_release(&b);
}

static uint64_t draw(uint64_t *s, uint64_t n)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (*s >> 33) % n;
}

static void test_tables_that_met_in_any_order_are_equal(void **state)
{
    (void)state;
    static const char *const dirs[] = {"", "a", "a/b", "c"};
    for (uint64_t seed = 1; seed < 200; seed++) {
        struct settings t[3] = {SETTINGS_EMPTY, SETTINGS_EMPTY, SETTINGS_EMPTY};
        uint8_t d[3][DIGEST_LEN];
        uint64_t s = seed;
        for (int step = 0; step < 40; step++) {
            uint64_t i = draw(&s, 3);
            if (draw(&s, 3) == 0)
                settings_join(&t[i], &t[draw(&s, 3)]);
            else
                settings_set(&t[i], slice_str(dirs[draw(&s, 4)]), SETTING_W, (uint8_t)draw(&s, 4),
                             draw(&s, 5), i);
        }
        for (int round = 0; round < 2; round++)
            for (int i = 0; i < 3; i++)
                for (int k = 0; k < 3; k++)
                    settings_join(&t[i], &t[k]);
        for (int i = 0; i < 3; i++)
            settings_digest(&t[i], d[i]);
        assert_memory_equal(d[0], d[1], DIGEST_LEN);
        assert_memory_equal(d[0], d[2], DIGEST_LEN);
        for (int i = 0; i < 3; i++)
            settings_release(&t[i]);
    }
}

static void test_bytes_come_back_and_broken_ones_do_not(void **state)
{
    (void)state;
    struct settings s = SETTINGS_EMPTY, back = SETTINGS_EMPTY;
    struct buf bytes = BUF_EMPTY, again = BUF_EMPTY;
    set(&s, "b", SETTING_R, 1, 1);
    set(&s, "a", SETTING_W, 2, 2);
    set(&s, "a", SETTING_RECONCILE, RECONCILE_LWW, 2);
    settings_encode(&s, &bytes);
    struct reader r = reader_of(buf_slice(&bytes));
    settings_decode(&r, &back);
    assert_true(reader_done(&r));
    settings_encode(&back, &again);
    assert_true(slice_equal(buf_slice(&bytes), buf_slice(&again)));
    for (size_t len = 0; len < bytes.len; len++) {
        r = reader_of(slice_of(bytes.data, len));
        settings_decode(&r, &back);
        assert_false(reader_ok(&r));
    }
    assert_int_equal(back.n, 3); /* untouched by what failed */
    struct setting_row first = s.rows[0];
    s.rows[0] = s.rows[1];
    s.rows[1] = first; /* in disorder */
    buf_clear(&bytes);
    settings_encode(&s, &bytes);
    r = reader_of(buf_slice(&bytes));
    settings_decode(&r, &back);
    assert_false(reader_ok(&r));
    buf_release(&bytes);
    buf_release(&again);
    settings_release(&s);
    settings_release(&back);
}

static void refused(const char *name, const char *value, const char *says)
{
    enum dir_setting what;
    uint8_t v;
    char *message = NULL;
    assert_int_equal(setting_parse(slice_str(name), slice_str(value), 3, &what, &v, &message),
                     DYN_ERR_INVALID);
    assert_non_null(strstr(message, says));
    free(message);
}

static void test_words_of_people(void **state)
{
    (void)state;
    static const char *const good[][2] = {
        {"reconcile", "lww"}, {"reconcile", "union"}, {"r", "3"}, {"durability", "one"},
        {"sloppy", "no"},     {"w", "default"},       {"n", "2"}};
    for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        enum dir_setting what;
        uint8_t v;
        char *message = NULL;
        struct buf text = BUF_EMPTY;
        assert_int_equal(
            setting_parse(slice_str(good[i][0]), slice_str(good[i][1]), 3, &what, &v, &message),
            DYN_OK);
        assert_string_equal(setting_name(what), good[i][0]);
        setting_print(what, v, &text);
        assert_true(slice_equal(buf_slice(&text), slice_str(good[i][1])));
        buf_release(&text);
    }
    refused("r", "4", "1 to 3");
    refused("r", "0", "1 to 3");
    refused("n", "4", "1 to 3");
    refused("reconcile", "newest", "default, siblings, lww, union");
    refused("color", "red", "reconcile, n, r, w");
}

/* What directories have as N is another digest whenever any of it is; nothing else is in it. */
static void test_a_change_of_any_n_is_told_from_other_changes(void **state)
{
    (void)state;
    struct settings s = SETTINGS_EMPTY;
    uint8_t none[DIGEST_LEN], one[DIGEST_LEN], same[DIGEST_LEN], other[DIGEST_LEN];
    set(&s, "d", SETTING_W, 1, 1);
    assert_false(settings_copies(&s, none));
    set(&s, "d", SETTING_N, 2, 1);
    assert_true(settings_copies(&s, one));
    set(&s, "d", SETTING_W, 2, 2);
    assert_true(settings_copies(&s, same));
    assert_memory_equal(one, same, DIGEST_LEN);
    set(&s, "d", SETTING_N, 0, 3); /* unset, but copies may still be thin */
    assert_true(settings_copies(&s, other));
    assert_memory_not_equal(one, other, DIGEST_LEN);
    assert_int_equal(rule(&s, "d/e", SETTING_N), 0);
    assert_memory_not_equal(none, other, DIGEST_LEN);
    settings_release(&s);
}

static bool name_growth(void *arg, struct slice dir, uint8_t growth)
{
    buf_put_slice(arg, dir);
    buf_put_u8(arg, (uint8_t)('0' + growth));
    return true;
}

static void test_a_directorys_growth_only_grows_and_is_nobodys_to_set(void **state)
{
    (void)state;
    struct settings a = SETTINGS_EMPTY, b = SETTINGS_EMPTY;
    struct rules rules;
    struct buf names = BUF_EMPTY;
    assert_int_equal(settings_raise_growth(&a, slice_str("d"), 3), DYN_OK);
    assert_int_equal(settings_raise_growth(&a, slice_str("d"), 2), DYN_OK);
    assert_int_equal(settings_raise_growth(&b, slice_str("d"), 1), DYN_OK);
    assert_int_equal(settings_raise_growth(&b, slice_str("a/b"), 2), DYN_OK);
    assert_int_equal(settings_growth(&a, slice_str("d")), 3);
    settings_join(&a, &b);
    settings_join(&b, &a);
    assert_int_equal(settings_growth(&b, slice_str("d")), 3);
    assert_int_equal(settings_growth(&a, slice_str("d/e")), 0); /* not inherited */
    assert_int_equal(settings_growths(&a, name_growth, &names), 2);
    assert_true(slice_equal(buf_slice(&names), slice_str("a/b2d3")));
    settings_rules(&a, slice_str("d/e"), &rules);
    for (unsigned i = 0; i < SETTINGS_END; i++)
        assert_int_equal(rules.value[i], 0);
    assert_int_equal(settings_set(&a, slice_str("d"), (enum dir_setting)SETTING_GROWTH, 9, 1, 1),
                     DYN_ERR_INVALID);
    for (uint32_t i = 0; i < GROWTHS_MAX; i++) {
        struct buf dir = BUF_EMPTY;
        buf_printf(&dir, "x%u", i);
        int err = settings_raise_growth(&a, buf_slice(&dir), 1);
        assert_int_equal(err, i + 2 < GROWTHS_MAX ? DYN_OK : DYN_ERR_TOO_LARGE);
        buf_release(&dir);
    }
    buf_release(&names);
    settings_release(&a);
    settings_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_nearest_directory_that_says_something_counts),
        cmocka_unit_test(test_what_is_unset_is_inherited_again),
        cmocka_unit_test(test_impossible_settings_are_refused),
        cmocka_unit_test(test_a_later_change_wins_though_its_clock_is_behind),
        cmocka_unit_test(test_tables_that_met_in_any_order_are_equal),
        cmocka_unit_test(test_bytes_come_back_and_broken_ones_do_not),
        cmocka_unit_test(test_words_of_people),
        cmocka_unit_test(test_a_change_of_any_n_is_told_from_other_changes),
        cmocka_unit_test(test_a_directorys_growth_only_grows_and_is_nobodys_to_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
