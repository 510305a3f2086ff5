/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka wants these headers before its own, in an order that sorting would break: so each unit
 * test includes this file instead. */
#ifndef DYN_TESTS_UNIT_H
#define DYN_TESTS_UNIT_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#endif
