/* SPDX-License-Identifier: Apache-2.0 */
/* A command line means one thing or is refused: what a script passes on must neither become an
 * option by its looks, nor an option a word. */
#include "ctl/args.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "unit.h"

static const struct args_option one[] = {
    {"node", "HOST:PORT", "a node", 0},
    {"long", NULL, "more", 'l'},
    {"wide", NULL, "wider", 'w'},
    {NULL, NULL, NULL, 0},
};
static const struct args_option two[] = {
    {"timeout", "TIME", "a time", 0},
    {NULL, NULL, NULL, 0},
};
static const struct args_option *const tables[] = {one, two, NULL};

/* argv ends with NULL. Returns what args_parse does; a complaint is kept in *message. */
static int parse(struct args *a, bool first_word_ends, const char *const *argv, char **message)
{
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    *a = (struct args){.n_words = 0};
    *message = NULL;
    return args_parse(a, argc, (char *const *)(uintptr_t)argv, tables, first_word_ends, message);
}

#define PARSE(a, message, ...) parse(a, false, (const char *const[]){__VA_ARGS__, NULL}, message)

static void test_options_and_words_may_mix(void **state)
{
    (void)state;
    struct args a;
    char *message;
    assert_int_equal(PARSE(&a, &message, "--node", "h:1", "key", "-lw", "--node=h:2", "-"), 6);
    assert_int_equal(a.n_words, 2);
    assert_string_equal(a.words[0], "key");
    assert_string_equal(a.words[1], "-");
    assert_string_equal(args_value(&a, "node"), "h:2");
    assert_string_equal(a.given[0].value, "h:1");
    assert_true(args_has(&a, "long"));
    assert_true(args_has(&a, "wide"));
    assert_false(args_has(&a, "timeout"));
}

static void test_after_two_dashes_nothing_is_an_option(void **state)
{
    (void)state;
    struct args a;
    char *message;
    assert_int_equal(PARSE(&a, &message, "-l", "--", "--node", "-w", "--"), 5);
    assert_int_equal(a.n_words, 3);
    assert_string_equal(a.words[0], "--node");
    assert_string_equal(a.words[2], "--");
    assert_false(args_has(&a, "wide"));
}

static void test_a_value_may_look_like_an_option(void **state)
{
    (void)state;
    struct args a;
    char *message;
    assert_int_equal(PARSE(&a, &message, "--node", "--long", "--timeout="), 3);
    assert_string_equal(args_value(&a, "node"), "--long");
    assert_string_equal(args_value(&a, "timeout"), "");
    assert_false(args_has(&a, "long"));
}

static void test_the_first_word_may_end_it(void **state)
{
    (void)state;
    struct args a;
    char *message;
    assert_int_equal(
        parse(&a, true, (const char *const[]){"--node", "h:1", "get", "--bad", NULL}, &message), 2);
    assert_int_equal(a.n_words, 0);
}

static void test_mistakes_are_named(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"--nodes", "--nodes"}, {"-x", "-x"},        {"-lx", "-x"},
        {"--long=1", "--long"}, {"--node", "needs"}, {"--no", "--no"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct args a;
        char *message;
        assert_int_equal(PARSE(&a, &message, bad[i][0]), DYN_ERR_INVALID);
        assert_non_null(strstr(message, bad[i][1]));
        free(message);
    }
}

static void test_more_arguments_than_there_is_room_for_are_refused(void **state)
{
    (void)state;
    static char letters[ARGS_MAX + 3] = "-";
    const char *words[ARGS_MAX + 2] = {NULL};
    struct args a;
    char *message;
    for (unsigned i = 0; i < ARGS_MAX + 1; i++)
        words[i] = "word";
    assert_int_equal(parse(&a, false, words, &message), DYN_ERR_INVALID);
    free(message);
    memset(letters + 1, 'l', ARGS_MAX + 1);
    assert_int_equal(PARSE(&a, &message, letters), DYN_ERR_INVALID);
    free(message);
}

static void test_numbers_and_times_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } times[] = {{"500ms", 500}, {"3s", 3000}, {"2m", 120000}, {"1h", 3600000}, {"7", 7000}};
    static const char *const bad[] = {
        "", "x", "-1", "1x", "1 s", "0", "2h", "1.5s", "99999999999999999999"};
    struct args a;
    char *message;
    uint64_t v = 42;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        PARSE(&a, &message, "--timeout", times[i].text);
        assert_int_equal(args_ms(&a, "timeout", 1, 3600000, &v, &message), DYN_OK);
        assert_int_equal(v, times[i].ms);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        PARSE(&a, &message, "--timeout", bad[i]);
        assert_int_equal(args_ms(&a, "timeout", 1, 3600000, &v, &message), DYN_ERR_INVALID);
        free(message);
        message = NULL;
        if (strcmp(bad[i], "2h") == 0)
            continue;
        assert_int_equal(args_u64(&a, "timeout", 1, 100, &v, &message), DYN_ERR_INVALID);
        free(message);
    }
    assert_int_equal(v, 7000); /* untouched by failures */
    PARSE(&a, &message, "--timeout", "100");
    assert_int_equal(args_u64(&a, "timeout", 1, 100, &v, &message), DYN_OK);
    assert_int_equal(v, 100);
    assert_int_equal(args_u64(&a, "node", 1, 100, &v, &message), DYN_OK); /* not given */
    assert_int_equal(v, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_and_words_may_mix),
        cmocka_unit_test(test_after_two_dashes_nothing_is_an_option),
        cmocka_unit_test(test_a_value_may_look_like_an_option),
        cmocka_unit_test(test_the_first_word_may_end_it),
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_more_arguments_than_there_is_room_for_are_refused),
        cmocka_unit_test(test_numbers_and_times_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
