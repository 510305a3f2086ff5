/* SPDX-License-Identifier: Apache-2.0 */
/* See args.h. A mistyped option is refused by name before anything is done. */
#include "ctl/args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

static const struct args_option *find(const struct args_option *const *tables, const char *name,
                                      size_t len)
{
    for (; *tables != NULL; tables++) {
        for (const struct args_option *o = *tables; o->name != NULL; o++) {
            if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
                return o;
        }
    }
    return NULL;
}

static const struct args_option *find_letter(const struct args_option *const *tables, char letter)
{
    for (; *tables != NULL; tables++) {
        for (const struct args_option *o = *tables; o->name != NULL; o++) {
            if (o->letter == letter)
                return o;
        }
    }
    return NULL;
}

static void give(struct args *a, const struct args_option *option, const char *value)
{
    a->given[a->n_given].option = option;
    a->given[a->n_given++].value = value;
}

/* *at: the argument; moves on when the value is the one after it. */
static char *take_long(struct args *a, int argc, char *const *argv, int *at,
                       const struct args_option *const *tables)
{
    const char *name = argv[*at] + 2, *equals = strchr(name, '=');
    size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const struct args_option *o = find(tables, name, len);
    if (o == NULL)
        return mem_printf("there is no option --%.*s", (int)len, name);
    if (o->value == NULL) {
        if (equals != NULL)
            return mem_printf("--%s takes no value", o->name);
        give(a, o, NULL);
        return NULL;
    }
    if (equals == NULL && *at + 1 == argc)
        return mem_printf("--%s needs a value: %s", o->name, o->value);
    give(a, o, equals != NULL ? equals + 1 : argv[++*at]);
    return NULL;
}

static char *take_letters(struct args *a, const char *letters,
                          const struct args_option *const *tables)
{
    for (; *letters != '\0'; letters++) {
        const struct args_option *o = find_letter(tables, *letters);
        if (o == NULL)
            return mem_printf("there is no option -%c", *letters);
        if (a->n_given == ARGS_MAX)
            return mem_strdup("too many options");
        give(a, o, NULL);
    }
    return NULL;
}

int args_parse(struct args *a, int argc, char *const *argv, const struct args_option *const *tables,
               bool first_word_ends, char **message)
{
    bool options = true;
    int at = 0;
    for (; at < argc; at++) {
        const char *arg = argv[at];
        char *wrong = NULL;
        if (options && strcmp(arg, "--") == 0) {
            options = false;
            continue;
        }
        bool word = !options || arg[0] != '-' || arg[1] == '\0';
        if (word && first_word_ends)
            break;
        if (a->n_given == ARGS_MAX || a->n_words == ARGS_MAX)
            wrong = mem_strdup("too many arguments");
        else if (word)
            a->words[a->n_words++] = arg;
        else if (arg[1] == '-')
            wrong = take_long(a, argc, argv, &at, tables);
        else
            wrong = take_letters(a, arg + 1, tables);
        if (wrong != NULL) {
            *message = wrong;
            return DYN_ERR_INVALID;
        }
    }
    return at;
}

const char *args_value(const struct args *a, const char *name)
{
    for (unsigned i = a->n_given; i > 0; i--) {
        if (strcmp(a->given[i - 1].option->name, name) == 0)
            return a->given[i - 1].value != NULL ? a->given[i - 1].value : "";
    }
    return NULL;
}

bool args_has(const struct args *a, const char *name)
{
    return args_value(a, name) != NULL;
}

static bool parse_number(const char *text, uint64_t *out, const char **end)
{
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *stop;
    errno = 0;
    *out = strtoull(text, &stop, 10);
    *end = stop;
    return errno == 0;
}

int args_u64(const struct args *a, const char *name, uint64_t min, uint64_t max, uint64_t *out,
             char **message)
{
    const char *text = args_value(a, name), *end;
    uint64_t v;
    if (text == NULL)
        return DYN_OK;
    if (!parse_number(text, &v, &end) || *end != '\0' || v < min || v > max) {
        *message = mem_printf("--%s %s: a number from %llu to %llu is wanted", name, text,
                              (unsigned long long)min, (unsigned long long)max);
        return DYN_ERR_INVALID;
    }
    *out = v;
    return DYN_OK;
}

int args_ms(const struct args *a, const char *name, uint64_t min, uint64_t max, uint64_t *out_ms,
            char **message)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    const char *text = args_value(a, name), *end;
    uint64_t v, ms;
    if (text == NULL)
        return DYN_OK;
    if (parse_number(text, &v, &end)) {
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
            if (strcmp(end, units[i].unit) == 0 && !__builtin_mul_overflow(v, units[i].ms, &ms) &&
                ms >= min && ms <= max) {
                *out_ms = ms;
                return DYN_OK;
            }
        }
    }
    *message = mem_printf("--%s %s: a time such as 500ms, 5s or 2m is wanted", name, text);
    return DYN_ERR_INVALID;
}

void args_print_help(const struct args_option *table, struct buf *out)
{
    for (const struct args_option *o = table; o->name != NULL; o++) {
        struct buf left = BUF_EMPTY;
        if (o->letter != 0)
            buf_printf(&left, "-%c, ", o->letter);
        buf_printf(&left, "--%s", o->name);
        if (o->value != NULL)
            buf_printf(&left, " %s", o->value);
        buf_printf(out, "  %-24.*s %s\n", (int)left.len, (const char *)left.data, o->help);
        buf_release(&left);
    }
}
