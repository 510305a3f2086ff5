/* SPDX-License-Identifier: Apache-2.0 */
/* Error codes stand in JSON answers and in scripts, so each value has its own, well-formed one; an
 * unknown number, as a newer peer may send it, must be printable too. */
#include <string.h>

#include "base/err.h"
#include "unit.h"

static const int lowest = DYN_ERR_BASE_LACKING;

static void test_each_error_has_a_code_of_its_own(void **state)
{
    (void)state;
    for (int a = lowest; a <= DYN_OK; a++) {
        assert_true(strlen(dyn_err_code(a)) > 0);
        assert_int_equal(strspn(dyn_err_code(a), "abcdefghijklmnopqrstuvwxyz_"),
                         strlen(dyn_err_code(a)));
        for (int b = lowest; b < a; b++) {
            assert_string_not_equal(dyn_err_code(a), dyn_err_code(b));
        }
    }
}

static void test_messages_are_sentences_without_a_full_stop(void **state)
{
    (void)state;
    for (int err = lowest; err <= DYN_OK; err++) {
        const char *message = dyn_err_message(err);
        assert_true(strlen(message) > 0);
        assert_int_not_equal(message[strlen(message) - 1], '.');
    }
}

static void test_an_unknown_error_is_printable(void **state)
{
    (void)state;
    assert_non_null(dyn_err_code(-12345));
    assert_non_null(dyn_err_message(-12345));
    assert_string_not_equal(dyn_err_code(-12345), dyn_err_code(DYN_OK));
    assert_non_null(dyn_err_code(7));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_error_has_a_code_of_its_own),
        cmocka_unit_test(test_messages_are_sentences_without_a_full_stop),
        cmocka_unit_test(test_an_unknown_error_is_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
