/* SPDX-License-Identifier: Apache-2.0 */
/* See config.h. A configuration is a short list of (key, value), each with the place it came from
 * and whether the program has asked for it: a mistyped key is then found, not ignored. */
#include "base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

#define KEYS_MAX 1000 /* keeps looking for repeated keys cheap */

struct item {
    char *key, *value;
    unsigned line; /* 0: not from a file */
    bool asked;
};

struct config {
    char *name;
    struct item *items;
    unsigned n, cap;
};

struct config *config_new(void)
{
    return mem_new(struct config);
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < c->n; i++) {
        free(c->items[i].key);
        free(c->items[i].value);
    }
    free(c->items);
    free(c->name);
    free(c);
}

static struct item *find(const struct config *c, struct slice key)
{
    for (unsigned i = 0; i < c->n; i++)
        if (slice_equal(slice_str(c->items[i].key), key))
            return &c->items[i];
    return NULL;
}

static void add(struct config *c, struct slice key, struct slice value, unsigned line)
{
    if (c->n == c->cap) {
        c->cap = c->cap == 0 ? 16 : c->cap * 2;
        c->items = mem_reallocarray(c->items, c->cap, sizeof(*c->items));
    }
    c->items[c->n++] = (struct item){mem_strndup((const char *)key.data, key.len),
                                     mem_strndup((const char *)value.data, value.len), line, false};
}

void config_set(struct config *c, const char *key, const char *value)
{
    struct item *item = find(c, slice_str(key));
    if (item == NULL) {
        add(c, slice_str(key), slice_str(value), 0);
        return;
    }
    char *copy = mem_strdup(value); /* first: value may be the old one */
    free(item->value);
    item->value = copy;
    item->line = 0;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && is_space(s.data[0]))
        s = slice_of(s.data + 1, s.len - 1);
    while (s.len > 0 && is_space(s.data[s.len - 1]))
        s.len--;
    return s;
}

static struct slice without_comment(struct slice line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] == '#' && (i == 0 || is_space(line.data[i - 1])))
            return slice_of(line.data, i);
    return line;
}

static bool key_valid(struct slice key)
{
    for (size_t i = 0; i < key.len; i++) {
        uint8_t ch = key.data[i];
        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-' ||
              ch == '.'))
            return false;
    }
    return key.len != 0;
}

/* Returns what is wrong with the line, or NULL. */
static const char *take_line(struct config *c, struct slice line, unsigned number)
{
    if (line.len != 0 && memchr(line.data, 0, line.len) != NULL)
        return "a NUL byte";
    line = trim(without_comment(line));
    if (line.len == 0)
        return NULL;
    const uint8_t *equals = memchr(line.data, '=', line.len);
    if (equals == NULL)
        return "not of the form 'key = value'";
    size_t at = (size_t)(equals - line.data);
    struct slice key = trim(slice_of(line.data, at));
    struct slice value = trim(slice_of(equals + 1, line.len - at - 1));
    if (!key_valid(key))
        return "a key has only lower-case letters, digits and '_', '-', '.'";
    if (find(c, key) != NULL)
        return "this key was given before";
    if (c->n == KEYS_MAX)
        return "too many keys";
    add(c, key, value, number);
    return NULL;
}

int config_parse(struct slice text, const char *name, struct config **out, char **message)
{
    if (text.len > CONFIG_LEN_MAX) {
        *message = mem_printf("%s: larger than %u bytes", name, CONFIG_LEN_MAX);
        return DYN_ERR_INVALID;
    }
    struct config *c = config_new();
    c->name = mem_strdup(name);
    unsigned number = 1;
    for (size_t at = 0; at < text.len; number++) {
        const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
        size_t len = end == NULL ? text.len - at : (size_t)(end - text.data) - at;
        const char *wrong = take_line(c, slice_of(text.data + at, len), number);
        if (wrong != NULL) {
            *message = mem_printf("%s:%u: %s", name, number, wrong);
            config_free(c);
            return DYN_ERR_INVALID;
        }
        at += len + 1;
    }
    *out = c;
    return DYN_OK;
}

