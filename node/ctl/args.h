/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines as tables: each verb lists its options, and parsing, `--help` and the complaints
 * about mistakes follow from the list. `--name VALUE`, `--name=VALUE`, flags, one-letter flags, and
 * `--`, after which nothing is an option. "-" alone is no option. */
#ifndef DYN_CTL_ARGS_H
#define DYN_CTL_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct args_option {
    const char *name;  /* without dashes; NULL ends a table */
    const char *value; /* what the value is called in the help; NULL: a flag */
    const char *help;
    char letter; /* of a flag; 0: none */
};

#define ARGS_MAX 256

struct args {
    struct {
        const struct args_option *option;
        const char *value; /* NULL for a flag */
    } given[ARGS_MAX];
    unsigned n_given;
    const char *words[ARGS_MAX]; /* what is no option */
    unsigned n_words;
};

/* Reads argv[0] to argv[argc - 1] against the tables, appending to a (zeroed at first). With
 * first_word_ends, stops at the first word. Returns how many were read, or DYN_ERR_INVALID with
 * *message (caller frees). Strings are borrowed. */
int args_parse(struct args *a, int argc, char *const *argv, const struct args_option *const *tables,
               bool first_word_ends, char **message);

bool args_has(const struct args *a, const char *name);
const char *args_value(const struct args *a, const char *name); /* the last one given; NULL */
/* Numbers leave *out alone when the option was not given. DYN_ERR_INVALID with *message. */
int args_u64(const struct args *a, const char *name, uint64_t min, uint64_t max, uint64_t *out,
             char **message);
/* "500ms", "3s", "2m"; a bare number is seconds. */
int args_ms(const struct args *a, const char *name, uint64_t min, uint64_t max, uint64_t *out_ms,
            char **message);

void args_print_help(const struct args_option *table, struct buf *out);

#endif
