/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target is one function over hostile bytes, in one file per parser. libFuzzer drives it in
 * `./dev fuzz`; everywhere else replay.c drives it with what libFuzzer once found (corpus/).
 *
 * What a target claims, besides not crashing: whatever decodes, encodes to bytes that decode to the
 * same again. */
#ifndef DYN_TESTS_FUZZ_H
#define DYN_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* As assert, but not to be compiled away. */
#define CLAIM(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