/* Reads up to one byte over the limit, so that config_parse can say that it is over. */
static int read_file(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return DYN_ERR_IO;
    ssize_t got = 1;
    while (got != 0 && out->len <= CONFIG_LEN_MAX) {
        buf_reserve(out, 4096);
        got = read(fd, out->data + out->len, 4096);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        out->len += (size_t)got;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return got < 0 ? DYN_ERR_IO : DYN_OK;
}

int config_load(const char *path, struct config **out, char **message)
{
    struct buf text = BUF_EMPTY;
    int err = read_file(path, &text);
    if (err != DYN_OK)
        *message = mem_printf("%s: cannot be read: %s", path, strerror(errno));
    else
        err = config_parse(buf_slice(&text), path, out, message);
    buf_release(&text);
    return err;
}

static const struct item *ask(struct config *c, const char *key)
{
    struct item *item = find(c, slice_str(key));
    if (item != NULL)
        item->asked = true;
    return item;
}

static int refuse(const struct config *c, const struct item *item, char **message,
                  const char *expected)
{
    if (item->line != 0)
        *message = mem_printf("%s:%u: %s = %s: expected %s", c->name, item->line, item->key,
                              item->value, expected);
    else
        *message = mem_printf("%s = %s: expected %s", item->key, item->value, expected);
    return DYN_ERR_INVALID;
}

int config_get_str(struct config *c, const char *key, const char **out, char **message)
{
    (void)message; /* any text is a string */
    const struct item *item = ask(c, key);
    if (item != NULL)
        *out = item->value;
    return DYN_OK;
}

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit plain_units[] = {{"", 1}, {NULL, 0}};
static const struct unit size_units[] = {{"", 1},
                                         {"K", UINT64_C(1) << 10},
                                         {"M", UINT64_C(1) << 20},
                                         {"G", UINT64_C(1) << 30},
                                         {"T", UINT64_C(1) << 40},
                                         {NULL, 0}};
static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};

static bool parse_number(const char *text, const struct unit *units, uint64_t *out)
{
    uint64_t v = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (unsigned)(*at - '0'), &v))
            return false;
    if (at == text)
        return false;
    for (const struct unit *u = units; u->suffix != NULL; u++)
        if (strcmp(at, u->suffix) == 0)
            return !__builtin_mul_overflow(v, u->factor, out);
    return false;
}

static int get_number(struct config *c, const char *key, const struct unit *units, const char *what,
                      const uint64_t range[2], uint64_t *out, char **message)
{
    const struct item *item = ask(c, key);
    if (item == NULL)
        return DYN_OK;
    uint64_t v;
    if (parse_number(item->value, units, &v) && v >= range[0] && v <= range[1]) {
        *out = v;
        return DYN_OK;
    }
    char *expected = mem_printf("%s from %llu to %llu", what, (unsigned long long)range[0],
                                (unsigned long long)range[1]);
    int err = refuse(c, item, message, expected);
    free(expected);
    return err;
}

int config_get_u64(struct config *c, const char *key, uint64_t min, uint64_t max, uint64_t *out,
                   char **message)
{
    return get_number(c, key, plain_units, "a number", (uint64_t[]){min, max}, out, message);
}

int config_get_size(struct config *c, const char *key, uint64_t min, uint64_t max, uint64_t *out,
                    char **message)
{
    return get_number(c, key, size_units, "bytes (as in 64K, 1M, 2G)", (uint64_t[]){min, max}, out,
                      message);
}

int config_get_ms(struct config *c, const char *key, uint64_t min, uint64_t max, uint64_t *out_ms,
                  char **message)
{
    return get_number(c, key, time_units, "a time (as in 500ms, 3s, 2m, 1h), in milliseconds",
                      (uint64_t[]){min, max}, out_ms, message);
}

int config_get_bool(struct config *c, const char *key, bool *out, char **message)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
    const struct item *item = ask(c, key);
    if (item == NULL)
        return DYN_OK;
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(item->value, words[i]) == 0) {
            *out = i % 2 != 0;
            return DYN_OK;
        }
    }
    return refuse(c, item, message, "yes or no");
}

const char *config_unknown(const struct config *c)
{
    for (unsigned i = 0; i < c->n; i++)
        if (!c->items[i].asked)
            return c->items[i].key;
    return NULL;
}
